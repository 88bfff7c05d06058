import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from typer.testing import Result

from scaler.cli import sentences, session, words
from scaler.cli.explain import explain_command, lines
from scaler.cli.record import ComponentRecord, Record, record_of
from scaler.domain import ChampionReason, Mode, Reason
from scaler.kube.api import Forbidden, Json
from scaler.kube.objects import predictive_scaler_object
from scaler.kube.resources import EVENTS, Resource
from scaler.targets.workload import RefusalReason
from tests.unit.cli.fake_cluster import FakeCluster, component, condition, run, scaler_json

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    monkeypatch.setattr(session, "now", lambda: NOW)
    return FakeCluster()


def invoke(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    return run(explain_command, cluster, monkeypatch, *arguments)


def record(*, mode: str = "on", conditions: tuple[Json, ...] = (), **parts: Any) -> Record:
    status = {"mode": mode, "observedGeneration": 1, "components": [component(**parts)], "conditions": [*conditions]}
    return record_of(predictive_scaler_object(scaler_json(status=status)))


def one(**parts: Any) -> ComponentRecord:
    return record(**parts).components[0]


def told(explained: Record) -> list[str]:
    return list(lines(explained, (), now=NOW))


def test_the_paragraph_says_load_forecast_lead_time_capacity_and_rule() -> None:
    assert sentences.paragraph(record(), one()) == (
        "Deployment web has a floor of 4 pods. 2 of 3 pods are ready. Its load is 0.412 cores now. "
        "Going by the model, at most 0.63 cores is to be expected over the next 41 s, which is how long new pods take, "
        "with 98 % certainty. "
        "One pod carries 0.18 cores (90 % of the CPU limit (200m)). The higher of both asks for 4 pods. "
        "Nothing held it back: 4 is what this load asks for."
    )


def test_in_shadow_mode_the_floor_is_what_it_would_be() -> None:
    shadow = record(mode="shadow")
    assert "would have a floor of 4 pods. Mode is shadow" in sentences.paragraph(shadow, shadow.components[0])


def test_a_component_is_named() -> None:
    named = record(name="transformer")
    assert sentences.paragraph(named, named.components[0]).startswith("The transformer has a floor of 4 pods.")


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_a_sentence_and_a_clause_of_its_own(reason: Reason) -> None:
    sentence = sentences.settled(reason.value, one(reason=reason.value))
    assert sentence.endswith(".")
    assert sentence not in {sentences.settled(r.value, one()) for r in Reason if r is not reason}
    also = sentences.also(one(reason="Paused", reasons=[reason.value]))
    assert also.startswith("Also: ") or reason is Reason.PAUSED
    assert "{" not in sentence + also
    assert reason.value not in sentence + also


@pytest.mark.parametrize(
    ("reason", "number"),
    [
        pytest.param(Reason.TOO_FEW_REPLICAS, "bound of 1 ", id="lower bound"),
        pytest.param(Reason.TOO_MANY_REPLICAS, "bound of 5 ", id="upper bound"),
        pytest.param(Reason.DESIRED_WITHIN_RANGE, "4 is what", id="demand"),
    ],
)
def test_the_rule_names_the_number_that_settled_it(reason: Reason, number: str) -> None:
    assert number in sentences.settled(reason.value, one())


@pytest.mark.parametrize("reason", list(ChampionReason))
def test_who_serves_is_said_with_the_costs_of_all(reason: ChampionReason) -> None:
    ratios = {"persistence": 1.0, "model": 1.312, "damped-trend": 0.9}
    champion = {"source": "damped-trend", "reason": reason.value, "scoredDays": 3.0, "costRatios": ratios}
    sentence = sentences.champion(one(champion=champion))
    assert sentence.startswith("Forecasts by a damped trend serve")
    assert "(3 d scored)." in sentence
    assert sentence.endswith("a damped trend 0.90, the load as it is 1.00, the model 1.31.")
    assert sentence in told(record(champion=champion))
    assert "{" not in sentence


@pytest.mark.parametrize(
    "champion",
    [
        pytest.param(None, id="none yet"),
        pytest.param({"source": "crystal ball", "reason": "Cheapest", "scoredDays": 1}, id="of a newer scaler"),
    ],
)
def test_nothing_is_said_of_a_champion_that_is_not_known(champion: Json | None) -> None:
    assert not sentences.champion(one(champion=champion))


def test_a_champion_without_scores_serves_until_there_are_some() -> None:
    champion = {"source": "model", "reason": "TooFewScores", "scoredDays": 0}
    assert sentences.champion(one(champion=champion)) == (
        "Forecasts by the model serve until those of others have been scored for a day."
    )


@pytest.mark.parametrize("reason", list(RefusalReason))
def test_every_refusal_comes_with_what_to_do(reason: RefusalReason) -> None:
    refused = record(conditions=(condition("Active", "False", reason.value, "because"),)).conditions[0]
    assert sentences.advice(refused).endswith(".")


@pytest.mark.parametrize("name", ["Active", "MetricsAvailable", "ForecastAvailable", "FloorHonoured"])
def test_every_bad_condition_comes_with_what_to_do(name: str) -> None:
    explained = told(record(conditions=(condition(name, "False", "Whatever", "it broke"),)))
    place = explained.index(f"! {name}: no for 60 min: it broke")
    assert explained[place + 1].strip()


def test_a_reason_of_a_newer_scaler_is_passed_on_as_it_is() -> None:
    assert "does not know" in sentences.settled("Telepathy", one())
    assert sentences.also(one(reasons=["Telepathy"])) == "Also: Telepathy."


@pytest.mark.parametrize(
    ("parts", "present", "absent"),
    [
        pytest.param({"load": None}, "There is no fresh measurement of its load.", "Its load is", id="blind"),
        pytest.param({"forecastPeak": None}, "That asks for 3 pods.", "at most", id="no forecast"),
        pytest.param(
            {"forecastSource": "seasonal-day"}, "Going by yesterday's load, at most", "the model", id="stand-in"
        ),
        pytest.param({"capacity": None}, "Nothing held it back", "One pod carries", id="no capacity"),
        pytest.param({"floor": None}, "has no floor yet", "a floor of", id="no floor"),
        pytest.param({"level": None}, "how long new pods take.", "certainty", id="no level"),
        pytest.param(
            {"leadTime": None}, "0.63 cores is to be expected soon", "how long new pods take", id="no lead time"
        ),
        pytest.param({"metric": "memory", "load": 3e9}, "Its load is 2.79 GiB now.", "cores", id="memory"),
        pytest.param({"metric": "concurrency", "load": 1}, "Its load is 1 request at once", "cores", id="concurrency"),
        pytest.param({"metric": "queue_length", "load": 7}, "Its load is 7 now.", "cores", id="preset"),
    ],
)
def test_what_is_missing_is_left_out_or_said(parts: dict[str, Any], present: str, absent: str) -> None:
    paragraph = sentences.paragraph(record(**parts), one(**parts))
    assert present in paragraph
    assert absent not in paragraph


def test_pods_are_counted_as_the_policy_counts_them() -> None:
    # 0.1 * 3 as floats is a hair above 0.3, and must not ask for a fourth pod.
    assert "asks for 3 pods" in sentences.paragraph(record(), one(load=0.1 * 3, forecastPeak=0.2, capacity=0.1))


@pytest.mark.parametrize(
    ("lead", "expected"),
    [
        pytest.param(
            {"p50Seconds": 12.3, "p90Seconds": 41, "count": 7},
            "The scaler counts with 41 s (p90 of 7 scale-ups seen, half of them within 12 s) until added pods are "
            "Ready.",
            id="learned",
        ),
        pytest.param(
            {"p90Seconds": 90, "count": 0},
            "The scaler counts with 90 s, set by its user or assumed: no scale-up was seen yet.",
            id="assumed",
        ),
        pytest.param(None, "Not known yet.", id="unknown"),
        pytest.param(
            {"p90Seconds": 9, "stages": {"scheduledSeconds": 0.4, "startedSeconds": 3, "readySeconds": 8.5}},
            "The scaler counts with 9 s, set by its user or assumed: no scale-up was seen yet. "
            "Half of the pods that run now were on a node after 0.4 s, had started after 3 s, were Ready after 8.5 s.",
            id="stages",
        ),
    ],
)
def test_the_lead_time_is_told_with_its_stages(lead: Json | None, expected: str) -> None:
    assert " ".join(sentences.lead_time(one(leadTime=lead))) == expected


def test_the_forecast_is_drawn_from_now_on_with_the_pods_it_asks_for() -> None:
    drawing = [line for line in told(record()) if "█" in line]
    labels = [re.split(r"\s{2,}", line.strip())[0] for line in drawing]
    # Made 2 minutes ago in steps of a minute: its step 30 lies 28 minutes ahead.
    assert labels == ["seen now", *(f"within {m} min" for m in (3, 8, 13, 18, 23, 28))]
    assert drawing[-1].split()[3:7] == ["1.08", "cores", "6", "pods"]
    bars = [line.count("█") for line in drawing]
    assert bars[0] == 11  # 0.412 of 1.08 on 30 columns
    assert bars[-1] == 30
    assert bars == sorted(bars)


def test_the_learned_margin_is_that_at_the_end_of_the_lead_time() -> None:
    # 120 s old and 41 s ahead: step 3, whose offset is 0.02.
    assert any(line.startswith("Of that, 0.02 cores is the margin") for line in told(record()))


def test_a_forecast_that_is_over_draws_no_time_that_has_passed() -> None:
    memory = component()["memory"]
    memory["trajectory"]["origin"] = "2026-01-05T11:00:00Z"
    assert [line.split()[:2] for line in told(record(memory=memory)) if "█" in line] == [["seen", "now"]]


def test_bounds_last_change_and_notes_are_told() -> None:
    explained = told(record())
    assert "Bounds: 1 to 5 pods. Lever: scale. Metric: cpu." in explained
    assert "Last change: 3 min ago, from 2 to 4 pods (DesiredWithinRange)." in explained
    assert "Note: maxReplicas was assumed." in explained


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        pytest.param({"mode": "off"}, "It is switched off", id="off"),
        pytest.param({}, "has not decided about it yet", id="unseen"),
        pytest.param({"conditions": [condition("Active", "False", "NoCapacity")]}, "It is left alone", id="refused"),
    ],
)
def test_without_a_decision_it_says_why_there_is_none(status: Json, expected: str) -> None:
    unseen = record_of(predictive_scaler_object(scaler_json(status=status)))
    assert any(line.startswith(expected) or expected in line for line in told(unseen))


