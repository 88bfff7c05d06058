import json
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console
from typer.testing import Result

from scaler.cli import session, status
from scaler.cli.record import record_of
from scaler.cli.status import picture, status_command
from scaler.domain import Reason
from scaler.kube.api import Forbidden, Json, Unreachable
from scaler.kube.objects import predictive_scaler_object
from tests.unit.cli.fake_cluster import FakeCluster, component, condition, run, scaler_json

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
REFUSED = {
    "mode": "on",
    "observedGeneration": 1,
    "conditions": [condition("Active", "False", "OtherOwner", "HPA web scales it")],
}
FINE = {"mode": "on", "observedGeneration": 1, "components": [component()]}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    monkeypatch.setattr(session, "now", lambda: NOW)
    return FakeCluster()


def invoke(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    return run(status_command, cluster, monkeypatch, *arguments)


def drawn(*scalers: Json, width: int = 200, namespace: str | None = "shop") -> list[str]:
    records = [record_of(predictive_scaler_object(scaler)) for scaler in scalers]
    console = Console(width=width, record=True, file=None, quiet=False)
    with console.capture() as captured:
        console.print(picture(records, namespace, now=NOW, width=width))
    return [line.rstrip() for line in captured.get().splitlines() if line.strip()]


def test_a_workload_is_one_row_with_all_that_was_decided() -> None:
    header, _, row = drawn(scaler_json(status=FINE))
    assert header.split() == [
        *("workload", "mode", "lever", "floor", "ready", "load", "peak", "lead", "source", "reason", "changed")
    ]
    assert row.split() == [
        *(
            "deploy/web",
            "on",
            "scale",
            "4",
            "2/3",
            "0.412",
            "0.63",
            "41",
            "s",
            "model",
            "DesiredWithinRange",
            "3",
            "min",
        )
    ]


def test_each_component_is_a_row_of_its_own() -> None:
    parts = [component(name="predictor", floor=3), component(name="transformer", floor=1)]
    isvc = ("serving.kserve.io/v1beta1", "InferenceService", "llm")
    rows = drawn(scaler_json(status=FINE | {"components": parts}, target=isvc))[2:]
    assert [row.split()[:5] for row in rows] == [
        ["isvc/llm", "predictor", "on", "scale", "3"],
        ["isvc/llm", "transformer", "on", "scale", "1"],
    ]


def test_what_needs_somebody_stands_first_and_is_said_below() -> None:
    lines = drawn(
        scaler_json("a", status=FINE, target=("apps/v1", "Deployment", "aaa")),
        scaler_json("z", status=REFUSED, target=("apps/v1", "Deployment", "zzz")),
    )
    assert lines[2].split()[:2] == ["!", "deploy/zzz"]
    assert "OtherOwner" in lines[2]
    assert lines[3].split()[0] == "deploy/aaa"
    assert lines[4:] == ["! shop deploy/zzz: HPA web scales it", "Read on with: ai-hpa explain deploy/zzz -n shop"]


@pytest.mark.parametrize("reason", [Reason.NO_METRICS, Reason.NO_FORECAST, Reason.LEAD_TIME_TOO_LONG])
def test_a_decision_made_blindly_needs_somebody_even_where_it_settled_nothing(reason: Reason) -> None:
    lines = drawn(scaler_json(status=FINE | {"components": [component(reasons=[reason.value])]}))
    assert f"! shop deploy/web: {reason.value}" in lines


def test_what_is_switched_off_is_no_trouble() -> None:
    off = {
        "mode": "off",
        "observedGeneration": 1,
        "conditions": [condition("Active", "False", "Off", "its mode is off")],
    }
    lines = drawn(scaler_json(status=off))
    assert "!" not in "".join(lines)


def test_a_floor_that_shadow_mode_only_records_stands_in_brackets() -> None:
    lines = drawn(scaler_json(status=FINE | {"mode": "shadow"}))
    assert "(4)" in lines[2]
    assert lines[3].startswith("(n): shadow mode")


def test_missing_is_never_shown_as_zero() -> None:
    blind = component(load=None, forecastPeak=None, forecastSource=None, leadTime=None, lastChange=None, floor=None)
    row = drawn(scaler_json(status=FINE | {"components": [blind]}))[2]
    assert row.split() == ["deploy/web", "on", "scale", "-", "2/3", "-", "-", "-", "-", "DesiredWithinRange", "-"]


def test_a_workload_that_no_scaler_has_seen_yet_says_so() -> None:
    assert "not seen yet" in drawn(scaler_json(spec={"mode": "shadow"}))[2]


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        pytest.param({"paused": True}, "on, paused", id="all"),
        pytest.param({"scaleDownPaused": True}, "on, not down", id="way down"),
    ],
)
def test_a_pause_is_told_beside_the_mode(spec: Json, told: str) -> None:
    assert told in drawn(scaler_json(spec=spec, status=FINE))[2]


def test_a_change_that_no_scaler_has_acted_on_yet_is_pending() -> None:
    lines = drawn(scaler_json(spec={"mode": "off"}, status=FINE | {"observedGeneration": 0}))
    assert "off, pending" in lines[2]
    assert lines[3].startswith("pending: the scaler has not acted")


