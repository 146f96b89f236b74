"""What the page of the demonstration tells: the record of a run, checked, and put into words and pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from jetprop.experiments.records import Record
from jetprop.jets import Basis
from jetprop.manifolds import Cube
from jetprop.report.derivatives import derivative_pictures
from jetprop.report.drawing import number
from jetprop.report.figures import Plot, Series
from jetprop.report.pictures import Picture

__all__ = ["EXAMPLE", "Case", "Network", "Story", "story"]

EXAMPLE = """\
import torch
from jetprop.manifolds import Cube
from jetprop.objectives import match, normalizers
from jetprop.training import MLP

images, cubes = Cube().sample(4096, order=1)  # two jets: values and 6 first derivatives
scale = normalizers([(images, cubes)])        # makes derivatives of different kinds comparable
model = MLP([1681, 128, 128, 128, 64, 9], "silu", "torch")  # or any torch.nn.Module
adam = torch.optim.Adam(model.parameters())
for step in range(1000):
    batch = torch.randint(4096, (64,))
    prediction = model(images[batch])         # the jet of the output, from the unchanged model
    loss = match(prediction, cubes[batch], weights=(1, 1), normalizers=scale).total
    adam.zero_grad()
    loss.backward()
    adam.step()
"""
"""What a user writes; the tests run it."""

FIRST = tuple((i,) for i in range(6))
"""The first derivatives that are shown: all of them."""

SECOND = ((0, 1), (2, 2), (0, 4), (1, 3), (3, 3), (3, 4), (5, 5))
"""The second derivatives that are shown, as pairs of degrees of freedom; most are among those of Fig. 8."""

FIRST_TEST_POSE = 97020
"""Shown where a record holds no poses."""

SAME = 1.05
"""Training times that differ by no more than this factor are called the same; likewise errors."""


@dataclass(frozen=True)
class Network:
    """One of the networks that are compared; None is what the run did not get to.

    Args:
        name: as shown, e.g. "+ first derivatives".
        order: the highest derivative it was trained on.
        error: e of (3) on the test images, percent.
        train_error: the same on the training images.
        ratio: the error of the network trained on values only divided by its own.
        training_seconds: compilation left out.
        compile_seconds: what compilation took.
        steps: how many.
        images_per_second: in training.
        rows_per_second: images and derivatives.
        history: (training seconds, test error in percent).
    """

    name: str
    order: int
    error: float | None = None
    train_error: float | None = None
    ratio: float | None = None
    training_seconds: float | None = None
    compile_seconds: float | None = None
    steps: float | None = None
    images_per_second: float | None = None
    rows_per_second: float | None = None
    history: tuple[tuple[float, float], ...] = ()

    @property
    def rows(self) -> int:
        """Value and derivatives together, for each image."""
        return len(Basis.full(6, self.order))

    @property
    def curve(self) -> list[tuple[float, float]]:
        """The history, and the error at the end, unless that is part of it."""
        end, last = self.training_seconds, self.history[-1][0] if self.history else 0.0
        if end is None or self.error is None or last >= end:
            return list(self.history)
        return [*self.history, (end, self.error)]

    @property
    def verdict(self) -> str:
        """How it compares with values only, in words."""
        if self.order == 0:
            return "the usual training"
        if self.ratio is None:
            return "no comparison: a network is not finished"
        return (
            f"{compared(self.ratio)} than with values only" if not _same(self.ratio) else "as accurate as values only"
        )


@dataclass(frozen=True)
class Case:
    """One test image with what the networks made of it.

    Args:
        pose: its number.
        truth: `[9]`.
        outputs: name of a network to its outputs, `[9]`, in the order of the networks; not finite where absent.
        distances: mean distance of the three vertices from where they are, percent of the cube's side.
    """

    pose: int
    truth: Tensor
    outputs: dict[str, Tensor]
    distances: dict[str, float | None]

    @property
    def description(self) -> str:
        """What is read out instead of the picture."""
        found = "; ".join(
            f"{name}: {number(distance, 2)} % of the side off" if distance is not None else f"{name}: no prediction"
            for name, distance in self.distances.items()
        )
        return (
            f"Outlines of cube {self.pose}, true and predicted, over its image, magnified and from the side. {found}."
        )


@dataclass(frozen=True)
class Story:
    """All that the page needs, beside the record itself."""

    networks: list[Network]
    headline: str
    training_time: str
    image: Picture
    first: list[Picture]
    second: list[Picture]
    pose: int
    cases: list[Case] = field(default_factory=list)
    curves: Plot | None = None
    training_images: int | None = None
    test_images: int | None = None
    widths: tuple[int, ...] = ()

    @property
    def depth(self) -> float | None:
        """How much of the squared deviations of the vertices shown is along z, percent."""
        off = [(guess - case.truth).unflatten(0, (3, 3)) for case in self.cases for guess in case.outputs.values()]
        squares = torch.stack(off).square().nansum((0, 1)) if off else torch.zeros(3)
        return 100 * float(squares[2] / squares.sum()) if bool(squares.sum() > 0) else None

    @property
    def errors(self) -> dict[str, list[float | None]]:
        """Final errors, percent."""
        return {"test": [n.error for n in self.networks], "training": [n.train_error for n in self.networks]}

    @property
    def weights(self) -> int | None:
        """How many weights and thresholds each network has."""
        widths = self.widths
        return sum((a + 1) * b for a, b in zip(widths, widths[1:], strict=False)) or None


def story(record: Record, cube: Cube) -> Story:
    """Read a record of the demonstration.

    `record.data` holds `networks` (dictionaries of the fields of `Network`), `poses` and `truth` (numbers of the test
    images shown and their nine outputs), `outputs` (network name to nine outputs for each of them), `training_images`,
    `test_images` and `widths`. Only `networks` must be there.

    Raises:
        ValueError: there are no networks, one lacks its name or order, or poses, truth and outputs do not fit together.
    """
    data = record.data
    networks = [_network(one) for one in data.get("networks") or ()]
    if not networks:
        raise ValueError('the record of a demonstration lists its networks under data["networks"]; there are none')
    networks = _with_ratios(networks)
    cases = _cases(data, networks, cube)
    poses = cube.nearest(cases[0].truth[None]) if cases else cube.poses(1, start=FIRST_TEST_POSE)
    image, pictures = derivative_pictures(cube, poses, FIRST + SECOND)
    return Story(
        networks=networks,
        headline=_headline(networks),
        training_time=_training_time(networks),
        image=image,
        first=pictures[: len(FIRST)],
        second=pictures[len(FIRST) :],
        pose=cases[0].pose if cases else FIRST_TEST_POSE,
        cases=cases,
        curves=_curves(networks),
        training_images=data.get("training_images"),
        test_images=data.get("test_images"),
        widths=tuple(data.get("widths") or ()),
    )


def compared(ratio: float) -> str:
    """In words: 6.8 is "6.8 times more accurate", 0.5 is "2.0 times less accurate"."""
    return f"{number(ratio, 2)} times more accurate" if ratio >= 1 else f"{number(1 / ratio, 2)} times less accurate"


def _network(values: Mapping[str, Any]) -> Network:
    if "name" not in values or values.get("order") not in (0, 1, 2):
        raise ValueError(
            f"a network of the demonstration needs a name and an order 0, 1 or 2, got {dict(values)!r:.200}"
        )
    numbers = {
        name: _known(values.get(name))
        for name in ("error", "train_error", "ratio", "training_seconds", "compile_seconds", "steps")
    }
    speeds = {name: _known(values.get(name)) for name in ("images_per_second", "rows_per_second")}
    history = tuple(
        (float(t), float(e)) for t, e in values.get("history") or () if _known(t) is not None and _known(e) is not None
    )
    return Network(str(values["name"]), int(values["order"]), **numbers, **speeds, history=history)


def _known(value: Any) -> float | None:  # noqa: ANN401
    return float(value) if value is not None and math.isfinite(value) else None


def _same(ratio: float) -> bool:
    return 1 / SAME < ratio < SAME


def _with_ratios(networks: list[Network]) -> list[Network]:
    """Ratios that the record leaves out but its errors give."""
    base = next((n.error for n in networks if n.order == 0), None)
    result = []
    for n in networks:
        if n.ratio is None and base is not None and n.error:
            n = Network(**{**vars(n), "ratio": base / n.error})
        result.append(n)
    return result


def _headline(networks: list[Network]) -> str:
    found = [n for n in networks if n.order > 0 and n.ratio is not None]
    if not found:
        return "An unfinished comparison of training with and without derivatives"
    best = max(found, key=lambda n: n.ratio or 0)
    assert best.ratio is not None
    times = [n.training_seconds for n in networks]
    spent = "from the same images in the same time" if _equal(times) else "from the same images"
    if _same(best.ratio):
        return f"As accurate with derivatives as without, {spent}"
    given = "first derivatives" if best.order == 1 else "first and second derivatives"
    return f"{compared(best.ratio)} with {given}, {spent}"


def _equal(times: list[float | None]) -> bool:
    known = [t for t in times if t]
    return len(known) == len(times) and max(known) <= SAME * min(known)


def _training_time(networks: list[Network]) -> str:
    times = [n.training_seconds for n in networks]
    known = [t for t in times if t]
    if not known:
        return "for a time that was not recorded"
    if _equal(times):
        return f"for the same time, {sum(known) / len(known):.0f} s each"
    return f"for {min(known):.0f} to {max(known):.0f} s"


def _curves(networks: list[Network]) -> Plot | None:
    series = [
        Series(n.name, [t for t, _ in curve], [e for _, e in curve], colour=place)
        for place, n in enumerate(networks)
        if (curve := n.curve)
    ]
    if not any(n.history for n in networks):
        return None
    caption = "Error on the test images during training, logarithmic, one line for each network."
    return Plot("", "training time, s", "test error e, %", series, "y", caption)


def _cases(data: Mapping[str, Any], networks: list[Network], cube: Cube) -> list[Case]:
    truth, poses, outputs = data.get("truth") or [], data.get("poses") or [], data.get("outputs") or {}
    if len(truth) != len(poses):
        raise ValueError(
            f"there are {len(poses)} poses and {len(truth)} true outputs; both need one for each image shown"
        )
    unknown = set(outputs) - {n.name for n in networks}
    if unknown:
        raise ValueError(f"outputs of {sorted(unknown)}, which is none of the networks {[n.name for n in networks]}")
    cases = []
    for place, pose in enumerate(poses):
        right = _nine(truth[place], f"truth of pose {pose}")
        if not bool(right.isfinite().all()):
            raise ValueError(f"the truth of pose {pose} is not finite")
        guesses, distances = {}, {}
        for n in networks:
            given = outputs.get(n.name)
            if given is not None and len(given) != len(poses):
                raise ValueError(f"{n.name!r} has {len(given)} outputs for {len(poses)} poses")
            guess = torch.full((9,), math.nan) if given is None else _nine(given[place], f"output of {n.name!r}")
            off = (guess - right).unflatten(0, (3, 3)).norm(dim=1).mean() / cube.side
            guesses[n.name], distances[n.name] = guess, _known(100 * float(off))
        cases.append(Case(int(pose), right, guesses, distances))
    return cases


def _nine(values: Any, what: str) -> Tensor:  # noqa: ANN401
    found = torch.as_tensor(values, dtype=torch.float64)
    if found.shape != (9,):
        raise ValueError(f"the {what} must be nine numbers, got shape {list(found.shape)}")
    return found
