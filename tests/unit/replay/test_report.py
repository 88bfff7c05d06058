import json
import re
from dataclasses import replace

import numpy as np
import pytest
from plotly.offline import get_plotlyjs

from scaler.domain import ForecastFailure
from scaler.replay.figures import changes, fan_ahead, shown_load
from scaler.replay.page import for_script
from scaler.replay.report import render
from scaler.replay.result import Policy, ReplayResult
from scaler.replay.scores import Scores
from scaler.replay.summary import fallback_warning, to_json, verdict


@pytest.fixture(scope="module")
def page(result: ReplayResult) -> str:
    return render(result, command="ai-hpa demo --series '<b>'")


@pytest.fixture(scope="module")
def own(page: str) -> str:
    """The page without the library in it."""
    return page.replace(str(get_plotlyjs()), "")


def data_of(page: str) -> dict[str, object]:
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, flags=re.DOTALL)
    loaded: dict[str, object] = json.loads(data)
    return loaded


def test_the_page_loads_nothing_from_anywhere(page: str, own: str) -> None:
    assert not re.search(r"https?://|@import|url\(", own)
    assert not re.search(r"<(link|img|iframe|script[^>]+src)", own)
    policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
    assert policy in page


def test_it_stays_small_enough_to_open(page: str) -> None:
    assert len(page.encode()) < 8_000_000


def test_names_and_commands_are_escaped(own: str) -> None:
    assert "<b>" not in own
    assert "daily &lt;b&gt;jump&lt;/b&gt;" in own
    assert "ai-hpa demo --series &#x27;&lt;b&gt;&#x27;" in own
    assert "A note &amp; a half." in own


def test_no_text_can_end_the_data_element() -> None:
    packed = for_script({"name": "</script><script>alert(1)"})
    assert "<" not in packed
    assert json.loads(packed) == {"name": "</script><script>alert(1)"}


def test_nothing_is_left_to_fill_in(own: str) -> None:
    assert not re.search(r"\$[a-z]", own)


def test_the_numbers_come_from_the_replay(result: ReplayResult, own: str) -> None:
    for run in result.runs.values():
        assert f"<td>{run.scores.pod_hours:,.0f}</td>" in own
    assert verdict(result) in own


def test_what_the_controller_was_told_is_said_as_it_ran(result: ReplayResult, own: str) -> None:
    delay, freshness = result.config.metric_delay.total_seconds(), result.config.policy.metric_freshness.total_seconds()
    assert f"<td>at most {delay:g} s old; blind after {freshness:g} s</td>" in own
    assert delay >= result.settings.physics.metric_delay.total_seconds()


def test_both_kinds_of_moments_are_listed_with_their_decision(result: ReplayResult, own: str) -> None:
    data = data_of(own)
    better = data["better"]
    assert isinstance(better, list)
    assert better
    assert [name for name, _ in better[0]["chain"]][-2:] == ["floor", "reasons"]
    assert data["worse"] == []


def test_every_forecast_can_be_picked(result: ReplayResult, own: str) -> None:
    fans = data_of(own)["fans"]
    assert isinstance(fans, dict)
    assert len(fans["origins"]) == len(result.forecasts)


def test_a_replay_without_any_forecast_still_has_a_page(result: ReplayResult) -> None:
    page = render(replace(result, forecasts=()), command="x")
    fans = data_of(page.replace(str(get_plotlyjs()), ""))["fans"]
    assert isinstance(fans, dict)
    assert fans["origins"] == []


def test_a_failed_forecaster_is_said_loudly(result: ReplayResult) -> None:
    assert fallback_warning(result) is None
    failed = (result.decisions[0]._replace(forecast_failure=ForecastFailure.TIMEOUT), *result.decisions[1:])
    broken = replace(result, decisions=failed)
    assert "The forecaster failed (timeout)" in str(fallback_warning(broken))
    assert '<p class="warning">The forecaster failed (timeout)' in render(broken, command="x")


def test_the_fan_follows_on_from_each_forecast_to_the_next(result: ReplayResult) -> None:
    times, quantiles = fan_ahead(result.forecasts)
    assert quantiles.shape == (len(times), 8)
    assert set(np.diff(times)) == {60_000.0}  # each minute once
    origin, successor = result.forecasts[0].forecast.origin, result.forecasts[1].asked_at
    assert times[0] >= successor.timestamp() * 1000 > origin.timestamp() * 1000


def test_a_long_replay_is_drawn_with_few_points(result: ReplayResult) -> None:
    long = replace(result, load=np.tile(result.load, 200))
    load, step = shown_load(long)
    assert len(load) <= 15_000
    assert load[0] == pytest.approx(result.load[: int(step.total_seconds() // 15)].mean())


def test_stepwise_lines_keep_each_change() -> None:
    assert changes(np.array([3, 3, 5, 5, 5, 2, 2])).tolist() == [0, 2, 5, 6]


def scored(result: ReplayResult, policy: Policy, **change: float) -> ReplayResult:
    run = result.runs[policy]
    scores: Scores = replace(run.scores, **change)
    return replace(result, runs={**result.runs, policy: replace(run, scores=scores)})


@pytest.mark.parametrize(
    ("hpa", "ai_hpa", "said"),
    [
        pytest.param(0.02, 0.005, "cut the time short of pods by 75.0%, from 3.6 min to 54 s", id="better"),
        pytest.param(0.005, 0.02, "was short of pods for longer than the HPA alone, 3.6 min against 54 s", id="worse"),
        pytest.param(0.02, 0.02, "Both were short of pods for 3.6 min; AI-HPA took", id="equal"),
        pytest.param(0.0, 0.0, "Neither was ever short of pods; AI-HPA took", id="nothing to gain"),
    ],
)
def test_the_verdict_says_what_happened(result: ReplayResult, hpa: float, ai_hpa: float, said: str) -> None:
    changed = scored(scored(result, Policy.HPA, under_time=hpa), Policy.AI_HPA, under_time=ai_hpa)
    assert said in verdict(changed)


def test_the_verdict_names_the_price_either_way(result: ReplayResult) -> None:
    dearer = scored(scored(result, Policy.HPA, pod_hours=100.0), Policy.AI_HPA, pod_hours=110.0)
    cheaper = scored(scored(result, Policy.HPA, pod_hours=100.0), Policy.AI_HPA, pod_hours=95.0)
    assert "10.0% more pod-hours" in verdict(dearer)
    assert "5.0% fewer pod-hours" in verdict(cheaper)


def test_scores_as_data_carry_every_policy_and_setting(result: ReplayResult) -> None:
    data = json.loads(json.dumps(to_json(result)))
    (series,) = data["series"]
    assert set(series["policies"]) == {"hpa", "ai-hpa", "oracle"}
    assert series["policies"]["hpa"]["under_time"] == result.runs[Policy.HPA].scores.under_time
    assert series["policies"]["oracle"]["pod_hours_over_oracle"] == 1.0
    assert sum(series["forecast_sources"].values()) == pytest.approx(1.0)
    assert data["settings"]["capacity"] == 10.0
