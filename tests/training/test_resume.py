"""A run that is killed at any moment ends as it would have without."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from jetprop.training import Callback, Trainer, fit
from jetprop.training.checkpoint import load_tensors
from jetprop.training.progress import read_log
from training.killed import slow

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    fit(slow(), out=folder)
    return folder


def final_state(folder: Path) -> dict[str, Tensor]:
    """Weights, buffers, optimizer state, generators."""
    newest = sorted((folder / "checkpoints").iterdir())[-1]
    assert newest.name == "step-000000300.safetensors"
    return load_tensors(newest)[0]


def untimed(folder: Path) -> list[dict]:
    return [{k: v for k, v in entry.items() if k != "seconds"} for entry in read_log(folder / "log.jsonl")]


def assert_same_run(one: Path, other: Path) -> None:
    states = final_state(one), final_state(other)
    assert states[0].keys() == states[1].keys()
    differing = [name for name in states[0] if not torch.equal(states[0][name], states[1][name])]
    assert not differing
    assert untimed(one) == untimed(other)
    results = [json.loads((folder / "result.json").read_text()) for folder in (one, other)]
    assert results[0]["metrics"] == results[1]["metrics"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked")
def test_killed_at_random_moments_it_ends_in_the_same_bits(tmp_path: Path, uninterrupted: Path) -> None:
    path = os.pathsep.join([str(TESTS), str(TESTS.parent / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "training.killed", str(tmp_path / "run"), "6"],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    steps = json.loads(done.stdout.splitlines()[-1])
    assert steps == sorted(steps) and len({step for step in steps if 0 < step < 300}) >= 3, steps
    assert_same_run(tmp_path / "run", uninterrupted)
    assert not list((tmp_path / "run" / "checkpoints").glob(".*"))


@pytest.mark.parametrize("moment", ["step", "log", "checkpoint"])
def test_a_failure_between_any_two_actions_is_survived(moment: str, tmp_path: Path, uninterrupted: Path) -> None:
    class Fail(Callback):
        def __init__(self, after: int) -> None:
            self.left = after

        def fail(self, *_: object) -> None:
            self.left -= 1
            if self.left == 0:
                raise RuntimeError("power cut")

    setattr(Fail, f"on_{moment}", Fail.fail)
    for after in (5, 20):
        with pytest.raises(RuntimeError, match="power cut"):
            fit(slow(), out=tmp_path, callbacks=[Fail(after)])
    fit(slow(), out=tmp_path)
    assert_same_run(tmp_path, uninterrupted)


def test_time_adds_up_over_interruptions(tmp_path: Path) -> None:
    class Stop(Callback):
        def on_step(self, trainer: Trainer) -> None:
            if trainer.step == 100:
                trainer.stop("enough")

    first = fit(slow(), out=tmp_path, callbacks=[Stop()])
    second = fit(slow(), out=tmp_path)
    assert second.seconds["training"] > first.seconds["training"]
    assert [e["seconds"] for e in second.history] == sorted(e["seconds"] for e in second.history)
