"""Serves the forecaster: parse, load, start."""

from __future__ import annotations

import argparse
import copy
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

from fastapi.exceptions import RequestValidationError
from kserve import ModelServer, model_server
from kserve.errors import InvalidInput, ModelNotFound
from kserve.logging import KSERVE_LOG_CONFIG, configure_logging

from predictor_model.contract import CONTRACT
from predictor_model.graph import MODEL_FILE, SHIPPED_WEIGHTS, ModelUnusable
from predictor_model.serving import ForecasterDataPlane, ForecasterModel, RawInferBody, reject_body

# 10,000 rows of the longest history with every optional tensor take 104 MB.
GRPC_MESSAGE_BYTES = 128 * 1024 * 1024
CALLERS_MISTAKES = (InvalidInput, ModelNotFound, NotImplementedError)


def parse_args() -> argparse.Namespace:
    """Read the command line: the SDK's own flags, and where the model lies."""
    parser = argparse.ArgumentParser("python -m predictor_model", description=__doc__, parents=[model_server.parser])
    parser.add_argument(
        "--model_dir",
        type=Path,
        default=SHIPPED_WEIGHTS,
        help=f"directory that holds {MODEL_FILE}; default: the shipped one",
    )
    parser.set_defaults(
        model_name=CONTRACT.model_name,
        enable_latency_logging=False,
        grpc_max_send_message_length=GRPC_MESSAGE_BYTES,
        grpc_max_receive_message_length=GRPC_MESSAGE_BYTES,
    )
    args = parser.parse_args()
    if args.workers != 1:
        parser.error(f"--workers is {args.workers}; accepted is 1: one process computes on all CPUs, pods scale it out")
    return args


def quiet_log_config() -> dict[str, Any]:
    """The SDK's log configuration without its lines per request, and with this package's own."""
    config: dict[str, Any] = copy.deepcopy(KSERVE_LOG_CONFIG)
    config["loggers"] |= {
        "kserve": {"handlers": ["kserve"], "level": "WARNING", "propagate": False},
        "predictor_model": {"handlers": ["kserve"], "level": "INFO", "propagate": False},
    }
    config["loggers"]["kserve.trace"]["level"] = "WARNING"
    config["loggers"]["uvicorn.access"]["level"] = "WARNING"
    return config


def shorten_rejection(record: logging.LogRecord) -> bool:
    """Log filter: a caller's mistake is one line, not a traceback of the server."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, CALLERS_MISTAKES):
        record.msg, record.args, record.exc_info = "request_rejected: %s", (str(error),), None
        record.levelno, record.levelname = logging.WARNING, "WARNING"
    return True


def main() -> int:
    """Serve until told to stop."""
    args = parse_args()
    if args.configure_logging:
        configure_logging(args.log_config_file or quiet_log_config())
    logging.getLogger("kserve").addFilter(shorten_rejection)
    # The SDK's own use of FastAPI; nobody who runs a server can do anything about it.
    warnings.filterwarnings("ignore", message="ORJSONResponse is deprecated")
    model = ForecasterModel(args.model_name, args.model_dir)
    try:
        model.load()
    except ModelUnusable as exc:
        sys.stderr.write(f"{exc}\n")
        return 2
    # The SDK hands its gRPC server the arguments that it parsed itself, on import, without the defaults above.
    vars(model_server.args).update(vars(args))
    server = ModelServer(enable_latency_logging=args.enable_latency_logging)
    server.dataplane = ForecasterDataPlane(server.registered_models)
    model_server.app.add_middleware(RawInferBody)
    model_server.app.add_exception_handler(RequestValidationError, reject_body)
    server.start([model])
    return 0


if __name__ == "__main__":
    sys.exit(main())
