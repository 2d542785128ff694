"""Write training sets: from verdict to trainer in one command.

    duel export --format sft,dpo --split 80/10/10        the turns of final/
    duel export --format dpo --defeat-pairs              and the king's wins out of defeat/
    duel export --from runs.parquet --format codeact --filter error-recovery

formats  sft, sft-completion, dpo, reward, kto, chatml, trl-tools, openai-tools, anthropic, atif, codeact
reads    final/, refined/, defeat/ with answer_*/, commit/ and score/; or any trajectory file with `messages`
writes   export/<format>/<split>.jsonl and .parquet, export/README.md (the card), export/rows.jsonl and
         export/manifest.json; what was left out, with its reason, in report/dropped.jsonl
"""

from __future__ import annotations

from argparse import ArgumentTypeError, Namespace
from pathlib import Path
from typing import Any

from duel.audit.contamination import Benchmarks
from duel.bookkeeping import Result
from duel.command import Parser, say
from duel.exports import card, duels, facts, formats, push, quality, splits, trajectories
from duel.exports.dataset import Export
from duel.exports.example import Example
from duel.exports.handover import Handover
from duel.settings import Settings
from duel.stages import given, opened, options
from duel.workspace import Workspace


