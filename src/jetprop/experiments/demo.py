"""The demonstration: the same images, the same network, the same time; what do derivatives add?"""

from __future__ import annotations

from typing import Any

import torch

from jetprop.experiments.recipes import Method, best
from jetprop.experiments.records import Figure, Record
from jetprop.experiments.registry import Context
from jetprop.experiments.training_table import train
from jetprop.manifolds import Cube

__all__ = ["NETWORKS", "demo", "recipe"]

WIDTHS = [1681, 128, 128, 128, 64, 9]
TRAINING_IMAGES, TEST_IMAGES, TEST_START = 4096, 2048, 97020
NETWORKS = ("values only", "+ first derivatives", "+ second derivatives")
SHOWN = (0, 1, 2, 3)
"""Which images of the test set the report draws."""


def recipe(order: int, seconds: float, seed: int = 0) -> dict[str, Any]:
    """How each network of the demonstration is trained: each method by the recipe that was found best for it.

    Args:
        order: 0, 1 or 2.
        seconds: training time.
        seed: of weights and order of images.
    """
    data = {"images": TRAINING_IMAGES, "test_images": TEST_IMAGES, "test_start": TEST_START}
    training = {"seconds": seconds, "seed": seed, "log_every": 100, "evaluate_every": 200}
    method: Method = ("values only", "first", "second")[order]
    return best(method, WIDTHS, data, training).values(full=False)


def demo(context: Context, seconds: float = 95.0) -> Record:
    """Train the three networks and record errors, speed, error curves, and what they say of some test images.

    Args:
        context: where to run.
        seconds: training time of each network.
    """
    record = Record(
        experiment="demo",
        scale="demo",
        command=f"jetprop demo --seconds {seconds:g} --seed {context.seed}",
        settings={name: recipe(order, seconds, context.seed) for order, name in enumerate(NETWORKS)},
    )
    images, targets = Cube().sample(max(SHOWN) + 1, start=TEST_START, order=0)
    networks, outputs = [], {}
    for order, name in enumerate(NETWORKS):
        result = train(context, f"demo {order}", record.settings[name])
        error, training = 100 * result.metrics["test_error"], result.seconds["training"]
        rate = result.steps * record.settings[name]["training"]["batch"] / training
        networks.append(
            {
                "name": name,
                "order": order,
                "error": error,
                "train_error": 100 * result.metrics["train_error"],
                "ratio": (networks[0]["error"] if networks else error) / error,
                "training_seconds": training,
                "compile_seconds": result.seconds["warmup"],
                "steps": result.steps,
                "images_per_second": rate,
                "rows_per_second": rate * (1, 7, 28)[order],
                "history": [[e["seconds"], 100 * e["test_error"]] for e in result.history if "test_error" in e],
            }
        )
        with torch.no_grad():
            outputs[name] = result.model.cpu().float()(images.value)[list(SHOWN)].tolist()
        record.figures.append(Figure("test error e", name, error))
        record.figures.append(Figure("times more accurate than values only", name, networks[-1]["ratio"], None, ""))
        record.seconds[name] = result.seconds["total"]
    record.data = {
        "networks": networks,
        "poses": [TEST_START + k for k in SHOWN],
        "outputs": outputs,
        "truth": targets.value[list(SHOWN)].tolist(),
        "training_images": TRAINING_IMAGES,
        "test_images": TEST_IMAGES,
        "widths": WIDTHS,
    }
    return record
