from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from predictor_model.config import Encoder, ModelConfig, Scaling
from predictor_model.contract import CONTRACT
from predictor_model.export import example_window
from predictor_model.network import (
    MEDIAN,
    BiLSTMForecaster,
    QuantileForecast,
    Window,
    ordered_quantiles,
    running_max,
    span_statistics,
)
from tests.training.small import SMALL

pytestmark = pytest.mark.training

HORIZON = CONTRACT.prediction_length


@pytest.fixture(params=list(Scaling), ids=str)
def network(request: pytest.FixtureRequest) -> BiLSTMForecaster:
    torch.manual_seed(0)
    return BiLSTMForecaster(replace(SMALL, scaling=request.param)).eval()


def window(batch: int = 4, seed: int = 0) -> Window:
    torch.manual_seed(seed)
    return example_window(SMALL, batch)


def run(network: BiLSTMForecaster, inputs: Window) -> QuantileForecast:
    with torch.no_grad():
        forecast: QuantileForecast = network(inputs)
    return forecast


def assert_ordered(forecast: QuantileForecast) -> None:
    quantiles, highest = forecast
    assert torch.isfinite(quantiles).all()
    assert torch.isfinite(highest).all()
    assert (quantiles >= 0).all()
    assert (quantiles.diff(dim=2) >= 0).all()
    assert (highest.diff(dim=2) >= 0).all()
    assert (highest.diff(dim=1) >= 0).all()
    assert (highest >= quantiles).all()
    assert torch.equal(highest[:, 0], quantiles[:, 0])


def test_running_max_is_the_cumulative_maximum() -> None:
    values = torch.randn(3, HORIZON, 8)
    assert torch.equal(running_max(values), values.cummax(1).values)


def test_quantiles_cannot_cross_whatever_the_weights_say() -> None:
    assert (ordered_quantiles(100 * torch.randn(50, 8)).diff(dim=-1) >= 0).all()


@settings(max_examples=25)
@given(seed=st.integers(0, 2**31), exponent=st.integers(-9, 12), missing=st.floats(0, 0.9))
def test_output_is_finite_ordered_and_non_negative(seed: int, exponent: int, missing: float) -> None:
    torch.manual_seed(seed)
    network = BiLSTMForecaster(SMALL).eval()
    inputs = window(seed=seed)
    observed = torch.rand_like(inputs.load) >= missing
    observed[:, -8:] = True
    assert_ordered(run(network, inputs._replace(load=inputs.load * 10.0**exponent, observed=observed)))


@pytest.mark.parametrize("factor", [1e-6, 1e-3, 7.0, 1e6])
def test_k_times_the_load_gives_k_times_the_forecast(network: BiLSTMForecaster, factor: float) -> None:
    inputs = window()
    scaled = inputs._replace(load=inputs.load * factor, seasonal_lags=inputs.seasonal_lags * factor)
    for one, other in zip(run(network, inputs), run(network, scaled), strict=True):
        torch.testing.assert_close(one * factor, other, rtol=1e-3, atol=1e-6 * factor)


def test_a_row_answers_the_same_alone_and_in_a_batch(network: BiLSTMForecaster) -> None:
    inputs = window(5)
    alone = run(network, Window(*(tensor[2:3] for tensor in inputs)))
    for single, batch in zip(alone, run(network, inputs), strict=True):
        torch.testing.assert_close(single[0], batch[2], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), -5.0, 1e30])
def test_what_is_unobserved_has_no_say(network: BiLSTMForecaster, garbage: float) -> None:
    inputs = window()
    observed = inputs.observed.clone()
    observed[:, 10:20] = False
    load = inputs.load.clone()
    load[:, 10:20] = garbage
    plain = inputs._replace(observed=observed)
    for one, other in zip(run(network, plain), run(network, plain._replace(load=load)), strict=True):
        assert torch.equal(one, other)


def test_a_lag_after_the_newest_sample_has_no_say_whatever_the_mask_says(network: BiLSTMForecaster) -> None:
    hourly = window()._replace(step_seconds=torch.full((4,), 3600))
    lags = hourly.seasonal_lags.clone()
    lags[:, 0, 24:] = 1e6  # step 25 on lies more than a day ahead: its lag is in the future
    for one, other in zip(run(network, hourly), run(network, hourly._replace(seasonal_lags=lags)), strict=True):
        assert torch.equal(one, other)


def test_known_lags_and_the_clock_have_a_say(network: BiLSTMForecaster) -> None:
    inputs = window()
    base = run(network, inputs).quantiles
    assert not torch.equal(base, run(network, inputs._replace(seasonal_lags=inputs.seasonal_lags + 1)).quantiles)
    assert not torch.equal(base, run(network, inputs._replace(end_time=torch.full((4,), 1_700_000_000))).quantiles)


