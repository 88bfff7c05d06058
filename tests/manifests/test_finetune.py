"""The weekly fine-tuning: what it is told is what the command takes, and what it writes is what is served."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

import typer.main
from typer.core import TyperGroup

from predictor_model.placement import IN_PLACE
from scaler.cli import app
from scaler.cli.exits import EXIT_BAD_INPUT
from tests.manifests.rendering import ROOT, SERVICES, containers, pod_specs, read

CLAIM, CRON_JOB = read(SERVICES / "finetune-cronjob.yaml")
(SPEC,) = pod_specs(CRON_JOB)
(CONTAINER,) = containers(CRON_JOB)
(FORECASTER,) = read(SERVICES / "forecaster-finetuned.yaml")


def told() -> dict[str, Any]:
    """What the command makes of the container's arguments."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    return group.commands["train"].make_context("train", list(CONTAINER["args"])).params


def test_the_command_takes_every_argument_of_the_job() -> None:
    given = told()
    assert given["days"] == 14.0
    assert not given["csv"]
    assert given["prometheus"].startswith("http://")
    assert "container_cpu_usage_seconds_total" in given["query"]
    assert "$(" not in given["query"]  # Kubernetes would take it for a variable


def test_the_image_starts_the_command_and_the_job_gives_only_its_options() -> None:
    (entry,) = re.findall(r"^ENTRYPOINT (.+)$", (ROOT / "Dockerfile.train").read_text(encoding="utf-8"), re.MULTILINE)
    assert json.loads(entry) == ["ai-hpa", "train"]
    assert "command" not in CONTAINER
    assert all(argument.startswith("--") for argument in CONTAINER["args"])


def test_the_job_writes_where_the_forecaster_reads() -> None:
    volumes = {volume["name"]: volume for volume in SPEC["volumes"]}
    mounts = {mount["mountPath"]: mount["name"] for mount in CONTAINER["volumeMounts"]}
    claim = volumes[mounts[str(told()["out"])]]["persistentVolumeClaim"]["claimName"]
    assert (CLAIM.kind, CLAIM.name) == ("PersistentVolumeClaim", claim)
    (container,) = containers(FORECASTER)
    stored = {variable["name"]: variable["value"] for variable in container["env"]}
    assert stored["STORAGE_URI"] == f"pvc://{claim}/{IN_PLACE}"


def test_the_user_of_the_image_can_write_the_claim_and_a_home() -> None:
    assert SPEC["securityContext"]["fsGroup"] == CONTAINER["securityContext"]["runAsGroup"]
    (home,) = re.findall(r"HOME=(\S+)", (ROOT / "Dockerfile.train").read_text(encoding="utf-8"))
    assert home in {mount["mountPath"] for mount in CONTAINER["volumeMounts"]}


def test_two_runs_never_write_at_once() -> None:
    assert CRON_JOB.body["spec"]["concurrencyPolicy"] == "Forbid"


def test_a_load_that_cannot_be_used_is_not_tried_again_and_a_drained_node_is_no_try() -> None:
    spec = CRON_JOB.body["spec"]["jobTemplate"]["spec"]
    unusable, drained = spec["podFailurePolicy"]["rules"]
    codes = {"containerName": CONTAINER["name"], "operator": "In", "values": [EXIT_BAD_INPUT]}
    assert (unusable["action"], unusable["onExitCodes"]) == ("FailJob", codes)
    assert (drained["action"], drained["onPodConditions"]) == ("Ignore", [{"type": "DisruptionTarget"}])
    assert SPEC["restartPolicy"] == "Never"  # else the API server refuses the policy


def test_torch_without_cuda_may_come_from_an_index_that_the_user_names() -> None:
    text = (ROOT / "Dockerfile.train").read_text(encoding="utf-8")
    assert re.search(r"^ARG TORCH_INDEX=$", text, re.MULTILINE)
    assert "--require-hashes" in text
    (pattern,) = re.findall(r"sed -n '(.+)' requirements\.lock", text)
    pinned = subprocess.run(
        ["sed", "-n", pattern, ROOT / "requirements.lock"], capture_output=True, text=True, check=True
    ).stdout
    assert re.fullmatch(r"torch==[0-9.]+\n", pinned)
