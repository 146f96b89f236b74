"""Tangent vectors of image warps: how an image changes when it is shifted, scaled, turned, sheared, or drawn thicker.

An image is made a function of the plane by a Gaussian, s(q) = Σ_pixels I_pixel G(q − pixel), whose derivatives are
known in closed form. If a warp moves what is drawn at q with the velocity w(q), the image changes by −w·∇s.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from jetprop.jets import Jet, push

__all__ = ["WARPS", "ImageTangents", "smoothed", "warp_tangents"]

Velocity = Callable[[Tensor, Tensor], tuple[Tensor | float, Tensor | float]]

WARPS: dict[str, Velocity | None] = {
    "shift_x": lambda x, y: (1.0, 0.0),
    "shift_y": lambda x, y: (0.0, 1.0),
    "scale_x": lambda x, y: (x, 0.0),
    "scale_y": lambda x, y: (0.0, y),
    "rotation": lambda x, y: (-y, x),
    "shear": lambda x, y: (y, 0.0),
    "thickness": None,
}
"""The warps and their velocities w = (dx/dθ, dy/dθ) at (x, y): pixels from the image's centre, x to the right along
columns, y down along rows. The rotation takes x to y, clockwise as an image is shown. Thickness moves edges outwards at
the speed of their slope, ∂I/∂θ = ‖∇s‖²."""

PAPER = ("shift_x", "shift_y", "scale_x", "scale_y", "rotation")


@dataclass(frozen=True)
class ImageTangents:
    """Tangent vectors ∂g(x; θ)/∂θ at θ = 0 of warps of images, ready for `objectives.TangentPropagation`.

    ========= ============================= =============
    warp      ∂I/∂θ                         unit of θ
    ========= ============================= =============
    shift_x   −∂s/∂x                        pixel
    shift_y   −∂s/∂y                        pixel
    scale_x   −x ∂s/∂x                      1
    scale_y   −y ∂s/∂y                      1
    rotation  y ∂s/∂x − x ∂s/∂y             radian
    shear     −y ∂s/∂x                      1
    thickness (∂s/∂x)² + (∂s/∂y)²           pixel² per intensity
    ========= ============================= =============

    s is the image smoothed by a Gaussian, x and y are in pixels from its centre, outside there is zero.

    Args:
        warps: names out of `WARPS`, in the order wanted; by default the five of demyanov2015.
        sigma: standard deviation of the Gaussian in pixels, > 0.
        shape: (height, width) or (channels, height, width) of an image where batches are flat, `[batch, pixels]`.

    Raises:
        ValueError: an unknown warp, or one given twice; sigma not positive.

    Source:
        demyanov2015, section 5 (σ = 0.9), after Simard et al., Transformation invariance in pattern recognition.

    Example:
        >>> import torch
        >>> from jetprop.manifolds import ImageTangents
        >>> image = torch.zeros(1, 5, 5)
        >>> image[0, 2, 2] = 1.0                                  # a dot in the centre is moved by shifts only
        >>> t = ImageTangents()(image)
        >>> t.shape, (t[:, 0, 2, 3] * 100).round()                # what comes to its right
        (torch.Size([5, 1, 5, 5]), tensor([13., 0., 13., 0., 0.]))
    """

    warps: tuple[str, ...] = PAPER
    sigma: float = 0.9
    shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        unknown = [name for name in self.warps if name not in WARPS]
        if unknown or not self.warps or len(set(self.warps)) < len(self.warps):
            raise ValueError(f"warps are different names out of {', '.join(WARPS)}; got {self.warps!r}")
        if not (math.isfinite(self.sigma) and self.sigma > 0):
            raise ValueError(f"sigma is a finite number of pixels > 0, got {self.sigma!r}")
        if self.shape is not None and (len(self.shape) not in (2, 3) or min(self.shape) < 1):
            raise ValueError(f"shape is (height, width) or (channels, height, width), got {self.shape!r}")

    def __call__(self, images: Tensor) -> Tensor:
        """The tangent vectors.

        Args:
            images: `[batch, H, W]`, `[batch, channels, H, W]`, or `[batch, pixels]` with `shape`.

        Returns:
            `[T, *images.shape]`, one for each warp, in their order.

        Raises:
            ValueError: images of another shape.
        """
        given = images.shape
        if self.shape is not None:
            if images.dim() != 2 or images.shape[1] != math.prod(self.shape):
                raise ValueError(
                    f"expected flat images [batch, {math.prod(self.shape)}] for shape={self.shape}, got {tuple(given)}"
                )
            images = images.reshape(-1, *self.shape)
        elif images.dim() not in (3, 4):
            raise ValueError(
                f"expected images [batch, H, W] or [batch, channels, H, W], got {tuple(given)}; "
                "for flat ones give shape"
            )
        s_x, s_y = (smoothed(images, self.sigma, along) for along in ("x", "y"))
        height, width = images.shape[-2:]
        y = torch.arange(height, dtype=images.dtype, device=images.device)[:, None] - (height - 1) / 2
        x = torch.arange(width, dtype=images.dtype, device=images.device) - (width - 1) / 2
        found = []
        for name in self.warps:
            velocity = WARPS[name]
            if velocity is None:
                found.append(s_x.square() + s_y.square())
            else:
                w_x, w_y = velocity(x, y)
                found.append(-(w_x * s_x + w_y * s_y))
        return torch.stack(found).reshape(len(self.warps), *given)


def smoothed(images: Tensor, sigma: float, derivative: Literal["", "x", "y"] = "") -> Tensor:
    """The image as a smooth function, or a first derivative of it, at the pixels.

        s(q) = Σ_pixels I_pixel exp(−|q − pixel|²/2σ²) / 2πσ²

    Linear in the images, and differentiable. The Gaussian is not cut off; outside the image there is zero.

    Args:
        images: `[…, H, W]`.
        sigma: σ > 0, in pixels.
        derivative: "" for s, "x" for ∂s/∂x (to the right), "y" for ∂s/∂y (down).

    Returns:
        Like the images.

    Example:
        >>> import torch
        >>> from jetprop.manifolds import smoothed
        >>> ramp = torch.arange(31.0).expand(31, 31)
        >>> smoothed(ramp, 0.9, "x")[15, 15].round(decimals=4)    # the slope is 1
        tensor(1.)
    """
    height, width = images.shape[-2:]
    rows = _gaussian(height, sigma, derivative == "y").to(images)
    columns = _gaussian(width, sigma, derivative == "x").to(images)
    return rows @ images @ columns.T


@lru_cache(maxsize=16)
def _gaussian(length: int, sigma: float, slope: bool) -> Tensor:
    """G(i − j), or G'(i − j), for pixels i, j of a line."""
    pixels = torch.arange(length, dtype=torch.float64)
    d = pixels[:, None] - pixels
    kernel = torch.exp(-0.5 * (d / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))
    return -d / sigma**2 * kernel if slope else kernel


