"""What the server answers: shapes, orders and invariances of the contract, over a real socket."""

from __future__ import annotations

import importlib.resources
import json
import math
import uuid
from typing import Any, TypeAlias

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

Array: TypeAlias = npt.NDArray[Any]

CONTRACT = json.loads((importlib.resources.files("contracts") / "forecast_v2.json").read_text(encoding="utf-8"))
H = CONTRACT["prediction_length"]
Q = len(CONTRACT["quantile_levels"])
CONTEXT = 288
DATATYPES = {"f": "FP32", "b": "BOOL", "i": "INT64"}
# Each example is a request to a server of the session, so that its state between examples is the thing under test.
over_a_socket = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)


def body_of(step_seconds: int | None = None, **arrays: Array) -> dict[str, Any]:
    """A v2 request of these arrays; NaN is sent as null."""
    inputs = [
        {
            "name": name,
            "datatype": DATATYPES[array.dtype.kind],
            "shape": list(array.shape),
            "data": [None if math.isnan(element) else element for element in array.ravel().tolist()],
        }
        for name, array in arrays.items()
    ]
    return {"inputs": inputs} | ({} if step_seconds is None else {"parameters": {"step_seconds": step_seconds}})


def outputs_of(answer: dict[str, Any]) -> dict[str, Array]:
    return {tensor["name"]: np.array(tensor["data"]).reshape(tensor["shape"]) for tensor in answer["outputs"]}


def forecast(caller: Any, step_seconds: int | None = None, **arrays: Array) -> dict[str, Array]:
    return outputs_of(caller.answer(body_of(step_seconds, **arrays)))


def assert_same(left: dict[str, Array], right: dict[str, Array], rtol: float) -> None:
    assert left.keys() == right.keys()
    for name, values in left.items():
        scale = np.abs(right[name]).max()
        np.testing.assert_allclose(values, right[name], rtol=rtol, atol=rtol * 1e-2 * scale, err_msg=name)


def assert_keeps_contract(outputs: dict[str, Array]) -> None:
    quantiles, window_max = outputs["quantiles"], outputs["window_max"]
    assert quantiles.shape == window_max.shape == (len(quantiles), H, Q)
    for values in (quantiles, window_max):
        assert np.isfinite(values).all()
        assert (values >= 0).all()
        assert (np.diff(values, axis=2) >= 0).all()
    assert (np.diff(window_max, axis=1) >= 0).all()
    assert (window_max >= quantiles).all()  # with the line above: never below any earlier step either
    np.testing.assert_array_equal(window_max[:, 0], quantiles[:, 0])
    np.testing.assert_allclose(outputs["quantile_levels"], CONTRACT["quantile_levels"], rtol=1e-6)


def wave(rows: int, length: int, seed: int = 0) -> Array:
    """Loads of different level, phase and noise. Shape (rows, length)."""
    rng = np.random.default_rng(seed)
    at = np.arange(length) / rng.uniform(10, 60, (rows, 1)) + rng.uniform(0, 6, (rows, 1))
    level = rng.uniform(1, 100, (rows, 1))
    return np.asarray(level * (2 + np.sin(at) + 0.1 * rng.random((rows, length))), dtype=np.float64)


lengths = st.integers(CONTRACT["history_length"]["min"], 400)
loads = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 4), lengths),
    elements=st.floats(0, 2.0**60, width=32, allow_subnormal=False) | st.sampled_from([0.0, 1.0, 1e-6, 1e30]),
)


@over_a_socket
@given(load=loads, data=st.data())
def test_every_valid_request_gets_ordered_finite_quantiles(caller: Any, load: Array, data: st.DataObject) -> None:
    observed = data.draw(hnp.arrays(np.bool_, load.shape))
    observed[:, -1] = True
    lags = data.draw(hnp.arrays(np.float32, (len(load), 2, H), elements=st.floats(0, 2.0**60, width=32)))
    step_seconds = data.draw(st.integers(CONTRACT["step_seconds"]["min"], CONTRACT["step_seconds"]["max"]))
    end_time = np.full(len(load), data.draw(st.integers(0, 253_402_300_799)), dtype=np.int64)
    outputs = forecast(
        caller, step_seconds, load=load, observed=observed, seasonal_lags=lags.astype(float), end_time=end_time
    )
    assert_keeps_contract(outputs)


