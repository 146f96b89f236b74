"""Training Image Derivatives (avrutskiy2023): figure 1, tables 1, 2 and 6, and the adversarial step of section 2.5."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from jetprop.experiments.recipes import ORDERS, Method, best
from jetprop.experiments.records import Figure, Record
from jetprop.experiments.registry import Context, Scale, experiment
from jetprop.experiments.training_table import Cell, train, train_cells
from jetprop.manifolds import Cube
from jetprop.objectives import relative_error

__all__ = ["PUBLISHED", "recipe"]

WIDTHS = {"0.6": 256, "1.5": 512, "4": 1024, "12": 2048}
"""L of 1681-L-L-L-128-9, by the number of weights in millions that the paper calls the networks by."""

PUBLISHED: dict[str, dict[str, dict[str, float]]] = {
    "table1": {
        "0.6": {"training": 0.80, "test": 1.04, "time": 1.5},
        "1.5": {"training": 0.40, "test": 0.60, "time": 3},
        "4": {"training": 0.26, "test": 0.43, "time": 6},
        "12": {"training": 0.26, "test": 0.45, "time": 16},
    },
    "table2": {
        "0.6": {"training": 0.16, "test": 0.17},
        "1.5": {"training": 0.11, "test": 0.12},
        "4": {"training": 0.067, "test": 0.075},
        "12": {"training": 0.065, "test": 0.072},
    },
    "table6": {
        "0.6": {"training": 0.111, "test": 0.112},
        "1.5": {"training": 0.044, "test": 0.046},
        "4": {"training": 0.017, "test": 0.021},
        "12": {"training": 0.013, "test": 0.018},
    },
}
"""Errors e of equation (3) in per cent, and minutes on an A10, as printed."""

SHOWN, DERIVED = (12, 17, 23, 4, 32, 35, 9, 29, 5, 26), 30
"""Numbers of training images: those of figure 1, chosen to show the range, and the one whose derivatives are shown."""

METHOD: dict[str, Method] = {"table1": "values only", "table2": "first", "table6": "second"}
CPU_SECONDS = 120.0
"""The same for every network, of one processor core."""
COST = {
    "smoke": "about a second",
    "cpu": "five minutes of one core; resumable, and --jobs 2 halves it",
    "paper": "hours on a GPU; resumable",
}


def recipe(table: str, width: int, scale: Scale, seed: int = 0) -> dict[str, Any]:
    """How a network of table 1, 2 or 6 is trained.

    `paper`: section 2.4 to the letter (97020 and 20160 images, 42 batches, 2000 epochs, sigmoids, initial ranges, Adam,
    rates), for table 6 with the three phases of section 4.2. `cpu`: the same network on 8192 images, every method for
    the same time, by the recipe that was found best for it. `smoke`: a tiny network for a few steps.
    """
    order = ORDERS[METHOD[table]]
    if scale == "paper":
        steps, phases = [[0.0, 1e-3], [1950 / 2000, 1e-4]], []
        if order == 2:
            steps.append([1975 / 2000, 1e-5])
            phases.append({"from": 1975 / 2000, "weights": [1.0, 1.0, 0.0]})
        return {
            "model": {"widths": [1681, width, width, width, 128, 9]},
            "data": {"order": order},
            "objective": {"weights": [1.0] * (order + 1), "phases": phases},
            "optimizer": {"name": "adam", "rate": 1e-3},
            "schedule": {"kind": "steps", "steps": steps},
            "training": {"batch": 2310, "epochs": 2000, "seed": seed, "precision": "tf32", "log_every": 500},
        }
    small = scale == "smoke"
    widths = [1681, 16, 16, 16, 8, 9] if small else [1681, width, width, width, 128, 9]
    data = {"images": 64 if small else 8192, "test_images": 32 if small else 4096}
    training = {
        **({"batch": 16, "steps": 8} if small else {"seconds": CPU_SECONDS}),
        "clock": "cpu",
        "threads": 1,
        "seed": seed,
        "log_every": 8 if small else 100,
    }
    return best(METHOD[table], widths, data, training).values(full=False)


def _columns(scale: Scale) -> dict[str, int]:
    return {"0.6": 256} if scale == "smoke" else {"0.6": 256, "1.5": 512} if scale == "cpu" else WIDTHS


def _training_table(table: str, context: Context) -> Record:
    cells = [
        Cell(column, recipe(table, width, context.scale, context.seed), PUBLISHED[table][column])
        for column, width in _columns(context.scale).items()
    ]
    notes = {
        "smoke": ["Proves that it runs; the figures mean nothing."],
        "cpu": [
            f"8192 training images and {CPU_SECONDS:.0f} s of one core a network instead of 97020 and 2000 epochs; "
            "SiLU, Muon and cosine decay instead of sigmoids, Adam and steps."
        ],
        "paper": ["The paper's settings."],
    }
    command = f"jetprop reproduce avrutskiy2023 {table} --scale {context.scale} --seed {context.seed}"
    return train_cells(context, f"avrutskiy2023 {table}", cells, command, notes[context.scale])


@experiment("avrutskiy2023 table1", "Error after conventional training", **COST)
def table1(context: Context) -> Record:
    """Table 1: values only."""
    return _training_table("table1", context)


@experiment("avrutskiy2023 table2", "Error after first-order training", **COST)
def table2(context: Context) -> Record:
    """Table 2: with first derivatives, E = E0 + E1."""
    return _training_table("table2", context)


@experiment("avrutskiy2023 table6", "Error after second-order training", **COST)
def table6(context: Context) -> Record:
    """Table 6: with second derivatives, E = E0 + E1 + E2, the highest dropped at the end."""
    return _training_table("table6", context)


@experiment("avrutskiy2023 fig1", "Images of the cube", smoke="about a second", cpu="seconds", paper="seconds")
def fig1(context: Context) -> Record:
    """Figure 1, the derivatives of figures 3 and 8, and what the text says of them: spread of outputs, sizes.

    The record keeps the numbers of the images; reports render them anew.
    """
    count = {"smoke": 64, "cpu": 2048, "paper": 97020}[context.scale]
    cube = Cube()
    norms, outputs = torch.zeros(28, dtype=torch.float64), []
    for start in range(0, count, 512):
        size = min(512, count - start)
        image, target = cube.sample(size, start=start, order=2)
        norms += image.rows.flatten(2).norm(dim=2).double().sum(1)
        outputs.append(target.value)
        labels = image.basis.labels
    norms /= count
    rotations = torch.stack(
        [norms[r] for r, label in enumerate(labels) if isinstance(label, tuple) and len(label) == 2 and max(label) < 3]
    )
    deviation = torch.cat(outputs).std(0)
    figures = [
        Figure("output standard deviation, mean over outputs", "", float(deviation.mean()), 0.3, ""),
        Figure("norm of rotational second derivatives, mean", "", float(rotations.mean()), 40.0, ""),
    ]
    return Record(
        experiment="avrutskiy2023 fig1",
        scale=context.scale,
        command=f"jetprop reproduce avrutskiy2023 fig1 --scale {context.scale}",
        settings={"images": count},
        figures=figures,
        notes=[
            "The kernel is normalised in two dimensions; with the prefactor printed in (49) images would be scaled by "
            "σ√(2π) and their derivatives with them."
        ],
        data={
            "norms": {str(label): round(float(n), 4) for label, n in zip(labels, norms, strict=True)},
            "shown": list(SHOWN),
            "derived": DERIVED,
        },
    )


@experiment("avrutskiy2023 adversary", "The adversarial step of 2.5 and the remark of 3.2", **COST)
def adversary(context: Context) -> Record:
    """Gradients of trained networks with respect to the image, and what small steps along them do to the error.

    The networks are those of tables 1 and 2 (the first column); a perturbation of norm 0.02 should "negate most
    improvements" of first-order training.
    """
    count = {"smoke": 16, "cpu": 512, "paper": 2048}[context.scale]
    image, target = Cube().sample(count, start=97020, order=0)
    deviation = torch.cat([Cube().sample(2048, start=0, order=0)[1].value]).std(0)
    record = Record(
        experiment="avrutskiy2023 adversary",
        scale=context.scale,
        command=f"jetprop reproduce avrutskiy2023 adversary --scale {context.scale} --seed {context.seed}",
        settings={"images": count, "networks": {}},
        notes=[
            "The step of norm ε goes, for each image, along the direction that moves the nine outputs furthest "
            "to first order: the leading right singular vector of the network's Jacobian."
        ],
    )
    for table, name in (("table1", "values only"), ("table2", "first derivatives")):
        chosen = recipe(table, 256, context.scale, context.seed)
        record.settings["networks"][name] = chosen
        model = train(context, f"avrutskiy2023 {table} {context.scale} 0.6", chosen).model.cpu().float()
        gradient, direction = _steepest(model, image.value)
        predicted, found = _first_output_step(model, image.value, gradient, 1.0)
        record.figures += [
            Figure(
                "norm of the gradient of output 1, mean", name, float(gradient.flatten(1).norm(dim=1).mean()), 0.71, ""
            ),
            Figure("change of output 1 at ε = 1, to first order", name, predicted, 0.5, ""),
            Figure("change of output 1 at ε = 1, found", name, found, None, ""),
        ]
        for norm in (0.0, 0.005, 0.01, 0.02, 0.05):
            with torch.no_grad():
                error = relative_error(model(image.value + norm * direction), target.value, deviation)
            record.figures.append(Figure(f"e after a step of norm {norm:g}", name, 100 * error))
    return record


def _steepest(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient of the first output, and the unit direction that moves all outputs furthest; `[n, 41, 41]` each."""
    images = images.clone().requires_grad_()
    outputs = model(images)
    jacobian = torch.stack(
        [torch.autograd.grad(outputs[:, k].sum(), images, retain_graph=True)[0] for k in range(outputs.shape[1])], dim=1
    )
    flat = jacobian.flatten(2)
    _, vectors = torch.linalg.eigh(flat @ flat.mT)
    direction = (vectors[:, None, :, -1] @ flat).squeeze(1)
    sign = torch.sign((direction * flat[:, 0]).sum(1, keepdim=True))
    unit = sign * direction / direction.norm(dim=1, keepdim=True)
    return jacobian[:, 0].detach(), unit.reshape(images.shape).detach()


@torch.no_grad()
def _first_output_step(model: nn.Module, images: Tensor, gradient: Tensor, epsilon: float) -> tuple[float, float]:
    predicted = epsilon * gradient.flatten(1).square().sum(1)
    found = model(images + epsilon * gradient)[:, 0] - model(images)[:, 0]
    return float(predicted.mean()), float(found.mean())
