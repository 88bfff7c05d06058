"""The environment reaches the configuration, and nothing in it is silently ignored."""

from __future__ import annotations

import os
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import pytest

from scaler.controller import ControllerConfig
from scaler.live_config import LiveConfig
from scaler.settings import Settings, SettingsError, load_settings, to_markdown

DOCS = Path(__file__).parents[3] / "docs" / "configuration.md"


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("AI_HPA_")]:
        monkeypatch.delenv(name)


def test_an_empty_environment_gives_the_defaults_of_the_core() -> None:
    assert load_settings() == Settings(ControllerConfig(), LiveConfig())


def test_every_field_of_the_configuration_has_its_setting() -> None:
    config = ControllerConfig()
    sections = [getattr(config, f.name) for f in fields(config)]
    names = [f.name for section in sections if hasattr(section, "__dataclass_fields__") for f in fields(section)]
    names += [f.name for f in fields(config) if not hasattr(getattr(config, f.name), "__dataclass_fields__")]
    names += [f.name for f in fields(LiveConfig)]
    documented = [line.split("`")[1] for line in to_markdown().splitlines() if line.startswith("| `")]
    assert sorted(name.removeprefix("AI_HPA_").removesuffix("_SECONDS").lower() for name in documented) == sorted(names)
    assert len(set(documented)) == len(documented)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("AI_HPA_TICK_SECONDS", "2.5", id="a duration in seconds"),
        pytest.param("ai_hpa_tick_seconds", "2.5", id="in lower case"),
    ],
)
def test_durations_are_seconds(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert load_settings().controller.policy.tick == timedelta(seconds=2.5)


def test_each_section_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("TOLERANCE_RATIO", "0.2"),
        ("SCALE_UP_PODS", "9"),
        ("FORECAST_PERIOD_SECONDS", "60"),
        ("LEAD_TIME_EPISODES", "7"),
        ("CALIBRATION_RATE", "0.5"),
        ("METRIC_DELAY_SECONDS", "45"),
    ):
        monkeypatch.setenv(f"AI_HPA_{name}", value)
    config = load_settings().controller
    assert (config.policy.tolerance_ratio, config.policy.scale_up_pods) == (0.2, 9)
    assert config.forecast_cycle.forecast_period == timedelta(seconds=60)
    assert config.lead_time.lead_time_episodes == 7
    assert config.calibration.calibration_rate == 0.5
    assert config.metric_delay == timedelta(seconds=45)


def test_texts_and_switches_are_read_too(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("NAMESPACES", "shop, bank"),
        ("PROMETHEUS_URL", "https://metrics.example/prometheus"),
        ("PROMETHEUS_HEADERS", '{"X-Scope-OrgID": "team"}'),
        ("PROMETHEUS_INSECURE", "true"),
        ("PROMETHEUS_TIMEOUT_SECONDS", "1.5"),
    ):
        monkeypatch.setenv(f"AI_HPA_{name}", value)
    live = load_settings().live
    assert live.namespace_list() == ("shop", "bank")
    assert live.headers() == {"X-Scope-OrgID": "team"}
    assert (live.prometheus_insecure, live.prometheus_timeout) == (True, timedelta(seconds=1.5))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        pytest.param("PROMETHEUS_URL", "prometheus:9090", "an http or https URL", id="no URL"),
        pytest.param("NAMESPACES", "Shop", "names of namespaces", id="no namespace"),
        pytest.param("PROMETHEUS_HEADERS", "X-Scope-OrgID: team", "a JSON object of strings", id="no JSON"),
        pytest.param("PROMETHEUS_PRESETS", '{"queue": 1}', "a JSON object of strings", id="no strings"),
        pytest.param("PROMETHEUS_INSECURE", "perhaps", "perhaps", id="no switch"),
    ],
)
def test_a_text_that_is_not_accepted_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(f"AI_HPA_{name}", value)
    with pytest.raises(SettingsError, match=message):
        load_settings()


def test_all_problems_are_listed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("AI_HPA_TIK_SECONDS", "15"),
        ("AI_HPA_TICK_SECONDS", "soon"),
        ("AI_HPA_SCALE_UP_PODS", "0"),
        ("AI_HPA_TOLERANCE_RATIO", "nan"),
        ("AI_HPA_LEAD_TIME_EPISODES", "2.5"),
    ):
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    lines = str(caught.value).splitlines()
    assert lines[0] == "AI_HPA_TIK_SECONDS: there is no such setting; did you mean AI_HPA_TICK_SECONDS?"
    assert sorted(line.split(":")[0] for line in lines[1:]) == [
        "AI_HPA_LEAD_TIME_EPISODES",
        "AI_HPA_SCALE_UP_PODS",
        "AI_HPA_TICK_SECONDS",
        "AI_HPA_TOLERANCE_RATIO",
    ]
    assert any("'soon'" in line for line in lines)


def test_fields_that_do_not_fit_together_are_listed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AI_HPA_FORECAST_RETRY_SECONDS", "301")
    monkeypatch.setenv("AI_HPA_LEAD_TIME_MEMORY", "1")
    monkeypatch.setenv("AI_HPA_QQQ", "1")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    unknown, retry, memory = str(caught.value).splitlines()
    assert unknown == "AI_HPA_QQQ: there is no such setting"
    assert retry.startswith("forecast_retry must be at most the longer of")
    assert memory.startswith("lead_time_memory must be at least lead_time_episodes")


def test_the_documentation_is_generated() -> None:
    assert DOCS.read_text() == to_markdown(), "run: python -m scaler.settings > docs/configuration.md"


@pytest.mark.parametrize(
    "row",
    [
        "| `AI_HPA_TICK_SECONDS` | 15 | 1 to 60 | Time between two decisions.",
        "| `AI_HPA_ACTIVATION_RATIO` | 0.05 | 0 to 1 | Load below this share",
    ],
)
def test_the_documentation_shows_default_and_range(row: str) -> None:
    assert row in to_markdown()
