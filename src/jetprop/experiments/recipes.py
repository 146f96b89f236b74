"""The recipes that were found best at equal time, one for each method, by `jetprop reproduce when-it-pays recipes`."""

from __future__ import annotations

from typing import Any, Literal

from jetprop.training import Recipe

__all__ = ["METHODS", "ORDERS", "RECIPES", "Changes", "Method", "best", "common"]

Method = Literal["values only", "one random direction", "first", "second"]
"""What is trained: values, or derivatives of an order too, along all degrees of freedom or a random direction."""

METHODS: tuple[Method, ...] = ("values only", "one random direction", "first", "second")

ORDERS: dict[Method, int] = {"values only": 0, "one random direction": 1, "first": 1, "second": 2}

Changes = dict[str, Any]
"""Keys of a recipe, named with dots, and their values."""

RECIPES: dict[Method, Changes] = {
    "values only": {"training.batch": 256},
    "one random direction": {
        "training.batch": 256,
        "data.directions": {"random": 1, "law": "rademacher"},
        "objective.weights": [1.0, 0.1],
    },
    "first": {"training.batch": 64, "objective.weights": [1.0, 0.1]},
    "second": {
        "training.batch": 64,
        "objective.weights": [1.0, 1.0, 0.1],
        "objective.phases": [{"from": 0.8, "weights": [1.0, 1.0, 0.0]}],
    },
}
"""What each method changes in the common recipe."""


def common(widths: list[int], order: int, data: Changes, training: Changes) -> Recipe:
    """What the recipes share: SiLU, Muon for the matrices between hidden layers, Adam for the rest, cosine decay.

    Args:
        widths: of all layers.
        order: of the derivatives that the data carry.
        data: entries of `[data]`.
        training: entries of `[training]`, the budget among them.
    """
    return Recipe.build(
        {
            "model": {"widths": widths, "activation": "silu", "init": "torch"},
            "data": {"order": order, **data},
            "optimizer": {"name": "muon", "rate": 0.01, "options": {"weight_decay": 0.0}, "rest": {"rate": 1e-3}},
            "schedule": {"kind": "cosine", "warmup": 0.02},
            "training": {"batch": 64, "precision": "32-medium", **training},
        }
    )


def best(method: Method, widths: list[int], data: Changes, training: Changes) -> Recipe:
    """The best recipe of a method, see `common`; a batch that is given stands."""
    changes = {key: value for key, value in RECIPES[method].items() if key.split(".")[-1] not in training}
    return common(widths, ORDERS[method], data, training).replace(changes)
