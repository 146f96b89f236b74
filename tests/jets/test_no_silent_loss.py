"""Every overridable operation of PyTorch, called with jets: it is right, or it raises."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import get_overridable_functions, resolve_name
from torch.utils import _pytree as pytree

from jetprop.jets import RULES, Basis, Jet, push
from jets.rule_cases import drawn
from jets.tolerances import ENGINE

pytestmark = pytest.mark.filterwarnings("ignore")  # half of PyTorch warns of something

BASIS = Basis.full(1, 2)
SHAPES = [(2, 2), (2,), (2, 2, 2)]
ROWS = {shape: drawn(len(BASIS), *shape, low=0.3, high=0.7) for shape in SHAPES}
CONSTANT = drawn(2, 2, low=0.4, high=1.2, seed=9)
INDEX = torch.tensor([0, 1])

CALLS: list[Callable[[Any, Tensor], tuple]] = [
    *(
        lambda x, c, options=options: (x, *options)
        for options in [(), (0,), (1,), (2,), (0.5,), (0, 1), (0.3, 0.6), ((2, 2),), (INDEX,), (0, INDEX)]
    ),
    *(
        lambda x, c, k=k: ((x, x), (x, c), (c, x), (x, x, x), (c, x, x), (x, c, c), (c, c, x), (c, x, c))[k]
        for k in range(8)
    ),
    lambda x, c: (c > 0.8, x, c),
    lambda x, c: (c > 0.8, c, x),
    lambda x, c: (x, c > 0.8, c),
    lambda x, c: (c, c > 0.8, x),
    lambda x, c: (x, c > 0.8, 0.5),
    lambda x, c: ([x, c],),
    lambda x, c: ((c, x), 0),
    lambda x, c: ([x, x], 1),
    lambda x, c: ([c, x], -1),
    lambda x, c: (x, 0, INDEX, c),
    lambda x, c: (c, 0, INDEX, x),
    lambda x, c: (x, 0, INDEX[:, None].expand(2, 2), c),
    lambda x, c: (c, 0, INDEX[:, None].expand(2, 2), x),
    lambda x, c: ("ij,jk", x, c),
    lambda x, c: ("ij,jk", [c, x]),
    lambda x, c: (c, (INDEX, INDEX), x[0]),
]
"""The jet in every place, beside tensors, numbers, masks, indices and lists."""

UNSUITABLE = {
    "random": (
        "rand",
        "bernoulli",
        "dropout",
        "normal",
        "poisson",
        "multinomial",
        "exponential",
        "uniform",
        "geometric",
    ),
    "random too": ("cauchy", "gumbel"),
    "undefined": ("empty", "resize", "set_", "cuda", "quantize", "sparse", "_cdata", "data_ptr", "storage"),
    "about the object": ("grad", "hook", "retain", "share_memory", "__dlpack", "__dir__", "record_stream", "__re"),
    "properties": ("__get__", "__set__"),
    "differentiated by PyTorch in a triangle that they do not read": ("cholesky_solve", "cholesky_inverse"),
}
MEANT = {name for name, rule in RULES.items() if rule.kind == "value"} | {
    *("to", "type_as", "expand_as", "view_as", "reshape_as", "broadcast_tensors"),
    *("atleast_1d", "atleast_2d", "atleast_3d"),
}
"""Where plain results are meant: zeros of the shape of a jet; a tensor that takes over a jet's shape, dtype, device; a
tensor that stands beside a jet."""

LOST_BY_PYTORCH = {("clamp", 14), ("clip", 14)}
"""Operators and calls: a number below two bounds that are one jet is that jet, but PyTorch hands neither a gradient."""


def operations() -> list[tuple[str, Callable]]:
    words = tuple(word for reason in UNSUITABLE.values() for word in reason)
    found: dict[str, Callable] = {}
    for space, functions in get_overridable_functions().items():
        for function in functions:
            name = resolve_name(function) or str(function)
            if not any(word in name for word in words):
                found[name] = method(function.__name__) if space is Tensor else function
    return sorted(found.items())


def method(word: str) -> Callable:
    def call(first: Any, *rest: Any) -> Any:
        if not isinstance(first, Tensor | Jet):
            raise TypeError("a method of something else")
        return getattr(first, word)(*rest)

    return call


def leaves(tree: Any) -> list:
    return pytree.tree_leaves(tree, is_leaf=lambda leaf: isinstance(leaf, Jet))


def faults(name: str, operation: Callable, shape: tuple[int, ...], place: int) -> Iterator[str]:
    call = CALLS[place]
    try:
        expected = operation(*call(ROWS[shape][0].clone(), CONSTANT.clone()))
    except Exception:
        return  # no call that PyTorch itself would take
    if (name.rsplit(".", 1)[-1], place) in LOST_BY_PYTORCH:
        return
    given = call(Jet(ROWS[shape].clone(), BASIS), CONSTANT.clone())
    if name.endswith("_") and sum(isinstance(leaf, Jet) for leaf in given) > 1:
        return  # what PyTorch makes of an argument that it overwrites meanwhile is not defined
    try:
        found = operation(*given)
    except RecursionError:
        yield "runs in circles"
        return
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError, NotImplementedError):
        return
    if len(leaves(expected)) != len(leaves(found)):
        yield f"{found} instead of {expected}"
    for k, (ours, theirs) in enumerate(zip(leaves(found), leaves(expected), strict=False)):
        if theirs is NotImplemented:
            continue
        if not isinstance(theirs, Tensor):
            if type(theirs) is not type(ours) or theirs != ours:
                yield f"{ours} instead of {theirs}"
        elif isinstance(ours, Tensor):
            differentiable = theirs.is_floating_point() and name.rsplit(".", 1)[-1].rstrip("_") not in MEANT
            if differentiable or not torch.equal(ours, theirs):
                yield "a plain tensor came back"
        elif not isinstance(ours, Jet) or ours.shape != theirs.shape or ours.dtype != theirs.dtype:
            yield f"{ours} instead of {theirs.shape}, {theirs.dtype}"
        elif not torch.allclose(ours.value, theirs, equal_nan=True, rtol=1e-9):
            yield "another value"
        else:
            yield from wrong_rows(operation, shape, call, k, ours)


def wrong_rows(operation: Callable, shape: tuple[int, ...], call: Callable, k: int, found: Jet) -> Iterator[str]:
    try:
        expected = push(
            lambda z: leaves(operation(*call(z * 1, CONSTANT.clone())))[k],
            Jet(ROWS[shape].clone(), BASIS),
            backend="reference",
            create_graph=False,
        )
    except (RuntimeError, ValueError, NotImplementedError):
        return  # PyTorch's own derivative is missing, or infinite
    try:
        ENGINE.check(found.rows, expected.rows)
    except AssertionError as error:
        yield f"wrong rows: {error}"


@pytest.mark.parametrize("part", range(4))
def test_operations_are_right_or_raise(part: int) -> None:
    found = [
        f"{name}, shape {shape}, call {place}: {fault}"
        for name, operation in operations()[part::4]
        for shape in SHAPES
        for place in range(len(CALLS))
        for fault in faults(name, operation, shape, place)
    ]
    assert not found, "\n".join(found)


def test_the_net_is_wide() -> None:
    assert len(operations()) > 900
