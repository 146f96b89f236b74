"""The estimator: fit, predict, predict derivatives, score, save and load."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import nn

from jetprop.estimators import options
from jetprop.estimators.labels import Labels
from jetprop.estimators.network import default_hidden, start, wavenumber
from jetprop.estimators.objective import Objective
from jetprop.estimators.optimize import Progress, Settings, eager_kernels, fit
from jetprop.estimators.persistence import read, write
from jetprop.estimators.scales import Scales
from jetprop.estimators.suspicions import warn_of_constants, warn_of_opposite_slopes
from jetprop.jets import Basis, Jet

__all__ = ["JetRegressor"]

Array = NDArray[np.float64]

SMALL = 1 << 15
"""Below this many rows times points times units a float64 step costs hardly more than a float32 one."""

CHUNK = 1 << 20
"""Numbers in the rows of the inputs that one call of a prediction may hold."""


class JetRegressor(RegressorMixin, BaseEstimator):
    """A network for tables whose labels include derivatives: surrogates, force fields, differential machine learning.

    An ordinary scikit-learn regressor, on the CPU, to which derivatives of y with respect to the columns of X may be
    given, first and second, all or some of them. Inputs and outputs are standardised inside, derivatives with them by
    the chain rule; what it predicts is in the units of the data. A transformer of X before it in a `Pipeline` is not
    part of that chain: derivatives are those with respect to the X that the regressor itself gets.

    It minimises Σ_k c_k E_k + alpha ‖W‖², see `jetprop.estimators.Objective`; with E_k the mean over partials of order
    k of the mean squared error, divided by the partial's mean square.

    Args:
        hidden: widths of the hidden layers; "auto": two of 24 + 4·inputs, 64 at most.
        activation: of the hidden layers, the name of a function of `torch.nn.functional` or `torch`: "sin", "tanh",
            "silu", "gelu", …; for second derivatives a smooth one.
        order_weights: c_0, c_1, c_2 ≥ 0 for values, first and second derivatives.
        solver: "lbfgs" (on growing parts of the data), "adam" (mini-batches, one cycle), or "auto": L-BFGS.
        max_iter: iterations of L-BFGS for each part of the data, or epochs of Adam, at most.
        max_seconds: stop after this time; None: no limit.
        clock: whether seconds are those on the wall, or of the processor, all threads together.
        tol: an iteration that improves on the best cost by a smaller fraction counts as no improvement.
        n_iter_no_change: stop after so many iterations in a row without improvement.
        early_stopping: hold out points, keep the weights that are best for them, and judge improvement by them.
        validation_fraction: the part of the points that is held out then.
        alpha: weight ≥ 0 of the squared weights.
        learning_rate: Adam's largest one.
        batch_size: points in a mini-batch of Adam; None: an eighth of them, 16 to 256.
        standardize: whether to standardise X. Choose False where the network knows the units, e.g. of coordinates.
        network: makes a network of its own from the numbers of inputs and outputs, `network(inputs, outputs)`, in place
            of the perceptron; it gets and returns standardised values, `[n, inputs]` to `[n, outputs]`.
        dtype: "float32" or "float64" of the fit; "auto": float64 where it costs hardly more. Predictions are float64.
        compile: let large fits compile their kernels: some seconds once, then up to twice as fast.
        random_state: seed of initial weights, order of points and held-out points.
        verbose: show a progress bar.

    Attributes:
        network_: the fitted network, float64, in standard units.
        scales_: means and scales of inputs and outputs, `Scales`.
        history_: one dictionary for each iteration: iteration, seconds, fraction of the data, cost, held_out.
        status_: why fitting ended: "converged", "stalled" (the line search found nothing lower in this precision),
            "early_stopped", "max_iter" or "max_seconds".
        n_iter_: iterations made.
        n_outputs_: number of outputs.
        n_features_in_: number of inputs.

    Example:
        >>> import numpy as np
        >>> from jetprop.estimators import JetRegressor
        >>> X = np.linspace(-1, 1, 12)[:, None]
        >>> model = JetRegressor(random_state=0).fit(X, np.sin(3 * X[:, 0]), dydx=3 * np.cos(3 * X))
        >>> bool(model.score(X, np.sin(3 * X[:, 0])) > 0.999)
        True
        >>> model.predict_derivatives(X).shape
        (12, 1)
    """

    n_features_in_: int
    feature_names_in_: NDArray[np.object_]

    def __init__(
        self,
        hidden: Sequence[int] | Literal["auto"] = "auto",
        activation: str = "sin",
        *,
        order_weights: Sequence[float] = (1.0, 1.0, 1.0),
        solver: Literal["auto", "lbfgs", "adam"] = "auto",
        max_iter: int = 300,
        max_seconds: float | None = None,
        clock: Literal["wall", "cpu"] = "wall",
        tol: float = 1e-4,
        n_iter_no_change: int = 10,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        alpha: float = 1e-5,
        learning_rate: float = 1e-2,
        batch_size: int | None = None,
        standardize: bool = True,
        network: Callable[[int, int], nn.Module] | None = None,
        dtype: Literal["auto", "float32", "float64"] = "auto",
        compile: bool = False,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.hidden = hidden
        self.activation = activation
        self.order_weights = order_weights
        self.solver = solver
        self.max_iter = max_iter
        self.max_seconds = max_seconds
        self.clock = clock
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.alpha = alpha
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.standardize = standardize
        self.network = network
        self.dtype = dtype
        self.compile = compile
        self.random_state = random_state
        self.verbose = verbose

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        dydx: ArrayLike | None = None,
        d2ydx2: ArrayLike | None = None,
        *,
        sample_weight: ArrayLike | None = None,
        dydx_weight: ArrayLike | None = None,
        d2ydx2_weight: ArrayLike | None = None,
    ) -> JetRegressor:
        """Fit the network to values and derivatives.

        NaN stands for a label that is not known, also in y where the sample has derivatives. For a force field X holds
        coordinates, y energies, and `dydx = -forces`.

        Args:
            X: `[n, inputs]`.
            y: `[n]` or `[n, outputs]`.
            dydx: ∂y/∂x, `[n, outputs, inputs]`, or `[n, inputs]` for one output.
            d2ydx2: ∂²y/∂x∂x, `[n, outputs, inputs, inputs]`, or `[n, inputs, inputs]` for one output; symmetric, of a
                mixed derivative one entry is enough.
            sample_weight: ≥ 0, `[n]`, of all labels of a sample.
            dydx_weight: ≥ 0, broadcastable to dydx, of each partial, besides the weight of its sample.
            d2ydx2_weight: the same for d2ydx2.

        Raises:
            ValueError: data or an option cannot be used; says what arrived and what was expected.
        """
        options.check(self)
        table = self._table(X, fitting=True)
        labels = Labels.of(table, y, dydx, d2ydx2, sample_weight, dydx_weight, d2ydx2_weight)
        warn_of_constants(table, labels)
        table, labels = labels.used(self.order_weights).merged(table)
        random = check_random_state(self.random_state)
        seed = int(random.randint(2**31 - 1))
        train, held = self._split(labels, random)
        self.scales_ = Scales.of(table[train], labels[train], self.standardize)
        standard, inputs = self.scales_.labels(labels), self.scales_.inputs(table)
        warn_of_opposite_slopes(inputs, standard)
        self.n_outputs_ = labels.orders[0].shape[1]
        self._flat = labels.flat
        model = self._start(wavenumber(standard[train]), seed)
        dtype = self._dtype(standard, model)
        objective = Objective.of(inputs[train], standard[train], tuple(self.order_weights), random, dtype)
        held_out = None
        if len(held):
            held_out = Objective.of(inputs[held], standard[held], tuple(self.order_weights), random, dtype)
        self._run(model.to(dtype), objective, held_out, seed)
        return self

    def _table(self, X: ArrayLike, fitting: bool) -> Array:
        """X as `[n, inputs]` in float64; fitting decides how many inputs there are."""
        checked: Any = validate_data(
            self, cast(Any, X), dtype=np.float64, reset=fitting, ensure_min_samples=2 if fitting else 1
        )
        return checked

    def _split(self, labels: Labels, random: np.random.RandomState) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        points = np.arange(len(labels))
        if not self.early_stopping:
            return points, points[:0]
        count = max(1, round(self.validation_fraction * len(points)))
        shuffled = random.permutation(points)
        valued = np.isnan(labels.orders[0][shuffled]).any(1)  # samples without values go first into the training set
        shuffled = np.concatenate([shuffled[valued], shuffled[~valued]])
        train, held = np.sort(shuffled[:-count]), np.sort(shuffled[-count:])
        if len(train) < 2 or not (labels.weights[0][train] > 0).any(0).all():
            raise ValueError(
                f"early_stopping holds {count} of {len(points)} samples out, which leaves too few values to fit; lower "
                "validation_fraction, or give more samples"
            )
        return train, held

    def _start(self, roughness: float, seed: int) -> nn.Module:
        inputs, outputs = self.n_features_in_, self.n_outputs_
        if self.network is None:
            hidden = default_hidden(inputs) if isinstance(self.hidden, str) else tuple(self.hidden)
            return start(inputs, hidden, outputs, self.activation, roughness, seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return options.checked_network(self.network(inputs, outputs), inputs, outputs)

    def _dtype(self, labels: Labels, model: nn.Module) -> torch.dtype:
        if self.dtype != "auto":
            return getattr(torch, self.dtype)
        widest = max(max(p.shape) for p in model.parameters() if p.dim())
        numbers = widest * sum(v.size for v in labels.orders.values())
        return torch.float64 if numbers < SMALL else torch.float32

    def _run(self, model: nn.Module, objective: Objective, held_out: Objective | None, seed: int) -> None:
        settings = Settings(
            solver="adam" if self.solver == "adam" else "lbfgs",
            max_iter=self.max_iter,
            max_seconds=self.max_seconds,
            tol=self.tol,
            patience=self.n_iter_no_change,
            alpha=self.alpha,
            learning_rate=self.learning_rate,
            batch_size=self.batch_size,
            seed=seed,
        )
        progress = Progress(time.process_time if self.clock == "cpu" else time.perf_counter)
        with options.bar(self.verbose, settings) as progress.report:
            if self.compile:
                fit(model, objective, held_out, settings, progress)
            else:
                with eager_kernels():
                    fit(model, objective, held_out, settings, progress)
        self.network_ = model.double().eval()
        self.history_ = progress.history
        self.status_ = progress.status
        self.n_iter_ = len(progress.history)
        if self.status_ == "diverged":
            raise ValueError(
                f"fitting diverged at iteration {self.n_iter_}: the cost is not finite. Look for outliers in the "
                'labels, or try a smaller learning_rate, or dtype="float64"'
            )

    def predict(self, X: ArrayLike) -> Array:
        """Values, `[n]` or `[n, outputs]`, as y was given."""
        return self.predict_derivatives(X, order=0)

    def predict_derivatives(self, X: ArrayLike, order: int = 1) -> Array:
        """All partial derivatives of one order.

        Args:
            X: `[n, inputs]`.
            order: 0 for the values, 1, 2, ….

        Returns:
            `[n, outputs, inputs, inputs, …]`, as many axes of inputs as the order; without the axis of outputs if y had
            none.

        Raises:
            ValueError: the order is negative or no integer.
        """
        check_is_fitted(self, "network_")
        if not isinstance(order, (int, np.integer)) or isinstance(order, bool) or order < 0:
            raise ValueError(f"order is an integer ≥ 0, got {order!r}")
        table = self._table(X, fitting=False)
        inputs = table.shape[1]
        basis = Basis.full(inputs, int(order))
        rows = basis.rows_of_order(int(order))
        places = [(slice(None), *index) for index in np.ndindex(*[inputs] * int(order))]
        chosen = [rows.index(basis.row(*sorted(place[1:]))) for place in places]
        size = max(1, CHUNK // (len(basis) * inputs))
        found = []
        with eager_kernels(), torch.no_grad():
            for x in torch.as_tensor(self.scales_.inputs(table)).split(size):
                out = self.network_(Jet.seed(x, basis=basis) if order else x)
                found.append(out.rows[rows[0] : rows[-1] + 1][chosen] if isinstance(out, Jet) else out[None])
        columns = torch.cat(found, 1).permute(1, 2, 0).numpy()
        standard = columns.reshape(len(table), self.n_outputs_, *[inputs] * int(order))
        result = self.scales_.outputs(standard, int(order))
        return result[:, 0] if self._flat else result

    def score_derivatives(self, X: ArrayLike, derivatives: ArrayLike, order: int = 1) -> float:
        """R² of the partial derivatives of one order, averaged over outputs and partials; NaN labels are left out.

        Args:
            X: `[n, inputs]`.
            derivatives: of the shape that `predict_derivatives` returns.
            order: 1, 2, ….
        """
        predicted = self.predict_derivatives(X, order)
        given = np.asarray(derivatives, dtype=np.float64)
        if given.shape != predicted.shape:
            raise ValueError(f"derivatives have shape {list(given.shape)}, expected {list(predicted.shape)}")
        given, predicted = given.reshape(len(given), -1), predicted.reshape(len(given), -1)
        there = ~np.isnan(given)
        if not (there.sum(0) >= 2).any():
            raise ValueError("no partial has two labels or more, so there is no R² of derivatives")
        scores = [r2_score(g[t], p[t]) for g, p, t in zip(given.T, predicted.T, there.T, strict=True) if t.sum() >= 2]
        return float(np.mean(scores))

    def save(self, path: str | Path) -> None:
        """Write the fitted estimator to one safetensors file: weights, scales and options, nothing that is executed.

        Raises:
            CheckpointError: the file cannot be written.
        """
        check_is_fitted(self, "network_")
        write(self, Path(path))

    @classmethod
    def load(cls, path: str | Path, network: Callable[[int, int], nn.Module] | None = None) -> JetRegressor:
        """Read what `save` wrote.

        Args:
            path: the file.
            network: the maker of the network, if it was fitted with one of your own.

        Raises:
            CheckpointError: the file is missing, damaged, of another kind, or needs `network`.
        """
        return read(cls, Path(path), network)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "network_")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
