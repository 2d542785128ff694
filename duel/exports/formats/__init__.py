"""The registry of training formats. A new one is a module with a schema, a writer and a reader, named here."""

from __future__ import annotations

import difflib

from duel.errors import UserError
from duel.exports.formats.anthropic import ANTHROPIC
from duel.exports.formats.atif import ATIF
from duel.exports.formats.base import Format
from duel.exports.formats.chatml import CHATML
from duel.exports.formats.codeact import CODEACT
from duel.exports.formats.llama_factory import LF_DPO, LF_KTO
from duel.exports.formats.preference import DPO, KTO, REWARD
from duel.exports.formats.sft import SFT, SFT_COMPLETION
from duel.exports.formats.tool_calls import OPENAI_TOOLS, TRL_TOOLS

__all__ = ["FORMATS", "Format", "named"]

FORMATS: dict[str, Format] = {
    format.name: format
    for format in (
        SFT,
        SFT_COMPLETION,
        DPO,
        REWARD,
        KTO,
        LF_DPO,
        LF_KTO,
        CHATML,
        TRL_TOOLS,
        OPENAI_TOOLS,
        ANTHROPIC,
        ATIF,
        CODEACT,
    )
}


def named(text: str) -> list[Format]:
    """The formats of a comma-separated list. Raises UserError that names the nearest known one."""
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in FORMATS:
            near = difflib.get_close_matches(name, FORMATS, n=1, cutoff=0.4)
            hint = f"did you mean `{near[0]}`? " if near else ""
            raise UserError("unknown format", where="--format", value=name, hint=f"{hint}known: {', '.join(FORMATS)}")
    if not names:
        raise UserError("no format is named", where="--format", hint=f"known: {', '.join(FORMATS)}")
    return [FORMATS[name] for name in dict.fromkeys(names)]
