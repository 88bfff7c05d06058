"""Figures as pictures for the docs."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import plotly.graph_objects as go


def photograph(figure: go.Figure, path: Path) -> None:
    """Take a picture of a figure, as large as its layout says, with Chromium, which must be in the PATH.

    Raises:
        OSError: It is not.
        subprocess.CalledProcessError: It could not draw.
    """
    with tempfile.TemporaryDirectory() as folder:
        html = Path(folder) / "figure.html"
        body = figure.to_html(include_plotlyjs=True, config={"staticPlot": True})
        html.write_text(body.replace("<body>", '<body style="margin:0">'), encoding="utf-8")
        options = ("--headless", "--no-sandbox", "--hide-scrollbars", "--virtual-time-budget=8000")
        size = f"--window-size={figure.layout.width},{figure.layout.height}"
        command = ["chromium", *options, size, f"--screenshot={path.absolute()}", html.as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
