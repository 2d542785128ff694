"""An agent under an overseer: the loop in the sandbox, the rows that come of it, the rate of interventions by round."""
