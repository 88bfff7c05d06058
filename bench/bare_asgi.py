"""The least that can serve the graph: a bare ASGI application over onnxruntime, without the protocol and its checks."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import uvicorn

CONTEXT_LENGTH = 288
N_LAGS = 2
PREDICTION_LENGTH = 30


def feed(load: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """Inputs of the graph for whole windows. Shape (B, 288)."""
    batch = len(load)
    lags = np.zeros((batch, N_LAGS, PREDICTION_LENGTH), dtype=np.float32)
    return {
        "load": load,
        "observed": np.ones(load.shape, dtype=np.bool_),
        "end_time": np.full(batch, -1, dtype=np.int64),
        "seasonal_lags": lags,
        "seasonal_lags_observed": np.zeros(lags.shape, dtype=np.bool_),
        "step_seconds": np.full(batch, 60, dtype=np.int64),
    }


def bare_app(path: Path) -> Callable[..., Awaitable[None]]:
    """Float32 windows in, float32 quantiles out, and a ready route."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    session.run(["quantiles"], feed(np.ones((1, CONTEXT_LENGTH), dtype=np.float32)))

    async def app(scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        answer = b"{}"
        if scope["method"] == "POST":
            body, more = b"", True
            while more:
                message = await receive()
                body, more = body + message["body"], message["more_body"]
            load = np.frombuffer(body, dtype=np.float32).reshape(-1, CONTEXT_LENGTH)
            answer = session.run(["quantiles"], feed(load))[0].tobytes()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": answer})

    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--http_port", type=int, required=True)
    args = parser.parse_args()
    uvicorn.run(bare_app(args.model), port=args.http_port, lifespan="off", log_level="warning")
