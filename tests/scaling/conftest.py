"""A repository that plans are carried out in, and the rows of plans in it: made once a process."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from duel.bookkeeping import LeftOut
from duel.execution.bubblewrap import Bubblewrap
from duel.execution.checkouts import Sources
from duel.execution.executor import Limits, Start
from duel.scaling import episodes
from duel.scaling.agent_tools import Toolset
from duel.scaling.scaled_rows import ScaledRow
from tests.execution.conftest import make_repository

SHOP = {
    "shop/cart.py": "def total_price(goods):\n    net = sum(goods)\n    return net\n\n\n"
    "def empty_cart(goods):\n    goods.clear()\n",
    "shop/show.py": "from shop.cart import total_price\n\n\ndef show_price(goods):\n    print(total_price(goods))\n",
    "shop/tax.py": "class TaxRate:\n    rate = 19\n\n"
    "    def tax_due(self, net):\n        return net * self.rate / 100\n",
}
PLANS = 24
Made = tuple[list[ScaledRow], LeftOut]


@pytest.fixture(scope="session")
def mirrors() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="duel-tests-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o777)  # a sandbox's user reads it
        yield Path(name) / "mirrors"


@pytest.fixture(scope="session")
def shop(mirrors: Path) -> Start:
    return make_repository(mirrors, "acme/shop", SHOP)


@pytest.fixture(scope="session")
def made(mirrors: Path, shop: Start) -> Made:
    return carried_out(mirrors, shop, PLANS)


def machine(mirrors: Path) -> Sources:
    return Sources(mirrors.parent / "cache", str(mirrors), offline=True)


def carried_out(mirrors: Path, shop: Start, tries: int, tools: Toolset | None = None) -> Made:
    drops = LeftOut()

    async def work() -> list[ScaledRow]:
        executor = Bubblewrap(machine(mirrors), Limits(), whole_machine=True)
        try:
            return await episodes.rows(executor, [(shop, "MIT")], tries, 3, drops, tools or Toolset())
        finally:
            await executor.close()

    return asyncio.run(work()), drops
