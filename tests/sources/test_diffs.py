"""Which files a diff touches, however it is written."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from duel.conversation.diffs import changed_files, lines_of
from tests.conftest import Recorded

MANY = """\
From: someone
diff --git a/new.py b/new.py
new file mode 100644
index 0000000..1111111
--- /dev/null
+++ b/new.py
@@ -0,0 +1,2 @@
+one
+two
\\ No newline at end of file
diff --git a/old name.py b/old name.py
deleted file mode 100644
--- a/old name.py\t
+++ /dev/null
@@ -1 +0,0 @@
-gone
diff --git a/from.py b/to.py
similarity index 90%
rename from from.py
rename to to.py
--- a/from.py
+++ b/to.py
@@ -1,3 +1,3 @@
 same
---- a/looks like a header
++++ b/looks like a header
 same
diff --git a/moved.bin b/elsewhere.bin
similarity index 100%
rename from moved.bin
rename to elsewhere.bin
diff --git a/logo.png b/logo.png
index 1111111..2222222 100644
Binary files a/logo.png and b/logo.png differ
diff --git a/run.sh b/run.sh
old mode 100644
new mode 100755
diff --git "a/caf\\303\\251.py" "b/caf\\303\\251.py"
--- "a/caf\\303\\251.py"
+++ "b/caf\\303\\251.py"
@@ -1,2 +1,2 @@ def f():
-a

+b
"""


def test_every_kind_of_change_is_understood() -> None:
    found = [(file.status, file.path, file.additions, file.deletions) for file in changed_files(MANY)]
    assert found == [
        ("added", "new.py", 2, 0),
        ("deleted", "old name.py", 0, 1),
        ("renamed", "to.py", 1, 1),
        ("renamed", "elsewhere.bin", 0, 0),
        ("modified", "logo.png", 0, 0),
        ("modified", "run.sh", 0, 0),
        ("modified", "café.py", 1, 1),
    ]


def test_a_plain_diff_without_git_headers_is_understood() -> None:
    plain = (
        "--- a/x.c\t2024-01-01\n+++ b/x.c\t2024-01-02\n@@ -1 +1 @@\n-a\n+b\n--- y.c\n+++ y.c\n@@ -1 +1,2 @@\n a\n+b\n"
    )
    assert [(file.path, file.additions, file.deletions) for file in changed_files(plain)] == [
        ("x.c", 1, 1),
        ("y.c", 1, 0),
    ]


def test_a_file_of_both_patches_counts_once() -> None:
    one = "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n"
    files = changed_files(one, one)
    assert [(file.path, file.additions, file.deletions) for file in files] == [("x", 2, 2)]


def test_windows_line_ends_and_form_feeds_are_content() -> None:
    text = "diff --git a/x b/x\r\n--- a/x\r\n+++ b/x\r\n@@ -1 +1,2 @@\r\n-a\x0cb\r\n+a\r\n+b\r\n"
    assert [(file.path, file.additions, file.deletions) for file in changed_files(text)] == [("x", 2, 1)]


def test_the_lines_of_a_hunk_end_where_its_header_says() -> None:
    """The newline at the end of a diff opens no further line, whose number would count as told."""
    hunk = "@@ -60,2 +60,3 @@ def total():\n one\n+two\n three\n"
    assert list(lines_of("patch", f"diff --git a/x.py b/x.py\n--- a/x.py\n+++ b/x.py\n{hunk}")) == [
        ("patch", "x.py", "@", "def total():", 4, 60, 60),
        ("patch", "x.py", " ", "one", 5, 60, 60),
        ("patch", "x.py", "+", "two", 6, 61, 61),
        ("patch", "x.py", " ", "three", 7, 61, 62),
    ]


@given(st.text())
def test_what_is_no_diff_has_no_files_and_raises_nothing(text: str) -> None:
    for file in changed_files(text):
        assert file.path


@given(st.lists(st.sampled_from(MANY.splitlines(keepends=True)), max_size=40))
def test_a_torn_diff_raises_nothing(lines: list[str]) -> None:
    changed_files("".join(lines))


def test_the_patches_of_pull_requests_agree_with_their_own_headers(recorded: Recorded) -> None:
    import pyarrow.parquet as pq

    for row in pq.read_table(recorded.pulls).to_pylist():
        files = changed_files(row["patch"], row["test_patch"])
        headers = (row["patch"] + "\n" + row["test_patch"]).count("\ndiff --git ") + row["patch"].startswith("diff")
        assert len(files) == headers
        lines = [*row["patch"].split("\n"), *row["test_patch"].split("\n")]
        assert sum(f.additions for f in files) == sum(ln[:1] == "+" and ln[:4] != "+++ " for ln in lines)
        assert sum(f.deletions for f in files) == sum(ln[:1] == "-" and ln[:4] != "--- " for ln in lines)
