"""Passes with Jacobians held: the theorems of demyanov2015, and its Algorithm 1 done by hand."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import nn

from jetprop.objectives.held_jacobians import HeldJacobians
from objectives.small_nets import assert_same, convolutional, gradients, images, linear_loss, perceptron, vectors


def test_theorem_1_a_linear_layer_runs_forward_on_the_third_pass() -> None:
    x, _ = vectors()
    layer = nn.Linear(5, 3).double()
    passes = HeldJacobians(layer, x)
    dy, tangent = torch.randn(4, 3, dtype=torch.float64), torch.randn(4, 5, dtype=torch.float64)
    torch.testing.assert_close(passes.backward(dy), dy @ layer.weight)
    torch.testing.assert_close(passes.forward(tangent), tangent @ layer.weight.T)
    weight, bias = passes.gradients(0.0, 1.0)
    torch.testing.assert_close(weight, (tangent.T @ dy).T)
    assert bias is None  # biases take no part in the third pass
    weight, bias = passes.gradients(2.0, 3.0)
    torch.testing.assert_close(weight, ((2 * x + 3 * tangent).T @ dy).T)
    torch.testing.assert_close(bias, 2 * dy.sum(0))


@pytest.mark.parametrize("layer", [nn.Sigmoid(), nn.ReLU(), nn.Softmax(-1)])
def test_theorem_2_a_symmetric_jacobian_runs_backward_on_the_third_pass(layer: nn.Module) -> None:
    x, _ = vectors()
    v = torch.randn_like(x)
    passes = HeldJacobians(layer, x)
    torch.testing.assert_close(passes.backward(v), passes.forward(v), rtol=1e-12, atol=1e-14)


def test_algorithm_1_by_hand() -> None:
    """All vectors of Fig. 1 for two sigmoid layers and a linear one, as matrices."""
    x, _ = vectors()
    model = perceptron()
    weights = [layer.weight.detach() for layer in model if isinstance(layer, nn.Linear)]
    biases = [layer.bias.detach() for layer in model if isinstance(layer, nn.Linear)]
    y = [x]
    for w, b in zip(weights, biases, strict=True):
        z = y[-1] @ w.T + b
        y.append(z.sigmoid() if len(y) < 3 else z)
    slopes = [y[1] * (1 - y[1]), y[2] * (1 - y[2])]
    dz3 = torch.randn(4, 3, dtype=torch.float64)
    dz2 = dz3 @ weights[2] * slopes[1]
    dz1 = dz2 @ weights[1] * slopes[0]
    t0 = torch.randn_like(x)
    t1 = t0 @ weights[0].T * slopes[0]
    t2 = t1 @ weights[1].T * slopes[1]
    passes = HeldJacobians(model, x)
    torch.testing.assert_close(passes.output, y[3])
    torch.testing.assert_close(passes.backward(dz3), dz1 @ weights[0])
    torch.testing.assert_close(passes.forward(t0), t2 @ weights[2].T)
    found = passes.gradients(0.0, 1.0)
    assert_same([g for g in found if g is not None], [dz1.T @ t0, dz2.T @ t1, dz3.T @ t2])


def test_the_first_term_is_the_gradient_of_autograd() -> None:
    x, labels = images()
    model = convolutional()
    passes = HeldJacobians(model, x)
    predictions = passes.output.detach().requires_grad_()
    (slope,) = torch.autograd.grad(linear_loss(predictions, labels).sum(), predictions)
    passes.backward(slope)
    found = [
        torch.zeros_like(p) if g is None else g for p, g in zip(model.parameters(), passes.gradients(1, 0), strict=True)
    ]
    assert_same(found, gradients(linear_loss(model(x), labels).sum(), model))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(2, 5, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2)),
        nn.Conv2d(6, 4, 3, groups=2, padding="valid"),
        nn.Conv1d(2, 3, 3, padding="same"),
        nn.Conv3d(1, 2, 2),
        nn.ConvTranspose2d(2, 4, 3, stride=2, output_padding=1, groups=2, bias=False),
    ],
    ids=str,
)
def test_convolutions_both_ways(layer: nn.Module) -> None:
    """Against autograd, and the third pass against the layer itself, which is linear but for its bias."""
    layer = layer.double()
    x = torch.randn(3, layer.in_channels, *[7] * (layer.weight.dim() - 2), dtype=torch.float64)  # type: ignore[operator]
    passes, leaf, t = HeldJacobians(layer, x), x.clone().requires_grad_(), torch.randn_like(x)
    dy = torch.randn_like(passes.output)
    expected, *own = torch.autograd.grad(layer(leaf), [leaf, *layer.parameters()], dy)
    torch.testing.assert_close(passes.backward(dy), expected)
    torch.testing.assert_close(passes.forward(t), layer(x + t) - layer(x))
    assert_same([g for g in passes.gradients(1.0, 0.0) if g is not None], own)


def test_padding_of_uneven_sides_is_left_to_the_exact_form() -> None:
    model = nn.Sequential(nn.Conv1d(1, 1, 2, padding="same"), nn.Flatten(), nn.Linear(5, 3)).double()
    with pytest.warns(UserWarning, match="even kernel"):
        passes = HeldJacobians(model, vectors()[0][:, None])
    with pytest.raises(NotImplementedError, match="0.weight, 0.bias act in another way"):
        passes.backward(torch.ones(4, 3, dtype=torch.float64))


class _Shared(nn.Module):
    """One weight used twice, once as a parametrised one, and once by `@`."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(5, 5, dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear((x @ self.w).relu(), 2 * self.w + 1)