@pytest.mark.parametrize(
    "value", [pytest.param(0.0, id="zeros"), pytest.param(3.5, id="constant"), pytest.param(1e-9, id="tiny")]
)
def test_a_flat_history_gets_a_finite_answer_in_proportion(network: BiLSTMForecaster, value: float) -> None:
    inputs = window()
    inputs = inputs._replace(
        load=torch.full_like(inputs.load, value), seasonal_lags_observed=torch.zeros_like(inputs.seasonal_lags_observed)
    )
    forecast = run(network, inputs)
    assert_ordered(forecast)
    assert (forecast.window_max <= 10 * value).all()


def test_eight_samples_are_enough(network: BiLSTMForecaster) -> None:
    inputs = window()
    observed = torch.zeros_like(inputs.observed)
    observed[:, -8:] = True
    assert_ordered(run(network, inputs._replace(observed=observed)))


def test_it_can_learn_one_batch_by_heart() -> None:
    torch.manual_seed(0)
    network = BiLSTMForecaster(SMALL)
    inputs = window(8)
    target = torch.rand(8, HORIZON, 1) * 2
    levels = torch.tensor(CONTRACT.quantile_levels)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    losses = []
    for _ in range(150):
        error = target - network(inputs).quantiles
        loss = torch.maximum(levels * error, (levels - 1) * error).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


def test_the_shipped_shape_stays_below_three_hundred_thousand_parameters() -> None:
    assert sum(parameter.numel() for parameter in BiLSTMForecaster(ModelConfig()).parameters()) <= 300_000


def test_statistics_of_spans_of_a_hand_computed_case() -> None:
    past = torch.tensor([[9.0, 1.0, 3.0], [9.0, 5.0, 7.0]])
    mask = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    statistics = span_statistics(past, mask, (2,))
    torch.testing.assert_close(
        statistics, torch.tensor([[2.0, 1.0, 3.0, 1.0], [0.0, 0.0, 0.0, 0.0]]), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("encoder", list(Encoder), ids=str)
@pytest.mark.parametrize("layers", [1, 2])
def test_every_encoder_reads_the_past(encoder: Encoder, layers: int) -> None:
    torch.manual_seed(0)
    config = replace(SMALL, encoder=encoder, layers=layers, span_lengths=())
    network = BiLSTMForecaster(config).eval()
    inputs = window()
    load = inputs.load.clone()
    load[:, 20] += 1.0  # before the newest samples, which bypass the encoder; the scale moves too little to matter
    forecast = run(network, inputs)
    assert_ordered(forecast)
    encoded, _ = network.scaler(inputs)
    moved, _ = network.scaler(inputs._replace(load=load))
    with torch.no_grad():
        same = network._encode(encoded._replace(past=torch.cat([moved.past[:, :24], encoded.past[:, 24:]], dim=1)))
        assert not torch.equal(same, network._encode(encoded))


def test_without_seasonal_lags_they_have_no_say() -> None:
    network = BiLSTMForecaster(replace(SMALL, seasonal_lags=False)).eval()
    inputs = window()
    moved = inputs._replace(seasonal_lags=inputs.seasonal_lags * 7)
    for one, other in zip(run(network, inputs), run(network, moved), strict=True):
        assert torch.equal(one, other)


def test_without_the_window_max_head_it_is_the_highest_quantile_so_far() -> None:
    quantiles, highest = run(BiLSTMForecaster(replace(SMALL, window_max_head=False)).eval(), window())
    assert torch.equal(highest, quantiles.cummax(1).values)


def test_a_spread_alone_teaches_only_its_own_rows_of_the_head() -> None:
    network = BiLSTMForecaster(SMALL)
    scaled, _ = network.forecast_scaled(window(), spread_alone=True)
    above = scaled.quantiles[..., MEDIAN + 1 :] - scaled.quantiles[..., MEDIAN : MEDIAN + 1]
    above.sum().backward()  # type: ignore[no-untyped-call]
    taught = {
        name
        for name, weight in network.named_parameters()
        if weight.grad is not None and weight.grad.abs().max() > 1e-9
    }
    assert taught == {"heads.weight", "heads.bias"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param("patch_length", 7, id="patch-does-not-divide"),
        pytest.param("recent_length", 289, id="too-recent"),
        pytest.param("span_lengths", (6, 0), id="empty-span"),
    ],
)
def test_an_impossible_shape_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        ModelConfig(**{field: value})  # type: ignore[arg-type]  # the fields are named in the table
