"""Which container image holds an instance's environment, and where in it the repository lies.

The dataset's own column comes first; the names below are rules read in each project's sources (see docs/execution.md).
"""

import re
from collections.abc import Mapping

COLUMNS = ("image_name", "docker_image")
# What an image's name tells of the place of its repository; {name} is the repository's own, in its own case.
_PLACES = (
    (re.compile(r"(^|/)swerebenchv2/"), "/{name}"),
    (re.compile(r"(^|/)mswebench/"), "/home/{name}"),
    (re.compile(r"sweap-images"), "/app"),
)
_SWE_BENCH = "docker.io/swebench/sweb.eval.x86_64.{instance}:latest"


def image_of(instance: Mapping[str, object], asked: str = "") -> str:
    """The image of an instance: the settings' own, the dataset's column, else the name that SWE-bench gives it."""
    name = str(instance.get("instance_id") or "")
    if asked:
        repo = str(instance.get("repo") or "")
        return asked.replace("{instance}", _slug(name)).replace("{repo}", repo.replace("/", "__").lower())
    for column in COLUMNS:
        if value := str(instance.get(column) or ""):
            return value
    return _SWE_BENCH.format(instance=_slug(name)) if "__" in name else ""


def place_of(image: str, repository: str) -> str:
    """The folder of the repository in an image."""
    for pattern, place in _PLACES:
        if pattern.search(image):
            return place.format(name=repository.rpartition("/")[2])
    return "/testbed"


def _slug(instance_id: str) -> str:
    """An instance's id as image names hold it: no double underscore, lower case."""
    return instance_id.replace("__", "_1776_").lower()