def test_shared_and_parametrised_weights_sum_up() -> None:
    x, _ = vectors()
    model, c, t = _Shared(), torch.randn(4, 5, dtype=torch.float64), torch.randn(4, 5, dtype=torch.float64)
    passes = HeldJacobians(model, x)
    passes.backward(c)
    passes.forward(t)
    leaf = x.clone().requires_grad_()
    (g,) = torch.autograd.grad((model(leaf) * c).sum(), leaf, create_graph=True)
    assert_same(passes.gradients(0, 1), gradients((g * t).sum(), model))  # type: ignore[arg-type]


def test_it_is_freed_without_the_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        passes = HeldJacobians(perceptron(), vectors()[0])
        passes.backward(torch.ones(4, 3, dtype=torch.float64))
        seen = weakref.ref(passes.output.grad_fn), weakref.ref(passes._layers[0])
        del passes
        assert [s() for s in seen] == [None, None]
    finally:
        gc.enable()


def test_other_parameters_are_refused_by_name() -> None:
    x, _ = vectors()
    model = nn.Sequential(nn.Linear(5, 3), nn.LayerNorm(3)).double()
    with pytest.raises(NotImplementedError, match="1.weight, 1.bias act in another way: take exact=True"):
        HeldJacobians(model, x).backward(x[:, :3])


class _Constant(nn.Linear):
    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002
        return super().forward(torch.ones_like(input))


def test_an_output_that_ignores_its_input_is_refused() -> None:
    x, _ = vectors()
    with pytest.raises(ValueError, match="does not depend on its input"):
        HeldJacobians(_Constant(5, 3).double(), x).backward(x[:, :3])


def test_autocast_is_refused() -> None:
    with torch.autocast("cpu"), pytest.raises(NotImplementedError, match="autocast"):
        HeldJacobians(perceptron(), vectors()[0])


def test_frozen_layers_pass_vectors_on() -> None:
    x, labels = vectors()
    model = perceptron(nn.ReLU)
    model[2].requires_grad_(False)
    passes = HeldJacobians(model, x)
    passes.backward(torch.ones(4, 3, dtype=torch.float64))
    assert set(passes.parameters) == {"0.weight", "0.bias", "4.weight", "4.bias"}
    assert all(g is not None for g in passes.gradients(1.0, 0.0))
