"""Networks by name, their initial weights, and the checks before training."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from jetprop import Basis, Jet
from jetprop.training import MLP, Batch, ModelConfig, RecipeError, build_model, check_model
from jetprop.training.assembly import prepare_model
from training.curve import recipe


def test_initial_weights_are_as_published() -> None:
    """Section 2.4: ±2/√κ, ±10/√1681 for the first matrix, thresholds in ±0.1."""
    model = MLP([1681, 64, 32, 9])
    for place, layer in enumerate(model.layers):
        assert isinstance(layer, nn.Linear)
        bound = (2 if place else 10) / layer.in_features**0.5
        assert 0.98 * bound < float(layer.weight.detach().abs().max()) <= bound
        assert abs(float(layer.weight.detach().mean())) < 4 * bound / (3 * layer.weight.numel()) ** 0.5
        assert 0.06 < float(layer.bias.detach().abs().max()) <= 0.1


def test_the_seed_decides_and_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    one, other, third = MLP([4, 3, 2], seed=1), MLP([4, 3, 2], seed=1), MLP([4, 3, 2], seed=2)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.layers[0].weight, other.layers[0].weight)  # type: ignore[arg-type]
    assert not torch.equal(one.layers[0].weight, third.layers[0].weight)  # type: ignore[arg-type]


def test_the_output_layer_is_linear_and_images_are_flattened() -> None:
    model = MLP([12, 5, 2], activation="relu").double()
    x = torch.randn(3, 3, 4, dtype=torch.float64)
    hidden, last = model.layers
    assert torch.allclose(model(x), last(torch.relu(hidden(x.flatten(1)))))
    jet = model(Jet.constant(x, Basis.full(2, 1)))
    assert torch.allclose(jet.value, model(x)) and jet.shape == (3, 2)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"widths": [3, 2], "activation": "sigmod"}, 'did you mean "sigmoid"'),
        ({"factory": "training.curve"}, 'not of the form "package.module:name"'),
        ({"factory": "no.such.module:f"}, "cannot be imported"),
        ({"factory": "training.curve:Noise"}, "did you mean"),
        ({"factory": "training.curve:Noisy", "options": {"widht": 3}}, r"widht.*see \[model.options\]"),
        ({"factory": "training.curve:no_module"}, "returned int, expected a torch.nn.Module"),
    ],
)
def test_models_that_cannot_be_built_are_named(config: dict, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        build_model(ModelConfig(**{"kind": "factory" if "factory" in config else "mlp", **config}))


def test_factories_get_options_and_a_seed() -> None:
    config = ModelConfig(kind="factory", factory="training.curve:Noisy", options={"width": 5})
    one, other = build_model(config, 3), build_model(config, 3)
    assert torch.equal(one.first.weight, other.first.weight) and one.first.out_features == 5  # type: ignore[union-attr]


class Wrong(nn.Module):
    def __init__(self, answer: object) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.answer = answer

    def forward(self, x: object) -> object:
        return self.answer


def batch(order: int = 1, outputs: int = 2) -> Batch:
    basis = Basis.full(2, order)
    return Batch(Jet.constant(torch.ones(4, 6), basis), Jet.constant(torch.ones(4, outputs), basis))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (MLP([5, 2]), r"widths begins with 5, but one input is \[6\], 6 values; set widths = \[6, 2\]"),
        (MLP([6, 3]), r"output is \[3\].*target is \[2\]; set widths = \[6, 2\]"),
        (nn.Linear(5, 2), r"does not take inputs of shape \[2, 6\] \(torch.float32\) with 3 rows"),
        (Wrong(3.0), "returned int|returned float"),
        (Wrong(torch.zeros(2, 2)), "returned Tensor for a Jet"),
        (nn.Linear(6, 2, device="meta"), "lies on meta"),
    ],
)
def test_what_does_not_fit_fails_before_training(model: nn.Module, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_model(model, batch())


def test_checking_leaves_the_model_as_it_was() -> None:
    model = build_model(ModelConfig(kind="factory", factory="training.curve:Noisy"))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for order in (0, 1):
        check_model(model, batch(order))
    assert model.training and all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_misplaced_models_are_named() -> None:
    cpu = torch.device("cpu")
    with pytest.raises(ValueError, match="lie on cpu, meta"):
        prepare_model(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2, device="meta")), recipe(), cpu)
    with pytest.raises(ValueError, match="weight is torch.float64"):
        prepare_model(nn.Linear(2, 2).double(), recipe(training={"precision": "32-true"}), cpu)
    assert prepare_model(nn.Linear(2, 2), recipe(), cpu).weight.dtype == torch.float64
