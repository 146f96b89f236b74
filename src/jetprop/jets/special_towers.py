"""Derivative towers of special functions: the normal distribution, inverses, Bessel functions, sinc, entropies."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from jetprop.jets.towers import TowerOf, log, log1p

__all__: list[str] = []


def _gaussian(z: Tensor, order: int) -> list[Tensor]:
    """φ(z) = e^(−z²/2)/√2π and its derivatives: φ⁽ᵏ⁺¹⁾ = −z φ⁽ᵏ⁾ − k φ⁽ᵏ⁻¹⁾."""
    out = [torch.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)]
    for k in range(order):
        out.append(-z * out[k] - (k * out[k - 1] if k else 0))
    return out


def ndtr(z: Tensor, order: int) -> TowerOf:
    """`Φ(z), φ(z), −z φ(z), …`."""
    return [torch.special.ndtr(z), *(_gaussian(z, order - 1) if order else [])]


def log_ndtr(z: Tensor, order: int) -> TowerOf:
    """`ln Φ(z)`: f' = r = φ/Φ = √(2/π) / erfcx(−z/√2), and r' = −r (z + r)."""
    r: list[Tensor] = []
    for k in range(order):
        if k == 0:
            r.append(math.sqrt(2 / math.pi) / torch.special.erfcx(-z / math.sqrt(2)))
            continue
        shifted = [z + r[0], *(1 + r[1] if i == 1 else r[i] for i in range(1, k))]
        r.append(-sum((math.comb(k - 1, i) * r[k - 1 - i] * shifted[i] for i in range(k)), torch.zeros_like(z)))
    return [torch.special.log_ndtr(z), *r]


def _inverse(value: Tensor, order: int, slope: Tensor, rate: float) -> TowerOf:
    """The y with y' = slope and y'' = rate·y·y'²: y⁽ᵏ⁾ = Pₖ(y) y'ᵏ, Pₖ₊₁ = Pₖ' + k·rate·y·Pₖ."""
    out, polynomial, power = [value], [1.0], slope
    for k in range(1, order + 1):
        out.append(power * _evaluated(polynomial, value))
        power = power * slope
        derived = [i * c for i, c in enumerate(polynomial)][1:] + [0.0, 0.0]
        polynomial = [a + b for a, b in zip(derived, [0.0, *(k * rate * c for c in polynomial)], strict=False)]
    return out  # type: ignore[return-value]


def _evaluated(polynomial: Sequence[float], y: Tensor) -> Tensor:
    total = torch.full_like(y, polynomial[-1])
    for c in reversed(polynomial[:-1]):
        total = total * y + c
    return total


def erfinv(z: Tensor, order: int) -> TowerOf:
    """The y with erf y = z: y' = √π/2 e^(y²), y'' = 2 y y'²."""
    y = torch.erfinv(z)
    return _inverse(y, order, math.sqrt(math.pi) / 2 * torch.exp(y * y), 2.0)


def ndtri(z: Tensor, order: int) -> TowerOf:
    """The y with Φ(y) = z: y' = 1/φ(y), y'' = y y'²."""
    y = torch.special.ndtri(z)
    return _inverse(y, order, math.sqrt(2 * math.pi) * torch.exp(0.5 * y * y), 1.0)


def erfcx(z: Tensor, order: int) -> TowerOf:
    """e^(z²) erfc z: f' = 2zf − 2/√π, then f⁽ᵏ⁺¹⁾ = 2(z f⁽ᵏ⁾ + k f⁽ᵏ⁻¹⁾)."""
    out = [torch.special.erfcx(z)]
    for k in range(order):
        out.append(2 * z * out[k] + (2 * k * out[k - 1] if k else -2 / math.sqrt(math.pi)))
    return out  # type: ignore[return-value]


def entr(z: Tensor, order: int) -> TowerOf:
    """−z ln z, −ln z − 1, −1/z, …; 0 at 0."""
    logs = log(z, order - 1) if order else []
    return [torch.special.entr(z), *(-f - 1 if k == 0 else -f for k, f in enumerate(logs))]  # type: ignore[operator]


def logit(z: Tensor, order: int, eps: float | None = None) -> TowerOf:
    """`ln z − ln(1 − z)`, of z clipped to [eps, 1 − eps]: without slope outside."""
    value = torch.logit(z, eps)
    inside = torch.ones_like(z, dtype=torch.bool) if eps is None else (z >= eps) & (z <= 1 - eps)
    safe = torch.where(inside, z, 0.5)
    slopes = zip(log(safe, order)[1:], log1p(-safe, order)[1:], strict=True)
    return [value, *(torch.where(inside, a + (-1) ** k * b, 0.0) for k, (a, b) in enumerate(slopes))]  # type: ignore[operator]


