"""What is wrong with a recipe, said in its own terms."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

__all__ = ["complaints"]


def complaints(error: ValidationError, root: type[BaseModel]) -> Iterator[str]:
    """One line for each fault that pydantic found: the place, what stands there, and what to write.

    Args:
        error: what `model_validate` raised.
        root: the model that was validated.
    """
    found = error.errors(include_url=False)
    found = [item for item in found if not _of_other_branch(item)]
    for item in sorted(found, key=lambda item: item["type"] != "extra_forbidden"):
        path = [part for part in item["loc"] if not _is_union_tag(part)]
        if item["type"] == "extra_forbidden":
            owner, key = path[:-1], str(path[-1])
            section = _section_at(owner, root)
            keys = sorted(f.alias or name for name, f in section.model_fields.items()) if section else []
            close = difflib.get_close_matches(key, keys, n=1, cutoff=0.5)
            hint = f'; did you mean "{close[0]}"?' if close else "."
            kind = "section" if not owner else "key"
            place = _place(owner) or "the recipe"
            yield f'{place} has no {kind} "{key}"{hint} {kind.capitalize()}s: {", ".join(keys)}'
        elif item["type"] == "literal_error" and path[-1] == "directions":
            yield f'[data] directions = {item["input"]!r}: write "all" or {{random = k}}'
        elif item["type"] == "missing":
            yield f"{_place(path[:-1])} {path[-1]}: missing".strip() if len(path) > 1 else f"[{path[0]}]: missing"
        elif item["type"] == "value_error":
            yield f"{_place(path)} {item.get('ctx', {}).get('error')}".strip()
        else:
            message = item["msg"][0].lower() + item["msg"][1:]
            if len(path) == 1:
                yield f"[{path[0]}] = {item['input']!r}: {message}"
            else:
                yield f"{_place(path[:-1])} {path[-1]} = {item['input']!r}: {message}"


def _place(path: list[int | str]) -> str:
    names = [str(part) for part in path if isinstance(part, str)]
    number = next((f" number {part + 1}" for part in path if isinstance(part, int)), "")
    return f"[{'.'.join(names)}]{number}" if names else ""


def _of_other_branch(item: Any) -> bool:  # noqa: ANN401
    """Whether pydantic tried the wrong branch of `directions`, a name or a table."""
    tags = [part for part in item["loc"] if _is_union_tag(part)]
    if not tags:
        return False
    return isinstance(item["input"], dict) if tags[0].startswith("literal[") else item["type"] == "model_type"


def _is_union_tag(part: int | str) -> bool:
    return isinstance(part, str) and (part.startswith("literal[") or part == "RandomDirectionsConfig")


def _section_at(path: list[int | str], root: type[BaseModel]) -> type[BaseModel] | None:
    """The section that a path leads to, through optional and listed ones."""
    found: Any = root
    for part in path:
        if isinstance(part, int):
            continue
        fields = getattr(found, "model_fields", {})
        match = next((f for name, f in fields.items() if part in (name, f.alias)), None)
        if match is None:
            return None
        found = _inner(match.annotation)
    return found


def _inner(annotation: Any) -> Any:  # noqa: ANN401
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((inner for a in get_args(annotation) if (inner := _inner(a)) is not None), None)
