"""The oracle's expansion: against closed forms, against brute-force minimisation over renderings, and its laws."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from jetprop import Basis, Jet, Oracle
from jetprop.manifolds import Cube, Poses
from oracle import brute, sphere

F64 = torch.float64
CUBE = Cube()
SPHERE = sphere.Sphere()


def facing(angle: float, centre=(0.0, 0.0, 0.0)) -> Poses:
    """A cube with one face turned to the camera, but for an angle."""
    rest = CUBE._at_rest()
    axis = (rest[0] + rest[1]) / (rest[0] + rest[1]).norm()
    ray = CUBE.camera.position - torch.tensor(centre, dtype=F64)
    ray = ray / ray.norm()
    turn = torch.linalg.cross(axis, ray)
    return Poses.about(
        (turn / turn.norm())[None],
        torch.atan2(turn.norm(), axis @ ray)[None] + angle,
        torch.tensor([centre], dtype=F64),
    )


def along(oracle: Oracle, direction: Tensor) -> Tensor:
    """∇O_a · D, `[batch, outputs]`."""
    return (oracle.gradient().flatten(2) @ direction.flatten(1)[..., None])[..., 0]


def derivatives_of_nearest(at: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """First and second derivative of 𝓕/‖𝓕‖ along D by nested reverse mode."""
    t = torch.zeros(len(at), 1, dtype=F64, requires_grad=True)
    value = sphere.nearest(at + t * direction)
    first, second = [], []
    for output in value.unbind(1):
        (slope,) = torch.autograd.grad(output.sum(), t, create_graph=True)
        (curvature,) = torch.autograd.grad(slope.sum(), t, retain_graph=True)
        first.append(slope[:, 0].detach())
        second.append(curvature[:, 0])
    return torch.stack(first, 1), torch.stack(second, 1)


# ---- closed forms ---------------------------------------------------------------------------------------------------


def test_the_derivatives_on_a_sphere_are_those_of_normalisation():
    poses = SPHERE.poses(5)
    oracle = Oracle(*SPHERE.render(poses, 2, dtype=F64))
    directions = torch.randn(3, 5, 3, dtype=F64)
    jet = oracle.directional(directions)
    assert jet.basis == Basis.directional(3, 2)
    assert torch.allclose(jet.value, poses.unit, rtol=1e-14)
    for k, direction in enumerate(directions):
        first, second = derivatives_of_nearest(2 * poses.unit, direction)
        assert torch.allclose(jet.d(k), first, atol=1e-12)
        assert torch.allclose(jet.d(k, k), second, atol=1e-12)
        assert torch.allclose(along(oracle, direction), first, atol=1e-12)


@pytest.mark.parametrize("radius", [1.3, 2.0, 5.0])
def test_away_from_the_manifold_the_curvature_counts(radius):
    """At 𝓕 = r x the derivative is (D - x x·D)/r, where the paper's Γ alone gives (D - x x·D)/R."""
    poses, direction = SPHERE.poses(5), torch.randn(5, 3, dtype=F64)
    image, target = SPHERE.render(poses, 2, dtype=F64)
    oracle = Oracle(image, target, observed=radius * poses.unit)
    first, _ = derivatives_of_nearest(radius * poses.unit, direction)
    assert torch.allclose(along(oracle, direction), first, atol=1e-12)
    assert torch.allclose(oracle.directional(direction, 1).d(0), first, atol=1e-12)
    assert torch.allclose(along(Oracle(image, target), direction), first * radius / 2, atol=1e-12)


def test_beyond_the_centre_of_curvature_there_is_no_nearest_point_to_follow():
    """At 𝓕 = -x/2 the point x is the farthest: Γ - (𝓕 - 𝓘)·H is negative definite, which is flagged, not inverted."""
    poses = SPHERE.poses(2)
    oracle = Oracle(*SPHERE.render(poses, 2, dtype=F64), observed=-0.5 * poses.unit)
    assert oracle.singular.all() and oracle.condition.isinf().all()
    assert not oracle.gradient().any()