def sinc(z: Tensor, order: int) -> TowerOf:
    """sin(πz)/πz: z f⁽ᵏ⁾ + k f⁽ᵏ⁻¹⁾ = (cos πz)⁽ᵏ⁻¹⁾ outside [−1, 1], the power series within."""
    out, small = [torch.sinc(z)], z.abs() < 1
    far, near = torch.where(small, 2.0, z), torch.where(small, z, 0.0)
    c, s = torch.cos(math.pi * far), torch.sin(math.pi * far)
    outside = s / (math.pi * far)
    for k in range(1, order + 1):
        outside = (math.pi ** (k - 1) * (c, -s, -c, s)[(k - 1) % 4] - k * outside) / far
        out.append(torch.where(small, _series_of_sinc(near, k), outside))
    return out  # type: ignore[return-value]


def _series_of_sinc(z: Tensor, k: int) -> Tensor:
    """The k-th derivative of Σ (−1)ⁿ (πz)²ⁿ / (2n+1)!."""
    powers = range(k + k % 2, 44, 2)
    coefficients = [
        (-1) ** (p // 2) * math.pi**p / math.factorial(p + 1) * math.factorial(p) / math.factorial(p - k)
        for p in powers
    ]
    total = _evaluated(coefficients, z * z)
    return z * total if k % 2 else total


# ---- modified Bessel functions --------------------------------------------------------------------------------------


def _bessel(z: Tensor, highest: int) -> list[Tensor]:
    """e^(−|z|) Iₙ(z), n = 0 … highest: the power series where |z| is small, else Iₙ₊₁ = Iₙ₋₁ − (2n/z) Iₙ."""
    out = [torch.special.i0e(z), torch.special.i1e(z)]
    small = z.abs() < 12
    near, far = torch.where(small, z, 0.0), torch.where(small, 12.0, z)
    upward = [torch.special.i0e(far), torch.special.i1e(far)]
    for n in range(2, highest + 1):
        upward.append(upward[n - 2] - 2 * (n - 1) / far * upward[n - 1])
        coefficients = [1 / (math.factorial(m) * math.factorial(m + n)) for m in range(45)]
        series = _evaluated(coefficients, near * near / 4) * (near / 2) ** n * torch.exp(-near.abs())
        out.append(torch.where(small, series, upward[n]))
    return out[: highest + 1]


def _derivatives_of_bessel(n: int, order: int, scaled: Sequence[Tensor]) -> list[Tensor]:
    """e^(−|z|) Iₙ⁽ᵏ⁾ for k = 0 … order: 2ᵏ Iₙ⁽ᵏ⁾ = Σ_j C(k, j) I_|n + k − 2j|."""
    return [
        sum((math.comb(k, j) * scaled[abs(n + k - 2 * j)] for j in range(k + 1)), torch.zeros_like(scaled[0])) / 2**k
        for k in range(order + 1)
    ]


def i0(z: Tensor, order: int) -> TowerOf:
    """`I₀, I₁, (I₀ + I₂)/2, …`."""
    return [torch.special.i0(z), *_grown(z, 0, order)]


def i1(z: Tensor, order: int) -> TowerOf:
    """`I₁, (I₀ + I₂)/2, …`."""
    return [torch.special.i1(z), *_grown(z, 1, order)]


def _grown(z: Tensor, n: int, order: int) -> list[Tensor]:
    growth = torch.exp(z.abs())
    return [growth * f for f in _derivatives_of_bessel(n, order, _bessel(z, max(n + order, 1)))[1:]]


def i0e(z: Tensor, order: int) -> TowerOf:
    """e^(−|z|) I₀."""
    return [torch.special.i0e(z), *_scaled_down(z, 0, order)]


def i1e(z: Tensor, order: int) -> TowerOf:
    """e^(−|z|) I₁."""
    return [torch.special.i1e(z), *_scaled_down(z, 1, order)]


def _scaled_down(z: Tensor, n: int, order: int) -> list[Tensor]:
    """(e^(−sz) Iₙ)⁽ᵏ⁾ = Σ_j C(k, j) (−s)^(k−j) e^(−|z|) Iₙ⁽ʲ⁾, s the sign."""
    f, s = _derivatives_of_bessel(n, order, _bessel(z, max(n + order, 1))), -torch.sign(z)
    return [
        sum((math.comb(k, j) * s ** (k - j) * f[j] for j in range(k + 1)), torch.zeros_like(z))
        for k in range(1, order + 1)
    ]


# ---- pieces ---------------------------------------------------------------------------------------------------------


def frac(z: Tensor, order: int) -> TowerOf:
    """`z` without its integer part: slope 1."""
    return [torch.frac(z), torch.ones_like(z), *[None] * (order - 1)][: order + 1]


def deg2rad(z: Tensor, order: int) -> TowerOf:
    """πz/180."""
    return [torch.deg2rad(z), torch.full_like(z, math.pi / 180), *[None] * (order - 1)][: order + 1]


def rad2deg(z: Tensor, order: int) -> TowerOf:
    """180z/π."""
    return [torch.rad2deg(z), torch.full_like(z, 180 / math.pi), *[None] * (order - 1)][: order + 1]


def polygamma(z: Tensor, order: int, n: int) -> TowerOf:
    """`ψ⁽ⁿ⁾, ψ⁽ⁿ⁺¹⁾, …`."""
    return [torch.polygamma(n + k, z) for k in range(order + 1)]
