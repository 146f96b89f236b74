"""The gradients of a network, one image at a time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from jetprop.robustness import gradients
from jetprop.robustness.gradients import network_values, value_and_gradients
from jetprop.training import MLP

F64 = torch.float64


class Convolutional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 3, 3, stride=2), nn.BatchNorm2d(3), nn.Tanh(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(27, 4)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x[:, None])


@pytest.mark.parametrize("build", [lambda: MLP([49, 20, 4]), Convolutional], ids=["perceptron", "convolutional"])
def test_they_are_the_jacobians_of_single_images(build) -> None:
    model, images = build().double(), torch.randn(5, 7, 7, dtype=F64)
    found = gradients(model, images, chunk=2)
    assert model.training and all(module.training for module in model.modules())  # put back
    model.eval()
    for image, gradient in zip(images, found, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda x: model(x[None])[0], image)
        torch.testing.assert_close(gradient, jacobian, rtol=1e-12, atol=1e-14)
    assert all(p.grad is None for p in model.parameters())


def test_values_and_gradients_are_those_of_the_same_pass() -> None:
    model, images = Convolutional(), torch.randn(5, 7, 7, dtype=F64)
    values, found = value_and_gradients(model, images, chunk=3)
    assert values.dtype == found.dtype == torch.float32 and not found.requires_grad
    torch.testing.assert_close(values.double(), network_values(model, images, chunk=2))
    step = 1e-2 * torch.randn(7, 7, dtype=F64)
    ahead, behind = (network_values(model.double(), images + sign * step) for sign in (1, -1))
    slope = (gradients(model, images) * step).sum((2, 3))
    torch.testing.assert_close((ahead - behind) / 2, slope, rtol=0, atol=1e-5)  # the third order of the step


def test_modes_of_parts_are_put_back_also_after_a_failure() -> None:
    model = Convolutional()
    model.body[1].eval()
    with pytest.raises(RuntimeError):
        gradients(model, torch.randn(2, 9, 9))
    assert model.training and not model.body[1].training and model.body[3].training


def test_they_are_found_under_no_grad_too() -> None:
    model, images = MLP([49, 8, 3]).double(), torch.randn(3, 7, 7, dtype=F64)
    expected = gradients(model, images)
    with torch.no_grad():
        assert torch.equal(gradients(model, images), expected)


def test_progress_is_told() -> None:
    seen: list[tuple[int, int]] = []
    gradients(nn.Linear(3, 2), torch.randn(5, 3), chunk=2, progress=lambda *at: seen.append(at))
    assert seen == [(2, 5), (4, 5), (5, 5)]


class Detached(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.detach()).detach()


class Root(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sqrt()


def test_bad_input_is_named() -> None:
    images = torch.randn(4, 3)
    with pytest.raises(ValueError, match="mixes the samples"):
        gradients(nn.BatchNorm1d(3, track_running_stats=False), images)
    with pytest.raises(ValueError, match="detach its input"):
        gradients(Detached(3, 2), images)
    with pytest.raises(ValueError, match=r"outputs \[4, A\] for images \[4, 3\], it returned \[4, 3, 1\]"):
        gradients(nn.Unflatten(1, (3, 1)), images)
    with pytest.raises(ValueError, match=r"network's gradients hold NaN or infinity at 1 of 4 samples: \[1\]"):
        gradients(Root(), torch.tensor([[1.0], [0.0], [2.0], [3.0]]))
    with pytest.raises(ValueError, match="at least one sample"):
        gradients(nn.Linear(3, 2), images[:0])
    with pytest.raises(ValueError, match="≥ 1"):
        gradients(nn.Linear(3, 2), images, chunk=0)