def test_expansion_is_exact_to_second_order():
    """What is missing falls eightfold when the distance is halved."""
    poses, direction = SPHERE.poses(4), torch.randn(4, 3, dtype=F64)
    oracle = Oracle.at(SPHERE, poses)
    missing = []
    for epsilon in (0.04, 0.02, 0.01):
        inputs = oracle.image.value + epsilon * direction
        found = oracle.expand(inputs)
        assert found.valid.all() and found.poses is not None
        truth = sphere.nearest(inputs)
        missing.append([(part - truth).norm() for part in (found.target, found.image / 2, found.poses.unit)])  # type: ignore[attr-defined]
    ratios = torch.tensor(missing)[:-1] / torch.tensor(missing)[1:]
    assert ((ratios > 7) & (ratios < 9)).all()


# ---- the cube, by brute force ---------------------------------------------------------------------------------------


def test_the_derivatives_of_the_cube_are_those_of_the_brute_force_minimiser():
    """Central differences of arg min over ε, whose error ε² is seen to fall fourfold; both orders of derivative."""
    poses = CUBE.poses(2, start=11)
    oracle = Oracle(*CUBE.render(poses, 2, dtype=F64))
    direction = torch.randn(2, 41, 41, dtype=F64)
    jet = oracle.directional(direction)
    for b in range(2):
        pose, image, here = poses[torch.tensor([b])], oracle.image.value[b], oracle.target.value[b]
        errors = []
        for epsilon in (2e-2, 1e-2):
            ahead, back = (brute.nearest(CUBE, pose, image + s * epsilon * direction[b])[0] for s in (1, -1))
            first = (ahead - back) / (2 * epsilon) - jet.d(0)[b]
            second = (ahead + back - 2 * here) / epsilon**2 - jet.d(0, 0)[b]
            errors.append(torch.stack([first.norm() / jet.d(0)[b].norm(), second.norm() / jet.d(0, 0)[b].norm()]))
        assert errors[1].max() < 1e-3
        assert ((errors[0] / errors[1] > 3) & (errors[0] / errors[1] < 5)).all()


def test_the_curvature_term_gives_the_gradient_at_a_noisy_image():
    poses = CUBE.poses(1, start=5)
    clean = CUBE.render(poses, 0, dtype=F64)[0].value
    noisy = clean + 0.1 * torch.randn(1, 41, 41, dtype=F64)
    found = Oracle.at(CUBE, poses).project(noisy)
    direction = torch.randn(1, 41, 41, dtype=F64)
    curved = Oracle.at(CUBE, found.poses, observed=noisy)
    ahead, back = (brute.nearest(CUBE, found.poses, noisy[0] + s * 2e-3 * direction[0])[0] for s in (1, -1))  # type: ignore[arg-type]
    difference = (ahead - back) / 4e-3
    error = (along(curved, direction)[0] - difference).norm() / difference.norm()
    assert error < 1e-4  # ε² of the difference quotient
    flat = Oracle.at(CUBE, found.poses)
    assert (along(flat, direction)[0] - difference).norm() / difference.norm() > 20 * error


def test_gradient_is_the_direction_of_steepest_rise():
    """(17) to (19) literally: ∇O₁/‖∇O₁‖ is a tangent, has norm 1, and no tangent of norm 1 raises O₁ faster."""
    oracle = Oracle.at(CUBE, CUBE.poses(3))
    steepest = oracle.gradient()[:, 0]
    length = steepest.flatten(1).norm(dim=1)
    rise = along(oracle, steepest / length[:, None, None])[:, 0]
    assert torch.allclose(rise, length, rtol=1e-12)
    nu = torch.randn(2000, 3, 6, dtype=F64)
    others = torch.einsum("knd,dnij->knij", nu, oracle.image.first)
    others = others / others.flatten(2).norm(dim=2)[..., None, None]
    rises = oracle.directional(others, 1).first[..., 0]
    assert (rises <= rise * (1 + 1e-12)).all() and rises.max() > 0.8 * rise.min()


# ---- laws -----------------------------------------------------------------------------------------------------------


def test_gram_is_symmetric_positive_definite_and_of_the_tangents():
    image, target = CUBE.sample(6, order=1, dtype=F64)
    oracle = Oracle(image, target)
    assert torch.allclose(oracle.gram, torch.einsum("inrc,jnrc->nij", image.first, image.first), rtol=1e-12)
    assert torch.allclose(oracle.gram, oracle.gram.mT, rtol=1e-12)
    assert (torch.linalg.eigvalsh(oracle.gram) > 0).all()


