"""Writing borderline challengers once more: who coaches, who decides, what became of each rewrite, whether it helped.

Asking the same panel again without any change promotes 26 % of refined turns, and rewrites that only please the panel
91 % after three rounds, at a shown score of 93 and a true one of 71 (simulated: 3 judges, both orders, correlated
errors). So the judges whose reasons the writer is given never decide, and unchanged turns are judged again beside.
"""
