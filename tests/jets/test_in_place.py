"""In-place operations write through to whatever shares the memory, as PyTorch's do, or raise."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from jetprop.jets import Basis, Jet, push
from jets.rule_cases import drawn
from jets.tolerances import ENGINE

pytestmark = pytest.mark.filterwarnings("ignore::jetprop.jets.KinkWarning")

BASIS = Basis.full(2, 2)
C = drawn(2, 4, seed=2)


def jet() -> Jet:
    return Jet(drawn(len(BASIS), 2, 4), BASIS)


def written(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function that changes a copy of its argument and returns that copy, not what the change returned."""

    def call(x: Any) -> Any:
        x = x.clone()
        change(x)
        return x

    call.__name__ = change.__name__
    return call


def through_view(x: Any) -> None:
    x.view(-1).mul_(2)


def through_reshape(x: Any) -> None:
    x.reshape(4, 2)[0] = 1.5


def through_index(x: Any) -> None:
    x[0].sin_()


def through_slice(x: Any) -> None:
    x[:, 1:3] += C[:, :2]


def through_transpose(x: Any) -> None:
    x.t().mul_(C.t())


def through_narrow(x: Any) -> None:
    x.narrow(1, 1, 2).mul_(C[:, :2])


def through_expand_of_a_full_axis(x: Any) -> None:
    x.expand(2, 4).sub_(x.mean())


def through_nested_views(x: Any) -> None:
    x.unsqueeze(0).permute(2, 1, 0)[1].squeeze().exp_()


def through_contiguous(x: Any) -> None:
    x.contiguous().add_(1)


def through_conversion_to_itself(x: Any) -> None:
    x.to(x.dtype).double().add_(1)


def through_flatten(x: Any) -> None:
    x.flatten()[2:5].zero_()


def through_fill(x: Any) -> None:
    x[1].fill_(0.5)


def through_copy(x: Any) -> None:
    x[0].copy_(2 * x[1])


def through_activation(x: Any) -> None:
    F.relu(x[:, :2], inplace=True)


def through_mask(x: Any) -> None:
    x.masked_fill_(C > 0, -1.0)


def through_diagonal(x: Any) -> None:
    x.diagonal().add_(1)


def from_itself(x: Any) -> None:
    x.add_(x.flip(1))


def not_through_gather(x: Any) -> None:
    x[[0, 1]].mul_(5)
    x[:, torch.tensor([0, 1])].mul_(5)
    x.clone().mul_(5)
    x.repeat(1, 1).mul_(5)
    (x**1).mul_(5)
    x.sum((), keepdim=True).mul_(5)
    x[0, 0].sum().mul_(5)


def seen_by_views_made_before(x: Any) -> None:
    view = x[:, 0]
    x.mul_(2)
    x[:, 1] = view


def metadata(x: Any) -> None:
    y = x[:, :2]
    y.t_()
    y.mul_(torch.tensor([[1.0], [3.0]], dtype=torch.float64))
    y.unsqueeze_(0)
    y.add_(1)


CHANGES = [
    through_view,
    through_reshape,
    through_index,
    through_slice,
    through_transpose,
    through_narrow,
    through_expand_of_a_full_axis,
    through_nested_views,
    through_contiguous,
    through_conversion_to_itself,
    through_flatten,
    through_fill,
    through_copy,
    through_activation,
    through_mask,
    through_diagonal,
    from_itself,
    not_through_gather,
    seen_by_views_made_before,
    metadata,
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_the_base_sees_it(change: Callable[[Any], Any]) -> None:
    function = written(change)
    ENGINE.check(function(jet()).rows, push(function, jet(), backend="reference").rows)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_autograd_sees_it(change: Callable[[Any], Any]) -> None:
    rows = jet().rows.requires_grad_()
    weights = drawn(*rows.shape, seed=5)
    (found,) = torch.autograd.grad((written(change)(Jet(rows, BASIS)).rows * weights).sum(), rows)
    oracle = push(written(change), Jet(rows, BASIS), backend="reference").rows
    (expected,) = torch.autograd.grad((oracle * weights).sum(), rows)
    ENGINE.check(found, expected)


@pytest.mark.parametrize("split", [lambda x: x.chunk(2, 1), lambda x: x.split([1, 3], 1), lambda x: x.unbind(1), list])
def test_views_among_several_write_through(split) -> None:
    """PyTorch forbids this under autograd; so does a jet then. Without, both allow it."""
    x = jet()
    split(x)[0].mul_(2)
    plain = jet().value
    split(plain)[0].mul_(2)
    assert torch.equal(x.value, plain)
    y = jet().requires_grad_() * 1
    with pytest.raises(RuntimeError, match="returns multiple views") if split is not list else nullcontext():
        split(y)[0].mul_(2)


def test_in_place_returns_its_target() -> None:
    x: Any = jet()
    assert x.mul_(2) is x
    assert F.relu(x, inplace=True) is x
    assert torch.nn.ReLU(inplace=True)(x) is x
    before = x
    x += 1
    assert x is before


def test_what_does_not_fit_raises() -> None:
    with pytest.raises(RuntimeError, match=r"in-place 'add': the result of shape \(3, 2, 4\) does not fit \(2, 4\)"):
        jet().add_(torch.zeros(3, 2, 4))


def test_overlapping_memory_raises() -> None:
    with pytest.raises(RuntimeError, match="single memory location"):
        jet()[:1].expand(5, 4).add_(1)


def test_a_leaf_raises() -> None:
    leaf = jet().requires_grad_()
    with pytest.raises(RuntimeError, match="leaf Variable"):
        leaf.mul_(2)
    with pytest.raises(RuntimeError, match="leaf Variable"):
        leaf[0] = 1


@pytest.mark.parametrize("change", [lambda x: x.lt_(0), lambda x: x.eq_(C), lambda x: x.logical_not_()])
def test_results_without_derivatives_are_not_written(change) -> None:
    with pytest.raises(TypeError, match="would lose the derivatives"):
        change(jet())


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.mul_(1j),
        lambda x: x.add_(torch.ones(2, 4, dtype=torch.complex128)),
        lambda x: x.float_power_(1j),
        lambda x: x.ldexp_(torch.tensor(1j)),
        lambda x: x.cdouble().abs_(),
        lambda x: x.masked_fill_(C > 0, 1j),
        lambda x: x.index_fill_(0, torch.tensor([0]), 1j),
    ],
)
def test_imaginary_parts_are_not_dropped(change) -> None:
    with pytest.raises((RuntimeError, TypeError), match="can't be cast to the jet's|a complex number does not fit"):
        change(jet())


def test_what_backward_still_needs_is_guarded() -> None:
    """Autograd notices a saved row that was overwritten, as with tensors."""
    x = jet().requires_grad_()
    y = x * 1
    z = y * y
    y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.rows.sum().backward()