def warp_tangents(
    warp: Callable[[Tensor, Tensor], Tensor],
    images: Tensor,
    at: Sequence[float],
    backend: Literal["engine", "reference"] = "engine",
) -> Tensor:
    """Tangent vectors of a warp of your own, ∂ warp(images, θ)/∂θ_t.

    Args:
        warp: takes images `[batch, …]` and parameters θ, `[batch, T]`, each sample its own; returns images. Smooth in
            θ, in operations that have jet rules.
        images: `[batch, …]`.
        at: the T values of θ at which nothing is warped, e.g. zeros.
        backend: "reference" takes operations without a jet rule, slowly.

    Returns:
        `[T, batch, …]`, constants.

    Raises:
        ValueError: the warp changes the shape of the images, or changes them at `at`.
        MissingRuleError: an operation without a jet rule.

    Example:
        >>> import torch
        >>> from jetprop.manifolds import warp_tangents
        >>> contrast = lambda images, theta: images * torch.exp(theta[:, :1])
        >>> warp_tangents(contrast, torch.tensor([[1.0, 2.0]]), at=[0.0])
        tensor([[[1., 2.]]])
    """
    images = images.detach()
    theta = torch.as_tensor(at, dtype=images.dtype, device=images.device)
    if theta.dim() != 1 or not len(theta):
        raise ValueError(f"at holds one number for each parameter of the warp, got shape {tuple(theta.shape)}")
    with torch.no_grad():
        moved = push(lambda t: warp(images, t), Jet.seed(theta.expand(len(images), -1)), backend, create_graph=False)
    if not isinstance(moved, Jet):
        raise ValueError("the warp does not depend on θ: what it returned has no derivatives")
    if moved.shape != images.shape:
        raise ValueError(f"the warp took images of shape {tuple(images.shape)} to {tuple(moved.shape)}")
    if not torch.allclose(moved.value, images, rtol=1e-4, atol=1e-4 * float(images.abs().max())):
        raise ValueError(f"the warp changes the images at θ = {list(at)}; tangents are taken where it does not")
    return moved.first.detach()
