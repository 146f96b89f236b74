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

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # half of PyTorch warns of something
]

BASIS = Basis.full(1, 2)
RANDOM = ("rand", "bernoulli", "dropout", "normal", "poisson", "multinomial", "exponential", "uniform", "geometric")
UNDEFINED = ("empty", "resize", "set_", "cuda", "quantize", "sparse", "_cdata", "data_ptr", "storage", "cauchy")
ABOUT_THE_OBJECT = (
    "__repr__",
    "__format__",
    "grad",
    "hook",
    "retain",
    "share_memory",
    "__dlpack",
    "__dir__",
    "record_stream",
    "refine_names",
)
VALUES_OF_FLOATS = {name for name, rule in RULES.items() if rule.kind == "value"}
"""Rules whose plain floating-point results are meant: zeros of the shape of a jet, say."""


def arguments(x: Any, c: Tensor) -> Iterator[tuple]:
    """Calls with the jet in every place, beside tensors, numbers, masks, indices and lists."""
    index = torch.tensor([0, 1])
    for numbers in [(), (0,), (1,), (2,), (0.5,), (0, 1), (0.3, 0.6), ((2, 2),), (index,), (0, index)]:
        yield (x, *numbers)
    yield from [(x, x), (x, c), (c, x), (x, x, x), (c, x, x), (x, c, c), (c, c, x), (c, x, c)]
    yield from [(c > 0.8, x, c), (c > 0.8, c, x), (x, c > 0.8, c), (c, c > 0.8, x), (x, c > 0.8, 0.5)]
    yield from [([x, c],), ((c, x), 0), ([x, x], 1), ([c, x], -1)]
    yield from [(x, 0, index, c), (c, 0, index, x), (x, 0, index.expand(2, 2), c), (c, 0, index.expand(2, 2), x)]
    yield from [("ij,jk", x, c), ("ij,jk", [c, x]), (c, (index, index), x[0] if x.dim() else x)]


def operations() -> list[tuple[str, Callable]]:
    found: dict[str, Callable] = {}
    for space, functions in get_overridable_functions().items():
        for function in functions:
            name = resolve_name(function) or str(function)
            if any(word in name for word in (*RANDOM, *UNDEFINED, *ABOUT_THE_OBJECT)) or "__get__" in name:
                continue
            word = getattr(function, "__name__", "")
            found[name] = method(word) if space is Tensor else function
    return sorted(found.items())


def method(word: str) -> Callable:
    def call(first: Any, *rest: Any) -> Any:
        if not isinstance(first, Tensor | Jet):
            raise TypeError("a method of something else")
        return getattr(first, word)(*rest)

    return call


def plain(tree: Any) -> Any:
    return pytree.tree_map(lambda leaf: leaf.value if isinstance(leaf, Jet) else leaf, tree, is_leaf=is_jet)


def is_jet(leaf: Any) -> bool:
    return isinstance(leaf, Jet)


def leaves(tree: Any) -> list:
    return pytree.tree_leaves(tree, is_leaf=is_jet)


def fresh(shape: tuple[int, ...]) -> tuple[Jet, Tensor]:
    """Written anew for every call: half of the operations write to their arguments."""
    return Jet(drawn(len(BASIS), *shape, low=0.3, high=0.7), BASIS), drawn(2, 2, low=0.4, high=1.2, seed=9)


def faults(name: str, operation: Callable, shape: tuple[int, ...], place: int) -> Iterator[str]:
    given = list(arguments(*fresh(shape)))[place]
    if name.endswith("_") and sum(map(is_jet, given)) > 1:
        return  # what PyTorch makes of an argument that it overwrites meanwhile is not defined
    torch.manual_seed(0)
    try:
        expected = operation(*plain(given))
    except Exception:
        return  # no call that PyTorch itself would take
        torch.manual_seed(0)
    try:
        found = operation(*list(arguments(*fresh(shape)))[place])
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError, NotImplementedError) as error:
        if isinstance(error, RecursionError):
            yield "runs in circles"
        return
    if type(expected) is not type(found) and expected is NotImplemented:
        return
    if len(leaves(expected)) != len(leaves(found)):
        yield f"{found} instead of {expected}"
    for k, (ours, theirs) in enumerate(zip(leaves(found), leaves(expected), strict=False)):
        if not isinstance(theirs, Tensor):
            if theirs is not NotImplemented and theirs != ours and not callable(theirs):
                yield f"{ours} instead of {theirs}"
        elif not is_jet(ours):
            differentiable = theirs.is_floating_point() and not _constant(name)
            if differentiable or not isinstance(ours, Tensor) or not torch.equal(ours, theirs):
                yield "a plain tensor came back"
        elif ours.shape != theirs.shape or ours.dtype != theirs.dtype:
            yield f"{ours} instead of {theirs.shape}, {theirs.dtype}"
        elif not torch.allclose(ours.value, theirs, equal_nan=True, rtol=1e-9):
            yield "another value"
        else:
            yield from _wrong_rows(operation, shape, place, k, ours)


def _constant(name: str) -> bool:
    """Operations that have no derivatives, and what a tensor takes over from a jet: shape, dtype, device."""
    word = name.rsplit(".", 1)[-1]
    return word.rstrip("_") in VALUES_OF_FLOATS or word in {"to", "type_as", "expand_as", "view_as", "reshape_as"}


def _wrong_rows(operation: Callable, shape: tuple[int, ...], place: int, k: int, found: Jet) -> Iterator[str]:
    def differentiated(z: Tensor) -> Tensor:
        given = list(arguments(*fresh(shape)))[place]
        put = pytree.tree_map(lambda leaf: _same(leaf, shape, z) if is_jet(leaf) else leaf, given, is_leaf=is_jet)
        torch.manual_seed(0)

        return leaves(operation(*put))[k]

    try:
        expected = push(differentiated, fresh(shape)[0], backend="reference", create_graph=False).rows
    except (RuntimeError, ValueError, NotImplementedError):
        return  # PyTorch's own derivative is missing, or infinite
    try:
        ENGINE.check(found.rows, expected)
    except AssertionError as error:
        yield f"wrong rows: {error}"


def _same(leaf: Jet, shape: tuple[int, ...], z: Tensor) -> Tensor:
    """The tensor in the place of a jet: all of z, or its first entry."""
    return z * 1 if leaf.shape == shape else z[0] * 1


SHAPES = [(2, 2), (2,), (2, 2, 2)]


@pytest.mark.parametrize("part", range(4))
def test_operations_are_right_or_raise(part: int) -> None:
    tried = operations()[part::4]
    count = len(list(arguments(*fresh((2,)))))
    found = [
        f"{name}, shape {shape}, call {place}: {fault}"
        for name, operation in tried
        for shape in SHAPES
        for place in range(count)
        for fault in faults(name, operation, shape, place)
    ]
    assert not found, "\n".join(sorted(set(found)))


def test_the_net_is_wide() -> None:
    assert len(operations()) > 900
