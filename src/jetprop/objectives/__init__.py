"""What a network is asked for: that its jet equals the target's, and how far it is from that.

`match` compares two jets row by row (E0, E1, E2 of avrutskiy2023); `normalizers` measures the factors that make the
rows commensurable; `RandomDirections` replaces all first derivatives by a few random ones without bias;
`relative_error` is the error that results are stated in.

Universal robust training: `ImageDirections` are directions of the input space by spatial frequency, `with_directions`
adds rows along them with the oracle's targets, `RobustScales` measures what they are divided by. Its rivals:
`GaussianNoise`, `AdversarialAscent` and `SmoothingCost` ask for values at moved inputs.
"""

from __future__ import annotations

from jetprop.objectives.directions import ImageDirections
from jetprop.objectives.matching import Match, Terms, match
from jetprop.objectives.metrics import ErrorMeter, relative_error
from jetprop.objectives.moved import AdversarialAscent, GaussianNoise, SmoothingCost
from jetprop.objectives.normalization import Statistics, normalizers
from jetprop.objectives.random_directions import RandomDirections
from jetprop.objectives.robust import RobustBatch, RobustRows, RobustScales, with_directions

__all__ = [
    "AdversarialAscent",
    "ErrorMeter",
    "GaussianNoise",
    "ImageDirections",
    "Match",
    "RandomDirections",
    "RobustBatch",
    "RobustRows",
    "RobustScales",
    "SmoothingCost",
    "Statistics",
    "Terms",
    "match",
    "normalizers",
    "relative_error",
    "with_directions",
]
