"""How PyTorch names the arguments of an operator, and how its rule does.

A rule takes its arguments in PyTorch's order under names of its own: those of the formula beside it. Callers may use
PyTorch's words, `torch.addmm(c, mat1=x, mat2=y)`, also those it takes over from NumPy (`axis`, `keepdims`). The words
are read off PyTorch's own schemas; where they name no argument of the rule, the call is refused in clear words.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from inspect import Parameter
from typing import Any

import torch
from torch import Tensor

__all__ = ["overloads", "spelled_as"]

_NUMPY = {"dim": ("axis",), "keepdim": ("keepdims",), "input": ("x", "a", "x1"), "other": ("x2",)}
"""Words that PyTorch's functions take for its own."""


def overloads(function: Callable) -> list[tuple[str, ...]]:
    """The words for the arguments that may come by position, in order, for each overload of a function of PyTorch.

    Of methods, the object itself comes first. Empty where PyTorch does not tell.
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return _of_schemas(function)
    named = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    return [tuple(p.name for p in parameters if p.kind in named)]


def _of_schemas(function: Callable) -> list[tuple[str, ...]]:
    word = getattr(function, "__name__", "")
    method = getattr(Tensor, word, None) is function
    found: dict[tuple[str, ...], None] = {}
    for schema in torch._C._jit_get_schemas_for_operator(f"aten::{word}"):
        if any(a.is_out for a in schema.arguments):
            continue
        words = [a.name for a in schema.arguments if not a.kwarg_only]
        if method:
            if "self" not in words:
                continue
            words = ["self", *(w for w in words if w != "self")]
        found[tuple("input" if w == "self" else w for w in words)] = None
    return list(found)


def _words_of_a_rule(function: Callable, names: list[str]) -> dict[str, str]:
    """What the rule calls each of PyTorch's arguments: whatever stands in its place, unless it has that very name."""
    known = overloads(function)
    found: dict[str, str] = {}
    for words in known:
        found.update({word: names[place] for place, word in enumerate(words[: len(names)]) if word not in found})
    for words in known:
        found.update({word: word for place, word in enumerate(words[: len(names)]) if names[place] == word})
    for word, others in _NUMPY.items():
        if any(word in words for words in known):
            found = {**dict.fromkeys(others, found.get(word, word)), **found}
    return found


def spelled_as(function: Callable, name: str, apply: Callable) -> Callable:
    """A rule as one function of PyTorch is called: its words understood, others refused.

    Args:
        function: the function or method of PyTorch.
        name: the rule's name.
        apply: the rule.

    Raises:
        TypeError: (when called) a word that the rule does not know, arguments too many or too few.
    """
    parameters = list(inspect.signature(apply).parameters.values())
    kinds = {p.kind for p in parameters}
    names = [p.name for p in parameters if p.kind is Parameter.POSITIONAL_OR_KEYWORD]
    needed = sum(
        p.default is Parameter.empty and p.kind not in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
        for p in parameters
    )
    most = 1 << 30 if Parameter.VAR_POSITIONAL in kinds else len(names)
    any_word = Parameter.VAR_KEYWORD in kinds
    ours = _words_of_a_rule(function, names)
    takes = [p.name for p in parameters if p.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)]
    spread = _spread(function, len(names)) if most > len(names) and not any_word else set()

    def refused(args: tuple, given: dict[str, Any]) -> TypeError:
        options = [w for w in takes if w not in names[:1]]
        said = f"{len(args)} by position" + (f", and {', '.join(map(repr, given))}" if given else "")
        return TypeError(
            f"{name} on a jet takes {'its input' if names else 'operands'}"
            f"{', ' + ', '.join(options) if options else ''}; got arguments: {said}. What PyTorch offers beyond that "
            f'has no jet rule; leave it out, or use jetprop.jets.push(model, jet, backend="reference")'
        )

    @wraps(apply)
    def call(*args: Any, **kwargs: Any) -> Any:
        if kwargs:
            given = {ours.get(word, word): argument for word, argument in kwargs.items()}
            if not args and names and names[0] in given:
                args = (given.pop(names[0]),)
            args = (*args, *(given.pop(word) for word in list(given) if word in spread and word not in takes))
            if not any_word:  # None is how PyTorch says "not given"
                given = {word: argument for word, argument in given.items() if word in takes or argument is not None}
            twice = any(word in given for word in names[: len(args)])
            if twice or not (any_word or given.keys() <= set(takes)) or len(args) + len(given) < needed:
                raise refused(args, kwargs)
            kwargs = given
        elif len(args) < needed:
            raise refused(args, kwargs)
        if len(args) > most:
            raise refused(args, kwargs)
        return apply(*args, **kwargs)

    return call


def _spread(function: Callable, place: int) -> set[str]:
    """The words for arguments that a rule takes as any number by position."""
    return {word for words in overloads(function) for word in words[place:]}
