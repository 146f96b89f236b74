"""A manifold from any differentiable function of a few parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from jetprop.jets.basis import Basis
from jetprop.jets.jet import Jet
from jetprop.jets.reference import push
from jetprop.manifolds.requested import check_directions, requested_basis
from jetprop.manifolds.sequences import r_sequence

__all__ = ["Coordinates", "Generator"]

CHUNK_BYTES = {"cpu": 32 << 20, "cuda": 1 << 30}
"""Rows of images that are pushed at once; a function holds several arrays of this size while it works."""

PROBES = 3
MIXING = 1e-5
"""Relative difference between an image made alone and one made in a batch from which samples count as mixed: far above
rounding in float32, far below what statistics of a batch do."""


def added(theta: Any, nu: Any) -> Any:
    """θ + ν, the motion where no other is given."""
    return theta + nu


@dataclass(frozen=True, eq=False)
class Coordinates:
    """Where n images lie on a manifold: the parameters of each.

    Args:
        theta: parameters θ, `[n, d]`, kept in float64.
        retract: the motion: (θ, ν) ↦ θ', both `[n, d]`; θ + ν by default.

    Raises:
        ValueError: the shape is no `[n, d]`, or a number is not finite.

    Example:
        >>> import torch
        >>> from jetprop.manifolds import Coordinates
        >>> Coordinates(torch.zeros(2, 3)).moved(torch.ones(3)).theta[0].tolist()
        [1.0, 1.0, 1.0]
    """

    theta: Tensor
    retract: Callable[[Any, Any], Any] = added

    def __post_init__(self) -> None:
        object.__setattr__(self, "theta", self.theta.to(torch.float64))
        if self.theta.dim() != 2 or not len(self.theta):
            raise ValueError(f"coordinates are [n, d], n ≥ 1, got {list(self.theta.shape)}")
        if not bool(self.theta.isfinite().all()):
            bad = (~self.theta.isfinite().all(1)).nonzero().flatten().tolist()
            raise ValueError(f"coordinates must be finite; these are not: {bad[:8]}{' …' if len(bad) > 8 else ''}")

    def __len__(self) -> int:
        return len(self.theta)

    def __getitem__(self, samples: slice | Tensor) -> Coordinates:
        """Some of the samples."""
        return Coordinates(self.theta[samples], self.retract)

    def moved(self, nu: Tensor) -> Coordinates:
        """These coordinates after the finite motion by `nu`, `[n, d]` or `[d]`."""
        return Coordinates(self.retract(self.theta, nu.to(self.theta).expand_as(self.theta)), self.retract)


class Generator:
    """The images of a function fn(θ), with their derivatives along θ by the engine (a `Charted` manifold).

    Degrees of freedom are the motions ν of `retract`: row r of a jet is the derivative of ν ↦ fn(retract(θ, ν)) at
    ν = 0, so by default a derivative with respect to θ.

    Args:
        fn: a module or function of parameters `[n, d]`, which returns images `[n, *image]`, or images and targets
            `[n, outputs]`. It is called with tensors and with jets, in the dtype and on the device that `render` is
            asked for, so its constants take `dtype` and `device` of what it is given. Each image depends on its own
            parameters alone. Of a module a copy is taken, in eval mode.
        parameters: name and range, (lowest, highest), of each parameter in order. Samples are drawn from these ranges;
            `render` takes any parameters.
        target: what a network has to say about an image, a module or function of `[n, d]` as `fn` is; by default the
            parameters, or what `fn` returns beside the image.
        retract: the motion by ν, (θ, ν) ↦ θ', with jet rules, retract(θ, 0) = θ; by default θ + ν.
        backend: "engine", or "reference" for functions that meet an operation without a jet rule (slow; see `push`).

    Raises:
        ValueError: a range is empty, outputs have another shape than said, depend on other samples of the batch, are
            not finite, or do not change with one of the parameters.
        TypeError: an output is no real floating-point tensor, or loses the derivatives of a jet.
        MissingRuleError: `fn` or `target` meets an operation that has no rule.

    Example:
        >>> import torch
        >>> from jetprop.manifolds import Generator
        >>> t = torch.linspace(0, 1, 16)
        >>> def wave(theta):
        ...     amplitude, frequency = theta[:, :1], theta[:, 1:]
        ...     return amplitude * torch.sin(frequency * t.to(theta.dtype))
        >>> waves = Generator(wave, {"amplitude": (0.5, 1), "frequency": (3, 6)})
        >>> image, target = waves.sample(4, order=3)
        >>> image.rows.shape, target.rows.shape
        (torch.Size([10, 4, 16]), torch.Size([10, 4, 2]))
    """

    def __init__(
        self,
        fn: Callable[[Any], Any],
        parameters: Mapping[str, tuple[float, float]],
        target: Callable[[Any], Any] | None = None,
        retract: Callable[[Any, Any], Any] = added,
        backend: Literal["engine", "reference"] = "engine",
    ) -> None:
        if backend not in ("engine", "reference"):
            raise ValueError(f'backend is "engine" or "reference", got {backend!r}')
        self.parameters = _checked_ranges(parameters)
        self.fn, self.target = (_settled(f) for f in (fn, target))
        self.retract = retract
        self.backend: Literal["engine", "reference"] = backend
        self._copies: dict[tuple[int, torch.dtype, torch.device], nn.Module] = {}
        self.image_shape, self.outputs = self._probe()

    @property
    def dimension(self) -> int:
        """How many parameters there are."""
        return len(self.parameters)

    @property
    def degrees_of_freedom(self) -> tuple[str, ...]:
        """The names of the parameters."""
        return tuple(self.parameters)

    def poses(self, n: int, start: int = 0, device: torch.device | str | None = None) -> Coordinates:
        """Parameters number `start`, …, `start + n - 1`: points of the R_d sequence, scaled to the ranges."""
        low, high = self._ranges(device).unbind(1)
        return Coordinates(low + (high - low) * r_sequence(n, self.dimension, start, device), self.retract)

    def inside(self, poses: Coordinates) -> Tensor:
        """Which samples have all parameters within their ranges, `[n]` (bool)."""
        low, high = self._ranges(poses.theta.device).unbind(1)
        return ((poses.theta >= low) & (poses.theta <= high)).all(1)

    def sample(
        self,
        n: int,
        start: int = 0,
        order: int | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
        basis: Basis | None = None,
        directions: Tensor | None = None,
    ) -> tuple[Jet, Jet]:
        """Images and targets of `poses(n, start)`, see `render`."""
        poses = self.poses(n, start, device)
        return self.render(poses, order, dtype=dtype, basis=basis, directions=directions)

    @torch.no_grad()
    def render(
        self,
        poses: Coordinates,
        order: int | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        basis: Basis | None = None,
        directions: Tensor | None = None,
    ) -> tuple[Jet, Jet]:
        """Images of given parameters, and their targets, with derivatives.

        Args:
            poses: the parameters; `Coordinates(theta)` makes them of numbers.
            order: any; None means that of `basis`, or 2.
            dtype: float32 or float64, in which everything is computed.
            basis: which derivatives; by default `Basis.full(d, order)`, or with `directions`
                `Basis.directional(D, order)`.
            directions: `[D, d]`, or `[n, D, d]` one set for each sample, along ν: direction i of the basis is row i.

        Returns:
            The image jet, rows `[R, n, *image]`, and the target jet, rows `[R, n, outputs]`, over one basis. No
            autograd graph.

        Raises:
            ValueError: the order contradicts the basis, the directions or the parameters do not fit, a tensor requires
                a gradient, or an image is not finite.
            TypeError: `poses` are no `Coordinates`.
        """
        if not isinstance(poses, Coordinates):
            raise TypeError(f"render takes Coordinates, got {type(poses).__name__}; make them by Coordinates(theta)")
        if poses.theta.shape[1] != self.dimension:
            raise ValueError(
                f"there are {self.dimension} parameters ({', '.join(self.parameters)}), got coordinates "
                f"{list(poses.theta.shape)}"
            )
        if dtype not in (torch.float32, torch.float64):
            raise ValueError(f"images are generated in torch.float32 or torch.float64, got dtype={dtype}")
        if poses.theta.requires_grad:
            raise ValueError(
                "rendering carries no autograd graph, but the coordinates require a gradient; ask for derivatives as "
                "rows of the jet, or pass detached tensors"
            )
        basis = requested_basis(order, basis, directions, self.dimension)
        along = check_directions(directions, basis, len(poses), self.degrees_of_freedom).to(poses.theta.device)
        used = along[..., list(basis.directions), :].expand(len(poses), -1, -1).movedim(0, 1)

        images = torch.empty(len(basis), len(poses), *self.image_shape, dtype=dtype, device=poses.theta.device)
        targets = images.new_empty(len(basis), len(poses), self.outputs)
        limit = CHUNK_BYTES.get(images.device.type, CHUNK_BYTES["cuda"])
        chunk = max(1, limit * len(poses) // max(1, images.nbytes))
        for some in (slice(k, k + chunk) for k in range(0, len(poses), chunk)):
            images[:, some], targets[:, some] = self._rows(poses.theta[some].to(dtype), used[:, some].to(dtype), basis)
        bad = (~(images.flatten(2).isfinite().all(2) & targets.isfinite().all(2)).all(0)).nonzero().flatten()
        if len(bad):
            raise ValueError(
                f"{len(bad)} of {len(poses)} samples have an image, a target or a derivative that is not finite "
                f"(first: sample {int(bad[0])} with parameters {poses.theta[bad[0]].tolist()}); narrow the ranges, or "
                f"smooth fn"
            )
        return Jet(images, basis), Jet(targets, basis)

    def _rows(self, theta: Tensor, used: Tensor, basis: Basis) -> tuple[Tensor, Tensor]:
        """Rows of images and targets; `used` is one direction for each that the basis numbers, `[D, n, d]`."""
        if basis.order == 0:
            image, target = self._parts(theta)
            return image[None], target[None]
        nu = Jet.seed(torch.zeros_like(theta), used, basis=basis)
        if self.backend == "engine":
            image, target = self._parts(self.retract(theta, nu))
        else:
            image, target = (
                push(lambda nu, part=part: self._parts(self.retract(theta, nu))[part], nu, "reference", False)
                for part in (0, 1)
            )
        for name, jet in (("an image", image), ("a target", target)):
            if not isinstance(jet, Jet):
                raise TypeError(
                    f"of a jet of parameters {name} came out as a plain {type(jet).__name__}, so its derivatives are "
                    f"lost; fn may not round, compare, detach or leave PyTorch on the way from parameters to output"
                )
        return image.rows, target.rows

    def _parts(self, theta: Any) -> tuple[Any, Any]:
        """Image and target of parameters, tensors or jets."""
        found = self._placed(self.fn, theta)(theta)
        if isinstance(found, tuple):
            if len(found) != 2 or self.target is not None:
                raise ValueError(
                    f"fn returned a tuple of {len(found)}; it returns images, or (images, targets) where no target is "
                    f"given to Generator"
                )
            return found
        return found, theta if self.target is None else self._placed(self.target, theta)(theta)

    def _placed(self, fn: Any, theta: Any) -> Any:
        """A function as it is; a module in the dtype and on the device of the parameters."""
        if not isinstance(fn, nn.Module):
            return fn
        key = (id(fn), theta.dtype, theta.device)
        if key not in self._copies:
            self._copies[key] = deepcopy(fn).to(device=theta.device, dtype=theta.dtype)
        return self._copies[key]

    def _ranges(self, device: torch.device | str | None) -> Tensor:
        return torch.tensor(list(self.parameters.values()), dtype=torch.float64, device=device)

    @torch.no_grad()
    def _probe(self) -> tuple[torch.Size, int]:
        """Shapes of an image and number of outputs, from three samples on which all that can be checked is."""
        tensors = list(self.fn.parameters()) if isinstance(self.fn, nn.Module) else []
        theta = Generator.poses(self, PROBES, device=tensors[0].device if tensors else None).theta
        parts = self._parts(theta)
        for name, part, axes in zip(("images", "targets"), parts, ("*image", "outputs"), strict=True):
            if not isinstance(part, Tensor) or not part.is_floating_point():
                kind = part.dtype if isinstance(part, Tensor) else type(part).__name__
                raise TypeError(f"{name} are real floating-point tensors [n, {axes}], got {kind}; see Generator")
            if part.dim() < 2 or len(part) != PROBES or (name == "targets" and part.dim() != 2):
                raise ValueError(
                    f"of parameters {list(theta.shape)} {name} are [{PROBES}, {axes}], got {list(part.shape)}"
                )
            if not bool(part.isfinite().all()):
                raise ValueError(f"{name} of parameters {theta.tolist()} are not finite; narrow the ranges")
        alone = [self._parts(theta[k : k + 1]) for k in range(PROBES)]
        for name, part, singly in zip(("images", "targets"), parts, zip(*alone, strict=True), strict=True):
            difference = float((torch.cat(singly) - part).abs().max())
            if difference > MIXING * max(float(part.abs().max()), 1e-30):
                raise ValueError(
                    f"{name} made one by one and made in a batch differ by {difference:.3g}: each may depend on its "
                    f"own parameters alone, and not on chance"
                )
        start = self.retract(theta, torch.zeros_like(theta))
        if not torch.allclose(start, theta):
            raise ValueError("retract(θ, 0) is not θ; the motion has to start where the sample is")
        eye = torch.eye(self.dimension, dtype=theta.dtype, device=theta.device)
        basis = Basis.full(self.dimension, 1)
        rows, _ = self._rows(theta, eye[:, None].expand(-1, PROBES, -1), basis)
        still = [name for name, row in zip(self.parameters, rows[1:], strict=True) if not bool(row.any())]
        if still:
            raise ValueError(
                f"the image does not change with {', '.join(still)}: its derivative is zero on all of {PROBES} "
                f"samples; drop what has no influence, and replace steps (round, comparison, detach) by what is smooth"
            )
        return parts[0].shape[1:], parts[1].shape[1]


def _checked_ranges(parameters: Mapping[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    if not isinstance(parameters, Mapping) or not parameters:
        raise ValueError(f'parameters are {{"name": (lowest, highest), …}}, at least one, got {parameters!r}')
    checked = {}
    for name, ends in parameters.items():
        low, high = (float(end) for end in ends) if len(ends) == 2 else (math.nan, math.nan)
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"the range of {name!r} is (lowest, highest), finite and not empty, got {ends!r}")
        checked[str(name)] = (low, high)
    return checked


def _settled(fn: Any) -> Any:
    """A module is copied, so that training it later does not move the manifold."""
    return deepcopy(fn).eval().requires_grad_(False) if isinstance(fn, nn.Module) else fn
