"""All cases."""

from __future__ import annotations

from jets.cases import (
    arithmetic,
    attention,
    complex_numbers,
    contractions,
    dropout,
    elementwise,
    embedding,
    fourier,
    linalg,
    linear,
    losses,
    normalization,
    norms,
    recurrent,
    reductions,
    resampling,
    scattering,
    selection,
    shapes,
    similarity,
    softmax,
    special,
    value,
)
from jets.rule_cases import Case

CASES: list[Case] = [
    case
    for module in (
        norms,
        linalg,
        fourier,
        contractions,
        complex_numbers,
        elementwise,
        linear,
        arithmetic,
        selection,
        shapes,
        normalization,
        softmax,
        attention,
        dropout,
        embedding,
        resampling,
        similarity,
        losses,
        recurrent,
        reductions,
        scattering,
        special,
    )
    for case in module.CASES
]

VALUE_CASES = [*value.CASES, *attention.VALUE_CASES]
