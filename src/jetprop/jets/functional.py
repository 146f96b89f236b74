"""Calling a module with other parameters, jets among them: derivatives along parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
    """`module(*args, **kwargs)` with some parameters or buffers replaced; like `torch.func.functional_call`, jets allowed.

    With a jet for a parameter the result is the jet along the directions in *parameter* space that its rows hold; it
    is differentiable in everything as usual.

    Args:
        module: any module; unchanged afterwards, also if the call raises.
        parameters: dotted name to tensor or jet; what is not named keeps its own.
        args: the positional arguments, a tuple, or one argument alone.
        kwargs: the keyword arguments.

    Raises:
        KeyError: the module has no parameter or buffer of that name.
        ValueError: a replacement has another shape.

    Example:
        >>> import torch
        >>> from jetprop import Jet, functional_call
        >>> layer = torch.nn.Linear(2, 1)
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
    saved: list[tuple[dict, dict]] = []
    touched: list[tuple[dict, str]] = []
    try:
        for name, replacement in parameters.items():
            path, _, leaf = name.rpartition(".")
            owner = module.get_submodule(path)
            for store in (owner._parameters, owner._buffers):
                if leaf in store:
                    saved.append((store, dict(store)))
                    del store[leaf]
            owner.__dict__[leaf] = replacement
            touched.append((owner.__dict__, leaf))
        yield
    finally:
        for attributes, leaf in touched:
            attributes.pop(leaf, None)
        for store, before in reversed(saved):
            store.clear()
            store.update(before)
