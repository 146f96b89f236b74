"""Training: recipes, the loop, checkpoints, progress.

`fit` runs a `Recipe`, read from TOML or built in Python. Its parts serve on their own: `Stored`, `Rendered` and `Fresh`
hand out batches, `Trainer` runs steps for any model, source and cost.
"""

from __future__ import annotations

from jetprop.training.assembly import check_model, open_manifold, open_source, open_test
from jetprop.training.augmentation import Moved
from jetprop.training.checkpoint import Checkpoint, CheckpointError, Checkpoints
from jetprop.training.clock import Clock
from jetprop.training.config import (
    AugmentationConfig,
    DataConfig,
    ModelConfig,
    ObjectiveConfig,
    OptimizerConfig,
    Phase,
    RandomDirectionsConfig,
    Recipe,
    RecipeError,
    RestConfig,
    RobustConfig,
    ScheduleConfig,
    TrainingConfig,
)
from jetprop.training.data import Batch, Fresh, Rendered, Source, Stored
from jetprop.training.evaluation import HeldOut, evaluate
from jetprop.training.loop import Budget, Trainer
from jetprop.training.models import MLP, build_model
from jetprop.training.optimizers import Optimizers, build_optimizers
from jetprop.training.phases import PhasePlan, Step, plan_phases
from jetprop.training.progress import Callback, LogFile, ProgressBar, read_log
from jetprop.training.record import run_record
from jetprop.training.result import Result, load_model
from jetprop.training.robust import Directed, RobustSetup
from jetprop.training.run import fit
from jetprop.training.schedules import Schedule

__all__ = [
    "MLP",
    "AugmentationConfig",
    "Batch",
    "Budget",
    "Callback",
    "Checkpoint",
    "CheckpointError",
    "Checkpoints",
    "Clock",
    "DataConfig",
    "Directed",
    "Fresh",
    "HeldOut",
    "LogFile",
    "ModelConfig",
    "Moved",
    "ObjectiveConfig",
    "OptimizerConfig",
    "Optimizers",
    "Phase",
    "PhasePlan",
    "ProgressBar",
    "RandomDirectionsConfig",
    "Recipe",
    "RecipeError",
    "Rendered",
    "RestConfig",
    "Result",
    "RobustConfig",
    "RobustSetup",
    "Schedule",
    "ScheduleConfig",
    "Source",
    "Step",
    "Stored",
    "Trainer",
    "TrainingConfig",
    "build_model",
    "build_optimizers",
    "check_model",
    "evaluate",
    "fit",
    "load_model",
    "open_manifold",
    "open_source",
    "open_test",
    "plan_phases",
    "read_log",
    "run_record",
]
