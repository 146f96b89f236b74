"""What would lose derivatives without a word raises, and says what to do."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.utils.checkpoint import checkpoint

from jetprop.jets import RULES, Basis, Jet, KinkWarning, MissingRuleError, dispatch, elementwise, rule
from jetprop.jets.rules import elementwise as elementwise_rules
from jets.rule_cases import DTYPE, drawn

WORDLESS = "would lose (its|the) derivatives( of a jet)?"


@pytest.fixture
def jet() -> Any:
    return Jet.seed(drawn(2, 3), order=2)


@pytest.fixture
def plain() -> Tensor:
    return torch.zeros(2, 3, dtype=DTYPE)


# ---- into plain tensors ---------------------------------------------------------------------------------------------


def _assign(t, jet):
    t[...] = jet


def _assign_part(t, jet):
    t[0] = jet[0]


def _augment(t, jet):
    t += jet


WRITES = {
    "t[...] = jet": _assign,
    "t[0] = jet[0]": _assign_part,
    "t += jet": _augment,
    "copy_": lambda t, jet: t.copy_(jet),
    "copy_ of data": lambda t, jet: t.data.copy_(jet),
    "add_": lambda t, jet: t.add_(jet),
    "mul_": lambda t, jet: t.mul_(jet),
    "lerp_": lambda t, jet: t.lerp_(jet, 0.5),
    "fill_": lambda t, jet: t.fill_(jet.sum()),
    "addcmul_": lambda t, jet: t.addcmul_(jet, t),
    "out=": lambda t, jet: torch.add(jet, 1, out=t),
    "out= of a matrix product": lambda t, jet: torch.matmul(jet, jet.T, out=t),
}


@pytest.mark.parametrize("write", WRITES)
def test_jets_are_not_written_into_tensors(write: str, jet, plain) -> None:
    with pytest.raises((TypeError, RuntimeError), match="into a plain tensor.* derivatives"):
        WRITES[write](plain, jet)
    assert not plain.any()


@pytest.mark.parametrize("name", ["index_add_", "index_copy_", "scatter_add_"])
def test_neither_by_index(name: str, jet, plain) -> None:
    index = torch.tensor([0, 1]) if "index" in name else torch.zeros(2, 3, dtype=torch.int64)
    with pytest.raises(RuntimeError, match=f"{name[:-1]}' would write a jet into a plain tensor.* derivatives"):
        getattr(plain, name)(0, index, jet)
    assert not plain.any()


def test_filling_new_tensors_with_a_jet(jet, plain) -> None:
    for fill in (torch.full_like, lambda t, x: t.new_full((2,), x), lambda t, x: t.new_tensor(x)):
        with pytest.raises((TypeError, MissingRuleError), match=WORDLESS):
            fill(plain, jet.sum())
    with pytest.raises(MissingRuleError, match="torch.full"):
        torch.full((2,), jet.sum())


# ---- into numbers ---------------------------------------------------------------------------------------------------

CONVERSIONS = {
    "float": lambda x: float(x.sum()),
    "int": lambda x: int(x.sum()),
    "complex": lambda x: complex(x.sum()),
    "bool": lambda x: bool(x.sum() > 0) and bool(x.sum()),
    "if": lambda x: 1 if x.sum() else 0,
    "item": lambda x: x.sum().item(),
    "tolist": lambda x: x.tolist(),
    "numpy": lambda x: x.numpy(),
    "numpy, forced": lambda x: x.detach().numpy(force=True),
    "asarray": np.asarray,
    "array of jets": lambda x: np.array([x, x]),
    "torch.tensor": torch.tensor,
    "torch.tensor of jets": lambda x: torch.tensor([x[0, 0], x[1, 1]]),
    "torch.as_tensor": torch.as_tensor,
    "long": lambda x: x.to(torch.int64),
    "set": lambda x: {float(v) for v in x[0]},
}


@pytest.mark.parametrize("conversion", CONVERSIONS)
def test_jets_are_not_numbers(conversion: str, jet) -> None:
    with pytest.raises(TypeError, match=WORDLESS):
        CONVERSIONS[conversion](1 + jet**2)


@pytest.mark.parametrize("convert", [lambda x: x.long(), lambda x: x.int(), lambda x: x.short()])
def test_integers_have_no_derivatives(convert, jet) -> None:
    with pytest.raises(AttributeError, match="no jet rule for `torch.Tensor"):
        convert(jet)


def test_ufuncs_of_numpy_are_refused(jet) -> None:
    with pytest.raises(TypeError, match="ufunc"):
        np.sin(jet)


def test_arrays_on_the_left_leave_it_to_the_jet(jet) -> None:
    array = np.full((2, 3), 2.0)
    for found in (array * jet, np.float64(2) * jet, np.float32(2) * jet, array + jet - array + jet, jet / (1 / array)):
        assert isinstance(found, Jet)
        assert torch.allclose(found.rows, 2 * jet.rows)
    assert torch.allclose((array - jet).rows, (2 - jet).rows)
    assert torch.allclose((array / jet).rows, (2 / jet).rows)
    assert torch.allclose((jet**array).rows, (jet**2).rows)
    assert torch.allclose((array**jet).rows, (2**jet).rows)


def test_lists_are_no_operands(jet) -> None:
    for operate in (lambda: jet + [1.0, 2.0, 3.0], lambda: [1.0, 2.0, 3.0] + jet, lambda: jet - (1.0,)):
        with pytest.raises(TypeError, match="make it a tensor first"):
            operate()


def test_jets_are_no_indices(jet, plain) -> None:
    for index in (lambda: plain[jet], lambda: jet[jet], lambda: jet[0, jet]):
        with pytest.raises(TypeError, match="a jet cannot be an index"):
            index()
    with pytest.raises(TypeError, match="a jet cannot be an index"):
        jet[jet] = 0


# ---- bad rows -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.bool])
def test_integer_rows(dtype: torch.dtype) -> None:
    with pytest.raises(TypeError, match=f"floating-point dtype, got {dtype}; convert with .to"):
        Jet(torch.ones(2, 3, dtype=dtype), Basis.full(1, 1))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_rows_that_are_not_finite(bad: float) -> None:
    rows = torch.zeros(3, 4, 2)
    rows[2, 1, 0] = bad
    with pytest.raises(ValueError, match=r"row 2 of the jet \(derivative \(1,\)\) holds 1 NaN or infinite .* of 8"):
        Jet(rows, Basis.full(2, 1))
    with pytest.raises(ValueError, match="row 1 .* holds 1 NaN or infinite .* of 1"):
        Jet(torch.tensor([0.0, math.inf]), Basis.full(1, 1))


def test_large_rows_are_finite() -> None:
    Jet(torch.full((2, 3), 3e38), Basis.full(1, 1))


@pytest.mark.parametrize("shape", [(3, 4), (1, 4), ()])
def test_rows_that_do_not_fit_the_basis(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"do not fit Basis\(2 rows: \(\), \(0,\)\): expected 2 rows along axis 0"):
        Jet(torch.zeros(shape), Basis.full(1, 1))


def test_rows_and_bases_of_other_types() -> None:
    with pytest.raises(TypeError, match="one tensor .* got list"):
        Jet([[1.0]], Basis.full(1, 1))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="is a Basis, got int; see Basis.full"):
        Jet(torch.zeros(2, 1), 2)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "operate",
    [
        lambda x, y: x + y,
        lambda x, y: x * y,
        lambda x, y: x / y,
        lambda x, y: x @ y.T,
        lambda x, y: torch.cat([x, y]),
        lambda x, y: torch.stack([x, y]),
        lambda x, y: torch.where(x > 0, x, y),
        lambda x, y: torch.maximum(x, y),
        lambda x, y: x.clone().copy_(y),
        lambda x, y: F.linear(x, y),
    ],
)
def test_bases_do_not_mix(operate) -> None:
    x = drawn(2, 2)
    with pytest.raises(ValueError, match=r"jets over different bases met: .* rows that one of them lacks are unknown"):
        operate(Jet.seed(x, order=1), Jet.seed(x, order=2))


# ---- custom functions -----------------------------------------------------------------------------------------------


class Doubling(Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return 2 * x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return 2 * grads[0]


class DoublingWithSetup(Function):
    @staticmethod
    def forward(x: Any) -> Any:  # type: ignore[override]
        return torch.mul(x, 2)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Any) -> None: ...

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return 2 * grads[0]


@pytest.mark.parametrize("function", [Doubling, DoublingWithSetup])
@pytest.mark.parametrize("recording", [True, False])
def test_custom_functions_are_refused(function: type[Function], recording: bool, jet) -> None:
    with (
        torch.set_grad_enabled(recording),
        pytest.raises(TypeError, match=f"custom autograd.Function '{function.__name__}'"),
    ):
        function.apply(jet)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_reentrant_checkpoints_are_refused(jet) -> None:
    layer = nn.Linear(3, 3, dtype=DTYPE)
    with pytest.raises(TypeError, match=r"'CheckpointFunction'.* use_reentrant=False"):
        checkpoint(layer, jet.requires_grad_(), use_reentrant=True)


def test_no_grad_alone_is_no_trap(jet) -> None:
    with torch.no_grad():
        assert torch.equal(jet.tanh().rows, jet.tanh().rows)
    with torch.inference_mode():
        assert jet.tanh().rows.isfinite().all()


# ---- rules that are missing -----------------------------------------------------------------------------------------


class Bessel(nn.Module):
    def forward(self, x: Any) -> Any:
        return torch.special.bessel_j0(x)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = Bessel()

    def forward(self, x: Any) -> Any:
        return self.norm(x)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3), Block())

    def forward(self, x: Any) -> Any:
        return self.body(x)


def test_a_missing_rule_is_named_with_its_place_and_its_remedy(jet) -> None:
    with pytest.raises(MissingRuleError) as caught:
        Net().to(DTYPE)(jet)
    message = str(caught.value)
    assert message.startswith("no jet rule for `torch._C._special.special_bessel_j0` at `body.3.norm (Bessel)`")
    for part in ("@jetprop.jets.rule(", "@jetprop.jets.elementwise(", 'backend="reference"', "see jetprop.jets.RULES"):
        assert part in message


def test_outside_of_modules_no_place_is_named(jet) -> None:
    with pytest.raises(MissingRuleError, match=r"no jet rule for `torch.renorm`\. Register"):
        torch.renorm(jet, 2, 0, 1)
    with pytest.raises(AttributeError, match=r"no jet rule for `torch.Tensor.renorm`"):
        jet.renorm(2, 0, 1)
    with pytest.raises(AttributeError, match="a jet has no attribute 'nonsense'"):
        _ = jet.nonsense


def test_a_bare_module_is_named_by_its_class(jet) -> None:
    with pytest.raises(MissingRuleError, match=r"special_bessel_j0` at `Bessel`"):
        Bessel()(jet)


@pytest.mark.parametrize(
    "composite",
    [torch.unique, torch.pca_lowrank, lambda x: F.one_hot(x)],
)
def test_composites_without_rules_do_not_run_in_circles(composite, jet) -> None:
    with pytest.raises(MissingRuleError):
        composite(jet)


# ---- rules that are there already -----------------------------------------------------------------------------------


def test_registering_twice_raises() -> None:
    with pytest.raises(ValueError, match=r"'sigmoid' has a jet rule already \(elementwise\)"):
        rule("sigmoid", "linear")(lambda x: x)
    with pytest.raises(ValueError, match="has a jet rule already"):
        elementwise("tanh")(lambda z, order: [z])


def test_taking_a_spelling_twice_raises(monkeypatch) -> None:
    monkeypatch.setattr(dispatch, "RULES", dict(RULES))
    with pytest.raises(ValueError, match="follows the jet rule 'sigmoid' already, it cannot follow 'logistic' too"):
        rule("logistic", "linear", torch.sigmoid)(lambda x: x)


@pytest.mark.filterwarnings("ignore::jetprop.jets.KinkWarning")
def test_a_rule_takes_precedence_over_a_composite_met_before(jet, monkeypatch) -> None:
    for table in ("RULES", "SPELLINGS", "SPELLING_NAMES"):
        monkeypatch.setattr(dispatch, table, dict(getattr(dispatch, table)))
    composed = F.lp_pool1d(jet, 2.0, 2)
    rule("lp_pool1d", "composition")(lambda x, *args, **options: x)
    assert F.lp_pool1d(jet, 2.0, 2) is jet
    assert composed.shape == (2, 1)


# ---- options --------------------------------------------------------------------------------------------------------


def test_options_are_honoured_or_refused(jet) -> None:
    for call in (
        lambda: torch.div(jet, 2, rounding_mode="floor"),
        lambda: torch.round(jet, decimals=1),
        lambda: F.gelu(jet, approximate=jet),
        lambda: torch.sum(jet, dim=0, nonsense=1),  # type: ignore[call-overload]
        lambda: torch.chunk(jet, 2, 0, 1),  # type: ignore[call-arg]
        lambda: jet.view(torch.int64),
        lambda: F.prelu(torch.ones(2, 3), jet.sum()),
    ):
        with pytest.raises(TypeError):
            call()
    for call in (lambda: F.glu(jet), lambda: F.pad(jet[0], (1, 1, 1, 1))):
        with pytest.raises(ValueError, match="expected an even length|too many for a value with 1 axes"):
            call()


def test_batch_norm_needs_statistics(jet) -> None:
    with pytest.raises(ValueError, match="more than one value for each channel when"):
        nn.BatchNorm1d(3).to(DTYPE)(jet[:1])
    with pytest.raises(ValueError, match="expected running_mean and running_var"):
        F.batch_norm(jet, None, None)


def test_softmax_without_an_axis_follows_pytorch(jet) -> None:
    with pytest.warns(UserWarning, match="name the axis"):
        found = nn.Softmax()(jet)
    assert torch.equal(found.rows, jet.softmax(1).rows)


@pytest.mark.parametrize(
    ("layer", "name"),
    [(nn.Linear(3, 2, device="meta"), "linear"), (nn.Conv1d(2, 1, 2, device="meta"), "conv1d")],
)
def test_a_model_elsewhere(layer: nn.Module, name: str) -> None:
    with pytest.raises(
        ValueError,
        match=rf'{name}: the jet lies on cpu, the weight on meta; .* jet.to\("meta"\) .* model.to',
    ):
        layer(Jet.seed(torch.zeros(2, 3)))


def test_kinks_are_warned_of_once_and_from_order_two(monkeypatch) -> None:
    monkeypatch.setattr(elementwise_rules, "_warned", set())
    x = drawn(2, 3)
    functions: dict[str, Any] = {"relu": F.relu, "prelu": lambda x: F.prelu(x, x.value[0]), "abs": torch.abs}
    functions["relu"](Jet.seed(x, order=1))
    for name, function in functions.items():
        with pytest.warns(KinkWarning, match=f"{name} is piecewise linear: at order ≥ 2"):
            function(Jet.seed(x, order=2))
        function(Jet.seed(x, order=2))
