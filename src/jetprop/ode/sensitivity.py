"""The neural sensitivity problem: how perturbations of inputs and parameters propagate, to first order and in fact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from jetprop.jets import Jet, functional_call
from jetprop.ode.adjoint import adjoint
from jetprop.ode.model import DepthVaryingODE, StandaloneODE

__all__ = ["Propagation", "jacobian", "propagation", "sensitivity"]


def sensitivity(
    model: nn.Module,
    x: Tensor,
    xi: Tensor | None = None,
    parameters: Mapping[str, Tensor] | None = None,
    trajectory: bool = False,
) -> Jet:
    """Solve the neural sensitivity problem (2): the state, and its derivative ξ along a direction.

        ξ' = σ'(W x + b) ⊙ (ω x + β + W ξ),    ξ(0) = ξ⁰

    It is the engine's first-order jet of the model, whatever the model is.

    Args:
        model: any module that the engine covers.
        x: inputs, `[batch, …]`.
        xi: ξ⁰, of the shape of x; None for 0.
        parameters: directions in parameters by their dotted names, {"weight": ω, "bias": β} for a neural ODE; those
            not named stay fixed.
        trajectory: whether to return all states, `[batch, states, …]`, the input first: those of a neural ODE, or those
            after every module of an `nn.Sequential` that keeps the shape, as a residual network does.

    Returns:
        A jet with two rows: the state x, and ξ, its `.d(0)`.

    Raises:
        ValueError: there is no direction, a shape does not fit, or the model has no trajectory.
        KeyError: the model has no parameter of a name.

    Source:
        jaroudi2022, (2), (12).

    Example:
        >>> import torch
        >>> from jetprop.ode import StandaloneODE, sensitivity
        >>> model, x = StandaloneODE(3, steps=5), torch.rand(4, 3)
        >>> sensitivity(model, x, torch.ones_like(x)).d(0).shape
        torch.Size([4, 3])
        >>> omega = torch.ones_like(model.weight)
        >>> sensitivity(model, x, parameters={"weight": omega}, trajectory=True).d(0).shape
        torch.Size([4, 6, 3])
    """
    if xi is None and not parameters:
        raise ValueError("give a direction: xi in the inputs, parameters={name: direction}, or both")
    start: Any = x
    if xi is not None:
        if xi.shape != x.shape:
            raise ValueError(f"xi has the shape of x, {list(x.shape)}, got {list(xi.shape)}")
        start = Jet.seed(x, xi.unsqueeze(0))
    own = dict(model.named_parameters(remove_duplicate=False))
    jets = {}
    for name, direction in (parameters or {}).items():
        if name not in own:
            raise KeyError(f"{type(model).__name__} has no parameter {name!r}; it has {sorted(own)}")
        if direction.shape != own[name].shape:
            raise ValueError(
                f"the direction of {name!r} has the shape {list(direction.shape)}, expected {list(own[name].shape)}"
            )
        jets[f"model.{name}"] = Jet.seed(own[name], direction.unsqueeze(0))
    found = functional_call(_States(model, trajectory), jets, (start,))
    if not isinstance(found, Jet):
        raise ValueError(
            f"the output of {type(model).__name__} depends on none of the directions: are the named parameters in use?"
        )
    return found


class _States(nn.Module):
    """A model that returns its output, or its states."""

    def __init__(self, model: nn.Module, trajectory: bool) -> None:
        super().__init__()
        self.model, self.trajectory = model, trajectory

    def forward(self, x: Any) -> Any:
        """The output, or states along axis 1."""
        if not self.trajectory:
            return self.model(x)
        if isinstance(self.model, DepthVaryingODE):
            return self.model(x, trajectory=True)
        if not isinstance(self.model, nn.Sequential):
            raise ValueError(
                f"{type(self.model).__name__} has no trajectory: that is defined for StandaloneODE, ConvolutionalODE "
                f"and an nn.Sequential of blocks"
            )
        states: list[Any] = [x]
        for place, block in enumerate(self.model):
            states.append(block(states[-1]))
            if states[-1].shape != x.shape:
                raise ValueError(
                    f"block {place} turns states {list(x.shape)} into {list(states[-1].shape)}; a trajectory needs "
                    f"blocks that keep the shape"
                )
        last = states[-1]
        if isinstance(last, Jet):  # states before the first perturbed parameter are still plain
            states = [s if isinstance(s, Jet) else Jet.constant(s, last.basis) for s in states]
        return torch.stack(states, dim=1)


@dataclass(frozen=True, eq=False)
class Propagation:
    """How a perturbation of the input grows on its way: norms for each sample and state, `[B, S]`, the input first.

    Args:
        estimated: ‖ξ(t)‖ / ‖x(t)‖.
        measured: ‖δ(t)‖ / ‖x(t)‖, δ being the difference of the states from perturbed and from clean inputs.
        error: ‖ξ(t) − δ(t)‖ / ‖ξ(t)‖, relative.
    """

    estimated: Tensor
    measured: Tensor
    error: Tensor


def propagation(model: nn.Module, x: Tensor, xi: Tensor) -> Propagation:
    """Compare the sensitivity problem with what a perturbation of the inputs really does.

    Where a state or ξ is zero, a ratio is infinite or NaN.

    Args:
        model: a neural ODE, or an `nn.Sequential` of blocks that keep the shape.
        x: inputs, `[B, …]`.
        xi: the perturbation ξ⁰, of that shape; the paper's is normal with standard deviation 0.01.

    Raises:
        ValueError: as of `sensitivity`.

    Source:
        jaroudi2022, section 5 and appendix C, Figs. 4, 7, 8 (estimated, measured), 9, 10 (error).

    Example:
        >>> import torch
        >>> from jetprop.ode import StandaloneODE, propagation
        >>> model = StandaloneODE(3, steps=5, activation="identity").double()
        >>> x = torch.rand(4, 3, dtype=torch.float64)
        >>> bool(propagation(model, x, 0.1 * torch.rand_like(x)).error.max() < 1e-12)     # linear: exact
        True
    """
    with torch.no_grad():
        jet = sensitivity(model, x, xi, trajectory=True)
        moved = _States(model, True)(x + xi)
        state, estimate, delta = (_norms(t) for t in (jet.value, jet.d(0), moved - jet.value))
        return Propagation(estimate / state, delta / state, _norms(jet.d(0) - (moved - jet.value)) / estimate)


def _norms(states: Tensor) -> Tensor:
    return states.flatten(2).norm(dim=2)


def jacobian(model: nn.Module, x: Tensor, rows: Sequence[int] | None = None) -> Tensor:
    """P with ξ(T) = P ξ⁰, for each sample: whole, or only the rows asked for.

    The whole of it comes by carrying the identity, which takes as many rows as the input has components; chosen rows
    by the adjoint, one backward sweep each, which is cheaper for few.

    Args:
        model: any module that the engine covers, in which the samples of a batch do not mix.
        x: inputs, `[B, …]`, N components each.
        rows: which components of the output; None for all.

    Returns:
        `[B, A, N]`, inputs and outputs flattened; A is the number of rows. No autograd graph.

    Raises:
        ValueError: a row is no component of the output.

    Source:
        jaroudi2022, D.1.

    Example:
        >>> import torch
        >>> from jetprop.ode import StandaloneODE, jacobian
        >>> model, x = StandaloneODE(4, steps=5), torch.rand(2, 4)
        >>> whole = jacobian(model, x)
        >>> torch.allclose(jacobian(model, x, rows=[0, 2]), whole[:, [0, 2]])
        True
    """
    if rows is None:
        size = x[0].numel()
        identity = torch.eye(size, dtype=x.dtype, device=x.device).reshape(size, 1, *x.shape[1:])
        with torch.no_grad():
            jet = model(Jet.seed(x, identity.expand(size, *x.shape)))
            return jet.first.flatten(2).movedim(0, -1)
    with torch.enable_grad():
        start = x.detach().requires_grad_()
        adjoint_of_euler = isinstance(model, StandaloneODE) and model.solver == "euler"
        output = start if adjoint_of_euler else model(start).flatten(1)
    for row in rows:
        if isinstance(row, bool) or not isinstance(row, int) or not 0 <= row < output.shape[1]:
            raise ValueError(f"rows are components of the output, 0 … {output.shape[1] - 1}, got {row!r}")
    if adjoint_of_euler and isinstance(model, StandaloneODE):
        unit = torch.eye(model.width, dtype=x.dtype, device=x.device)[list(rows)]
        return adjoint(model, x, unit.expand(len(x), -1, -1), trajectory=False)
    found = [torch.autograd.grad(output[:, row].sum(), start, retain_graph=True)[0].flatten(1) for row in rows]
    return torch.stack(found, dim=1) if found else x.new_zeros(len(x), 0, x[0].numel())
