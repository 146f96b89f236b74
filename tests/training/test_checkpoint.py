"""Checkpoint files: exact, atomic, and refused where they do not belong."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch
from torch import nn

import jetprop.training.checkpoint as checkpoint
from jetprop.training import MLP, CheckpointError, Checkpoints, OptimizerConfig, Optimizers, build_optimizers


def trained(name: str = "adam", steps: int = 3) -> tuple[MLP, Optimizers]:
    model = MLP([3, 4, 4, 2]).double()
    optimizers = build_optimizers(model, OptimizerConfig(name=name))
    for k in range(steps):
        model(torch.full((2, 3), 1.0 + k).double()).square().sum().backward()
        optimizers.step()
        optimizers.zero_grad()
    return model, optimizers


def equal(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(equal(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(equal(a, b) for a, b in zip(one, other, strict=True))  # type: ignore[arg-type]
    return one == other


@pytest.mark.parametrize("name", ["adam", "sgd", "muon", "nadam", "rmsprop", "asgd"])
def test_everything_comes_back_bit_for_bit(name: str, tmp_path: Path) -> None:
    model, optimizers = trained(name)
    files = Checkpoints(tmp_path)
    files.write(model, optimizers, {"sums": torch.rand(3)}, {"step": 3, "recipe": {"a": [1, 2.5, None, "x"]}})
    found = files.latest()
    assert found is not None and found.step == 3 and found.meta["recipe"] == {"a": [1, 2.5, None, "x"]}
    other, its_optimizers = trained(name, steps=1)
    found.load_model(other)
    found.load_optimizers(its_optimizers)
    assert equal(dict(model.state_dict()), dict(other.state_dict()))
    assert equal([s["state"] for s in optimizers.state_dict()], [s["state"] for s in its_optimizers.state_dict()])
    for net, steppers in ((model, optimizers), (other, its_optimizers)):
        net(torch.ones(2, 3).double()).sum().backward()
        steppers.step()
    assert equal(dict(model.state_dict()), dict(other.state_dict()))


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    files = Checkpoints(tmp_path)
    for step in (1, 2, 10, 9999999999):
        files.write(*trained(steps=0), {}, {"step": step})
    assert [p.name for p in files.paths()] == ["step-000000010.safetensors", "step-9999999999.safetensors"]


def test_tied_weights_and_views_are_kept(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Linear(3, 3)
            self.other = nn.Linear(3, 3)
            self.other.weight = self.one.weight
            self.register_buffer("part", torch.arange(6.0).view(2, 3).T)

    model, files = Tied(), Checkpoints(tmp_path)
    files.write(model, Optimizers([]), {}, {"step": 0})
    found, other = files.latest(), Tied()
    assert found is not None
    found.load_model(other)
    assert equal(dict(model.state_dict()), dict(other.state_dict())) and other.one.weight is other.other.weight


class Full:
    """A file on a disk that is full."""

    def __init__(self, path: Path, mode: str) -> None:
        self.file = open(path, mode)  # noqa: SIM115

    def __enter__(self) -> Full:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, content: bytes) -> None:
        self.file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_leaves_the_last_checkpoint_whole(tmp_path: Path, monkeypatch) -> None:
    model, optimizers = trained()
    files = Checkpoints(tmp_path)
    good = files.write(model, optimizers, {}, {"step": 1})
    before = good.read_bytes()
    monkeypatch.setattr(checkpoint, "open", Full, raising=False)
    with pytest.raises(CheckpointError, match=r"step-000000002.*No space left.*needs \d+ bytes, \d+ are free.*intact"):
        files.write(model, optimizers, {}, {"step": 2})
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == [good.name] and good.read_bytes() == before
    found = files.latest()
    assert found is not None and found.step == 1


def test_a_damaged_file_is_passed_over(tmp_path: Path, caplog) -> None:
    files = Checkpoints(tmp_path)
    files.write(*trained(), {}, {"step": 1})
    newest = files.write(*trained(), {}, {"step": 2})
    newest.write_bytes(newest.read_bytes()[:-100])
    with caplog.at_level("WARNING", logger="jetprop"):
        found = files.latest()
    assert found is not None and found.step == 1 and "step-000000002.safetensors cannot be read" in caplog.text
    files.paths()[0].write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="no checkpoint can be read"):
        files.latest()


def test_no_checkpoint_at_all_is_no_fault(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "nowhere").latest() is None


def test_another_model_is_refused(tmp_path: Path) -> None:
    files = Checkpoints(tmp_path)
    files.write(*trained(), {}, {"step": 1})
    found = files.latest()
    assert found is not None
    with pytest.raises(CheckpointError, match=r"layers.1.weight has shape \(4, 4\) in the checkpoint, \(5, 4\) in the"):
        found.load_model(MLP([3, 4, 5, 2]))
    with pytest.raises(CheckpointError, match="layers.3.weight is not in the checkpoint"):
        found.load_model(MLP([3, 4, 4, 2, 2]))
    with pytest.raises(CheckpointError, match="layers.2.weight is not in the model"):
        found.load_model(MLP([3, 4, 4]))


def test_nothing_but_tensors_and_plain_values_is_kept(tmp_path: Path) -> None:
    class Odd(nn.Linear):
        def get_extra_state(self) -> object:
            return object()

        def set_extra_state(self, state: object) -> None:
            pass

    files = Checkpoints(tmp_path)
    with pytest.raises(CheckpointError, match="_extra_state.*only tensors"):
        files.write(Odd(2, 2), Optimizers([]), {}, {"step": 0})
    with pytest.raises(CheckpointError, match="plain values"):
        files.write(nn.Linear(2, 2), Optimizers([]), {}, {"step": 0, "odd": object()})
    pickled = tmp_path / "step-000000005.safetensors"
    torch.save({"a": torch.ones(1)}, pickled)
    with pytest.raises(CheckpointError, match="cannot be read"):
        files.latest()
