"""Optimizers by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from jetprop.training import MLP, OptimizerConfig, RecipeError, RestConfig, build_optimizers


def config(**values: Any) -> OptimizerConfig:
    return OptimizerConfig(**values)


@pytest.mark.parametrize("name", ["adam", "SGD", "AdamW", "rmsprop", "nadam"])
def test_any_class_of_torch(name: str) -> None:
    model = MLP([3, 4, 2])
    found = build_optimizers(model, config(name=name, rate=0.1))
    assert type(found.members[0]).__name__.lower() == name.lower()
    assert found.rates == [0.1]
    before = [p.clone() for p in model.parameters()]
    model(torch.ones(2, 3)).sum().backward()
    found.step()
    found.zero_grad()
    assert all(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert all(p.grad is None for p in model.parameters())


def test_options_reach_the_class() -> None:
    member = build_optimizers(MLP([3, 2]), config(options={"betas": [0.5, 0.9], "eps": 1e-3})).members[0]
    assert member.param_groups[0]["betas"] == (0.5, 0.9) and member.param_groups[0]["eps"] == 1e-3


@pytest.mark.parametrize(
    ("widths", "expected"),
    [([5, 4, 3, 2, 2], ["layers.1.weight", "layers.2.weight"]), ([5, 4, 2], ["layers.0.weight"])],
)
def test_muon_takes_the_matrices_between_hidden_layers(widths: list[int], expected: list[str]) -> None:
    model = MLP(widths)
    muon, rest = build_optimizers(model, config(name="muon", rate=0.02)).members
    names = {id(p): name for name, p in model.named_parameters()}
    taken = [names[id(p)] for p in muon.param_groups[0]["params"]]
    assert type(muon).__name__ == "Muon" and type(rest).__name__ == "Adam"
    assert taken == expected
    assert len(rest.param_groups[0]["params"]) == len(names) - len(expected)


def test_muon_takes_the_named_matrices() -> None:
    model = MLP([5, 4, 3, 2])
    chosen = config(name="muon", matrices=["layers.[12].*"], rest=RestConfig(name="sgd", rate=0.5))
    found = build_optimizers(model, chosen)
    assert [len(m.param_groups[0]["params"]) for m in found.members] == [2, 4]
    found.set_factor(0.1)
    assert found.rates == pytest.approx([1e-4, 0.05])


def test_parameters_without_gradients_are_left_out() -> None:
    model = MLP([3, 4, 2])
    model.layers[0].requires_grad_(False)
    assert len(build_optimizers(model, config()).members[0].param_groups[0]["params"]) == 2


@pytest.mark.parametrize(
    ("model", "values", "said"),
    [
        (MLP([3, 2]), {"name": "adm"}, 'did you mean "adam"'),
        (MLP([3, 2]), {"name": "lbfgs"}, "several times a step"),
        (MLP([3, 2]), {"options": {"beta": 0.9}}, 'no option "beta"; did you mean "betas"'),
        (MLP([3, 2]), {"options": {"betas": [2.0, 0.9]}}, "Invalid beta"),
        (MLP([3, 2]), {"name": "muon"}, "the model has none"),
        (MLP([3, 4, 2]), {"name": "muon", "matrices": ["layer.*"]}, "matches no 2-D weight; there are layers.0.weight"),
        (MLP([3, 4, 2]), {"name": "muon", "rest": RestConfig(name="muon")}, "what muon cannot train"),
        (nn.Identity(), {}, "nothing to train"),
    ],
)
def test_what_cannot_be_built_is_named(model: nn.Module, values: dict, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        build_optimizers(model, config(**values))
