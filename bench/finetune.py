"""What fine-tuning gains on recorded load, and how long it takes: the trainer as a process, once for each load.

Run: python -m bench.finetune --case NAME=CSV ... [--json OUT]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from predictor_model.evaluate import named_path
from predictor_model.tables import table

Row = Mapping[str, Any]

HEADER = ("load", "series", "loss / shipped", "95 % interval", "pods / shipped", "verdict", "minutes")


def finetune_table(rows: Sequence[Row]) -> str:
    """The rows as docs/fine-tuning.md shows them."""
    return table(
        HEADER,
        [
            [
                row["case"],
                str(row["series"]),
                f"{row['loss']:.3f}",
                "{:.3f} to {:.3f}".format(*row["interval"]),
                f"{row['pods']:.3f}",
                row["verdict"].replace("-", " "),
                f"{row['seconds'] / 60:.1f}",
            ]
            for row in rows
        ],
    )


def measured(case: str, csv: Path) -> dict[str, Any]:
    """Fine-tune on one load, from nothing to the verdict."""
    with tempfile.TemporaryDirectory() as out:
        began = time.monotonic()
        subprocess.run(
            [sys.executable, "-m", "predictor_model.finetune", "--csv", str(csv), "--out", out],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        seconds = time.monotonic() - began
        verdict = json.loads((Path(out) / "verdict.json").read_text(encoding="utf-8"))
    (against_shipped, *_) = verdict["comparisons"]
    kept = {name: against_shipped[name] for name in ("series", "loss", "interval", "pods")}
    return {"case": case, **kept, "verdict": verdict["verdict"], "seconds": round(seconds)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure every case, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.finetune", description=__doc__)
    parser.add_argument(
        "--case", type=partial(named_path, form="NAME=CSV"), action="append", required=True, metavar="NAME=CSV"
    )
    parser.add_argument("--json", type=Path, help="write the rows here")
    options = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    rows = [measured(case, csv) for case, csv in options.case]
    print(finetune_table(rows))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
