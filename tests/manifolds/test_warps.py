"""Tangent vectors of warps against finite warps of the same continuous image, evaluated point by point."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from jetprop.manifolds import WARPS, ImageTangents, smoothed, warp_tangents

HEIGHT, WIDTH, SIGMA = 7, 9, 0.9


def continuous(image: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """s(x, y) = Σ_pixels I G, coordinates from the centre."""
    total = torch.zeros_like(x)
    for row in range(HEIGHT):
        for col in range(WIDTH):
            d2 = (x - (col - (WIDTH - 1) / 2)) ** 2 + (y - (row - (HEIGHT - 1) / 2)) ** 2
            total = total + image[row, col] * torch.exp(-d2 / (2 * SIGMA**2)) / (2 * math.pi * SIGMA**2)
    return total


def pixels() -> tuple[Tensor, Tensor]:
    y = torch.arange(HEIGHT, dtype=torch.float64)[:, None] - (HEIGHT - 1) / 2
    x = torch.arange(WIDTH, dtype=torch.float64)[None] - (WIDTH - 1) / 2
    return x.expand(HEIGHT, WIDTH), y.expand(HEIGHT, WIDTH)


def warped(image: Tensor, name: str, theta: float) -> Tensor:
    """What is drawn at q goes where the warp by θ takes it: look up where each pixel comes from."""
    x, y = pixels()
    c, s = math.cos(theta), math.sin(theta)
    if name == "thickness":
        leaf_x, leaf_y = x.clone().requires_grad_(), y.clone().requires_grad_()
        s_x, s_y = torch.autograd.grad(continuous(image, leaf_x, leaf_y).sum(), [leaf_x, leaf_y])
        return continuous(image, x + theta * s_x, y + theta * s_y)
    origin = {
        "shift_x": (x - theta, y),
        "shift_y": (x, y - theta),
        "scale_x": (x / (1 + theta), y),
        "scale_y": (x, y / (1 + theta)),
        "rotation": (c * x + s * y, -s * x + c * y),
        "shear": (x - theta * y, y),
    }[name]
    return continuous(image, *origin)


@pytest.mark.parametrize("name", WARPS)
def test_tangents_are_limits_of_finite_warps(name: str) -> None:
    """Central differences at two steps: the error falls fourfold, as for the exact derivative."""
    image = torch.rand(HEIGHT, WIDTH, dtype=torch.float64)
    (found,) = ImageTangents((name,), SIGMA)(image[None])[:, 0]
    errors = []
    for step in (2e-2, 1e-2):
        finite = (warped(image, name, step) - warped(image, name, -step)) / (2 * step)
        errors.append(float((finite - found).abs().max() / found.abs().max()))
    assert errors[1] < 1e-2 and errors[0] / errors[1] == pytest.approx(4, rel=0.1)


def test_the_smoothed_image_is_the_sum_of_gaussians() -> None:
    image = torch.rand(HEIGHT, WIDTH, dtype=torch.float64)
    torch.testing.assert_close(smoothed(image, SIGMA), continuous(image, *pixels()))


def test_batches_channels_and_flat_images_agree() -> None:
    images = torch.rand(4, 3, HEIGHT, WIDTH)
    t = ImageTangents(tuple(WARPS))
    found = t(images)
    assert found.shape == (7, 4, 3, HEIGHT, WIDTH)
    torch.testing.assert_close(t(images[:, 1]), found[:, :, 1])
    flat = ImageTangents(tuple(WARPS), shape=(3, HEIGHT, WIDTH))(images.flatten(1))
    torch.testing.assert_close(flat, found.flatten(2))


def test_a_warp_of_your_own() -> None:
    """A shift by an integral of Gaussians, written as one would, against the tangent in closed form."""
    images = torch.rand(2, HEIGHT, WIDTH, dtype=torch.float64)
    x, y = pixels()

    def shift(images: Tensor, theta: Tensor) -> Tensor:
        moved = [
            torch.exp(-(((y[:, 0] - theta[:, 1:]).unsqueeze(2) - y[:, 0]) ** 2) / (2 * SIGMA**2)),
            torch.exp(-(((x[0] - theta[:, :1]).unsqueeze(2) - x[0]) ** 2) / (2 * SIGMA**2)),
        ]
        change = moved[0] @ images @ moved[1].mT / (2 * math.pi * SIGMA**2)
        return images + change - smoothed(images, SIGMA)

    expected = ImageTangents(("shift_x", "shift_y"), SIGMA)(images)
    for backend in ("engine", "reference"):
        torch.testing.assert_close(warp_tangents(shift, images, [0.0, 0.0], backend), expected)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: ImageTangents(("turn",)), "different names out of shift_x"),
        (lambda: ImageTangents(("shear", "shear")), "different names"),
        (lambda: ImageTangents(()), "different names"),
        (lambda: ImageTangents(sigma=0.0), "pixels > 0"),
        (lambda: ImageTangents(shape=(4,)), r"\(height, width\)"),
        (lambda: ImageTangents()(torch.ones(2, 25)), "for flat ones give shape"),
        (lambda: ImageTangents(shape=(5, 5))(torch.ones(2, 24)), r"flat images \[batch, 25\]"),
        (lambda: warp_tangents(lambda i, t: i + t[:, :1], torch.ones(2, 3), [1.0]), "changes the images at"),
        (lambda: warp_tangents(lambda i, t: i.sum(1) + t[:, 0], torch.ones(2, 3), [0.0]), "took images of shape"),
        (lambda: warp_tangents(lambda i, t: i, torch.ones(2, 3), [0.0]), "does not depend on θ"),
        (lambda: warp_tangents(lambda i, t: i, torch.ones(2, 3), []), "one number for each"),
    ],
)
def test_bad_arguments_are_named(call, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()
