"""Kills a training again and again, at random moments; run by test_resume.py in a process of its own.

Children are forked from a process that has imported everything, so that a kill costs a fraction of a second. Usage:
`python -m training.killed FOLDER KILLS`; prints, as JSON, at which steps the kills found the run, and the final log.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from jetprop.training import Checkpoints, Recipe, fit
from training.curve import recipe


def slow() -> Recipe:
    """Adam, dropout, batch normalisation, random directions, two phases, logs and checkpoints out of step."""
    return recipe(
        model={"widths": None, "activation": None, "init": None, "factory": "training.curve:Noisy"},
        data={"directions": {"random": 1}},
        objective={"phases": [{"from": 0.6, "weights": [1.0, 1.0, 0.0]}]},
        schedule={"kind": "cosine", "warmup": 0.1},
        training={"steps": 300, "checkpoint_every": 3, "log_every": 7, "evaluate_every": 50},
    )


def run(folder: Path) -> None:
    fit(slow(), out=folder, progress=False)


def newest(folder: Path) -> int:
    paths = Checkpoints(folder / "checkpoints").paths()
    return int(paths[-1].stem.removeprefix("step-")) if paths else 0


def main(folder: Path, kills: int) -> None:
    torch.set_num_threads(1)
    chance = random.Random(1)
    found = []
    for _ in range(kills):
        child = os.fork()
        if child == 0:
            run(folder)
            os._exit(0)
        deadline = time.monotonic() + 30
        while newest(folder) <= (found[-1] if found else 0) and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(chance.uniform(0.0, 0.08))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        found.append(newest(folder))
    run(folder)
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
