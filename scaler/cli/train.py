"""`ai-hpa train`: fetches past load and hands it to the trainer, whose process takes this one's place."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from scaler.adapters.prometheus import QueryRefused
from scaler.adapters.query_load import UnusableQuery
from scaler.cli.exits import EXIT_BAD_INPUT, EXIT_FAILED, fail
from scaler.cli.past_load import (
    CsvOption,
    EndOption,
    PrometheusOption,
    QueryOption,
    columns_of,
    fetched,
    files_given,
)
from scaler.domain import ScalerError
from scaler.settings import SettingsError

TRAINER: Final = "predictor_model.finetune"
NEEDED: Final = ("predictor_model", "torch", "onnx", "onnxruntime", "pandas", "plotly")


def train_command(  # noqa: PLR0913 - one parameter per option is how typer reads them
    *,
    out: Annotated[
        Path, typer.Option(help="Folder for verdict.json and report.html, and for the model (v1/) where it is better.")
    ],
    csv: CsvOption = None,
    prometheus: PrometheusOption = None,
    query: QueryOption = None,
    days: Annotated[float, typer.Option(help="Days of history to fetch; at least 5 are needed.")] = 14.0,
    step: Annotated[int, typer.Option(help="Seconds between samples; 60 is what most forecasts are asked at.")] = 60,
    end: EndOption = None,
    model_version: Annotated[
        str | None, typer.Option(help="That the model will report; without it the shipped one's, the date and a hash.")
    ] = None,
) -> None:
    """Fine-tune the shipped weights on your own load, and say whether they are better for it.

    Judged on the newest 20 % of the time, which the training never sees. Only weights that are clearly better are put
    into OUT/v1; it ends with 0 whatever the verdict. A killed run goes on where it was while the load is the same.
    Needs the extras `scaler` and `training`.

    Examples: `ai-hpa train --csv load.csv --out out`, `ai-hpa train --prometheus http://localhost:9090 --query 'sum by
    (namespace, deployment) (rate(http_requests_total[2m]))' --out out`
    """
    _require_trainer()
    try:
        files = files_given(csv, prometheus, query) or [fetched(prometheus, query, columns_of(days, step, end), out)]
    except (SettingsError, ValueError, UnusableQuery, QueryRefused) as exc:
        fail(" ".join(str(exc).split()), EXIT_BAD_INPUT)
    except OSError as exc:
        fail(f"{out}: {exc.strerror or exc}", EXIT_BAD_INPUT)
    except ScalerError as exc:
        fail(" ".join(str(exc).split()), EXIT_FAILED)
    version = ["--model-version", model_version] if model_version else []
    # In its place and not beside it: whoever ends this command ends the training, and sees how it ended.
    arguments = ["--csv", *map(str, files), "--out", str(out), *version]
    os.execv(sys.executable, [sys.executable, "-m", TRAINER, *arguments])  # noqa: S606  our own interpreter and module


def _require_trainer() -> None:
    """End before anything is fetched where it would be fetched for nothing."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        told = f"training needs {', '.join(missing)}, not installed here"
        fail(f"{told}: pip install 'ai-hpa[scaler,training]'", EXIT_BAD_INPUT)
