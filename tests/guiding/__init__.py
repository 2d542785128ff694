"""An agent under an overseer."""
