"""The visitor's state: addresses, poses, and what dragging does to them."""

from __future__ import annotations

import math
from urllib.parse import parse_qsl

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jetprop.explore.state import LIMITS, OUTPUTS, State
from jetprop.jets import Basis, Jet
from jetprop.manifolds import Cube, Poses

CUBE = Cube()
NUMBERS = {name: st.floats(low, high).map(lambda x: round(x, 3)) for name, (low, high, _) in LIMITS.items()}
STATES = st.builds(
    State,
    **NUMBERS,
    seed=st.integers(0, 2**31 - 1),
    attack=st.sampled_from(["none", "optimal", "sensitivity", "invariance", "gradient"]),
    output=st.integers(0, 8),
    network=st.text(max_size=20),
)


def centre_in_pixels(state: State) -> torch.Tensor:
    points = Jet(state.poses().centre[None, :, None], Basis.full(0, 0))
    return CUBE.raster.pixel(CUBE.camera.project(points).value)[0, 0]


@settings(max_examples=25)
@given(STATES)
def test_an_address_names_its_state(state: State) -> None:
    query = dict(parse_qsl(state.query(), keep_blank_values=True))
    assert State.of_query(query) == state


def test_the_start_needs_no_address() -> None:
    assert State().query() == ""


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ({"nose": "1"}, "nose; known are"),
        ({"noise": "loud"}, "which is no float"),
        ({"noise": "0.5"}, "noise lies between 0 and 0.3"),
        ({"noise": "nan"}, "noise lies between"),
        ({"output": "9"}, "from 0 to 8"),
        ({"seed": "-1"}, "seed is a number"),
        ({"attack": "rude"}, "attack is one of"),
    ],
)
def test_bad_addresses_are_refused(query: dict[str, str], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        State.of_query(query)


@settings(max_examples=25)
@given(STATES)
def test_a_pose_gives_its_state_back(state: State) -> None:
    again = state.at(state.poses())
    for name in LIMITS:
        assert math.isclose(getattr(again, name), getattr(state, name), abs_tol=1e-9)  # degrees of float64 angles


def test_rotations_are_applied_in_the_order_of_the_paper() -> None:
    quarter = State(turn_x=30, turn_z=40)
    about = torch.eye(3, dtype=torch.float64)
    x, z = (Poses.about(about[k : k + 1], torch.tensor([math.radians(a)])).rotation[0] for k, a in ((0, 30), (2, 40)))
    torch.testing.assert_close(quarter.poses().rotation[0], z @ x)


@settings(max_examples=25)
@given(st.floats(-4, 4), st.floats(-4, 4), st.floats(-0.3, 0.3))
def test_the_centre_follows_the_pointer(columns: float, rows: float, depth: float) -> None:
    """Exactly, for the image plane is parallel to the shift."""
    start = State(shift_x=0.05, shift_y=-0.1, shift_z=depth, turn_x=10)
    went = centre_in_pixels(start.dragged(CUBE, columns, rows)) - centre_in_pixels(start)
    torch.testing.assert_close(went, torch.tensor([columns, rows], dtype=torch.float64))


@pytest.mark.parametrize(("columns", "rows"), [(0.3, 0.0), (0.0, 0.3), (-0.2, 0.1)])
def test_the_front_follows_a_turn(columns: float, rows: float) -> None:
    start = State(turn_x=5, turn_y=-8, shift_x=0.1)
    after = start.turned(CUBE, columns, rows)
    assert (after.shift_x, after.shift_y, after.shift_z) == pytest.approx((0.1, 0, 0))
    front = torch.tensor([0.0, 0.0, CUBE.side], dtype=torch.float64)
    relative = after.poses().rotation[0] @ start.poses().rotation[0].mT @ front

    def pixels(points: torch.Tensor) -> torch.Tensor:
        placed = (points + start.poses().centre[0])[None, None, None]
        return CUBE.raster.pixel(CUBE.camera.project(Jet(placed, Basis.full(0, 0))).value)[0, 0]

    went = pixels(relative) - pixels(front)
    # Half as fast; nearer to the camera by the side, it moves 5/4.6 times as much. What is left is of second order.
    expected = torch.tensor([columns, rows], dtype=torch.float64) / 2 * 5 / 4.6
    torch.testing.assert_close(went, expected, atol=0.01, rtol=0.0)


def test_what_exceeds_a_limit_stops_there() -> None:
    far = State().dragged(CUBE, 100, 0)
    assert abs(far.shift_x) == LIMITS["shift_x"][1]
    assert State().changed(noise=7).noise == LIMITS["noise"][1]


def test_outputs_are_named_in_their_order() -> None:
    assert OUTPUTS == ("x₁", "y₁", "z₁", "x₂", "y₂", "z₂", "x₃", "y₃", "z₃")
