"""Code pairs out of repositories in six languages."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from duel.scaling.code_pairs import refusal
from tests.conftest import Finished

Script = Callable[..., Finished]
MIT = "Permission is hereby granted, free of charge, to any person obtaining a copy. In all copies or substantial"
FILES = {
    "LICENSE": MIT,
    "shop/cart.py": '''
class Cart:
    """Goods that one customer has chosen so far."""

    def __init__(self):
        """Start with nothing in it at all."""
        self.goods = []
        self.customer = None

    def total_price(self, rate):
        """Sum the prices of all goods under one tax rate.

        :param rate: the tax rate
        """
        net = sum(good.price for good in self.goods)
        try:
            return net * rate
        except TypeError:
            # a rate that is no number
            return net
''',
    "tests/test_cart.py": """
def test_total_price():
    cart = Cart()
    assert cart.total_price(1) == 0
""",
    "web/money.ts": """
/** An amount of money in one currency. */
export interface Money {
  amount: number;
  currency: string;
}

// Adds two amounts that share their currency.
export const addMoney = (a: Money, b: Money): Money => {
  const amount = a.amount + b.amount;
  return { amount, currency: a.currency };
};
""",
    "web/show.js": """
/** Shows the price of one good to the customer. */
function showPrice(good) {
  const text = good.price.toFixed(2);
  return text;
}
""",
    "store/store.go": """// SPDX-License-Identifier: BSD-3-Clause
package store

// Find looks up a good by the key that it was stored under.
func Find(key string) string {
	found := goods[key]
	return found
}
""",
    "core/tax.rs": """
/// Computes the tax that is due on a net price.
#[inline]
pub fn tax_due(net: u64) -> u64 {
    let rate = 19;
    net * rate / 100
}
""",
    "app/Shop.java": """
