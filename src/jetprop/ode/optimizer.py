"""Conjugate gradients as an optimizer for any model: the step length comes from a jet along the parameters."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from jetprop.jets import Jet, functional_call
from jetprop.ode.conjugate_gradient import BETAS, Beta, Memory, Status, Tensors, conjugate
from jetprop.ode.line_search import root_of_slope

__all__ = ["ConjugateGradient"]


class ConjugateGradient(Optimizer):
    """Nonlinear conjugate gradients without a learning rate, for every model that jets go through.

    A step runs the closure with jets for the parameters, along the direction d = −g + γ d_old.

    - With `cost`, a convex function of the output: the closure returns the output. The step η is the root of the slope
      of η ↦ cost(output + ηξ), ξ being the output's derivative along d, as in Algorithm 1.
    - Without: the closure returns the loss, and the step is Newton's along d, η = −L'/L'', from its jet of order 2.
      Where the loss is not convex along d there is none, and the status says so.

    Closures differentiate nothing themselves (no `backward()`), and must give the same value each time: one step calls
    them three times, so switch dropout off. In `restart_every` steps on one batch this is Algorithm 1.

    Args:
        model: its parameters that require gradients are trained. Closures call this very object.
        beta: the formula for γ.
        cost: takes the closure's output, a tensor or a jet, to a scalar.
        restart_every: go along −g at the first of so many steps, for instance those made on one batch; None goes so at
            the very first only.

    Attributes:
        status: how the last step ended; unless `DONE`, the parameters are as they were.
        step_length: η of the last step, 0 if it was not taken.

    Raises:
        ValueError: nothing to train, or an argument is out of its range.

    Source:
        jaroudi2022, Algorithm 1 and B.1; Newton's step and general models are ours.

    Example:
        >>> import torch
        >>> from jetprop.ode import ConjugateGradient
        >>> model, x, y = torch.nn.Linear(2, 1).double(), torch.rand(9, 2).double(), torch.rand(9, 1).double()
        >>> optimizer = ConjugateGradient(model)
        >>> for _ in range(3):                      # a quadratic in three unknowns: solved in three steps
        ...     loss = optimizer.step(lambda: torch.nn.functional.mse_loss(model(x), y))
        >>> solution = torch.linalg.lstsq(torch.cat([x, torch.ones(9, 1)], 1), y).solution
        >>> torch.allclose(model.weight.detach(), solution[:2].T)
        True
    """

    def __init__(
        self,
        model: nn.Module,
        beta: Beta = "fletcher_reeves",
        cost: Callable[[Any], Any] | None = None,
        restart_every: int | None = None,
    ) -> None:
        if beta not in BETAS:
            raise ValueError(f"beta is one of {', '.join(get_args(Beta))}; got {beta!r}")
        if restart_every is not None and (isinstance(restart_every, bool) or restart_every < 1):
            raise ValueError(f"restart_every is an integer ≥ 1 or None, got {restart_every!r}")
        names = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if not names:
            raise ValueError("the model has no parameters that require gradients, so there is nothing to train")
        super().__init__(names.values(), {"steps": 0})
        self._run, self._names = _Run(model), list(names)
        self.beta: Beta = beta
        self.cost, self.restart_every = cost, restart_every
        self.status, self.step_length = Status.DONE, 0.0

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Refused after the first: directions and steps are those of all parameters together."""
        if self.param_groups:
            raise ValueError("ConjugateGradient trains the parameters of one model in one group")
        super().add_param_group(param_group)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Tensor:  # type: ignore[override]
        """One step; returns the loss before it, detached.

        Args:
            closure: returns the output of the model if there is a cost, else the loss.

        Raises:
            TypeError: there is no closure, it returns no tensor, or it did not run this model.
            ValueError: the loss is no scalar, or depends on no parameter.
        """
        if closure is None:
            raise TypeError("ConjugateGradient.step needs a closure that returns the loss (with cost: the output)")
        group = self.param_groups[0]
        parameters: list[Tensor] = group["params"]
        with torch.enable_grad():
            output = closure()
            loss = self._loss(output)
            found = torch.autograd.grad(loss, parameters, allow_unused=True)
        if not isinstance(output, Tensor) or not isinstance(loss, Tensor):
            raise TypeError(f"the closure returns a tensor, got {type(output).__name__}")
        gradient = [torch.zeros_like(p) if g is None else g for g, p in zip(found, parameters, strict=True)]
        norm = _dot(gradient, gradient)
        self.step_length = 0.0
        if not (bool(loss.isfinite()) and math.isfinite(norm)):
            return self._end(Status.NOT_FINITE, loss)
        if norm == 0:
            return self._end(Status.VANISHING_DIRECTION, loss)
        fresh = self.restart_every is not None and group["steps"] % self.restart_every == 0
        direction, _ = conjugate(self.beta, gradient, gradient, gradient, None if fresh else self._memory(), _dot)
        eta = self._step_length(closure, output.detach(), parameters, direction)
        if eta is None:
            return self._end(Status.NO_ROOT, loss)
        former = [p.clone() for p in parameters]
        for p, d in zip(parameters, direction, strict=True):
            p.add_(d, alpha=eta)
        if not bool(self._loss(closure()).isfinite()):
            for p, kept in zip(parameters, former, strict=True):
                p.copy_(kept)
            return self._end(Status.NOT_FINITE, loss)
        for p, g, d in zip(parameters, gradient, direction, strict=True):
            self.state[p].update(gradient=g, direction=d)
        group["steps"] += 1
        self.step_length = eta
        return self._end(Status.DONE, loss)

    def _end(self, status: Status, loss: Tensor) -> Tensor:
        self.status = status
        if status is not Status.DONE:
            self.state.clear()  # the next step starts afresh
        return loss.detach()

    def _loss(self, output: Any) -> Any:
        loss = output if self.cost is None else self.cost(output)
        if not isinstance(loss, (Tensor, Jet)):
            raise TypeError(f"the loss is a tensor, got {type(loss).__name__}")
        if loss.numel() != 1:
            raise ValueError(f"the loss is a scalar, got {list(loss.shape)}; take its mean")
        if torch.is_grad_enabled() and not loss.requires_grad:
            raise ValueError(
                "the loss depends on no parameter of the model; does the closure detach, or call backward()?"
            )
        return loss

    def _memory(self) -> Memory | None:
        states = [self.state.get(p, {}) for p in self.param_groups[0]["params"]]
        if not all("direction" in s for s in states):
            return None
        gradient = [s["gradient"] for s in states]
        return Memory(gradient, gradient, [s["direction"] for s in states])

    def _step_length(
        self, closure: Callable[[], Any], output: Tensor, parameters: Tensors, direction: Tensors
    ) -> float | None:
        order = 2 if self.cost is None else 1
        jets = {
            f"model.{name}": Jet.seed(p, d.unsqueeze(0), order=order)
            for name, p, d in zip(self._names, parameters, direction, strict=True)
        }
        found = functional_call(self._run, jets, (closure,))
        if not isinstance(found, Jet):
            raise TypeError(
                "the closure ran without the jets that stand for the parameters: it must call the model that the "
                "optimizer was given, not a copy or a wrapper of it"
            )
        if self.cost is None:
            slope, curvature = float(found.d(0)), float(found.d(0, 0))
            return root_of_slope(lambda eta: (slope + eta * curvature, curvature))
        xi, cost = found.d(0).double(), self.cost

        def along(eta: float) -> tuple[float, float]:
            line = output.double() + eta * xi
            if not bool(line.isfinite().all()):
                return math.nan, math.nan
            jet = cost(Jet.seed(line, xi.unsqueeze(0), order=2))
            return float(jet.d(0)), float(jet.d(0, 0))

        return root_of_slope(along)


class _Run(nn.Module):
    """Runs a closure while parameters of the model are replaced."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, closure: Callable[[], Any]) -> Any:
        """What the closure returns."""
        return closure()


def _dot(a: Tensors, b: Tensors) -> float:
    return float(sum(torch.dot(u.flatten(), v.flatten()) for u, v in zip(a, b, strict=True)))
