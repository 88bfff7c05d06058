"""Makes a load as a cluster's Prometheus has it, of any recorded series: so many workloads, days and seconds a step.

Series at a coarser step are drawn out along straight lines, with 5 % of noise on each sample, since means over five
minutes say nothing of the minutes in them. All end at the same time, as in one cluster.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from rich.console import Console

from predictor_model.traces import FloatArray, Trace, TraceError, read_usable_traces, trace_files

DAY_SECONDS: Final = 86_400
END: Final = 1_767_571_200  # 2026-01-05
NOISE: Final = 0.05


def drawn_out(trace: Trace, *, days: float, step_seconds: int, rng: np.random.Generator) -> FloatArray | None:
    """The newest days of a series at another step; None where it is shorter, or its step is finer."""
    count, factor = int(days * DAY_SECONDS / step_seconds), trace.step_seconds / step_seconds
    needed = int(np.ceil(count / factor)) + 1
    if factor < 1 or len(trace.values) < needed:
        return None
    newest = trace.values[-needed:]
    line = np.interp(np.arange(count) / factor, np.arange(needed), newest)
    noise = rng.lognormal(sigma=NOISE, size=count) if factor > 1 else 1.0
    load: FloatArray = (line * noise).astype(np.float32)
    return load


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the load as one CSV."""
    parser = argparse.ArgumentParser(prog="python -m bench.finetune_load", description=__doc__)
    parser.add_argument("--csv", type=Path, nargs="+", required=True, help="CSV files or directories of them")
    parser.add_argument("--out", type=Path, required=True, help="CSV to write; gzip where it ends in .gz")
    parser.add_argument("--series", type=int, default=100)
    parser.add_argument("--days", type=float, default=14)
    parser.add_argument("--step", type=int, default=60, help="seconds")
    options = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    console, rng = Console(stderr=True), np.random.default_rng(0)
    try:
        traces = [trace for path in trace_files(options.csv) for trace in read_usable_traces(path)[0]]
    except TraceError as error:
        console.print(f"error: {error}", style="red", markup=False)
        return 2
    loads: dict[str, FloatArray] = {}
    for trace in traces:
        load = drawn_out(trace, days=options.days, step_seconds=options.step, rng=rng)
        if load is not None and len(loads) < options.series:
            loads[f"{trace.dataset}/{trace.name}"] = load
    stamps = END - options.step * np.arange(int(options.days * DAY_SECONDS / options.step), 0, -1)
    frames = [pd.DataFrame({"series": name, "timestamp": stamps, "value": load}) for name, load in loads.items()]
    pd.concat(frames).to_csv(options.out, index=False, float_format="%.6g")
    console.print(f"{options.out}: {len(loads)} series of {len(stamps):,} steps")
    return 0


if __name__ == "__main__":
    sys.exit(main())
