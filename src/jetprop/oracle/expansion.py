"""The oracle's answer to an input near the manifold, from derivatives alone."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from jetprop.manifolds.protocol import Points

__all__ = ["VALID", "Expansion"]

VALID = 0.2
"""The ratio up to which a second-order expansion is called valid. For the cube of avrutskiy2023 under Gaussian noise it
is then right to within 3 to 9 % of the correction (median), 35 % (95th percentile)."""


@dataclass(frozen=True, eq=False)
class Expansion:
    """The nearest points of the manifold to given inputs, to second order in their distance.

    Args:
        nu: local coordinates dν/dε + ½ d²ν/dε² of the nearest points, `[n, d]`.
        image: 𝓘 + 𝓘_i ν_i + ½ H_ij ν'_i ν'_j with ν' = dν/dε, the denoised inputs, `[n, *image]`.
        target: O + ∂O/∂D + ½ ∂²O/∂D², (46), `[n, *outputs]`.
        ratio: ‖𝓘_i ½ ν''_i‖ / ‖𝓘_i ν'_i‖, `[n]`: how far the second-order term moves the image, compared with the
            first. The part of the correction that is missing is of the order of its square.
        singular: samples whose Gram matrix is nearly singular, `[n]`.
        poses: the points `oracle.poses.moved(nu)`; None if the oracle knows no manifold.
    """

    nu: Tensor
    image: Tensor
    target: Tensor
    ratio: Tensor
    singular: Tensor
    poses: Points | None = None

    @property
    def valid(self) -> Tensor:
        """Where the expansion can be relied upon, `[n]`, bool: not singular, and `ratio` at most 0.2."""
        return ~self.singular & (self.ratio <= VALID)
