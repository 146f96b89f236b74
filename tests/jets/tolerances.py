"""The tolerances of the engine's tests, each with its reason; float64 unless said otherwise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tolerance:
    """How far two tensors may lie apart."""

    relative: float
    absolute: float

    def check(self, found: Tensor, expected: Tensor, note: str = "") -> None:
        """Fail unless shapes and dtypes are equal, and the entries close."""
        torch.testing.assert_close(
            found,
            expected,
            rtol=self.relative,
            atol=self.absolute,
            msg=lambda text: f"{note}: {text}" if note else text,
        )

    def __or__(self, other: Tolerance) -> Tolerance:
        """The wider of the two."""
        return Tolerance(max(self.relative, other.relative), max(self.absolute, other.absolute))


ENGINE = Tolerance(1e-9, 1e-9)
"""Engine against nested reverse mode: both are exact and add the same terms in another order; up to order 4, hundreds
of terms of differing size cancel, which costs up to five of the sixteen digits."""

ROUNDING = Tolerance(1e-12, 1e-12)
"""The same sum in another order: a few units in the last place, times the number of terms."""

EXACT = Tolerance(0.0, 0.0)
"""Copies and selections: nothing is computed."""

SINGLE = Tolerance(2e-6, 2e-6)
"""float32 with its 24 bits, through a handful of operations."""

HALF = Tolerance(4e-3, 4e-3)
"""float16 with its 11 bits, through one operation and its derivative."""

BFLOAT16 = Tolerance(2**-6, 2**-6)
"""bfloat16 with its 8 bits: results differ by two roundings (2⁻⁸ each) where the engine rounds twice and a fused
operation once."""

FINITE_DIFFERENCES = Tolerance(2e-5, 2e-5)
"""Central differences of values of order 1 (rounding 10⁻¹⁵) with steps around 10⁻³: 10⁻⁹ from rounding in second
derivatives, 10⁻⁶ from truncation, with a margin for larger fourth derivatives."""

RATE = 0.2
"""How far an observed order of convergence may fall short of the expected one at steps around 0.02."""

RATE_FLOOR = 1e-12
"""Remainders below this are rounding, whose rate means nothing."""