@over_a_socket
@given(rows=st.integers(2, 150), length=lengths, pick=st.integers(0, 149), seed=st.integers(0, 9))
def test_a_row_gets_the_same_answer_alone_and_in_any_batch(
    caller: Any, rows: int, length: int, pick: int, seed: int
) -> None:
    load, row = wave(rows, length, seed), pick % rows
    together = forecast(caller, load=load)
    alone = forecast(caller, load=load[row : row + 1])
    for name in ("quantiles", "window_max"):
        np.testing.assert_allclose(together[name][row], alone[name][0], rtol=1e-4)


@over_a_socket
@given(factor=st.sampled_from([1e-6, 1e-3, 0.37, 42.0, 1e3, 1e6]), length=lengths, with_lags=st.booleans())
def test_k_times_the_load_gives_k_times_the_answer(caller: Any, factor: float, length: int, with_lags: bool) -> None:
    load = wave(2, length)
    lags: dict[str, Any] = {"seasonal_lags": wave(4, H, 1).reshape(2, 2, H)} if with_lags else {}
    once = forecast(caller, load=load, **lags)
    scaled_lags: dict[str, Any] = {name: factor * values for name, values in lags.items()}
    scaled = forecast(caller, load=factor * load, **scaled_lags)
    for name in ("quantiles", "window_max"):
        atol = 1e-5 * factor * once[name].max()  # a quantile cut off at zero has no relative error
        np.testing.assert_allclose(scaled[name], factor * once[name], rtol=1e-3, atol=atol)


@pytest.mark.parametrize("length", [8, 24, 287, 288])
def test_unobserved_samples_before_the_history_change_nothing(caller: Any, length: int) -> None:
    load = wave(3, length)
    padded = np.concatenate([np.full((3, 50), np.nan), load], axis=1)
    assert_same(forecast(caller, load=padded, observed=~np.isnan(padded)), forecast(caller, load=load), 1e-4)


def test_history_beyond_the_context_changes_nothing(caller: Any) -> None:
    load = wave(3, 2016)
    assert_same(forecast(caller, load=load), forecast(caller, load=load[:, -CONTEXT:]), 1e-4)


def test_what_stands_at_a_missing_sample_does_not_matter(caller: Any) -> None:
    load, observed = wave(2, 60), np.ones((2, 60), dtype=bool)
    observed[:, [3, 30, 58]] = False
    expected = forecast(caller, load=load, observed=observed)
    for value in (np.nan, -1.0, 0.0, 1e9):
        assert_same(forecast(caller, load=np.where(observed, load, value), observed=observed), expected, 1e-6)


def test_a_missing_sample_is_not_a_zero(caller: Any) -> None:
    load, observed = wave(1, 60), np.ones((1, 60), dtype=bool)
    observed[:, -5:] = False
    as_missing = forecast(caller, load=np.where(observed, load, 0.0), observed=observed)
    as_zero = forecast(caller, load=np.where(observed, load, 0.0))
    assert not np.allclose(as_missing["quantiles"], as_zero["quantiles"], rtol=0.05)


def test_lags_after_the_newest_sample_are_ignored(caller: Any) -> None:
    load, lags = wave(2, 100), wave(4, H, 1).reshape(2, 2, H)
    other = lags.copy()
    other[:, 0, 24:] = np.nan  # at a step of an hour, the 25th step's lag of one day is an hour ahead
    expected = forecast(caller, 3600, load=load, seasonal_lags=lags)
    assert_same(forecast(caller, 3600, load=load, seasonal_lags=other), expected, 1e-6)


def test_lags_before_the_newest_sample_are_used(caller: Any) -> None:
    load, lags = wave(2, 100), wave(4, H, 1).reshape(2, 2, H)
    expected = forecast(caller, 3600, load=load, seasonal_lags=lags)
    for row in (0, 1):
        other = lags.copy()
        other[:, row, 23] *= 3
        changed = forecast(caller, 3600, load=load, seasonal_lags=other)
        assert not np.allclose(changed["quantiles"], expected["quantiles"], rtol=1e-4)


def test_optional_inputs_left_out_equal_their_defaults(caller: Any) -> None:
    load, lags = wave(2, 50), wave(4, H, 1).reshape(2, 2, H)
    observed, lags_observed = np.ones(load.shape, dtype=bool), np.ones(lags.shape, dtype=bool)
    plain = forecast(caller, load=load)
    assert_same(forecast(caller, 60, load=load, observed=observed), plain, 1e-6)
    assert_same(forecast(caller, load=load, seasonal_lags=lags, seasonal_lags_observed=~lags_observed), plain, 1e-6)
    with_lags = forecast(caller, load=load, seasonal_lags=lags)
    assert_same(forecast(caller, load=load, seasonal_lags=lags, seasonal_lags_observed=lags_observed), with_lags, 1e-6)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"load": wave(2, 50, 7)}, id="load"),
        pytest.param({"load": np.flip(wave(2, 50), axis=1)}, id="order-in-time"),
        pytest.param({"step_seconds": 900}, id="step"),
        pytest.param({"end_time": np.array([1_700_000_000] * 2)}, id="calendar"),
        pytest.param({"seasonal_lags": wave(4, H, 1).reshape(2, 2, H)}, id="lags"),
    ],
)
def test_every_input_has_a_say(caller: Any, change: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"load": wave(2, 50)}
    before, after = forecast(caller, **arguments), forecast(caller, **(arguments | change))
    for name in ("quantiles", "window_max"):
        for row in (0, 1):
            assert not np.allclose(before[name][row], after[name][row], rtol=1e-5), name