def test_velocity_solves_its_equation_and_ignores_what_is_orthogonal():
    oracle = Oracle.at(CUBE, CUBE.poses(3))
    direction = torch.randn(2, 3, 41, 41, dtype=F64)
    velocity = oracle.velocity(direction)
    right = torch.einsum("knrc,inrc->kni", direction, oracle.image.first)
    assert torch.allclose(torch.einsum("nij,knj->kni", oracle.gram, velocity), right, rtol=1e-9, atol=1e-9)
    residual = direction[0] - torch.einsum("ni,inrc->nrc", velocity[0], oracle.image.first)
    assert oracle.velocity(residual).abs().max() < 1e-12


def test_a_direction_alone_or_among_others_and_a_sample_alone_or_in_a_batch():
    poses = CUBE.poses(4)
    direction = torch.randn(2, 4, 41, 41, dtype=F64)
    whole = Oracle.at(CUBE, poses).directional(direction)
    single = Oracle.at(CUBE, poses).directional(direction[1])
    assert torch.allclose(single.d(0), whole.d(1), rtol=1e-12)
    assert torch.allclose(single.d(0, 0), whole.d(1, 1), rtol=1e-10)
    alone = Oracle.at(CUBE, poses[2:3]).directional(direction[:, 2:3])
    assert torch.allclose(alone.rows, whole.rows[:, 2:3], rtol=1e-9, atol=1e-12)


def test_first_derivatives_are_linear_and_second_ones_quadratic_in_the_direction():
    oracle = Oracle.at(CUBE, CUBE.poses(2))
    a, b = torch.randn(2, 2, 41, 41, dtype=F64)
    jet = oracle.directional(torch.stack([a, b, a + b, a - b, 3 * a]))
    assert torch.allclose(jet.d(2), jet.d(0) + jet.d(1), rtol=1e-9, atol=1e-12)
    assert torch.allclose(jet.d(2, 2) + jet.d(3, 3), 2 * (jet.d(0, 0) + jet.d(1, 1)), rtol=1e-9, atol=1e-12)
    assert torch.allclose(jet.d(4, 4), 9 * jet.d(0, 0), rtol=1e-9, atol=1e-12)


def random_jets(batch: int = 2, order: int = 2) -> tuple[Tensor, Tensor, Basis]:
    basis = Basis.full(2, order)
    return torch.randn(len(basis), batch, 5, dtype=F64), torch.randn(len(basis), batch, 3, dtype=F64), basis


def test_everything_is_differentiable_twice_in_rows_and_directions():
    image, target, basis = random_jets()
    direction, observed = torch.randn(2, 2, 5, dtype=F64), image[0] + 0.1 * torch.randn(2, 5, dtype=F64)

    def results(image, target, direction):
        oracle = Oracle(Jet(image, basis), Jet(target, basis), limit=1e9)
        found = oracle.expand(image[0] + direction[0])
        return oracle.directional(direction).rows, oracle.gradient(), found.image, found.target

    def curved(image, target, observed):
        return Oracle(Jet(image, basis), Jet(target, basis), observed, limit=1e9).gradient()

    for function, arguments in ((results, (image, target, direction)), (curved, (image, target, observed))):
        inputs = tuple(t.clone().requires_grad_() for t in arguments)
        assert gradcheck(function, inputs)
        assert gradgradcheck(function, inputs, fast_mode=True)


def test_single_precision_is_right_to_its_digits():
    poses, direction = CUBE.poses(16), torch.randn(2, 16, 41, 41)
    double = Oracle.at(CUBE, poses).directional(direction.double())
    single = Oracle.at(CUBE, poses, dtype=torch.float32).directional(direction)
    assert single.dtype == torch.float32
    for row, exact in zip(single.rows, double.rows, strict=True):
        assert (row - exact).norm() / exact.norm() < 2e-5  # 1e-5 of the rendering, condition about 30


