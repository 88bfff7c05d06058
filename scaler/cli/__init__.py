"""The `ai-hpa` command; every subcommand stands in its own module, and none of them holds logic of the scaler."""

from __future__ import annotations

import typer

from scaler.cli.demo import demo_command
from scaler.cli.forecast import forecast_command

app = typer.Typer(
    name="ai-hpa",
    help="Predictive autoscaling for KServe and Kubernetes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)
app.command("demo")(demo_command)
app.command("forecast")(forecast_command)


@app.callback()
def _group() -> None:
    """Predictive autoscaling for KServe and Kubernetes."""


def main() -> None:
    """Run the command of the process arguments."""
    app()
