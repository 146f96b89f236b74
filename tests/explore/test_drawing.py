"""Markup: in the right place, and nothing of a name gets through as markup."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from explore.small_runs import first_run
from jetprop.explore import State, View, drawing, look
from jetprop.manifolds import Cube

CUBE = Cube()


@pytest.fixture(scope="module")
def view(folder: Path) -> View:
    return look(State(turn_x=5, noise=0.1), [first_run(folder)])


def with_answer(view: View, **values: object) -> View:
    return dataclasses.replace(view, answers=[dataclasses.replace(view.answer, **values)])


def paths(markup: str) -> dict[str, str]:
    found = ElementTree.fromstring(markup).iter("path")
    return {path.get("class", ""): path.get("d", "") for path in found}


def test_cubes_are_drawn_where_their_pixels_are(view: View) -> None:
    markup = drawing.scene(view, CUBE, drawing.whole(CUBE))
    assert ElementTree.fromstring(markup).get("viewBox") == "0.000 0.000 41.000 41.000"
    for kind, outputs in (("true", view.truth), ("oracle", view.oracle)):
        frame = CUBE.wireframe(outputs[None])
        corner = CUBE.raster.pixel(frame.points)[0, frame.edges[frame.visible[0]][0, 0]] + 0.5
        start = re.match(r"M(\S+) (\S+)L", paths(markup)[kind])
        assert start and [float(x) for x in start.groups()] == pytest.approx(corner.tolist(), abs=1e-3)
    assert paths(markup)["true"].count("M") == 9  # three faces are seen


def test_a_close_up_holds_the_cube(view: View) -> None:
    window = drawing.window_about(view, CUBE)
    corners = CUBE.raster.pixel(CUBE.wireframe(view.truth[None]).points)[0] + 0.5
    low = torch.tensor([window.left, window.top], dtype=torch.float64)
    assert bool((corners > low).all() & (corners < low + window.size).all()) and window.size < 41


@pytest.mark.parametrize("outputs", [torch.full((9,), torch.nan), torch.zeros(9), torch.full((9,), 50.0)])
def test_outputs_that_are_no_cube_are_not_drawn(view: View, outputs: torch.Tensor) -> None:
    drawn = paths(drawing.scene(with_answer(view, outputs=outputs.double()), CUBE, drawing.whole(CUBE)))
    assert "network" not in drawn and {"true", "oracle"} <= drawn.keys()


def test_names_are_text(view: View) -> None:
    named = with_answer(view, name="<b>&")
    assert "<b>" not in drawing.legend(named) + drawing.comparison(named)


def test_bars_reach_as_far_as_the_deviation(view: View) -> None:
    root = ElementTree.fromstring(drawing.bars(view))
    bars, grid = list(root.iter("rect")), [float(line.get("x1", 0)) for line in root.findall("line")]
    middle, half = grid[2], grid[4] - grid[2]
    deviations = 100 * torch.stack([view.answer.difference + view.moved, view.moved])
    limit = drawing._round_up(float(deviations.abs().max()))
    assert f"{limit:g} %" in {text.text for text in root.findall("text")}
    for a in range(9):
        for bar, value in zip(bars[2 * a : 2 * a + 2], deviations[:, a].tolist(), strict=True):
            left, width = float(bar.get("x", 0)), float(bar.get("width", 0))
            # Coordinates are written with two digits.
            assert width == pytest.approx(half * abs(value) / limit, abs=0.01)
            assert (left if value > 0 else left + width) == pytest.approx(middle, abs=0.02)


def test_gradients_share_a_scale_unless_told_otherwise(view: View) -> None:
    def scales(markup: str) -> list[str]:
        return re.findall(r"<small>(.*?)</small>", markup)

    assert len(set(scales(drawing.gradient_tiles(view, 0)))) == 1
    assert len(set(scales(drawing.gradient_tiles(view, 0, own_scales=True)))) > 1
    assert len(scales(drawing.image_tiles(view))) == 4


@pytest.mark.parametrize(("value", "limit"), [(0.0, 1.0), (0.011, 0.02), (1.0, 1.0), (2.1, 5.0), (7.0, 10.0)])
def test_scales_are_round(value: float, limit: float) -> None:
    assert drawing._round_up(value) == pytest.approx(limit)
