"""Operators called in PyTorch's own words: every rule that PyTorch lets one call by keyword, called so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torch.utils._pytree as pytree
from torch import Tensor

from jetprop.jets import Basis, Jet
from jetprop.jets import jet as jet_module
from jetprop.jets.calling import overloads
from jetprop.jets.dispatch import SPELLING_NAMES, SPELLINGS
from jets.cases.registry import CASES, VALUE_CASES
from jets.cases.value import X
from jets.rule_cases import DTYPE, drawn

pytestmark = pytest.mark.filterwarnings("ignore::jetprop.jets.KinkWarning")

Call = tuple[Callable, tuple, dict[str, Any]]


def plain(arguments: Any) -> Any:
    """Values in the place of jets."""
    return pytree.tree_map(lambda x: x.value if isinstance(x, Jet) else x, arguments, is_leaf=is_jet)


def is_jet(x: object) -> bool:
    return isinstance(x, Jet)


def same(a: Any, b: Any) -> bool:
    return torch.allclose(a, b, 0, 0, equal_nan=True) if isinstance(a, Tensor) else a == b


def same_rows(a: Any, b: Any) -> bool:
    return torch.equal(a.rows, b.rows)


def seeded(function: Callable, *args: Any, **kwargs: Any) -> Any:
    torch.manual_seed(0)
    return function(*args, **kwargs)


def in_words(call: Call) -> Iterator[tuple[tuple, dict[str, Any]]]:
    """The same call with a word for every argument, for each overload that PyTorch itself accepts so."""
    function, args, kwargs = call
    of_object = getattr(Tensor, getattr(function, "__name__", ""), None) is function
    for words in overloads(function):
        if len(words) < len(args):
            continue
        named = {**dict(zip(words[of_object:], args[of_object:], strict=False)), **kwargs}
        try:
            seeded(function, *plain(args[:of_object]), **plain(named))
        except (TypeError, RuntimeError):
            continue
        yield args[:of_object], named


@pytest.fixture(scope="module")
def calls() -> list[Call]:
    """Every call of PyTorch that the cases of the rules make, once for each set of words."""
    found: list[Call] = []
    depth = 0

    def recording(function: Callable, args: tuple, kwargs: dict[str, Any]) -> Any:
        nonlocal depth
        if depth == 0 and function in SPELLINGS and not getattr(function, "__name__", "").endswith("_"):
            found.append((function, args, kwargs))
        depth += 1
        try:
            return original(function, args, kwargs)
        finally:
            depth -= 1

    original = jet_module.dispatch
    jet_module.dispatch = recording
    try:
        for case in CASES:
            if not case.cuda:
                for function in (case.function, *case.spellings.values()):
                    function(case.jet(Basis.full(1, 1)))
        for _, function in VALUE_CASES:
            function(Jet.seed(X))
    finally:
        jet_module.dispatch = original
    unlike = {(function, len(args), *sorted(kwargs)): (function, args, kwargs) for function, args, kwargs in found}
    return list(unlike.values())


@pytest.mark.filterwarnings("ignore")  # of deprecated words, by PyTorch
def test_arguments_may_be_named_in_pytorchs_words(calls: list[Call]) -> None:
    tried = set()
    for function, args, kwargs in calls:
        for by_place, named in in_words((function, args, kwargs)):
            words = (SPELLING_NAMES.get(function), *named)
            if words[0] in ("empty_like", "new_empty"):
                continue
            expected, found = seeded(function, *args, **kwargs), seeded(function, *by_place, **named)
            for a, b in zip(pytree.tree_leaves(expected), pytree.tree_leaves(found), strict=True):
                assert same(a, b), words
            tried.add(words[0])
    assert len(tried) > 300, "fewer rules than there were when this was written: are calls still recorded?"


A, B, C = drawn(2, 2, 2), drawn(2, 2, 2, seed=1), drawn(2, 2, seed=2)
INDEX = torch.zeros(2, 2, dtype=torch.long)
METHODS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "unflatten": (lambda x: x.unflatten(dim=-1, sizes=(1, 2)), lambda x: x.unflatten(-1, (1, 2))),
    "view": (lambda x: x.view(size=(4,)), lambda x: x.view(4)),
    "expand": (lambda x: x.expand(size=(3, 2, 2)), lambda x: x.expand(3, 2, 2)),
    "repeat": (lambda x: x.repeat(repeats=(2, 1)), lambda x: x.repeat(2, 1)),
    "permute": (lambda x: x.permute(dims=(1, 0)), lambda x: x.permute(1, 0)),
    "expand_as": (lambda x: x[:1].expand_as(other=C), lambda x: x[:1].expand_as(C)),
    "mv": (lambda x: x.mv(vec=C[0]), lambda x: x.mv(C[0])),
    "addmm": (lambda x: x.addmm(mat1=C, mat2=x, beta=2), lambda x: x.addmm(C, x, beta=2)),
    "add_": (lambda x: x.clone().add_(other=C, alpha=2), lambda x: x + 2 * C),
    "where": (lambda x: x.where(condition=C > 0, other=C), lambda x: torch.where(C > 0, x, C)),
    "lt": (lambda x: x.lt(other=C), lambda x: x < C),
    "polygamma": (lambda x: x.abs().polygamma(n=1), lambda x: torch.polygamma(1, x.abs())),
    "scatter_reduce": (
        lambda x: x.scatter_reduce(dim=0, index=INDEX, src=C, reduce="sum"),
        lambda x: x.scatter_add(0, INDEX, C),
    ),
    "sum, in NumPy's words": (lambda x: x.sum(axis=0, keepdims=True), lambda x: x.sum(0, True)),
    "amax, in NumPy's words": (lambda x: x.amax(axis=0, keepdims=True), lambda x: x.amax(0, True)),
    "norm": (lambda x: x.norm(dtype=torch.float64), lambda x: x.norm()),
    "float, by keyword": (lambda x: torch.relu(input=x), lambda x: x.relu()),
    "in place, by keyword": (lambda x: torch.sigmoid_(input=x.clone()), lambda x: x.sigmoid()),
    "sizes, by keyword": (lambda x: torch.tile(input=x, dims=(2, 1)), lambda x: x.repeat(2, 1)),
}


@pytest.mark.parametrize("name", METHODS)
def test_methods_take_the_same_words(name: str) -> None:
    named, placed = METHODS[name]
    x = Jet.seed(C, order=2)
    found, expected = named(x), placed(x)
    found, expected = (y.rows if isinstance(y, Jet) else y for y in (found, expected))
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        (lambda x: x.bmm(mat1=A), "matmul"),
        (lambda x: x.bmm(), "matmul"),
        (lambda x: x.matmul(A, A), "matmul"),
        (lambda x: torch.bmm(x, A, out_dtype=torch.float32), "matmul"),
        (lambda x: x.transpose(0), "transpose"),
        (lambda x: x.tril(1, k=2), "tril"),
        (lambda x: x.mul(x, other=x), "mul"),
        (lambda x: x.lerp(end=A, weight=0.5, nonsense=1), "lerp"),
        (lambda x: x.tril(1, diagonal=1), "tril"),
    ],
)
def test_what_a_rule_does_not_take_is_refused_in_clear_words(call: Callable, rule: str) -> None:
    with pytest.raises(TypeError, match=f"^{rule} on a jet takes its input.*; got arguments: .*") as caught:
        call(Jet.seed(B))
    assert "apply()" not in str(caught.value)


def test_none_is_how_pytorch_says_not_given() -> None:
    x: Any = Jet.seed(C)
    assert same_rows(torch.add(x, 1, out=None), x + 1)
    assert same_rows(x.repeat_interleave(2, output_size=8), x.repeat_interleave(2))
    assert same_rows(F.softmax(x, dim=0, dtype=None), x.softmax(0))
    assert torch.linalg.vector_norm(x, dtype=DTYPE).dtype == DTYPE