FLAT = np.full((1, CONTEXT), 5.0)
NOISE = np.random.default_rng(0).random((1, CONTEXT))
GAPS = np.where(np.arange(CONTEXT) % 5 < 3, np.nan, wave(1, CONTEXT, 3))


def changed_at(position: int | slice, value: float) -> Array:
    load = FLAT + 0.1 * NOISE
    load[0, position] = value
    return load


@pytest.mark.parametrize(
    ("load", "low", "high"),
    [
        pytest.param(FLAT, 4.5, 5.5, id="constant"),
        pytest.param(changed_at(100, 500.0), 4.0, 6.5, id="one spike, hours ago"),
        pytest.param(changed_at(-2, 500.0), 2.5, 60.0, id="one spike, just now"),
        pytest.param(changed_at(slice(-20, None), 50.0), 25.0, 60.0, id="a step up that lasts"),
        pytest.param(changed_at(slice(-20, None), 0.5), 0.2, 3.0, id="a step down that lasts"),
        pytest.param(changed_at(slice(None, None, 2), 0.0), 0.0, 6.0, id="every other sample zero"),
        pytest.param(GAPS, 0.4 * np.nanmin(GAPS), 1.6 * np.nanmax(GAPS), id="60 % gaps"),
    ],
)
def test_hostile_load_gets_a_sensible_median(caller: Any, load: Array, low: float, high: float) -> None:
    outputs = forecast(caller, load=load, observed=~np.isnan(load))
    assert_keeps_contract(outputs)
    median = outputs["quantiles"][0, :, CONTRACT["quantile_levels"].index(0.5)]
    assert (median >= low).all(), median.min()
    assert (median <= high).all(), median.max()
    # What was never seen may come, but nothing beyond a few times the highest of all.
    assert outputs["window_max"].max() <= 5 * np.nanmax(load)


@pytest.mark.parametrize("factor", [1e-9, 1e12], ids=["1e-9", "1e12"])
def test_the_unit_of_the_load_does_not_matter(caller: Any, factor: float) -> None:
    load = wave(2, CONTEXT)
    plain, scaled = forecast(caller, load=load), forecast(caller, load=factor * load)
    np.testing.assert_allclose(scaled["quantiles"], factor * plain["quantiles"], rtol=1e-3)


@pytest.mark.parametrize("year", [1970, 2001, 2038, 2100])
def test_a_clock_that_jumps_changes_little(caller: Any, year: int) -> None:
    load = wave(2, CONTEXT)
    at = np.full(2, (year - 1970) * 31_556_952 + 3_600, dtype=np.int64)
    outputs, unknown = forecast(caller, load=load, end_time=at), forecast(caller, load=load)
    assert_keeps_contract(outputs)
    median = CONTRACT["quantile_levels"].index(0.5)
    ratio = outputs["quantiles"][..., median] / unknown["quantiles"][..., median]
    assert (ratio > 0.5).all()
    assert (ratio < 2).all()


def test_an_idle_workload_is_forecast_idle(caller: Any) -> None:
    outputs = forecast(caller, load=np.zeros((1, 40)))
    np.testing.assert_array_equal(outputs["window_max"], 0)


def test_the_answer_echoes_the_id(caller: Any) -> None:
    assert caller.answer(body_of(load=wave(1, 8)) | {"id": "tick-42"})["id"] == "tick-42"


def test_a_request_without_id_is_given_one(caller: Any) -> None:
    answers = [caller.answer(body_of(load=wave(1, 8)))["id"] for _ in range(2)]
    assert len({uuid.UUID(answer) for answer in answers}) == 2


