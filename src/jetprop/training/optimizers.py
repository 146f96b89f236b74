"""Optimizers by name, and two of them at once where Muon takes the matrices."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from jetprop.training.config import OptimizerConfig, RecipeError, RestConfig

__all__ = ["Optimizers", "build_optimizers"]

_CLASSES = {
    name.lower(): name for name, c in vars(torch.optim).items() if isinstance(c, type) and issubclass(c, Optimizer)
}
_REFUSED = {
    "optimizer": "it is the base class",
    "lbfgs": "it evaluates the cost several times a step",
    "sparseadam": "it takes sparse gradients only",
}


class Optimizers:
    """One or more optimizers stepped together, each at its own base rate times one common factor.

    Args:
        members: the optimizers; the rates that they have now are their base rates.
    """

    def __init__(self, members: Iterable[Optimizer]) -> None:
        self.members = list(members)
        self._base = [[float(group["lr"]) for group in member.param_groups] for member in self.members]
        self._factor: float | None = None

    def set_factor(self, factor: float) -> None:
        """Make every rate its base rate times `factor`."""
        if factor == self._factor:
            return
        self._factor = factor
        for member, base in zip(self.members, self._base, strict=True):
            for group, rate in zip(member.param_groups, base, strict=True):
                group["lr"] = rate * factor

    def step(self) -> None:
        """One step of each."""
        for member in self.members:
            member.step()

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for member in self.members:
            member.zero_grad(set_to_none=True)

    @property
    def rates(self) -> list[float]:
        """The present rate of each group of parameters."""
        return [float(group["lr"]) for member in self.members for group in member.param_groups]

    def state_dict(self) -> list[dict[str, Any]]:
        """The state of each member."""
        return [member.state_dict() for member in self.members]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Put back what `state_dict` gave."""
        for member, state in zip(self.members, states, strict=True):
            member.load_state_dict(state)
        self._factor = None


def build_optimizers(model: nn.Module, config: OptimizerConfig) -> Optimizers:
    """The optimizers that a recipe asks for, over the parameters that require gradients.

    Muon trains the 2-D weights that `matrices` names, by default those between hidden layers: all but the first and the
    last of the module (if it has no more than two, the first). `[optimizer.rest]` trains the rest, by default Adam at
    rate 1e-3.

    Args:
        model: on its final device, in its final dtype.
        config: `[optimizer]`.

    Raises:
        RecipeError: there is no such optimizer, it does not take an option, or `matrices` names no 2-D weight.

    Example:
        >>> from jetprop.training import MLP, OptimizerConfig, build_optimizers
        >>> build_optimizers(MLP([8, 4, 2]), OptimizerConfig(name="muon", rate=0.02)).rates
        [0.02, 0.001]
    """
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not named:
        raise RecipeError("the model has no parameters that require gradients, so there is nothing to train")
    if config.name.lower() != "muon":
        return Optimizers([_build(config.name, list(named.values()), config.rate, config.options, "[optimizer]")])
    matrices = _matrices(named, config.matrices)
    rest = [p for name, p in named.items() if name not in matrices]
    second = config.rest or RestConfig()
    if second.name.lower() == "muon":
        raise RecipeError(
            '[optimizer.rest] name = "muon": the rest holds what muon cannot train; take "adam" or another'
        )
    members = [_build("muon", list(matrices.values()), config.rate, config.options, "[optimizer]")]
    if rest:
        members.append(_build(second.name, rest, second.rate, second.options, "[optimizer.rest]"))
    return Optimizers(members)


def _matrices(named: dict[str, nn.Parameter], patterns: list[str] | None) -> dict[str, nn.Parameter]:
    flat = {name: p for name, p in named.items() if p.dim() == 2}
    if patterns is None:
        chosen = dict(list(flat.items())[1:-1] or list(flat.items())[:-1])
        if not chosen:
            raise RecipeError(
                f'[optimizer] name = "muon" trains hidden matrices, and the model has none: its 2-D weights are '
                f'{list(flat)}, the last being the output layer\'s; name some in matrices = [...], or use "adam"'
            )
        return chosen
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in flat):
            raise RecipeError(f"[optimizer] matrices: {pattern!r} matches no 2-D weight; there are {', '.join(flat)}")
    return {name: p for name, p in flat.items() if any(fnmatchcase(name, pattern) for pattern in patterns)}


def _build(name: str, parameters: Sequence[Tensor], rate: float, options: dict[str, Any], place: str) -> Optimizer:
    key = name.lower()
    known = sorted(set(_CLASSES) - set(_REFUSED))
    if key in _REFUSED:
        raise RecipeError(
            f"{place} name = {name!r} cannot be used here: {_REFUSED[key]}; take one of {', '.join(known)}"
        )
    if key not in _CLASSES:
        close = difflib.get_close_matches(key, known, n=1)
        hint = f'; did you mean "{close[0]}"?' if close else ""
        raise RecipeError(f"{place} name = {name!r} is no optimizer of torch.optim{hint} There are {', '.join(known)}")
    cls = getattr(torch.optim, _CLASSES[key])
    accepted = [p for p in inspect.signature(cls).parameters if p not in ("params", "lr")]
    for option in options:
        if option not in accepted:
            close = difflib.get_close_matches(option, accepted, n=1)
            hint = f'; did you mean "{close[0]}"?' if close else "."
            raise RecipeError(
                f'{place[:-1]}.options] {name} has no option "{option}"{hint} Options: {", ".join(accepted)}'
            )
    given = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
    if (
        "fused" in accepted
        and not {"fused", "foreach", "capturable", "differentiable"} & set(given)
        and _can_fuse(parameters)
    ):
        given["fused"] = True
    try:
        return cls(parameters, lr=rate, **given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise RecipeError(f"{place} {cls.__name__}(lr={rate}, **{options}) fails: {error}") from error


def _can_fuse(parameters: Sequence[Tensor]) -> bool:
    """One kernel for all parameters: several times faster than a loop, where torch has it."""
    return all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in parameters)
