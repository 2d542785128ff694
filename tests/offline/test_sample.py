import itertools
import re
import shutil
from collections import Counter

import pyarrow.parquet as pq
import pytest

from duel import settings
from duel.offline import PROMPTS, ROLLOUTS, SAMPLE, bundle, overrides
from duel.turn import command, format_ok
from tools.recorder import pull_schema, rollout, task, trajectory_schema, write
from tools.recording import edits
from tools.recording import sample_repositories as repository
from tools.recording.shell import Shell, tools

needs_git = pytest.mark.skipif(not shutil.which("git") or not shutil.which("bash"), reason="recording needs git, bash")


@pytest.fixture(scope="module")
def rollouts():
    return pq.read_table(SAMPLE / "trajectories.parquet").to_pylist()


@pytest.fixture(scope="module")
def pulls():
    return {row["instance_id"]: row for row in pq.read_table(SAMPLE / "pulls.parquet").to_pylist()}


def replies(row):
    return [message["content"] for message in row["messages"] if message["role"] == "assistant"]


def observations(row):
    return [message["content"] for message in row["messages"][2:] if message["role"] == "user"]


def test_it_has_many_pull_requests_in_several_repositories_and_languages(pulls):
    assert len(pulls) >= 40
    assert len({row["repo"] for row in pulls.values()}) >= 6
    assert len({row["meta"]["language"] for row in pulls.values()}) >= 6


def test_it_is_small():
    assert sum(file.stat().st_size for file in SAMPLE.iterdir()) < 1_500_000


def test_columns_and_types_are_the_datasets():
    assert pq.read_schema(SAMPLE / "trajectories.parquet").equals(trajectory_schema())
    assert pq.read_schema(SAMPLE / "pulls.parquet").equals(pull_schema())
    assert len(pull_schema()) == 16


def test_columns_are_those_of_the_real_dataset(shared):
    assert pq.read_schema(shared / "swe_zero" / "train-00000.parquet").equals(trajectory_schema())
    real = pq.read_schema(next((shared / "pulls").glob("*.parquet")))
    ours = pull_schema()
    assert set(real.names) <= set(ours.names)
    assert all(ours.field(name).type == real.field(name).type for name in real.names)


def test_every_pull_request_has_three_rollouts_side_by_side(rollouts, pulls):
    runs = [(name, len(list(group))) for name, group in itertools.groupby(row["instance_id"] for row in rollouts)]
    assert runs == [(name, ROLLOUTS) for name in pulls]
    assert len(rollouts) == PROMPTS


def test_every_rollout_joins_its_pull_request(rollouts, pulls):
    for row in rollouts:
        pull = pulls[row["instance_id"]]
        first = row["messages"][1]["content"]
        assert row["repo"] == pull["repo"]
        assert pull["problem_statement"] in first
        assert f"- Repo: {pull['repo']}\n" in first
        assert f"- Base commit: {pull['base_commit']}\n" in first
        assert re.fullmatch(r"[0-9a-f]{40}", pull["base_commit"])


def test_every_rollout_has_the_shape_of_the_trajectories(rollouts):
    for row in rollouts:
        roles = [message["role"] for message in row["messages"]]
        assert 4 <= len(roles) <= 32
        assert roles[:2] == ["system", "user"]
        assert set(roles[2::2]) == {"assistant"}
        assert set(roles[3::2]) <= {"user"}
        assert (row["exit_status"] == "Submitted") == (roles[-1] == "assistant")
        assert row["exit_status"] in {"Submitted", "incomplete"}
        assert row["trajectory_format"] == "mini-swe-agent-1"
        assert all(text.startswith("Observation: ") for text in observations(row))


def test_agents_differ_in_how_well_they_work(rollouts):
    statuses = Counter(row["exit_status"] for row in rollouts)
    assert min(statuses.values()) > len(rollouts) // 5
    turns = [reply for row in rollouts for reply in replies(row)]
    assert 0.9 < sum(map(format_ok, turns)) / len(turns) < 1
    failures = [text for row in rollouts for text in observations(row) if "No such file" in text or "not found" in text]
    assert len(failures) > 30


def test_no_two_rollouts_are_alike(rollouts):
    assert len({tuple(replies(row)) for row in rollouts}) == len(rollouts)


def test_nothing_of_the_machine_is_in_it(rollouts, pulls):
    texts = [message["content"] for row in rollouts for message in row["messages"]]
    texts += [str(value) for row in pulls.values() for value in row.values()]
    found = {match for text in texts for match in re.findall(r"/(?:tmp|root|usr|var|work)/|root root", text)}
    assert not found


