"""chain.toml, the environment and the flags."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from duel.environment import environment, hub_is_off, hub_token, secret
from duel.errors import SettingsError
from duel.settings import Settings, load, reference

IN_THE_WILD = """
[chain]
netuid = 42
[arch]
family = "qwen"
[seed]
repo = "someone/seed"
[preeval]
enabled = true

[dataset]
repo = "AlienKevin/SWE-ZERO-12M-trajectories"
shard_glob = "data/train-*.parquet"
split = "train"

[judge]
models = ["a/one", "b/two"]
base_url_env = "MY_URL"
api_key_env = "MY_KEY"
temperature = 0.2
max_tokens = 512
score_max_tokens = 700
thinking_max_tokens = 5000
thinking_models = ["b/two"]
metric_keys = ["correctness", "grounding", "progress", "protocol", "efficiency"]
retry_max = 5
retry_initial_backoff_s = 0.5
tie_band = 0.05
call_timeout_s = 120
max_429_wait_s = 30
max_429_retries = 4
max_concurrency_per_model = 6
min_interval_s_per_model = 0.1

[judge.rate_limits]
"a/one" = { max_concurrency = 2, min_interval_s = 1.5 }

[judge.fallback]
enabled = true
base_url = "https://example.com/v1"
api_key_env = "OTHER_KEY"
model_map = { "a/one" = "x/one" }

