"""An adaptive solver for states that may be jets."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

from jetprop.jets import Jet

__all__ = ["integrate"]

MOST_STEPS = 10_000
"""Accepted or rejected steps between two times asked for; equations of networks take tens."""


def integrate(
    velocity: Callable[[float, Any], Any], x: Any, times: Tensor, *, rtol: float, atol: float, trajectory: bool
) -> Any:
    """Solve x' = velocity(t, x) by the Dormand-Prince method of order 5.

    Rows of a jet are solved for together with the value, by the same steps, which the error of the value alone
    decides: the value row is what a plain state gives, and the rows are exact derivatives of the discrete solution
    with its steps held fixed. Backward passes hold the steps fixed too.

    Args:
        velocity: takes the time and a state.
        x: state at `times[0]`, `[batch, …]`, a tensor or a jet.
        times: `[n]`, increasing.
        rtol: relative tolerance of the root mean square of the error over the batch.
        atol: absolute tolerance of it.
        trajectory: whether to return the state at every time, `[batch, n, …]`, or at the last one, `[batch, …]`.

    Raises:
        ImportError: torchdiffeq is not installed.
        RuntimeError: no step is small enough, or a state is not finite.
    """
    try:
        from torchdiffeq import odeint  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError(
            'solver="dopri5" needs the package torchdiffeq: pip install "jetprop[ode]", or take solver="euler"'
        ) from error
    first = velocity(float(times[0]), x)
    basis = first.basis if isinstance(first, Jet) else None
    if basis is not None and not isinstance(x, Jet):  # parameters are jets, so the state becomes one
        x = Jet.constant(x, basis)

    def rate(t: Tensor, state: Tensor) -> Tensor:
        now = float(t.detach())
        if not math.isfinite(now):  # the solver makes a NaN step of a NaN error
            raise AssertionError("the velocity is not finite")
        return velocity(now, state) if basis is None else velocity(now, Jet._of(state, basis)).rows

    def size(state: Tensor) -> Tensor:
        of_values = state if basis is None else state[0]
        return of_values.detach().square().mean().sqrt()

    # A step ends at T: values between steps come from an interpolation whose error is not controlled.
    options = {"norm": size, "max_num_steps": MOST_STEPS, "step_t": times[-1:]}
    start = x if basis is None else x.rows
    try:
        found = odeint(rate, start, times, rtol=rtol, atol=atol, method="dopri5", options=options)
    except AssertionError as failure:
        raise RuntimeError(
            f"the adaptive solver failed ({str(failure)[:80]}): the state grows without bounds or the equation is "
            f'stiff; look at the weights, loosen rtol={rtol:g} and atol={atol:g}, or take solver="euler"'
        ) from failure
    states: Any = found if basis is None else found.movedim(1, 0)  # type: ignore[union-attr]
    if not trajectory:
        return states[-1] if basis is None else Jet._of(states[:, -1], basis)
    return states.movedim(0, 1) if basis is None else Jet._of(states.movedim(1, 2), basis)
