"""The `ai-hpa` command; every subcommand stands in its own module, and none of them holds logic of the scaler."""

from __future__ import annotations

import typer

from scaler.cli.backtest import backtest_app
from scaler.cli.check import check_command
from scaler.cli.demo import demo_command
from scaler.cli.explain import explain_command
from scaler.cli.forecast import forecast_command
from scaler.cli.modes import disable_command, enable_command, pause_command, resume_command, shadow_command
from scaler.cli.release import release_command
from scaler.cli.run import run_command
from scaler.cli.status import status_command
from scaler.cli.train import train_command

app = typer.Typer(
    name="ai-hpa",
    help="Predictive autoscaling for KServe and Kubernetes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)
_CLUSTER = "On a cluster"
_OFFLINE = "Without a cluster"
for _name, _command, _panel in (
    ("status", status_command, _CLUSTER),
    ("explain", explain_command, _CLUSTER),
    ("enable", enable_command, _CLUSTER),
    ("shadow", shadow_command, _CLUSTER),
    ("disable", disable_command, _CLUSTER),
    ("pause", pause_command, _CLUSTER),
    ("resume", resume_command, _CLUSTER),
    ("release", release_command, _CLUSTER),
    ("check", check_command, _CLUSTER),
    ("run", run_command, _CLUSTER),
    ("demo", demo_command, _OFFLINE),
    ("forecast", forecast_command, _OFFLINE),
    ("train", train_command, _OFFLINE),
):
    app.command(_name, rich_help_panel=_panel)(_command)
app.add_typer(backtest_app, name="backtest", rich_help_panel=_OFFLINE)


@app.callback()
def _group() -> None:
    """Predictive autoscaling for KServe and Kubernetes."""


def main() -> None:
    """Run the command of the process arguments."""
    app()
