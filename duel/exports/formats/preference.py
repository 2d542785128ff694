"""TRL's preference shapes: `dpo` and `reward` hold both candidates in one row, `kto` one candidate and its label."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from duel.conversation import dialogue
from duel.exports import checks
from duel.exports.example import Example, Turns, labelled, pair, scored_pair
from duel.exports.formats.base import FORMATS, Format, Provenance, Row, TextMessage, as_messages, as_text, provenance


class Pair(Provenance):
    """TRL conversational preference with an explicit prompt: `chosen` and `rejected` hold only the continuation."""

    prompt: list[TextMessage]
    chosen: list[TextMessage]
    rejected: list[TextMessage]


class ScoredPair(Pair):
    """As `Pair`, with the margin that TRL's reward trainer subtracts. TRL's DPO trainer knows no margin."""

    margin: float


class Labelled(Provenance):
    """TRL conversational unpaired preference. `label` is a bool: KTO sums it."""

    prompt: list[TextMessage]
    completion: list[TextMessage]
    label: bool


def write_pair(example: Example) -> Row:
    """A row with `prompt`, `chosen` and `rejected`."""
    return {
        **provenance(example),
        "prompt": as_text(example.prompt),
        "chosen": as_text(example.messages[-1:]),
        "rejected": [{"role": "assistant", "content": example.rejected}],
    }


def write_scored_pair(example: Example) -> Row:
    """A row with `prompt`, `chosen`, `rejected` and `margin`."""
    return {**write_pair(example), "margin": example.margin}


def read_pair(row: Mapping[str, Any]) -> Turns:
    """The turns of a row with both candidates."""
    [rejected] = row["rejected"]
    return Turns(dialogue.parse(as_messages([*row["prompt"], *row["chosen"]])), rejected=rejected["content"])


def write_labelled(example: Example) -> Row:
    """A row with `prompt`, `completion` and `label`."""
    return {
        **provenance(example),
        "prompt": as_text(example.prompt),
        "completion": as_text(example.messages[-1:]),
        "label": example.label,
    }


def read_labelled(row: Mapping[str, Any]) -> Turns:
    """The turns of a row with one candidate and its label."""
    return Turns(dialogue.parse(as_messages([*row["prompt"], *row["completion"]])), label=row["label"])


def _check_pair(row: Mapping[str, Any]) -> None:
    checks.text_chat([*row["prompt"], *row["chosen"]])
    checks.text_chat([*row["prompt"], *row["rejected"]])


DPO = Format(
    name="dpo",
    summary="TRL, `prompt` / `chosen` / `rejected`",
    schema=Pair,
    rows_of=pair,
    write=write_pair,
    read=read_pair,
    check=_check_pair,
    recipes={"trl": "dpo", "axolotl": "dpo", "unsloth": "dpo"},
    caution="LLaMA-Factory drops every row (it wants one object where this has a list of one): take `lf-dpo`",
    reasoning=True,
)
REWARD = Format(
    name="reward",
    summary="TRL's reward trainer: as `dpo`, with `margin` (-1 to 1: how much of the panel preferred `chosen`)",
    schema=ScoredPair,
    rows_of=scored_pair,
    write=write_scored_pair,
    read=read_pair,
    check=_check_pair,
    recipes={"trl": "reward"},
    reasoning=True,
)
KTO = Format(
    name="kto",
    summary="TRL, `prompt` / `completion` / `label`; two rows a turn",
    schema=Labelled,
    rows_of=labelled,
    write=write_labelled,
    read=read_labelled,
    check=lambda row: checks.text_chat([*row["prompt"], *row["completion"]]),
    recipes={"trl": "kto", "unsloth": "kto"},
    trl_flags={"per_device_train_batch_size": 2},  # the KL term is estimated within a batch
    caution="LLaMA-Factory skips every row: take `lf-kto`",
    reasoning=True,
)
FORMATS.add(DPO.name, DPO)
FORMATS.add(REWARD.name, REWARD)
FORMATS.add(KTO.name, KTO)
