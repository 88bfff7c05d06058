"""How a command that failed ends: one line on stderr, and a code that a script can tell apart."""

from __future__ import annotations

from typing import Final, NoReturn

import typer
from rich.console import Console

EXIT_FAILED: Final = 1  # it ran, and what it looked for or did is not well
EXIT_BAD_INPUT: Final = 2
EXIT_NO_CLUSTER: Final = 3


def fail(message: str, code: int) -> NoReturn:
    """Print one line on stderr and end the command."""
    Console(stderr=True).print(f"error: {message}", style="red", markup=False, soft_wrap=True, highlight=False)
    raise typer.Exit(code)
