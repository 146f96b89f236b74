"""Sections of a recipe that say what is minimised, and at which inputs."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from jetprop.objectives.directions import CLASSES, mixture_of
from jetprop.objectives.normalization import Kind
from jetprop.objectives.robust import Targets, term_of

__all__ = ["AugmentationConfig", "ObjectiveConfig", "Phase", "RobustConfig", "Section"]


class Section(BaseModel):
    """A table of a recipe: strict, and nothing that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)


def _robust_weights(weights: dict[str, float]) -> dict[str, float]:
    for name, weight in weights.items():
        term_of(name)
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"{name} = {weight}: weights are finite numbers ≥ 0")
    return weights


class Phase(Section):
    """`[[objective.phases]]`: other weights from some point of the training on.

    Args:
        from_: written `from` in TOML; the progress, in [0, 1), from which the weights hold.
        weights: one for each order. Orders above the last weight > 0 are not computed at all.
        robust: as in `[objective]`; by default the weights there, `{}` for none.
    """

    from_: float = Field(alias="from", ge=0, lt=1)
    weights: list[float]
    robust: dict[str, float] | None = None

    @field_validator("robust")
    @classmethod
    def _terms(cls, robust: dict[str, float] | None) -> dict[str, float] | None:
        return None if robust is None else _robust_weights(robust)


class ObjectiveConfig(Section):
    """`[objective]`: what is minimised.

    Args:
        weights: one for each order 0, 1, …; by default 1 for each.
        normalizers: "reciprocal", "scaled", "printed", "unit" or "none", see `jetprop.objectives.normalizers`.
        robust: weights of the terms of universal robust training, by name: `{R1_low = 1.0, R1_mid = 1.0}`; R1 and R2
            are first and second order, low, mid and high classes of directions. See `[robust]`.
        phases: other weights later on.
    """

    weights: list[float] | None = None
    normalizers: Kind = "reciprocal"
    robust: dict[str, float] = Field(default_factory=dict)
    phases: list[Phase] = Field(default_factory=list)

    @field_validator("robust")
    @classmethod
    def _terms(cls, robust: dict[str, float]) -> dict[str, float]:
        return _robust_weights(robust)

    @field_validator("phases")
    @classmethod
    def _ascending(cls, phases: list[Phase]) -> list[Phase]:
        starts = [phase.from_ for phase in phases]
        if starts != sorted(set(starts)):
            raise ValueError(f"phases start at {starts}; they must be in ascending order, each start once")
        return phases

    def robust_of(self, phase: Phase | None) -> dict[str, float]:
        """The weights > 0 of robust terms in a phase; None is the time before the first."""
        given = self.robust if phase is None or phase.robust is None else phase.robust
        return {name: float(weight) for name, weight in given.items() if weight > 0}

    def robust_orders(self, needed: dict[str, float] | None = None) -> dict[str, int]:
        """The highest order of each class among some terms, or among those of all phases."""
        if needed is None:
            needed = {name: 1.0 for phase in (None, *self.phases) for name in self.robust_of(phase)}
        orders: dict[str, int] = {}
        for order, kind in sorted(term_of(name) for name in needed):
            orders[kind] = max(order, orders.get(kind, 0))
        known = [*CLASSES, *sorted(orders.keys() - CLASSES.keys())]
        return {kind: orders[kind] for kind in known if kind in orders}


class RobustConfig(Section):
    """`[robust]`: directions of the input space for the robust terms of `[objective]`.

    Args:
        targets: "oracle" (universal robust training), or "zero" (Jacobian regularisation: then no normalizers either,
            the weight is the paper's c²).
        directions: how many of each class are drawn before training; sample k takes number k + epoch, see
            `jetprop.objectives.ImageDirections`. A class of 41 × 41 pixels takes 6.7 MB for each 1000.
        classes: classes of your own, name to pairs [weight, blur radius].
    """

    targets: Targets = "oracle"
    directions: int = Field(default=8192, ge=1)
    classes: dict[str, list[list[float]]] = Field(default_factory=dict)

    @field_validator("classes")
    @classmethod
    def _mixtures(cls, classes: dict[str, list[list[float]]]) -> dict[str, list[list[float]]]:
        for kind in classes:
            mixture_of(kind, classes)  # type: ignore[arg-type]
        return classes


class AugmentationConfig(Section):
    """`[augmentation]`: train on moved inputs, values only, with the targets of the ones that they came from.

    Args:
        kind: "gaussian" (noise, new in each step), "adversarial" (projected gradient ascent of the squared error), or
            "smoothing" (as TRADES: the unmoved input, and how far the output is from it at the moved one).
        sigma: gaussian: standard deviation of each input value.
        radius: adversarial and smoothing: of the ball, ‖x' − x‖ ≤ radius.
        steps: adversarial and smoothing: of the ascent.
        rate: adversarial and smoothing: length of a step; by default 2.5 radius/steps.
        weight: smoothing: of its term S.
    """

    kind: Literal["gaussian", "adversarial", "smoothing"]
    sigma: float | None = Field(default=None, gt=0)
    radius: float | None = Field(default=None, gt=0)
    steps: int | None = Field(default=None, ge=1)
    rate: float | None = Field(default=None, gt=0)
    weight: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _fits(self) -> AugmentationConfig:
        needs = {"gaussian": ["sigma"], "adversarial": ["radius"], "smoothing": ["radius", "weight"]}[self.kind]
        takes = [*needs, *([] if self.kind == "gaussian" else ["steps", "rate"])]
        for name in ("sigma", "radius", "steps", "rate", "weight"):
            value = getattr(self, name)
            if name in needs and value is None:
                raise ValueError(f'kind = "{self.kind}" needs {name}')
            if name not in takes and value is not None:
                raise ValueError(f'{name} does not belong to kind = "{self.kind}", which takes {", ".join(takes)}')
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{name} = {value} is not finite")
        return self
