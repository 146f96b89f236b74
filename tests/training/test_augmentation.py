"""Moved inputs as batches: new noise in each step, the same for every number of processes, targets as they were."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from jetprop.objectives import AdversarialAscent, GaussianNoise, SmoothingCost, relative_error
from jetprop.training import Fresh, Moved, Rendered, Source, Step, Stored, fit, plan_phases
from training.curve import FEATURES, OUTPUTS, Curve, recipe

F64: dict[str, Any] = {"dtype": torch.float64, "order": 1}


def sources(batch: int = 6) -> list[Source]:
    return [Stored.of(Curve(), 20, batch, **F64), Rendered(Curve(), 20, batch, **F64), Fresh(Curve(), batch, **F64)]


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(FEATURES, 5), nn.Tanh(), nn.Linear(5, OUTPUTS)).double()


@pytest.mark.parametrize("kind", range(3))
def test_noise_is_new_in_each_step_and_of_the_size_that_was_asked_for(kind: int) -> None:
    source = sources()[kind]
    noisy = Moved(source, GaussianNoise(0.2), network())
    noises = []
    for step in range(200):
        clean, moved = source.batch(step, 0), noisy.batch(step, 0)
        assert torch.equal(clean.targets.rows, moved.targets.rows) and moved.inputs.basis == noisy.basis_of(0)
        noises.append((moved.inputs.rows - clean.inputs.rows).flatten())
    noise = torch.stack(noises)
    assert float(noise.std()) == pytest.approx(0.2, rel=0.03) and abs(float(noise.mean())) < 0.01
    assert float(torch.corrcoef(noise[:2])[0, 1].abs()) < 0.5, "steps share no noise"
    assert torch.equal(noisy.batch(3, 0).inputs.rows, noisy.batch(3, 0).inputs.rows)


@pytest.mark.parametrize("move", [GaussianNoise(0.3), AdversarialAscent(0.3, steps=3)], ids=str)
@pytest.mark.parametrize("kind", range(3))
def test_processes_share_each_batch(kind: int, move: Any) -> None:
    model = network()
    whole, parts = Moved(sources()[kind], move, model), [Moved(sources()[kind], move, model) for _ in range(3)]
    for rank, part in enumerate(parts):
        part.share(rank, 3)
    for step in (0, 5):
        joined = torch.cat([part.batch(step, 0).inputs.rows for part in parts], 1)
        assert torch.allclose(joined, whole.batch(step, 0).inputs.rows, rtol=1e-12)


def test_masks_travel_and_derivatives_do_not() -> None:
    x, y = Curve().sample(8, order=1, dtype=torch.float64)
    mask = torch.rand(3, 8, OUTPUTS) < 0.5
    source = Stored(x, y, batch=8, mask=mask)
    found = Moved(source, GaussianNoise(0.1), network()).batch(0, 0)
    assert found.mask is not None and torch.equal(found.mask, source.batch(0, 0).mask)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="only the target's value is known"):
        Moved(source, GaussianNoise(0.1), network()).batch(0, 1)
    with pytest.raises(ValueError, match="cannot be used with a mask"):
        Moved(source, GaussianNoise(0.1), network(), keep=True).batch(0, 0)


def test_smoothing_steps_are_written_out() -> None:
    """What the step of the recipe's phase finds, against the two costs with their own forward passes."""
    wanted = recipe(data={"order": 0}, augmentation={"kind": "smoothing", "radius": 0.2, "weight": 0.4})
    source, model = Stored.of(Curve(), 20, 6, order=0, dtype=torch.float64), network()
    (phase,) = plan_phases(wanted.objective, source, torch.tensor([2.0]), None, wanted.augmentation, model)
    assert isinstance(phase.compare, SmoothingCost) and phase.source is not None
    batch = phase.source.batch(0, 0)
    total, rows = Step(model, phase.compare)(batch.inputs.rows, batch.targets.rows)
    clean, moved = batch.inputs.value.chunk(2)
    assert torch.equal(clean, source.batch(0, 0).inputs.value)
    assert torch.allclose((moved - clean).norm(dim=1), torch.full((6,), 0.2, dtype=torch.float64), rtol=1e-9)
    e0 = (model(clean) - source.batch(0, 0).targets.value).square().sum(1).mean() / 4
    s = (model(moved) - model(clean)).square().sum(1).mean() / 4
    assert torch.allclose(rows, torch.stack([e0, s])) and torch.allclose(total, e0 + 0.4 * s)


def test_errors_are_those_of_clean_inputs() -> None:
    found = fit(recipe(data={"order": 0}, augmentation={"kind": "gaussian", "sigma": 3.0}))
    images, targets = Curve().sample(40, order=0, dtype=torch.float64)
    with torch.no_grad():
        error = relative_error(found.model(images.value), targets.value, targets.value.std(0, correction=0))
    assert found.metrics["train_error"] == pytest.approx(error, rel=1e-9)
