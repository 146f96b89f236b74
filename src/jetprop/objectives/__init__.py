"""What a network is asked for: that its jet equals the target's, and how far it is from that.

`match` compares two jets row by row (E0, E1, E2 of avrutskiy2023); `normalizers` measures the factors that make the
rows commensurable; `RandomDirections` replaces all first derivatives by a few random ones without bias;
`relative_error` is the error that results are stated in.

Universal robust training: `ImageDirections` are directions of the input space by spatial frequency, `with_directions`
adds rows along them with the oracle's targets, `RobustScales` measures what they are divided by. Its rivals:
`GaussianNoise`, `AdversarialAscent` and `SmoothingCost` ask for values at moved inputs.

Classifiers that hold still (demyanov2015, lyu2015): `LossIBP`, `FastTangentPropagation` and `GradientNorm` ask for a
small gradient of the loss, `PredictionIBP`, `TangentPropagation` and `JacobianPenalty` for predictions that do not
react along directions; `AdversarialTraining`, `FastAdversarialTraining` and `GradientRegularization` train at the
`worst_perturbation`.
"""

from __future__ import annotations

from jetprop.objectives.adversarial import AdversarialTraining, FastAdversarialTraining, GradientRegularization
from jetprop.objectives.directions import ImageDirections
from jetprop.objectives.loss_gradient import FastTangentPropagation, GradientNorm, LossIBP, Tangents
from jetprop.objectives.matching import Match, Terms, match
from jetprop.objectives.metrics import ErrorMeter, relative_error
from jetprop.objectives.moved import AdversarialAscent, GaussianNoise, SmoothingCost
from jetprop.objectives.normalization import Statistics, normalizers
from jetprop.objectives.penalties import Fused, Objective, Parts, Penalty, SampleLoss, cross_entropy
from jetprop.objectives.prediction_rows import JacobianPenalty, PredictionIBP, TangentPropagation
from jetprop.objectives.random_directions import RandomDirections
from jetprop.objectives.robust import RobustBatch, RobustRows, RobustScales, with_directions
from jetprop.objectives.worst_case import dual_norm, worst_perturbation

__all__ = [
    "AdversarialAscent",
    "AdversarialTraining",
    "ErrorMeter",
    "FastAdversarialTraining",
    "FastTangentPropagation",
    "Fused",
    "GaussianNoise",
    "GradientNorm",
    "GradientRegularization",
    "ImageDirections",
    "JacobianPenalty",
    "LossIBP",
    "Match",
    "Objective",
    "Parts",
    "Penalty",
    "PredictionIBP",
    "RandomDirections",
    "RobustBatch",
    "RobustRows",
    "RobustScales",
    "SampleLoss",
    "SmoothingCost",
    "Statistics",
    "TangentPropagation",
    "Tangents",
    "Terms",
    "cross_entropy",
    "dual_norm",
    "match",
    "normalizers",
    "relative_error",
    "with_directions",
    "worst_perturbation",
]
