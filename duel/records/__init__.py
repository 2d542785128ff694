"""Every record on disk, typed once: prompt, pull request, answer with its candidates, score, people's votes, kept turn.

Records are read and written nowhere else in other shapes. Unknown keys survive a round trip, and each record carries a
format tag, so that a reader can tell a record of its own kind from any other JSON.
"""

# isort: off
from duel.records.answer import (
    Answer, Audit, BrokenRule, Candidate, ChangedFile, Commit, Kept, Leak, Made, Promotion, Prompt, ProtocolCheck,
    Refinement, Selection, Source, fingerprint,
)  # fmt: skip
from duel.records.decision import (
    Asked, Attempts, Bound, Canary, FamilyBias, Gate, JudgeFigures, JudgeMoved, JudgePair, LengthBias, LengthBin,
    Looks, MetricFigures, NoiseFloor, Repeats, Thresholds, Verdict, WhatIf, WinMargin,
)  # fmt: skip
from duel.records.executed import Guided, GuidedRun, GuidedStep, Observed, Ran
from duel.records.record import DIMENSIONS, RULE, Bucket, Message, Order, Record, Role, Side
from duel.records.votes import Lot, PairIds, People, PersonVote, Score, Vote
# isort: on

__all__ = [
    "DIMENSIONS", "RULE", "Answer", "Asked", "Attempts", "Audit", "Bound", "BrokenRule", "Bucket", "Canary",
    "Candidate", "ChangedFile", "Commit", "FamilyBias", "Gate", "Guided", "GuidedRun", "GuidedStep", "JudgeFigures",
    "JudgeMoved", "JudgePair", "Kept", "Leak", "LengthBias", "LengthBin", "Looks", "Lot", "Made", "Message",
    "MetricFigures", "NoiseFloor", "Observed", "Order", "PairIds", "People", "PersonVote", "Promotion", "Prompt",
    "ProtocolCheck", "Ran", "Record", "Refinement", "Repeats", "Role", "Score", "Selection", "Side", "Source",
    "Thresholds", "Verdict", "Vote", "WhatIf", "WinMargin", "fingerprint",
]  # fmt: skip
