"""What the page shows, against what the library says by itself."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch

from explore.small_runs import first_run
from jetprop import Oracle
from jetprop.explore import State, View, look
from jetprop.explore.runs import Run, find_runs
from jetprop.manifolds import Poses
from jetprop.objectives import relative_error
from jetprop.robustness import gradients, vulnerability

POSE = State(turn_x=10, turn_y=-5, turn_z=3, shift_x=0.1, shift_y=-0.2, shift_z=0.15)


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    return first_run(folder)


def seen(run: Run, **values: object) -> View:
    return look(POSE.changed(**values), [run])


def test_a_clean_image(run: Run) -> None:
    view = seen(run, output=4)
    image, target = run.cube.render(POSE.poses(), 0, dtype=torch.float64)
    assert torch.equal(view.clean, image.value[0]) and torch.equal(view.given, view.clean)
    torch.testing.assert_close(view.truth, target.value[0])
    assert torch.equal(view.oracle, view.truth) and not view.moved.any() and view.notes == []
    with torch.no_grad():
        outputs = run.network(image.value)
    torch.testing.assert_close(view.answer.outputs, outputs[0])
    assert view.answer.error == pytest.approx(relative_error(outputs, target.value, run.deviation))
    oracle = Oracle.at(run.cube, POSE.poses(), order=1)
    torch.testing.assert_close(view.gradient, oracle.gradient()[0, 4])
    torch.testing.assert_close(view.answer.gradient, gradients(run.network, image.value)[0, 4])
    found = vulnerability(run.network, image.value, oracle)
    assert view.answer.vulnerability == pytest.approx({kind: float(v) for kind, v in found.values.items()})


def test_noise_is_what_its_seed_says(run: Run) -> None:
    view, again, other = seen(run, noise=0.1), seen(run, noise=0.1), seen(run, noise=0.1, seed=1)
    assert torch.equal(view.given, again.given) and not torch.equal(view.given, other.given)
    # The standard error of σ from 1681 pixels is 1.7 %.
    assert float((view.given - view.clean).std()) == pytest.approx(0.1, rel=0.07)


def test_the_oracle_finds_the_nearest_cube(run: Run) -> None:
    view = seen(run, noise=0.15)
    torch.testing.assert_close(
        run.cube.render(run.cube.nearest(view.oracle[None]), 0)[0].value[0], view.nearest.float()
    )
    best = (view.given - view.nearest).norm()
    assert best < (view.given - view.clean).norm()
    # No cube within 1 % of a radian and of a length is nearer.
    nu = 0.01 * torch.randn(200, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    nearest = run.cube.nearest(view.oracle[None])
    around = Poses(nearest.rotation.expand(200, 3, 3), nearest.centre.expand(200, 3)).moved(nu)
    images = run.cube.render(around, 0, dtype=torch.float64)[0].value
    assert bool(((images - view.given).flatten(1).norm(dim=1) > best).all())


@pytest.mark.parametrize("attack", ["optimal", "sensitivity", "invariance", "gradient"])
def test_an_attack_has_the_length_asked_for(run: Run, attack: str) -> None:
    for noise in (0.0, 0.05):
        before, view = seen(run, noise=noise), seen(run, noise=noise, attack=attack, strength=0.4)
        assert float((view.given - before.given).norm()) == pytest.approx(0.4)
        assert torch.equal(seen(run, noise=noise, attack=attack, strength=0.0).given, before.given)


def test_attacks_do_what_they_are_called(run: Run) -> None:
    """To first order in ε: what should stay, stays to second order; the rest changes as vulnerability says."""
    small, clean = 0.01, seen(run)
    state = {name: seen(run, attack=name, strength=small) for name in ("optimal", "sensitivity", "invariance")}

    def rate(difference: torch.Tensor) -> float:
        return float((difference / 0.3).norm()) / 9 / small

    v = clean.answer.vulnerability
    network = {name: view.answer.outputs - clean.answer.outputs for name, view in state.items()}
    oracle = {name: view.oracle - clean.oracle for name, view in state.items()}
    assert rate(network["optimal"] - oracle["optimal"]) == pytest.approx(v["maximum"], rel=0.02)
    assert rate(network["sensitivity"]) == pytest.approx(v["sensitivity"], rel=0.02)
    assert rate(oracle["invariance"]) == pytest.approx(v["invariance"], rel=0.02)
    assert rate(oracle["sensitivity"]) < 0.02 * v["invariance"]
    # (34) asks it of the combinations of outputs in which the oracle moves, six for six degrees of freedom.
    slopes = Oracle.at(run.cube, POSE.poses(), order=1).gradient()[0].flatten(1)
    moving = torch.linalg.eigh(slopes @ slopes.mT).eigenvectors[:, -6:]
    assert rate(network["invariance"] @ moving) < 0.02 * v["sensitivity"]


def test_the_gradient_of_an_output_raises_it_most(run: Run) -> None:
    clean, view = seen(run, output=5), seen(run, output=5, attack="gradient", strength=0.01)
    change = float((view.answer.outputs - clean.answer.outputs)[5])
    assert change == pytest.approx(0.01 * float(clean.answer.gradient.norm()), rel=0.02)


def test_networks_are_compared_on_the_image_of_the_one_chosen(folder: Path) -> None:
    runs = find_runs(folder)
    state = State(attack="optimal")
    one, other = look(state, runs.found, 0), look(state, runs.found, 1)
    assert [a.name for a in one.answers] == [run.short for run in runs.found]
    assert one.answer is one.answers[0] and other.answer is other.answers[1]
    assert not torch.equal(one.given, other.given)
    alone = look(state, runs.found[1:])
    torch.testing.assert_close(alone.answer.difference, other.answer.difference)
    assert alone.answer.vulnerability == pytest.approx(other.answer.vulnerability)


def test_a_face_seen_face_on_is_flagged(run: Run) -> None:
    """Four orientations look alike there, and a small turn looks like a shift."""
    towards = run.cube._at_rest()[0] + run.cube._at_rest()[1]
    axis = torch.linalg.cross(towards, torch.tensor([0.0, 0, 1], dtype=torch.float64))
    angle = torch.acos(towards[2] / towards.norm())
    poses = Poses.about((axis / axis.norm())[None], angle[None])
    view = look(State().at(poses), [run])
    assert any("nearly singular" in note for note in view.notes), math.degrees(float(angle))


def test_what_lies_outside_is_flagged(run: Run) -> None:
    assert any("Outside the training poses (turned by 40°" in note for note in look(State(turn_x=40), [run]).notes)
    assert any("shifted by 0.60" in note for note in seen(run, shift_x=0.6).notes)
    near = dataclasses.replace(run.cube, camera=dataclasses.replace(run.cube.camera, focal=9.0))
    close = Run(run.name, run.short, run.path, run.recipe)
    vars(close)["cube"] = near
    assert any("cuts the picture off" in note for note in seen(close, shift_x=0.5).notes)


def test_a_network_that_answers_nonsense_is_refused(folder: Path) -> None:
    run = first_run(folder)
    with torch.no_grad():
        next(run.network.parameters()).fill_(torch.nan)
    with pytest.raises(ValueError, match="NaN"):
        look(State(), [run])
