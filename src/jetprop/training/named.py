"""Objects of the user's own that a recipe names: "package.module:name"."""

from __future__ import annotations

import difflib
import importlib
from typing import Any

from jetprop.training.config import RecipeError

__all__ = ["load_named"]


def load_named(reference: str, key: str) -> Any:  # noqa: ANN401
    """What "package.module:name" stands for.

    Args:
        reference: a module that Python can import, a colon, and a name in it (dots allowed).
        key: where the recipe says so, for messages.

    Raises:
        RecipeError: the form is wrong, the module cannot be imported, or it has no such name.

    Example:
        >>> from jetprop.training.named import load_named
        >>> load_named("torch.nn:Linear", "[model] factory").__name__
        'Linear'
    """
    module_name, colon, name = reference.partition(":")
    if not colon or not module_name or not name:
        raise RecipeError(f'{key} = "{reference}" is not of the form "package.module:name"')
    try:
        found: Any = importlib.import_module(module_name)
    except ImportError as error:
        raise RecipeError(
            f'{key} = "{reference}": {module_name} cannot be imported ({error}); install it, or put its folder on '
            "PYTHONPATH"
        ) from error
    for part in name.split("."):
        if not hasattr(found, part):
            close = difflib.get_close_matches(part, dir(found), n=1)
            hint = f'; did you mean "{close[0]}"?' if close else ""
            raise RecipeError(f'{key} = "{reference}": {getattr(found, "__name__", found)} has no {part!r}{hint}')
        found = getattr(found, part)
    return found
