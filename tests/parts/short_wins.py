"""A figure of the verdict: the turns that it rests on."""


def counted(evidence):
    row = {"what": "turns", "figure": evidence.parsed, "meaning": "how many turns have a score"}
    return {"figures": {"counted": [row]}}
