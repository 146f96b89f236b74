"""A fitted estimator as one safetensors file: weights, scales and options, nothing that is executed."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from jetprop.estimators.scales import Scales
from jetprop.training import MLP, CheckpointError
from jetprop.training.checkpoint import load_tensors, save_tensors

if TYPE_CHECKING:
    from jetprop.estimators.regressor import JetRegressor

__all__ = ["read", "write"]

KIND, FORMAT = "JetRegressor", 1
SCALES = ("x_mean", "x_scale", "y_mean", "y_scale")


def write(model: JetRegressor, path: Path) -> None:
    """Write a fitted estimator. A `RandomState` among the options is not kept, nor is the maker of a network."""
    tensors = {f"model.{name}": t for name, t in model.network_.state_dict().items()}
    tensors |= {f"scales.{name}": torch.from_numpy(np.array(getattr(model.scales_, name))) for name in SCALES}
    options = {name: _plain(value) for name, value in model.get_params(deep=False).items() if name != "network"}
    meta = {
        "kind": KIND,
        "format": FORMAT,
        "options": options,
        "own_network": model.network is not None,
        "widths": getattr(model.network_, "widths", None) if model.network is None else None,
        "inputs": model.n_features_in_,
        "outputs": model.n_outputs_,
        "names": [str(name) for name in getattr(model, "feature_names_in_", [])],
        "flat": model._flat,
        "history": model.history_,
        "status": model.status_,
    }
    save_tensors(path, tensors, meta)


def read(cls: type[JetRegressor], path: Path, network: Callable[[int, int], nn.Module] | None) -> JetRegressor:
    """Read what `write` wrote; see `JetRegressor.load`."""
    tensors, meta = load_tensors(path)
    if (meta.get("kind"), meta.get("format")) != (KIND, FORMAT):
        raise CheckpointError(
            f"{path} holds a {meta.get('kind', 'file of another kind')}, format {meta.get('format')}; "
            f"expected a {KIND}, format {FORMAT}"
        )
    if meta["own_network"] != (network is not None):
        fault = "was fitted with a network of your own; give its maker: load(path, network=…)"
        raise CheckpointError(
            f"{path} {fault if network is None else 'holds the default network; load it without network='}"
        )
    options: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in meta["options"].items()}
    model = cls(**options, network=network)
    inputs, outputs = int(meta["inputs"]), int(meta["outputs"])
    module = (
        MLP(meta["widths"], activation=model.activation, init="torch") if network is None else network(inputs, outputs)
    )
    try:
        module.double().load_state_dict(
            {k.removeprefix("model."): t for k, t in tensors.items() if k.startswith("model.")}
        )
    except RuntimeError as error:
        raise CheckpointError(f"{path} holds the weights of another network: {error}") from error
    model.network_ = module.eval()
    model.scales_ = Scales(*(tensors[f"scales.{name}"].numpy() for name in SCALES))
    model.n_features_in_, model.n_outputs_, model._flat = inputs, outputs, bool(meta["flat"])
    if meta["names"]:
        model.feature_names_in_ = np.array(meta["names"], dtype=object)
    model.history_, model.status_ = meta["history"], meta["status"]
    model.n_iter_ = len(model.history_)
    return model


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    return [_plain(v) for v in value] if isinstance(value, (list, tuple, np.ndarray)) else None
