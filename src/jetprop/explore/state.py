"""What the visitor of the page has chosen: one immutable value, which fits into the page's address."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Literal, get_args
from urllib.parse import urlencode

import torch

from jetprop.jets import Basis, Jet
from jetprop.manifolds import Cube, Poses

__all__ = ["LIMITS", "OUTPUTS", "Attack", "State"]

Attack = Literal["none", "optimal", "sensitivity", "invariance", "gradient"]
"""Which direction the image is moved along; the last one is the gradient of the chosen output of the network."""

OUTPUTS = tuple(f"{axis}{'₁₂₃'[vertex]}" for vertex in range(3) for axis in "xyz")
"""Names of the nine outputs, as pages print them."""

LIMITS: dict[str, tuple[float, float, float]] = {
    **{f"turn_{axis}": (-45.0, 45.0, 0.5) for axis in "xyz"},
    **{f"shift_{axis}": (-0.6, 0.6, 0.005) for axis in "xyz"},
    "noise": (0.0, 0.3, 0.005),
    "strength": (0.0, 2.0, 0.02),
}
"""Least and largest value, and the step of the slider."""


@dataclass(frozen=True)
class State:
    """All that decides what the page shows.

    Args:
        turn_x: the cube's rotation about x, degrees; rotations are applied in the order x, y, z, as in (8).
        turn_y: about y.
        turn_z: about z.
        shift_x: the cube's centre, length.
        shift_y: the same.
        shift_z: the same.
        noise: σ of the Gaussian noise on every pixel, intensity.
        seed: which noise, ≥ 0.
        attack: the direction of the attack.
        strength: ε, the norm of the attack's whole change of the image, intensity.
        output: which output's gradients are shown, and attacked by "gradient": 0 … 8.
        network: which network is attacked and drawn, by its name; "" for the first.

    Raises:
        ValueError: a number is outside `LIMITS`, or an attack or output is unknown.

    Example:
        >>> from jetprop.explore import State
        >>> State(turn_x=10, noise=0.1).query()
        'turn_x=10&noise=0.1'
        >>> State.of_query({"turn_x": "10", "noise": "0.1"}) == State(turn_x=10, noise=0.1)
        True
    """

    turn_x: float = 0.0
    turn_y: float = 0.0
    turn_z: float = 0.0
    shift_x: float = 0.0
    shift_y: float = 0.0
    shift_z: float = 0.0
    noise: float = 0.0
    seed: int = 0
    attack: Attack = "none"
    strength: float = 0.5
    output: int = 0
    network: str = ""

    def __post_init__(self) -> None:
        for name, (least, most, _) in LIMITS.items():
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name} lies between {least:g} and {most:g}, got {getattr(self, name)!r}")
        if self.attack not in get_args(Attack):
            raise ValueError(f"attack is one of {', '.join(get_args(Attack))}; got {self.attack!r}")
        if not 0 <= self.output < len(OUTPUTS):
            raise ValueError(f"output is a number from 0 to {len(OUTPUTS) - 1}, got {self.output!r}")
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"seed is a number from 0 to 2147483647, got {self.seed!r}")

    # ---- the page's address -----------------------------------------------------------------------------------------

    def query(self) -> str:
        """What differs from the start, as the part of an address after the question mark."""
        start = State()
        changed = {f.name: getattr(self, f.name) for f in fields(self)}
        changed = {name: value for name, value in changed.items() if value != getattr(start, name)}
        return urlencode({n: f"{round(v, 4):g}" if isinstance(v, float) else v for n, v in changed.items()})

    @classmethod
    def of_query(cls, query: Mapping[str, str]) -> State:
        """The state that an address names.

        Raises:
            ValueError: a name is unknown, or a value cannot be understood or is outside its limits.
        """
        kinds = {f.name: type(f.default) for f in fields(cls)}
        unknown = sorted(query.keys() - kinds.keys())
        if unknown:
            raise ValueError(f"the address names {', '.join(unknown)}; known are {', '.join(kinds)}")
        values = {}
        for name, text in query.items():
            try:
                values[name] = kinds[name](text)
            except ValueError as error:
                raise ValueError(f"the address has {name}={text!r}, which is no {kinds[name].__name__}") from error
        return cls(**values)

    # ---- the pose ---------------------------------------------------------------------------------------------------

    def poses(self) -> Poses:
        """Where the cube is, as `Poses` of length 1."""
        turns = [math.radians(turn) for turn in (self.turn_x, self.turn_y, self.turn_z)]
        nu = torch.tensor([*turns, self.shift_x, self.shift_y, self.shift_z], dtype=torch.float64)
        return Poses(torch.eye(3)[None], torch.zeros(1, 3)).moved(nu)

    def at(self, poses: Poses) -> State:
        """The same with another pose, `Poses` of length 1; what exceeds a limit stops there."""
        rotation, shift = poses.rotation[0].tolist(), poses.centre[0].tolist()
        turns = (
            math.atan2(rotation[2][1], rotation[2][2]),
            -math.asin(max(-1.0, min(1.0, rotation[2][0]))),
            math.atan2(rotation[1][0], rotation[0][0]),
        )
        return self.changed(
            **{f"turn_{axis}": math.degrees(turn) for axis, turn in zip("xyz", turns, strict=True)},
            **{f"shift_{axis}": value for axis, value in zip("xyz", shift, strict=True)},
        )

    def changed(self, **values: object) -> State:
        """The same with other values; numbers are kept within their limits, a 0 is never negative."""
        kept = {}
        for name, value in values.items():
            if name in LIMITS:
                least, most, _ = LIMITS[name]
                value = max(least, min(most, float(value))) + 0.0  # type: ignore[arg-type]
            kept[name] = value
        return replace(self, **kept)

    def dragged(self, cube: Cube, columns: float, rows: float) -> State:
        """The cube moved such that its centre goes by so many pixels to the right and down, at the same depth."""
        x, y = self._across(cube, columns, rows)
        return self.changed(shift_x=self.shift_x + x, shift_y=self.shift_y + y)

    def turned(self, cube: Cube, columns: float, rows: float) -> State:
        """The cube turned about its centre such that what is nearest to the camera follows, half as fast."""
        x, y = self._across(cube, columns, rows)
        arm = 2 * cube.side
        here = self.poses()
        turn = here.moved(torch.tensor([-y / arm, x / arm, 0, 0, 0, 0], dtype=torch.float64))
        return self.at(turn)

    def _across(self, cube: Cube, columns: float, rows: float) -> tuple[float, float]:
        """The shift along x and y that takes the centre so many pixels on, to first order."""
        across = torch.eye(3, dtype=torch.float64)[:2, None, None]
        centre = Jet(torch.cat([self.poses().centre[None, :, None], across]), Basis.full(2, 1))
        slopes = cube.camera.project(centre).first[:, 0, 0] / cube.raster.step  # pixels for each unit of x, of y
        x, y = torch.linalg.solve(slopes.mT, torch.tensor([columns, rows], dtype=torch.float64)).tolist()
        return x, y
