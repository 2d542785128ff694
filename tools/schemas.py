"""Write the JSON schema of every record, made from the code: `python -m tools.schemas` fills docs/schemas/."""

import json
import re
from pathlib import Path

from duel import records

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "schemas"


def schemas() -> dict[str, str]:
    """File name -> text, for every record that stands in a file of its own or on a line of its own."""
    kinds = sorted(_below(records.Record), key=lambda kind: kind.__name__)
    return {
        f"{re.sub(r'(?<!^)(?=[A-Z])', '-', kind.__name__).lower()}.json": json.dumps(
            kind.model_json_schema(mode="serialization"), indent=2, ensure_ascii=False, sort_keys=True
        )
        + "\n"
        for kind in kinds
    }


def _below(kind: type[records.Record]) -> set[type[records.Record]]:
    """The records of `duel.records`, whatever else has been imported."""
    found = {one for one in kind.__subclasses__() if one.__module__.startswith("duel.records")}
    return found.union(*(_below(one) for one in found))


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    wanted = schemas()
    for path in FOLDER.glob("*.json"):
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        (FOLDER / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
