"""Recurrent networks and losses, taken as they are: `model(jet)` against nested reverse mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch._dynamo
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from jetprop.jets import Basis, Jet, functional_call, push
from jets.cases.recurrent import seeded, together
from jets.rule_cases import DTYPE, drawn
from jets.tolerances import BFLOAT16, ENGINE, ROUNDING

pytestmark = pytest.mark.filterwarnings(
    "ignore::jetprop.jets.KinkWarning",
    "ignore::DeprecationWarning:torch",
    "ignore:.*torch.jit:DeprecationWarning",
)

BASES = {"two directions, order 2": Basis.full(2, 2), "one direction, order 3": Basis.full(1, 3)}


@pytest.fixture(params=BASES)
def basis(request: pytest.FixtureRequest) -> Basis:
    return BASES[request.param]


def curve(x: Tensor, basis: Basis) -> Jet:
    """A jet at x with every row drawn."""
    return Jet(torch.cat([x[None], drawn(len(basis) - 1, *x.shape, low=-0.7, high=0.7, seed=1)]), basis)


def check(model: Callable[[Any], Any], x: Tensor, basis: Basis) -> None:
    """Values, rows, and the gradients of all of them in the parameters."""
    parameters = list(model.parameters()) if isinstance(model, nn.Module) else []
    jet = curve(x, basis)
    found, expected = together(model(jet)), push(lambda x: together(model(x)), jet, backend="reference")
    ROUNDING.check(found.value, together(model(x)))
    ENGINE.check(found.rows, expected.rows)
    if parameters:
        for ours, theirs in zip(*(gradients(y, parameters) for y in (found, expected)), strict=True):
            ENGINE.check(ours, theirs)


def gradients(y: Jet, parameters: list[nn.Parameter]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(y.rows.square().sum(), parameters, allow_unused=True, materialize_grads=True)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "LSTM": lambda: nn.LSTM(2, 3),
    "LSTM, two layers, both ways": lambda: nn.LSTM(2, 2, 2, bidirectional=True),
    "LSTM, projected": lambda: nn.LSTM(2, 3, 2, proj_size=2, batch_first=True),
    "LSTM, projected, both ways, no bias": lambda: nn.LSTM(2, 3, bias=False, proj_size=1, bidirectional=True),
    "GRU": lambda: nn.GRU(2, 3, batch_first=True),
    "GRU, two layers, both ways": lambda: nn.GRU(2, 2, 2, bidirectional=True),
    "GRU, no bias": lambda: nn.GRU(2, 2, bias=False),
    "RNN, tanh": lambda: nn.RNN(2, 3, 2, batch_first=True),
    "RNN, ReLU, both ways": lambda: nn.RNN(2, 3, nonlinearity="relu", bidirectional=True),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_recurrent_networks(name: str, basis: Basis) -> None:
    check(seeded(NETWORKS[name]), drawn(3, 2, 2), basis)


@pytest.mark.parametrize("name", ["LSTM, projected", "GRU", "RNN, tanh"])
def test_a_single_sequence(name: str) -> None:
    check(seeded(NETWORKS[name]), drawn(3, 2), BASES["two directions, order 2"])


@pytest.mark.parametrize("of_jets", [False, True])
def test_initial_states(of_jets: bool) -> None:
    lstm, gru = seeded(lambda: nn.LSTM(2, 2)), seeded(lambda: nn.GRU(2, 2, 2))
    h, c = drawn(1, 2, 2, seed=7), drawn(1, 2, 2, seed=8)

    def model(x: Any) -> Any:
        if of_jets:
            return lstm(x, (x[:1] * h, c)), gru(drawn(2, 2, 2, seed=9), x)
        return lstm(x, (h, c)), gru(x, torch.cat([h, c]))

    check(model, drawn(2, 2, 2), BASES["two directions, order 2"])


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("in_order", [True, False])
def test_packed_sequences(name: str, in_order: bool) -> None:
    network = seeded(NETWORKS[name])
    first = bool(network.batch_first)
    lengths = [3, 2, 1] if in_order else [1, 3, 2]

    def model(x: Any) -> Any:
        packed = pack_padded_sequence(x, lengths, first, enforce_sorted=in_order)
        out, state = network(packed)
        return pad_packed_sequence(out, first, padding_value=0.25, total_length=4)[0], state

    check(model, drawn(3, 3, 2), BASES["two directions, order 2"])


def test_dropout_between_layers_draws_one_mask() -> None:
    network = seeded(lambda: nn.LSTM(2, 3, 3, dropout=0.5)).train()

    def model(x: Any) -> Any:
        torch.manual_seed(3)
        return network(x)

    check(model, drawn(2, 2, 2), BASES["two directions, order 2"])
    evaluated = network.eval()
    check(evaluated, drawn(2, 2, 2), BASES["two directions, order 2"])


@pytest.mark.parametrize("name", ["weight_ih_l0", "weight_hh_l0", "bias_hh_l1"])
def test_derivatives_along_parameters_of_a_network(name: str) -> None:
    network, x = seeded(lambda: nn.GRU(2, 2, 2)), drawn(2, 2, 2)
    jet = curve(network.get_parameter(name).detach(), Basis.full(2, 2))
    found = together(functional_call(network, {name: jet}, x))
    expected = push(lambda w: together(torch.func.functional_call(network, {name: w}, (x,))), jet, backend="reference")
    ENGINE.check(found.rows, expected.rows)


def test_an_empty_sequence_is_refused() -> None:
    with pytest.raises(RuntimeError, match="at least one time step"):
        nn.GRU(2, 2)(Jet.seed(torch.zeros(0, 2, 2)))


class Decoder(nn.Module):
    """A loop over cells, the output fed back."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.ModuleList([nn.LSTMCell(2, 3), nn.GRUCell(3, 2), nn.RNNCell(2, 2, nonlinearity="relu")])

    def forward(self, x: Any) -> Any:
        lstm, gru, rnn = self.cells
        state, out = None, []
        for _ in range(2):
            state = lstm(x, state)
            x = rnn(gru(state[0]), x)
            out.append(x)
        return torch.stack(out, 1)


