"""The sections of chain.toml on what calls cost: prices, and batches, which halve them.

The line below a key is its documentation, as in `duel.sections`.
"""

from pydantic import Field

from duel.sections import FrozenSection


class BatchSection(FrozenSection):
    """Calls in batches: up to a day's wait a round, half the price."""

    provider: str = "off"
    """"off": every call at once; the shape in which the endpoint takes batches: "openai", "openrouter", "anthropic" or
    one that an installed package registers; "file": `out` and `absorb` in place of an endpoint. `--batch` wins."""
    max_requests: int = Field(0, ge=0)
    """Requests in one batch; 0: nine tenths of what the provider takes."""
    max_bytes: int = Field(0, ge=0)
    """Bytes of one batch; 0: nine tenths of what the provider takes."""
    poll_s: float = Field(30.0, gt=0)
    """Seconds between two looks at the batches to begin with; they grow to twenty times that."""
    deadline_h: float = Field(24.0, gt=0)
    """Hours after which a batch is canceled; what it lacks goes into the next round."""
    out: str = ""
    """Write requests to this file; the command line calls it `--batch-out`."""
    absorb: str = ""
    """Take replies from this file; the command line calls it `--absorb`."""


class Price(FrozenSection):
    """Dollars a million tokens."""

    input: float = Field(ge=0)
    """Dollars a million prompt tokens."""
    output: float = Field(ge=0)
    """Dollars a million completion tokens."""
    cached_input: float | None = Field(None, ge=0)
    """Prompt tokens that the endpoint served from its cache; unset: as `input`."""
    batch: float = Field(0.5, ge=0, le=1)
    """What a reply out of a batch costs, as a share of that."""
