from types import SimpleNamespace

import pytest
import torch
from scipy.optimize import least_squares
from torch import nn

from jetprop import Oracle
from jetprop.data import digits
from jetprop.jets import compile_kernels
from jetprop.manifolds import Charted, Coordinates, Decoder, train_autoencoder

F64 = torch.float64


@pytest.fixture(autouse=True, scope="module")
def eager():
    """Compiling a kernel takes longer than all that is done here with it."""
    compile_kernels("never")
    yield
    compile_kernels("auto")


@pytest.fixture(scope="module")
def images():
    return digits().images.double()


@pytest.fixture(scope="module")
def manifold(images):
    fit = train_autoencoder(images[:1400].float(), latent=8, hidden=(96, 64), epochs=60)
    assert fit.status == "finished" and fit.losses[-1] < 0.2 * fit.losses[0]
    return Decoder(fit.model, images[:1400])


def decibels(image, reference):
    return float(-10 * (image - reference).square().flatten(1).mean(1).log10().mean())


def test_poses_are_the_codes_of_the_images(manifold, images):
    poses = manifold.poses(5, start=100)
    torch.testing.assert_close(poses.theta, manifold.encode(images[100:105]).theta, atol=1e-6, rtol=1e-6)
    image, target = manifold.sample(5, start=100, order=2)
    assert image.rows.shape == (45, 5, 8, 8) and torch.equal(target.value, poses.theta.float())
    assert decibels(image.value.double(), images[100:105]) > 15
    assert manifold.dimension == 8
    assert manifold.inside(manifold.poses(1400)).all()
    with pytest.raises(ValueError, match="codes of 1400 images, got n=2 from start=1399"):
        manifold.poses(2, start=1399)
    assert isinstance(manifold, Charted)


def test_its_tangents_are_independent(manifold):
    """Smooth where data lie: no direction of the code is lost on any training image."""
    oracle = Oracle(*manifold.sample(1400, order=1, dtype=F64))
    assert not oracle.singular.any() and oracle.condition.max() < 100


def test_derivatives_agree_with_finite_differences(manifold):
    poses, nu = manifold.poses(3), torch.randn(1, 8, dtype=F64)
    jet, _ = manifold.render(poses, 2, dtype=F64, directions=nu)
    errors = []
    for t in (1e-2, 5e-3):
        ahead, here, behind = (manifold.render(poses.moved(k * t * nu[0]), 0, dtype=F64)[0].value for k in (1, 0, -1))
        first, second = (ahead - behind) / (2 * t), (ahead - 2 * here + behind) / t**2
        errors.append([(jet.d(0) - first).norm(), (jet.d(0, 0) - second).norm()])
    ratio = torch.tensor(errors[0]) / torch.tensor(errors[1])
    assert (ratio > 3.8).all() and (ratio < 4.2).all()


def test_the_oracle_takes_noise_from_unseen_digits(manifold, images):
    """Projected from the noisy image's code: nearer to the truth than that image, and than its reconstruction."""
    clean = images[1400:1500]
    noisy = clean + 0.25 * torch.randn(clean.shape, dtype=F64)
    start = manifold.encode(noisy)
    found = Oracle.at(manifold, start, order=1).project(noisy)
    assert found.valid.double().mean() > 0.95
    reconstructed = manifold.render(start, 0, dtype=F64)[0].value
    own = manifold.render(manifold.encode(clean), 0, dtype=F64)[0].value
    for reference in (clean, own):
        denoised = decibels(found.image, reference)
        assert denoised > decibels(noisy, reference) + 3
        assert denoised > decibels(reconstructed, reference) + 1
    assert (found.distance <= (noisy - reconstructed).flatten(1).norm(dim=1) + 1e-9).all()


def test_projection_recovers_codes_and_agrees_with_least_squares(manifold):
    poses = manifold.poses(3, start=20)
    image = manifold.render(poses, 0, dtype=F64)[0].value
    start = poses.moved(0.02 * torch.randn(3, 8))
    oracle = Oracle.at(manifold, start)
    torch.testing.assert_close(oracle.project(image).target, poses.theta, atol=1e-5, rtol=1e-5)
    noisy = image + 0.1 * torch.randn(3, 8, 8, dtype=F64)
    found = oracle.project(noisy)
    for k in range(3):

        def residual(x, k=k):
            code = Coordinates(torch.from_numpy(x)[None])
            return (manifold.render(code, 0, dtype=F64)[0].value[0] - noisy[k]).flatten().numpy()

        best = least_squares(residual, start.theta[k].numpy(), xtol=1e-13, ftol=1e-13)
        torch.testing.assert_close(found.target[k], torch.from_numpy(best.x), atol=1e-3, rtol=1e-3)


def test_training_is_reproducible_and_leaves_the_global_generator_alone(images):
    state = torch.random.get_rng_state()
    fits = [train_autoencoder(images[:100].float(), 2, (16,), epochs=2, seed=3) for _ in range(2)]
    assert fits[0].losses == fits[1].losses and torch.equal(state, torch.random.get_rng_state())
    assert train_autoencoder(images[:100].float(), 2, (16,), epochs=2, seed=4).losses != fits[0].losses


def test_divergence_is_a_status_with_the_last_finite_weights(images):
    fit = train_autoencoder(images[:100].float(), 2, (16,), epochs=5, rate=1e30)
    assert fit.status == "diverged" and len(fit.losses) < 5
    assert all(bool(p.isfinite().all()) for p in fit.model.parameters())


def test_any_encoder_and_decoder_will_do():
    model = SimpleNamespace(
        encoder=nn.Linear(4, 2).double(), decoder=nn.Sequential(nn.Linear(2, 4), nn.Tanh()).double()
    )
    manifold = Decoder(model, torch.randn(10, 4, dtype=F64), target=nn.Linear(2, 3))
    assert manifold.sample(3)[1].rows.shape == (6, 3, 3)
    with pytest.raises(ValueError, match="range of 'z0'"):
        Decoder(model, torch.zeros(3, 4))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(images=torch.zeros(5)), r"got torch.float32 \[5\]"),
        (dict(images=torch.zeros(5, 3, dtype=torch.int64)), "torch.int64"),
        (dict(images=torch.full((5, 3), torch.nan)), "finite"),
        (dict(latent=0), "latent is an integer ≥ 1"),
        (dict(hidden=(0,)), "width 1 is an integer ≥ 1"),
        (dict(rate=0.0), "rate is > 0"),
        (dict(jitter=-1.0), "jitter ≥ 0"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        train_autoencoder(**{"images": torch.rand(8, 3), "latent": 2, "epochs": 1} | arguments)
