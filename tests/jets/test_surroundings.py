"""Jets inside what surrounds a model: checkpointing, data parallelism, Fabric, hooks."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision.double import DoublePrecision
from lightning_fabric.plugins.precision.half import HalfPrecision
from lightning_fabric.utilities import move_data_to_device
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from jetprop.jets import Basis, Jet
from jets import distributed_worker
from jets.rule_cases import DTYPE, drawn
from jets.tolerances import EXACT, ROUNDING


def network() -> nn.Sequential:
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4), nn.SiLU(), nn.Linear(4, 1)).to(DTYPE)


def rows_and_gradients(run: Any) -> list[Tensor]:
    model, jet = network(), Jet.seed(drawn(5, 3), order=2).requires_grad_()
    y = run(model, jet)
    y.rows.square().sum().backward()
    assert jet.rows.grad is not None
    return [y.rows.detach(), jet.rows.grad, *(p.grad for p in model.parameters() if p.grad is not None)]


@pytest.mark.parametrize(
    "run",
    [
        lambda model, jet: checkpoint(model, jet, use_reentrant=False),
        lambda model, jet: checkpoint_sequential(model, 2, jet, use_reentrant=False),
        lambda model, jet: checkpoint(lambda m, j: m(j), model, jet, use_reentrant=False),
    ],
)
def test_checkpointing_changes_nothing(run) -> None:
    for found, expected in zip(rows_and_gradients(run), rows_and_gradients(lambda m, j: m(j)), strict=True):
        EXACT.check(found, expected)


def test_hooks_see_jets() -> None:
    model, seen = network(), []
    model[1].register_forward_hook(lambda module, inputs, output: seen.append((inputs[0], output)))
    model(Jet.seed(drawn(2, 3)))
    ((before, after),) = seen
    assert isinstance(before, Jet) and torch.equal(before.tanh().rows, after.rows)


# ---- data parallelism -----------------------------------------------------------------------------------------------


def test_two_processes_are_one(tmp_path: Path) -> None:
    """DistributedDataParallel takes a jet, returns one, and averages the gradients of its halves."""
    model = distributed_worker.network()
    distributed_worker.loss(model(distributed_worker.batch())).backward()
    spawn(distributed_worker.run, (str(tmp_path),), nprocs=distributed_worker.PROCESSES)
    for file in sorted(tmp_path.glob("*.pt")):
        for found, expected in zip(torch.load(file), distributed_worker.gradients(model), strict=True):
            ROUNDING.check(found, expected)
    assert len(list(tmp_path.glob("*.pt"))) == 2 * distributed_worker.PROCESSES


# ---- Lightning Fabric -----------------------------------------------------------------------------------------------


def test_fabric_moves_jets() -> None:
    jet = Jet.seed(drawn(2, 3), order=2)
    moved = move_data_to_device({"x": jet, "n": [jet]}, torch.device("cpu"))
    assert type(moved["x"]) is Jet and moved["x"].basis == jet.basis
    assert torch.equal(moved["n"][0].rows, jet.rows)
    elsewhere = move_data_to_device(jet, torch.device("meta"))
    assert elsewhere.device.type == "meta" and jet.device.type == "cpu"


def test_fabric_converts_jets() -> None:
    jet = Jet.seed(drawn(2, 3).float(), order=2)
    doubled = DoublePrecision().convert_input(jet)
    assert type(doubled) is Jet and doubled.dtype == torch.float64 and doubled.basis == jet.basis
    assert HalfPrecision("bf16-true").convert_input({"x": jet})["x"].dtype == torch.bfloat16
    assert jet.dtype == torch.float32


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "64-true"])
def test_a_fabric_step(precision: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fabric = Fabric(accelerator="cpu", devices=1, precision=precision)
        model = network().float()
        model, optimizer = fabric.setup(model, torch.optim.SGD(model.parameters(), 0.1))
        x = drawn(4, 3).float()
        batch = next(iter(fabric.setup_dataloaders(torch.utils.data.DataLoader(_Jets(x), batch_size=None))))
        output = model(batch)
        assert isinstance(output, Jet) and output.basis == Basis.full(3, 2)
        assert output.dtype == model(x).dtype
        before = [p.clone() for p in model.parameters()]
        fabric.backward(output.rows.square().mean())
        optimizer.step()
        assert any(not torch.equal(p, q) for p, q in zip(before, model.parameters(), strict=True))


class _Jets(torch.utils.data.Dataset):
    """One jet."""

    def __init__(self, x: Tensor) -> None:
        self.x = x

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Jet:
        return Jet.seed(self.x, order=2)
