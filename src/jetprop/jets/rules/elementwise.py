"""Elementwise functions: each gives its derivative tower, the engine does the rest (Faà di Bruno, explicit adjoint)."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from jetprop.jets import towers
from jetprop.jets.dispatch import rule
from jetprop.jets.jet import Jet
from jetprop.jets.kernels import Tower, apply_tower
from jetprop.jets.rules.operands import is_jet

__all__ = ["OF_COMPLEX", "KinkWarning", "elementwise", "warn_of_kink"]


class KinkWarning(UserWarning):
    """A piecewise linear function met a jet of order ≥ 2: its second derivative is zero almost everywhere."""


_warned: set[str] = set()


def elementwise(name: str, *spellings: str | Callable, kink: bool = False) -> Callable[[Callable], Callable]:
    """Register an elementwise function by its derivative tower.

    The tower is a function `(z, order, **options) -> [f(z), f'(z), …, f⁽ᵒʳᵈᵉʳ⁾(z)]` of differentiable tensor
    operations; None stands for a derivative that vanishes identically. Its options are those of the operator, in
    order, with their defaults; an `inplace` option of the operator is understood without being named.

    Args:
        name: the ATen name.
        spellings: further names, or the Python functions themselves.
        kink: whether second derivatives are zero almost everywhere, which orders ≥ 2 then warn of, once.

    Raises:
        ValueError: the name or a spelling has a rule already.

    Example:
        >>> import torch
        >>> from jetprop.jets import Jet, elementwise
        >>> def cube(x): return torch.overrides.handle_torch_function(cube, (x,), x)
        >>> @elementwise("cube", cube)
        ... def _(z, order):
        ...     return [z**3, 3 * z**2, 6 * z, 6 * torch.ones_like(z), None][: order + 1] + [None] * (order - 4)
        >>> cube(Jet.seed(torch.tensor([[2.0]]), order=2)).d(0, 0)
        tensor([[12.]])
    """

    def register(tower: Callable) -> Callable:
        options = list(inspect.signature(tower).parameters.values())[2:]
        defaults = {p.name: p.default for p in options}
        names = tuple(defaults)

        def apply(x: Jet, *args: Any, **kwargs: Any) -> Jet:
            if not is_jet(x):
                raise TypeError(f"{name}: only the input may be a jet, its options are numbers")
            inplace = kwargs.pop("inplace", False)
            if len(args) > len(names):
                inplace, args = args[-1], args[:-1]
            if len(args) > len(names) or not isinstance(inplace, bool):
                raise TypeError(f"{name} on a jet takes {list(names)} and inplace, got {(*args, inplace)}")
            chosen = {**defaults, **dict(zip(names, args, strict=False)), **kwargs}
            _check_options(name, chosen, defaults)
            if x.is_complex():
                return _of_complex(name, x, _bound(tower, tuple(chosen.items())), inplace)
            if kink:
                warn_of_kink(name, x.basis.order)
            source = x.rows.clone() if inplace else x.rows
            rows = _rows_of(source, _bound(tower, tuple(chosen.items())), x, name)
            if inplace:
                x.rows.copy_(rows)
                return x
            return Jet._of(rows, x.basis)

        rule(name, "elementwise", *spellings)(apply)
        return tower

    return register


OF_COMPLEX: dict[str, Callable[[Jet, Tower], Jet]] = {}
"""What functions do on complex jets, given the tower with its options; those not named here refuse them."""


def _of_complex(name: str, x: Jet, tower: Tower, inplace: bool) -> Jet:
    if name not in OF_COMPLEX:
        raise TypeError(
            f"{name} of a complex jet has no rule: it is not holomorphic, or not known to be; apply it to jet.real and "
            f"jet.imag, or to jet.abs(). Complex jets go through: {', '.join(sorted(OF_COMPLEX))}"
        )
    out = OF_COMPLEX[name](x, tower)
    if inplace:
        x.rows.copy_(out.rows)
        return x
    return out


_towers: dict[tuple, Tower] = {}


def _bound(tower: Callable, options: tuple[tuple[str, Any], ...]) -> Tower:
    """The tower with its options chosen, the same object for the same choice (kernels are keyed by it)."""
    if not options:
        return tower
    if torch.compiler.is_compiling():
        return partial(tower, **dict(options))
    if (tower, options) not in _towers:
        _towers[tower, options] = partial(tower, **dict(options))
    return _towers[tower, options]


def _check_options(name: str, chosen: dict[str, Any], defaults: dict[str, Any]) -> None:
    for key, option in chosen.items():
        if key not in defaults:
            raise TypeError(f"{name} on a jet knows the options {list(defaults)}, got {key!r}")
        if isinstance(option, (Tensor, Jet)):
            raise TypeError(f"{name} on a jet needs a number for {key!r}, got {type(option).__name__}")
        if option is inspect.Parameter.empty:
            raise TypeError(f"{name} on a jet needs the option {key!r}")


def warn_of_kink(name: str, order: int) -> None:
    """Warn, once for each function, that a piecewise linear one has no second derivatives of its own."""
    if order < 2 or name in _warned or torch.compiler.is_compiling():
        return
    _warned.add(name)
    warnings.warn(
        f"{name} is piecewise linear: at order ≥ 2 its own second derivatives are zero almost everywhere, so it only "
        f"carries those of its input; train second derivatives through a smooth activation (GELU, SiLU, tanh, …)",
        KinkWarning,
        stacklevel=4,
    )


def _rows_of(rows: Tensor, tower: Tower, x: Jet, name: str) -> Tensor:
    device = rows.device.type
    if torch.is_autocast_enabled(device):
        dtype = tower(x.value.detach().flatten()[:0], 0)[0].dtype  # type: ignore[union-attr]
        with torch.autocast(device, enabled=False):
            return apply_tower(rows.to(dtype), tower, x.basis, name)
    return apply_tower(rows, tower, x.basis, name)


elementwise("sigmoid", "expit")(towers.sigmoid)
elementwise("clamp to numbers", kink=True)(towers.clamp)

elementwise("abs", "absolute", kink=True)(towers.abs)

for _name in """tanh tan exp expm1 exp2 sqrt rsqrt reciprocal square log log1p log2 log10 sin cos sinh cosh
    erf erfc silu gelu softplus mish elu celu selu softsign tanhshrink""".split():
    elementwise(_name)(getattr(towers, _name))

elementwise("lgamma", "gammaln")(towers.lgamma)
elementwise("digamma", "psi")(towers.digamma)

for _name in "asin acos atan asinh acosh atanh".split():
    elementwise(_name, f"arc{_name[1:]}")(getattr(towers, _name))

for _name in "relu relu6 leaky_relu hardtanh hardsigmoid hardswish hardshrink softshrink threshold".split():
    elementwise(_name, kink=_name != "hardswish")(getattr(towers, _name))

elementwise("log_sigmoid", "logsigmoid")(towers.log_sigmoid)

for _name, _aliases in {"sign": (), "sgn": (), "floor": (), "ceil": (), "round": (), "trunc": ("fix",)}.items():
    elementwise(_name, *_aliases)(towers.stepwise(getattr(torch, _name)))
