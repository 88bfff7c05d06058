"""Which trace sets may train the weights that ship, and how much each counts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """One set of traces.

    Attributes:
        licence: SPDX name where there is one.
        source: Where the traces come from.
        weight: Its share of the training windows, before normalisation.
    """

    licence: str
    source: str
    weight: float


SYNTHETIC_WEIGHT = 0.30

SHIPPED_SETS: dict[str, TrainingSet] = {
    "jumpstarter_cpu": TrainingSet("MIT", "NetManAIOps/JumpStarter, CPU of a content platform's services", 0.14),
    "jumpstarter_net": TrainingSet("MIT", "NetManAIOps/JumpStarter, network rate of the same services", 0.12),
    "smd": TrainingSet("MIT", "Server Machine Dataset, NetManAIOps/OmniAnomaly by way of zhhlee/InterFusion", 0.24),
    "servegen_llm": TrainingSet("Apache-2.0", "alibaba/ServeGen, LLM requests per client", 0.10),
    "nab_tweets": TrainingSet("MIT", "numenta/NAB realTweets", 0.06),
    "azure_vm_v1": TrainingSet(
        "CC-BY-4.0",
        "Microsoft, Azure Public Dataset V1 (Cortez et al., 2017), CPU of 178 VMs, means of 5 minutes",
        0.18,
    ),
    "twitter_ad": TrainingSet("Apache-2.0", "twitter/AnomalyDetection by way of Marcnuth/AnomalyDetection", 0.04),
}
"""Permissively licensed sets; another one needs a decision record on its licence first."""

UNKNOWN = TrainingSet("unknown", "not among the sets that ship; the licence is the user's to know", 0.10)


def training_set(name: str) -> TrainingSet:
    """What is known of a set by its name."""
    return SHIPPED_SETS.get(name, UNKNOWN)
