"""A cache that compilers can see through: what depends on a basis alone is worked out once and is constant to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

__all__ = ["remembered"]

P = ParamSpec("P")
T = TypeVar("T")


def remembered(function: Callable[P, T]) -> Callable[P, T]:
    """Cache the results by the (hashable, positional) arguments; inside `torch.compile` the result is a constant.

    `functools.cache` would do, but Dynamo traces through it, the whole computation anew, and warns.
    """
    known: dict[tuple, T] = {}

    @torch.compiler.assume_constant_result
    def recall(*args: P.args, **kwargs: P.kwargs) -> T:
        if args not in known:
            known[args] = function(*args, **kwargs)
        return known[args]

    recall.__doc__, recall.__name__ = function.__doc__, function.__name__
    recall.cache_clear = known.clear  # type: ignore[attr-defined]
    return recall
