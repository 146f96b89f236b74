"""jetprop: derivatives of networks with respect to their inputs, carried, trained, measured.

A *jet* is a value together with chosen derivatives of it. Push one through any `torch.nn.Module` and get the jet of
the output:

    >>> import torch
    >>> from jetprop import Jet
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    >>> y = model(Jet.seed(torch.zeros(5, 2), order=2))
    >>> y.shape, y.first.shape, y.second.shape
    (torch.Size([5, 1]), torch.Size([2, 5, 1]), torch.Size([3, 5, 1]))
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jetprop import manifolds, objectives, ode
    from jetprop.estimators import JetRegressor
    from jetprop.jets import Basis, Jet, functional_call
    from jetprop.oracle import Oracle

__version__ = "0.1.0"

__all__ = ["Basis", "Jet", "JetRegressor", "Oracle", "__version__", "functional_call", "manifolds", "objectives", "ode"]

# Names are imported when they are asked for: the command line has to choose how threads wait before torch is loaded,
# and `jetprop --help` should not take seconds.
_HOMES = {
    "Basis": "jetprop.jets",
    "Jet": "jetprop.jets",
    "JetRegressor": "jetprop.estimators",
    "Oracle": "jetprop.oracle",
    "functional_call": "jetprop.jets",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name in ("manifolds", "objectives", "ode"):
        return importlib.import_module(f"jetprop.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'jetprop' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