@pytest.mark.parametrize(("asked", "said"), [(None, 60), (15, 15), (3600, 3600)])
def test_the_answer_says_its_step_and_model_version(caller: Any, asked: int | None, said: int) -> None:
    answer = caller.answer(body_of(asked, load=wave(1, 8)))
    assert list(answer["parameters"]) == CONTRACT["response_parameters"]
    assert answer["parameters"]["step_seconds"] == said
    assert answer["parameters"]["model_version"]
    assert answer["model_name"] == CONTRACT["model_name"]


@pytest.mark.parametrize(
    "names",
    [
        ["quantiles", "window_max", "quantile_levels"],
        ["window_max"],
        ["quantile_levels", "quantiles"],
    ],
)
def test_outputs_in_the_request_select_tensors_in_their_order(caller: Any, names: list[str]) -> None:
    answer = caller.answer(body_of(load=wave(1, 8)) | {"outputs": [{"name": name} for name in names]})
    assert [tensor["name"] for tensor in answer["outputs"]] == names


@pytest.mark.parametrize("outputs", [None, []])
def test_a_request_that_selects_nothing_gets_all_outputs_as_the_contract_has_them(caller: Any, outputs: Any) -> None:
    answer = caller.answer(body_of(load=wave(3, 8)) | {"outputs": outputs})
    sizes = {"B": 3, "H": H, "Q": Q}
    expected = [
        (spec["name"], spec["datatype"], [sizes[size] for size in spec["shape"]]) for spec in CONTRACT["outputs"]
    ]
    assert [(tensor["name"], tensor["datatype"], tensor["shape"]) for tensor in answer["outputs"]] == expected


def binary_parts(response: httpx.Response) -> tuple[dict[str, Any], bytes]:
    length = int(response.headers["Inference-Header-Content-Length"])
    return json.loads(response.content[:length]), response.content[length:]


@pytest.mark.parametrize(
    ("for_all", "own", "expected"),
    [
        pytest.param(True, {}, [True, True], id="request-level"),
        pytest.param(True, {"binary_data": False}, [False, True], id="own-word-goes-before-request-level-no"),
        pytest.param(False, {"binary_data": True}, [True, False], id="own-word-goes-before-request-level-yes"),
    ],
)
def test_outputs_are_binary_where_asked(caller: Any, for_all: bool, own: dict[str, Any], expected: list[bool]) -> None:
    body = body_of(load=wave(2, 20))
    plain = outputs_of(caller.answer(body))
    body["parameters"] = {"binary_data_output": for_all}
    body["outputs"] = [{"name": "window_max", "parameters": own}, {"name": "quantiles"}]
    head, raw = binary_parts(caller.post(body))
    for tensor, is_binary in zip(head["outputs"], expected, strict=True):
        assert ("data" not in tensor) is is_binary
        if is_binary:
            size = tensor["parameters"]["binary_data_size"]
            values, raw = np.frombuffer(raw[:size], dtype=np.float32), raw[size:]
            np.testing.assert_allclose(values, plain[tensor["name"]].ravel(), rtol=1e-6)
    assert raw == b""


def test_json_needs_no_content_type(caller: Any) -> None:
    content = json.dumps(body_of(load=wave(1, 8)))
    request = caller.client.build_request("POST", caller.server.infer_url, content=content)
    assert "content-type" not in request.headers
    response = caller.client.send(request)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"


def test_metadata_is_the_contract(caller: Any) -> None:
    metadata = caller.client.get(f"{caller.server.http_url}/v2/models/forecaster").json()
    sizes = {"B": -1, "T": -1, "H": H, "Q": Q}

    def described(specs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        keep = ("name", "datatype")
        return [
            {key: spec[key] for key in keep} | {"shape": [sizes.get(size, size) for size in spec["shape"]]}
            for spec in specs
        ]

    assert metadata["name"] == CONTRACT["model_name"]
    assert metadata["platform"] == CONTRACT["platform"]
    assert metadata["inputs"] == described(CONTRACT["inputs"])
    assert metadata["outputs"] == described(CONTRACT["outputs"])
    assert metadata["versions"] == [caller.answer(body_of(load=wave(1, 8)))["parameters"]["model_version"]]


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready", "/v2/models/forecaster/ready"])
def test_health_routes_answer_200(caller: Any, path: str) -> None:
    assert caller.client.get(f"{caller.server.http_url}{path}").status_code == 200


def test_server_metadata_names_the_binary_extension(caller: Any) -> None:
    assert "binary_tensor_data" in caller.client.get(f"{caller.server.http_url}/v2").json()["extensions"]


def test_the_golden_request_gets_the_golden_answer(caller: Any) -> None:
    golden = CONTRACT["golden"]
    answer = outputs_of(caller.answer(golden["request"]))
    assert_same(answer, outputs_of(golden["response"]), 1e-3)
