"""Attacks, claims and panels on pages and sheets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.collections import LineCollection

from jetprop.experiments.records import Figure, Record
from jetprop.manifolds import Cube
from jetprop.report import Plot, Series, attack_figure, claims, panels, write_experiment, write_gallery
from jetprop.report.attacks import attacks_of
from jetprop.report.gallery import groups_of
from report.test_page import check

KINDS = ("maximum", "sensitivity", "invariance")
CLAIMS = [
    {"claim": "the trade-off cuts the error", "holds": True, "found": "e 3 to 1 %"},
    {"claim": "second order bears more noise", "holds": False, "found": "8 against 7 %"},
    {"claim": "third", "holds": None, "found": "not run"},
]


def attacked(network: str = "robust", pose: int = 97020) -> list[dict[str, Any]]:
    """Invented attacks on one image: the network's cube is off by a little more each time."""
    truth = Cube().outputs(Cube().poses(1, start=pose))[0]
    direction = torch.linspace(-1, 1, 41 * 41).reshape(41, 41)
    return [
        {
            "network": network,
            "kind": kind,
            "pose": pose,
            "direction": (direction / direction.norm()).tolist(),
            "before": (truth + 0.01).tolist(),
            "after": (truth + 0.02 * (k + 2)).tolist(),
            "oracle": (truth + 0.005 * k).tolist(),
        }
        for k, kind in enumerate(KINDS)
    ]


def record(**data: Any) -> Record:
    return Record(
        "avrutskiy2023 attacks",
        "cpu",
        "jetprop reproduce avrutskiy2023 attacks",
        {"seed": 0},
        figures=[Figure("robust, v_max", "found", 9.4)],
        environment={"created": "2025-01-01T00:00:00+00:00"},
        data=data,
    )


def test_an_attack_is_drawn_with_what_was_added_and_both_cubes() -> None:
    figure = attack_figure(attacked(), epsilon=0.5)
    before, *added = figure.axes[:4]
    assert [axes.get_title().split(":")[0] for axes in added] == ["optimal", "sensitivity", "invariance"]
    for axes, case in zip(added, attacked(), strict=True):
        (image,) = axes.images
        shown = torch.as_tensor(image.get_array())
        assert torch.allclose(shown.float(), 0.5 * torch.tensor(case["direction"]), atol=1e-6)
        low, high = image.get_clim()
        assert low == pytest.approx(-high), "symmetric about zero"  # type: ignore[operator]
    for axes in (before, *figure.axes[5:8]):
        assert sum(isinstance(one, LineCollection) for one in axes.collections) == 2


def test_the_attacked_image_is_the_image_and_what_was_added() -> None:
    figure = attack_figure(attacked(), epsilon=0.5)
    clean, after = (torch.as_tensor(figure.axes[k].images[0].get_array()) for k in (0, 5))
    assert torch.allclose(after - clean, 0.5 * torch.tensor(attacked()[0]["direction"]).double(), atol=1e-6)


def test_how_far_vertices_moved_is_said_in_parts_of_the_side() -> None:
    figure = attack_figure(attacked(), epsilon=0.5)
    # each of three coordinates by 0.03, and by 0: √3 · 0.03 / 0.4 = 13 %
    assert figure.axes[5].get_title() == "network 13 %, oracle 0 %"


def test_the_page_shows_attacks_of_each_network_and_claims(tmp_path: Path) -> None:
    held = record(attacks=attacked("robust") + attacked("plain"), epsilon=0.5, claims=CLAIMS)
    assert [name for name, _ in attacks_of(held)] == ["robust", "plain"]
    page = check(write_experiment(held, tmp_path / "attacks.html"), tmp_path)
    for expected in (
        "Attacks on robust",
        "Attacks on plain",
        "the trade-off cuts the error",
        "does not show",
        "e 3 to 1",
    ):
        assert expected in page.text


def test_a_record_without_claims_has_no_section_for_them(tmp_path: Path) -> None:
    assert "claims" not in check(write_experiment(record(), tmp_path / "none.html"), tmp_path).text


def test_claims_as_lines() -> None:
    assert claims(record(claims=CLAIMS)) == [
        "shows: the trade-off cuts the error (e 3 to 1 %)",
        "does not show: second order bears more noise (8 against 7 %)",
        "not run: third (not run)",
    ]


def test_an_attack_that_cannot_be_drawn_is_refused() -> None:
    incomplete = [{k: v for k, v in attacked()[0].items() if k != "oracle"}]
    with pytest.raises(ValueError, match="lacks oracle"):
        attacks_of(record(attacks=incomplete, epsilon=0.5))
    with pytest.raises(ValueError, match="on one image"):
        attack_figure(attacked() + attacked(pose=97021), epsilon=0.5)


def test_plots_become_panels_with_a_legend_each(tmp_path: Path) -> None:
    plots = [Plot(f"{k} million", "σ", "e, %", [Series("e", [0.0, 0.1], [1.0, k])]) for k in (1, 2, 3)]
    figure = panels(plots)
    assert len(figure.subfigs) == 4 and [len(one.axes) for one in figure.subfigs] == [1, 1, 1, 0]
    with pytest.raises(ValueError, match="at least one"):
        panels([])
    described = [{"title": "e", "x": "σ", "y": "%", "series": [{"name": "e", "x": [0, 1], "y": [1, 2]}]}]
    path = write_gallery(record(plots=described), tmp_path / "plots.png")
    assert path is not None and path.stat().st_size > 1000
    assert write_gallery(record(), tmp_path / "none.png") is None


@pytest.mark.parametrize(("number", "groups", "pictures"), [(3, 1, 5), (8, 1, 5), (4, 3, 6)])
def test_figures_that_are_rendered_anew(number: int, groups: int, pictures: int) -> None:
    held = Record(
        f"avrutskiy2023 fig{number}",
        "cpu",
        "",
        {},
        data={"derived": 30, "directions": {"seed": 0, "shown": [0, 1]}},
    )
    found = groups_of(held)
    assert len(found) == groups and sum(len(group.pictures) for group in found) == pictures
    assert all(group.title.startswith(f"Fig. {number}") for group in found)
