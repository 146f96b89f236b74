"""The pixel grid of a rendered image and the kernel that smooths it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from jetprop.manifolds.sequences import check_count

__all__ = ["Raster"]


@dataclass(frozen=True)
class Raster:
    """The grid of points at which a smoothed picture is sampled.

    `image[row, column]` is its value at u = u₀ + h·column, v = v₀ + h·row. The picture, constant inside each polygon,
    is convolved with a Gaussian of width σ (anti-aliasing), which makes every pixel a smooth function of the polygons'
    vertices.

    Args:
        rows: pixels along v.
        columns: pixels along u.
        step: h, the distance of neighbouring pixels on the image plane.
        corner: (u₀, v₀), the pixel [0, 0].
        sigma: σ, on the image plane.
        kernel: "normalised" is exp(-r²/2σ²) / (2πσ²), so that the inside of a polygon has its intensity; "printed"
            has the one-dimensional prefactor 1/(σ√2π), as (49) and (50) are printed, and only scales the image, by
            σ√2π ≈ 0.075.

    Raises:
        ValueError: a size is no positive number, or the kernel is unknown.

    Source:
        avrutskiy2023, appendix A; the defaults are its 41 × 41 pixels over [-1, 1]² with σ = 0.03. Deviation: the
        normalised kernel is the default, because only it agrees with the paper's intensities and derivative norms.
    """

    rows: int = 41
    columns: int = 41
    step: float = 0.05
    corner: tuple[float, float] = (-1.0, -1.0)
    sigma: float = 0.03
    kernel: Literal["normalised", "printed"] = "normalised"

    def __post_init__(self) -> None:
        check_count("rows", self.rows, 1)
        check_count("columns", self.columns, 1)
        for name in ("step", "sigma"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} is a positive length on the image plane, got {value!r}")
        if len(self.corner) != 2 or not all(math.isfinite(c) for c in self.corner):
            raise ValueError(f"corner is (u, v) of pixel [0, 0], two finite numbers, got {self.corner!r}")
        if self.kernel not in ("normalised", "printed"):
            raise ValueError(f'kernel is "normalised" or "printed", got {self.kernel!r}')

    @property
    def scale(self) -> float:
        """What the image with the normalised kernel is multiplied by."""
        return 1.0 if self.kernel == "normalised" else self.sigma * math.sqrt(2 * math.pi)

    def pixel(self, points: Tensor) -> Tensor:
        """Where points (u, v) of the image plane, `[…, 2]`, lie in the image: (column, row), fractional."""
        return (points - torch.tensor(self.corner, dtype=points.dtype, device=points.device)) / self.step