def test_low_precision_products_around_it_do_not_reach_it():
    image, target = CUBE.sample(4)
    direction = torch.randn(4, 41, 41)
    expected = Oracle(image, target).directional(direction).rows
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = Oracle(image, target).directional(direction).rows
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(found, expected)


# ---- nearly singular views ------------------------------------------------------------------------------------------


def test_face_on_views_are_nearly_singular_and_the_training_poses_are_not():
    """A turn of a face about x looks like a shift along y, but for perspective: the condition is about 10⁴."""
    turns = [0.0, 0.01, 0.05, 0.1, 0.2]
    conditions = torch.cat([Oracle.at(CUBE, facing(turn), order=1).condition for turn in turns])
    assert 5e3 < conditions[0] < 2e4 and (conditions.diff() < 0).all()
    assert (conditions > 1e3).tolist() == [True, True, True, False, False]
    training = Oracle(*CUBE.sample(1000, order=1))
    assert not training.singular.any() and training.condition.max() < 110


def test_a_nearly_singular_sample_is_flagged_finite_and_alone():
    plain, flat = CUBE.poses(2), facing(0.0)
    both = Poses(torch.cat([plain.rotation, flat.rotation]), torch.cat([plain.centre, flat.centre]))
    direction = torch.randn(3, 41, 41, dtype=F64)
    oracle = Oracle.at(CUBE, both)
    assert oracle.singular.tolist() == [False, False, True]
    expected = Oracle.at(CUBE, plain).directional(direction[:2]).rows
    found = oracle.directional(direction).rows
    assert torch.allclose(found[:, :2], expected, rtol=1e-9, atol=1e-12)
    inverted = Oracle.at(CUBE, both, limit=1e6)
    assert not inverted.singular.any()
    # Without the two turns that look like shifts, noise turns the cube much less.
    turning = [o.velocity(direction)[2, :3].norm() for o in (oracle, inverted)]
    assert 5 * turning[0] < turning[1]
    assert oracle.expand(oracle.image.value + 0.01 * direction).valid.tolist() == [True, True, False]
    with pytest.raises(ValueError, match=r"nearly singular for 1 of 3 samples, 2: condition up to 7"):
        Oracle.at(CUBE, both, when_singular="raise")


def test_without_rank_the_pseudo_inverse_shares_the_motion():
    """Two equal tangents: both coordinates move alike, half as far as one alone would; none in the dead coordinate."""
    basis, tangent = Basis.full(3, 1), torch.randn(1, 5, dtype=F64)
    image = Jet(torch.stack([tangent, tangent, tangent, 0 * tangent]), basis)
    target = Jet(torch.randn(4, 1, 2, dtype=F64), basis)
    oracle = Oracle(image, target)
    assert oracle.singular.all() and oracle.condition.isinf().all() and oracle.raw_condition.min() > 1e12
    assert torch.allclose(oracle.velocity(tangent), torch.tensor([[0.5, 0.5, 0.0]], dtype=F64))


def test_units_do_not_matter():
    """Degrees instead of radians change the raw condition, not the condition, the flag, nor any answer."""
    flat, plain = facing(0.0), CUBE.poses(1)
    poses = Poses(torch.cat([flat.rotation, plain.rotation]), torch.cat([flat.centre, plain.centre]))
    image, target = CUBE.render(poses, 2, dtype=F64)
    unit = [math.pi / 180] * 3 + [1000.0] * 3
    scale = torch.tensor([math.prod(unit[i] for i in label) for label in image.basis.labels], dtype=F64)  # type: ignore[union-attr]
    scaled = (Jet(jet.rows * scale.view(-1, *[1] * jet.dim()), jet.basis) for jet in (image, target))
    one, other = Oracle(image, target), Oracle(next(scaled), next(scaled))
    direction = torch.randn(2, 41, 41, dtype=F64)
    assert torch.allclose(one.condition, other.condition, rtol=1e-6)
    assert (other.raw_condition > 1e4 * one.raw_condition).all()
    assert torch.allclose(one.directional(direction).rows, other.directional(direction).rows, rtol=1e-6, atol=1e-9)


