import math

import pytest
import torch
from scipy.optimize import least_squares

from jetprop import Oracle
from jetprop.jets import compile_kernels
from jetprop.manifolds import Charted, Coordinates, PhaseRetrieval, photon_noise
from jetprop.training import fit

F64 = torch.float64


@pytest.fixture(autouse=True, scope="module")
def eager():
    """Compiling a dozen kernels takes longer than all that is done here with them."""
    compile_kernels("never")
    yield
    compile_kernels("auto")


@pytest.fixture(scope="module")
def crystals():
    return PhaseRetrieval(size=24)


def half_range(crystals):
    return torch.tensor([(high - low) / 2 for low, high in crystals.parameters.values()], dtype=F64)


def slow_amplitude(theta, size, softness, background):
    """The docstring, point by point, with the Fourier sum written out."""
    w, h, angle, cut, kappa, a, t, c1, c2 = theta.tolist()
    total = torch.zeros(size, size, dtype=torch.complex128)
    axis = torch.arange(size, dtype=F64) - size // 2

    def edge(distance):
        return 1 / (1 + math.exp(-distance / softness))

    for row in range(size):
        for column in range(size):
            across, down = 2 * (column - size // 2) / size, 2 * (row - size // 2) / size
            x, y = across * math.cos(angle) + down * math.sin(angle), down * math.cos(angle) - across * math.sin(angle)
            p, q = x / 0.4, y / 0.4
            s = edge(w - x) * edge(w + x) * edge(h - y) * edge(h + y) * edge(cut * (w + h) - x - y)
            phi = kappa * (p**2 + q**2) + a * (p**2 - q**2) + 2 * t * p * q
            phi += c1 * (p**2 + q**2) * p + c2 * (p**3 - 3 * p * q**2)
            wave = (row - size // 2) * axis[:, None] + (column - size // 2) * axis[None]
            total += s * complex(math.cos(phi), math.sin(phi)) * torch.exp(-2j * math.pi * wave / size)
    return total.abs()


def test_the_image_is_the_formula():
    crystals = PhaseRetrieval(size=12, softness=0.1)
    poses = crystals.poses(1, start=7)
    image = crystals.render(poses, 0, dtype=F64)[0].value[0]
    middle = [(low + high) / 2 for low, high in list(crystals.parameters.values())[:4]] + 5 * [0.0]
    brightest = slow_amplitude(torch.tensor(middle, dtype=F64), 12, 0.1, 0).max()
    expected = (slow_amplitude(poses.theta[0], 12, 0.1, 0) / brightest).square() + crystals.background
    torch.testing.assert_close(image, expected.sqrt(), atol=1e-12, rtol=0)


def test_derivatives_agree_with_finite_differences_at_two_steps(crystals):
    poses, scale = crystals.poses(2, start=3), half_range(crystals)
    image, target = crystals.render(poses, 2, dtype=F64)
    for i in range(9):
        errors = []
        for step in (4e-3, 2e-3):
            nu = step * scale[i] * torch.eye(9, dtype=F64)[i]
            ahead, behind = (crystals.render(poses.moved(sign * nu), 1, dtype=F64)[0].rows for sign in (1, -1))
            difference = (ahead - behind) / (2 * step * scale[i])
            rows = [image.d(i), *(image.d(i, j) for j in range(9))]
            errors.append([float((row - d).abs().max()) for row, d in zip(rows, difference, strict=True)])
        ratio = torch.tensor(errors[0]) / torch.tensor(errors[1])
        assert (ratio > 3.7).all() and (ratio < 4.3).all()
    torch.testing.assert_close(target.first, torch.diag(1 / scale)[:, None].expand(9, 2, 9))


def test_targets_cover_plus_minus_one(crystals):
    targets = crystals.sample(2000, order=0, dtype=F64)[1].value
    torch.testing.assert_close(crystals.nearest(targets[:50]).theta, crystals.poses(50).theta)
    with pytest.raises(ValueError, match=r"outputs are \[n, 9\], got \[9\]"):
        crystals.nearest(torch.zeros(9))
    assert targets.abs().max() < 1 and (targets.amax(0) > 0.98).all() and (targets.amin(0) < -0.98).all()


def test_the_crystal_fills_less_than_half_of_the_field(crystals):
    """Oversampling by two: outside [-1/2, 1/2] there is next to nothing, and the pattern does not alias."""
    density = crystals.crystal(crystals.poses(300)).abs().square()
    for axis in (1, 2):
        profile = density.sum(axis) / density.sum((1, 2))[:, None]
        assert profile[:, :5].sum(1).max() < 0.01 and profile[:, -5:].sum(1).max() < 0.01


def test_the_gram_matrix_has_full_rank_over_the_whole_range(crystals):
    """With parameters in units of half their ranges and tangents of length 1: no joint motion hides from the image."""
    corners = torch.stack(torch.meshgrid(*[torch.tensor([-1.0, 1.0])] * 9, indexing="ij"), -1).reshape(-1, 9)
    middle = torch.tensor([(low + high) / 2 for low, high in crystals.parameters.values()], dtype=F64)
    at_corners = crystals.render(Coordinates(middle + corners * half_range(crystals)), 1, dtype=F64)
    for jets in (at_corners, crystals.sample(600, order=1, dtype=F64)):
        oracle = Oracle(*jets)
        assert not oracle.singular.any() and oracle.condition.max() < 200


def test_the_plain_magnitude_would_lose_a_symmetric_crystal_s_phase(crystals):
    """Why a corner is cut: without, an even phase and its negative have one image, which is flat between them."""
    theta = torch.tensor([[0.4, 0.3, 0.1, 3.0, 0.0, 0.5, 0.0, 0.0, 0.0]], dtype=F64)
    images = crystals.amplitude(torch.cat([theta, theta * torch.tensor([1, 1, 1, 1, 1, -1, 1, 1, 1])]))
    torch.testing.assert_close(images[0], images[1], atol=1e-4, rtol=0)
    flat = crystals.render(Coordinates(theta * torch.tensor([1, 1, 1, 1, 1, 0, 1, 1, 1])), 1, dtype=F64)[0]
    assert flat.d(5).norm() < 1e-2 * flat.d(7).norm()


def twins(objects):
    """conj f(-x), which has the same magnitude."""
    return objects.flip(1, 2).roll((1, 1), (1, 2)).conj()


def likeness(one, many):
    """The largest |correlation| over all shifts and phases, 1 for what is equal up to these."""
    fft = torch.fft.fft2
    shifted = torch.fft.ifft2(fft(many) * fft(one).conj()).abs().amax((1, 2))
    return shifted / (one.abs().square().sum().sqrt() * many.abs().square().sum((1, 2)).sqrt())


def test_the_twin_is_outside_the_family(crystals):
    objects, family = crystals.crystal(crystals.poses(4, start=5000)), crystals.crystal(crystals.poses(3000))
    for one, twin in zip(objects, twins(objects), strict=True):
        torch.testing.assert_close(torch.fft.fft2(one).abs(), torch.fft.fft2(twin).abs(), atol=1e-10, rtol=0)
        assert likeness(one, family).max() > 0.98  # the family is dense enough to see what is near it
        assert likeness(twin, family).max() < 0.92


def test_from_anywhere_in_the_range_there_is_one_solution(crystals):
    """Searches from 40 places end at the true crystal, or, a few, at an image that is plainly another."""
    truth, starts = crystals.poses(1, start=77), crystals.poses(40, start=9000)
    image = crystals.render(truth, 0, dtype=F64)[0].value.expand(40, -1, -1)
    found = Oracle.at(crystals, starts, order=1).project(image, method="gauss-newton", max_steps=60)
    error = (found.target - crystals.scaled(truth.theta)).abs().amax(1)
    solved = found.distance < 1e-6
    assert solved.sum() > 30 and error[solved].max() < 1e-5
    assert (found.distance[~solved] > 0.1).all()


def test_the_oracle_finds_what_least_squares_finds(crystals):
    poses = crystals.poses(2, start=11)
    clean = crystals.render(poses, 0, dtype=F64)[0].value
    noisy = photon_noise(clean, 2000, torch.Generator().manual_seed(1))
    found = Oracle.at(crystals, poses).project(noisy)
    assert found.valid.all() and (found.target - crystals.scaled(poses.theta)).abs().max() < 0.5
    for k in range(2):
        residual = lambda x, k=k: (crystals.amplitude(torch.from_numpy(x)[None])[0] - noisy[k]).flatten().numpy()  # noqa: E731
        best = least_squares(residual, poses.theta[k].numpy(), x_scale=half_range(crystals).numpy(), xtol=1e-12).x
        expected = crystals.scaled(torch.from_numpy(best)[None])[0]
        torch.testing.assert_close(found.target[k], expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("photons", [100, 10000])
def test_counting_noise_is_unbiased_and_even(photons):
    """Mean √I to first order, standard deviation 1/(2√N), for counts from 10 on."""
    amplitude = torch.tensor([0.35, 0.6, 1.0], dtype=F64)[:, None].expand(3, 40000)
    seen = photon_noise(amplitude, photons, torch.Generator().manual_seed(0))
    sigma = 1 / (2 * math.sqrt(photons))
    standard_error = sigma / math.sqrt(40000)
    bias = 5 * standard_error + 0.05 * sigma * (100 / photons)  # the next term of the expansion, 10 counts at least
    assert (seen.mean(1) - amplitude[:, 0]).abs().max() < bias
    assert (seen.std(1) / sigma - 1).abs().max() < (0.06 if photons == 100 else 0.02)
    again = photon_noise(amplitude, photons, torch.Generator().manual_seed(0))
    assert torch.equal(seen, again)


def test_it_is_a_manifold_that_can_be_rendered_anywhere(crystals, device):
    assert isinstance(crystals, Charted) and crystals.dimension == 9
    image, target = crystals.sample(2, device=device)
    assert image.rows.shape == (55, 2, 24, 24) and target.device.type == device.type
    double = crystals.sample(2, dtype=F64)[0].rows
    error = (image.rows.cpu().double() - double).abs().amax((1, 2, 3)) / double.abs().amax((1, 2, 3))
    assert error.max() < 1e-4  # the curvature near dark pixels multiplies rounding by about 1/ε


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: PhaseRetrieval(size=4), "size is an integer ≥ 8, got 4"),
        (lambda: PhaseRetrieval(softness=0), "softness is a finite number > 0"),
        (lambda: PhaseRetrieval(background=0), "background is a finite number > 0"),
        (lambda: photon_noise(torch.ones(2), 0), "photons is the mean count"),
        (lambda: photon_noise(-torch.ones(2), 10), "finite and ≥ 0"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_training_takes_it_by_name():
    recipe = {
        "model": {"widths": [256, 32, 9], "activation": "silu", "init": "torch"},
        "data": {
            "manifold": "jetprop.manifolds:PhaseRetrieval",
            "options": {"size": 16},
            "images": 128,
            "order": 1,
            "test_images": 64,
        },
        "objective": {"weights": [1.0, 0.1]},
        "optimizer": {"rate": 3e-3},
        "training": {"batch": 32, "steps": 150, "accelerator": "cpu", "compile": "never"},
    }
    result = fit(recipe, progress=False)
    assert result.status == "finished" and result.metrics["test_error"] < 0.7  # 1 for the mean of the targets
