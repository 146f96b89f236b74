"""Recipes: everything that decides a training run, as one validated TOML file."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from jetprop.objectives.directions import mixture_of
from jetprop.objectives.random_directions import Law
from jetprop.training.complaints import complaints
from jetprop.training.objective_config import AugmentationConfig, ObjectiveConfig, Phase, RobustConfig, Section

__all__ = [
    "AugmentationConfig",
    "DataConfig",
    "ModelConfig",
    "ObjectiveConfig",
    "OptimizerConfig",
    "Phase",
    "RandomDirectionsConfig",
    "Recipe",
    "RecipeError",
    "RestConfig",
    "RobustConfig",
    "ScheduleConfig",
    "TrainingConfig",
]

Precision = Literal["32-true", "32-medium", "tf32", "bf16-mixed", "64-true"]


class RecipeError(ValueError):
    """A recipe that cannot be run; the message names the place, what stands there, and what to write."""


class ModelConfig(Section):
    """`[model]`: the network.

    Args:
        kind: "mlp", or "factory" for a callable of yours (understood when `factory` is given).
        widths: of the layers, inputs and outputs included: `[1681, 256, 256, 256, 128, 9]`.
        activation: of the hidden layers, a name from `torch.nn.functional` or `torch`; the output layer is linear.
        init: "avrutskiy2023" (section 2.4) or "torch" (the defaults of `nn.Linear`).
        factory: "package.module:callable", called with `options`, returns an `nn.Module`.
        options: keyword arguments of the factory.
    """

    kind: Literal["mlp", "factory"] = "mlp"
    widths: list[int] = Field(default_factory=list)
    activation: str = "sigmoid"
    init: Literal["avrutskiy2023", "torch"] = "avrutskiy2023"
    factory: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _understood(cls, values: Any) -> Any:  # noqa: ANN401
        if isinstance(values, dict) and "factory" in values and "kind" not in values:
            return {**values, "kind": "factory"}
        return values

    @model_validator(mode="after")
    def _complete(self) -> ModelConfig:
        if self.kind == "factory":
            if not self.factory:
                raise ValueError('kind = "factory" needs factory = "package.module:callable"')
            for name in ("widths", "activation", "init"):
                if getattr(self, name) != type(self).model_fields[name].get_default(call_default_factory=True):
                    raise ValueError(f'{name} belongs to kind = "mlp"; give it to the factory under [model.options]')
        else:
            if self.factory or self.options:
                raise ValueError('factory and options belong to kind = "factory"')
            if len(self.widths) < 2 or any(width < 1 for width in self.widths):
                raise ValueError(
                    f"widths = {self.widths}: an mlp has at least an input and an output layer, each of width ≥ 1, "
                    "e.g. widths = [1681, 256, 256, 256, 128, 9]"
                )
        return self


class RandomDirectionsConfig(Section):
    """`[data] directions = {random = k}`: k random directions for each sample and step instead of all.

    Args:
        random: how many.
        law: "gaussian" or "rademacher".
    """

    random: int = Field(ge=1)
    law: Law = "gaussian"


class DataConfig(Section):
    """`[data]`: what is trained on and tested on.

    Args:
        manifold: "cube", or "package.module:Class" of your own (`jetprop.manifolds.Manifold`).
        options: keyword arguments of its constructor.
        images: how many poses to train on.
        fresh: train on new poses every step, without end, skipping the test set; `images` then only sets how many of
            them the normalizers and standard deviations are measured on.
        start: number of the first training pose.
        order: the highest derivative.
        storage: "memory" (rendered once, on the training device if they fit) or "render" (again for each batch, in
            bounded memory); both train on the same batches.
        directions: "all" degrees of freedom, or `{random = k, law = "gaussian"}`.
        test_images: how many poses to test on; 0 for no test.
        test_start: number of the first test pose.
    """

    manifold: str = "cube"
    options: dict[str, Any] = Field(default_factory=dict)
    images: int = Field(default=97020, ge=1)
    fresh: bool = False
    start: int = Field(default=0, ge=0)
    order: int = Field(default=2, ge=0)
    storage: Literal["memory", "render"] = "memory"
    directions: Literal["all"] | RandomDirectionsConfig = "all"
    test_images: int = Field(default=20160, ge=0)
    test_start: int = Field(default=97020, ge=0)

    @model_validator(mode="after")
    def _apart(self) -> DataConfig:
        if isinstance(self.directions, RandomDirectionsConfig) and self.order == 0:
            raise ValueError("directions = {random = …} need order ≥ 1")
        overlap = self.start < self.test_start + self.test_images and self.test_start < self.start + self.images
        if self.test_images and overlap and not self.fresh:
            raise ValueError(
                f"training poses {self.start} to {self.start + self.images - 1} and test poses {self.test_start} to "
                f"{self.test_start + self.test_images - 1} overlap; set test_start = {self.start + self.images} or more"
            )
        return self


class RestConfig(Section):
    """`[optimizer.rest]`: what trains the parameters that muon does not.

    Args:
        name: any class of `torch.optim` but Muon.
        rate: its rate; it follows the schedule in proportion.
        options: its further arguments.
    """

    name: str = "adam"
    rate: float = Field(default=1e-3, gt=0)
    options: dict[str, Any] = Field(default_factory=dict)


class OptimizerConfig(Section):
    """`[optimizer]`: how steps are made.

    Args:
        name: "adam", "muon", or any class of `torch.optim` (case does not matter).
        rate: the learning rate that the schedule starts from.
        options: further arguments of the class: betas, eps, weight_decay, momentum, ….
        matrices: muon only: name patterns (`*` and `?`) of the 2-D weights that it trains; by default those between
            hidden layers.
        rest: muon only: what trains everything else.
    """

    name: str = "adam"
    rate: float = Field(default=1e-3, gt=0)
    options: dict[str, Any] = Field(default_factory=dict)
    matrices: list[str] | None = None
    rest: RestConfig | None = None

    @model_validator(mode="after")
    def _muon_only(self) -> OptimizerConfig:
        if self.name.lower() != "muon":
            for name in ("matrices", "rest"):
                if getattr(self, name) is not None:
                    raise ValueError(f'{name} belongs to name = "muon", the optimizer is {self.name!r}')
        return self


class ScheduleConfig(Section):
    """`[schedule]`: the learning rate as a function of progress in [0, 1].

    Args:
        kind: "constant", "cosine" (half a period, down to `final`) or "steps".
        warmup: fraction of the training over which the rate rises linearly from 0; any kind.
        final: cosine only: the last rate, 0 by default.
        steps: steps only: pairs [fraction, rate]; from that fraction of the training on, that rate.
    """

    kind: Literal["constant", "cosine", "steps"] = "constant"
    warmup: float = Field(default=0.0, ge=0, lt=1)
    final: float | None = Field(default=None, ge=0)
    steps: list[list[float]] = Field(default_factory=list)

    @model_validator(mode="after")
    def _fits(self) -> ScheduleConfig:
        if self.kind != "cosine" and self.final is not None:
            raise ValueError(f'final belongs to kind = "cosine", the kind is "{self.kind}"')
        if (self.kind == "steps") != bool(self.steps):
            raise ValueError('kind = "steps" and steps = [[fraction, rate], …] belong together')
        for pair in self.steps:
            if len(pair) != 2 or not 0 <= pair[0] < 1 or not pair[1] > 0:
                raise ValueError(f"{pair} is no step; write [fraction in [0, 1), rate > 0]")
        fractions = [pair[0] for pair in self.steps]
        if fractions != sorted(set(fractions)):
            raise ValueError(f"steps are at {fractions}; they must be in ascending order, each fraction once")
        return self


class TrainingConfig(Section):
    """`[training]`: how long, how, and where.

    Args:
        batch: samples in each step, over all processes together.
        epochs: budget, passes over the training set; its last incomplete batch is left out.
        steps: budget, optimizer steps.
        seconds: budget, training time: without preparation, warm-up (compilation and the first step of each phase),
            evaluation and checkpoints. Exactly one of the three budgets.
        clock: what seconds are: "wall", or "cpu", the processor's time of all threads together, so that runs on a busy
            machine can be compared (with `threads = 1` the two agree on a quiet one).
        seed: of weights, order of batches, and random directions.
        precision: "32-true"; "32-medium" and "tf32" (float32 with matrix products at torch's precision "medium" and
            "high": on a GPU TF32 or faster; "medium" sends a CPU's products to oneDNN, on some CPUs twice as fast: see
            the page on performance); "bf16-mixed" (autocast in the model, cost and weights in float32); "64-true".
        devices: processes, one device each.
        accelerator: "auto", "cpu", "cuda", "mps".
        threads: of each process on the CPU; None leaves PyTorch's choice.
        evaluate_every: steps between evaluations on the test set; 0 evaluates at the end only.
        checkpoint_every: steps between checkpoints; 0 for none by steps.
        checkpoint_seconds: seconds between checkpoints; 0 for none by time.
        log_every: steps between lines of the log, averages over which they are, and checks for finiteness.
        compile: "auto" (kernels of the engine, where large enough), "never", or "step" (`torch.compile` of model and
            cost).
    """

    batch: int = Field(ge=1)
    epochs: int | None = Field(default=None, ge=1)
    steps: int | None = Field(default=None, ge=1)
    seconds: float | None = Field(default=None, gt=0)
    clock: Literal["wall", "cpu"] = "wall"
    seed: int = Field(default=0, ge=0, lt=2**31)
    precision: Precision = "32-true"
    devices: int = Field(default=1, ge=1)
    accelerator: Literal["auto", "cpu", "cuda", "gpu", "mps"] = "auto"
    threads: int | None = Field(default=None, ge=1)
    evaluate_every: int = Field(default=0, ge=0)
    checkpoint_every: int = Field(default=0, ge=0)
    checkpoint_seconds: float = Field(default=300.0, ge=0)
    log_every: int = Field(default=50, ge=1)
    compile: Literal["auto", "never", "step"] = "auto"

    @model_validator(mode="after")
    def _one_budget(self) -> TrainingConfig:
        given = [name for name in ("epochs", "steps", "seconds") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of epochs, steps and seconds, got {', '.join(given) or 'none'}")
        if self.batch % self.devices:
            raise ValueError(f"batch = {self.batch} cannot be shared by devices = {self.devices} equally")
        return self


class Recipe(Section):
    r"""A training run, whole.

    Read one with `Recipe.load`; change some keys with `Recipe.replace`.

    Args:
        model: the network; None if one is handed to `fit`.
        data: training and test set.
        objective: the cost.
        robust: directions of the input space for the robust terms of the cost.
        augmentation: moved inputs; None for the inputs as they are.
        optimizer: how steps are made.
        schedule: the learning rate over time.
        training: budget, seed, precision, devices, checkpoints.

    Example:
        >>> from jetprop.training import Recipe
        >>> recipe = Recipe.parse('''
        ... [model]
        ... widths = [1681, 64, 9]
        ... [training]
        ... batch = 64
        ... steps = 100
        ... ''')
        >>> recipe.replace({"training.seed": 7}).training.seed
        7
        >>> Recipe.parse("[training]\nbatch = 64\nsteps = 1\nsed = 3")
        Traceback (most recent call last):
        jetprop.training.config.RecipeError: the recipe cannot be run:
          [training] has no key "sed"; did you mean "seed"? Keys: accelerator, batch, ...
    """

    model: ModelConfig | None = None
    data: DataConfig = Field(default_factory=DataConfig)
    objective: ObjectiveConfig = Field(default_factory=ObjectiveConfig)
    robust: RobustConfig = Field(default_factory=RobustConfig)
    augmentation: AugmentationConfig | None = None
    optimizer: OptimizerConfig = Field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = Field(default_factory=ScheduleConfig)
    training: TrainingConfig

    @classmethod
    def load(cls, path: str | Path) -> Recipe:
        """From a TOML file, or a JSON file as runs keep it.

        Raises:
            RecipeError: the file cannot be read, is malformed, or holds what cannot be run.
        """
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f"the recipe {path} cannot be read: {error}") from error
        if path.suffix == ".json":
            try:
                return cls.build(json.loads(text), source=str(path))
            except json.JSONDecodeError as error:
                raise RecipeError(f"{path} is no JSON: {error}") from error
        return cls.parse(text, source=str(path))

    @classmethod
    def parse(cls, text: str, source: str = "the recipe") -> Recipe:
        """From TOML text.

        Raises:
            RecipeError: as `load`.
        """
        try:
            values = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise RecipeError(f"{source} is no TOML: {error}") from error
        return cls.build(values, source=source)

    @classmethod
    def build(cls, values: Mapping[str, Any], source: str = "the recipe") -> Recipe:
        """From nested dictionaries.

        Raises:
            RecipeError: as `load`.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            lines = "\n  ".join(dict.fromkeys(complaints(error, cls)))
            raise RecipeError(f"{source} cannot be run:\n  {lines}") from None

    def replace(self, changes: Mapping[str, Any]) -> Recipe:
        """A copy with some keys changed, named with dots: `{"training.seed": 1, "model.widths": [1681, 64, 9]}`.

        A new budget (`training.steps`, …) takes the place of the old one.

        Raises:
            RecipeError: a key is unknown, or the result cannot be run.
        """
        values = self.values(full=False)
        for dotted, value in changes.items():
            section, *rest = dotted.split(".")
            budgets = ("epochs", "steps", "seconds")
            if section == "training" and rest and rest[0] in budgets and value is not None:
                for budget in budgets:
                    values.get("training", {}).pop(budget, None)
            place: Any = values
            for part in dotted.split(".")[:-1]:
                place = place.setdefault(part, {}) if isinstance(place, dict) else None
            if not isinstance(place, dict):
                raise RecipeError(f"{dotted!r} leads into something that is no table")
            place[dotted.split(".")[-1]] = value
        return type(self).build(values)

    def values(self, full: bool = True) -> dict[str, Any]:
        """Nested dictionaries of plain values, as JSON would hold them: all keys, or only those that were given."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=not full, exclude_unset=not full)

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        orders = self.data.order + 1
        for where, weights, robust in self._stretches():
            if len(weights) != orders:
                raise ValueError(f"{where} has {len(weights)} weights, [data] order = {self.data.order} needs {orders}")
            if any(not (math.isfinite(w) and w >= 0) for w in weights) or not (any(weights) or robust):
                raise ValueError(f"{where} = {weights}: weights are finite numbers ≥ 0, not all zero")
            self._check_robust(where, robust)
            if self.augmentation is not None and (any(weights[1:]) or not weights[0] or robust):
                raise ValueError(
                    f"{where}: [augmentation] moves inputs, and only the value's target is known there; give order 0 a "
                    "weight > 0, all others weight 0, and no robust terms"
                )
        named = bool(self.objective.robust) or any(phase.robust for phase in self.objective.phases)
        if self.robust != RobustConfig() and not named:
            raise ValueError(
                "[robust] describes directions, but [objective] robust names no term; add e.g. R1_low = 1.0"
            )
        if self.training.epochs is not None and self.data.fresh:
            raise ValueError("[data] fresh = true has no epochs; give [training] steps or seconds instead")
        if not self.data.fresh and self.training.batch > self.data.images:
            raise ValueError(
                f"[training] batch = {self.training.batch} is more than [data] images = {self.data.images}; lower it"
            )
        return self

    def _check_robust(self, where: str, robust: dict[str, float]) -> None:
        orders = self.objective.robust_orders(robust)
        for kind, order in orders.items():
            try:
                mixture_of(kind, self.robust.classes)  # type: ignore[arg-type]
            except ValueError as error:
                raise ValueError(f"{where}: {error} under [robust.classes]") from None
            if self.robust.targets == "oracle" and order > self.data.order:
                raise ValueError(
                    f'{where}: the oracle\'s derivatives of order {order} along directions of class "{kind}" need '
                    f"[data] order = {order}, it is {self.data.order}; weight 0 for the orders that the network need "
                    "not learn"
                )
        if orders and self.data.directions != "all":
            raise ValueError(f'{where}: robust terms need [data] directions = "all"')

    def _stretches(self) -> Iterator[tuple[str, list[float], dict[str, float]]]:
        """Where weights stand, those of the orders, and those of the robust terms there."""
        objective = self.objective
        first = [1.0] * (self.data.order + 1) if objective.weights is None else objective.weights
        if not objective.phases or objective.phases[0].from_ > 0 or objective.weights is not None:
            yield "[objective] weights", first, objective.robust_of(None)
        for k, phase in enumerate(objective.phases):
            yield f"[[objective.phases]] number {k + 1}", phase.weights, objective.robust_of(phase)

    def __str__(self) -> str:
        return json.dumps(self.values(full=False), indent=2)
