"""The error (3)."""

from __future__ import annotations

import pytest
import torch

from jetprop.objectives import ErrorMeter, relative_error


def test_it_is_the_mean_of_relative_root_mean_squares() -> None:
    prediction, target = torch.randn(2, 40, 3, dtype=torch.float64)
    sigma = torch.tensor([0.5, 1.0, 2.0])
    expected = sum(float((prediction - target)[:, i].square().mean().sqrt() / sigma[i]) for i in range(3)) / 3
    assert relative_error(prediction, target, sigma) == pytest.approx(expected, rel=1e-12)
    meter = ErrorMeter(sigma)
    for p, t in zip(prediction.split([1, 30, 9]), target.split([1, 30, 9]), strict=True):
        meter.update(p, t)
    assert meter.compute() == pytest.approx(expected, rel=1e-12)


def test_predicting_the_mean_gives_one() -> None:
    target = torch.randn(100, 4, dtype=torch.float64)
    sigma = target.std(0, correction=0)
    assert relative_error(target.mean(0).expand_as(target), target, sigma) == pytest.approx(1.0)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="drop constant outputs"):
        ErrorMeter(torch.tensor([1.0, 0.0]))
    with pytest.raises(ValueError, match="must both be"):
        relative_error(torch.zeros(3, 2), torch.zeros(3, 3), torch.ones(2))
    with pytest.raises(ValueError, match="call update first"):
        ErrorMeter(torch.ones(2)).compute()
