"""The container back end, against a real daemon: the one that DOCKER_HOST names, else one that root starts here."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from duel.errors import UserError
from duel.execution.checkouts import Sources
from duel.execution.containers import Container, Containers, image_of, place_of
from duel.execution.executor import ExecutionError, Limits, Start
from duel.execution.replay import Task, observe
from duel.records import Message
from tools import tools_image


@pytest.fixture(scope="module")
def daemon() -> Iterator[str]:
    """A daemon's address. CI installs one; elsewhere these tests need one that answers."""
    try:
        with tools_image.daemon() as host:
            yield host
    except RuntimeError as none:
        assert not os.environ.get("CI"), "CI may not skip the container back end"
        pytest.skip(str(none))


@pytest.fixture
def docker(daemon: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """An image with the agent's tools, made of this machine's own files."""
    if daemon:
        monkeypatch.setenv("DOCKER_HOST", daemon)
    return tools_image.make(tmp_path)


Work = Callable[[Containers], Awaitable[Any]]


def in_containers(mirrors: Path, image: str, work: Work, limits: Limits | None = None) -> Any:
    async def whole() -> Any:
        executor = Containers(Sources(mirrors.parent / "cache", str(mirrors), offline=True), limits, image=image)
        try:
            return await work(executor)
        finally:
            await executor.close()
            left = executor.call("ps", "-aq", "--filter", f"label=duel={executor.session}")
            left += executor.call("images", "-q", "--filter", f"label=duel={executor.session}")
            assert not left

    return asyncio.run(whole())


def test_forks_start_alike_and_go_their_own_ways(docker: str, mirrors: Path, small: Start) -> None:
    async def work(executor: Containers) -> list[str]:
        first = await executor.state(small)
        seen = (await first.run("git log --oneline | wc -l; git status --short; cat a.txt")).printed
        await first.run("echo three >> a.txt; rm src/c.py")
        history = await first.changes()
        second = await first.fork()
        nothing = await second.changes()
        await first.run("echo 'x = 2' > src/b.py; ln -s /etc/passwd link")
        one, two = await first.changes(), await second.changes()
        both = (await second.run("cat a.txt src/b.py")).printed
        await first.close()
        await second.close()
        return [seen, history, nothing, one, two, both]

    seen, history, nothing, one, two, both = in_containers(mirrors, docker, work)
    assert seen.split() == ["1", "one", "two"]
    assert history == "--- a/a.txt\n+++ b/a.txt\n@@ -1,2 +1,3 @@\n one\n two\n+three\ndeleted: src/c.py\n"
    assert (nothing, two, both) == ("", "", "one\ntwo\nthree\nx = 1\n")
    assert one == "link: link -> /etc/passwd\n--- a/src/b.py\n+++ b/src/b.py\n@@ -1 +1 @@\n-x = 1\n+x = 2\n"


def test_a_container_has_no_network_no_key_and_bounds(
    docker: str, mirrors: Path, small: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHUTES_API_KEY", "planted-key")
    hard = "for n in 1 2 3 4; do head -c 20000000 /dev/zero > /big$n; sleep 0.4; done; echo all"

    async def work(executor: Containers) -> list[Any]:
        state: Container = await executor.state(small)
        outcomes = [
            await state.run(command, seconds=seconds)
            for command, seconds in (
                ("env; cat /proc/*/environ | tr '\\0' '\\n'; exec 3<>/dev/tcp/127.0.0.1/22; cat /proc/net/dev", 5),
                ("yes", 5),
                ("sleep 60", 1),
                ("(sleep 61 &) ; echo started", 1),
                (":(){ :|:& };: ; sleep 0.5; echo over", 1),
                ("grep -c . /proc/[0-9]*/stat; cat a.txt", 5),
                (hard, 5),
            )
        ]
        await state.close()
        return outcomes

    limits = Limits(processes=30, disk_mb=48, output_mb=2, memory_mb=256)
    looked, endless, late, daemon, bomb, after, disk = in_containers(mirrors, docker, work, limits)
    assert "planted-key" not in looked.printed
    assert "eth0" not in looked.printed
    assert endless.ended_by == "output"
    assert late.ended_by == "time" and late.exit == 124
    assert daemon.stdout.text == "started\n"
    assert "Resource temporarily unavailable" in bomb.stderr.text or bomb.exit
    assert after.stdout.text.endswith("one\ntwo\n")
    assert len(after.stdout.text.splitlines()) <= 7, "a command outlived itself"
    assert disk.ended_by == "disk"


def test_names_that_a_command_makes_up_cannot_lead_out(docker: str, mirrors: Path, small: Start, place: Path) -> None:
    target = place / "written"

    async def work(executor: Containers) -> str:
        state = await executor.state(small)
        up = "../" * 12
        await state.run(f"mkdir -p {place}; echo out > {target}; touch $'x\\nA /testbed/{up}{str(target)[1:]}'")
        changed = await state.changes()
        await state.close()
        return changed

    in_containers(mirrors, docker, work)
    assert not target.exists()


def test_a_turn_is_observed_alike_in_a_container(docker: str, mirrors: Path, small: Start) -> None:
    messages = [
        Message(role="system", content="s"),
        Message(role="user", content="task"),
        Message(role="assistant", content="```bash\ncat a.txt\n```"),
        Message(role="user", content="Observation: one\ntwo\n"),
    ]
    texts = {"king-1": "```bash\nsed -i s/one/1/ a.txt\n```", "challenger-1": "```bash\ncat nothing\n```"}

    async def work(executor: Containers) -> Any:
        return await observe(executor, Task("t", small, messages, texts))

    found = in_containers(mirrors, docker, work)
    assert found["king-1"].ran and "+1\n" in found["king-1"].changed
    assert found["challenger-1"].exit == 1
    assert "No such file" in found["challenger-1"].printed
    assert found["king-1"].faithful == 1.0


def test_an_image_that_does_not_pull_is_named(docker: str, mirrors: Path, small: Start) -> None:
    async def work(executor: Containers) -> Any:
        with pytest.raises(ExecutionError, match="does not pull") as raised:
            await executor.state(small)
        return raised.value.reason

    assert in_containers(mirrors, "localhost:1/nothing/here:1", work) == "no-image"


def test_where_no_daemon_answers_the_message_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing")
    with pytest.raises(UserError, match="docker cannot run a container here") as raised:
        Containers(Sources(tmp_path))
    assert "bubblewrap" in raised.value.hint


def test_a_daemon_that_dies_costs_what_it_ran_and_nothing_else(
    small: Start, mirrors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "docker"
    program.write_text('#!/bin/sh\n[ "$1" = version ] && echo "{}" || { echo "Cannot connect" >&2; exit 1; }\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    async def work() -> None:
        executor = Containers(Sources(mirrors.parent / "cache", str(mirrors), offline=True), image="any")
        with pytest.raises(ExecutionError, match="Cannot connect"):
            await executor.state(small)
        program.unlink()
        await executor.close()

    asyncio.run(work())


@pytest.mark.parametrize(
    ("instance", "repo", "image", "place"),
    [
        (
            {"instance_id": "django__django-11099"},
            "django/django",
            "docker.io/swebench/sweb.eval.x86_64.django_1776_django-11099:latest",
            "/testbed",
        ),
        (
            {"instance_id": "a__b-1", "image_name": "docker.io/swerebenchv2/unidata-netcdf-c:1925-ad6bff3"},
            "Unidata/netcdf-c",
            "docker.io/swerebenchv2/unidata-netcdf-c:1925-ad6bff3",
            "/netcdf-c",
        ),
        (
            {"instance_id": "a__b-1", "image_name": "", "docker_image": "namanjain12/x_final:c0ffee"},
            "x/x",
            "namanjain12/x_final:c0ffee",
            "/testbed",
        ),
        ({"instance_id": "a__b-1", "image_name": "mswebench/a_m_b:pr-1"}, "a/b", "mswebench/a_m_b:pr-1", "/home/b"),
        ({}, "a/b", "", "/testbed"),
    ],
)
def test_images_are_found_by_the_datasets_columns_and_rules(
    instance: dict[str, object], repo: str, image: str, place: str
) -> None:
    assert image_of({"repo": repo, **instance}) == image
    assert place_of(image, repo) == place


@pytest.mark.parametrize("name", ["--volume=/:/host", "-v", "an image", "$(id)", "a\nb"])
def test_what_is_no_images_name_is_no_image(name: str) -> None:
    assert image_of({"instance_id": "a__b-1", "image_name": name}) == ""


def test_the_settings_image_goes_before_and_is_filled_in() -> None:
    instance: dict[str, object] = {"instance_id": "a__b-1", "repo": "A/b", "image_name": "other"}
    assert image_of(instance, "mine/{instance}:{repo}") == "mine/a_1776_b-1:a__b"
