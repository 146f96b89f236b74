"""Derivative towers: f, f', f'', … of one-variable functions, exact to any order.

A tower is a function `(z, order, **options) -> [f(z), f'(z), …]`, made of differentiable tensor operations; None
stands for a derivative that vanishes identically. Towers of composite functions come from those of their parts, by
the same algebra that carries jets, over one direction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from jetprop.jets.algebra import Composition, compose, composition, product
from jetprop.jets.basis import Basis
from jetprop.jets.remember import remembered

__all__ = ["TowerOf", "chain", "times"]

TowerOf = Sequence["Tensor | None"]
"""[f(z), f'(z), …]; None stands for a derivative that vanishes identically."""


@remembered
def _line(order: int) -> Basis:
    return Basis.directional(1, order)


@remembered
def _formula(order: int) -> Composition:
    return composition(_line(order))


def chain(outer: Sequence[Tensor | None], inner: Sequence[Tensor | None]) -> TowerOf:
    """The tower of f∘g from the tower of f at g(z) and the tower of g at z."""
    return compose(_formula(len(inner) - 1), outer, inner)


def times(u: Sequence[Tensor | None], v: Sequence[Tensor | None]) -> TowerOf:
    """The tower of u·v."""
    return product(_line(len(u) - 1), u, v)


def identity(z: Tensor, order: int) -> TowerOf:
    """`z, 1, 0, …`."""
    return [z, torch.ones_like(z), *[None] * (order - 1)][: order + 1]


def _polynomial_tower(value: Tensor, polynomials: Sequence[Sequence[float]], first: Tensor) -> TowerOf:
    """[value, p₁(value), …]; p₁ is passed ready-made as `first`."""
    out: list[Tensor | None] = [value]
    for k, coefficients in enumerate(polynomials[1:], start=1):
        if k == 1:
            out.append(first)
            continue
        total = torch.full_like(value, coefficients[-1])
        for c in reversed(coefficients[:-1]):
            total = total * value + c
        out.append(total)
    return out


@remembered
def _iterated(order: int, factor: tuple[float, ...]) -> tuple[tuple[float, ...], ...]:
    """p₀ = x, p_{k+1} = p_k' · factor: the derivatives of a solution of f' = factor(f), as polynomials in f."""
    out: list[tuple[float, ...]] = [(0.0, 1.0)]
    for _ in range(order):
        slope = [i * c for i, c in enumerate(out[-1])][1:] or [0.0]
        raised = [0.0] * (len(slope) + len(factor) - 1)
        for i, a in enumerate(slope):
            for j, b in enumerate(factor):
                raised[i + j] += a * b
        out.append(tuple(raised))
    return tuple(out)


def sigmoid(z: Tensor, order: int) -> TowerOf:
    """`s = 1/(1+e⁻ᶻ), s(1−s), s(1−s)(1−2s), …`."""
    s = torch.sigmoid(z)
    if order <= 3:
        d = s * (1 - s)
        return [s, d, d * (1 - 2 * s), d * (1 - 6 * d)][: order + 1]
    return _polynomial_tower(s, _iterated(order, (0.0, 1.0, -1.0)), s * (1 - s))


def tanh(z: Tensor, order: int) -> TowerOf:
    """`t, 1−t², −2t(1−t²), …`."""
    t = torch.tanh(z)
    if order <= 3:
        d = 1 - t * t
        return [t, d, -2 * t * d, d * (6 * t * t - 2)][: order + 1]
    return _polynomial_tower(t, _iterated(order, (1.0, 0.0, -1.0)), 1 - t * t)


def tan(z: Tensor, order: int) -> TowerOf:
    """`t, 1+t², 2t(1+t²), …`."""
    t = torch.tan(z)
    return _polynomial_tower(t, _iterated(order, (1.0, 0.0, 1.0)), 1 + t * t)


def exp(z: Tensor, order: int) -> TowerOf:
    """`eᶻ, eᶻ, …`."""
    return [torch.exp(z)] * (order + 1)


def expm1(z: Tensor, order: int) -> TowerOf:
    """`eᶻ − 1, eᶻ, …`."""
    return [torch.expm1(z), *[torch.exp(z)] * order]


def exp2(z: Tensor, order: int) -> TowerOf:
    """2ᶻ (ln 2)ᵏ."""
    e = torch.exp2(z)
    return [e * math.log(2) ** k if k else e for k in range(order + 1)]


def pow(z: Tensor, order: int, exponent: float) -> TowerOf:
    """zᵖ, p zᵖ⁻¹, p(p−1) zᵖ⁻², …; exactly zero above an integer p ≥ 0."""
    out: list[Tensor | None] = [torch.pow(z, exponent)]
    factor = 1.0
    for k in range(order):
        factor *= exponent - k
        out.append(None if factor == 0 else factor * torch.pow(z, exponent - k - 1))
    return out


def sqrt(z: Tensor, order: int) -> TowerOf:
    """√z and its derivatives."""
    return [torch.sqrt(z), *pow(z, order, 0.5)[1:]]


def rsqrt(z: Tensor, order: int) -> TowerOf:
    """1/√z and its derivatives."""
    return [torch.rsqrt(z), *pow(z, order, -0.5)[1:]]


def reciprocal(z: Tensor, order: int) -> TowerOf:
    """`1/z, −1/z², 2/z³, …`."""
    r = torch.reciprocal(z)
    out: list[Tensor | None] = [r]
    for k in range(1, order + 1):
        out.append(out[-1] * r * -k)  # type: ignore[operator]
    return out


def square(z: Tensor, order: int) -> TowerOf:
    """`z², 2z, 2, 0, …`."""
    return [torch.square(z), 2 * z, torch.full_like(z, 2.0), *[None] * (order - 2)][: order + 1]


def log(z: Tensor, order: int) -> TowerOf:
    """`ln z, 1/z, −1/z², …`."""
    return [torch.log(z), *(reciprocal(z, order - 1) if order else [])]


def log1p(z: Tensor, order: int) -> TowerOf:
    """`ln(1+z), 1/(1+z), …`."""
    return [torch.log1p(z), *(reciprocal(1 + z, order - 1) if order else [])]


def _scaled(tower: TowerOf, factor: float) -> list[Tensor | None]:
    return [t if t is None else factor * t for t in tower]


def log2(z: Tensor, order: int) -> TowerOf:
    """log₂ z and its derivatives."""
    return [torch.log2(z), *_scaled(log(z, order)[1:], 1 / math.log(2))]


def log10(z: Tensor, order: int) -> TowerOf:
    """log₁₀ z and its derivatives."""
    return [torch.log10(z), *_scaled(log(z, order)[1:], 1 / math.log(10))]


def _cycle(order: int, *period: Tensor) -> TowerOf:
    return [period[k % len(period)] for k in range(order + 1)]


def sin(z: Tensor, order: int) -> TowerOf:
    """`sin, cos, −sin, −cos, …`."""
    s, c = torch.sin(z), torch.cos(z)
    return _cycle(order, s, c, -s, -c)


def cos(z: Tensor, order: int) -> TowerOf:
    """`cos, −sin, −cos, sin, …`."""
    s, c = torch.sin(z), torch.cos(z)
    return _cycle(order, c, -s, -c, s)


def sinh(z: Tensor, order: int) -> TowerOf:
    """`sinh, cosh, …`."""
    return _cycle(order, torch.sinh(z), torch.cosh(z))


def cosh(z: Tensor, order: int) -> TowerOf:
    """`cosh, sinh, …`."""
    return _cycle(order, torch.cosh(z), torch.sinh(z))


def _antiderivative(value: Tensor, outer: Callable[[Tensor, int], TowerOf], inner: TowerOf, order: int) -> TowerOf:
    """The tower of a function with known value whose derivative is outer(inner(z))."""
    if order == 0:
        return [value]
    return [value, *chain(outer(inner[0], order - 1), inner[:order])]  # type: ignore[arg-type]


def _quadratic(z: Tensor, order: int, constant: float, factor: float) -> TowerOf:
    """`constant + factor·z²`."""
    return [constant + factor * z * z, *_scaled(square(z, max(order, 1))[1:], factor)][: order + 1]


def asin(z: Tensor, order: int) -> TowerOf:
    """`f' = (1 − z²)^(−1/2)`."""
    return _antiderivative(torch.asin(z), rsqrt, _quadratic(z, order, 1, -1), order)


def acos(z: Tensor, order: int) -> TowerOf:
    """`f' = −(1 − z²)^(−1/2)`."""
    return [torch.acos(z), *_scaled(asin(z, order)[1:], -1)]


def atan(z: Tensor, order: int) -> TowerOf:
    """`f' = 1/(1 + z²)`."""
    return _antiderivative(torch.atan(z), reciprocal, _quadratic(z, order, 1, 1), order)


def asinh(z: Tensor, order: int) -> TowerOf:
    """`f' = (1 + z²)^(−1/2)`."""
    return _antiderivative(torch.asinh(z), rsqrt, _quadratic(z, order, 1, 1), order)


def acosh(z: Tensor, order: int) -> TowerOf:
    """`f' = (z² − 1)^(−1/2)`."""
    return _antiderivative(torch.acosh(z), rsqrt, _quadratic(z, order, -1, 1), order)


def atanh(z: Tensor, order: int) -> TowerOf:
    """`f' = 1/(1 − z²)`."""
    return _antiderivative(torch.atanh(z), reciprocal, _quadratic(z, order, 1, -1), order)


def _gauss(z: Tensor, order: int, factor: float, rate: float) -> list[Tensor]:
    """`factor · exp(−rate z²)` and its derivatives: g⁽ᵏ⁺¹⁾ = −2 rate (z g⁽ᵏ⁾ + k g⁽ᵏ⁻¹⁾)."""
    out = [factor * torch.exp(-rate * z * z)]
    for k in range(order):
        following = z * out[k]
        if k:
            following = following + k * out[k - 1]
        out.append(-2 * rate * following)
    return out


def erf(z: Tensor, order: int) -> TowerOf:
    """`f' = 2/√π e^(−z²)`."""
    return [torch.erf(z), *(_gauss(z, order - 1, 2 / math.sqrt(math.pi), 1.0) if order else [])]


def erfc(z: Tensor, order: int) -> TowerOf:
    """1 − erf."""
    return [torch.erfc(z), *_scaled(erf(z, order)[1:], -1)]


def lgamma(z: Tensor, order: int) -> TowerOf:
    """`ln Γ, ψ, ψ', …`."""
    return [torch.lgamma(z), *(digamma(z, order - 1) if order else [])]


def digamma(z: Tensor, order: int) -> TowerOf:
    """`ψ, ψ', ψ'', …`."""
    return [torch.digamma(z), *(torch.polygamma(k, z) for k in range(1, order + 1))]


# ---- activations of torch.nn ----------------------------------------------------------------------------------------


def _times_z(z: Tensor, f: TowerOf) -> TowerOf:
    """z·f: z f⁽ᵏ⁾ + k f⁽ᵏ⁻¹⁾."""
    return [z * f[0], *(z * f[k] + k * f[k - 1] for k in range(1, len(f)))]  # type: ignore[operator]


def silu(z: Tensor, order: int) -> TowerOf:
    """z·σ(z)."""
    return [F.silu(z), *_times_z(z, sigmoid(z, order))[1:]]


def gelu(z: Tensor, order: int, approximate: str = "none") -> TowerOf:
    """z·Φ(z), or the approximation z/2·(1 + tanh(√(2/π)(z + 0.044715 z³)))."""
    value = F.gelu(z, approximate=approximate)
    if approximate == "none":
        half = [
            0.5 * (1 + torch.erf(z / math.sqrt(2))),
            *(_gauss(z, order - 1, 1 / math.sqrt(2 * math.pi), 0.5) if order else []),
        ]
    else:
        b = math.sqrt(2 / math.pi)
        cubic = [
            b * (z + 0.044715 * z**3),
            b * (1 + 0.134145 * z * z),
            b * 0.26829 * z,
            torch.full_like(z, b * 0.26829),
        ]
        inner = [*cubic, *[None] * (order - 3)][: order + 1]
        half = _scaled(chain(tanh(cubic[0], order), inner), 0.5)
        half[0] = half[0] + 0.5  # type: ignore[operator]
    return [value, *_times_z(z, half)[1:]]


def softplus(z: Tensor, order: int, beta: float = 1.0, threshold: float = 20.0) -> TowerOf:
    """ln(1 + e^(βz))/β, and z itself where βz exceeds the threshold."""
    out: list[Tensor | None] = [F.softplus(z, beta, threshold)]
    linear = beta * z > threshold
    for k, s in enumerate(sigmoid(beta * z, order - 1) if order else []):
        out.append(torch.where(linear, float(k == 0), s * beta**k))  # type: ignore[operator]
    return out


def log_sigmoid(z: Tensor, order: int) -> TowerOf:
    """`ln σ(z)`: f' = σ(−z)."""
    out: list[Tensor | None] = [F.logsigmoid(z)]
    for k, s in enumerate(sigmoid(-z, order - 1) if order else []):
        out.append(-s if k % 2 else s)  # type: ignore[operator]
    return out


def mish(z: Tensor, order: int) -> TowerOf:
    """z·tanh(softplus(z))."""
    inner = softplus(z, order)
    return [F.mish(z), *_times_z(z, chain(tanh(inner[0], order), inner))[1:]]  # type: ignore[arg-type]


def elu(z: Tensor, order: int, alpha: float = 1.0) -> TowerOf:
    """`z` where z > 0, else α(eᶻ − 1)."""
    e = alpha * torch.exp(z.clamp(max=0))
    return [F.elu(z, alpha), *(torch.where(z > 0, float(k == 1), e) for k in range(1, order + 1))]


def celu(z: Tensor, order: int, alpha: float = 1.0) -> TowerOf:
    """`z` where z > 0, else α(e^(z/α) − 1)."""
    e = torch.exp(z.clamp(max=0) / alpha)
    return [F.celu(z, alpha), *(torch.where(z > 0, float(k == 1), e * alpha ** (1 - k)) for k in range(1, order + 1))]


_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def selu(z: Tensor, order: int) -> TowerOf:
    """ELU with the self-normalising constants."""
    return [F.selu(z), *_scaled(elu(z, order, _SELU_ALPHA)[1:], _SELU_SCALE)]


def softsign(z: Tensor, order: int) -> TowerOf:
    """`z/(1+|z|)`."""
    r = 1 / (1 + z.abs())
    odd = -torch.sign(z)
    out: list[Tensor | None] = [F.softsign(z)]
    power, factor = r, 1.0
    for k in range(1, order + 1):
        power, factor = power * r, factor * k
        out.append(factor * power * odd if k % 2 == 0 else factor * power)
    return out


def tanhshrink(z: Tensor, order: int) -> TowerOf:
    """`z − tanh z`."""
    t = _scaled(tanh(z, order), -1)
    out: list[Tensor | None] = [F.tanhshrink(z), *t[1:]]
    if order:
        out[1] = 1 + out[1]  # type: ignore[operator]
    return out


def _slope(value: Tensor, slope: Tensor, order: int) -> TowerOf:
    """A piecewise linear function: its slope, then nothing."""
    return [value, slope.to(value.dtype), *[None] * (order - 1)][: order + 1]


def relu(z: Tensor, order: int) -> TowerOf:
    """max(z, 0)."""
    return _slope(torch.relu(z), z > 0, order)


def relu6(z: Tensor, order: int) -> TowerOf:
    """min(max(z, 0), 6)."""
    return _slope(F.relu6(z), (z > 0) & (z < 6), order)


def leaky_relu(z: Tensor, order: int, negative_slope: float = 0.01) -> TowerOf:
    """`z`, times the slope where z ≤ 0."""
    return _slope(F.leaky_relu(z, negative_slope), torch.where(z > 0, torch.ones_like(z), negative_slope), order)


def hardtanh(z: Tensor, order: int, min_val: float = -1.0, max_val: float = 1.0) -> TowerOf:
    """`z` clipped to [min_val, max_val]."""
    return _slope(F.hardtanh(z, min_val, max_val), (z > min_val) & (z < max_val), order)


def clamp(z: Tensor, order: int, min: float | None = None, max: float | None = None) -> TowerOf:
    """`z` clipped to [min, max]; slope 1 on the bounds, as PyTorch has it."""
    inside = torch.ones_like(z, dtype=torch.bool)
    if min is not None:
        inside = inside & (z >= min)
    if max is not None:
        inside = inside & (z <= max)
    return _slope(torch.clamp(z, min, max), inside, order)


def hardsigmoid(z: Tensor, order: int) -> TowerOf:
    """relu6(z + 3)/6."""
    return _slope(F.hardsigmoid(z), ((z > -3) & (z < 3)).to(z.dtype) / 6, order)


def hardswish(z: Tensor, order: int) -> TowerOf:
    """z·relu6(z + 3)/6."""
    middle = (z > -3) & (z < 3)
    slope = torch.where(middle, z / 3 + 0.5, (z >= 3).to(z.dtype))
    return [F.hardswish(z), slope, middle.to(z.dtype) / 3, *[None] * (order - 2)][: order + 1]


def hardshrink(z: Tensor, order: int, lambd: float = 0.5) -> TowerOf:
    """`z` where its magnitude exceeds λ, else 0."""
    return _slope(F.hardshrink(z, lambd), z.abs() > lambd, order)


def softshrink(z: Tensor, order: int, lambd: float = 0.5) -> TowerOf:
    """`z` moved towards 0 by λ."""
    return _slope(F.softshrink(z, lambd), z.abs() > lambd, order)


def threshold(z: Tensor, order: int, threshold: float = 0.0, value: float = 0.0) -> TowerOf:
    """`z` where it exceeds the threshold, else the value."""
    return _slope(F.threshold(z, threshold, value), z > threshold, order)


def abs(z: Tensor, order: int) -> TowerOf:
    """`|z|, sign z`."""
    return _slope(torch.abs(z), torch.sign(z), order)


def stepwise(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor, int], TowerOf]:
    """The tower of a piecewise constant function: no slope where it has one."""

    def tower(z: Tensor, order: int) -> TowerOf:
        return [function(z), *[None] * order]

    return tower
