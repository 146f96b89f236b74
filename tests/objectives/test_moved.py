"""Moved inputs: what the ascent finds is the optimum where it is known, and noise is what it says."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from jetprop import Basis, Jet
from jetprop.objectives import AdversarialAscent, GaussianNoise, SmoothingCost
from training.curve import Noisy

VALUES = Basis.full(0, 0)
INFINITE = torch.full((1, 2), torch.inf)


def linear() -> nn.Linear:
    return nn.Linear(5, 3, bias=False).double()


def test_noise_is_added_and_not_clipped() -> None:
    x, noise = torch.rand(4, 5), torch.randn(4, 5)
    assert torch.equal(GaussianNoise(0.7)(linear(), x, x, noise), x + 0.7 * noise)


def test_away_from_the_output_is_the_leading_singular_vector() -> None:
    """‖W δ‖ over ‖δ‖ ≤ r is largest, r σ₁, along the leading right singular vector of W."""
    model, x = linear(), torch.randn(6, 5, dtype=torch.float64)
    ascent = AdversarialAscent(radius=0.3, steps=400, rate=5.0, toward="output")
    delta = ascent(model, x, torch.zeros(6, 3), torch.randn(6, 5, dtype=torch.float64)) - x
    assert torch.allclose(delta.norm(dim=1), torch.full((6,), 0.3, dtype=torch.float64))
    largest = 0.3 * float(torch.linalg.matrix_norm(model.weight.detach(), 2))
    reached = model(delta).detach().norm(dim=1)
    assert torch.allclose(reached, torch.full_like(reached, largest), rtol=1e-6)


def test_parts_that_were_frozen_stay_frozen() -> None:
    model = nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 3)).double()
    model[0].eval()
    x = torch.randn(4, 5, dtype=torch.float64)
    AdversarialAscent(radius=0.1, steps=1)(model, x, torch.zeros(4, 3, dtype=torch.float64), torch.randn_like(x))
    assert [module.training for module in model.modules()] == [True, False, True]


def test_away_from_the_target_no_random_point_of_the_ball_is_worse() -> None:
    model, x = linear(), torch.randn(3, 5, dtype=torch.float64)
    targets = torch.randn(3, 3, dtype=torch.float64)
    found = AdversarialAscent(radius=0.5, steps=300, rate=1.0)(model, x, targets, torch.randn_like(x))
    assert float((found - x).norm(dim=1).max()) <= 0.5 * (1 + 1e-12)
    others = torch.randn(2000, 3, 5, dtype=torch.float64)
    others = x + 0.5 * others / others.norm(dim=2, keepdim=True)
    with torch.no_grad():
        reached = (model(found) - targets).norm(dim=1)
        assert bool((reached >= (model(others) - targets).norm(dim=2).max(0).values - 1e-12).all())


def test_the_ascent_leaves_the_network_as_it_was() -> None:
    model = Noisy().double().train()
    state = {name: t.clone() for name, t in model.state_dict().items()}
    x = torch.randn(4, 6, dtype=torch.float64)
    moved = AdversarialAscent(radius=0.1, steps=3)(model, x, torch.zeros(4, 2), torch.randn_like(x))
    assert model.training and all(p.grad is None for p in model.parameters()) and not moved.requires_grad
    assert all(torch.equal(t, state[name]) for name, t in model.state_dict().items())


def test_smoothing_is_written_out() -> None:
    clean, moved, truth = (torch.randn(4, 3, dtype=torch.float64) for _ in range(3))
    cost = SmoothingCost(weight=0.3, normalizer=2.0, value_weight=0.9)
    outputs, targets = (Jet.constant(torch.cat(pair), VALUES) for pair in ((clean, moved), (truth, truth)))
    found = cost(outputs, targets)
    e0 = float((clean - truth).square().sum(1).mean() / 4)
    s = float((moved - clean).square().sum(1).mean() / 4)
    assert {name: float(t) for name, t in found.terms.items()} == pytest.approx({"E0": e0, "S": s}, rel=1e-12)
    assert float(found.total) == pytest.approx(0.9 * e0 + 0.3 * s, rel=1e-12)
    assert cost.named(found.rows) == pytest.approx({"E0": e0, "S": s}) and cost.name(1) == "S"


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: GaussianNoise(0.0), ValueError, "sigma is a finite number > 0"),
        (lambda: AdversarialAscent(-1.0), ValueError, "radius is a finite number > 0"),
        (lambda: AdversarialAscent(1.0, steps=0), ValueError, "integer ≥ 1"),
        (lambda: AdversarialAscent(1.0, rate=float("nan")), ValueError, "rate is a finite"),
        (lambda: AdversarialAscent(1.0, toward="up"), ValueError, '"target" or "output"'),
        (lambda: SmoothingCost(0.0, 1.0), ValueError, "weight is a finite number > 0"),
        (
            lambda: AdversarialAscent(1.0)(nn.Identity(), INFINITE, INFINITE, torch.ones(1, 2)),
            FloatingPointError,
            "not finite",
        ),
    ],
)
def test_bad_arguments_are_named(call, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        call()