class Shop {
    /** Opens the shop for all customers that wait outside. */
    void openDoors(int count) {
        for (int i = 0; i < count; i++) let(i);
        open = true;
    }
}
""",
    "vendor/other.py": 'def far(a):\n    """What somebody else has written down here."""\n    b = a\n    return b\n',
    "bad.py": "def f(:\n",
    "gen_pb2.py": "",
}


def repository(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    as_somebody = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    for words in (["init", "-q"], ["add", "-A"], [*as_somebody, "commit", "-qm", "all"]):
        when = dict.fromkeys(("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"), "2026-05-01T10:36:00+00:00")
        subprocess.run(["git", "-C", folder, *words], check=True, capture_output=True, env={**os.environ, **when})
    return folder


def pairs(script: Script, folder: Path, *repositories: Path) -> tuple[list[dict[str, Any]], Finished]:
    done = script("scale", "pairs", *repositories, "--workspace", folder, code=0)
    files = sorted((folder / "training-data/scaled/pairs").glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()], done


def test_every_kind_of_pair_in_six_languages(script: Script, tmp_path: Path) -> None:
    rows, done = pairs(script, tmp_path / "w", repository(tmp_path / "shop", FILES))
    found = {(row["made"]["language"], row["made"]["kind"], row["source"]["file"]) for row in rows}
    assert found == {
        ("python", "class", "shop/cart.py"),
        ("python", "function", "shop/cart.py"),
        ("python", "error handler", "shop/cart.py"),
        ("python", "test", "tests/test_cart.py"),
        ("typescript", "interface", "web/money.ts"),
        ("typescript", "function", "web/money.ts"),
        ("javascript", "function", "web/show.js"),
        ("go", "function", "store/store.go"),
        ("rust", "function", "core/tax.rs"),
        ("java", "function", "app/Shop.java"),
    }
    assert "1 left out: file does not parse" in done.err
    assert "1 left out: a method that every class has" in done.err


def test_a_row_has_every_key_also_where_it_has_nothing_to_say(script: Script, tmp_path: Path) -> None:
    rows, _ = pairs(script, tmp_path / "w", repository(tmp_path / "shop", FILES))
    keys = ["id", "messages", "tools", "source", "parent", "group", "made"]
    assert all(list(row) == keys and (row["tools"], row["parent"]) == ([], "") for row in rows)
    assert list(rows[0]["source"]) == ["kind", "name", "revision", "file", "row", "license"]


def test_the_answer_is_the_code_without_its_comment(script: Script, tmp_path: Path) -> None:
    rows, _ = pairs(script, tmp_path / "w", repository(tmp_path / "shop", FILES))
    row = next(
        row for row in rows if "`total_price`" in row["messages"][0]["content"] and row["made"]["kind"] == "function"
    )
    assert "Sum the prices of all goods" in row["messages"][0]["content"]
    assert row["messages"][1]["content"].startswith("```python\ndef total_price(self, rate):\n    net = sum(")


def test_a_license_in_the_file_stands_over_the_repositorys(script: Script, tmp_path: Path) -> None:
    rows, _ = pairs(script, tmp_path / "w", repository(tmp_path / "shop", FILES))
    assert {row["source"]["file"]: row["source"]["license"] for row in rows}["store/store.go"] == "BSD-3-Clause"
    assert {row["source"]["license"] for row in rows if row["source"]["file"].startswith("shop")} == {"MIT"}


def test_a_blank_license_line_of_a_file_leaves_the_repositorys(script: Script, tmp_path: Path) -> None:
    blank = FILES | {"store/store.go": FILES["store/store.go"].replace("BSD-3-Clause", "  */")}
    rows, _ = pairs(script, tmp_path / "out", repository(tmp_path / "shop", blank))
    assert {row["source"]["file"]: row["source"]["license"] for row in rows}["store/store.go"] == "MIT"


def test_what_is_left_out_is_listed_by_file_and_line(script: Script, tmp_path: Path) -> None:
    pairs(script, tmp_path / "w", repository(tmp_path / "shop", FILES))
    left = [json.loads(line) for line in (tmp_path / "w/report/dropped.jsonl").read_text().splitlines()]
    assert {row["stage"] for row in left} == {"scale pairs"} and "file does not parse" in {
        row["reason"] for row in left
    }
    assert all(row["file"].partition("#")[0] in FILES for row in left)


def test_a_file_that_the_repository_has_lost_costs_its_own_pairs_alone(script: Script, tmp_path: Path) -> None:
    folder = repository(tmp_path / "shop", FILES)
    lost = subprocess.run(["git", "-C", folder, "rev-parse", "HEAD:web/show.js"], capture_output=True, text=True).stdout
    (folder / ".git" / "objects" / lost[:2] / lost[2:].strip()).unlink()
    rows, done = pairs(script, tmp_path / "w", folder)
    assert len(rows) == 9 and "1 left out: file is missing in the repository" in done.err


def test_nothing_that_a_repository_names_is_run(script: Script, tmp_path: Path) -> None:
    folder, ran = repository(tmp_path / "shop", FILES), tmp_path / "ran"
    lost = subprocess.run(["git", "-C", folder, "rev-parse", "HEAD:web/show.js"], capture_output=True, text=True).stdout
    (folder / ".git" / "objects" / lost[:2] / lost[2:].strip()).unlink()
    with (folder / ".git" / "config").open("a") as config:
        config.write(f'[core]\nsshCommand = "touch {ran}; false"\nrepositoryformatversion = 1\n')
        config.write(
            '[extensions]\npartialClone = origin\n[remote "origin"]\nurl = ssh://nowhere/acme/shop\npromisor = true\n'
        )
    rows, _ = pairs(script, tmp_path / "w", folder)
    assert len(rows) == 9 and not ran.exists()


def test_repositories_of_one_name_have_a_file_and_ids_each(script: Script, tmp_path: Path) -> None:
    other = {"price.py": FILES["shop/cart.py"].replace("Sum", "Add").replace("net", "amount")}
    rows, done = pairs(
        script, tmp_path / "w", repository(tmp_path / "a/shop", FILES), repository(tmp_path / "b/shop", other)
    )
    assert "pairs/shop.jsonl: 10 rows" in done.out and "pairs/shop-2.jsonl: 3 rows" in done.out
    assert {row["source"]["name"] for row in rows} == {"local/shop", "local/shop-2"}
    assert len({row["id"] for row in rows}) == len(rows) == 13


def test_a_place_that_is_no_repository_costs_the_others_nothing(script: Script, tmp_path: Path) -> None:
    places = tmp_path / "none", repository(tmp_path / "shop", FILES)
    done = script("scale", "pairs", *places, "--workspace", tmp_path / "w", code=2)
    assert "not a git repository" in done.err and "pairs/shop.jsonl: 10 rows" in done.out


def test_a_command_line_without_a_place_says_what_to_name(script: Script, tmp_path: Path) -> None:
    for what, told in (("pairs", "~/src/requests"), ("public", "--reader hermes")):
        err = script("scale", what, "--offline", "--workspace", tmp_path, code=2).err
        assert "hint:" in err and told in err


def test_a_machine_without_git_is_told(script: Script, tmp_path: Path) -> None:
    shop = repository(tmp_path / "shop", FILES)
    told = script("scale", "pairs", shop, "--workspace", tmp_path / "w", code=2, PATH=str(tmp_path)).err
    assert "git cannot be run" in told


def test_a_folder_that_is_no_repository_is_told(script: Script, tmp_path: Path) -> None:
    told = script("scale", "pairs", tmp_path, "--workspace", tmp_path / "w", code=2).err
    assert "not a git repository" in told


@pytest.mark.parametrize(
    ("doc", "code", "reason"),
    [
        ("Sums it.", "a\nb\nc", "comment too short"),
        ("Add the two numbers and give them.", "a = 1", "code under 3 lines"),
        ("TODO: write what this one does here", "a\nb\nc", "unfinished or deprecated"),
        ("Copyright 2020 by the people of Acme here", "a\nb\nc", "license header"),
        ("Sorts what it is given.\n\n:param nothing: x", "a\nb\nc", "a parameter that is not there"),
        ("Reads all the lines of it.", "def f():\n    x\n    pass", "a stub"),
        ("Say what stands in the file here.", "a\nb\nc", ""),
    ],
)
def test_why_a_pair_is_none(doc: str, code: str, reason: str) -> None:
    assert refusal(doc, code, "f", "function") == reason
