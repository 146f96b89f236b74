"""Networks of Fourier transforms, Einstein sums and linear algebra, taken as they are; complex jets; norms at 0."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck

from jetprop.jets import Basis, Jet, bilinear, push
from jetprop.jets.basis import Trace
from jetprop.jets.rules.products import runs
from jets.cases.fourier import as_complex, as_real
from jets.rule_cases import DTYPE, drawn
from jets.tolerances import BFLOAT16, ENGINE, ROUNDING

pytestmark = pytest.mark.filterwarnings(
    "ignore::jetprop.jets.KinkWarning", "ignore::DeprecationWarning:torch", "ignore:.*torch.jit:DeprecationWarning"
)

BASES = {"two directions, order 3": Basis.full(2, 3), "one direction, order 4": Basis.full(1, 4)}

# ---- networks -------------------------------------------------------------------------------------------------------


class FourierFeatures(nn.Module):
    """A perceptron on sines and cosines of random projections (Tancik and others)."""

    frequencies: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("frequencies", drawn(3, 2, seed=1))
        self.layers = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 1))

    def forward(self, x: Any) -> Any:
        phase = torch.matmul(2 * torch.pi * x, self.frequencies.T)
        return self.layers(torch.cat([phase.sin(), phase.cos()], dim=-1))


class Contractions(nn.Module):
    """Attention in Einstein's notation, a bilinear layer and a batched product."""

    def __init__(self) -> None:
        super().__init__()
        self.projections = nn.Parameter(drawn(3, 2, 3, 2, seed=2))
        self.merged = nn.Bilinear(4, 3, 2)

    def forward(self, x: Any) -> Any:
        q, k, v = torch.einsum("btd,phde->pbthe", x, self.projections)
        weights = torch.softmax(torch.einsum("bihe,bjhe->bhij", q, k) / 2**0.5, dim=-1)
        heads = torch.einsum("bhij,bjhe->bihe", weights, v).flatten(2)
        return torch.bmm(self.merged(heads, x), x.mT[:, :2]).norm(dim=-1)


class SpectralLayer(nn.Module):
    """A layer of a Fourier neural operator: complex weights on the lowest frequencies, and a path beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.complex(drawn(2, 2, 2, seed=3), drawn(2, 2, 2, seed=4)))
        self.beside = nn.Conv1d(2, 2, 1)

    def forward(self, x: Any) -> Any:
        spectrum = torch.fft.rfft(x, norm="ortho")
        kept = torch.einsum("bif,iof->bof", spectrum[..., :2], self.weight)
        return torch.tanh(torch.fft.irfft(kept, n=x.shape[-1], norm="ortho") + self.beside(x))


class Unitary(nn.Module):
    """A complex layer, taken by its magnitudes, and the logarithm of a Gram determinant."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 3, dtype=torch.complex128)

    def forward(self, x: Any) -> Any:
        z = self.layer(torch.exp(1j * x))
        gram = torch.matmul(z.mH, z) + torch.eye(3, dtype=z.dtype)
        return torch.slogdet(gram).logabsdet + z.abs().sum() + torch.linalg.inv(gram).real.diagonal().sum()


def diffraction(x: Any) -> Any:
    """What a detector sees of an image: the logarithm of its power spectrum's magnitudes."""
    return torch.fft.fftshift(torch.fft.fft2(x, norm="ortho").abs().log1p(), dim=(-2, -1))


def intensities(x: Any) -> Any:
    """Squared magnitudes, in two ways."""
    z = torch.fft.rfft2(torch.nn.functional.pad(x, (0, 2, 0, 2)))
    return z.abs().square() + (z * z.conj()).real - torch.view_as_real(z).pow(2).sum(-1)


def whitened(x: Any) -> Any:
    """Features with unit covariance, by Cholesky's factor."""
    centred = x - x.mean(0)
    factor = torch.linalg.cholesky(torch.matmul(centred.mT, centred) + torch.eye(x.shape[-1], dtype=DTYPE))
    return torch.linalg.solve_triangular(factor, centred.mT, upper=False)


NETWORKS: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "Fourier features": (FourierFeatures, (2, 2)),
    "contractions": (Contractions, (1, 2, 3)),
    "spectral layer": (SpectralLayer, (1, 2, 4)),
    "complex layer": (Unitary, (2, 2)),
    "phase retrieval": (lambda: diffraction, (1, 3, 3)),
    "phase retrieval, intensities": (lambda: intensities, (1, 2, 2)),
    "whitening": (lambda: whitened, (3, 2)),
}


def network(name: str) -> tuple[Any, Tensor]:
    build, shape = NETWORKS[name]
    torch.manual_seed(5)
    model = build()
    if isinstance(model, nn.Module) and name != "complex layer":
        model = model.to(DTYPE) if name != "spectral layer" else model
        model.double() if name != "spectral layer" else model.beside.double()
    return model, drawn(*shape, low=0.2)


def curve(x: Tensor, basis: Basis) -> Jet:
    return Jet(torch.cat([x[None], drawn(len(basis) - 1, *x.shape, low=-0.7, high=0.7, seed=1)]), basis)


