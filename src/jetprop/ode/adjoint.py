"""The exact adjoint of Euler's method (8) and the gradients (6), (7)."""

from __future__ import annotations

import torch
from torch import Tensor

from jetprop.ode.activations import value_and_slope
from jetprop.ode.cost import Cost
from jetprop.ode.model import DepthVaryingODE, StandaloneODE

__all__ = ["adjoint", "cost_and_gradient"]


def adjoint(model: StandaloneODE, x: Tensor, terminal: Tensor, trajectory: bool = True) -> Tensor:
    """Solve the adjoint problem (8) backwards from λ(T), exactly as Euler's method has it.

        λ_l = λ_{l+1} + (T/L) W_lᵀ (σ'(W_l x_l + b_l) ⊙ λ_{l+1})

    λ_l is the derivative with respect to x_l of whatever has the derivative λ(T) with respect to x(T): a cost, or, for
    unit vectors, components of the output, which makes λ_0 rows of the Jacobian P.

    Args:
        model: solved by Euler's method.
        x: inputs, `[B, N]`.
        terminal: λ(T), `[B, N]`, or `[B, A, N]` for A of them at a time.
        trajectory: whether to return λ at the ends of all cells, or λ_0 alone.

    Returns:
        λ at the ends of all cells, `[B, steps + 1, N]` or `[B, steps + 1, A, N]`, that of the input first; or λ_0, of
        the shape of `terminal`. No autograd graph.

    Raises:
        ValueError: the model is solved adaptively, or shapes do not fit.

    Source:
        jaroudi2022, (8); the sign in the last line of A.3 is a slip.

    Example:
        >>> import torch
        >>> from jetprop.ode import StandaloneODE, adjoint
        >>> adjoint(StandaloneODE(3, steps=4), torch.rand(2, 3), torch.ones(2, 3)).shape
        torch.Size([2, 5, 3])
    """
    _only_dense_euler(model)
    if terminal.dim() not in (2, 3) or terminal.shape[0] != x.shape[0] or terminal.shape[-1] != model.width:
        raise ValueError(
            f"λ(T) is [{x.shape[0]}, {model.width}] or [{x.shape[0]}, A, {model.width}], got {list(terminal.shape)}"
        )
    with torch.no_grad():
        _, _, slopes = _record(model, x)
        lam, found = terminal, [terminal]
        for slope, weight in zip(reversed(slopes), reversed(model.weight.unbind(0)), strict=True):
            weighted = (slope if lam.dim() == 2 else slope.unsqueeze(1)) * lam
            lam = lam + model.dt * (weighted @ weight)
            if trajectory:
                found.append(lam)
        return torch.stack(found[::-1], dim=1) if trajectory else lam


def cost_and_gradient(model: DepthVaryingODE, x: Tensor, y: Tensor, cost: Cost) -> tuple[float, Tensor, list[Tensor]]:
    """E, the output, and the gradient of E in L²(0, T).

        E'_ω = μ4 W_l + (1/K) Σ_k (σ'(W_l x_kl + b_l) ⊙ λ_k,l+1) x_klᵀ,    E'_β = μ4 b_l + (1/K) Σ_k σ'(…) ⊙ λ_k,l+1

    The derivative of the discrete E with respect to W_l is T/L times this.

    Args:
        model: any; Euler's method on a dense network runs the adjoint above, others go through autograd.
        x: inputs, `[B, …]`.
        y: targets, of that shape.
        cost: (3).

    Returns:
        E; x(T); and the gradients with respect to `weight` and `bias`, of their shapes. No autograd graph.

    Source:
        jaroudi2022, (6), which is an outer product, and (7).
    """
    parameters = [model.weight.detach(), model.bias.detach()]
    if isinstance(model, StandaloneODE) and model.solver == "euler":
        with torch.no_grad():
            output, states, slopes = _record(model, x)
            lam = cost.terminal(output, y)
            weighted = []
            for slope, weight in zip(reversed(slopes), reversed(parameters[0].unbind(0)), strict=True):
                weighted.append(slope * lam)
                lam = torch.addmm(lam, weighted[-1], weight, alpha=model.dt)
            by_cell = torch.stack(weighted[::-1])
            share = 1 / x.shape[0]
            gradient = (
                torch.baddbmm(parameters[0], by_cell.mT, torch.stack(states), beta=cost.mu4, alpha=share),
                cost.mu4 * parameters[1] + by_cell.mean(1),
            )
            data = cost.of_output(output, y)
    else:
        with torch.enable_grad():
            output = model(x)
            data = cost.of_output(output, y)
            raw = torch.autograd.grad(data, [model.weight, model.bias])
        gradient = tuple(g / model.dt + cost.mu4 * p for g, p in zip(raw, parameters, strict=True))
    total = data.detach() + cost.of_parameters(parameters, model.dt)
    return float(total), output.detach(), list(gradient)


def _record(model: StandaloneODE, x: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """x(T), the states that enter the cells, and σ' in each."""
    model.check_input(x)
    states, slopes = [], []
    for weight, bias in model.cells():
        value, slope = value_and_slope(model.activation, model.affine(x, weight, bias))
        states.append(x)
        slopes.append(slope)
        x = x + model.dt * value
    return x, states, slopes


def _only_dense_euler(model: StandaloneODE) -> None:
    if not isinstance(model, StandaloneODE) or model.solver != "euler":
        what = f"{type(model).__name__}(solver={getattr(model, 'solver', None)!r})"
        raise ValueError(
            f'the discrete adjoint is that of StandaloneODE with solver="euler", got {what}; use autograd for others'
        )
