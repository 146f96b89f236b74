"""What a network is asked for: that its jet equals the target's, and how far it is from that.

`match` compares two jets row by row (E0, E1, E2 of avrutskiy2023); `normalizers` measures the factors that make the
rows commensurable; `RandomDirections` replaces all first derivatives by a few random ones without bias;
`relative_error` is the error that results are stated in.
"""

from __future__ import annotations

from jetprop.objectives.directions import RandomDirections
from jetprop.objectives.matching import Match, Terms, match
from jetprop.objectives.metrics import ErrorMeter, relative_error
from jetprop.objectives.normalization import Statistics, normalizers

__all__ = [
    "ErrorMeter",
    "Match",
    "RandomDirections",
    "Statistics",
    "Terms",
    "match",
    "normalizers",
    "relative_error",
]
