"""All cases."""

from __future__ import annotations

from jets.cases import (
    arithmetic,
    attention,
    complex_numbers,
    contractions,
    decompositions,
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
    stacking,
    value,
)
from jets.rule_cases import Case

CASES: list[Case] = [
    case
    for module in (
        norms,
        linalg,
        decompositions,
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
        stacking,
    )
    for case in module.CASES
]

VALUE_CASES = [*value.CASES, *attention.VALUE_CASES, *decompositions.VALUE_CASES]
