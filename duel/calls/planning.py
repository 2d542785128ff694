"""What a stage will cost, before a cent is spent."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field

from duel.calls import prices
from duel.calls.ledger import CUT, Ledger
from duel.calls.prices import BYTES_PER_TOKEN
from duel.calls.runner import Job
from duel.calls.wire import encode
from duel.errors import printable
from duel.settings import Settings
from duel.workspace import Workspace


@dataclass
class ModelPlan:
    """What is planned for one model."""

    calls: int = 0
    tokens_in: int = 0  # estimated on the safe side, at three bytes a token
    tokens_out: int = 0  # at most: the whole budget of every reply
    cost: float | None = 0.0  # dollars at most; None where the price is unknown
    batch: float = 1.0  # what a batch costs, as a share of that


@dataclass
class Plan:
    """Calls, tokens and dollars by model."""

    stage: str
    items: int = 0
    from_ledger: int = 0
    models: dict[str, ModelPlan] = field(default_factory=dict)
    batch_h: float = 0.0  # hours that one round waits at most where the stage goes by batches; 0: it does not

    @property
    def calls(self) -> int:
        """Where every first reply is taken."""
        return sum(model.calls for model in self.models.values())

    @property
    def cost(self) -> float | None:
        """Dollars at most in all; None where a price is unknown."""
        costs = [model.cost for model in self.models.values()]
        return None if None in costs else sum(cost for cost in costs if cost is not None)

    @property
    def batch_cost(self) -> float:
        """Dollars at most in all, at the price of batches."""
        return sum((model.cost or 0.0) * model.batch for model in self.models.values())

    def times(self, weight: float) -> Plan:
        """The plan of a run of which this one is a sample: each item stands for `weight` of them."""
        models = {}
        for name, model in self.models.items():
            calls, told, said = (round(count * weight) for count in (model.calls, model.tokens_in, model.tokens_out))
            cost = None if model.cost is None else model.cost * weight
            models[name] = ModelPlan(calls, told, said, cost, model.batch)
        return Plan(self.stage, round(self.items * weight), round(self.from_ledger * weight), models, self.batch_h)

    def say(self) -> None:
        print(f"{self.stage}: {self.items:,} items, {self.calls:,} calls, {self.from_ledger:,} replies from the ledger")
        for name, model in self.models.items():
            unknown = "unknown price (give it in chain.toml [prices])"
            price = unknown if model.cost is None else f"at most ${model.cost:,.2f}"
            print(
                f"  {printable(name)}: {model.calls:,} calls, about {model.tokens_in:,} tokens in, "
                f"at most {model.tokens_out:,} out, {price}"
            )
        total = "unknown" if self.cost is None else f"at most ${self.cost:,.2f}"
        print(f"  cost: {total}, plus what is asked again; prices of {prices.PRICES_READ_ON} or [prices], they change")
        if self.batch_h and self.cost is not None:
            print(f"  by batch: at most ${self.batch_cost:,.2f}; the longest wait is {self.batch_h:g} h a round")


def plan(jobs: Iterable[Job], *, workspace: Workspace, settings: Settings, stage: str, offline: bool = False) -> Plan:
    """What `drive` would do with these jobs; no call is made, nothing is written, no key is needed."""
    by_batch = settings.batch.provider not in ("off", "file")
    made = Plan(stage, batch_h=settings.batch.deadline_h if by_batch else 0.0)
    with Ledger(workspace.ledger) if workspace.ledger.exists() else nullcontext() as ledger:
        for job in jobs:
            made.items += 1
            for request in job.requests():
                known = ledger.find(request) if ledger is not None else None
                if known is not None and known.rejected != CUT:
                    made.from_ledger += 1
                    continue
                model = made.models.setdefault(request.model, ModelPlan())
                tokens_in = int(len(encode(request, request.model, request.max_tokens)) / BYTES_PER_TOKEN)
                model.calls += 1
                model.tokens_in += tokens_in
                model.tokens_out += request.max_tokens
                price = prices.price_of(request.model, settings, offline=offline)
                model.batch = price.batch if price is not None else 1.0
                cost = prices.cost(price, {"prompt_tokens": tokens_in, "completion_tokens": request.max_tokens})
                model.cost = None if cost is None or model.cost is None else model.cost + cost
    return made
