"""Diffraction patterns of small crystals: the phase-retrieval problem of Bragg coherent diffraction imaging, in 2-D.

A crystal is a density s(x), 1 inside and 0 outside with soft edges, times exp(i φ(x)), where the phase φ is the
displacement of the lattice along the Bragg vector. A detector far away sees the intensity of its Fourier transform,

    F(k) = c Σ_x s(x) exp(i φ(x)) exp(-2πi k·x),        I(k) = |F(k)|² + ε²,

with the phase of F lost. c makes the brightest pixel of the plain crystal in the middle of the ranges 1, and ε² is the
background, counts that do not come from the crystal.

The image is the amplitude √I. Two reasons: in counts of photons n with mean λ = N·I, the root is the
variance-stabilising transform, so that √(n + 1/4) / √N has mean √I and standard deviation 1/(2√N) in every pixel, and
the distance of images that an oracle minimises is the one that the noise calls for. And with a background it is smooth
where F = 0, which |F| is not: its curvature there is about |∂F|² / ε.

What the magnitude cannot tell is not among the parameters: where the crystal is, and its mean phase. The third
ambiguity, the twin f(x) → conj f(-x), is broken twice: one corner is cut off and its opposite never, and the curvature
of the phase is positive where that of the twin is negative.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from jetprop.manifolds.generator import Coordinates, Generator
from jetprop.manifolds.sequences import check_count

__all__ = ["PhaseRetrieval", "photon_noise"]

RANGES = {
    "width": (0.32, 0.44),
    "height": (0.22, 0.32),
    "angle": (-0.3, 0.3),
    "cut": (0.45, 0.75),
    "curvature": (1.0, 2.5),
    "astigmatism": (-0.8, 0.8),
    "twist": (-0.8, 0.8),
    "coma": (-0.8, 0.8),
    "trefoil": (-0.8, 0.8),
}
LENGTH = 0.4
"""The distance from the centre at which phases are stated: a typical half width."""


class PhaseRetrieval(Generator):
    """Amplitudes of the diffraction patterns of strained crystals with a cut corner.

    The crystal lies in the square [-1, 1)², of which it fills less than half in either direction, so that the intensity
    is sampled finely enough to determine it. In the frame of the crystal (turned by `angle`), with (x, y) from its
    centre and (p, q) = (x, y) / 0.4,

        s = σ((w - x)/e) σ((w + x)/e) σ((h - y)/e) σ((h + y)/e) σ((γ (w + h) - x - y)/e),
        φ = κ (p² + q²) + a (p² - q²) + 2 t p q + c₁ (p² + q²) p + c₂ (p³ - 3 p q²),

    with σ the logistic function, e the softness. Degrees of freedom: half width w, half height h, angle (radians), the
    cut γ (at 1 the facet touches the corner), and the coefficients of the phase κ, a, t, c₁, c₂ (radians).

    The target is the parameters, each scaled so that its range becomes ±1: nine numbers that weigh alike. The object on
    a grid, which they determine, is `crystal`; as a target it would ask a network for a thousand numbers of which nine
    are free.

    Args:
        size: pixels along each side, of the object and of the pattern.
        softness: width e of the edges, in units of the square's half side; about a pixel.
        background: ε², the intensity of the background relative to the brightest pixel.

    Raises:
        ValueError: a number is out of range.

    Source:
        avrutskiy2023, section 6, names the problem; Yao et al., AutoPhaseNN, npj Comput. Mater. 8, 124 (2022), the
        parametrised crystals.

    Example:
        >>> from jetprop.manifolds import PhaseRetrieval
        >>> image, target = PhaseRetrieval(size=16).sample(2, order=1)
        >>> image.rows.shape, target.rows.shape
        (torch.Size([10, 2, 16, 16]), torch.Size([10, 2, 9]))
    """

    def __init__(self, size: int = 32, softness: float = 0.05, background: float = 4e-4) -> None:
        check_count("size", size, 8)
        for name, value in (("softness", softness), ("background", background)):
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} is a finite number > 0, got {value!r}")
        self.size, self.softness, self.background = size, softness, background
        self._scale = 1.0
        middle = torch.tensor([[(low + high) / 2 for low, high in RANGES.values()]], dtype=torch.float64)
        middle[:, 4:] = 0
        self._scale = 1 / float(self._spectrum(middle).abs().max())
        super().__init__(self.amplitude, RANGES, target=self.scaled)

    def amplitude(self, theta: Any) -> Any:
        """`√(|F|² + ε²)` of parameters `[n, 9]`, tensor or jet: `[n, size, size]`, k = 0 in the middle."""
        spectrum = self._spectrum(theta)
        return (spectrum.real.square() + spectrum.imag.square() + self.background).sqrt()

    def scaled(self, theta: Any) -> Any:
        """Parameters, each with its range mapped to ±1."""
        low, high = torch.tensor(list(RANGES.values()), dtype=theta.dtype, device=theta.device).unbind(1)
        return (theta - (low + high) / 2) / ((high - low) / 2)

    def nearest(self, outputs: Tensor) -> Coordinates:
        """The parameters that outputs `[n, 9]` of a network stand for: the inverse of `scaled`.

        Raises:
            ValueError: the shape is wrong, or an output is not finite.
        """
        if outputs.dim() != 2 or outputs.shape[1] != self.dimension:
            raise ValueError(f"outputs are [n, {self.dimension}], got {list(outputs.shape)}")
        low, high = self._ranges(outputs.device).unbind(1)
        return Coordinates((low + high) / 2 + outputs.to(low) * (high - low) / 2)

    def crystal(self, poses: Coordinates) -> Tensor:
        """The objects s exp(iφ) themselves, complex, `[n, size, size]`."""
        return self._object(poses.theta)

    def _spectrum(self, theta: Any) -> Any:
        centred = torch.fft.ifftshift(self._object(theta), dim=(-2, -1))
        return self._scale * torch.fft.fftshift(torch.fft.fft2(centred), dim=(-2, -1))

    def _object(self, theta: Any) -> Any:
        w, h, angle, cut, *phases = (part[:, None, None] for part in theta.unbind(1))
        line = (torch.arange(self.size, dtype=theta.dtype, device=theta.device) - self.size // 2) * (2 / self.size)
        across, down = line[None, None, :], line[None, :, None]
        x, y = across * angle.cos() + down * angle.sin(), down * angle.cos() - across * angle.sin()
        e = self.softness
        inside = ((w - x) / e).sigmoid() * ((w + x) / e).sigmoid() * ((h - y) / e).sigmoid() * ((h + y) / e).sigmoid()
        inside = inside * ((cut * (w + h) - (x + y)) / e).sigmoid()
        p, q = x / LENGTH, y / LENGTH
        pp, qq = p * p, q * q
        curvature, astigmatism, twist, coma, trefoil = phases
        phase = (
            curvature * (pp + qq)
            + astigmatism * (pp - qq)
            + 2 * twist * p * q
            + coma * (pp + qq) * p
            + trefoil * (pp - 3 * qq) * p
        )
        return torch.complex(inside * phase.cos(), inside * phase.sin())


def photon_noise(amplitude: Tensor, photons: float, generator: torch.Generator | None = None) -> Tensor:
    """What a detector makes of an amplitude by counting photons: √((n + 1/4) / N), n ~ Poisson(N · amplitude²).

    1/4 is the constant for which the mean is the amplitude to first order in 1/(N · amplitude²); the standard deviation
    tends to 1/(2√N), whatever the amplitude.

    Args:
        amplitude: `[n, …]`, ≥ 0, background included.
        photons: N, the mean count where the amplitude is 1, > 0.
        generator: the random numbers, on the device of `amplitude`; by default PyTorch's.

    Raises:
        ValueError: `photons` is not positive and finite, or an amplitude is negative or not finite.

    Source:
        F. J. Anscombe, The transformation of Poisson, binomial and negative-binomial data, Biometrika 35 (1948).

    Example:
        >>> import torch
        >>> from jetprop.manifolds import photon_noise
        >>> bright = photon_noise(torch.ones(10000), 400, torch.Generator().manual_seed(0))
        >>> bright.mean().item(), bright.std().item()
        (1.00, 0.025)
    """
    if not (math.isfinite(photons) and photons > 0):
        raise ValueError(f"photons is the mean count at amplitude 1, a finite number > 0, got {photons!r}")
    if not bool(((amplitude >= 0) & amplitude.isfinite()).all()):
        raise ValueError("amplitudes to count photons of are finite and ≥ 0; these are not")
    counts = torch.poisson(photons * amplitude.square(), generator=generator)
    return ((counts + 0.25) / photons).sqrt()
