"""The step length along a line: the root of a slope, to machine precision."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable

__all__ = ["root_of_slope"]

MOST_EVALUATIONS = 200
"""Newton takes fewer than ten; bisecting a bracket to the last bit, about sixty."""
LARGEST_FACTOR = 1e12
"""A root farther than this many times the first Newton step is taken for none: a linearisation means nothing there."""


def root_of_slope(slope: Callable[[float], tuple[float, float]]) -> float | None:
    """The η > 0 at which a slope that is negative at 0 and does not fall turns zero: Newton's method in a bracket.

    Args:
        slope: gives the slope at η and its derivative.

    Returns:
        η, with a relative error of a few units of rounding (or as fine as the slope's own rounding shows it); None
        where there is none: the slope is not negative at 0, stays negative, or is not finite.

    Example:
        >>> import math
        >>> from jetprop.ode import root_of_slope
        >>> root_of_slope(lambda eta: (math.exp(eta) - 2, math.exp(eta)))     # log 2
        0.693147180559945...
        >>> root_of_slope(lambda eta: (-math.exp(-eta), math.exp(-eta))) is None
        True
    """
    start, curvature = slope(0.0)
    if not (math.isfinite(start) and math.isfinite(curvature) and start < 0 <= curvature):
        return None
    low, high = 0.0, math.inf
    eta = -start / curvature if curvature > 0 else 1.0
    if not 0 < eta < math.inf:
        return None
    farthest = eta * LARGEST_FACTOR
    for _ in range(MOST_EVALUATIONS):
        value, curvature = slope(eta)
        if not (math.isfinite(value) and math.isfinite(curvature)):
            return None
        if value == 0 and curvature > 0:  # a slope that has died out is zero too, but flat
            return eta
        if value > 0:
            high = eta
        else:
            low = eta
        following = eta - value / curvature if curvature > 0 else math.inf
        if abs(following - eta) <= 2 * sys.float_info.epsilon * eta:
            return following
        if not low < following < high:
            following = 0.5 * (low + high) if high < math.inf else 4 * eta
        if high < math.inf and high - low <= 2 * sys.float_info.epsilon * high:
            return following
        if following > farthest:
            if high == math.inf and low >= farthest / 4:
                return None
            following = min(following, farthest)
        eta = following
    return None
