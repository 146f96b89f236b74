import math
import pickle
from functools import partial

import pytest
import torch
from scipy.optimize import least_squares
from torch import nn

from jetprop import Oracle
from jetprop.jets import Basis, MissingRuleError
from jetprop.manifolds import Charted, Coordinates, Generator, Points

F64 = torch.float64
RANGES = {"amplitude": (0.5, 1.0), "frequency": (2.0, 4.0), "shift": (-1.0, 1.0)}


def wave(theta):
    """A chirped wave on 24 points; of jets too."""
    t = torch.linspace(-1, 1, 24, dtype=theta.dtype, device=theta.device)
    amplitude, frequency, shift = (theta[:, k : k + 1] for k in range(3))
    return amplitude * torch.sin(frequency * t + shift * t * t) + 0.3 * shift


WAVES = Generator(wave, RANGES)


def slope(entry, x):
    """∂entry/∂x, zero where entry is a constant."""
    if not entry.requires_grad:
        return torch.zeros_like(x)
    (found,) = torch.autograd.grad(entry.sum(), x, create_graph=True, allow_unused=True)
    return torch.zeros_like(x) if found is None else found


def partials(function, x, order):
    """Rows of Basis.full by nested reverse mode, entry by entry."""
    x = x.clone().requires_grad_()
    rows = [function(x)]
    labels = [label for label in Basis.full(x.shape[1], order) if isinstance(label, tuple)]
    for label in labels[1:]:
        columns = []
        for entry in function(x).flatten(1).unbind(1):
            for i in label:
                entry = slope(entry, x)[:, i]
            columns.append(entry)
        rows.append(torch.stack(columns, 1).reshape(rows[0].shape))
    return torch.stack(rows).detach()


def test_every_row_agrees_with_nested_reverse_mode():
    poses = WAVES.poses(2, start=5)
    image, target = WAVES.render(poses, 3, dtype=F64)
    torch.testing.assert_close(image.rows, partials(wave, poses.theta, 3), atol=1e-10, rtol=1e-10)
    assert torch.equal(target.value, poses.theta) and torch.equal(target.first[:, 0], torch.eye(3, dtype=F64))
    assert not target.rows[4:].any()


@pytest.mark.parametrize(("order", "rate"), [(1, 4), (2, 8), (3, 16)])
def test_taylor_remainders_shrink_at_their_order(order, rate):
    poses, nu = WAVES.poses(3), torch.tensor([0.5, -0.6, 0.9], dtype=F64)
    jet, _ = WAVES.render(poses, order, dtype=F64, directions=nu[None])
    remainders = []
    for t in (0.1, 0.05):
        moved = WAVES.render(poses.moved(t * nu), 0, dtype=F64)[0].value
        series = torch.stack([t**k / math.factorial(k) * jet.rows[k] for k in range(order + 1)]).sum(0)
        remainders.append((moved - series).norm(dim=1))
    ratio = remainders[0] / remainders[1]
    assert (ratio > 0.8 * rate).all() and (ratio < 1.25 * rate).all()


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("basis", [None, Basis.full(2, 2), Basis.laplacian(2), Basis.full((1,), 2)], ids=str)
def test_directions_are_those_of_the_straight_lines(basis, shared):
    directions = torch.randn(*(() if shared else (2,)), 2, 3, dtype=F64)
    image, target = WAVES.sample(2, 3, dtype=F64, basis=basis, directions=directions)
    theta, lines = WAVES.poses(2, 3).theta, directions.expand(2, 2, 3)

    def moved(t):
        return theta + torch.einsum("nk,nkd->nd", t, lines)

    for jet, function in ((image, lambda t: wave(moved(t))), (target, moved)):
        assert jet.basis == (Basis.directional(2, 2) if basis is None else basis)
        full = dict(zip(Basis.full(2, 2), partials(function, torch.zeros(2, 2, dtype=F64), 2), strict=True))
        for label, row in zip(jet.basis, jet.rows, strict=True):
            expected = full[label] if isinstance(label, tuple) else sum(w * full[i, i] for i, w in label.weights)
            torch.testing.assert_close(row, expected, atol=1e-10, rtol=1e-10)


