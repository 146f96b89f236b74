"""Recomputed activations: gone after the forward pass, and the same gradients."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from jetprop.jets import Basis, Jet, recompute, recomputed_activations
from jets.rule_cases import DTYPE, drawn

BASIS = Basis.full(2, 2)


class Net(nn.Module):
    """Linear layers, a convolution and a product between elementwise functions; keeps track of what these return."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.last = nn.Linear(3, 8), nn.Linear(8, 8), nn.Linear(16, 1)
        self.conv = nn.Conv1d(1, 2, 3, padding=1)
        self.to(DTYPE)
        self.activations: list[weakref.ref] = []
        self.x = Jet.seed(drawn(4, 3), drawn(2, 4, 3, seed=1), basis=BASIS)

    def noted(self, jet: Any) -> Any:
        self.activations.append(weakref.ref(jet.rows))
        return jet

    def forward(self, x: Any) -> Any:
        x = self.noted(torch.tanh(self.first(x)))
        x = self.noted(nn.functional.gelu(self.second(x)))
        x = self.noted(torch.sigmoid(self.conv(x.unsqueeze(1))))
        return self.last(x.flatten(1))

    def loss(self, recomputed: bool) -> Tensor:
        self.activations.clear()
        if not recomputed:
            return self(self.x).rows.square().mean()
        with recomputed_activations():
            return self(self.x).rows.square().mean()


@pytest.fixture
def model() -> Net:
    return Net()


def test_activations_are_not_kept(model: Net) -> None:
    loss = model.loss(recomputed=False)
    assert all(activation() is not None for activation in model.activations), loss
    loss = model.loss(recomputed=True)
    assert all(activation() is None for activation in model.activations), loss


def saved_bytes(model: Net, recomputed: bool, monkeypatch: pytest.MonkeyPatch) -> int:
    """Of the distinct tensors kept, parameters left out."""
    kept: dict[int, int] = {}
    keep = recompute._keep if recomputed else lambda tensor: tensor

    def noted(tensor: Tensor) -> Any:
        found = keep(tensor)
        if isinstance(found, Tensor) and not isinstance(found, nn.Parameter):
            kept[found.untyped_storage().data_ptr()] = found.untyped_storage().nbytes()
        return found

    monkeypatch.setattr(recompute, "_keep", noted)
    loss = model.loss(recomputed=True)
    monkeypatch.undo()
    loss.backward()
    return sum(kept.values())


def test_saved_bytes_of_hidden_layers_halve(monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = nn.Sequential(*[layer for _ in range(5) for layer in (nn.Linear(16, 16), nn.Tanh())]).to(DTYPE)
    x = Jet(drawn(len(BASIS), 32, 16), BASIS)
    model.loss = lambda recomputed: _loss(model, x)
    layer = x.rows.nbytes
    assert saved_bytes(model, False, monkeypatch) == 10 * layer  # the input, five z, and f(z) before four layers
    assert saved_bytes(model, True, monkeypatch) == 6 * layer


def _loss(model: nn.Module, x: Jet) -> Tensor:
    with recomputed_activations():
        return model(x).rows.sum()


@pytest.mark.parametrize("higher", [False, True], ids=["gradients", "gradients of gradients"])
def test_gradients_are_equal(model: Net, higher: bool) -> None:
    found: list[list[Tensor]] = []
    for recomputed in (False, True):
        parameters = list(model.parameters())
        grads = torch.autograd.grad(model.loss(recomputed), parameters, create_graph=higher)
        if higher:
            size = torch.stack([g.square().sum() for g in grads]).sum()
            grads += torch.autograd.grad(size, parameters)
        found.append(list(grads))
    for ours, plain in zip(*found, strict=True):
        assert torch.equal(ours, plain)


def test_what_was_changed_in_place_is_kept() -> None:
    z = drawn(len(BASIS), 4, 3).requires_grad_()
    weight = drawn(3, 3, seed=1).requires_grad_()
    gradients: list[Tensor] = []
    for recomputed in (False, True):
        with recomputed_activations() if recomputed else torch.enable_grad():
            y: Any = torch.tanh(Jet(z, BASIS))  # type: ignore[arg-type]
            with torch.no_grad():
                y.rows.mul_(2)  # behind autograd's back
            loss = (y @ weight).rows.square().sum()
        gradients.append(torch.autograd.grad(loss, weight)[0])
    assert torch.equal(*gradients)


def test_two_passes_over_one_graph(model: Net) -> None:
    loss = model.loss(recomputed=True)
    parameters = list(model.parameters())
    once = torch.autograd.grad(loss, parameters, retain_graph=True)
    for a, b in zip(once, torch.autograd.grad(loss, parameters), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(loss, parameters)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch", "ignore:.*torch.jit:DeprecationWarning")
def test_inside_one_graph_of_a_compiler_it_is_refused(model: Net) -> None:
    model.noted = lambda jet: jet  # type: ignore[method-assign]
    plain = model.loss(recomputed=False)
    with pytest.raises(RuntimeError, match="saved_tensors_hooks"):
        torch.compile(lambda: model.loss(recomputed=True), fullgraph=True, backend="eager")()
    torch.compiler.reset()
    with recomputed_activations():
        outside = torch.compile(lambda: model.loss(recomputed=False), fullgraph=True, backend="aot_eager")()
    outside.backward()
    assert torch.allclose(outside, plain)
