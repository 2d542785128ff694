"""Agent sessions become trajectories: read, chosen, turned into shell steps, joined with commits, scrubbed, written."""
