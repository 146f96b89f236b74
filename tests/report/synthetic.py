"""Records as runs leave them, with invented numbers: outputs are the truth plus noise."""

from __future__ import annotations

from typing import Any

import torch

from jetprop.experiments.records import Figure, Record
from jetprop.manifolds import Cube

NAMES = ("values only", "+ first derivatives", "+ second derivatives")
ERRORS = (7.41, 1.93, 1.08)
POSES = (97020, 97023)
ENVIRONMENT: dict[str, Any] = {
    "created": "2025-01-01T00:00:00+00:00",
    "packages": {"jetprop": "0.1.0"},
    "device": "cpu",
}


def demo_record() -> Record:
    cube, noise = Cube(), torch.Generator().manual_seed(0)
    truth = torch.cat([cube.outputs(cube.poses(1, start=pose)) for pose in POSES])
    networks, outputs = [], {}
    for order, (name, error) in enumerate(zip(NAMES, ERRORS, strict=True)):
        off = 0.003 * error * torch.randn(truth.shape, generator=noise, dtype=torch.float64)
        outputs[name] = (truth + off).tolist()
        networks.append(
            {
                "name": name,
                "order": order,
                "error": error,
                "train_error": 0.9 * error,
                "ratio": ERRORS[0] / error,
                "training_seconds": 60.0 + order / 10,
                "compile_seconds": 5.0 * order,
                "steps": 9000 // (1 + order),
                "images_per_second": 9600 / (1 + order),
                "rows_per_second": 9600.0,
                "history": [[t, error * (1 + 60 / t)] for t in (5.0, 20.0, 40.0, 60.0)],
            }
        )
    return Record(
        "demo",
        "demo",
        "jetprop demo --seconds 60",
        {name: {"order": order, "batch": 64} for order, name in enumerate(NAMES)},
        figures=[Figure("test error e", name, error) for name, error in zip(NAMES, ERRORS, strict=True)],
        notes=["One seed."],
        seconds={name: 66.0 for name in NAMES},
        environment=ENVIRONMENT,
        data={
            "networks": networks,
            "poses": list(POSES),
            "outputs": outputs,
            "truth": truth.tolist(),
            "training_images": 4096,
            "test_images": 2048,
            "widths": [1681, 128, 128, 128, 64, 9],
        },
    )


def table_record() -> Record:
    """With places in which only one of the two values is there, and one in which none is."""
    return Record(
        "avrutskiy2023 table2",
        "cpu",
        "jetprop reproduce avrutskiy2023 table2",
        {"seed": 0},
        figures=[
            Figure("training", "0.6", 0.1634, 0.16),
            Figure("training", "1.5", None, 0.11),
            Figure("test", "0.6", 0.1712, 0.17),
            Figure("test", "1.5", 0.1318, 0.12),
            Figure("test", "4", None, 0.075),
            Figure("test", "12", 0.0801),
        ],
        notes=["L = 2048 was not run."],
        seconds={"training": 812.0},
        environment=ENVIRONMENT,
    )
