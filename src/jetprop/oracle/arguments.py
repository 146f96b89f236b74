"""What the oracle asks of its arguments, refused in words where it is not given."""

from __future__ import annotations

import torch
from torch import Tensor

from jetprop.jets.basis import Basis
from jetprop.jets.jet import Jet

__all__ = [
    "check_finite",
    "check_handling",
    "check_inputs",
    "check_jets",
    "check_observed",
    "check_order",
    "flat_directions",
    "some",
]

DTYPES = (torch.float32, torch.float64)


def check_jets(image: Jet, target: Jet) -> None:
    """Two jets of one batch over one basis, with all derivatives of first order, or of first and second."""
    for name, jet in (("image", image), ("target", target)):
        if not isinstance(jet, Jet):
            raise TypeError(
                f"Oracle takes jets, its {name} is a {type(jet).__name__}; a manifold's sample or render makes them"
            )
    d = len(image.basis.directions)
    if d == 0 or image.basis not in (Basis.full(d, 1), Basis.full(d, 2)):
        raise ValueError(
            f"the oracle needs all first derivatives of the images, and for second order all second ones: "
            f"Basis.full(d, 1) or Basis.full(d, 2); got {image.basis!r}. Render with order=1 or 2, without `directions`"
        )
    if target.basis != image.basis:
        raise ValueError(f"image and target need one basis, got {image.basis!r} and {target.basis!r}")
    if image.dim() < 2 or target.dim() < 2 or image.shape[0] != target.shape[0] or image.shape[0] == 0:
        raise ValueError(
            f"images are [batch, *image] and targets [batch, *outputs] for one batch of at least one sample, got "
            f"{list(image.shape)} and {list(target.shape)}"
        )
    if image.dtype not in DTYPES or image.dtype != target.dtype or image.device != target.device:
        raise ValueError(
            f"image and target are both float32 or both float64, on one device; got {image.dtype} on {image.device} "
            f"and {target.dtype} on {target.device}"
        )


def check_observed(observed: Tensor | None, image: Jet) -> None:
    """Inputs as the images, and second derivatives to go with them."""
    if observed is None:
        return
    if image.basis.order < 2:
        raise ValueError(
            "observed=… takes the curvature of the manifold into account, but the jets are of order 1; render with "
            "order=2, or leave `observed` out"
        )
    check_inputs(observed, image, len(image))


def check_handling(limit: float, when_singular: str) -> None:
    """How nearly singular samples are recognised and treated."""
    if not limit > 1:
        raise ValueError(f"limit is a condition, a number > 1, got {limit!r}")
    if when_singular not in ("flag", "raise"):
        raise ValueError(f'when_singular is "flag" or "raise", got {when_singular!r}')


def check_inputs(inputs: Tensor, image: Jet, batch: int) -> None:
    """Finite inputs of the images' size, one for each of `batch` points."""
    expected = (batch, *image.shape[1:])
    if tuple(inputs.shape) != expected:
        raise ValueError(
            f"inputs of shape {tuple(inputs.shape)} do not fit: expected {expected}, one input of the images' size for "
            f"each point"
        )
    if not inputs.is_floating_point():
        raise ValueError(f"inputs are floating-point, in the units of the images; got {inputs.dtype}")
    if not bool(inputs.isfinite().all()):
        bad = (~inputs.flatten(1).isfinite().all(1)).nonzero().flatten().tolist()
        raise ValueError(f"inputs must be finite; those of samples {some(bad)} hold NaN or infinity")


def check_order(order: int, basis: Basis, observed: Tensor | None) -> None:
    """An order of the oracle's derivatives that the jets suffice for."""
    if order not in (1, 2):
        raise ValueError(f"the oracle is differentiated once or twice, got order={order!r}; ask for 1 or 2")
    if order == 2 and basis.order < 2:
        raise ValueError(
            "second derivatives of the oracle, (45), take second derivatives of the images, but the jets are of order "
            "1; render with order=2, or ask for order=1"
        )
    if order == 2 and observed is not None:
        raise ValueError(
            "away from the manifold (observed=…) second derivatives of the oracle take third derivatives of the "
            "images, which are not carried; ask for order=1, or leave `observed` out"
        )


def flat_directions(direction: Tensor, image: Jet) -> Tensor:
    """Directions `[batch, *image]` or `[K, batch, *image]` as `[K, batch, pixels]`."""
    shape = tuple(image.shape)
    if tuple(direction.shape) != shape and tuple(direction.shape[1:]) != shape:
        raise ValueError(
            f"directions of shape {tuple(direction.shape)} do not fit the images: expected {shape}, or for K of them "
            f"at a time (K, {', '.join(map(str, shape))})"
        )
    if direction.dtype != image.dtype or direction.device != image.device:
        raise ValueError(
            f"directions are {direction.dtype} on {direction.device}, the images {image.dtype} on {image.device}; "
            f"convert with .to(oracle.image.rows)"
        )
    if direction.numel() == 0:
        raise ValueError(f"at least one direction is needed, got shape {tuple(direction.shape)}")
    return direction.reshape(-1, shape[0], torch.Size(shape[1:]).numel())


def check_finite(products: Tensor) -> None:
    """Scalar products of directions, `[batch, …]`: no direction held NaN or infinity."""
    finite = products.detach().isfinite()
    if not bool(finite.all()):
        bad = (~finite.flatten(1).all(1)).nonzero().flatten().tolist()
        raise ValueError(f"directions must be finite; those of samples {some(bad)} hold NaN or infinity")


def some(numbers: list[int]) -> str:
    """The first of many numbers, in words."""
    return ", ".join(map(str, numbers[:8])) + (", …" if len(numbers) > 8 else "")
