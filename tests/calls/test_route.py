"""Where calls go: addresses, keys, limits, prices, and what a run will cost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from duel import settings as settings_module
from duel.calls import plan, route_for
from duel.calls.prices import cost, price_of
from duel.calls.route import base_url, proxy_for
from duel.errors import SettingsError
from duel.sections import Price, RateLimit
from duel.workspace import Workspace
from tests.calls.jobs import House
from tests.calls.jobs import house as make_house
from tests.conftest import ROOT, run_command
from tests.offline.faults import endpoint

KIMI = "moonshotai/Kimi-K2.6-TEE"


@pytest.mark.parametrize(
    "address",
    ["https://h.ai", "https://h.ai/", "https://h.ai/v1/", "https://h.ai/v1/chat/completions", " https://h.ai/v1 "],
)
def test_every_way_to_write_an_address_is_one(address: str) -> None:
    assert base_url(address, "X") == "https://h.ai/v1"


def test_a_path_of_its_own_is_kept() -> None:
    assert base_url("https://h.ai/openai/api", "X") == "https://h.ai/openai/api"


@pytest.mark.parametrize(
    "address", ["h.ai/v1", "ftp://h.ai", "https://", "https://u:p@h.ai/v1", "https://h.ai/v1?key=1", "http://[::1/v1"]
)
def test_what_is_no_address_is_said(address: str) -> None:
    with pytest.raises(SettingsError) as raised:
        base_url(address, "CHUTES_BASE_URL")
    assert "u:p" not in str(raised.value)


def test_address_and_key_come_from_the_dotenv_file(tmp_path: Path) -> None:
    chosen = settings_module.load(tmp_path)
    with pytest.raises(SettingsError, match="no key for the endpoint, in `CHUTES_API_KEY`"):
        route_for(chosen, Workspace(tmp_path), "writer")
    (tmp_path / ".env").write_text("CHUTES_API_KEY=cpk_1\n")
    assert route_for(chosen, Workspace(tmp_path), "writer").provider.base_url == "https://llm.chutes.ai/v1"
    elsewhere = settings_module.load(tmp_path, {("endpoint", "base_url_env"): "MY_URL"})
    with pytest.raises(SettingsError, match="no endpoint to call"):
        route_for(elsewhere, Workspace(tmp_path), "writer")
    (tmp_path / ".env").write_text("CHUTES_BASE_URL=https://llm.example\n")
    with pytest.raises(SettingsError, match="no key"):
        route_for(chosen, Workspace(tmp_path), "writer")
    (tmp_path / ".env").write_text("CHUTES_BASE_URL=https://llm.example\nCHUTES_API_KEY=cpk_1\n")
    provider = route_for(chosen, Workspace(tmp_path), "writer").provider
    assert (provider.base_url, provider.api_key, provider.name) == (
        "https://llm.example/v1",
        "cpk_1",
        "https://llm.example/v1",
    )
    assert "cpk_1" not in repr(provider)


def test_judges_have_their_own_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_house(
        tmp_path,
        """
        [endpoint]
        concurrency = 9
        [judge]
        base_url_env = "J_URL"
        api_key_env = "J_KEY"
        max_429_retries = 2
        call_timeout_s = 7
        max_concurrency_per_model = 6
        [judge.rate_limits]
        m = { max_concurrency = 2, min_interval_s = 1 }
        [judge.fallback]
        enabled = true
        base_url = "https://second.ai"
        api_key_env = "S_KEY"
        model_map = { m = "n" }
        """,
    )
    for name, value in {"J_URL": "https://j.ai", "J_KEY": "1", "S_KEY": "2"}.items():
        monkeypatch.setenv(name, value)
    route = route_for(made.settings, made.workspace, "judge")
    assert (route.limits["m"], route.default_limit) == (
        RateLimit(max_concurrency=2, min_interval_s=1.0),
        RateLimit(max_concurrency=6),
    )
    assert (route.endpoint.timeout_s, route.endpoint.max_429_retries, route.endpoint.concurrency) == (7.0, 2, 9)
    assert route.fallback is not None and route.fallback.base_url == "https://second.ai/v1"
    assert route_for(made.settings, made.workspace, "writer", "http://127.0.0.1:1").provider.offline


def test_loopback_never_goes_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    assert proxy_for("https://llm.example/v1") == "http://proxy:3128"
    assert proxy_for("http://127.0.0.1:80/v1") is None


def test_prices_come_from_the_user_first_and_unknown_is_unknown(tmp_path: Path) -> None:
    made = make_house(
        tmp_path, '[prices]\n"moonshotai/Kimi-K2.6-TEE" = { input = 1, output = 2, cached_input = 0.1 }\n'
    )
    own = price_of("moonshotai/Kimi-K2.6-TEE", made.settings)
    assert cost(own, {"prompt_tokens": 1_000_000, "cached_tokens": 500_000, "completion_tokens": 1_000_000}) == 2.55
    assert price_of("deepseek-ai/DeepSeek-V3.2-TEE", made.settings) == Price(input=1, output=1)
    assert price_of("nobody/knows", made.settings) is None and cost(None, {}) is None
    assert cost(price_of("nobody/knows", made.settings, offline=True), {"prompt_tokens": 5}) == 0


def test_a_plan_counts_without_a_call(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    with endpoint() as stand_in:
        house.drive(house.questions(2), stand_in.base_url)
        before = stand_in.stats()["requests"]
        jobs = [*house.questions(5), *house.questions(3, model="moonshotai/Kimi-K2.6-TEE")]
        made = plan(jobs, workspace=house.workspace, settings=house.settings, stage="king")
        assert stand_in.stats()["requests"] == before
    assert (made.items, made.calls, made.from_ledger, made.cost) == (8, 6, 2, None)
    known = made.models[KIMI]
    assert known.calls == 3 and known.tokens_out == 600 and known.cost is not None and known.cost > 0
    made.say()
    assert "unknown price" in capsys.readouterr().out


def test_the_figures_are_printed_by_stage_and_model(house: House) -> None:
    with endpoint({"500": 0.3}) as stand_in:
        house.drive(house.questions(20), stand_in.base_url)
    text = run_command("calls", "--workspace", house.workspace.root, code=0).out
    assert "some/writer" in text and "http-500 ×" in text
    row = json.loads(run_command("calls", "--workspace", house.workspace.root, "--json", code=0).out)[0]
    assert (row["stage"], row["replies"]) == ("king", 20)
    assert row["calls"] == 20 + row["failed_calls"]["http-500"]
    assert row["latency_p50"] <= row["latency_p90"] <= row["latency_p99"]


def test_nothing_heavy_is_imported_for_a_help_text_and_no_client_where_nobody_is_asked() -> None:
    code = (
        "import duel.calls, sys; print([m for m in ('aiohttp', 'pydantic', 'sqlite3', 'rich') if m in sys.modules])\n"
        "from duel.stages import audit, report, validate; print('aiohttp' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "False"]