def test_a_status_that_speaks_of_an_older_spec_says_so() -> None:
    old = record_of(
        predictive_scaler_object(scaler_json(status={"observedGeneration": 0, "components": [component()]}))
    )
    assert "! The spec was changed and the scaler has not acted on it yet." in told(old)


def event(name: str, *, about: tuple[str, str], at: str, note: str, kind: str = "Normal") -> Json:
    return {
        "metadata": {"namespace": "shop", "name": name},
        "regarding": {"kind": about[0], "name": about[1]},
        "eventTime": at,
        "reason": "ScaledUp",
        "note": note,
        "type": kind,
        "spec": {},
    }


def test_the_newest_events_of_workload_and_scaler_are_shown_and_no_others(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.deployment()
    cluster.scaler(status={"mode": "on", "components": [component()]})
    cluster.store.put(EVENTS, event("a", about=("Deployment", "web"), at="2026-01-05T11:50:00Z", note="older"))
    cluster.store.put(
        EVENTS, event("b", about=("PredictiveScaler", "deployment-web"), at="2026-01-05T11:59:00Z", note="newer")
    )
    cluster.store.put(EVENTS, event("c", about=("Deployment", "web2"), at="2026-01-05T11:59:30Z", note="another's"))
    out = invoke(cluster, monkeypatch, "deploy/web").stdout
    assert out.index("newer") < out.index("older")
    assert "another's" not in out


def test_events_that_may_not_be_read_do_not_stop_the_explanation(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.deployment()
    cluster.scaler(status={"mode": "on", "components": [component()]})
    answer = cluster._answer

    def refuse(resource: Resource) -> None:
        if resource is EVENTS:
            raise Forbidden("no events for you", status=403)
        answer(resource)

    monkeypatch.setattr(cluster, "_answer", refuse)
    ran = invoke(cluster, monkeypatch, "deploy/web")
    assert ran.exit_code == 0
    assert "has a floor of 4 pods" in ran.stdout
    assert "no events for you" in ran.stdout


@pytest.mark.parametrize(
    "typed",
    ["deploy/web", "deployment/web", "Deployments/web", "deployment.apps/web", "psc/deployment-web", "deploy.apps/web"],
)
def test_a_workload_is_found_by_any_of_its_names(
    typed: str, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.deployment()
    cluster.scaler(status={"mode": "on", "components": [component()]})
    assert "Deployment web has a floor of 4 pods." in invoke(cluster, monkeypatch, typed).stdout


def test_a_kind_of_another_group_is_looked_up(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.paths["/apis/argoproj.io"] = {"preferredVersion": {"version": "v1alpha1"}}
    rollouts = {"name": "rollouts", "singularName": "rollout", "kind": "Rollout", "shortNames": ["ro"]}
    cluster.paths["/apis/argoproj.io/v1alpha1"] = {"resources": [{"name": "rollouts/scale", "kind": "Scale"}, rollouts]}
    target = ("argoproj.io/v1alpha1", "Rollout", "web")
    cluster.scaler(status={"mode": "on", "components": [component()]}, target=target)
    for typed in ("rollouts.argoproj.io/web", "rollout.argoproj.io/web", "ro.argoproj.io/web"):
        assert "Rollout web has a floor" in invoke(cluster, monkeypatch, typed).stdout


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        pytest.param("web", "names no workload", id="no kind"),
        pytest.param("deploy/", "names no workload", id="no name"),
        pytest.param("deploy/a/b", "names no workload", id="too much"),
        pytest.param("pod/web", "no kind that can be scaled", id="other kind"),
        pytest.param("things.example.com/web", "no kind that can be scaled", id="unknown group"),
        pytest.param("deploy/nope", "there is no Deployment nope in namespace shop", id="no such workload"),
        pytest.param("psc/nope", "there is no PredictiveScaler nope", id="no such scaler"),
        pytest.param(
            "deploy/plain", "`ai-hpa shadow deploy/plain -n shop`; under AI-HPA here are deploy/web", id="not in"
        ),
    ],
)
def test_what_cannot_be_explained_is_bad_input_with_a_way_on(
    typed: str, expected: str, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.deployment("plain")
    cluster.scaler()
    ran = invoke(cluster, monkeypatch, typed)
    assert ran.exit_code == 2
    assert expected in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_json_has_the_status_and_the_events(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.deployment()
    cluster.scaler(status={"mode": "on", "components": [component()]})
    cluster.store.put(EVENTS, event("a", about=("Deployment", "web"), at="2026-01-05T11:50:00Z", note="up"))
    data = json.loads(invoke(cluster, monkeypatch, "deploy/web", "-o", "json").stdout)
    assert data["components"][0]["floor"] == 4
    assert [e["note"] for e in data["events"]] == ["up"]


def test_a_mode_that_is_off_hides_old_conditions() -> None:
    off = record(mode="off", conditions=(condition("Active", "False", "Off", "switched off"),))
    assert off.mode is Mode.OFF
    assert off.bad_conditions == ()


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [
        pytest.param(0.98, "98 %", id="whole"),
        pytest.param(0.9975, "99.75 %", id="parts"),
        pytest.param(None, "unknown", id="none"),
    ],
)
def test_levels_are_given_in_percent(ratio: float | None, expected: str) -> None:
    assert words.percent(ratio) == expected
