"""The processes of one training run: one, or as many as `torchrun` starts; only the first writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed


@dataclass(frozen=True, slots=True)
class Ranks:
    """Which process this is.

    Attributes:
        rank: Number of this process, from 0.
        world: Number of all of them.
    """

    rank: int = 0
    world: int = 1

    @property
    def writes(self) -> bool:
        """Whether this process leaves files and words behind."""
        return self.rank == 0

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Put the sum over all processes in place of each tensor, in one message."""
        if self.world == 1:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        distributed.all_reduce(flat)
        totals = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, total in zip(tensors, totals, strict=True):
            tensor.copy_(total.view_as(tensor))


@contextmanager
def joined_ranks(environment: Mapping[str, str]) -> Iterator[Ranks]:
    """Join the other processes, as RANK and WORLD_SIZE say; without them this process is alone."""
    ranks = Ranks(int(environment.get("RANK", "0")), int(environment.get("WORLD_SIZE", "1")))
    if ranks.world == 1:
        yield ranks
        return
    distributed.init_process_group("gloo")
    try:
        yield ranks
    finally:
        distributed.destroy_process_group()