[duel]
n_samples = 300
max_turns_per_sample = 8
alpha = 0.002
gate_alpha = 0.1
bootstrap_resamples = 5000
gen_temperature = 0.7
gen_max_tokens = 900
gen_max_model_len = 16384
win_margin = 3.0
min_valid_turn_frac = 0.6
rescore_passes = 1
"""


def settings_of(folder: Path, text: str, **flags: object) -> Settings:
    (folder / "chain.toml").write_text(text, "utf-8")
    return load(folder, {("sample", key): value for key, value in flags.items()})


def test_without_a_file_every_key_has_its_default(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert settings.sample.n == 2000
    assert settings.writers("king") == settings.writers("challenger") == ["moonshotai/Kimi-K2.6-TEE"]
    assert settings.duel.win_margin == 2.0
    assert (settings.report.final_min, settings.report.defeat_min) == (80, 66)


def test_a_file_from_the_field_loads_and_its_values_are_used(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, IN_THE_WILD)
    assert settings.sample.shard_glob == "data/train-*.parquet"
    assert (settings.sample.n, settings.sample.max_turn) == (300, 8)
    assert (settings.generate.temperature, settings.generate.max_tokens) == (0.7, 900)
    assert settings.generate.max_model_len == 16384
    assert settings.judge.models == ["a/one", "b/two"]
    assert settings.judge.rate_limits["a/one"].max_concurrency == 2
    assert settings.judge.fallback is not None
    assert settings.judge.fallback.model_map == {"a/one": "x/one"}
    assert settings.judge.max_429_retries == 4
    assert (settings.duel.alpha, settings.duel.gate_alpha, settings.duel.win_margin) == (0.002, 0.1, 3.0)


PUBLISHED = """
[chain]
name = "Albedo"
[arch]
extra_lock_keys = ["rope_theta"]
[files]
required = ["config.json"]
require_safetensors = true
[judge]
models = ["a/one", "b/two"]
retry_timeout_s = 90.0
retry_max_backoff_s = 20.0
chutes_try_s = 2.0
chutes_max_s = 150.0
chutes_giveup_tasks = 5
or_timeout_s = 150.0
or_retries = 1
judge_total_s = 330.0
[judge.fallback]
enabled = true
base_url = "https://example.com/api"
api_key_env = "OTHER"
chutes_429_grace_s = 4.0
reasoning_models = ["b/two"]
or_batch_size = 8
[dataset]
repo = "someone/rollouts"
manifest_sha256 = "0"
[duel]
n_samples = 64
eval_delta = 0.02
king_chain_depth = 5
duel_budget_s = 11000.0
"""


def test_files_as_the_fields_validator_publishes_them_load_and_what_is_not_used_is_named(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, PUBLISHED)
    assert (settings.sample.n, settings.sample.dataset) == (64, "someone/rollouts")
    assert (settings.judge.call_timeout_s, settings.judge.max_429_wait_s) == (90.0, 20.0)
    assert settings.judge.fallback is not None and settings.judge.fallback.api_key_env == "OTHER"
    assert {"[duel] king_chain_depth", "[judge] or_timeout_s", "[judge.fallback] or_batch_size"} <= set(settings.unused)
    assert not [name for name in settings.unused if "models" in name.split() or "[files]" in name]


def test_a_key_or_section_of_another_tool_is_left_alone_and_named(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, "[wandb]\nproject = 'x'\n[duel]\nboard_color = 'red'\n")
    assert sorted(settings.unused) == ["[duel] board_color", "[wandb]"]


def test_a_flag_beats_the_file_and_the_file_beats_the_default(tmp_path: Path) -> None:
    assert settings_of(tmp_path, "[sample]\nn = 7").sample.n == 7
    assert settings_of(tmp_path, "[sample]\nn = 7", n=9).sample.n == 9
    assert settings_of(tmp_path, "[sample]\nn = 7", n=None).sample.n == 7


def test_a_flag_that_cannot_be_is_not_blamed_on_the_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="in `the command line`: 0"):
        load(tmp_path, {("sample", "n"): 0})
    (tmp_path / "chain.toml").write_text("[sample]\nn = 0\n")
    with pytest.raises(SettingsError, match=r"in `chain.toml \[sample\]`: 0"):
        load(tmp_path, {("sample", "n"): None})


def test_the_file_beats_defaults_that_a_script_brings(tmp_path: Path) -> None:
    (tmp_path / "chain.toml").write_text("[sample]\nn = 7", "utf-8")
    settings = load(tmp_path, defaults={"sample": {"n": 1, "per_instance": 3}})
    assert (settings.sample.n, settings.sample.per_instance) == (7, 3)


def test_the_environment_sets_the_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUEL_MODE", "1")
    assert load(tmp_path).duel.mode == 1
    monkeypatch.setenv("DUEL_MODE", "3")
    with pytest.raises(SettingsError, match="DUEL_MODE must be 1 or 2"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[judge]\nmodles = []", "did you mean `models`?"),
        ("[jugde]\nmodels = []", "did you mean `judge`?"),
        ("[judge.rate_limits]\n'a' = { max_concurency = 1 }", "did you mean `max_concurrency`?"),
        ("[judge.fallback]\nbaseurl = 'x'", "did you mean `base_url`?"),
        ("[duel]\nn_sample = 5", "did you mean `n_samples`?"),
        ("[endpoint]\nbudget = 5", "did you mean `budget_usd`?"),
        ("[sample\nn = 1", "not valid TOML"),
        ("[sample]\nn = 'many'", "`n`"),
        ("[sample]\nn = 0", "`n`"),
        ("sample = 3", "must be a table"),
        ("[judge]\nmetric_keys = ['style']", "must be distinct names out of correctness"),
        ("[judge]\nmodels = ['a', 'a']", "must be distinct"),
        ("[duel]\nwin_margin = nan", "`win_margin`"),
        ("[sample]\nmin_turn = 11", "`min_turn` is above `max_turn`"),
        ("[report]\nfinal_min = 50", "`defeat_min` is above `final_min`"),
        ("[prices]\n'a' = { input = 1 }", "`output`"),
        (
            "[audit]\nlicenses = { deny = ['GPL-2.0'] }",
            "should be 'allow' or 'refuse', in `chain.toml [audit.licenses.deny]`",
        ),
    ],
)
def test_a_mistake_in_the_file_is_one_clear_message(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings_of(tmp_path, text)
    assert said in str(caught.value)


def test_a_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "chain.toml").write_bytes(b"[sample]\nn = 1 # \xff")
    with pytest.raises(SettingsError, match="not UTF-8"):
        load(tmp_path)


def test_a_plain_list_of_licenses_means_allow(tmp_path: Path) -> None:
    assert settings_of(tmp_path, "[audit]\nlicenses = ['MIT']").audit.licenses == {"allow": ["MIT"]}


def test_keys_come_from_the_environment_or_a_dotenv_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text(
        "# mine\nexport CHUTES_API_KEY='cpk_file'\nHUGGINGFACE_API_KEY=hf_file # note\nbroken line\n", "utf-8"
    )
    assert secret("CHUTES_API_KEY", tmp_path) == "cpk_file"
    assert hub_token(tmp_path) == "hf_file"
    monkeypatch.setenv("CHUTES_API_KEY", "cpk_environment")
    assert secret("CHUTES_API_KEY", tmp_path) == "cpk_environment"
    assert environment("NOT_SET", tmp_path) == ""


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ('KEY="cpk_1"  # mine', "cpk_1"),
        ("KEY='a # b'", "a # b"),
        ("KEY=a#b", "a#b"),
        ('export KEY="two words"', "two words"),
        ("\ufeffKEY=after-a-bom", "after-a-bom"),
        ("KEY=p$HOME{x}", "p$HOME{x}"),
    ],
)
def test_a_line_of_a_dotenv_file_means_what_it_means_elsewhere(tmp_path: Path, line: str, value: str) -> None:
    (tmp_path / ".env").write_text(line + "\n", "utf-8")
    assert environment("KEY", tmp_path) == value


def test_a_broken_line_of_a_dotenv_file_is_named_once_and_the_others_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".env").write_text("KEY=one\n==what\nEMPTY=\nOTHER=two\n")
    assert [environment(name, tmp_path) for name in ("KEY", "OTHER", "EMPTY")] == ["one", "two", ""]
    assert capsys.readouterr().err == f"{tmp_path}/.env: line 2 is no NAME=value and is passed over\n"


@pytest.mark.parametrize(("encoding", "said"), [("utf-16", "it is UTF-16"), ("latin-1", "it is not UTF-8, at byte 5")])
def test_a_dotenv_file_in_another_encoding_says_why_it_is_not_read(tmp_path: Path, encoding: str, said: str) -> None:
    (tmp_path / ".env").write_text("KEY=\u00e9\n".replace("=", "=x"), encoding)
    with pytest.raises(SettingsError, match=said) as caught:
        environment("KEY", tmp_path)
    assert caught.value.hint == "save it as UTF-8"


def test_what_libraries_look_up_themselves_reaches_them_from_a_dotenv_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    (tmp_path / ".env").write_text('HF_HUB_OFFLINE=1 # here\nCHUTES_API_KEY="x"\nhttps_proxy=http://p:1\n')
    load(tmp_path)
    assert os.environ["HF_HUB_OFFLINE"] == "1" and os.environ["https_proxy"] == "http://p:1"
    assert "CHUTES_API_KEY" not in os.environ


def test_what_the_file_of_one_workspace_hands_on_is_unknown_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notebook opens several: neither token nor mirror, proxy or switch of one is another's."""
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("SSL_CERT_DIR", "/mine")
    first, second = tmp_path / "first", tmp_path / "second"
    told = "HF_TOKEN=hf_first\nHF_ENDPOINT=https://mirror.example\nHF_HUB_OFFLINE=1\nhttps_proxy=http://p:1\n"
    for folder, text in ((first, told + "SSL_CERT_DIR=/theirs\n"), (second, "HF_TOKEN=hf_second\n")):
        folder.mkdir()
        (folder / ".env").write_text(text)
    load(first)
    assert (hub_token(first), hub_token(second), environment("HF_ENDPOINT", second)) == ("hf_first", "hf_second", "")
    load(second)
    assert os.environ["HF_TOKEN"] == "hf_second" and os.environ["SSL_CERT_DIR"] == "/mine"
    assert not {"HF_ENDPOINT", "HF_HUB_OFFLINE", "https_proxy"} & os.environ.keys()
    assert (hub_token(first), hub_is_off(first), hub_is_off(second)) == ("hf_first", True, False)


def test_no_key_is_part_of_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHUTES_API_KEY", "cpk_secret")
    assert "cpk_secret" not in load(tmp_path).model_dump_json()


def test_the_page_of_settings_is_what_the_code_says() -> None:
    page = Path(__file__).resolve().parent.parent / "docs" / "settings.md"
    assert page.read_text("utf-8") == reference(), "run: python -m duel.settings > docs/settings.md"


def test_every_key_says_what_it_does() -> None:
    assert "|  |\n" not in reference()
