"""Networks taken as they are: `model(jet)` against nested reverse mode, up to order 4."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jetprop.jets import Basis, Jet, push
from jets.cases.normalization import composed_batch_norm
from jets.rule_cases import DTYPE, drawn
from jets.tolerances import ENGINE, ROUNDING

pytestmark = pytest.mark.filterwarnings("ignore::jetprop.jets.KinkWarning")

BASES = {"two directions, order 2": Basis.full(2, 2), "one direction, order 4": Basis.full(1, 4)}


@pytest.fixture(params=BASES)
def basis(request: pytest.FixtureRequest) -> Basis:
    return BASES[request.param]


def curve(x: Tensor, basis: Basis) -> Jet:
    """A jet at x with every row drawn."""
    return Jet(torch.cat([x[None], drawn(len(basis) - 1, *x.shape, low=-0.7, high=0.7, seed=1)]), basis)


def check(model: Callable[[Any], Any], x: Tensor, basis: Basis, oracle: Callable[[Any], Any] | None = None) -> None:
    """Value, shape, rows, and an input left as it was."""
    jet = curve(x, basis)
    found, plain = model(jet), model(x.clone())
    assert found.shape == plain.shape and found.dtype == plain.dtype
    ROUNDING.check(found.value, plain)
    ENGINE.check(found.rows, push(oracle or model, curve(x, basis), backend="reference").rows)
    assert torch.equal(jet.rows, curve(x, basis).rows)


# ---- multilayer perceptrons -----------------------------------------------------------------------------------------

EXCLUDED = {"MultiheadAttention": "no activation of one tensor"}
ARGUMENTS: dict[str, tuple] = {
    "Threshold": (0.1, -0.7),
    "Softmax": (-1,),
    "LogSoftmax": (-1,),
    "Softmin": (-1,),
    "PReLU": (4,),
}
ACTIVATIONS = [name for name in nn.modules.activation.__all__ if name not in EXCLUDED]


class ComposedHardsigmoid(nn.Module):
    """PyTorch has no second derivative of its own for it."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu6(x + 3) / 6


class AsImages(nn.Module):
    """Features as channels of images with one pixel."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Any) -> Any:
        return self.inner(x[..., None, None]).flatten(1)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_perceptrons_with_every_activation(name: str, basis: Basis) -> None:
    activation = getattr(nn, name)(*ARGUMENTS.get(name, ())).to(DTYPE)
    if name == "Softmax2d":
        activation = AsImages(activation)
    width = 2 if name == "GLU" else 4
    layers = [nn.Linear(2, 4), activation, nn.Linear(width, 4), activation, nn.Linear(width, 1)]
    model = nn.Sequential(*layers).to(DTYPE)
    oracle = model
    if name == "Hardsigmoid":
        oracle = nn.Sequential(layers[0], ComposedHardsigmoid(), layers[2], ComposedHardsigmoid(), layers[4])
    check(repeatable(model), drawn(2, 2), basis, repeatable(oracle))


def repeatable(model: nn.Module) -> Callable[[Any], Any]:
    """The same random slopes on every call (RReLU)."""

    def call(x: Any) -> Any:
        torch.manual_seed(7)
        return model(x)

    return call


class Residual(nn.Module):
    """x + f(x), written as residual networks write it."""

    def __init__(self, body: nn.Module, last: nn.Module) -> None:
        super().__init__()
        self.body, self.last = body, last

    def forward(self, x: Any) -> Any:
        identity = x
        out = self.body(x)
        out += identity
        return self.last(out)


def test_a_residual_perceptron(basis: Basis) -> None:
    block = [
        Residual(nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3)), nn.SiLU(inplace=True)) for _ in range(2)
    ]
    check(nn.Sequential(nn.Linear(2, 3), *block, nn.Linear(3, 1)).to(DTYPE), drawn(2, 2), basis)


class Siren(nn.Module):
    """sin(ω(Wx + b)), of Sitzmann and others."""

    def __init__(self, *widths: int, frequency: float = 5.0) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:], strict=False))
        self.frequency = frequency

    def forward(self, x: Any) -> Any:
        *hidden, last = self.layers
        for layer in hidden:
            x = torch.sin(self.frequency * layer(x))
        return last(x)


def test_a_siren(basis: Basis) -> None:
    check(Siren(2, 4, 4, 1).to(DTYPE), drawn(2, 2, low=-0.3, high=0.3), basis)


# ---- convolutional networks -----------------------------------------------------------------------------------------


class ComposedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation from its definition, whose third derivatives PyTorch gets right."""

    def forward(self, x: Tensor) -> Tensor:
        return composed_batch_norm(x, self.weight, self.bias) if self.training else super().forward(x)


