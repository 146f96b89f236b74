"""Complex numbers.

Directions are real, so the rows of a complex jet are complex-valued derivatives along real variables. Real part,
imaginary part and conjugate are linear; holomorphic functions follow their derivative towers; magnitude and angle
come from both parts. At 0, where these two have no derivatives, every derivative row is 0, PyTorch's subgradient.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from jetprop.jets import towers
from jetprop.jets.algebra import compose, composition
from jetprop.jets.dispatch import RULES, rule
from jetprop.jets.jet import Jet
from jetprop.jets.kernels import Tower
from jetprop.jets.rules.elementwise import OF_COMPLEX
from jetprop.jets.rules.norms import root
from jetprop.jets.rules.operands import aligned, common_basis, is_jet, jet_of
from jetprop.jets.rules.products import product_of, stacked_rows

__all__: list[str] = []


# ---- parts ----------------------------------------------------------------------------------------------------------


def _of_rows(name: str, function: Callable[[Tensor], Tensor]) -> Callable[[Jet], Jet]:
    def apply(x: Jet) -> Jet:
        return Jet._of(function(x.rows), x.basis)

    apply.__doc__ = f"`torch.{name}`, of every row."
    return apply


for _name in "real imag conj_physical resolve_conj resolve_neg view_as_real view_as_complex".split():
    rule(_name, "linear")(_of_rows(_name, getattr(torch, _name)))
rule("conj", "linear")(_of_rows("conj", torch.conj))


def _to_complex(name: str) -> Callable[[Jet], Jet]:
    return lambda x: Jet._of(getattr(x.rows, name)(), x.basis)


for _name in ("cfloat", "cdouble"):
    rule(_name, "selection")(_to_complex(_name))


@rule("adjoint", "linear")
def adjoint(x: Jet) -> Jet:
    """The last two axes exchanged, conjugated."""
    return x.transpose(-2, -1).conj()


@rule("mH", "linear")
def conjugate_transpose(x: Jet) -> Jet:
    """`adjoint`."""
    return adjoint(x)


@rule("H", "linear")
def conjugate_transpose_of_a_matrix(x: Jet) -> Jet:
    """`adjoint` of a matrix."""
    if x.dim() not in (0, 2):
        raise RuntimeError(f"jet.H is for matrices, got {x.dim()} axes; use jet.mH")
    return adjoint(x) if x.dim() else x.conj()


@rule("complex", "linear")
def complex_of(real: Jet | Tensor, imag: Jet | Tensor) -> Jet:
    """`real + i imag`."""
    basis, like = common_basis(real, imag), real if is_jet(real) else imag
    assert is_jet(like)
    ndim = max(real.dim(), imag.dim())
    return Jet._of(torch.complex(*(aligned(jet_of(part, like).rows, ndim) for part in (real, imag))), basis)


@rule("polar", "composition")
def polar(abs: Jet | Tensor, angle: Jet | Tensor) -> Jet:
    """`abs·(cos angle + i sin angle)`."""
    return torch.complex(abs * torch.cos(angle), abs * torch.sin(angle))  # type: ignore[return-value]


# ---- functions ------------------------------------------------------------------------------------------------------


def holomorphic(x: Jet, tower: Tower) -> Jet:
    """A function with complex derivatives: Faà di Bruno's formula as for real ones, its adjoint left to autograd."""
    rows = x.rows.unbind(0)
    return stacked_rows(compose(composition(x.basis), tower(rows[0], x.basis.order), rows), x.basis)


for _name in """exp exp2 expm1 log log2 log10 log1p sqrt rsqrt reciprocal square sin cos tan sinh cosh tanh
    asin acos atan asinh atanh sigmoid""".split():
    OF_COMPLEX[_name] = holomorphic
OF_COMPLEX["power of a jet"] = holomorphic


def modulus(x: Jet, _: Tower | None = None) -> Jet:
    """`|z| = √(z z̄)`."""
    return root(torch.abs(x.value), product_of(x.conj(), x).real, 2)


def direction(x: Jet, _: Tower | None = None) -> Jet:
    """`z/|z|`, and 0 at 0."""
    zero = x.value == 0
    x = torch.where(zero, 1, x)  # type: ignore[assignment]
    return torch.where(zero, 0, product_of(RULES["reciprocal"].apply(modulus(x)), x))  # type: ignore[return-value]


OF_COMPLEX["abs"] = modulus
OF_COMPLEX["sgn"] = direction


@rule("angle", "composition")
def angle(x: Jet) -> Jet:
    """`Im ln z`; of a real jet 0 or π, without derivatives."""
    value = torch.angle(x.value)
    if not x.is_complex():
        return jet_of(value, x)
    zero = x.value == 0
    logarithm = holomorphic(torch.where(zero, 1, x), towers.log)  # type: ignore[arg-type]
    return torch.where(zero, 0, logarithm.imag)  # type: ignore[return-value]
