"""The Sobolev gradient: the representative of a gradient in W^{1,2}(0, T), by two sweeps over the cells."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["sobolev"]


def sobolev(gradient: Tensor, time: float, length_scale: float = 1.0) -> Tensor:
    """Apply 𝒮 of (9) to functions that are constant on cells of equal length, exactly.

    u = 𝒮f solves ℓ² u'' − u = −f on (0, T), u'(0) = u'(T) = 0; so ⟨f, φ⟩ = ∫ uφ + ℓ² u'φ' for every φ. With
    p(t) = exp(−t/ℓ) and the one-sided averages

        F(t) = (1/ℓ) ∫₀ᵗ p(t − s) f(s) ds,    B(t) = (1/ℓ) ∫ₜᵀ p(s − t) f(s) ds,

    it is u(t) = ½ (F(t) + B(t)) + α p(t) + β p(T − t), α and β as the ends demand. All terms have one sign where f
    has, so nothing cancels. Returned is the mean of u over each cell, which makes the map symmetric and positive
    definite: the transform of a gradient is a direction of ascent. It keeps constants and tends to f for ℓ → 0, to the
    mean of f for ℓ → ∞.

    Args:
        gradient: `[L, …]`, the values on the L cells of (0, T); every entry of `…` is one function.
        time: T > 0.
        length_scale: ℓ > 0, in units of T; the paper's formula has ℓ = 1.

    Returns:
        As `gradient`. Linear in it, so differentiable any number of times.

    Raises:
        ValueError: a number is not finite and > 0, or there is no axis of cells.

    Source:
        jaroudi2022, (9) and A.4, with a length scale.

    Example:
        >>> import math, torch
        >>> from jetprop.ode import sobolev
        >>> t = (torch.arange(300) + 0.5) / 100                     # middles of the cells of (0, 3)
        >>> f = torch.cos(math.pi * t / 3)                          # 𝒮 divides it by 1 + (π/3)²
        >>> bool((sobolev(f, 3.0) * (1 + (math.pi / 3) ** 2) - f).abs().max() < 1e-4)
        True
    """
    for name, number in {"time": time, "length_scale": length_scale}.items():
        if not (math.isfinite(number) and number > 0):
            raise ValueError(f"{name} is a finite number > 0, got {number!r}")
    if gradient.dim() == 0 or gradient.shape[0] == 0:
        raise ValueError(f"gradients are [cells, …], with at least one cell, got {list(gradient.shape)}")
    count = gradient.shape[0]
    width = time / count / length_scale  # of a cell, in units of ℓ
    decay = math.exp(-width)
    share = -math.expm1(-width) / width  # mean of exp(−s/ℓ) over a cell that begins at s = 0

    cells = gradient.unbind(0)
    forward = _averages(cells, decay)
    backward = _averages(cells[::-1], decay)[::-1]
    across = math.exp(-time / length_scale)
    at_start, at_end = 0.5 * backward[0], 0.5 * forward[-1]  # ½ B(0), ½ F(T)
    alpha = (at_start + across * at_end) / -math.expm1(-2 * time / length_scale)
    beta = (at_end + across * at_start) / -math.expm1(-2 * time / length_scale)

    # F at the start of the first cell and B at the end of the last are zero.
    nothing = torch.zeros_like(cells[0])
    before, after = [nothing, *forward[:-1]], [*backward[1:], nothing]
    found = []
    for place, f in enumerate(cells):
        means = (1 - share) * f + 0.5 * share * (before[place] + after[place])
        ends = share * (decay**place * alpha + decay ** (count - 1 - place) * beta)
        found.append(means + ends)
    return torch.stack(found)


def _averages(cells: tuple[Tensor, ...], decay: float) -> list[Tensor]:
    """The one-sided average at the end of each cell, in the order given."""
    state, found = torch.zeros_like(cells[0]), []
    for f in cells:
        state = torch.lerp(f, state, decay)
        found.append(state)
    return found
