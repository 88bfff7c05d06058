"""Renews the golden request and answer of contracts/forecast_v2.json from a real model server.

python -m tests.contract.golden
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import httpx

from scaler.replay.model_server import model_endpoint

CONTRACT_FILE = Path(__file__).parents[2] / "contracts" / "forecast_v2.json"
SIGNIFICANT_DIGITS = 6
MISSING = 7


def golden_request() -> dict[str, Any]:
    """A day of hourly load with one missing sample and no other optional input."""
    load = [round(10 + 4 * math.sin(2 * math.pi * hour / 24), 3) for hour in range(24)]
    observed = [hour != MISSING for hour in range(24)]
    load[MISSING] = 0.0  # what stands at a missing sample is ignored
    return {
        "id": "golden",
        "parameters": {"step_seconds": 3600},
        "inputs": [
            {"name": "load", "datatype": "FP32", "shape": [1, 24], "data": load},
            {"name": "observed", "datatype": "BOOL", "shape": [1, 24], "data": observed},
        ],
    }


def rounded(value: Any) -> Any:
    """The same JSON with every number of it cut to six significant digits."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}") if isinstance(value, float) else value


def renew(http_url: str) -> None:
    """Ask the server, and write both sides into the contract."""
    contract = json.loads(CONTRACT_FILE.read_text(encoding="utf-8"))
    request = golden_request()
    response = httpx.post(f"{http_url}/v2/models/{contract['model_name']}/infer", json=request, timeout=30.0)
    response.raise_for_status()
    contract["golden"] = {"request": request, "response": rounded(response.json())}
    CONTRACT_FILE.write_text(to_text(contract), encoding="utf-8")


def to_text(contract: dict[str, Any]) -> str:
    """The contract as a person would lay it out: one line per tensor and per list of numbers."""
    lines = []
    for key, value in contract.items():
        if key == "golden":
            sides = ",\n".join(f"    {json.dumps(side)}: {json.dumps(value[side])}" for side in value)
            lines.append(f"  {json.dumps(key)}: {{\n{sides}\n  }}")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            tensors = ",\n".join(f"    {json.dumps(tensor)}" for tensor in value)
            lines.append(f"  {json.dumps(key)}: [\n{tensors}\n  ]")
        else:
            lines.append(f"  {json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--endpoint", help="base URL of a running server; without it one is started")
    with model_endpoint(parser.parse_args().endpoint) as http_url:
        renew(http_url)
