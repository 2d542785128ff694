"""What the pages for newcomers name is there, and schemas are what the code says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from duel.records import Answer, Message
from tests.test_structure import FLOORS
from tools.schemas import FOLDER, schemas

ROOT = Path(__file__).resolve().parent.parent
PAGES = ["docs/architecture.md", "CONTRIBUTING.md"]
BRITISH = re.compile(
    r"(?i)colour|neighbour|behaviour|favour|honour|\bcentred?\b|\blearnt\b|misspelt|labelled(?!by)|licences?\b|artefact"
    r"|(?:recogn|organ|optim|summar|normal|serial|initial)is(?:e|ed|es|ing)\b|\bgrey\b|judgement"
)
PATH = re.compile(r"`((?:duel|docs|tests|tools)/[\w./]*|[A-Z]+\.md)`")


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_names_is_there(page: str) -> None:
    named = PATH.findall((ROOT / page).read_text("utf-8"))
    assert len(named) > 5
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_tree_in_the_readme_names_what_is_there() -> None:
    tree = (ROOT / "README.md").read_text("utf-8").split("```text\n", 1)[1].split("```")[0]
    above = ""
    for line in tree.splitlines():
        indent, name, told = re.findall(r"^( *)(\S+) *(.*)", line)[0]
        above = above if indent else name
        folder = ROOT / above if indent else ROOT
        missing = [file for file in (name, *re.findall(r"[\w/]+\.(?:py|txt)\b", told)) if not (folder / file).exists()]
        assert missing == [], line


def test_the_page_of_floors_names_every_room() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    table = page.split("## Floors")[1].split("## The life of a turn")[0]
    rooms = {room for floor in FLOORS for room in floor if list((ROOT / "duel").glob(f"{room}*"))}
    missing = {room for room in rooms if f"`duel/{room}" not in table}
    assert missing == set()


def test_the_schemas_are_what_the_code_says() -> None:
    there = {path.name: path.read_text("utf-8") for path in FOLDER.glob("*.json")}
    assert there == schemas(), "run: python -m tools.schemas"


def test_a_record_has_what_its_schema_asks_for() -> None:
    schema = json.loads(schemas()["answer.json"])
    answer = Answer(instance_id="o__r-1", king="k", messages=[Message(role="user", content="x")])
    assert set(schema["required"]) <= set(json.loads(answer.dump())) <= set(schema["properties"])


def test_words_are_spelled_as_in_america() -> None:
    endings = {".py", ".js", ".css", ".html", ".toml", ".md"}
    files = [path for folder in ("duel", "docs") for path in (ROOT / folder).rglob("*") if path.suffix in endings]
    files = [path for path in files if "examples" not in path.parts] + [*ROOT.glob("*.md")]
    found = [(path.name, found[0]) for path in files for found in BRITISH.finditer(path.read_text("utf-8"))]
    assert len(files) > 200 and found == []


def test_the_glossary_has_one_meaning_a_word() -> None:
    glossary = (ROOT / "docs" / "architecture.md").read_text("utf-8").split("## Glossary")[1]
    words = [word.strip() for line in re.findall(r"(?m)^\| (.+?) \|", glossary) for word in line.split(",")][1:]
    assert len(words) > 20 and [word for word in words if words.count(word) > 1] == []
