"""What each process of the distributed test runs; importable, so that it can be spawned."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from jetprop.jets import Basis, Jet

PROCESSES = 2
BASIS = Basis.full(2, 2)


def network() -> nn.Module:
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()


def batch() -> Jet:
    generator = torch.Generator().manual_seed(6)
    return Jet(torch.randn(len(BASIS), 4, 3, dtype=torch.float64, generator=generator), BASIS)


def loss(y: Jet) -> Tensor:
    return y.rows.square().sum(0).mean()


def gradients(model: nn.Module) -> list[Tensor]:
    return [p.grad for p in model.parameters() if p.grad is not None]


def run(rank: int, folder: str) -> None:
    """One process: its half of the batch, with and without a search for unused parameters."""
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=PROCESSES)
    try:
        for search in (False, True):
            _step(rank, folder, search)
        dist.barrier()  # neither takes its threads down while the other still talks to them
    finally:
        dist.destroy_process_group()


def _step(rank: int, folder: str, search: bool) -> None:
    model = DistributedDataParallel(network(), find_unused_parameters=search)
    output = model(batch()[rank::PROCESSES])
    assert isinstance(output, Jet) and output.basis == BASIS
    loss(output).backward()
    torch.save(gradients(model), Path(folder) / f"{rank}-{search}.pt")