def test_a_loop_over_cells(basis: Basis) -> None:
    check(seeded(Decoder), drawn(2, 2), basis)


# ---- losses ---------------------------------------------------------------------------------------------------------

CLASSES = torch.tensor([2, 0])
LOSSES: dict[str, Callable[[Any], Any]] = {
    "cross entropy": lambda y: F.cross_entropy(y, CLASSES, label_smoothing=0.1),
    "Huber": lambda y: F.huber_loss(y, drawn(2, 3, seed=2), delta=0.3),
    "binary": lambda y: F.binary_cross_entropy(y.sigmoid(), drawn(2, 3, low=0.0, high=1.0, seed=2)),
    "distillation": lambda y: F.kl_div(F.log_softmax(y, 1), F.softmax(y.flip(0), 1), reduction="batchmean"),
    "Gaussian": lambda y: F.gaussian_nll_loss(y[:, :1], y[:, 1:2], F.softplus(y[:, 2:])),
    "labels": lambda y: F.multilabel_soft_margin_loss(y, drawn(2, 3, low=0.0, high=1.0, seed=2)),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_as_the_last_layer(name: str, basis: Basis) -> None:
    class Ended(nn.Sequential):
        def forward(self, input: Any) -> Any:
            return LOSSES[name](super().forward(input))

    check(seeded(lambda: Ended(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 3))), drawn(2, 2), basis)


def test_a_label_is_no_jet() -> None:
    y: Any = Jet.seed(torch.ones(2, 3))
    for loss in (F.hinge_embedding_loss, F.multi_margin_loss, F.multilabel_margin_loss):
        with pytest.raises(TypeError, match="label"):
            loss(y, y)
    with pytest.raises(TypeError, match="class indices"):
        F.nll_loss(y, torch.ones(2))
    with pytest.raises(ValueError, match=r"expected targets of shape \(2,\)"):
        F.cross_entropy(y, torch.tensor([[1], [0]]))


def test_ends_of_probabilities() -> None:
    """Logarithms end at −100, without derivatives; beyond [0, 1] is an error."""
    x = torch.tensor([[0.0, 1.0, 0.5]], dtype=DTYPE)
    jet: Any = Jet.seed(x)
    jet.rows.requires_grad_()
    loss: Any = F.binary_cross_entropy(jet, torch.tensor([[1.0, 0.0, 1.0]], dtype=DTYPE), reduction="none")
    ROUNDING.check(loss.value[0, :2], torch.tensor([100.0, 100.0], dtype=DTYPE))
    assert torch.autograd.grad(loss.rows.sum(), jet.rows)[0].isfinite().all()
    with pytest.raises(RuntimeError, match="expected probabilities"):
        F.binary_cross_entropy(jet * 2, x)


@pytest.mark.parametrize("name", ["mse_loss", "smooth_l1_loss", "kl_div", "binary_cross_entropy_with_logits"])
def test_losses_under_autocast_compute_in_single_precision(name: str) -> None:
    x, t = torch.rand(2, 3), torch.rand(2, 3)
    layer = nn.Linear(3, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = getattr(F, name)(layer(x), t, reduction="sum")
        found = getattr(F, name)(layer(Jet.seed(x)), t, reduction="sum")
    assert found.dtype == expected.dtype == torch.float32
    torch.testing.assert_close(found.value, expected, rtol=BFLOAT16.relative, atol=BFLOAT16.absolute)


@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_under_autocast_have_the_dtype_of_the_plain_call(name: str) -> None:
    model = seeded(NETWORKS[name]).float()
    x = drawn(3, 2, 2).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (plain, ends), (found, carried) = model(x), model(Jet.seed(x))
    for ours, theirs in zip([found, *carried], [plain, *ends], strict=True):
        assert ours.dtype == theirs.dtype
        BFLOAT16.check(ours.value, theirs)


@pytest.mark.compiled
def test_cells_and_losses_compile_whole() -> None:
    model = seeded(Decoder)
    jet = curve(drawn(2, 2), Basis.full(1, 2))

    def step(jet: Jet) -> Tensor:
        out = model(jet)
        ends: Any = F.cross_entropy(out[:, -1], CLASSES % 2) + F.smooth_l1_loss(out, out * 0 + 0.1)
        return ends.rows

    ENGINE.check(torch.compile(step, fullgraph=True, backend="aot_eager")(jet), step(jet))


@pytest.mark.filterwarnings("ignore:.*Dynamo:UserWarning")
def test_compilers_are_told_to_allow_recurrent_layers() -> None:
    """By default Dynamo refuses them, whatever they are called with; with `allow_rnn` it traces the unrolled cells."""
    layer = nn.RNN(2, 3).to(DTYPE)
    jet = Jet.seed(drawn(2, 1, 2), drawn(1, 2, 1, 2, seed=1), order=2)
    compiled: Any = torch.compile(lambda x: layer(x)[0], fullgraph=True, backend="eager")
    for x in (jet, jet.value):
        with pytest.raises(RuntimeError, match="RNN, GRU, or LSTM"):
            compiled(x)
    with torch._dynamo.config.patch(allow_rnn=True):
        torch._dynamo.reset()
        ROUNDING.check(compiled(jet).rows, layer(jet)[0].rows)
