"""The tables and figures that can be reproduced: a registry, in which each is one entry."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from jetprop.experiments.records import Record

__all__ = ["EXPERIMENTS", "Context", "Experiment", "Scale", "experiment", "find"]

Scale = Literal["smoke", "cpu", "paper"]


@dataclass(frozen=True)
class Context:
    """Where and how an experiment runs.

    Args:
        scale: "smoke" (seconds; proves that it runs), "cpu" (minutes to half an hour; shows the order of things) or
            "paper" (the paper's exact settings).
        runs: the folder for checkpoints and logs; what is finished there is not done again.
        seed: of everything random.
        say: told what happens, a line at a time.
        seconds: wall-clock limit; training stops at a checkpoint when it is reached and goes on at the next call.
        show: whether progress bars may be drawn.
        jobs: how many networks may be trained side by side, where an experiment allows it.
    """

    scale: Scale
    runs: Path
    seed: int = 0
    say: Callable[[str], None] = lambda _: None
    seconds: float | None = None
    show: bool = False
    jobs: int = 1


@dataclass(frozen=True)
class Experiment:
    """One table or figure.

    Args:
        name: "avrutskiy2023 table2": the paper's key, then the table; or one word for an experiment of our own.
        title: what it shows.
        run: does it.
        cost: what each scale takes.
    """

    name: str
    title: str
    run: Callable[[Context], Record]
    cost: dict[str, str] = field(default_factory=dict)


EXPERIMENTS: dict[str, Experiment] = {}
"""Every experiment by its name."""


def experiment(
    name: str, title: str, **cost: str
) -> Callable[[Callable[[Context], Record]], Callable[[Context], Record]]:
    """Register a function as an experiment.

    Raises:
        ValueError: the name is taken.
    """

    def register(run: Callable[[Context], Record]) -> Callable[[Context], Record]:
        if name in EXPERIMENTS:
            raise ValueError(f"the experiment {name!r} is registered already")
        EXPERIMENTS[name] = Experiment(name, title, run, cost)
        return run

    return register


def find(*words: str) -> Experiment:
    """The experiment of that name.

    Raises:
        ValueError: there is none; the message lists what there is.
    """
    name = " ".join(words)
    if name in EXPERIMENTS:
        return EXPERIMENTS[name]
    near = difflib.get_close_matches(name, EXPERIMENTS, n=1)
    guess = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"no experiment is called {name!r}{guess} There are: {', '.join(sorted(EXPERIMENTS))}")
