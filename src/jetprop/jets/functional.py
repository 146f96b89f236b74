"""Calling a module with other parameters, jets among them: derivatives along parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from typing import Any

from torch import Tensor, nn

from jetprop.jets.jet import Jet

__all__ = ["functional_call"]


def functional_call(
    module: nn.Module,
    parameters: Mapping[str, Tensor | Jet],
    args: Any = (),
    kwargs: Mapping[str, Any] | None = None,
) -> Any:
    """`module(*args, **kwargs)` with parameters or buffers replaced, as `torch.func.functional_call` does; by jets too.

    With a jet for a parameter the result is the jet along the directions in *parameter* space that its rows hold; it
    is differentiable in everything as usual.

    Args:
        module: any module; unchanged afterwards, also if the call raises.
        parameters: dotted name to tensor or jet; what is not named keeps its own, unless it is tied to what is named.
        args: the positional arguments, a tuple, or one argument alone.
        kwargs: the keyword arguments.

    Raises:
        KeyError: the module has no parameter or buffer of that name.
        ValueError: a replacement has another shape.

    Example:
        >>> import torch
        >>> from jetprop import Jet, functional_call
        >>> layer = torch.nn.Linear(2, 1, bias=False)
        >>> w = Jet.seed(layer.weight.detach(), torch.ones(1, 1, 2))      # along (1, 1)
        >>> functional_call(layer, {"weight": w}, torch.tensor([[3.0, 4.0]])).d(0)
        tensor([[7.]])
    """
    args = args if isinstance(args, tuple) else (args,)
    with _replaced(module, parameters):
        return module(*args, **(kwargs or {}))


@contextmanager
def _replaced(module: nn.Module, parameters: Mapping[str, Tensor | Jet]) -> Iterator[None]:
    own = dict(module.named_parameters(remove_duplicate=False)) | dict(module.named_buffers(remove_duplicate=False))
    for name, replacement in parameters.items():
        if name not in own:
            raise KeyError(f"{type(module).__name__} has no parameter or buffer {name!r}; it has {sorted(own)}")
        if replacement.shape != own[name].shape:
            raise ValueError(
                f"the replacement for {name!r} has shape {tuple(replacement.shape)}, expected {tuple(own[name].shape)}"
            )
    tied = {id(own[name]): replacement for name, replacement in parameters.items()}
    chosen = {name: parameters.get(name, tied.get(id(tensor))) for name, tensor in own.items()}
    saved: list[tuple[nn.Module, dict[str, Any]]] = []
    try:
        for name, replacement in chosen.items():
            if replacement is None:
                continue
            path, _, leaf = name.rpartition(".")
            owner = module.get_submodule(path)
            stores = ("_parameters", "_buffers", "_flat_weights")  # the last is where recurrent layers look
            saved.append((owner, {s: copy(owner.__dict__[s]) for s in stores if s in owner.__dict__}))
            for store in (owner._parameters, owner._buffers):
                store.pop(leaf, None)
            object.__setattr__(owner, leaf, replacement)
            if leaf in owner.__dict__.get("_flat_weights_names", ()):
                owner._flat_weights[owner._flat_weights_names.index(leaf)] = replacement  # type: ignore[operator,union-attr]
        yield
    finally:
        for owner, stores in reversed(saved):
            for leaf in (*stores["_parameters"], *stores["_buffers"]):
                owner.__dict__.pop(leaf, None)
            owner.__dict__.update(stores)
