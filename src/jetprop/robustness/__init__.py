"""How a network stands up to small changes of its input, measured against an oracle instead of against invariance.

`vulnerability` solves for the worst direction of all, for the worst that leaves the oracle as it is (sensitivity) and
for the worst that leaves the network as it is (invariance). `attack` goes there by a finite step and measures what it
claims against the oracle projected anew; `noise_curve` follows error and vulnerability as noise grows.
"""

from __future__ import annotations

from jetprop.robustness.attack import Attack, attack
from jetprop.robustness.curves import Correction, NoiseCurve, noise_curve
from jetprop.robustness.directions import invariance_direction, sensitivity_direction
from jetprop.robustness.extrema import Constraints, Kind
from jetprop.robustness.gradients import Progress, gradients
from jetprop.robustness.vulnerability import Vulnerability, vulnerability

__all__ = [
    "Attack",
    "Constraints",
    "Correction",
    "Kind",
    "NoiseCurve",
    "Progress",
    "Vulnerability",
    "attack",
    "gradients",
    "invariance_direction",
    "noise_curve",
    "sensitivity_direction",
    "vulnerability",
]
