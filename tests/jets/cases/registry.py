"""All cases."""

from __future__ import annotations

from jets.cases import arithmetic, elementwise, linear, normalization, selection, shapes, value
from jets.rule_cases import Case

CASES: list[Case] = [
    case for module in (elementwise, linear, arithmetic, selection, shapes, normalization) for case in module.CASES
]

VALUE_CASES = value.CASES