def test_a_module_is_copied_and_follows_dtype():
    decoder = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 6), nn.Unflatten(1, (2, 3)))
    manifold = Generator(decoder, {"a": (-1, 1), "b": (0, 2)})
    before = manifold.sample(4, order=2, dtype=F64)[0]
    layer = decoder.get_parameter("0.weight")
    with torch.no_grad():
        layer.zero_()
    after, single = manifold.sample(4, order=2, dtype=F64)[0], manifold.sample(4, order=2)[0]
    assert torch.equal(before.rows, after.rows) and layer.dtype == torch.float32
    torch.testing.assert_close(single.rows.double(), before.rows, atol=1e-5, rtol=1e-5)
    again = pickle.loads(pickle.dumps(manifold)).sample(4, order=2, dtype=F64)[0]
    assert torch.equal(again.rows, before.rows)


def test_the_target_is_a_function_or_comes_with_the_image():
    expected = Generator(wave, RANGES, target=torch.cos).sample(3, dtype=F64)
    together = Generator(lambda theta: (wave(theta), torch.cos(theta)), RANGES).sample(3, dtype=F64)
    assert expected[1].rows.shape == (10, 3, 3)
    torch.testing.assert_close(expected[1].d(1, 1)[:, 1], -WAVES.poses(3).theta[:, 1].cos())
    for a, b in zip(expected, together, strict=True):
        torch.testing.assert_close(a.rows, b.rows)


def test_the_motion_may_be_any():
    """θ' = θ exp(ν): derivatives along ν at 0 are θ ∂_θ and θ² ∂²_θ + θ ∂_θ."""
    stretched = Generator(wave, RANGES, retract=lambda theta, nu: theta * nu.exp())
    poses = stretched.poses(2, start=1)
    image, target = stretched.render(poses, 2, dtype=F64)
    plain = partials(wave, poses.theta, 2)
    frequency = poses.theta[:, 1:2]
    torch.testing.assert_close(image.d(1), frequency * plain[2])
    torch.testing.assert_close(image.d(1, 1), frequency**2 * plain[7] + frequency * plain[2])
    torch.testing.assert_close(target.d(1, 1)[:, 1:2], frequency)
    nu = torch.tensor([0.0, 0.1, 0.0])
    torch.testing.assert_close(poses.moved(nu).theta[:, 1:2], frequency * math.exp(nu[1]))
    assert torch.equal(poses[1:].moved(nu).theta, poses.moved(nu)[1:].theta)


def test_a_sample_depends_on_its_number_alone():
    whole, part = WAVES.sample(9, dtype=F64), WAVES.sample(2, start=5, dtype=F64)
    for a, b in zip(whole, part, strict=True):
        torch.testing.assert_close(a.rows[:, 5:7], b.rows, atol=1e-13, rtol=0)
    assert WAVES.inside(WAVES.poses(500)).all()
    assert WAVES.inside(WAVES.poses(3).moved(torch.tensor([0.0, 5, 0]))).sum() == 0


def test_many_samples_are_pushed_in_parts(monkeypatch):
    whole = WAVES.sample(7, dtype=F64)[0]
    monkeypatch.setattr("jetprop.manifolds.generator.CHUNK_BYTES", {"cpu": 2 * 10 * 24 * 8, "cuda": 2 * 10 * 24 * 8})
    torch.testing.assert_close(WAVES.sample(7, dtype=F64)[0].rows, whole.rows, atol=1e-13, rtol=0)


def test_it_is_a_manifold_that_can_be_rendered_anywhere(device):
    assert isinstance(WAVES, Charted) and isinstance(WAVES.poses(2), Points)
    assert WAVES.dimension == 3 and WAVES.degrees_of_freedom == tuple(RANGES)
    image, target = WAVES.sample(2, device=device)
    assert image.device.type == target.device.type == device.type


def test_the_oracle_finds_what_least_squares_finds():
    poses = WAVES.poses(3, start=40)
    noisy = WAVES.render(poses, 0, dtype=F64)[0].value + 0.05 * torch.randn(3, 24, dtype=F64)
    found = Oracle.at(WAVES, poses).project(noisy)
    assert found.valid.all()
    for k in range(3):
        residual = lambda x, k=k: (wave(torch.from_numpy(x)[None])[0] - noisy[k]).numpy()  # noqa: E731
        best = least_squares(residual, poses.theta[k].numpy(), xtol=1e-14, ftol=1e-14, gtol=1e-12).x
        torch.testing.assert_close(found.target[k], torch.from_numpy(best), atol=1e-6, rtol=0)
    assert ((found.target - poses.theta).abs() < 0.2).all()


