import os
import subprocess
from pathlib import Path

from tests.unit.test_docs import ROOT

PLUGIN = ROOT / "bin" / "kubectl-ai_hpa"
SYSTEM = "/usr/bin:/bin"


def run(path: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(PLUGIN), "status", "-n", "two words"]
    return subprocess.run(
        command, env={"PATH": path, **environment}, cwd="/", capture_output=True, text=True, timeout=60, check=False
    )


def test_kubectl_finds_it_by_its_name_and_may_run_it() -> None:
    assert os.access(PLUGIN, os.X_OK)


def test_the_command_on_the_path_gets_every_argument_as_it_is(tmp_path: Path) -> None:
    command = tmp_path / "ai-hpa"
    command.write_text('#!/bin/sh\nfor word in "$@"; do echo "[$word]"; done\nexit 7\n')
    command.chmod(0o755)
    ran = run(f"{tmp_path}:{SYSTEM}")
    assert (ran.returncode, ran.stdout.split("\n")) == (7, ["[status]", "[-n]", "[two words]", ""])


def test_without_the_command_a_python_that_has_the_package_is_taken(tmp_path: Path) -> None:
    python = tmp_path / "python3"
    python.write_text('#!/bin/sh\n[ "$1" = -c ] || echo "$@"\n')
    python.chmod(0o755)
    assert run(f"{tmp_path}:{SYSTEM}").stdout == "-m scaler status -n two words\n"


def test_without_either_it_says_how_to_install(tmp_path: Path) -> None:
    for name in ("python", "python3"):
        missing = tmp_path / name
        missing.write_text("#!/bin/sh\nexit 1\n")
        missing.chmod(0o755)
    ran = run(f"{tmp_path}:{SYSTEM}")
    assert ran.returncode == 2
    assert "pip install" in ran.stderr
