"""Standalone neural ODEs: a whole network as one differential equation (jaroudi2022).

`StandaloneODE` and `ConvolutionalODE` are ordinary modules, so jets flow through them. `sensitivity` and `jacobian`
are derivatives of any model along inputs and parameters, `propagation` sets the estimated growth of a perturbation
beside the measured one. `train_batch` runs conjugate gradients with exact steps on one batch, `ConjugateGradient` is
the same as an optimizer for any model.
"""

from __future__ import annotations

from jetprop.ode.activations import Activation
from jetprop.ode.adjoint import adjoint, cost_and_gradient
from jetprop.ode.conjugate_gradient import BatchResult, Beta, Status, UnreachableTargetWarning, train_batch
from jetprop.ode.cost import Cost, one_hot
from jetprop.ode.line_search import root_of_slope
from jetprop.ode.model import ConvolutionalODE, DepthVaryingODE, Solver, StandaloneODE
from jetprop.ode.optimizer import ConjugateGradient
from jetprop.ode.sensitivity import Propagation, jacobian, propagation, sensitivity
from jetprop.ode.sobolev import sobolev

__all__ = [
    "Activation",
    "BatchResult",
    "Beta",
    "ConjugateGradient",
    "ConvolutionalODE",
    "Cost",
    "DepthVaryingODE",
    "Propagation",
    "Solver",
    "StandaloneODE",
    "Status",
    "UnreachableTargetWarning",
    "adjoint",
    "cost_and_gradient",
    "jacobian",
    "one_hot",
    "propagation",
    "root_of_slope",
    "sensitivity",
    "sobolev",
    "train_batch",
]
