"""What each choice in the forecaster is worth: one choice at a time is changed, trained alike and scored alike."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import track

from predictor_model.config import Encoder, Loss, ModelConfig, Scaling, TrainConfig
from predictor_model.graph import MODEL_FILE, Graph, load_graph
from predictor_model.scoring import TOO_SHORT, Rivals, forecasts_of, make_case, score_case, summarise
from predictor_model.tables import experiment_table
from predictor_model.traces import TraceError, read_traces, trace_files
from predictor_model.train import Trainer
from predictor_model.training_data import TrainingData, load_training_data, training_files

STEPS: Final = 2_500
# Half as wide as what ships, so that all rows together train in an hour or two.
BASE: Final = ModelConfig(hidden_size=56, encoder_size=80, decoder_size=56)


@dataclass(frozen=True, slots=True)
class Row:
    """One choice, as changes of the two configs."""

    model: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)


ROWS: Final[Mapping[str, Row]] = {
    "base": Row(),
    "encoder: lstm": Row({"encoder": Encoder.LSTM, "hidden_size": 80}),
    "encoder: gru": Row({"encoder": Encoder.GRU, "hidden_size": 80}),
    "encoder: mlp": Row({"encoder": Encoder.MLP}),
    "layers: 2": Row({"layers": 2}),
    "width: 24": Row({"hidden_size": 24, "encoder_size": 40, "decoder_size": 24}),
    "width: 96": Row({"hidden_size": 96, "encoder_size": 128, "decoder_size": 96}),
    "context: 72": Row({"context_length": 72, "span_lengths": (6, 12, 24, 48, 72)}),
    "context: 144": Row({"context_length": 144, "span_lengths": (6, 12, 24, 48, 96, 144)}),
    "scaling: min-max": Row({"scaling": Scaling.MIN_MAX}),
    "no statistics of spans": Row({"span_lengths": ()}),
    "no window-max head": Row({"window_max_head": False}),
    "no seasonal lags": Row({"seasonal_lags": False}),
    "loss: pinball, scaled only": Row(train={"raw_loss_weight": 0.0}),
    "loss: mae": Row(train={"loss": Loss.MAE}),
    "loss: mse": Row(train={"loss": Loss.MSE}),
    "loss: huber": Row(train={"loss": Loss.HUBER}),
}
"""The base: a Bi-LSTM of one layer, 288 samples of context, asinh scaling, both heads, both lags, pinball loss."""


def train_row(row: Row, data: TrainingData, train: TrainConfig, folder: Path, console: Console) -> Graph:
    """Train one row, or go on where an earlier run left it.

    Raises:
        TraceError: The folder holds a run with other settings or data.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = dataclasses.replace(BASE, **row.model)
    trainer = Trainer(data, model, dataclasses.replace(train, **row.train), folder)
    trainer.run(console)
    trainer.export(model_version="0.0.0")
    return load_graph(folder / MODEL_FILE)


def folder_of(name: str) -> str:
    """Name of a row's folder."""
    return "".join(letter if letter.isalnum() else "-" for letter in name)


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line of `python -m predictor_model.experiment`."""
    parser = argparse.ArgumentParser(prog="python -m predictor_model.experiment", description=__doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="CSV files or directories to train on")
    parser.add_argument("--csv", type=Path, nargs="+", required=True, help="CSV files or directories to score on")
    parser.add_argument(
        "--out", type=Path, required=True, help="a folder for each row; what is there is not trained anew"
    )
    parser.add_argument("--sets", choices=["all", "shipped"], default="all", help="shipped: only permissive licences")
    parser.add_argument("--steps", type=int, default=STEPS, help="optimiser steps of each row")
    parser.add_argument("--synthetic-traces", type=int, default=TrainConfig().synthetic_traces)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS), metavar="ROW", help="only these")
    parser.add_argument("--json", type=Path, help="write the summaries here")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and score every row, and print the table."""
    options = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    console = Console(stderr=True)
    train = TrainConfig(steps=options.steps, synthetic_traces=options.synthetic_traces)
    try:
        files = training_files(options.data, shipped_only=options.sets == "shipped")
        traces = [trace for path in trace_files(options.csv) for trace in read_traces(path)]
        data: dict[int, TrainingData] = {}
        graphs = {}
        for name in options.rows:
            console.print(f"[bold]{name}[/bold]")
            model = dataclasses.replace(BASE, **ROWS[name].model)
            if model.context_length not in data:
                data = {model.context_length: load_training_data(files, model, train)}  # one at a time: memory
            graphs[name] = train_row(
                ROWS[name], data[model.context_length], train, options.out / folder_of(name), console
            )
    except (TraceError, ValueError) as error:
        console.print(f"[red]error:[/red] {error}")
        return 2
    cases = [case for trace in traces if (case := make_case(trace)) is not None]
    scores = []
    for case in track(cases, "scoring series", console=console):
        scores += score_case(case, forecasts_of(case, Rivals(graphs, classical=())))
    if not scores:
        console.print(f"[red]error:[/red] {TOO_SHORT}")
        return 2
    summaries = [summary for summary in summarise(scores) if summary.forecaster in graphs]
    Console().print(experiment_table(summaries), markup=False, soft_wrap=True)
    if options.json:
        result = {"steps": options.steps, "summaries": [dataclasses.asdict(summary) for summary in summaries]}
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
