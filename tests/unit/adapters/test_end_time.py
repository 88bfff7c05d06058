from datetime import UTC, datetime, timedelta

import numpy as np

from scaler.adapters.kserve_forecaster import _tensors
from scaler.domain import ForecastRequest, TargetKey


def test_end_time_stamps_the_newest_sample_at_the_start_of_its_step_as_the_csv_does() -> None:
    request = ForecastRequest(
        key=TargetKey("shop", "Deployment", "web"),
        origin=datetime(2026, 3, 2, 12, tzinfo=UTC),
        step=timedelta(hours=1),
        load=np.ones(10),
        seasonal_load=np.full((2, 40), np.nan),
    )
    (end_time,) = _tensors([request])["end_time"]
    assert end_time == datetime(2026, 3, 2, 11, tzinfo=UTC).timestamp()
