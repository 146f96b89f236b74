"""The oracle near a manifold: how the nearest point moves when the input does."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations_with_replacement
from typing import Literal

import torch
from torch import Tensor

from jetprop.jets.basis import Basis
from jetprop.jets.jet import Jet
from jetprop.manifolds.protocol import Charted, Points
from jetprop.oracle.arguments import (
    check_finite,
    check_handling,
    check_inputs,
    check_jets,
    check_observed,
    check_order,
    flat_directions,
    some,
)
from jetprop.oracle.expansion import Expansion
from jetprop.oracle.gram import LIMIT, Gram, symmetric
from jetprop.oracle.precision import full_precision
from jetprop.oracle.projection import Method, Projection, project

__all__ = ["Oracle"]

FRAME = 1e-3
"""Part of a tangent's squared length in the outermost pixels above which a picture counts as cropped."""


@dataclass(eq=False)
class Oracle:
    """The function that maps any input to the target of the nearest point of a manifold, expanded about that manifold.

        O(𝓕) = arg min_C ‖𝓘(C) - 𝓕‖²                                                                           (5)

    At a point of the manifold with tangents 𝓘_i = ∂𝓘/∂ν_i and second derivatives H_ij the nearest point to 𝓘 + εD has
    local coordinates ν(ε), and with Γ_ij = 𝓘_i · 𝓘_j and the residual r = D - 𝓘_k dν_k/dε

        Γ_ij dν_j/dε   = D · 𝓘_i                                                                               (16)
        Γ_ij d²ν_j/dε² = 2 (r · H_ik) dν_k/dε - (𝓘_i · H_kp) dν_k/dε dν_p/dε                                     (45)
        ∂O/∂D   = C_i dν_i/dε
        ∂²O/∂D² = C_i d²ν_i/dε² + C_ij dν_i/dε dν_j/dε.

    Nearly singular samples are flagged (`singular`), never inverted without a word: what concerns them is computed with
    the pseudo-inverse that leaves out the motions that the image hardly shows, which keeps it finite, so that a batch
    may hold them and be masked; or they raise, as `when_singular` says.

    Every result is differentiable in the rows and in directions as often as wanted, except that the pseudo-inverse of
    a singular sample is held constant. The Gram matrix is computed once: to go back through two results one after the
    other, keep the graph (`retain_graph`).

    Args:
        image: rows `[R, batch, *image]` over `Basis.full(d, 1)` or `Basis.full(d, 2)`; second derivatives are needed
            for second derivatives of the oracle, and with `observed`.
        target: rows `[R, batch, *outputs]` over the same basis.
        observed: 𝓕, `[batch, *image]`, an input whose nearest point the images are. With it first derivatives are those
            at 𝓕 instead of those on the manifold: Γ is replaced by Γ_ij - (𝓕 - 𝓘) · H_ij. The paper leaves the
            curvature out, as does the default None.
        limit: the condition, free of units, from which a sample is singular.
        when_singular: "flag", or "raise".

    Raises:
        TypeError: an argument is no jet.
        ValueError: bases, batches or shapes do not fit, a sample is singular and `when_singular="raise"`, or `observed`
            comes without second derivatives.

    Source:
        avrutskiy2023, sections 2.6, 3.3 and 4.3. (45) is written with the residual, which collects two of its terms.

    Example:
        >>> import torch
        >>> from jetprop import Oracle
        >>> from jetprop.manifolds import Cube
        >>> oracle = Oracle(*Cube().sample(4, order=2))
        >>> noise = 0.05 * torch.randn(3, 4, 41, 41, generator=torch.Generator().manual_seed(0))
        >>> oracle.directional(noise).rows.shape          # the value, 3 first and 3 second derivatives
        torch.Size([7, 4, 9])
        >>> oracle.gradient().shape, bool(oracle.singular.any())
        (torch.Size([4, 9, 41, 41]), False)
    """

    image: Jet
    target: Jet
    observed: Tensor | None = None
    limit: float = LIMIT
    when_singular: Literal["flag", "raise"] = "flag"
    manifold: Charted | None = field(default=None, init=False)
    poses: Points | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        check_jets(self.image, self.target)
        check_observed(self.observed, self.image)
        check_handling(self.limit, self.when_singular)
        if self.observed is not None:
            self.observed = self.observed.to(self.image.rows)
        if self.when_singular == "raise" and bool(self.singular.any()):
            bad = self.singular.nonzero().flatten().tolist()
            raise ValueError(
                f"the Gram matrix is nearly singular for {len(bad)} of {len(self.singular)} samples, {some(bad)}: "
                f"condition up to {float(self.condition.max()):.3g}, limit {self.limit:g}; some motion hardly changes "
                f'the image there. Leave these samples out, raise `limit`, or take when_singular="flag" and mask them'
            )

    @classmethod
    def at(
        cls,
        manifold: Charted,
        poses: Points,
        order: int = 2,
        dtype: torch.dtype = torch.float64,
        *,
        observed: Tensor | None = None,
        limit: float = LIMIT,
        when_singular: Literal["flag", "raise"] = "flag",
    ) -> Oracle:
        """The oracle at given points of a manifold that can be rendered anywhere; it can also `project`.

        Args:
            manifold: see `jetprop.manifolds.Charted`; `Cube` is one.
            poses: the points, of the manifold's own kind.
            order: of the jets that are rendered, 1 or 2.
            dtype: of these jets.
            observed: as in `Oracle`.
            limit: as in `Oracle`.
            when_singular: as in `Oracle`.
        """
        if not isinstance(manifold, Charted) or not isinstance(poses, Points):
            raise TypeError(
                f"Oracle.at takes a manifold with `poses` and `render` and points with `moved`, see "
                f"jetprop.manifolds.Charted; got {type(manifold).__name__} and {type(poses).__name__}"
            )
        if order not in (1, 2):
            raise ValueError(f"an oracle is built on jets of order 1 or 2, got order={order!r}")
        image, target = manifold.render(poses, order, dtype=dtype)
        oracle = cls(image, target, observed, limit, when_singular)
        oracle.manifold, oracle.poses = manifold, poses
        return oracle

    # ---- the linear system ------------------------------------------------------------------------------------------

    @property
    def dimension(self) -> int:
        """d, how many degrees of freedom the manifold has."""
        return len(self.image.basis.directions)

    @property
    def gram(self) -> Tensor:
        """Γ_ij = ∂𝓘/∂ν_i · ∂𝓘/∂ν_j, `[batch, d, d]`."""
        return self._products[:, : self.dimension]

    @property
    def condition(self) -> Tensor:
        """The condition of the system with tangents scaled to length 1, `[batch]`: free of units, see `Gram`."""
        return self._gram.condition

    @property
    def raw_condition(self) -> Tensor:
        """The condition of the system as it stands, `[batch]`; it depends on the units of the degrees of freedom."""
        return self._gram.raw_condition

    @property
    def singular(self) -> Tensor:
        """Which samples are nearly singular, `[batch]`, bool: `condition` exceeds `limit`."""
        return self._gram.singular

    @cached_property
    def cropped(self) -> Tensor:
        """Which pictures are cut off by their frame, `[batch]`, bool; for images with at least two axes.

        Said of a picture if some motion changes its outermost pixels by more than a thousandth (in squares) of what it
        changes in all, or if no motion changes anything. Meant for pictures of a thing before an empty background: what
        lies outside the frame then adds nothing to Γ, and the oracle does not know it.
        """
        if self.image.dim() < 3:
            return torch.zeros(len(self.image), dtype=torch.bool, device=self.image.device)
        square = self.image.rows[1 : 1 + self.dimension].detach().square()
        inner = square[..., 1:-1, 1:-1].flatten(2).sum(2)
        every = square.flatten(2).sum(2)
        return (every - inner > FRAME * every).any(0) | (every == 0).all(0)

    @cached_property
    def _tangents(self) -> Tensor:
        """`[R - 1, batch, pixels]`: first, then second derivatives."""
        return self.image.rows[1:].flatten(2)

    @cached_property
    def _products(self) -> Tensor:
        """All derivatives times the tangents, `[batch, R - 1, d]`: Γ, then 𝓘_i · H_kp."""
        return self._against(self._tangents[: self.dimension], self.image.basis.order)

    @cached_property
    def _gram(self) -> Gram:
        gram = self.gram.to(torch.float64)
        if self.observed is None:
            return Gram(gram, gram, self.limit)
        residual = (self.observed - self.image.value).flatten(1)[None]
        curvature = self._against(residual, 2)[:, self.dimension :, 0]
        return Gram(gram, gram - symmetric(curvature, self.image.basis).to(gram), self.limit)

    @property
    def _inverse(self) -> Tensor:
        return self._gram.inverse.to(self.image.dtype)

    def _against(self, vectors: Tensor, order: int) -> Tensor:
        """Derivatives up to `order` times `[K, batch, pixels]`, summed over pixels: `[batch, rows, K]`."""
        rows = self._tangents[: len(self.image.basis.truncated(order)) - 1]
        with full_precision(rows.device):
            return torch.bmm(rows.transpose(0, 1), vectors.permute(1, 2, 0))

    # ---- derivatives of the oracle ----------------------------------------------------------------------------------

    def velocity(self, direction: Tensor) -> Tensor:
        """dν/dε, how the nearest point moves when the input moves along a direction: the solution of (16).

        Args:
            direction: D, `[batch, *image]`, or `[K, batch, *image]` for several.

        Returns:
            `[batch, d]` or `[K, batch, d]`, units of ν per unit of intensity.
        """
        velocity = self._solved(flat_directions(direction, self.image), 1)[0].permute(2, 0, 1)
        return velocity if direction.dim() > self.image.dim() else velocity[0]

    def directional(self, direction: Tensor, order: int = 2) -> Jet:
        """The oracle's derivatives along directions of the input space.

        Args:
            direction: D, `[batch, *image]`, or `[K, batch, *image]` for several at a time; any length, in the units of
                the image.
            order: 1 or 2.

        Returns:
            A jet over `Basis.directional(K, order)` with rows `[1 + K·order, batch, *outputs]`: C, ∂O/∂D_k, then
            ∂²O/∂D_k².

        Raises:
            ValueError: the directions do not fit the images, or order 2 is asked of jets without second derivatives, or
                away from the manifold (with `observed`), where it would take third ones.
        """
        check_order(order, self.image.basis, self.observed)
        velocity, acceleration = self._solved(flat_directions(direction, self.image), order)
        target, d = self.target.rows.flatten(2), self.dimension
        first = target[1 : 1 + d].permute(1, 2, 0)
        with full_precision(target.device):
            rows = [target[:1], (first @ velocity).permute(2, 0, 1)]
            if order == 2:
                bent = symmetric(target[1 + d :].transpose(0, 1), self.target.basis)
                bending = torch.einsum("bija,bik,bjk->kba", bent, velocity, velocity)
                rows.append((first @ acceleration).permute(2, 0, 1) + bending)
        basis = Basis.directional(velocity.shape[2], order)
        return Jet(torch.cat(rows).unflatten(2, self.target.shape[1:]), basis)

    def gradient(self) -> Tensor:
        """∇O_a = 𝓘_i ν_i with Γ_ij ν_j = ∂C_a/∂ν_i, (18) and (19), for every output: `[batch, *outputs, *image]`."""
        first = self.target.rows[1 : 1 + self.dimension].flatten(2).permute(1, 2, 0)
        with full_precision(first.device):
            gradient = torch.bmm(first @ self._inverse, self._tangents[: self.dimension].transpose(0, 1))
        return gradient.unflatten(2, self.image.shape[1:]).unflatten(1, self.target.shape[1:])

    # ---- the oracle at an input -------------------------------------------------------------------------------------

    def expand(self, inputs: Tensor) -> Expansion:
        """The oracle at any inputs near the images, to second order: (6) with D = 𝓕 - 𝓘 and ε = 1, which is (46).

        Args:
            inputs: 𝓕, `[batch, *image]`, input b near image b.

        Returns:
            An `Expansion`, which says where it is too far off to be relied upon (`valid`).

        Raises:
            ValueError: the inputs do not fit or are not finite, or the oracle has no second derivatives there.

        Source:
            avrutskiy2023, (6), (42), (44) and (46).

        Example:
            >>> import torch
            >>> from jetprop import Oracle
            >>> from jetprop.manifolds import Cube
            >>> oracle = Oracle.at(Cube(), Cube().poses(2))
            >>> found = oracle.expand(oracle.image.value + 0.05)
            >>> found.target.shape, found.valid.tolist()
            (torch.Size([2, 9]), [True, True])
        """
        check_order(2, self.image.basis, self.observed)
        check_inputs(inputs, self.image, len(self.image))
        inputs = inputs.to(self.image.rows)
        velocity, acceleration = (v[..., 0] for v in self._solved((inputs - self.image.value).flatten(1)[None], 2))
        nu = velocity + acceleration / 2
        #  𝓘 and C at ν, up to second order in ε: ν'' comes in by the first derivatives only.
        axes = combinations_with_replacement(range(self.dimension), 2)
        pairs = [velocity[:, i] * velocity[:, j] / (2 if i == j else 1) for i, j in axes]
        taken = torch.cat([nu, torch.stack(pairs, 1)], 1)
        with full_precision(inputs.device):
            image, target = (
                jet.value + torch.einsum("br,rbp->bp", taken, jet.rows[1:].flatten(2)).view(jet.shape)
                for jet in (self.image, self.target)
            )
            first, second = (
                ((self.gram.detach() @ v[..., None])[..., 0] * v).sum(1).clamp_min(0).sqrt()
                for v in (velocity.detach(), acceleration.detach() / 2)
            )
        ratio = torch.where(first > 0, second / first.where(first > 0, 1.0), 0.0)
        poses = None if self.poses is None else self.poses.moved(nu.detach())
        return Expansion(nu, image, target, ratio, self.singular, poses)

    def project(
        self,
        inputs: Tensor,
        start: Points | None = None,
        *,
        method: Method = "newton",
        tolerance: float = 1e-8,
        max_steps: int = 50,
    ) -> Projection:
        """The oracle by its definition, (5): the point of the manifold whose image is nearest, found by rendering.

        Damped Newton steps (or Gauss–Newton steps, which leave out the curvature of the manifold and at strong noise
        converge slowly), each taken only if the distance really falls; every sample has its own damping and status.
        What is found is the local minimum below `start`. Rendering and steps are in float64; no autograd graph.

        Args:
            inputs: 𝓕, `[n, *image]`.
            start: n points to start from; by default the oracle's own, one for each input.
            method: "newton" or "gauss-newton".
            tolerance: the length that is left of the residual's part along the manifold, relative to ‖𝓕‖. The error of
                the image is of this size; that of a target is larger by the oracle's gradient.
            max_steps: at most so many steps are tried.

        Returns:
            A `Projection`, samples that did not converge included: see `status`.

        Raises:
            ValueError: the oracle knows no manifold (build it with `Oracle.at`), the inputs or the start do not fit,
                an input is not finite, or none of the starting points has an image.

        Source:
            avrutskiy2023, (5).

        Example:
            >>> import torch
            >>> from jetprop import Oracle
            >>> from jetprop.manifolds import Cube
            >>> oracle = Oracle.at(Cube(), Cube().poses(2), order=1)
            >>> moved = Cube().render(oracle.poses.moved(torch.tensor([0.05, 0, 0, 0.02, 0, 0])), 0)
            >>> found = oracle.project(moved[0].value)
            >>> found.valid.tolist(), bool((found.target - moved[1].value).abs().max() < 1e-5)
            ([True, True], True)
        """
        if self.manifold is None:
            raise ValueError(
                "this oracle was made of jets and knows no manifold to render; make it with Oracle.at(manifold, poses)"
            )
        if method not in ("newton", "gauss-newton"):
            raise ValueError(f'method is "newton" or "gauss-newton", got {method!r}')
        if not 0 < tolerance < 1 or isinstance(max_steps, bool) or not isinstance(max_steps, int) or max_steps < 0:
            raise ValueError(
                f"tolerance lies between 0 and 1 and max_steps is an integer ≥ 0, got {tolerance!r}, {max_steps!r}"
            )
        start = self.poses if start is None else start
        if not isinstance(start, Points):
            raise TypeError(f"start is points of the manifold, with `moved`; got {type(start).__name__}")
        check_inputs(inputs, self.image, len(start))
        return project(
            self.manifold, start, inputs, method=method, tolerance=tolerance, max_steps=max_steps, limit=self.limit
        )

    def denoise(
        self, inputs: Tensor, method: Literal["expansion", "projection"] = "expansion"
    ) -> Expansion | Projection:
        """The images of the manifold nearest to the inputs, with their targets and poses, and whether to rely on them.

        Args:
            inputs: 𝓕, `[batch, *image]`.
            method: "expansion" to second order about the oracle's own images (`expand`), for inputs near them; or
                "projection", which starts there and renders (`project`).
        """
        if method not in ("expansion", "projection"):
            raise ValueError(f'method is "expansion" or "projection", got {method!r}')
        return self.expand(inputs) if method == "expansion" else self.project(inputs)

    # ---- pieces -----------------------------------------------------------------------------------------------------

    def _solved(self, directions: Tensor, order: int) -> tuple[Tensor, Tensor]:
        """dν/dε and d²ν/dε² (zero at order 1), each `[batch, d, K]`, for directions `[K, batch, pixels]`."""
        d, basis = self.dimension, self.image.basis
        against = self._against(directions, order)
        check_finite(against)
        with full_precision(directions.device):
            velocity = self._inverse @ against[:, :d]
            if order == 1:
                return velocity, torch.zeros_like(velocity)
            curvature = symmetric(self._products[:, d:], basis)
            residual = symmetric(against[:, d:], basis) - curvature @ velocity[:, None]
            turning = torch.einsum("bijk,bjk->bik", residual, velocity)
            bending = torch.einsum("bjpi,bjk,bpk->bik", curvature, velocity, velocity)
            return velocity, self._inverse @ (2 * turning - bending)
