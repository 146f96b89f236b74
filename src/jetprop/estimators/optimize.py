"""Fitting a small network: L-BFGS on growing parts of the data, or Adam on mini-batches."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import scipy.optimize
import torch
from torch import Tensor, nn

from jetprop.estimators.objective import Objective
from jetprop.jets import compilation, compile_kernels

__all__ = ["Progress", "Settings", "Status", "eager_kernels", "fit"]

Status = Literal["converged", "stalled", "early_stopped", "max_iter", "max_seconds", "diverged"]

SMALLEST_PART = 1500
"""L-BFGS begins on a part of the data of about this many rows times points."""

GROWTH = 4
"""By which the part grows from stage to stage."""

MEMORY = 30
"""Pairs that L-BFGS remembers."""


@dataclass(frozen=True)
class Settings:
    """How to fit; see `JetRegressor`."""

    solver: Literal["lbfgs", "adam"]
    max_iter: int
    max_seconds: float | None
    tol: float
    patience: int
    alpha: float
    learning_rate: float
    batch_size: int | None
    seed: int


@dataclass
class Progress:
    """What happened so far; `history` has one entry for each iteration (L-BFGS) or epoch (Adam).

    Args:
        clock: seconds.
        report: called after each iteration with this object.
    """

    clock: Callable[[], float] = time.perf_counter
    report: Callable[[Progress], None] | None = None
    history: list[dict[str, float]] = field(default_factory=list)
    status: Status = "max_iter"
    best: float = math.inf
    best_parameters: Tensor | None = None
    since_best: int = 0
    started: float = math.nan

    def __post_init__(self) -> None:
        self.started = self.clock()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return self.clock() - self.started


class _Flat:
    """The parameters of a model as one vector, with the cost and its gradient as functions of it."""

    def __init__(self, model: nn.Module, alpha: float) -> None:
        self.model = model
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.vector = torch.cat([p.detach().flatten() for p in self.parameters])
        self.penalty = alpha * torch.cat([torch.full((p.numel(),), float(p.dim() > 1)) for p in self.parameters]).to(
            self.vector
        )
        start = 0
        for p in self.parameters:
            p.data = self.vector[start : start + p.numel()].view_as(p)
            start += p.numel()

    def __call__(self, objective: Objective) -> tuple[float, Tensor]:
        """Cost with the penalty alpha·‖W‖², and its gradient."""
        cost = objective.cost(self.model)
        gradients = torch.autograd.grad(cost, self.parameters, allow_unused=True, materialize_grads=True)
        pull = self.penalty * self.vector
        return float(cost.detach()) + float(pull @ self.vector), torch.cat([g.flatten() for g in gradients]).add_(
            pull, alpha=2
        )


_eager = threading.Lock()
_depth = 0
_before: Literal["auto", "never"] = "auto"


@contextmanager
def eager_kernels() -> Iterator[None]:
    """Inside, jets compile no kernels: a fit of seconds is over before a compiler is. Threads may nest and overlap."""
    global _depth, _before
    with _eager:
        if _depth == 0:
            _before = compilation()["mode"]
            compile_kernels("never")
        _depth += 1
    try:
        yield
    finally:
        with _eager:
            _depth -= 1
            if _depth == 0:
                compile_kernels(_before)


def fit(
    model: nn.Module, objective: Objective, held_out: Objective | None, settings: Settings, progress: Progress
) -> None:
    """Minimise the cost over the parameters of the model, in place.

    With held-out points the parameters that were best for them are kept, and fitting ends when `patience` iterations
    have not improved on that by `tol`; without, when they have not improved the cost itself.

    Args:
        model: of the dtype of the objective.
        objective: what to minimise.
        held_out: of points that are not trained on, or None.
        settings: how.
        progress: is kept up to date.
    """
    flat = _Flat(model, settings.alpha)
    start = flat.vector.clone()
    run = _lbfgs if settings.solver == "lbfgs" else _adam
    try:
        run(flat, objective, held_out, settings, progress)
    except _Stop as stop:
        progress.status = stop.status
    if progress.best_parameters is not None:
        flat.vector.copy_(progress.best_parameters)
    elif progress.status == "diverged":
        flat.vector.copy_(start)
    for p in flat.parameters:
        p.data = p.data.clone()


class _Stop(Exception):
    def __init__(self, status: Status) -> None:
        self.status: Status = status


def _note(
    flat: _Flat,
    cost: float,
    fraction: float,
    held_out: Objective | None,
    settings: Settings,
    progress: Progress,
    deadline: float,
) -> None:
    """Enter an iteration into the history, and raise `_Stop` where it is to be the last."""
    entry = {"iteration": len(progress.history) + 1, "seconds": progress.seconds, "fraction": fraction, "cost": cost}
    if held_out is not None:
        with torch.no_grad():
            entry["held_out"] = float(held_out.cost(flat.model))
    progress.history.append(entry)
    if progress.report is not None:
        progress.report(progress)
    judged = entry.get("held_out", cost)
    if not math.isfinite(cost) or not math.isfinite(judged):
        raise _Stop("diverged")
    if judged < progress.best * (1 - settings.tol):
        progress.since_best = 0
    else:
        progress.since_best += 1
    if judged < progress.best:
        progress.best = judged
        if held_out is not None:
            progress.best_parameters = flat.vector.clone()
    if progress.since_best >= settings.patience and (held_out is not None or settings.solver == "lbfgs"):
        raise _Stop("early_stopped" if held_out is not None else "converged")
    if progress.seconds >= deadline:
        raise _Stop("max_seconds")


def _lbfgs(
    flat: _Flat, objective: Objective, held_out: Objective | None, settings: Settings, progress: Progress
) -> None:
    stages = math.floor(math.log2(max(objective.rows / SMALLEST_PART, 1)) / math.log2(GROWTH))
    for stage in range(stages, -1, -1):
        part = objective if stage == 0 else objective.part(GROWTH**-stage)
        limit = math.inf if settings.max_seconds is None else settings.max_seconds
        deadline = limit if stage == 0 else progress.seconds + max(0.0, limit - progress.seconds) / (stage + 1)
        if held_out is None:
            progress.best = math.inf  # another part has another cost
        progress.since_best = 0
        try:
            _stage(flat, part, GROWTH**-stage, held_out, settings, progress, deadline)
        except _Stop as stop:
            if stage == 0 or stop.status == "diverged":
                raise


def _stage(
    flat: _Flat,
    part: Objective,
    fraction: float,
    held_out: Objective | None,
    settings: Settings,
    progress: Progress,
    deadline: float,
) -> None:
    def cost(q: np.ndarray) -> tuple[float, np.ndarray]:
        flat.vector.copy_(torch.from_numpy(q))
        value, gradient = flat(part)
        return value, gradient.numpy().astype(np.float64)

    def each(intermediate_result: scipy.optimize.OptimizeResult) -> None:
        flat.vector.copy_(torch.from_numpy(intermediate_result.x))
        _note(flat, float(intermediate_result.fun), fraction, held_out, settings, progress, deadline)

    result = scipy.optimize.minimize(
        cost,
        flat.vector.numpy().astype(np.float64),
        jac=True,
        method="L-BFGS-B",
        callback=each,
        options={
            "maxiter": settings.max_iter,
            "maxfun": 20 * settings.max_iter,
            "maxcor": MEMORY,
            "ftol": 0.0,
            "gtol": 0.0,
        },
    )
    flat.vector.copy_(torch.from_numpy(result.x))
    if not math.isfinite(result.fun):
        raise _Stop("diverged")
    raise _Stop("max_iter" if result.nit >= settings.max_iter else "converged" if result.success else "stalled")


def _adam(
    flat: _Flat, objective: Objective, held_out: Objective | None, settings: Settings, progress: Progress
) -> None:
    """One cycle: the rate rises linearly over a tenth of the run, then falls as a cosine."""
    size = settings.batch_size or min(256, max(16, len(objective) // 8))
    count = max(1, math.ceil(len(objective) / size))
    mean, square = torch.zeros_like(flat.vector), torch.zeros_like(flat.vector)
    generator = torch.Generator().manual_seed(settings.seed)
    limit = math.inf if settings.max_seconds is None else settings.max_seconds
    step = 0
    for _ in range(settings.max_iter):
        total = 0.0
        for batch in objective.batches(count, generator) if count > 1 else [objective]:
            cost, gradient = flat(batch)
            done = min(1.0, max(step / (count * settings.max_iter), progress.seconds / limit))
            rate = settings.learning_rate * (
                done / 0.1 if done < 0.1 else math.cos(math.pi / 2 * (done - 0.1) / 0.9) ** 2
            )
            step += 1
            total += cost / count
            mean.lerp_(gradient, 0.1)
            square.mul_(0.99).addcmul_(gradient, gradient, value=0.01)
            flat.vector.addcdiv_(mean / (1 - 0.9**step), (square / (1 - 0.99**step)).sqrt_().add_(1e-10), value=-rate)
        _note(flat, total, 1.0, held_out, settings, progress, limit)