def test_every_patch_is_a_diff_that_changes_no_test(pulls):
    for row in pulls.values():
        assert row["patch"].startswith("diff --git ")
        assert row["test_patch"].startswith("diff --git ")
        assert not re.search(r"^\+\+\+ b/.*test", row["patch"], re.MULTILINE)


def test_the_settings_of_an_offline_run_name_no_paid_model(tmp_path):
    (tmp_path / "chain.toml").write_text('[generate]\nmodel = "paid/model"\n[judge]\nmodels = ["paid/judge"]\n')
    chosen = settings.load(tmp_path, *overrides(True))
    named = [chosen.writers("king")[0], chosen.writers("challenger")[0], *chosen.judge.models]
    assert all(name.startswith("offline-stand-in/") for name in named)
    assert chosen.judge.thinking_models == []
    assert chosen.audit.decontaminate == []
    assert chosen.sample.dataset.endswith("trajectories.parquet")


def test_a_chain_toml_overrides_how_many_are_drawn(tmp_path):
    (tmp_path / "chain.toml").write_text("[sample]\nn = 7\n")
    chosen = settings.load(tmp_path, *overrides(True))
    assert (chosen.sample.n, chosen.sample.per_instance) == (7, ROLLOUTS)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Every repository of the sample, recorded anew: its name, where it lies, and each pull request's base and row."""
    made = []
    for one in repository.load():
        place = tmp_path_factory.mktemp("recorded")
        made.append((one.name, place, [*repository.bases(one, place)]))
    return made


# -- recording it anew ---------------------------------------------------------------------------------------------


@needs_git
def test_the_repositories_are_those_that_were_recorded(pulls, recorded):
    """Commit ids are hashes of all files and dates: equal ids mean equal repositories, whatever git made them."""
    for name, _, bases in recorded:
        for base, row in bases:
            assert row["base_commit"] == pulls[row["instance_id"]]["base_commit"]
            assert row["problem_statement"] == pulls[row["instance_id"]]["problem_statement"]
            assert row["problem_statement"] in task(base)
        made = base.checkout.git("rev-parse", "main").strip()
        assert base.checkout.git("bundle", "list-heads", str(bundle(name))) == f"{made} refs/heads/main\n"


@needs_git
def test_recording_twice_gives_the_same_bytes(tmp_path):
    files = []
    for place in (tmp_path / "one", tmp_path / "two"):
        (place / "repository").mkdir(parents=True)
        bases = itertools.islice(repository.bases(repository.load("mailbin")[0], place / "repository"), 2)
        rows = [([rollout(base, number, place) for number in range(ROLLOUTS)], row) for base, row in bases]
        write([run for runs, _ in rows for run in runs], [row for _, row in rows], place / "out")
        files.append([file.read_bytes() for file in sorted((place / "out").iterdir())])
    assert files[0] == files[1]


@needs_git
def test_a_careful_agent_repairs_the_file_by_a_command(recorded, tmp_path):
    allowed = tools(tmp_path / "tools")
    for _, place, bases in recorded:
        shell = Shell(place, allowed)
        for base, _ in bases:
            base.checkout.git("checkout", "--quiet", "--force", "--detach", base.commit)
            for path, text in base.fix.items():
                assert shell.observe(edits.command(path, base.files[path], text)) == "Observation: "
                assert (place / path).read_text("utf-8") == text


@needs_git
def test_the_shell_has_the_allowed_tools_and_no_others(tmp_path):
    (tmp_path / "notes").write_text("one\ntwo\n")
    shell = Shell(tmp_path, tools(tmp_path / "tools"))
    assert shell.observe("cat notes | wc -l") == "Observation: 2\n"
    assert "python: command not found" in shell.observe("python --version")
    assert "No such file or directory" in shell.observe("cat missing")
    long = shell.observe("printf 'x%.0s' $(echo {1..9000})")
    assert len(long) < 8100
    assert "1000 characters" in long


@needs_git
def test_recorded_commands_print_what_was_recorded(rollouts, tmp_path):
    """A few listings and reads, run again in a checkout of their base commit."""
    place = tmp_path / "repository"
    place.mkdir()
    base, _ = next(repository.bases(repository.load("coinpurse")[0], place))
    base.checkout.write(base.tests)
    shell = Shell(place, tools(tmp_path / "tools"))
    again = 0
    for row in rollouts:
        if row["instance_id"] != base.instance_id:
            continue
        for reply, observed in zip(replies(row), observations(row), strict=False):
            if re.fullmatch(r"(?:cat|head -\d+|nl -ba) [\w/.]+", command(reply)):
                assert shell.observe(command(reply)) == observed
                again += 1
            elif "sed -i" in command(reply) or "<<" in command(reply):
                break
    assert again