class Block(nn.Module):
    """The basic block of torchvision's residual networks."""

    def __init__(self, inputs: int, outputs: int, stride: int, norm: type[nn.BatchNorm2d]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = norm(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = norm(outputs)
        self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), norm(outputs))

    def forward(self, x: Any) -> Any:
        identity = self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        return self.relu(out)


def resnet(norm: type[nn.BatchNorm2d] = nn.BatchNorm2d) -> nn.Module:
    torch.manual_seed(3)
    layers = [
        nn.Conv2d(1, 2, 3, padding=1),
        norm(2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, 1),
        Block(2, 2, 2, norm),
    ]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 1)).to(DTYPE)
    for k, (name, tensor) in enumerate({**dict(model.named_parameters()), **dict(model.named_buffers())}.items()):
        if name.endswith(("weight", "bias", "running_mean")) and tensor.dim() == 1:
            tensor.data.copy_(drawn(len(tensor), low=0.5, seed=k))
    return model


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_a_residual_network(training: bool, basis: Basis) -> None:
    check(resnet().train(training), drawn(2, 1, 5, 5), basis, resnet(ComposedBatchNorm).train(training))


def test_running_statistics_follow_the_value() -> None:
    ours, plain = resnet().train(), resnet().train()
    x = drawn(3, 1, 5, 5)
    ours(curve(x, Basis.full(2, 2)))
    plain(x)
    for (name, found), (_, expected) in zip(ours.named_buffers(), plain.named_buffers(), strict=True):
        ROUNDING.check(found, expected, name)


NETWORKS = {
    "one dimension": (
        lambda: nn.Sequential(nn.Conv1d(1, 2, 2, dilation=2), nn.GELU(), nn.AvgPool1d(2), nn.ConvTranspose1d(2, 1, 2)),
        (1, 1, 7),
    ),
    "two dimensions": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 2, 3, stride=2, padding=1, padding_mode="circular"), nn.Softplus(), nn.AdaptiveMaxPool2d(1)
        ),
        (1, 1, 5, 5),
    ),
    "three dimensions": (
        lambda: nn.Sequential(nn.Conv3d(1, 2, 2), nn.ELU(), nn.MaxPool3d(2), nn.Flatten(), nn.Linear(2, 1)),
        (1, 1, 3, 3, 3),
    ),
    "ceil mode": (
        lambda: nn.Sequential(nn.MaxPool2d(3, 2, ceil_mode=True), nn.Tanh(), nn.AvgPool2d(2, ceil_mode=True)),
        (1, 1, 4, 4),
    ),
    "dropout, evaluation": (
        lambda: nn.Sequential(nn.Linear(2, 3), nn.Dropout(), nn.Mish(), nn.Linear(3, 1)).eval(),
        (2, 2),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name: str, basis: Basis) -> None:
    build, shape = NETWORKS[name]
    check(build().to(DTYPE), drawn(*shape), basis)


# ---- code between layers --------------------------------------------------------------------------------------------

W = drawn(3, 3, seed=4)


def attention(x: Any) -> Any:
    """Single-head attention, spelled out."""
    q, k, v = (x @ W).chunk(3, dim=-1)
    weights = torch.softmax(q @ k.transpose(-2, -1) / k.shape[-1] ** 0.5, dim=-1)
    return (weights @ v).flatten(1)


