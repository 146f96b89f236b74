"""The tolerances of the engine's tests, each with its reason; float64 unless said otherwise."""

from __future__ import annotations

ENGINE = {"rtol": 1e-9, "atol": 1e-9}
"""Engine against nested reverse mode: both are exact and add the same terms in another order; up to order 4, hundreds of
terms of differing size cancel, which costs up to five of the sixteen digits."""

ROUNDING = {"rtol": 1e-12, "atol": 1e-12}
"""The same sum in another order: a few units in the last place, times the number of terms."""

EXACT = {"rtol": 0.0, "atol": 0.0}
"""Copies and selections: nothing is computed."""

SINGLE = {"rtol": 2e-6, "atol": 2e-6}
"""float32 with its 24 bits, through a handful of operations."""

HALF = {"rtol": 4e-3, "atol": 4e-3}
"""float16 with its 11 bits, through one operation and its derivative."""

BFLOAT16 = {"rtol": 2**-6, "atol": 2**-6}
"""bfloat16 with its 8 bits: two roundings (2⁻⁸ each) differ where the engine rounds twice and a fused operation once."""

FINITE_DIFFERENCES = {"rtol": 2e-5, "atol": 2e-5}
"""Second central differences, step 10⁻⁴, of values of order 1 with rounding 10⁻¹⁵: 10⁻⁷ from rounding, 10⁻⁸ from
truncation, with a margin for larger fourth derivatives."""

RATE = 0.2
"""How far an observed order of convergence may fall short of the expected one at steps around 0.02."""

RATE_FLOOR = 1e-12
"""Remainders below this are rounding, whose rate means nothing."""
