"""The protocol check and the parser under it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from duel import shell, turn
from duel.audit.protocol import check, read_rules
from duel.records import Message
from tests.audit import real
from tests.conftest import Recorded

STRICT = """Every response must contain EXACTLY ONE bash code block (triple backticks) with EXACTLY ONE command.
Before the bash block, include a THOUGHT section explaining your reasoning.

```bash
<one bash command>
```

- NEVER use `cd`. Always use repo-relative paths.
- There are NO language interpreters. Do NOT try to invoke python, pip, make,
  or any test runner. They are NOT installed.
- ALLOWED tools: cat, head, ls, find, grep, sed (including
  `sed -i` for in-place edits), echo, git diff/log/show.
- Commands may be chained with `&&` or `||` or `|`.
- Do NOT prefix your bash command with a `# comment` line.
- Do NOT use `bash -c`, `eval`, `source`.
Finish with `echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT`.
"""
HISTORY = [Message(role="system", content=STRICT), Message(role="user", content="Fix it.")]


def problems(command: str, history: list[Message] = HISTORY, before: str = "I look.\n\n") -> list[str]:
    return [problem.rule for problem in check(f"{before}```bash\n{command}\n```\n", history).problems]


@pytest.mark.parametrize(
    "command",
    [
        "ls -la",
        "grep -rn foo src | head -20",
        "cat a.py && git diff",
        "cat <<'EOF' > notes.txt\ncd /tmp\npython x.py\n# a comment\nEOF",
        "sed -i 's/# a/cd/' x.py",
        "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT",
    ],
)
def test_a_turn_that_keeps_the_rules_has_no_problem(command: str) -> None:
    assert problems(command) == []


@pytest.mark.parametrize(
    ("command", "rule"),
    [
        ("cd src && ls", "cd"),
        ("# look around\nls", "comment"),
        ("python -c 'print(1)'", "forbidden-tool"),
        ("cat x | python", "forbidden-tool"),
        ("find . -name x | xargs make", "forbidden-tool"),
        ("pytest -q", "forbidden-tool"),
        ("bash -c 'ls'", "forbidden-tool"),
        ("git commit -m x", "tool-not-allowed"),
        ("awk '{print}' x", "tool-not-allowed"),
        ("ls\ncat x", "several-commands"),
        ("ls; cat x", "several-commands"),
        ("echo 'open", "syntax"),
        ("if true; then ls", "syntax"),
        ("", "empty-block"),
        ("git diff && echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT", "submit-not-first"),
    ],
)
def test_a_broken_rule_is_named(command: str, rule: str) -> None:
    assert rule in problems(command)


def test_what_the_prompt_does_not_speak_of_is_not_demanded() -> None:
    assert problems("# note\ncd src && python x.py\nls", [Message(role="user", content="Fix it.")], before="") == []


def test_form_is_checked_as_commonmark_sees_it() -> None:
    assert problems("ls\n```\n\nand\n\n```bash\npwd") == ["several-blocks"]
    assert problems("ls", before="") == ["no-thought"]
    assert [p.rule for p in check("only talk", HISTORY).problems] == ["no-block"]
    assert [p.rule for p in check("I look.\n```sh\nls\n```", HISTORY).problems] == ["fence-label"]
    assert [p.rule for p in check("I look.\n```bash\nls", HISTORY).problems] == ["open-block"]


def test_a_command_whose_output_is_already_there_is_a_repetition() -> None:
    def said(command: str) -> list[Message]:
        return [Message(role="assistant", content=f"a\n```bash\n{command}\n```"), Message(role="user", content="out")]

    assert problems("grep -n x  a.py", [*HISTORY, *said("grep -n x a.py"), *said("ls")]) == ["repetition"]
    assert problems("grep -n x a.py", [*HISTORY, *said("grep -n x a.py"), *said("sed -i s/x/y/ a.py")]) == []
    refused = Message(role="assistant", content="a\n```bash\nls\n```\n```bash\npwd\n```")
    assert problems("ls", [*HISTORY, refused, Message(role="user", content="one block please")]) == []


def test_a_submission_is_recognized_by_the_first_line_that_is_printed() -> None:
    for command in ("echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT && git add -A && git diff --cached",):
        found = check(f"Done.\n```bash\n{command}\n```", HISTORY)
        assert found.submits
        assert found.style == "submit"
    assert not check("Done.\n```bash\nls && echo MINI_SWE_AGENT_FINAL_OUTPUT\n```", HISTORY).submits


@pytest.mark.parametrize(
    ("command", "style"),
    [
        ("grep -rn x . | head", "search"),
        ("find . -name '*.py' | xargs cat", "search"),
        ("nl -ba x | sed -n '1,9p'", "read"),
        ("cat x 2>/dev/null", "read"),
        ("sed -i 's/a/b/' x", "edit"),
        ("find . -name x | xargs sed -i s/a/b/", "edit"),
        ("cat <<'EOF' > t.py && python t.py\nx\nEOF", "edit"),
        ("python -m pytest -q > out.txt", "run"),
        ("cd /testbed && python x.py", "run"),
        ("git log --oneline | head", "version control"),
        ("echo MINI_SWE_AGENT_FINAL_OUTPUT", "submit"),
        ("echo hello", "other"),
        ("", "other"),
    ],
)
def test_the_most_decisive_command_is_the_style(command: str, style: str) -> None:
    assert shell.style(command) == style


# (command, valid for this parser, valid for `bash -n`, why they differ)
DIFFERENCES = [
    (
        "cat <<EOF\nnever closed",
        False,
        True,
        "bash only warns of a heredoc that ends with the file; it is a cut command",
    ),
    (
        "cat <<'EOF'\nthe mark EOF\nEOF",
        True,
        True,
        "the grammar ends a heredoc at a mark inside a line: parsed again without",
    ),
    ("echo $((1 +))", None, True, "bash looks into arithmetic only when it runs it"),
    ("ls )", False, False, ""),
    ("echo 'a", False, False, ""),
    ("for x in a; do ls", False, False, ""),
    ("a=(1 2 3); echo ${a[1]}", True, True, ""),
    ("case x in a) ls;; esac", True, True, ""),
]


@pytest.mark.parametrize(("command", "ours", "bash", "why"), DIFFERENCES)
def test_where_the_parser_and_bash_differ_is_known(command: str, ours: bool | None, bash: bool, why: str) -> None:
    if ours is not None:
        assert shell.parse(command).valid is ours
    assert accepts(command) is bash
    assert ours == bash or why


def accepts(script: str) -> bool:
    done = subprocess.run(["bash", "-n"], input=script.encode(), capture_output=True, check=False)
    return done.returncode == 0


def test_the_parser_agrees_with_bash_on_every_recorded_turn(recorded: Recorded) -> None:
    commands = [
        command for file in recorded.runs for honest in real.turns_of(file) for command in turn.blocks(honest.reply)
    ]
    assert len(commands) > 1290
    # One process reads them all: `bash -n` on each alone takes 1.5 ms, and as much again to start.
    whole = "\n".join(f"f{i}() {{\n{command}\n:\n}}" for i, command in enumerate(commands))
    assert accepts(whole)
    assert [command for command in commands if not shell.parse(command).valid] == []


def test_the_31_turns_with_several_blocks_are_found(shared: Path) -> None:
    checked = [check(honest.reply, honest.history) for honest in real.turns(shared)]
    assert sum(found.blocks > 1 for found in checked) == 31
    assert sum(any(p.rule == "several-blocks" for p in found.problems) for found in checked) == 31
    assert sum(found.submits for found in checked) == 38


def test_the_rules_of_the_real_prompts_are_read(shared: Path) -> None:
    mini = read_rules(next(real.turns(shared)).history)
    assert mini.one_command
    assert mini.thought
    assert mini.operators == {"&&", "||"}
    assert not mini.no_cd
    assert not mini.allowed
    zero = read_rules(next(real.turns(shared, "swe_zero")).history)
    assert zero.no_cd
    assert zero.no_comment
    assert {"python", "pytest", "bash -c", "eval", "cargo"} <= zero.forbidden
    assert {"cat", "sed", "git diff", "git status"} <= zero.allowed
    assert not zero.forbidden & {"cat", "or", "verify", "invoke"}