def no_rule(x):
    return torch.special.airy_ai(x)


def test_an_operation_without_a_rule_is_named_and_the_reference_backend_takes_it():
    with pytest.raises(MissingRuleError, match="airy_ai"):
        Generator(no_rule, {"x": (0.5, 1)})
    slow = Generator(wave, RANGES, backend="reference").sample(2, dtype=F64)
    for a, b in zip(slow, WAVES.sample(2, dtype=F64), strict=True):
        torch.testing.assert_close(a.rows, b.rows, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("fn", "error", "message"),
    [
        (lambda x: x - x.mean(0), ValueError, "one by one and made in a batch differ"),
        (lambda x: torch.rand(len(x), 2), ValueError, "not on chance"),
        (lambda x: x.round(), ValueError, "does not change with a, b"),
        (lambda x: torch.cat([x[:, :1], x[:, 1:].detach()], 1), ValueError, "does not change with b"),
        (lambda x: (x > 0).to(x.dtype), TypeError, "plain Tensor, so its derivatives are lost"),
        (lambda x: x[:, 0], ValueError, r"images are \[3, \*image\], got \[3\]"),
        (lambda x: x[:1], ValueError, r"got \[1, 2\]"),
        (lambda x: (x, x, x), ValueError, "a tuple of 3"),
        (lambda x: (x, x[:, :, None]), ValueError, r"targets are \[3, outputs\], got \[3, 2, 1\]"),
        (lambda x: x.numpy(), TypeError, "got ndarray"),
        (lambda x: torch.complex(x, x), TypeError, "got torch.complex128"),
        (lambda x: x / (x - x), ValueError, "not finite"),
    ],
)
def test_bad_functions_are_refused_when_the_manifold_is_made(fn, error, message):
    with pytest.raises(error, match=message):
        Generator(fn, {"a": (-1, 1), "b": (0, 2)})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(parameters={}), "at least one"),
        (dict(parameters={"a": (1, 1), "b": (0, 1), "c": (0, 1)}), r"range of 'a' .* got \(1, 1\)"),
        (dict(parameters={"a": (0, math.inf)}), "finite and not empty"),
        (dict(backend="jax"), 'backend is "engine" or "reference", got'),
        (dict(retract=lambda theta, nu: theta + nu + 1), "retract"),
        (dict(fn=lambda theta: (wave(theta), theta), target=torch.cos), "where no target is given"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Generator(**{"fn": wave, "parameters": RANGES} | arguments)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (partial(WAVES.sample, 0), ValueError, "n is an integer ≥ 1, got 0"),
        (partial(WAVES.sample, 2, order=-1), ValueError, "integer ≥ 0, got order=-1"),
        (partial(WAVES.sample, 2, order=1, basis=Basis.full(3, 2)), ValueError, "contradicts the basis"),
        (partial(WAVES.sample, 2, basis=Basis.full(4, 1)), ValueError, "only 3 are given"),
        (partial(WAVES.sample, 2, directions=torch.zeros(2, 6)), ValueError, r"amplitude.*got \[2, 6\]"),
        (partial(WAVES.sample, 2, dtype=torch.float16), ValueError, "got dtype=torch.float16"),
        (
            lambda: WAVES.render(torch.zeros(2, 3)),  # type: ignore[arg-type]
            TypeError,
            "render takes Coordinates, got Tensor",
        ),
        (lambda: WAVES.render(Coordinates(torch.zeros(2, 2))), ValueError, r"3 parameters .* got coordinates \[2, 2\]"),
        (lambda: WAVES.render(Coordinates(torch.zeros(1, 3, requires_grad=True))), ValueError, "require a gradient"),
        (lambda: Coordinates(torch.zeros(3)), ValueError, r"got \[3\]"),
        (lambda: Coordinates(torch.tensor([[0.0], [math.nan]])), ValueError, r"these are not: \[1\]"),
    ],
)
def test_bad_calls_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_an_image_that_is_not_finite_is_named():
    roots = Generator(lambda x: x.sqrt(), {"x": (0.5, 1)})
    with pytest.raises(ValueError, match=r"1 of 2 samples .* sample 1 with parameters \[0.0\]"):
        roots.render(Coordinates(torch.tensor([[1.0], [0.0]])), 1)
