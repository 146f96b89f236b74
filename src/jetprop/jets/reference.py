"""Nested reverse mode: slow, independent of the engine's rules, and right.

It is the oracle of the tests and the opt-in road for operations without a rule. Forward mode would be faster, but
nested forward mode of torch 2.13 is silently wrong through layer_norm, batch_norm (training), instance_norm, det and
slogdet; reverse over reverse is not. (Three levels of reverse mode are wrong through batch_norm in training, too:
torch's double-backward formula holds the batch statistics constant. Compose the normalisation yourself there.)
"""

from __future__ import annotations

from collections.abc import Callable
from math import factorial
from typing import Any, Literal

import torch
from torch import Tensor

from jetprop.jets.basis import Basis, Trace
from jetprop.jets.jet import Jet

__all__ = ["push"]


def push(
    function: Callable[[Any], Any], x: Jet, backend: Literal["engine", "reference"] = "engine", create_graph: bool = True
) -> Jet:
    """The jet of `function(x)`.

    Args:
        function: a module or function of one tensor that returns one tensor.
        x: the jet to push through it.
        backend: `"engine"` calls `function(x)`; `"reference"` hands the function plain tensors and differentiates it by
            nested reverse mode: for operations without a rule. Time grows with the number of outputs and about threefold with each order.
        create_graph: reference only: whether the result can be differentiated further (in parameters, in the rows).

    Raises:
        ValueError: another backend.

    Example:
        >>> import torch
        >>> from jetprop.jets import Jet, push
        >>> push(torch.special.i0, Jet.seed(torch.zeros(1, 1), order=2), backend="reference").d(0, 0)
        tensor([[0.5000]])
    """
    if backend == "engine":
        return function(x)
    if backend != "reference":
        raise ValueError(f'backend is "engine" or "reference", got {backend!r}')
    with torch.enable_grad():
        basis, place = x.basis, {d: k for k, d in enumerate(x.basis.directions)}
        t = x.rows.new_zeros(len(place), requires_grad=True)
        found: dict[tuple[int, ...], Tensor] = {(): function(_taylor(x, t, place))}
        rows = []
        for label in basis:
            wanted = [((i, i), w) for i, w in label.weights] if isinstance(label, Trace) else [(label, 1.0)]
            for index, _ in wanted:
                for length in range(1, len(index) + 1):
                    part = index[:length]
                    if part not in found:
                        found[part] = _along(found[part[:-1]], t, place[part[-1]])
            row = sum((w * found[index] for index, w in wanted), torch.zeros_like(found[()]))
            rows.append(row if create_graph else row.detach())
        return Jet(torch.stack(rows), basis)


def _taylor(x: Jet, t: Tensor, place: dict[int, int]) -> Tensor:
    """The polynomial in t whose derivatives at 0 are the rows."""
    total = x.rows[0]
    for row, label in enumerate(x.basis):
        if isinstance(label, Trace):
            # Any path with this trace serves; the first direction takes the whole of what the pure rows leave.
            (first, weight), pure = label.weights[0], [(i, i) for i, _ in label.weights]
            if any(index in x.basis for index in pure):
                raise ValueError(f"the reference backend takes {label} or the pure second derivatives, not both")
            total = total + x.rows[row] / weight * t[place[first]] ** 2 / 2
        elif label:
            total = total + x.rows[row] * _monomial(label, t, place)
    return total


def _monomial(label: tuple[int, ...], t: Tensor, place: dict[int, int]) -> Tensor:
    product = t.new_ones(())
    for direction in set(label):
        count = label.count(direction)
        product = product * t[place[direction]] ** count / factorial(count)
    return product


def _along(y: Tensor, t: Tensor, k: int) -> Tensor:
    """∂y/∂t_k for a tensor y, one entry of y after the other: one level of reverse mode for each order, no more.

    The trick of differentiating a vector-Jacobian product in its vector needs two levels an order, and torch's formulas
    do not hold that deep: its third reverse derivative of batch_norm (training) is silently wrong.
    """
    if not y.requires_grad:
        return torch.zeros_like(y)
    entries = [torch.autograd.grad(e, t, create_graph=True, allow_unused=True)[0] for e in y.reshape(-1).unbind(0)]
    zero = t.new_zeros(())
    return torch.stack([zero if g is None else g[k] for g in entries]).reshape(y.shape).to(y.dtype)
