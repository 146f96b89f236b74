"""What fused objectives cost, as a ratio to plain training: `python benchmarks/penalties.py`.

The network is the MNIST one of demyanov2015: convolutions of 32 and 64 filters, max pooling 3/2, a layer of 256. A step
is the objective and its backward pass, without the optimizer. All take turns in one process; the ratio is the median
over the turns.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable

import torch
from torch import Tensor, nn

from jetprop.benchmarks.timing import take_turns
from jetprop.jets import keep_freed_memory
from jetprop.manifolds import ImageTangents
from jetprop.objectives import (
    AdversarialTraining,
    FastAdversarialTraining,
    FastTangentPropagation,
    GradientRegularization,
    JacobianPenalty,
    LossIBP,
    Objective,
    PredictionIBP,
    TangentPropagation,
)

PLAIN = "plain training"


def network(channels: int = 1, size: int = 28) -> nn.Sequential:
    """The two-convolution net of demyanov2015, section 5."""
    return nn.Sequential(
        nn.Conv2d(channels, 32, 4),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.Conv2d(32, 64, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.Flatten(),
        nn.LazyLinear(256),
        nn.ReLU(),
        nn.Linear(256, 10),
    )


def objectives(images: Tensor) -> dict[str, tuple[Objective, float | None]]:
    """What is measured, and the ratio aimed at."""
    found = ImageTangents()(images)  # precomputed, as in the paper: training does not pay for them

    def tangents(_: Tensor) -> Tensor:
        return found

    return {
        "LossIBP": (LossIBP().fused(0.03), 1.45),
        "LossIBP, exact": (LossIBP(exact=True).fused(0.03), None),
        "PredictionIBP": (PredictionIBP().fused(1.0), 2.1),
        "PredictionIBP, exact": (PredictionIBP(exact=True).fused(1.0), None),
        "TangentPropagation, 5 tangents": (TangentPropagation(tangents).fused(0.01), 6.0),
        "TangentPropagation, random": (TangentPropagation(tangents, 2, "random").fused(0.01), 2.1),
        "FastTangentPropagation, 5 tangents": (FastTangentPropagation(tangents).fused(0.0003), None),
        "AdversarialTraining": (AdversarialTraining(0.05), None),
        "FastAdversarialTraining": (FastAdversarialTraining(0.03), 1.8),
        "GradientRegularization, p = 2": (GradientRegularization(2, 1.0), 2.0),
        "GradientRegularization, p = 2, first order": (GradientRegularization(2, 1.0, "first"), 2.0),
        "JacobianPenalty": (JacobianPenalty().fused(0.01), None),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=32, help="images a step (default: 32, the paper's)")
    parser.add_argument("--seconds", type=float, default=60.0, help="in all (default: 60)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: 2)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--turns", type=int, default=5, help="at least so many turns (default: 5)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    keep_freed_memory()
    device = torch.device(arguments.device)
    x = torch.rand(arguments.batch, 1, 28, 28, device=device)
    y = torch.randint(0, 10, (arguments.batch,), device=device)
    model = network().to(device)
    model(x)

    def step(objective: Callable[[nn.Module, Tensor, Tensor], Tensor]) -> Callable[[], None]:
        def run() -> None:
            model.zero_grad(set_to_none=True)
            objective(model, x, y).backward()

        return run

    all_of_them = objectives(x)
    contestants = {PLAIN: step(lambda m, x, y: nn.functional.cross_entropy(m(x), y))}
    contestants |= {name: step(objective) for name, (objective, _) in all_of_them.items()}
    for run in contestants.values():
        run()
        run()
    found = take_turns(contestants, PLAIN, arguments.seconds, at_least=arguments.turns)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu, {arguments.threads} threads"
    record = {
        "device": name,
        "torch": torch.__version__,
        "batch": arguments.batch,
        "plain, ms": round(1e3 * found[PLAIN].seconds, 2),
        "turns": found[PLAIN].turns,
        "ratio, spread, goal": {
            name: [round(found[name].ratio, 2), round(found[name].spread, 2), goal]
            for name, (_, goal) in all_of_them.items()
        },
    }
    print(json.dumps(record, ensure_ascii=False, indent=1))


if __name__ == "__main__":
    main()
