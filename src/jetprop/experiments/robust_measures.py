"""What is measured of a trained network: error, vulnerabilities, and how far its gradients are from the oracle's.

Measured once for given weights: the result lies beside them, and is read back by whatever needs it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from jetprop.experiments.registry import Scale
from jetprop.experiments.robust_networks import Stage
from jetprop.experiments.training_table import BEFORE
from jetprop.manifolds import Cube
from jetprop.objectives import ErrorMeter, ImageDirections, RobustScales
from jetprop.oracle import Oracle
from jetprop.robustness import Vulnerability, gradients, vulnerability
from jetprop.training import Result, load_model
from jetprop.training.checkpoint import write_atomically

__all__ = ["CLASSES", "KINDS", "TEST_START", "Measured", "cached", "measure", "model_of", "stages_of"]

KINDS = {"maximum": "v_max", "sensitivity": "v_sen", "invariance": "v_inv"}
CLASSES = ("low", "mid", "high")
TEST_START = 97020

POSES: dict[Scale, tuple[int, int]] = {"smoke": (16, 16), "cpu": (1024, 4096), "paper": (20160, 20160)}
"""Of each set, the first: how many for vulnerabilities, and how many for errors."""

CHUNK = 512


@dataclass(frozen=True)
class Measured:
    """One network's figures, each by set, "training" and "test".

    Args:
        error: e by (3), a fraction.
        vulnerability: means of v by (26) for each kind, where the oracle is not singular; intensity⁻¹.
        misalignment: R^I of (36) by class of directions, on the test set: how far the derivatives along directions of
            that class are from the oracle's. Networks that know nothing of an image's derivatives have about 1.
        singular: how many of the poses were left out.
    """

    error: dict[str, float]
    vulnerability: dict[str, dict[str, float]]
    misalignment: dict[str, float]
    singular: dict[str, int]


def stages_of(result: Result) -> tuple[Stage, ...]:
    """The stages of a run whose weights there are."""
    return ("before", "after") if result.out is not None and (result.out / BEFORE).exists() else ("after",)


def model_of(result: Result, stage: Stage = "after") -> nn.Module:
    """A run's network, in float32, in evaluation mode.

    Raises:
        ValueError: there are no weights from before a trade-off.
    """
    if stage == "after":
        return result.model.cpu().float().eval()
    if result.out is None or not (result.out / BEFORE).exists():
        raise ValueError(f"{result.out} holds no {BEFORE}: the training has not come to the trade-off, or has none")
    return load_model(result.out / BEFORE).float().eval()


def measure(result: Result, scale: Scale, stage: Stage = "after") -> Measured:
    """Error, vulnerabilities and misalignment of a run's network; read back if they were measured before."""
    model = model_of(result, stage)
    found = cached(result, f"measured-{stage}", model, {"poses": POSES[scale]}, partial(_measure, model, result, scale))
    return Measured(**found)


def measure_all(scale: Scale, result: Result) -> None:
    """Measure every stage of a run, for the files that it leaves."""
    threads = torch.get_num_threads()
    torch.set_num_threads(result.record["recipe"]["training"]["threads"] or threads)
    try:
        for stage in stages_of(result):
            measure(result, scale, stage)
    finally:
        torch.set_num_threads(threads)


def cached(result: Result, name: str, model: nn.Module, settings: dict[str, Any], make: Callable[[], Any]) -> Any:  # noqa: ANN401
    """What `make` returns, plain values, kept as `<name>.json` in the folder of a run.

    It counts for these weights and settings only.
    """
    key = json.loads(json.dumps({"settings": settings, "weights": _digest(model)}))
    path = None if result.out is None else Path(result.out) / f"{name}.json"
    if path is not None and path.exists():
        held = json.loads(path.read_text(encoding="utf-8"))
        if held["key"] == key:
            return held["found"]
    found = json.loads(json.dumps(make()))
    if path is not None:
        write_atomically(path, (json.dumps({"key": key, "found": found}) + "\n").encode())
    return found


def _digest(model: nn.Module) -> str:
    held = blake2b(digest_size=16)
    for name, value in model.state_dict().items():
        held.update(name.encode())
        held.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return held.hexdigest()


def _measure(model: nn.Module, result: Result, scale: Scale) -> dict[str, Any]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = model.to(device)
    cube, few, many = Cube(), *POSES[scale]
    deviation = torch.tensor(result.record["deviation"], dtype=torch.float64)
    error, mean, singular, misalignment = {}, {}, {}, {}
    for place, start in (("training", 0), ("test", TEST_START)):
        error[place] = _error(model, cube, start, _within(result, place, many), deviation, device)
        found = []
        alignment = _Alignment(few, device)
        for at in range(0, _within(result, place, few), CHUNK):
            size = min(CHUNK, _within(result, place, few) - at)
            oracle = Oracle.at(cube, cube.poses(size, start + at, device), order=1, dtype=torch.float32)
            slopes = gradients(model, oracle.image.value)
            found.append(vulnerability(slopes, oracle.image.value, oracle, keep_directions=False))
            if place == "test":
                alignment.update(oracle, slopes)
        whole = Vulnerability.cat(found)
        mean[place], singular[place] = whole.means(), int(whole.singular.sum())
        misalignment = alignment.compute() if place == "test" else {}
    by_kind = {kind: {place: mean[place][kind] for place in mean} for kind in KINDS}
    model.cpu()
    return asdict(Measured(error, by_kind, misalignment, singular))


def _within(result: Result, place: str, count: int) -> int:
    """Not more poses than the network was trained on."""
    return min(count, result.record["recipe"]["data"]["images"]) if place == "training" else count


@torch.no_grad()
def _error(model: nn.Module, cube: Cube, start: int, count: int, deviation: Tensor, device: torch.device) -> float:
    meter = ErrorMeter(deviation)
    for at in range(0, count, CHUNK):
        image, target = cube.sample(min(CHUNK, count - at), start + at, 0, device=device)
        meter.update(model(image.value), target.value)
    return meter.compute()


class _Alignment:
    """R^I of each class over a set that comes in chunks, with scales measured over the same set."""

    def __init__(self, count: int, device: torch.device) -> None:
        self.banks = {kind: ImageDirections(kind, (41, 41), count, seed=1, device=device) for kind in CLASSES}
        self.scales = RobustScales(self.banks, dict.fromkeys(CLASSES, 1))
        self.off: dict[str, list[Tensor]] = {kind: [] for kind in CLASSES}
        self.seen = 0

    def update(self, oracle: Oracle, slopes: Tensor) -> None:
        count = len(slopes)
        self.scales.update(oracle.image, oracle.target)
        difference = (slopes - oracle.gradient())[~oracle.singular].flatten(2)
        for kind, bank in self.banks.items():
            drawn = bank(torch.arange(self.seen, self.seen + count))[~oracle.singular].flatten(1)
            self.off[kind].append((difference @ drawn[:, :, None].to(difference)).squeeze(2).cpu().double())
        self.seen += count

    def compute(self) -> dict[str, float]:
        scales = self.scales.compute()
        return {
            kind: float((torch.cat(parts) / scales[f"R1_{kind}"]).square().sum(1).mean())
            for kind, parts in self.off.items()
        }
