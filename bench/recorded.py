"""A real HPA and a real KPA under a known load, recorded, and the simulator's own under the same load beside them.

Run: python -m bench.recorded --record docs/recorded.json [--on "Knative Serving=0.48.2" ...] [--seconds 900]
     python -m bench.recorded --replay docs/recorded.json [--page docs/simulator.md] [--picture docs/simulator.png]
     python -m bench.recorded --replay docs/recorded.json --check

The first form needs the cluster of KUBECONFIG, with Knative Serving, metrics-server and twenty minutes of its time. The
others replay what was recorded and write, or check, docs/simulator.md; the picture needs Chromium.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from bench.fake_process import unix_now
from bench.picture import photograph
from bench.recorder import KPA_PODS, Recorder
from bench.recording import read
from bench.simulator_page import draw, page
from scaler.kube.api import connect

PAGE: Final = Path("docs/simulator.md")


def main(arguments: list[str] | None = None) -> int:
    """Record, or replay."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", type=Path, help="record on the cluster of KUBECONFIG into this file")
    parser.add_argument("--replay", type=Path, help="a recording, to be compared with the simulator")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--picture", type=Path, help="also draw both curves into this PNG")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where the page is out of date")
    parser.add_argument("--seconds", type=int, default=int(KPA_PODS[-1][0]), help="how long to record at the most")
    parser.add_argument("--on", action="append", default=[], metavar="NAME=TEXT", help="what the cluster runs on")
    parser.add_argument("--echo", default="dev.local/echo:lab", help="image of the echo server")
    parser.add_argument("--image", default="dev.local/model:lab", help="an image with Python, for the load")
    parser.add_argument("--ingress", default="10.203.0.80:80", help="Knative's ingress, as pods reach it")
    options = parser.parse_args(arguments)
    if options.record is not None:
        # A name of its own: the HPA controller remembers the recommendations of one that was deleted just now.
        namespace = f"bench-recorded-{unix_now():.0f}"
        recorder = Recorder(connect(user_agent="bench"), namespace, lambda line: print(line, flush=True))
        cluster = dict(one.split("=", 1) for one in options.on)
        recorder.record(
            echo=options.echo,
            image=options.image,
            ingress=options.ingress,
            cluster=cluster,
            seconds=options.seconds,
        ).write(options.record)
    return 0 if options.replay is None else _replay(options)


def _replay(options: argparse.Namespace) -> int:
    recording = read(options.replay)
    if options.picture is not None:
        photograph(draw(recording), options.picture)
    written = page(recording)
    if options.check:
        if written == options.page.read_text(encoding="utf-8"):
            return 0
        print(f"{options.page} is not what {options.replay} says; run `make docs`", file=sys.stderr)
        return 1
    options.page.write_text(written, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
