"""Derivatives along parameters: a module called with jets in their place."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jetprop import Basis, Jet, functional_call
from jetprop.jets import push
from jets.rule_cases import DTYPE, drawn
from jets.tolerances import ENGINE, ROUNDING

BASIS = Basis.full(2, 2)


def curve(x: Tensor) -> Jet:
    rows = drawn(len(BASIS), *x.shape, seed=1)
    rows[0] = x.detach()
    return Jet(rows, BASIS)


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.BatchNorm1d(4), nn.Linear(4, 1)).to(DTYPE).eval()


def against_reference(model: nn.Module, name: str, x: Any) -> None:
    found = functional_call(model, {name: curve(model.get_parameter(name))}, x)

    def function(p: Tensor) -> Tensor:
        return torch.func.functional_call(model, {name: p}, (x,))

    ENGINE.check(found.rows, push(function, curve(model.get_parameter(name)), backend="reference").rows)


@pytest.mark.parametrize("name", ["0.weight", "0.bias", "2.weight", "2.bias", "3.weight", "3.bias"])
def test_along_each_parameter(name: str) -> None:
    against_reference(network(), name, drawn(2, 3))


@pytest.mark.parametrize("name", ["weight", "bias"])
@pytest.mark.parametrize("layer", [nn.Conv2d(2, 1, 2), nn.ConvTranspose1d(2, 1, 2), nn.BatchNorm2d(2)])
def test_along_parameters_of_other_layers(layer: nn.Module, name: str) -> None:
    layer = layer.to(DTYPE).eval()
    against_reference(layer, name, drawn(1, 2, 2) if isinstance(layer, nn.ConvTranspose1d) else drawn(1, 2, 2, 3))


def test_along_all_parameters_and_the_input_at_once() -> None:
    model, x = network(), drawn(2, 3)
    jets = {name: curve(p) for name, p in model.named_parameters()}
    found = functional_call(model, jets, curve(x))
    flat = torch.cat([curve(x).rows.flatten(1), *(j.rows.flatten(1) for j in jets.values())], 1)

    def function(z: Tensor) -> Tensor:
        sizes = [x.numel(), *(p.numel() for p in model.parameters())]
        first, *rest = z.split(sizes)
        parameters = {name: part.view(p.shape) for (name, p), part in zip(model.named_parameters(), rest, strict=True)}
        return torch.func.functional_call(model, parameters, (first.view(x.shape),))

    ENGINE.check(found.rows, push(function, Jet(flat, BASIS), backend="reference").rows)


def test_tensors_may_replace_too() -> None:
    model, x = network(), curve(drawn(2, 3))
    weight = drawn(4, 3, seed=5)
    found = functional_call(model, {"0.weight": weight, "2.running_mean": drawn(4, seed=6)}, (x,))
    twin = network()
    twin.get_parameter("0.weight").data.copy_(weight)
    twin.get_buffer("2.running_mean").copy_(drawn(4, seed=6))
    ROUNDING.check(found.rows, twin(x).rows)


def test_gradients_reach_rows_and_the_other_parameters() -> None:
    layer = nn.Linear(3, 2, dtype=DTYPE)
    jet = curve(layer.weight).requires_grad_()
    functional_call(layer, {"weight": jet}, drawn(4, 3)).rows.sum().backward()
    assert jet.rows.grad is not None and layer.bias.grad is not None and layer.weight.grad is None
    assert torch.equal(layer.bias.grad, torch.full((2,), 4.0, dtype=DTYPE)), "the bias has no part in derivatives"


class Tied(nn.Module):
    """Twice the same weight, under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 2, bias=False, dtype=DTYPE)
        self.second = nn.Linear(2, 2, bias=False, dtype=DTYPE)
        self.second.weight = self.first.weight

    def forward(self, x: Any) -> Any:
        return self.second(torch.tanh(self.first(x)))


@pytest.mark.parametrize("name", ["first.weight", "second.weight"])
def test_tied_parameters_are_replaced_together(name: str) -> None:
    model, x = Tied(), drawn(3, 2)
    w = curve(model.first.weight)
    expected = push(lambda w: torch.tanh(x @ w.T) @ w.T, w, backend="reference")
    ENGINE.check(functional_call(model, {name: w}, x).rows, expected.rows)


def test_tied_parameters_named_apart_keep_their_own() -> None:
    model, x = Tied(), drawn(3, 2)
    a, b = drawn(2, 2, seed=3), drawn(2, 2, seed=4)
    found = functional_call(model, {"first.weight": a, "second.weight": b}, x)
    ROUNDING.check(found, F.linear(torch.tanh(F.linear(x, a)), b))


def test_recurrent_layers_see_replaced_weights() -> None:
    """They look in a list of their own."""
    layer, x = nn.RNN(2, 2, dtype=DTYPE), drawn(3, 1, 2)
    before = layer(x)[0]
    replaced = functional_call(layer, {"weight_hh_l0": drawn(2, 2)}, x)[0]
    expected = torch.func.functional_call(layer, {"weight_hh_l0": drawn(2, 2)}, (x,))[0]
    ROUNDING.check(replaced, expected)
    assert not torch.allclose(replaced, before)
    assert torch.equal(layer(x)[0], before)
    weight = curve(layer.get_parameter("weight_hh_l0"))
    expected = push(
        lambda w: torch.func.functional_call(layer, {"weight_hh_l0": w}, (x,))[0], weight, backend="reference"
    )
    ENGINE.check(functional_call(layer, {"weight_hh_l0": weight}, x)[0].rows, expected.rows)


def test_the_module_is_left_as_it_was() -> None:
    model = network()
    before = {name: (id(t), t.clone()) for name, t in model.state_dict(keep_vars=True).items()}
    functional_call(model, {"0.weight": curve(model.get_parameter("0.weight")), "0.bias": drawn(4)}, drawn(2, 3))
    with pytest.raises(RuntimeError, match="mat1 and mat2|cannot be multiplied"):
        functional_call(model, {"0.bias": drawn(4)}, drawn(2, 5))
    after = model.state_dict(keep_vars=True)
    assert list(after) == list(before)
    assert all(id(after[name]) == at and torch.equal(after[name], value) for name, (at, value) in before.items())
    assert "weight" not in model.get_submodule("0").__dict__


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(KeyError, match=r"Linear has no parameter or buffer 'wieght'; it has \['bias', 'weight'\]"):
        functional_call(nn.Linear(3, 2), {"wieght": torch.zeros(2, 3)}, torch.zeros(1, 3))
    with pytest.raises(ValueError, match=r"'weight' has shape \(3, 2\), expected \(2, 3\)"):
        functional_call(nn.Linear(3, 2), {"weight": torch.zeros(3, 2)}, torch.zeros(1, 3))


def test_keyword_arguments() -> None:
    layer = nn.Linear(3, 2, dtype=DTYPE)
    found = functional_call(layer, {"bias": drawn(2)}, (), {"input": curve(drawn(2, 3))})
    assert isinstance(found, Jet)
