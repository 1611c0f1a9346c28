"""Several processes, one training step: features are shared, gradients added up. ``torchrun`` starts the processes.

Every process computes the features of its own sub-batches, receives those of the others and works out the whole loss.
Through its own rows the gradient flows on into the network, where the sums over all processes are the gradient of the
whole batch; layers behind the shared features (the classifier) have it already, on every process alike.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import distributed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


@dataclass(frozen=True)
class Processes:
    """The processes of a run, seen from one of them.

    Attributes
    ----------
    rank, count
        This one's number, from 0, and how many there are.
    local_rank
        Its number on this machine: which GPU it takes.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Return whether this process writes files and shows progress."""
        return self.rank == 0

    def summed(self, values: torch.Tensor) -> torch.Tensor:
        """Return ``values`` added up over all processes, in place."""
        if self.count > 1:
            distributed.all_reduce(values)
        return values

    def shared(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the rows (n, ...) of all processes, in the order of their ranks; gradients flow into the own ones."""
        if self.count == 1:
            return rows
        all_rows = [torch.empty_like(rows) for _ in range(self.count)]
        distributed.all_gather(all_rows, rows.detach().contiguous())
        all_rows[self.rank] = rows
        return torch.cat(all_rows)

    def add_up(self, values: Sequence[torch.Tensor]) -> None:
        """Replace ``values``, of one type, by their sums over all processes."""
        if self.count > 1 and values:
            _put_back(values, self.summed(_joined(values)))

    def take_first(self, values: Sequence[torch.Tensor]) -> None:
        """Replace ``values``, of one type, by those of the first process."""
        if self.count > 1 and values:
            flat = _joined(values)
            distributed.broadcast(flat, 0)
            _put_back(values, flat)

    def from_first(self, value: float) -> float:
        """Return the first process's ``value`` on all of them."""
        if self.count == 1:
            return value
        device = torch.device("cuda", self.local_rank) if distributed.get_backend() == "nccl" else torch.device("cpu")
        shared = torch.tensor([value], dtype=torch.float64, device=device)
        distributed.broadcast(shared, 0)
        return float(shared)

    def wait(self) -> None:
        """Return when all processes are here."""
        if self.count > 1:
            distributed.barrier()


def gradients(parameters: Iterable[torch.nn.Parameter]) -> list[torch.Tensor]:
    """Return the gradients of those parameters that have one."""
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def _joined(values: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.cat([value.reshape(-1) for value in values])


def _put_back(values: Sequence[torch.Tensor], flat: torch.Tensor) -> None:
    start = 0
    for value in values:
        value.copy_(flat[start : start + value.numel()].view_as(value))
        start += value.numel()


def started_as() -> Processes:
    """Return what the environment of ``torchrun`` says (RANK, WORLD_SIZE, LOCAL_RANK): one process without it."""
    rank, count, local = (int(os.environ.get(name, "0")) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    return Processes(rank, max(count, 1), local)


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """Yield the processes of this run, connected: by NCCL on ``cuda``, by gloo on ``cpu``; and part at the end."""
    processes = started_as()
    if processes.count == 1:
        yield processes
        return
    if device == "cuda":
        torch.cuda.set_device(processes.local_rank)
    distributed.init_process_group("nccl" if device == "cuda" else "gloo")
    try:
        yield processes
    finally:
        distributed.destroy_process_group()
