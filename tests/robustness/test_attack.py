"""Attacks by finite steps: what they claim is measured anew."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from jetprop import Oracle
from jetprop.manifolds import Cube
from jetprop.oracle import Status
from jetprop.robustness import attack, gradients, sensitivity_direction, vulnerability
from jetprop.robustness.vulnerability import KINDS
from jetprop.training import MLP
from robustness.flat import Flat

F64 = torch.float64
FLAT = Flat()


def linear(outputs: int = 4) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(20, outputs)).double()


@pytest.mark.parametrize("kind", KINDS)
def test_on_a_flat_manifold_a_linear_network_fails_exactly_as_predicted(kind) -> None:
    """Both are linear, so there is no second order; the oracle is known in closed form."""
    model, poses = linear(), FLAT.poses(6)
    epsilon = torch.linspace(0, 5, 6, dtype=F64)
    found = attack(model, Oracle.at(FLAT, poses), epsilon, kind, scale=0.7)
    clean = FLAT.render(poses, 0, dtype=F64)[0].value
    torch.testing.assert_close(found.image, clean + epsilon[:, None, None] * found.direction)
    with torch.no_grad():
        change = model(found.image) - model(clean)
        expected = model(found.image) - FLAT.answer(found.image)[1]
    torch.testing.assert_close(found.error, expected, atol=1e-7, rtol=0)  # as near as the projection comes
    torch.testing.assert_close(found.predicted, expected, atol=1e-7, rtol=0)
    torch.testing.assert_close(found.network_change, change)
    torch.testing.assert_close(found.growth, found.predicted_growth, atol=1e-7, rtol=0)
    assert found.verified.all() and (found.growth >= -1e-9).all()
    if kind == "sensitivity":
        assert found.oracle_change.abs().max() < 1e-7 < found.network_change.norm(dim=1)[1:].min()
    if kind == "invariance":
        assert found.oracle_change.norm(dim=1)[1:].min() > 1e-3


def test_for_a_network_without_initial_error_the_growth_is_epsilon_v() -> None:
    oracle = Oracle.at(FLAT, FLAT.poses(3))
    offset = Matched(linear(), oracle)
    found = attack(offset, oracle, 0.3)
    v = vulnerability(offset, oracle.image.value, oracle).maximum
    torch.testing.assert_close(found.predicted_growth, 0.3 * v)
    torch.testing.assert_close(found.growth, 0.3 * v, atol=1e-6, rtol=0)


class Matched(nn.Module):
    """A network whose outputs are right on the images of an oracle."""

    def __init__(self, model: nn.Module, oracle: Oracle) -> None:
        super().__init__()
        self.model = model
        with torch.no_grad():
            self.offset = oracle.target.value - model(oracle.image.value)

    def forward(self, x):
        return self.model(x) + self.offset


@pytest.mark.parametrize("kind", KINDS)
def test_on_the_cube_the_prediction_is_right_to_second_order(kind) -> None:
    cube, model = Cube(), MLP([1681, 24, 9]).double()
    oracle = Oracle.at(cube, cube.poses(3))
    misses = []
    for epsilon in (0.1, 0.05):
        found = attack(model, oracle, epsilon, kind)
        assert found.verified.all()
        misses.append((found.error - found.predicted).norm(dim=1))
        assert (found.growth > 0.9 * found.predicted_growth).all()
    rate = torch.log2(misses[0] / misses[1])
    assert ((rate > 1.7) & (rate < 2.3)).all()


def test_the_optimal_attack_does_more_harm_than_any_random_step() -> None:
    cube, model = Cube(), MLP([1681, 24, 9]).double()
    oracle = Oracle.at(cube, cube.poses(2))
    best = attack(Matched(model, oracle), oracle, 0.1).growth
    for _ in range(3):
        random = attack(Matched(model, oracle), oracle, 0.1, torch.randn(2, 41, 41, dtype=F64))
        assert (random.growth < 0.5 * best).all()


def test_any_direction_can_be_tried() -> None:
    """That of (21) for one output: the network's output moves, the oracle's does not."""
    cube, model = Cube(), MLP([1681, 24, 9]).double()
    oracle = Oracle.at(cube, cube.poses(2))
    direction = sensitivity_direction(gradients(model, oracle.image.value), oracle.gradient())[:, 4]
    found = attack(model, oracle, 1e-3, direction)
    torch.testing.assert_close(found.direction.flatten(1).norm(dim=1), torch.ones(2, dtype=F64))
    assert (found.oracle_change[:, 4].abs() < 1e-2 * found.network_change[:, 4].abs()).all()
    torch.testing.assert_close(found.predicted, found.error, atol=1e-5, rtol=0)  # second order in 1e-3


def test_what_cannot_be_verified_says_so() -> None:
    cube, model = Cube(), MLP([1681, 24, 9]).double()
    oracle = Oracle.at(cube, cube.poses(2))
    hurried = attack(model, oracle, 0.5, max_steps=1)
    assert not hurried.verified.any() and (hurried.status == Status.STEP_LIMIT).all()


def test_bad_input_is_named() -> None:
    cube, model = Cube(), MLP([1681, 24, 9]).double()
    oracle = Oracle.at(cube, cube.poses(2))
    with pytest.raises(ValueError, match="Oracle.at"):
        attack(model, Oracle(*cube.sample(2, order=1)), 0.1)
    for epsilon in (-0.1, float("nan"), torch.ones(3)):
        with pytest.raises(ValueError, match="epsilon is a finite number ≥ 0"):
            attack(model, oracle, epsilon)
    with pytest.raises(ValueError, match="kind is one of"):
        attack(model, oracle, 0.1, "worst")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="like the images"):
        attack(model, oracle, 0.1, torch.ones(2, 40, 41))
    with pytest.raises(ValueError, match="scale is a number > 0"):
        attack(model, oracle, 0.1, torch.ones(2, 41, 41), scale=-1.0)
    with pytest.raises(ValueError, match="chunk is an integer ≥ 1"):
        attack(model, oracle, 0.1, chunk=0)
    with pytest.raises(ValueError, match="without `observed`"):
        attack(model, Oracle.at(cube, cube.poses(2), observed=oracle.image.value + 0.01), 0.1)
    with pytest.raises(ValueError, match="leave them out"):
        attack(model, oracle, 0.1, torch.ones(2, 41, 41), leading=6)