@pytest.mark.parametrize("basis", BASES.values(), ids=BASES.keys())
@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name: str, basis: Basis) -> None:
    model, x = network(name)
    found, plain = model(curve(x, basis)), model(x)
    assert found.dtype == plain.dtype
    ROUNDING.check(found.value, plain)
    expected = push(model, curve(x, basis), backend="reference", create_graph=False)
    ENGINE.check(found.rows.detach(), expected.rows)


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_of_networks(name: str) -> None:
    """In the rows and in the parameters, complex ones too."""
    model, x = network(name)
    basis = Basis.full(1, 2)
    rows = curve(x, basis).rows.requires_grad_()
    parameters = dict(model.named_parameters()) if isinstance(model, nn.Module) else {}

    def carried(rows: Tensor, *tensors: Tensor) -> Tensor:
        if not parameters:
            return model(Jet(rows, basis)).rows
        chosen = dict(zip(parameters, tensors, strict=True))
        return torch.func.functional_call(model, chosen, (Jet(rows, basis),)).rows

    assert gradcheck(carried, (rows, *(p.detach().clone().requires_grad_() for p in parameters.values())))


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_are_traced_in_one_graph(name: str) -> None:
    model, x = network(name)
    basis = Basis.full(2, 2)
    rows = curve(x, basis).rows

    def pushed(rows: Tensor) -> Tensor:
        return model(Jet(rows, basis)).rows

    ROUNDING.check(torch.compile(pushed, fullgraph=True, backend="eager")(rows), pushed(rows))


# ---- complex jets ---------------------------------------------------------------------------------------------------


def test_rows_of_complex_jets_are_complex_derivatives() -> None:
    x = Jet.seed(torch.tensor([[0.3, 0.5]], dtype=DTYPE), order=2)
    z = (1j * x).exp()
    assert z.dtype == torch.complex128 and z.is_complex()
    ROUNDING.check(z.d(0, 0)[0, 0], -torch.exp(torch.tensor(0.3j, dtype=torch.complex128)))
    ROUNDING.check(z.real.d(0)[0, 0], -torch.tensor(0.3, dtype=DTYPE).sin())
    ROUNDING.check(z.angle().rows, x.rows)


@pytest.mark.parametrize("function", [torch.abs, torch.angle, torch.sgn, lambda z: torch.linalg.vector_norm(z, 2, -1)])
def test_magnitudes_at_zero_have_no_slope(function: Callable[[Any], Any]) -> None:
    """The subgradient that PyTorch takes, in every row; and no NaN in the backward pass."""
    x = torch.tensor([[0.0], [2.0]], dtype=DTYPE)
    jet = Jet.seed(x, torch.ones(1, 1), order=2)
    jet.rows.requires_grad_()
    out = function(jet + 2j * jet)
    assert not out.rows[:, 0].any()
    expected = push(lambda x: as_real(function(x + 2j * x)), Jet.seed(x, torch.ones(1, 1)), "reference")
    ROUNDING.check(as_real(out).rows[:2], expected.rows)
    (gradient,) = torch.autograd.grad(out.rows.abs().sum(), jet.rows)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", ["relu", "gelu", "acosh", "floor"])
def test_functions_without_complex_derivatives_refuse(name: str) -> None:
    function = getattr(torch, name, None) or getattr(nn.functional, name)
    with pytest.raises(TypeError, match=f"{name} of a complex jet"):
        function(as_complex(Jet.seed(drawn(1, 2))))


# ---- norms ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [1, 2, 3, 4, float("inf")])
def test_norms_at_zero_have_no_slope(p: float) -> None:
    jet = Jet.seed(torch.zeros(2, 3, dtype=DTYPE), order=1)
    assert not torch.linalg.vector_norm(jet, p, -1).rows[0].any()
    expected = push(lambda x: torch.linalg.vector_norm(x, p, -1), jet, backend="reference")
    ROUNDING.check(torch.linalg.vector_norm(jet, p, -1).rows, expected.rows)


# ---- linear algebra -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "function", [torch.linalg.det, torch.slogdet, torch.logdet, lambda a: torch.linalg.solve(a, drawn(2))]
)
def test_singular_matrices_are_named(function: Callable[[Any], Any]) -> None:
    with pytest.raises(ValueError, match="1 of 1 matrices are singular"):
        function(Jet.seed(torch.ones(2, 2, dtype=DTYPE)))


def test_equal_eigenvalues_are_named() -> None:
    with pytest.raises(ValueError, match="two eigenvalues are equal"):
        torch.linalg.eigh(Jet.seed(torch.eye(2, dtype=DTYPE)))


@pytest.mark.parametrize("function", [torch.cholesky_inverse, lambda f: torch.cholesky_solve(drawn(2, 2), f)])
def test_the_triangle_that_is_not_read_has_no_derivatives(function: Callable[[Any], Any]) -> None:
    """PyTorch's own derivatives are other than zero there."""
    factor = drawn(2, 2, low=0.5)
    unread = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    assert torch.equal(function(factor + unread[0]), function(factor))
    assert not function(Jet.seed(factor, unread)).d(0).any()


