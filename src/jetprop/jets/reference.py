"""Nested reverse mode: slow, independent of the engine's rules, and right.

It is the oracle of the tests and the opt-in road for operations without a rule. Forward mode would be faster, but
nested forward mode of torch 2.13 is silently wrong through layer_norm, batch_norm (training), instance_norm, det and
slogdet; reverse over reverse is not. (Three levels of reverse mode are wrong through layer_norm and, in
training, batch_norm, too: torch's double-backward formula holds the statistics constant. Compose the normalisation
yourself there.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from jetprop.jets.basis import Index, Label, Trace
from jetprop.jets.jet import Jet

__all__ = ["push"]


def push(
    function: Callable[[Any], Any],
    x: Jet,
    backend: Literal["engine", "reference"] = "engine",
    create_graph: bool = True,
) -> Jet:
    """The jet of `function(x)`.

    Args:
        function: a module or function of one tensor that returns one tensor.
        x: the jet to push through it.
        backend: `"engine"` calls `function(x)`; `"reference"` hands the function plain tensors and differentiates it by
            nested reverse mode: for operations without a rule. Time grows with the number of outputs, and about
            threefold with each order.
        create_graph: reference only: whether the result can be differentiated further (in parameters, in the rows).

    Raises:
        ValueError: another backend.

    Example:
        >>> import torch
        >>> from jetprop.jets import Jet, push
        >>> x = Jet.seed(torch.zeros(1, 1), order=2)
        >>> push(torch.special.i0, x, backend="reference", create_graph=False).d(0, 0)
        tensor([[0.5000]])
    """
    if backend == "engine":
        return function(x)
    if backend != "reference":
        raise ValueError(f'backend is "engine" or "reference", got {backend!r}')
    with torch.enable_grad():
        basis, place = x.basis, {d: k for k, d in enumerate(x.basis.directions)}
        t = x.rows.new_zeros(len(place), requires_grad=True)
        y = function(_taylor(x, t, place))
        derivatives = _Derivatives(y, t)
        rows = []
        for label in basis:
            terms = [((i, i), w) for i, w in label.weights] if isinstance(label, Trace) else [(label, 1.0)]
            row = sum((w * derivatives[tuple(place[i] for i in index)] for index, w in terms), torch.zeros_like(y))
            rows.append(row if create_graph else row.detach())
        return Jet(torch.stack(rows), basis)


def _taylor(x: Jet, t: Tensor, place: dict[int, int]) -> Tensor:
    """The polynomial in t whose derivatives at 0 are the rows."""
    if len(x.basis) == 1:
        return x.rows[0]
    along, traced = t.unbind(0), set()
    monomials: dict[Label, Tensor] = {(): t.new_ones(())}
    for label in x.basis.labels[1:]:
        if isinstance(label, Trace):
            # Any path with this trace serves: the first direction takes all of it.
            directions = {i for i, _ in label.weights}
            if traced & directions or any((i, i) in x.basis for i in directions):
                raise ValueError(
                    f"the reference backend takes one trace along a direction and no pure second derivative beside it, "
                    f"got {label} in {x.basis!r}; push them one after the other"
                )
            traced |= directions
            monomials[label] = along[place[label.weights[0][0]]] ** 2 / (2 * label.weights[0][1])
        else:
            # t_i t_j … / (multiplicities)!; the last direction comes last in a label, as often as it is counted.
            monomials[label] = monomials[label[:-1]] * along[place[label[-1]]] / label.count(label[-1])
    return x.rows[0] + torch.tensordot(torch.stack([monomials[label] for label in x.basis.labels[1:]]), x.rows[1:], 1)


class _Derivatives:
    """The derivatives of y along entries of t, one entry of y after the other: a level of reverse mode for each order.

    The trick of differentiating a vector-Jacobian product in its vector needs two levels an order, and torch's formulas
    do not hold that deep: its third reverse derivative of batch_norm (training) is silently wrong.
    """

    def __init__(self, y: Tensor, t: Tensor) -> None:
        self.y, self.t = y, t
        self.zero = t.new_zeros(())
        # Lists of scalars: a stack in between would send zeros through the graphs of all other entries.
        self.entries: dict[Index, list[Tensor]] = {(): list(y.reshape(-1).unbind(0))}
        self.slopes: dict[Index, list[Tensor | None]] = {}

    def __getitem__(self, index: Index) -> Tensor:
        if not index or not self.y.numel():
            return self.y
        return torch.stack(self._entries(index)).reshape(self.y.shape).to(self.y.dtype)

    def _entries(self, index: Index) -> list[Tensor]:
        if index not in self.entries:
            *start, last = index
            prefix = tuple(start)
            if prefix not in self.slopes:
                self.slopes[prefix] = [self._slope(entry) for entry in self._entries(prefix)]
            self.entries[index] = [self.zero if slope is None else slope[last] for slope in self.slopes[prefix]]
        return self.entries[index]

    def _slope(self, entry: Tensor) -> Tensor | None:
        if not entry.requires_grad:
            return None
        return torch.autograd.grad(entry, self.t, create_graph=True, allow_unused=True)[0]
