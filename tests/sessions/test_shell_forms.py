"""Shell forms do what the tools did: run by bash, and for any content that a tool may have written."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duel import turn
from duel.conversation.model import AgentCall
from duel.errors import ItemError
from duel.sources.mining import shell_forms
from tests.sessions.shell import ShellCase, wrong

# What breaks heredocs, patches, quoting and the fence: short lines of it, with and without a newline at the end.
PIECES = [
    "a",
    "b",
    "EOF",
    "EOF_1",
    "```",
    "```bash",
    "'",
    '"',
    "\\",
    "$x",
    "$(x)",
    "`x`",
    "|",
    "\t",
    " ",
    "",
    "é",
    "\r",
    "'''",
    "\x0c",
]
CONTENT = st.lists(st.sampled_from(PIECES), max_size=12).map("\n".join) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60
)
# Each example is a batch that one bash runs.
BATCHES = settings(max_examples=2, deadline=None)


def call(name: str, folder: str = "/w", **arguments: object) -> AgentCall:
    return AgentCall("c", name, dict(arguments), folder, result="")


def checked(command: str) -> str:
    """The command, as a harness takes it out of the turn."""
    text = f"THOUGHT: x\n\n```bash\n{command}\n```"
    assert turn.format_ok(text), turn.format_problem(text)
    assert turn.command(text) == command
    return command


@BATCHES
@given(contents=st.lists(CONTENT, min_size=25, max_size=25))
def test_any_content_is_written_byte_for_byte(tmp_path_factory: pytest.TempPathFactory, contents: list[str]) -> None:
    cases = [
        ShellCase(
            repr(content),
            checked(shell_forms.shell_form(call("Write", file_path="/w/a b/x.md", content=content))),
            "a b/x.md",
            None,
            content,
        )
        for content in contents
    ]
    assert wrong(cases, tmp_path_factory.mktemp("w")) == []


@BATCHES
@given(
    files=st.lists(
        st.tuples(CONTENT, CONTENT, CONTENT, CONTENT).filter(lambda f: f[1] != f[2] and f[1]), min_size=20, max_size=20
    ),
    known=st.booleans(),
)
def test_any_edit_changes_the_file_as_the_tool_did(
    tmp_path_factory: pytest.TempPathFactory, files: list[tuple[str, str, str, str]], known: bool
) -> None:
    """As a patch where the file before is in the log, as an exact replacement where it is not."""
    cases = []
    for head, old, new, tail in files:
        before = f"{head}{old}{tail}"
        if before.count(old) != 1 or before.replace(old, new) == before:
            continue
        edit = call("edit", path="x.md", oldText=old, newText=new)
        if known:
            edit.before = before
            after = shell_forms.replaced(before, old, new, False)
        else:
            after = before.replace(old, new)
        cases.append(
            ShellCase(f"{before!r} {old!r} {new!r}", checked(shell_forms.shell_form(edit)), "x.md", before, after)
        )
    assert wrong(cases, tmp_path_factory.mktemp("e")) == []


def test_an_edit_below_the_top_of_a_repository_reaches_its_file(tmp_path: Path) -> None:
    """git passes over, in silence, a path that is not named from the top."""
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "packages" / "web").mkdir(parents=True)
    file = tmp_path / "packages" / "web" / "x.py"
    file.write_text("a\nb\nc\n")
    edit = call("Edit", str(file.parent), file_path=str(file), old_string="b", new_string="B")
    edit.before, edit.prefix = "a\nb\nc\n", "packages/web"
    subprocess.run(["bash", "-c", shell_forms.shell_form(edit)], cwd=file.parent, check=True)
    assert file.read_text() == "a\nB\nc\n"


def test_an_edit_that_found_nothing_fails_in_the_shell_as_well(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("a a")
    for old in ("b", "a"):  # not there, and there twice
        edit = call("Edit", file_path="/w/x", old_string=old, new_string="c")
        edit.is_error = True
        done = subprocess.run(
            ["bash", "-c", shell_forms.shell_form(edit)], cwd=tmp_path, check=False, capture_output=True
        )
        assert done.returncode != 0
        assert (tmp_path / "x").read_text() == "a a"


def test_an_edit_of_a_text_that_is_not_in_the_file_before_has_no_form() -> None:
    edit = call("Edit", file_path="/w/x", old_string='"a"', new_string="b")
    edit.before = "“a”\n"
    with pytest.raises(ItemError, match="does not fit"):
        shell_forms.shell_form(edit)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name in ("top.py", "src/a.py", "src/b.ts", "src/deep/er/c.ts", "src/deep/d.tsx", "docs/[x].md", "src/.h.ts"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"line {n}\n" for n in range(1, 9)))
    return tmp_path


def output(command: str, folder: Path) -> list[str]:
    done = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=True)
    return sorted(line.removeprefix("./") for line in done.stdout.splitlines())


@pytest.mark.parametrize(
    ("pattern", "path", "found"),
    [
        ("*.py", None, ["top.py"]),
        ("src/*.ts", None, ["src/.h.ts", "src/b.ts"]),
        ("**/*.ts", None, ["src/.h.ts", "src/b.ts", "src/deep/er/c.ts"]),
        ("**/*.{ts,tsx}", "/w/src", ["src/.h.ts", "src/b.ts", "src/deep/d.tsx", "src/deep/er/c.ts"]),
        ("src/**/c.ts", None, ["src/deep/er/c.ts"]),
        ("src/*/d.tsx", None, ["src/deep/d.tsx"]),
        ("**/er/*", None, ["src/deep/er/c.ts"]),
        ("docs/[[]x].md", None, ["docs/[x].md"]),
        ("*/[ab].?[sy]", None, ["src/a.py", "src/b.ts"]),
        ("top.py", None, ["top.py"]),
    ],
)
def test_a_glob_becomes_a_find_with_the_same_meaning(
    files: Path, pattern: str, path: str | None, found: list[str]
) -> None:
    glob = call("Glob", pattern=pattern, **({"path": path} if path else {}))
    assert output(shell_forms.shell_form(glob), files) == found


@pytest.mark.parametrize(
    ("use", "command"),
    [
        (call("Read", file_path="/w/a.py"), "cat -n a.py"),
        (call("Read", file_path="/w/a.py", offset=5), "cat -n a.py | sed -n '5,$p'"),
        (call("Read", file_path="/elsewhere/a b.py", offset=5, limit=2), "cat -n '/elsewhere/a b.py' | sed -n '5,6p'"),
        (call("Read", file_path="/w/../etc/x"), "cat -n /w/../etc/x"),
        (call("Read", file_path="/w/-n"), "cat -n ./-n"),
        (call("read", path="~/notes.md"), "cat ~/notes.md"),
        (call("read", path="a.py", limit=3), "sed -n '1,3p' a.py"),
        (call("LS", path="/w"), "ls -1Ap ."),
        (call("Grep", pattern="foo"), "rg -l foo"),
        (
            call(
                "Grep",
                pattern="-x y",
                path="/w/src",
                glob="*.ts",
                output_mode="content",
                **{"-i": True, "-C": 2},
                head_limit=5,
            ),
            "rg -n -i -C 2 -g '*.ts' -e '-x y' src | head -n 5",
        ),
        (call("grep", pattern="a.b", literal=True, ignoreCase=True, path="src"), "rg -n -i -F a.b src"),
        (
            call("str_replace_editor", "", command="view", path="/r/a", view_range=[2, -1]),
            "cat -n /r/a | sed -n '2,$p'",
        ),
        (
            call("str_replace_editor", "", command="view", path="/r/a", view_range="[2, 4]"),
            "cat -n /r/a | sed -n '2,4p'",
        ),
        (call("exec", command="make", workdir="my dir"), "cd 'my dir' && make"),
        (call("Bash", command="\n ls\n"), " ls"),
    ],
)
def test_the_command_of_a_call(use: AgentCall, command: str) -> None:
    assert shell_forms.shell_form(use) == command


@pytest.mark.parametrize(
    ("use", "reason"),
    [
        (call("Bash", command="  "), "empty command"),
        (call("Bash", command="cat <<E\n```\nE"), "code fence in the command"),
        (call("Bash", command="printf '\0'"), "bytes that a shell cannot hold"),
        (call("Write", file_path="/w/x", content="\0"), "bytes that a shell cannot hold"),
        (call("Edit", file_path="/w/x", old_string="a"), "malformed call"),
        (call("Read", file_path=["x"]), "malformed call"),
        (call("str_replace_editor", command="undo_edit", path="/x"), "no shell form: editor undo_edit"),
        (call("execute_bash", command="C-c", is_input="true"), "types into a running command"),
        (call("execute_ipython_cell", code="1"), "no shell form: execute_ipython_cell"),
    ],
)
def test_what_has_no_faithful_form_says_why(use: AgentCall, reason: str) -> None:
    with pytest.raises(ItemError) as refusal:
        shell_forms.shell_form(use)
    assert str(refusal.value) == reason


def test_lines_are_inserted_as_the_editor_does(tmp_path: Path) -> None:
    cases = [
        ShellCase(
            f"{before!r} {line}",
            checked(
                shell_forms.shell_form(
                    call("str_replace_editor", "", command="insert", path="x", insert_line=line, new_str="n\nm")
                )
            ),
            "x",
            before,
            after,
        )
        for before, line, after in [
            ("a\nb\n", 0, "n\nm\na\nb\n"),
            ("a\nb\n", 1, "a\nn\nm\nb\n"),
            ("a\nb", 2, "a\nb\nn\nm"),
        ]
    ]
    assert wrong(cases, tmp_path) == []


def test_one_new_line_in_a_long_file_of_few_different_lines_is_a_short_patch() -> None:
    before = "".join(f"row {number % 7}\n" for number in range(2000))
    patch = shell_forms.apply_patch("a.txt", before, before[:6000] + "new\n" + before[6000:])
    assert "@@ -998,6 +998,7 @@\n" in patch
    assert patch.count("\n") == 12
