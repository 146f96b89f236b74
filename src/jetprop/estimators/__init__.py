"""Estimators with the interface of scikit-learn, for tables whose labels include derivatives."""

from jetprop.estimators.objective import Group, Objective
from jetprop.estimators.plots import plot_actual_by_predicted, plot_convergence, plot_sensitivities
from jetprop.estimators.regressor import JetRegressor
from jetprop.estimators.scales import Scales

__all__ = [
    "Group",
    "JetRegressor",
    "Objective",
    "Scales",
    "plot_actual_by_predicted",
    "plot_convergence",
    "plot_sensitivities",
]