def normalised(x: Any) -> Any:
    """Layer normalisation, spelled out."""
    return (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, keepdim=True, unbiased=False) + 1e-5)


def shuffled(x: Any) -> Any:
    """Reshape, permute, cat, stack, index."""
    batch = x.shape[0]
    a, b = x.reshape(batch, -1, 3).permute(2, 0, 1).sin(), x.view(batch, 3).T
    parts = torch.cat([a[:2].flatten(1), b, torch.ones_like(b[:1])])
    stacked = torch.stack([parts, parts.roll(1, 0) ** 2], dim=-1)
    return stacked[[0, -1, 2]][..., 0] * stacked[1:4, :, 1]


def looped(x: Any) -> Any:
    """A loop over time, with a state."""
    state = torch.zeros(x.size(0), 3, dtype=x.dtype, device=x.device)
    for k in range(3):
        state = torch.tanh(state @ W + x[:, k : k + 1])
    return state.sum(-1)


def accumulated(x: Any) -> Any:
    """Writing into a jet, slice by slice."""
    out = x * 0
    for k in range(x.shape[-1]):
        out[..., k] = x[..., : k + 1].prod(-1)
    out[0] += 1
    return out


def rooted(x: Any) -> Any:
    """Norms and quotients, with numbers on either side."""
    return 2 / (1 + (x**2).sum(-1).sqrt()) - (1 - x.abs().max(dim=-1).values) ** 3 * 0.5 ** x[:, 0]


@pytest.mark.parametrize("function", [attention, normalised, shuffled, looped, accumulated, rooted])
def test_functions(function: Callable[[Any], Any], basis: Basis) -> None:
    shape = (1, 2, 3) if function is attention else (2, 3)
    check(function, drawn(*shape), basis)


def test_composition_is_composition(basis: Basis) -> None:
    """Pushing a jet through g and its image through f is pushing it through f∘g."""
    f, g = nn.Sequential(nn.Linear(3, 2), nn.Tanh()).to(DTYPE), nn.Sequential(nn.Linear(2, 3), nn.SiLU()).to(DTYPE)
    jet = curve(drawn(2, 2), basis)
    between = Jet(g(jet).rows.detach(), basis)
    ENGINE.check(f(between).rows, push(lambda x: f(g(x)), jet, backend="reference").rows)


# ---- composites of torch.nn.functional, whose bodies run on jets ----------------------------------------------------


def relaxed(x: Any) -> Any:
    torch.manual_seed(2)
    return F.gumbel_softmax(x, tau=0.7)


COMPOSITES = {
    "lp_pool1d": (lambda x: F.lp_pool1d(x, 3.0, 2), (1, 2, 4)),
    "lp_pool2d": (lambda x: F.lp_pool2d(x, 2.0, 2), (1, 2, 2)),
    "gumbel_softmax": (relaxed, (2, 3)),
    "adaptive_max_pool2d": (lambda x: F.adaptive_max_pool2d(x, (2, 1)), (1, 2, 3)),
}


@pytest.mark.parametrize("name", COMPOSITES)
def test_composites(name: str, basis: Basis) -> None:
    function, shape = COMPOSITES[name]
    check(function, drawn(*shape, low=0.2), basis)


@pytest.mark.parametrize("space", [1, 2, 3])
@pytest.mark.parametrize("adaptive", [True, False])
def test_pools_return_their_indices(space: int, adaptive: bool) -> None:
    x = drawn(2, 2, *[4] * space)
    name = f"{'adaptive_' if adaptive else ''}max_pool{space}d"
    pool = getattr(F, name)
    expected = pool(x, 2, return_indices=True)
    for found in (pool(Jet.seed(x), 2, return_indices=True), getattr(F, f"{name}_with_indices")(Jet.seed(x), 2)):
        assert isinstance(found[0], Jet) and torch.equal(found[0].value, expected[0])
        assert torch.equal(found[1], expected[1])
