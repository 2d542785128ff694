"""Rubric, votes, panel, gate and statistics: how two candidates are compared and what the comparison is worth."""
