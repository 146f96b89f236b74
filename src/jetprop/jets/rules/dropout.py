"""Dropout of whole channels, and the kinds that keep mean and variance: one mask for all rows.

Masks are drawn by PyTorch's own operators from tensors of the value's shape, so that a seed gives the same mask with
and without jets.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from jetprop.jets.dispatch import SPELLINGS, rule
from jetprop.jets.jet import Jet
from jetprop.jets.kernels import add_to_value

__all__: list[str] = []

SATURATION = 1.7580993408473766
"""What a SELU tends to at −∞, negated: the number that takes the place of what `alpha_dropout` drops."""


@rule("feature_dropout", "linear")
def feature_dropout(x: Jet, p: float, train: bool) -> Jet:
    """Whole channels dropped, the others divided by 1 − p: dropout1d, dropout2d and dropout3d."""
    if not train or p == 0:
        return x
    return Jet._of(x.rows * torch.feature_dropout(torch.ones_like(x.value), p, True), x.basis)


def _keeping_moments(name: str) -> Callable:
    drop = getattr(torch, name)

    def apply(x: Jet, p: float, train: bool) -> Jet:
        if not train or p == 0:
            return x
        # Zeros become what is added to kept entries (a α' p > 0) and what takes the place of dropped ones (< 0).
        shift = drop(torch.zeros_like(x.value), p, True)
        scale = 0.0 if p == 1 else ((SATURATION**2 * p + 1) * (1 - p)) ** -0.5
        slope = torch.where(shift > 0, torch.full_like(shift, scale), 0)
        return Jet._of(add_to_value(x.rows * slope, shift, fresh=True), x.basis)

    apply.__doc__ = f"{name}: a·x + b where kept, a constant where dropped; a and b restore mean and variance."
    return apply


for _name in ("alpha_dropout", "feature_alpha_dropout"):
    rule(_name, "linear")(_keeping_moments(_name))
    del SPELLINGS[getattr(F, _name)]  # the namesake takes other arguments, and calls the operator