def test_pictures_cut_off_by_their_frame_are_told():
    centres = torch.tensor([[0.0, 0, 0], [0.85, 0, 0], [0, -0.85, 0.1], [3.0, 0, 0]], dtype=F64)
    oracle = Oracle.at(CUBE, Poses(CUBE.poses(1).rotation.expand(4, 3, 3), centres), order=1)
    assert oracle.cropped.tolist() == [False, True, True, True]
    assert oracle.singular.tolist()[3] and not oracle.gradient()[3].any()
    assert not Oracle(*CUBE.sample(500, order=1)).cropped.any()
    assert not Oracle(*SPHERE.sample(3, order=1)).cropped.any()


# ---- bad input ------------------------------------------------------------------------------------------------------

IMAGE, TARGET = CUBE.sample(2)
FIRST = Oracle(IMAGE.truncated(1), TARGET.truncated(1))
ORACLE = Oracle(IMAGE, TARGET)
NAN = torch.ones(2, 41, 41).index_fill(0, torch.tensor([1]), torch.nan)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda: ORACLE.directional(torch.ones(2, 28, 28)),
            r"shape \(2, 28, 28\) do not fit .* expected \(2, 41, 41\)",
        ),
        (lambda: ORACLE.directional(torch.ones(3, 41, 41)), "do not fit the images"),
        (lambda: ORACLE.velocity(torch.ones(2, 41, 41).double()), r"convert with \.to\("),
        (lambda: ORACLE.directional(NAN), "must be finite; those of samples 1 hold NaN"),
        (lambda: ORACLE.directional(torch.ones(0, 2, 41, 41)), "at least one direction"),
        (lambda: ORACLE.directional(torch.ones(2, 41, 41), 3), "once or twice, got order=3"),
        (lambda: FIRST.directional(torch.ones(2, 41, 41)), "the jets are of order 1; render with order=2"),
        (lambda: FIRST.expand(torch.ones(2, 41, 41)), "the jets are of order 1"),
        (lambda: Oracle(FIRST.image, FIRST.target, observed=torch.ones(2, 41, 41)), "render with order=2, or leave"),
        (lambda: Oracle(IMAGE, TARGET, observed=torch.ones(3, 41, 41)), r"expected \(2, 41, 41\)"),
        (lambda: Oracle(IMAGE, TARGET, observed=IMAGE.value).directional(IMAGE.value), "take third derivatives"),
        (lambda: Oracle(IMAGE, CUBE.sample(3)[1]), r"got \[2, 41, 41\] and \[3, 9\]"),
        (lambda: Oracle(IMAGE, TARGET.truncated(1)), "need one basis"),
        (lambda: Oracle(IMAGE.truncated(0), TARGET.truncated(0)), "all first derivatives"),
        (lambda: Oracle(*CUBE.sample(2, basis=Basis.directional(6, 2))), r"Basis\.full\(d, 1\) or Basis\.full\(d, 2\)"),
        (lambda: Oracle(IMAGE, CUBE.sample(2, dtype=F64)[1]), "both float32 or both float64"),
        (lambda: Oracle(IMAGE, TARGET, limit=0.5), "limit is a condition"),
        (lambda: Oracle(IMAGE, TARGET, when_singular="ignore"), '"flag" or "raise"'),  # type: ignore[arg-type]
        (lambda: ORACLE.expand(NAN), "inputs must be finite; those of samples 1"),
        (lambda: ORACLE.expand(torch.ones(2, 41, 41, dtype=torch.long)), "floating-point"),
        (lambda: ORACLE.denoise(IMAGE.value, "median"), 'method is "expansion" or "projection"'),  # type: ignore[arg-type]
        (lambda: ORACLE.project(IMAGE.value), "knows no manifold"),
        (lambda: Oracle.at(CUBE, CUBE.poses(1), order=3), "order 1 or 2, got order=3"),
    ],
)
def test_bad_arguments_are_named(call, said):
    with pytest.raises(ValueError, match=said):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda: Oracle(IMAGE.value, TARGET),  # type: ignore[arg-type]
        lambda: Oracle.at(CUBE, torch.ones(3, 6)),  # type: ignore[arg-type]
        lambda: Oracle.at(object(), CUBE.poses(1)),  # type: ignore[arg-type]
    ],
)
def test_things_of_another_kind_are_refused(call):
    with pytest.raises(TypeError, match="takes"):
        call()
