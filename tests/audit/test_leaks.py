"""The blind rule: what an agent cannot know is found, what it can know is not held against it."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from duel import offline
from duel.audit.leaks import find_leaks, sentence
from duel.audit.rarity import Rarity
from duel.records import ChangedFile, Commit, Message
from tests.audit import planting, real

PATCH = """diff --git a/shop/basket.py b/shop/basket.py
index 1f3a9c2e..7b8d0e4f 100644
--- a/shop/basket.py
+++ b/shop/basket.py
@@ -118,7 +118,9 @@ class Basket:
     def total(self):
         items = self._items
-        return sum(i.price for i in items)
+        discount = resolve_loyalty_discount(self.owner)
+        if discount > 4711:
+            raise BasketOverflow("the loyalty discount exceeds the basket")
+        return sum(i.price for i in items) - discount
"""
TEST_PATCH = """diff --git a/tests/test_loyalty.py b/tests/test_loyalty.py
--- a/tests/test_loyalty.py
+++ b/tests/test_loyalty.py
@@ -0,0 +1,3 @@
+def test_discount_never_exceeds_sum(client):
+    client.set_env("SHOP_LOYALTY_TIER", "gold-tier-plus")
+    assert client.css(".basket-total--reduced")
"""
COMMIT = Commit(
    instance_id="acme__shop-8642",
    repo="acme/shop",
    pull_number=8642,
    commit="9c1d5e7fa0b3426c8e15d7f9a2b4c6d8e0f13579",
    issue="Totals are wrong for members.",
    description="Subtracts what long-standing members have earned before the sum is shown to them.",
    files=[ChangedFile(path="shop/basket.py"), ChangedFile(path="tests/test_loyalty.py")],
    patch=PATCH,
    test_patch=TEST_PATCH,
)
HISTORY = [
    Message(role="system", content="Give one bash block. ALLOWED tools: cat, grep, git diff."),
    Message(role="user", content="Totals are wrong for members. Repo: acme/shop"),
]


def audit(said: str, history: list[Message] = HISTORY, command: str = "ls"):
    return find_leaks(f"{said}\n\n```bash\n{command}\n```", history, COMMIT, Rarity.from_commits([COMMIT]))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("path", "The place to look at is shop/basket.py."),
        ("path", "I expect `tests/test_loyalty.py` to cover it."),
        ("identifier", "We have to call `resolve_loyalty_discount` first."),
        ("identifier", "It should raise BasketOverflow in that case."),
        ("identifier", "The variable SHOP_LOYALTY_TIER decides."),
        ("test", "Then test_discount_never_exceeds_sum passes."),
        ("literal", 'It says "the loyalty discount exceeds the basket" then.'),
        ("line number", "At line 120 of basket.py there is `return sum(i.price for i in items)`."),
        ("hash", "I check out 9c1d5e7fa0 for that."),
        ("hash", "The blob was 7b8d0e4f before."),
        ("pull", "See #8642."),
        ("number", "The limit has to be 4711."),
        ("identifier", "Elements with `.basket-total--reduced` are affected."),
        ("line", "It subtracts what long-standing members have earned before the sum is shown."),
        ("line", "It becomes `return sum(i.price for i in items) - discount`."),
        ("talk", "As the diff shows, this is small."),
        ("talk", "The PR touches only one file."),
        ("talk", "I follow the upstream fix."),
        ("talk", "The fix in the patch is enough."),
    ],
)
def test_a_fact_that_only_the_pull_request_tells_is_a_leak(kind: str, said: str) -> None:
    found = audit(said)
    assert found.leaking, found
    assert kind in {finding.kind for finding in found.leaks}


SPELLINGS = [
    "cat /testbed/shop/basket.py",
    "cat a/shop/basket.py",
    "cat repo/shop/basket.py",
    "cat $PWD/shop/basket.py",
    'cat "${PWD}/shop/basket.py"',
    "cat ~/work/shop/basket.py",
    "cat ./shop/../shop//basket.py",
    "pytest tests/test_loyalty.py::test_total",
    "echo shop/basket.py:3",
    "git show HEAD:shop/basket.py",
    "curl -s https://raw.githubusercontent.com/acme/shop/HEAD/shop/basket.py",
    "python -c 'import shop.basket'",
    "python -m tests.test_loyalty",
    "cat shop/bask*",
    "cat shop/{basket,cart}.py",
    "find . -name basket.py",
    "find . -iname '*loyalty*'",
    "git ls-files '*basket*'",
    "sed -i 's/a/b/' /testbed/shop/basket.py",
]


@pytest.mark.parametrize("command", SPELLINGS)
def test_a_path_is_found_in_every_spelling(command: str) -> None:
    found = audit("I go on.", command=command)
    assert found.leaking
    assert "path" in {finding.kind for finding in found.leaks}


@pytest.mark.parametrize("command", ["cat /testbed/other/basket.py", "ls shop/*.py", "cat shop/cart.py", "ls -la /"])
def test_another_path_is_none_of_the_pull_requests(command: str) -> None:
    assert "path" not in {finding.kind for finding in audit("I go on.", command=command).leaks}


LISTED = [
    *HISTORY,
    Message(role="assistant", content="```bash\nls shop\n```"),
    Message(role="user", content="basket.py"),
]
READ = [
    *LISTED,
    Message(role="assistant", content="```bash\ncat shop/basket.py\n```"),
    Message(role="user", content="class Basket: ..."),
]


@pytest.mark.parametrize(
    ("kind", "command"),
    [
        ("blind edit", "sed -i 's/a/b/' shop/basket.py"),
        ("blind edit", "cat > shop/basket.py <<'EOF'\nx\nEOF"),
        ("blind edit", "python - <<'EOF'\nopen('shop/basket.py', 'w').write('x')\nEOF"),
        ("blind edit", "git apply <<'EOF'\n--- a/shop/basket.py\n+++ b/shop/basket.py\nEOF"),
        ("window", "sed -n '113,124p' shop/basket.py"),
        ("window", "head -n 124 shop/basket.py | tail -n 9"),
        ("window", "awk 'NR>=113 && NR<=124' shop/basket.py"),
        ("window", "nl -ba /testbed/shop/basket.py | sed -n '113,+11p'"),
        ("identifier", "grep -rn resolve_loyalty_discount ."),
        ("identifier", "rg 'class BasketOverflow'"),
        ("other history", "git log --all --oneline"),
        ("other history", "git fetch origin pull/8642/head"),
        ("other history", "git show origin/main:README"),
        ("other history", "pip download other"),
        ("other history", "pip install shop==9.1"),
        ("other history", "curl -L https://github.com/acme/shop/pull/1.diff"),
        ("other history", "gh pr view 12"),
    ],
)
def test_what_only_a_reader_of_the_pull_request_does_is_a_leak(kind: str, command: str) -> None:
    found = audit("I go on.", LISTED, command)
    assert found.leaking, found
    finding = next(finding for finding in found.leaks if finding.kind == kind)
    assert finding.value in sentence(finding)


@pytest.mark.parametrize(
    "command",
    [
        "sed -i 's/a/b/' shop/basket.py",
        "sed -n '113,124p' shop/basket.py",
        "git log --oneline -5",
        "git show HEAD~1 --stat",
        "git diff HEAD",
        "git add --all",
        "pip install -e .",
        "grep -rn Basket shop",
    ],
)
def test_what_an_agent_does_after_reading_is_no_leak(command: str) -> None:
    assert not audit("I go on.", READ, command).leaking


def test_a_round_window_may_be_a_shot_in_the_dark() -> None:
    assert not audit("I go on.", LISTED, "sed -n '100,130p' shop/basket.py").leaking


def test_a_module_that_the_task_names_may_be_opened_and_not_edited() -> None:
    task = [Message(role="user", content="The basket is wrong.")]
    assert not audit("Let me look.", task, "cat shop/basket.py").leaking
    assert audit("Let me look.", task, "sed -i 's/a/b/' shop/basket.py").leaking


def test_the_usual_test_file_of_an_opened_module_may_be_opened() -> None:
    history = [*HISTORY, Message(role="assistant", content="```bash\ncat shop/loyalty.py\n```")]
    assert not audit("And its tests.", history, "cat tests/test_loyalty.py").leaking
    assert audit("And its tests.", HISTORY, "cat tests/test_loyalty.py").leaking


def test_a_finding_says_what_and_where_and_how_rare() -> None:
    finding = audit("First line.\nWe call resolve_loyalty_discount.").leaks[0]
    assert finding.value == "resolve_loyalty_discount"
    assert finding.place["line"] == 2
    assert finding.pr_place == {"part": "patch", "path": "shop/basket.py", "line": 9}
    assert finding.elsewhere == 0
    assert finding.rarity == 1.0
    assert "resolve_loyalty_discount" in sentence(finding)


@pytest.mark.parametrize(
    "shown",
    [
        "shop/basket.py",
        "$ ls shop\nbasket.py\ncart.py",
        "from shop.basket import Basket",
        "SHOP/Basket.py is the file",
    ],
)
def test_a_path_that_was_listed_is_no_leak(shown: str) -> None:
    history = [*HISTORY, Message(role="user", content=shown)]
    assert not audit("Next I read shop/basket.py.", history).leaks


def test_a_name_that_was_seen_in_another_case_is_no_leak() -> None:
    history = [*HISTORY, Message(role="user", content="NameError: RESOLVE_LOYALTY_DISCOUNT")]
    assert not audit("Where is resolve_loyalty_discount?", history).leaks


def test_words_that_every_program_uses_are_no_leak() -> None:
    assert not audit("The items should return a sum, and the owner has a price; I assert and raise ValueError.").leaks


def test_a_name_that_many_other_pull_requests_use_weighs_little() -> None:
    others = [COMMIT.model_copy(update={"instance_id": f"x__y-{i}"}) for i in range(400)]
    said = "We call resolve_loyalty_discount.\n\n```bash\nls\n```"
    assert not find_leaks(said, HISTORY, COMMIT, Rarity.from_commits([COMMIT, *others])).leaking


def test_a_line_number_that_follows_from_what_was_shown_is_no_leak() -> None:
    shown = "```bash\nsed -n '100,140p' shop/basket.py\n```"
    history = [*HISTORY, Message(role="assistant", content=shown), Message(role="user", content="class Basket: …")]
    found = audit("Line 120 of shop/basket.py is wrong.", history)
    assert "line number" not in {finding.kind for finding in found.leaks}


def test_talk_of_a_diff_that_the_agent_has_seen_is_no_leak() -> None:
    history = [*HISTORY, Message(role="user", content="diff --git a/x b/x\n+++ b/x\n")]
    assert not audit("As the diff shows, only x changed.", history).leaks


def test_the_threshold_decides_what_leaks() -> None:
    said = "We call `resolve_loyalty_discount`.\n\n```bash\nls\n```"
    rarity = Rarity.from_commits([COMMIT])
    score = find_leaks(said, HISTORY, COMMIT, rarity).leak_score
    assert find_leaks(said, HISTORY, COMMIT, rarity, leak_max=score - 0.01).leaking
    assert not find_leaks(said, HISTORY, COMMIT, rarity, leak_max=score).leaking


PLANTS = 60
"""Per kind; `bench/leaks.py` plants 250."""


@pytest.fixture(scope="module")
def material():
    folder = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real data is not on this machine")
    pulls = real.commits(folder)
    runs = [(i, messages) for name in ("mini_swe_agent", "swe_zero") for i, messages in real.rollouts(folder, name)]
    rarity = Rarity.from_commits(
        pulls.values(), ((i, "\n".join(message.content for message in messages)) for i, messages in runs)
    )
    return pulls, rarity, list(real.turns(folder)), list(real.turns(folder, "swe_zero"))


def test_at_most_one_in_a_hundred_honest_turns_is_flagged(material) -> None:
    pulls, rarity, *sources = material
    for honest in (source[::2] for source in sources):  # half of them: the turns of a run are much alike
        flagged = [
            turn for turn in honest if find_leaks(turn.reply, turn.history, pulls[turn.instance_id], rarity).leaking
        ]
        assert len(flagged) <= 0.01 * len(honest), [(turn.instance_id, turn.position) for turn in flagged]


@pytest.fixture(scope="module")
def bundled():
    pulls = real.commits(offline.SAMPLE / "pulls.parquet")
    honest = list(real.turns_of(offline.SAMPLE / "trajectories.parquet"))
    own = {i: planting.names(f"{c.patch}\n{c.test_patch}\n{c.issue}") for i, c in pulls.items()}
    used = Counter(name for names in own.values() for name in names)
    return pulls, Rarity.from_commits(pulls.values()), {name for name, count in used.items() if count > 1}, honest


@pytest.mark.parametrize("kind", ["path", "identifier", "test", "literal", "line number", "talk", "line"])
def test_planted_leaks_are_found_in_the_bundled_sample(kind: str, bundled) -> None:
    """Of names that no other of its pull requests holds; its few small repositories say little about the others."""
    pulls, rarity, common, honest = bundled
    rng = random.Random(f"planted {kind}")
    found = []
    for turn in rng.sample(honest, k=len(honest)):
        commit = pulls[turn.instance_id]
        if planted := planting.leaks(commit, turn.history, kind, rng, common):
            text = planting.plant(turn.reply, planted[1], rng)
            found.append(find_leaks(text, turn.history, commit, rarity).leaking)
        if len(found) == PLANTS:
            break
    assert len(found) == PLANTS
    assert sum(found) >= 0.95 * PLANTS


KINDS = ["path", "identifier", "test", "literal", "line number", "hash", "pull", "talk", "line"]


@pytest.mark.parametrize("kind", KINDS)
def test_planted_leaks_are_found(kind: str, material, record_property) -> None:
    """At least 95 % of each kind, names that other records hold among them; those of the bundled sample are rare.

    `bench/leaks.py` plants in other sentences and more kinds, on the half of the pull requests on which nothing was
    tuned; docs/audit.md has its table.
    """
    pulls, rarity, honest, others = material
    rng = random.Random(f"planted {kind}")
    counts: Counter[bool] = Counter()
    missed = []
    for turn in rng.sample([*honest, *others], k=len(honest)):
        commit = pulls[turn.instance_id]
        planted = planting.leaks(commit, turn.history, kind, rng)
        if planted is None:
            continue
        fact, sentence = planted
        found = find_leaks(planting.plant(turn.reply, sentence, rng), turn.history, commit, rarity)
        counts[found.leaking] += 1
        missed += [] if found.leaking else [fact]
        if counts.total() == PLANTS:
            break
    record_property("found", counts[True] / counts.total())
    assert counts.total() >= 60
    assert counts[True] >= 0.95 * counts.total(), missed
