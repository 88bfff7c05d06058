"""Fine-tunes the shipped weights on a user's own load, and puts them in place only where that is clearly better.

`torchrun --nproc-per-node N -m predictor_model.finetune` shares the training among N processes; one of them judges.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import logging
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch
from rich.console import Console
from rich.progress import track

from predictor_model.checkpoint import Start, load_start
from predictor_model.config import TrainConfig
from predictor_model.finetune_outcome import Outcome, next_steps, sentence, to_json, to_table
from predictor_model.finetune_report import to_page
from predictor_model.graph import MODEL_FILE, SHIPPED_WEIGHTS, Graph, ModelUnusable, load_graph
from predictor_model.own_load import UserLoad, read_load
from predictor_model.placement import IN_PLACE, model_in, put_in_place, same_model
from predictor_model.ranks import joined_ranks
from predictor_model.traces import Skipped, TraceError
from predictor_model.train import Trainer
from predictor_model.training_data import own_training_data
from predictor_model.verdict import CANDIDATE, INCUMBENT, SHIPPED, Action, Judged, judge, judge_series

# Chosen on sets that neither ship nor judge what ships (docs/fine-tuning.md).
RECIPE: Final = TrainConfig(
    steps=1_000,
    learning_rate=1e-3,
    average_decay=0.99,
    synthetic_traces=128,
    validate_every=50,
    patience=6,
    start_share=0.3,
)
RUNS: Final = "runs"
VERDICT_FILE: Final = "verdict.json"
REPORT_FILE: Final = "report.html"
TELLS_NOTHING: Final = "has no load to judge by in the newest 20 % of the time, or too little before"


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line of `python -m predictor_model.finetune`."""
    parser = argparse.ArgumentParser(prog="python -m predictor_model.finetune", description=__doc__)
    parser.add_argument(
        "--csv",
        type=Path,
        nargs="+",
        action="extend",
        required=True,
        help="your load, `series,timestamp,value`: files or directories of them",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help=f"folder for verdict and report, and for the model ({IN_PLACE}/) where it is better; a killed run resumes",
    )
    parser.add_argument(
        "--model-version", help="that the model will report; else the shipped one's, the date and a hash"
    )
    parser.add_argument("--seed", type=int, default=RECIPE.seed)
    parser.add_argument("--steps", type=int, default=RECIPE.steps, help="optimiser steps at most")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fine-tune, judge, and leave what came of it; 0 whatever the verdict, 2 where nothing can be trained."""
    options = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(level=logging.WARNING)
    with joined_ranks(os.environ) as ranks:
        console = Console(stderr=True, quiet=not ranks.writes)
        try:
            load = read_load(options.csv)
            say_what_is_read(load, console)
            start = load_start(SHIPPED_WEIGHTS)
            train = dataclasses.replace(RECIPE, seed=options.seed, steps=options.steps)
            run = options.out / RUNS / digest(load, start, train)
            run.mkdir(parents=True, exist_ok=True)
            data = own_training_data(load.histories, load.files, start.model, train)
            trainer = Trainer(data, start.model, train, run, start=start, ranks=ranks)
        except (TraceError, ValueError, OSError) as error:
            return refuse(error, console)
        trainer.run(console)
        if not ranks.writes:
            return 0
    trainer.export(model_version=options.model_version or version_of(load, start, run))
    forget_other_runs(run)
    try:
        outcome = conclude(load, run, options.out / IN_PLACE, console)
    except TraceError as error:
        return refuse(error, console)
    write(options.out / VERDICT_FILE, json.dumps(to_json(outcome), indent=1) + "\n")
    write(options.out / REPORT_FILE, to_page(outcome))
    output = Console()
    output.print(to_table(outcome))
    output.print(sentence(outcome), markup=False, soft_wrap=True)
    output.print(next_steps(outcome), markup=False, soft_wrap=True)
    output.print(f"Report: {(options.out / REPORT_FILE).resolve()}", markup=False, soft_wrap=True)
    return 0


def refuse(error: Exception, console: Console) -> int:
    """Say why nothing can be trained."""
    console.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
    return 2


def say_what_is_read(load: UserLoad, console: Console) -> None:
    """Say how much there is, and name what cannot be used."""
    samples = sum(len(history.trace.values) for history in load.histories)
    console.print(f"{len(load.histories)} series with {samples:,} steps; {len(load.skipped)} left out")
    for series in load.skipped:
        console.print(f"  {series.dataset}/{series.series} {series.why}", style="yellow", markup=False, soft_wrap=True)


def digest(load: UserLoad, start: Start, train: TrainConfig) -> str:
    """Tell a run from every other: by its data, its first weights and its settings."""
    parts = [load.digest(), start.sha256, repr(train)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def version_of(load: UserLoad, start: Start, run: Path) -> str:
    """Name the weights after those they began with, the newest sample and their run."""
    newest = load.newest()
    date = [f"{newest:%Y%m%d}"] if newest is not None else []
    return ".".join([f"{start.model_version}+ft", *date, run.name])


def forget_other_runs(run: Path) -> None:
    """Remove what earlier runs left to resume from, and the models that they were judged by."""
    for other in run.parent.iterdir():
        if other != run:
            shutil.rmtree(other, ignore_errors=True)


def conclude(load: UserLoad, run: Path, place: Path, console: Console) -> Outcome:
    """Judge the fine-tuned model on the holdout, and put in place what should serve.

    Raises:
        TraceError: No series tells anything.
    """
    graphs, trouble = models_to_judge(run, place)
    judged: list[Judged] = []
    skipped: list[Skipped] = list(load.skipped)
    for history in track(load.histories, "judging series", console=console):
        found = judge_series(history, graphs)
        if found is not None:
            judged.append(found)
        else:
            skipped.append(Skipped(history.trace.dataset, history.trace.name, TELLS_NOTHING))
    if not judged:
        raise TraceError(f"nothing can be judged: each of {len(load.histories)} series {TELLS_NOTHING}")
    verdict = judge(judged, list(graphs))
    if trouble and verdict.action is Action.KEPT:
        verdict = dataclasses.replace(verdict, action=Action.WENT_BACK)  # what stands there serves nobody
    if verdict.action is not Action.KEPT:
        put_in_place(run if verdict.action is Action.PUT_IN_PLACE else SHIPPED_WEIGHTS, place)
    versions = {name: graph.model_version for name, graph in graphs.items()}
    return Outcome(verdict, tuple(judged), tuple(skipped), versions, place, trouble)


def models_to_judge(run: Path, place: Path) -> tuple[dict[str, Graph], str]:
    """Load the fine-tuned model, the shipped one, and that in place where it is another; and what is wrong with it."""
    graphs = {CANDIDATE: load_graph(run / MODEL_FILE), SHIPPED: load_graph(SHIPPED_WEIGHTS / MODEL_FILE)}
    try:
        incumbent = model_in(place)
    except ModelUnusable as error:
        return graphs, str(error)
    if incumbent is not None and not any(same_model(place, known) for known in (run, SHIPPED_WEIGHTS)):
        graphs[INCUMBENT] = incumbent
    return graphs, ""


def write(path: Path, text: str) -> None:
    """Write a file so that a kill leaves the old one or the new one."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def run_as_process() -> int:
    """Run `main` so that whoever ends it, a terminal or a cluster, gets the usual code."""
    # On two busy cores a step took 0.6 s with one thread and 5.2 s with two, which wait for each other.
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    # A container's first process ignores SIGTERM unless it says otherwise.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        return main()
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted; the same command goes on from the last checkpoint")
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(run_as_process())
