"""Several processes train what one process trains."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from jetprop.training import Callback, Trainer, fit, load_model, read_log
from training.curve import recipe

TESTS = Path(__file__).parents[1]

HEAD = """
import sys
from pathlib import Path
from jetprop.training import fit
from training.curve import recipe
from training.test_processes import CASES, SECTIONS, TWO, Stop

if __name__ == "__main__":
    out, case = Path(sys.argv[1]), CASES[sys.argv[2]]
"""

STEPS = """
    result = fit(recipe(**case).replace({**TWO, "training.steps": 20}), out=out / "two", progress=False)
    assert result.finished and next(result.model.parameters()).isfinite().all()
"""

SECONDS = """
    timed = recipe(**SECTIONS).replace({**TWO, "training.seconds": 0.2, "schedule.kind": "cosine"})
    first = fit(timed, callbacks=[Stop()], out=out, progress=True)
    assert first.status == "stopped" and 5 <= first.steps <= 21, (first.status, first.steps)
    second = fit(timed, out=out)
    assert second.finished and second.steps > first.steps and second.seconds["training"] > 0.15
"""

SECTIONS: dict = {
    "data": {"directions": {"random": 1}},
    "objective": {"phases": [{"from": 0.5, "weights": [1.0, 1.0, 0.0]}]},
    "training": {"evaluate_every": 10, "checkpoint_every": 10},
}
ROBUST: dict = {
    "objective": {
        "weights": [1.0, 1.0, 0.0],
        "robust": {"R1_low": 1.0, "R2_mid": 0.5},
        "phases": [{"from": 0.5, "weights": [1.0, 1.0, 0.0], "robust": {}}],
    },
    "robust": {"directions": 64},
}
SMOOTHED: dict = {"data": {"order": 0}, "augmentation": {"kind": "smoothing", "radius": 0.1, "weight": 1.0}}
CASES = {"random directions": SECTIONS, "robust": ROBUST, "smoothed": SMOOTHED}
SLOW = ("robust", "smoothed")
TWO = {"training.devices": 2}


class Stop(Callback):
    def on_step(self, trainer: Trainer) -> None:
        if trainer.step == 5:
            trainer.stop("five are enough")


def run(script: str, folder: Path, case: str = "random directions") -> None:
    """Run a script as a user would: processes that it spawns import it again."""
    path = os.pathsep.join([str(TESTS), str(TESTS.parent / "src"), os.environ.get("PYTHONPATH", "")])
    file = folder / "two.py"
    file.write_text(script)
    done = subprocess.run(
        [sys.executable, str(file), str(folder), case],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("case", ["random directions", *(pytest.param(c, marks=pytest.mark.slow) for c in SLOW)])
def test_two_processes_train_what_one_trains(case: str, tmp_path: Path) -> None:
    """Same batch over all processes, float64: the same losses, errors and weights to rounding."""
    run(HEAD + STEPS, tmp_path, case)
    one = fit(recipe(**CASES[case]), out=tmp_path / "one")
    history = read_log(tmp_path / "two" / "log.jsonl")
    assert len(history) == len(one.history)
    for entry, other in zip(history, one.history, strict=True):
        assert entry.keys() == other.keys()
        for name in entry.keys() - {"seconds", "rate"}:
            assert entry[name] == pytest.approx(other[name], rel=1e-9), name
    for p, q in zip(load_model(tmp_path / "two").parameters(), one.model.parameters(), strict=True):
        assert torch.allclose(p, q, rtol=1e-9)
    again = fit(recipe(**CASES[case]), out=tmp_path / "two")
    assert again.finished and again.record["processes"] == 2, "a run of two processes is read back by one"


@pytest.mark.slow
def test_two_processes_share_a_budget_of_seconds_and_stop_together(tmp_path: Path) -> None:
    run(HEAD + SECONDS, tmp_path)