def test_what_was_decided_in_shadow_mode_stays_in_brackets_until_the_scaler_acts() -> None:
    status = FINE | {"mode": "shadow", "observedGeneration": 0}
    assert "(4)" in drawn(scaler_json(spec={"mode": "on"}, status=status))[2]


def test_a_narrow_terminal_does_without_the_lesser_columns_and_loses_no_text() -> None:
    header, _, *rows = drawn(scaler_json(status=FINE), width=80)
    assert "lever" not in header
    assert "DesiredWithinRange" in "".join("".join(rows).split())


def test_garbage_in_a_status_is_shown_as_unknown_and_stops_nothing() -> None:
    bad: Json = {
        "mode": "sometimes",
        "observedGeneration": 1,
        "components": [{"floor": "4", "load": True, "leadTime": 3, "notes": 1}, 7],
    }
    assert drawn(scaler_json(status=bad))[2].split() == ["deploy/web", "-", "-", "-/-", "-", "-", "-", "-", "-", "-"]


def test_where_nothing_is_opted_in_the_way_to_begin_is_shown(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = invoke(cluster, monkeypatch)
    assert ran.exit_code == 0
    assert "ai-hpa shadow deploy/NAME -n shop" in ran.stdout
    assert "ai-hpa status -A" in ran.stdout


def test_only_the_namespace_that_is_meant_is_listed(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.scaler("here", status=FINE)
    cluster.scaler("there", status=FINE, namespace="other", target=("apps/v1", "Deployment", "elsewhere"))
    assert "elsewhere" not in invoke(cluster, monkeypatch).stdout
    assert "elsewhere" in invoke(cluster, monkeypatch, "-n", "other").stdout
    everywhere = invoke(cluster, monkeypatch, "-A").stdout
    assert "elsewhere" in everywhere
    assert "deploy/web" in everywhere


def test_json_has_the_words_of_the_status_without_what_was_learned(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.scaler(status=FINE)
    (told,) = json.loads(invoke(cluster, monkeypatch, "-o", "json").stdout)
    assert (told["namespace"], told["target"]["kind"], told["mode"], told["problem"]) == (
        "shop",
        "Deployment",
        "on",
        False,
    )
    expected = component()
    del expected["memory"]
    assert told["components"] == [expected]


def test_a_cluster_without_our_kind_is_told_how_to_install_it(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.missing.add("PredictiveScaler")
    ran = invoke(cluster, monkeypatch)
    assert ran.exit_code == 3
    assert "kubectl apply" in ran.stderr


@pytest.mark.parametrize(
    ("error", "told"),
    [
        pytest.param(
            Unreachable("GET /apis/x: connection refused"),
            "error: the API server does not answer (connection refused); try `kubectl version` with the same context\n",
            id="unreachable",
        ),
        pytest.param(
            Forbidden("Unauthorized", status=401),
            "error: the API server does not accept your credentials (Unauthorized); log in again\n",
            id="unauthorized",
        ),
        pytest.param(
            Forbidden('User "me" cannot list', status=403),
            'error: you may not do this: User "me" cannot list; ask whoever runs the cluster for that permission\n',
            id="forbidden",
        ),
    ],
)
def test_an_error_of_the_cluster_is_one_line_that_says_what_to_do(
    error: Unreachable | Forbidden, told: str, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.error = error
    ran = invoke(cluster, monkeypatch)
    assert (ran.exit_code, ran.stderr) == (3, told)


def test_watching_as_json_is_refused(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    assert invoke(cluster, monkeypatch, "-w", "-o", "json").exit_code == 2


def test_watching_outlives_an_outage_and_ends_with_an_interrupt(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.scaler(status=FINE)
    rounds = []

    def wait(seconds: float) -> None:
        rounds.append(seconds)
        cluster.error = Unreachable("GET /x: gone") if len(rounds) == 1 else None
        if len(rounds) == 3:
            raise KeyboardInterrupt

    screen = Console(width=200, force_terminal=False)
    status._watch(session.Session(cluster, "shop"), "shop", screen, wait)
    assert rounds == [2.0, 2.0, 2.0]
    assert "deploy/web" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("ago", "told"),
    [
        pytest.param(timedelta(seconds=7.9), "7 s", id="seconds"),
        pytest.param(timedelta(seconds=119), "119 s", id="almost two minutes"),
        pytest.param(timedelta(minutes=119), "119 min", id="minutes"),
        pytest.param(timedelta(hours=47), "47 h", id="hours"),
        pytest.param(timedelta(days=3), "3 d", id="days"),
        pytest.param(timedelta(seconds=-5), "0 s", id="another clock"),
    ],
)
def test_ages_are_rounded_as_kubectl_does(ago: timedelta, told: str) -> None:
    change = {"at": (NOW - ago).isoformat(), "from": 1, "to": 2}
    row = drawn(scaler_json(status=FINE | {"components": [component(lastChange=change)]}))[2]
    assert row.endswith(f" {told}")