def test_an_inverse_undoes_its_matrix() -> None:
    a = curve(drawn(3, 3) + 3 * torch.eye(3, dtype=DTYPE), Basis.full(2, 4))
    identity = Jet.constant(torch.eye(3, dtype=DTYPE), a.basis).rows
    ENGINE.check((torch.linalg.inv(a) @ a).rows, identity)
    ENGINE.check(torch.linalg.solve(a, a).rows, identity)


# ---- autocast -------------------------------------------------------------------------------------------------------

PRODUCTS: dict[str, Callable[[Any], Any]] = {
    "einsum": lambda x: torch.einsum("bij,kj->bik", x, torch.ones(2, 3)),
    "einsum of jets": lambda x: torch.einsum("bij,bkj->bik", x, x),
    "einsum without a sum": lambda x: torch.einsum("bij,bij->bij", x, x),
    "tensordot": lambda x: torch.tensordot(x, torch.ones(3, 2), 1),
    "multi_dot": lambda x: torch.linalg.multi_dot([x[0], x[0].mT, torch.ones(3, 2)]),
    "bilinear": lambda x: nn.functional.bilinear(x, x, torch.ones(2, 3, 3)),
    "baddbmm": lambda x: torch.baddbmm(torch.ones(3, 3), x, x),
    "mv": lambda x: torch.mv(x[0], torch.ones(3)),
    "dot": lambda x: torch.dot(x[0, 0], x[0, 1]),
    "vdot": lambda x: torch.vdot(torch.ones(3), x[0, 1]),
    "vecdot": lambda x: torch.linalg.vecdot(x, torch.ones(3)),
    "addmv": lambda x: torch.addmv(torch.ones(3), x[0], x[0, 0]),
    "matrix_power": lambda x: torch.linalg.matrix_power(x, 3),
    "matrix_power, 1": lambda x: torch.linalg.matrix_power(x, 1),
    "prelu": lambda x: nn.functional.prelu(x, torch.full((3,), 0.3)),
    "outer": lambda x: torch.outer(x[0, 0], x[0, 1]),
    "kron": lambda x: torch.kron(x[0], x[1]),
    "norm": lambda x: (x @ torch.ones(3, 3)).norm(dim=-1),
    "vector_norm": lambda x: torch.linalg.vector_norm(x @ torch.ones(3, 3)),
    "cdist": lambda x: torch.cdist(x, x + 1),
    "cross": lambda x: torch.linalg.cross(x, x.flip(-1)),
    "inverse": lambda x: torch.linalg.inv(x + 4 * torch.eye(3)),
    "det": lambda x: torch.linalg.det(x + 4 * torch.eye(3)),
    "cholesky": lambda x: torch.linalg.cholesky((x + x.mT.transpose(0, 0)) / 9 + 4 * torch.eye(3)),
    "solve": lambda x: torch.linalg.solve(x + 4 * torch.eye(3), x),
    "spectrum": lambda x: torch.fft.fft2(x).abs(),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_autocast_gives_the_dtype_of_the_plain_call(name: str) -> None:
    x = drawn(2, 3, 3).float()
    with torch.autocast("cpu", torch.bfloat16):
        plain, found = PRODUCTS[name](x), PRODUCTS[name](Jet.seed(x, drawn(1, 2, 3, 3, seed=1).float(), order=2))
    assert found.dtype == plain.dtype
    BFLOAT16.check(found.value, plain)


# ---- the Leibniz table in runs --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "basis",
    [
        Basis.full(3, 3),
        Basis.directional(3, 3),
        Basis.laplacian(3, weights={1: 0.5}),
        Basis.laplacian(2) | Basis.full([0], 2),
        Basis.full(2, 1) + Basis.full(1, 3),
        Basis.full(2, 0),
    ],
)
def test_runs_are_the_terms_of_the_table(basis: Basis) -> None:
    found = []
    for left, right, receivers in runs(basis):
        count = len(receivers)
        lefts = range(len(basis))[left] if isinstance(left, slice) else [left] * count
        rights = range(len(basis))[right] if isinstance(right, slice) else [right] * count
        assert isinstance(left, slice) or isinstance(right, slice)
        for s, t, rows in zip(lefts, rights, receivers, strict=True):
            found += [(row, s, t, factor) for row, factor in rows]
    assert sorted(found) == sorted(map(tuple, basis.terms))


@pytest.mark.parametrize("basis", [Basis.full(3, 3), Basis([(), (0,), (1,), Trace(((0, 1.0), (1, 2.0)))])])
def test_stacked_products_are_those_row_by_row(basis: Basis) -> None:
    x, y = curve(drawn(2, 3), basis), curve(drawn(3, 2, seed=2), basis)
    ROUNDING.check(bilinear(torch.matmul, x, y, stacked=True).rows, bilinear(torch.matmul, x, y).rows)
    constant = drawn(3, 2, seed=3)
    ROUNDING.check(bilinear(torch.matmul, x, constant, stacked=True).rows, bilinear(torch.matmul, x, constant).rows)
