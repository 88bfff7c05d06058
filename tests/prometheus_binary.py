"""Where `prometheus` and `promtool` are: on the PATH, or unpacked from Debian's package; nothing is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

PROGRAMS = ("prometheus", "promtool")


class NoPrometheus(Exception):
    """The programs cannot be had here; says why."""


def prometheus_folder() -> Path:
    """Find the folder that holds both programs.

    Raises:
        NoPrometheus: They are neither on the PATH nor can be fetched.
    """
    found = shutil.which("prometheus")
    if found and shutil.which("promtool"):
        return Path(found).parent
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ai-hpa" / "prometheus"
    if not all((cache / name).exists() for name in PROGRAMS):
        _unpack(cache)
    return cache


def _unpack(cache: Path) -> None:
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise NoPrometheus("there is no prometheus on the PATH, and no apt-get to fetch Debian's package with")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fetched = subprocess.run(["apt-get", "download", "-q", "prometheus"], cwd=folder, check=False, timeout=300)
        packages = list(folder.glob("prometheus_*.deb"))
        if fetched.returncode or not packages:
            raise NoPrometheus("there is no prometheus on the PATH, and Debian's package could not be fetched")
        subprocess.run(["dpkg", "-x", packages[0], folder / "root"], check=True, timeout=60)
        cache.mkdir(parents=True, exist_ok=True)
        for program in PROGRAMS:
            # Another process may be at it too: what is there is always whole.
            shutil.copy(folder / "root/usr/bin" / program, cache / f"{program}.{os.getpid()}")
            (cache / f"{program}.{os.getpid()}").replace(cache / program)
