"""Values of outside data, read without trust: text, tables, JSON inside text, content as a list of parts, moments."""

from collections.abc import Mapping
from typing import Any


def text(source: Mapping[str, Any], *names: str) -> str:
    """The first of `names` in `source` that is a text with anything in it; "" where none is."""
    return next((value for name in names if isinstance(value := source.get(name), str) and value), "")


def table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def joined(*texts: str) -> str:
    return "\n\n".join(filter(None, texts))


def tables(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def parts(content: Any) -> tuple[str, int]:
    """(text, number of images) of a message's content: a text, or a list of blocks."""
    if isinstance(content, str):
        return content, 0
    texts, images = [], 0
    for block in content if isinstance(content, list) else []:
        if isinstance(block, str):
            texts.append(block)
        elif isinstance(block, dict):
            if "image" in text(block, "type"):
                images += 1
            elif text(block, "type") in ("", "text", "input_text", "output_text") and (
                spoken := text(block, "text", "value")
            ):
                texts.append(spoken)
    return "\n".join(texts), images


def seconds(moment: Any) -> float | None:
    """Seconds since 1970 of an ISO 8601 text or of a number of (milli)seconds; None where it is neither."""
    if isinstance(moment, (int, float)) and not isinstance(moment, bool):
        return float(moment) / 1000 if moment > 1e11 else float(moment)
    if not isinstance(moment, str):
        return None
    from datetime import UTC, datetime

    try:
        read = datetime.fromisoformat(moment)
    except ValueError:
        return None
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()


def loaded(value: Any) -> Any:
    """The value of a JSON text, or of a Python literal that JSON can hold (`{'name': …}`, as some sets print it).

    Any other text is None; what is no text stays as it is.
    """
    if not isinstance(value, str):
        return value
    import ast

    import orjson

    try:
        return orjson.loads(value)
    except ValueError:
        pass
    try:
        literal = ast.literal_eval(value) if value.lstrip()[:1] in ("{", "[") else None
        return orjson.loads(orjson.dumps(literal, option=orjson.OPT_NON_STR_KEYS))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):  # TypeError: a set, bytes, too deep
        return None
