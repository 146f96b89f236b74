"""JetRegressor beside JENN (https://pypi.org/project/jenn/): R² of values and partials after equal time.

Run `python benchmarks/jenn.py --out results/bench-jenn.json` where both are installed; `--only rastrigin-5-1000` runs
one case, and cases already in the file are kept. One thread; seconds are those of the processor.

JENN trains with its defaults (full batch, rate 0.05, at most 1000 iterations; as many as fit into `--cap` seconds), on
normalised data, once with JetRegressor's widths and once with 12-12; the better of the two is shown. JetRegressor
trains with its defaults, limited to the time that this took. "To its R²" is the least time, of 1, 1/3, 1/5, 1/10, 1/30
and 1/100 of it, after which JetRegressor is as good as JENN for values and partials.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from pathlib import Path

sys.path = [
    entry for entry in sys.path if Path(entry).resolve() != Path(__file__).parent
]  # this file's name is jenn too

import jenn  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from scipy.optimize import rosen, rosen_der  # noqa: E402
from scipy.stats import qmc  # noqa: E402

from jetprop.estimators import JetRegressor  # noqa: E402
from jetprop.estimators.network import default_hidden  # noqa: E402

SIZES = [(2, 200), (2, 2000), (5, 1000), (10, 2000), (10, 20000)]
PARTS = (100, 30, 10, 5, 3, 1)


def rastrigin(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Σ x² − 10 cos 2πx + 10, and its gradient."""
    y = (x**2 - 10 * np.cos(2 * np.pi * x) + 10).sum(1)
    return y, 2 * x + 20 * np.pi * np.sin(2 * np.pi * x)


def rosenbrock(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rosenbrock's function and its gradient."""
    return rosen(x.T), rosen_der(x.T).T


def branin(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Branin's function of each pair of inputs, added up, and x² of one left over; and the gradient."""
    y, g = np.zeros(len(x)), np.zeros_like(x)
    b, c, t = 5.1 / (4 * np.pi**2), 5 / np.pi, 1 / (8 * np.pi)
    for i in range(0, x.shape[1] - 1, 2):
        u, v = x[:, i], x[:, i + 1]
        r = v - b * u**2 + c * u - 6
        y += r**2 + 10 * (1 - t) * np.cos(u) + 10
        g[:, i], g[:, i + 1] = 2 * r * (c - 2 * b * u) - 10 * (1 - t) * np.sin(u), 2 * r
    if x.shape[1] % 2:
        y, g[:, -1] = y + x[:, -1] ** 2, 2 * x[:, -1]
    return y, g


FUNCTIONS = {
    "rastrigin": (rastrigin, (-1.0, 1.5), (-1.0, 1.5)),
    "rosenbrock": (rosenbrock, (-2.0, 2.0), (-2.0, 2.0)),
    "branin": (branin, (-5.0, 10.0), (0.0, 15.0)),
}


def tables(name: str, inputs: int, points: int) -> tuple[np.ndarray, ...]:
    """Training points by Latin hypercube sampling, and 2000 uniform test points."""
    function, *bounds = FUNCTIONS[name]
    low, high = np.array([bounds[i % 2] for i in range(inputs)]).T
    x = qmc.scale(qmc.LatinHypercube(inputs, rng=np.random.default_rng(0)).random(points), low, high)
    test = np.random.default_rng(1).uniform(low, high, (2000, inputs))
    return x, *function(x), test, *function(test)


def r2(truth: np.ndarray, found: np.ndarray) -> float:
    """R², for partials the mean over inputs."""
    truth, found = truth.reshape(len(truth), -1), found.reshape(len(truth), -1)
    return float(np.mean(1 - ((truth - found) ** 2).sum(0) / ((truth - truth.mean(0)) ** 2).sum(0)))


def run_jenn(data: tuple[np.ndarray, ...], hidden: tuple[int, ...], cap: float) -> dict[str, float]:
    """Train JENN once; its pace is measured on ten iterations first."""
    x, y, g, test, values, partials = data

    def train(iterations: int) -> tuple[jenn.NeuralNet, float]:
        model = jenn.NeuralNet([x.shape[1], *hidden, 1])
        start = time.process_time()
        model.fit(x.T, y[None], g.T[None], is_normalize=True, max_iter=iterations, random_state=0)
        return model, time.process_time() - start

    pace = train(10)[1] / 10
    model, seconds = train(max(10, min(1000, int(cap / pace))))
    found, slopes = model(test.T)
    iterations = len(model.history["epoch_0"]["batch_0"])
    return {
        "seconds": seconds,
        "iterations": iterations,
        "width": hidden[0],
        "r2": r2(values, found[0]),
        "r2_partials": r2(partials, slopes[0].T),
    }


def run_jetprop(data: tuple[np.ndarray, ...], seconds: float) -> dict[str, float]:
    """Train JetRegressor once, with its defaults."""
    x, y, g, test, values, partials = data
    start = time.process_time()
    model = JetRegressor(max_seconds=seconds, clock="cpu", random_state=0).fit(x, y, g)
    took = time.process_time() - start
    return {
        "limit": seconds,
        "seconds": took,
        "iterations": model.n_iter_,
        "r2": r2(values, model.predict(test)),
        "r2_partials": r2(partials, model.predict_derivatives(test)),
    }


def compare(name: str, inputs: int, points: int, cap: float) -> dict[str, object]:
    """Both on one table."""
    data = tables(name, inputs, points)
    theirs = [run_jenn(data, hidden, cap) for hidden in (default_hidden(inputs), (12, 12))]
    best = max(theirs, key=lambda found: found["r2"] + found["r2_partials"])
    ours = [run_jetprop(data, best["seconds"] / part) for part in PARTS]
    good = [found for found in ours if found["r2"] >= best["r2"] and found["r2_partials"] >= best["r2_partials"]]
    return {
        "jenn": best,
        "jenn_all": theirs,
        "jetprop": ours[-1],
        "jetprop_all": ours,
        "to_its_r2": good[0]["seconds"] if good else None,
        "times_faster": best["seconds"] / good[0]["seconds"] if good else None,
    }


def main() -> None:
    """Measure what is asked for and not yet in the file, and print a line for each case."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("results/bench-jenn.json"))
    parser.add_argument("--only", default="")
    parser.add_argument("--cap", type=float, default=5.0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    record = json.loads(arguments.out.read_text()) if arguments.out.exists() else {"cases": {}}
    record["versions"] = {"jenn": jenn.__version__, "torch": torch.__version__, "numpy": np.__version__}
    record["machine"], record["cap_seconds"] = f"{platform.machine()}, one thread", arguments.cap
    run_jetprop(tables("branin", 2, 100), 1.0)  # what is loaded or built on first use belongs to no case
    for name in FUNCTIONS:
        for inputs, points in SIZES:
            case = f"{name}-{inputs}-{points}"
            if arguments.only not in ("", case) or (case in record["cases"] and not arguments.only):
                continue
            found = record["cases"][case] = compare(name, inputs, points, arguments.cap)
            arguments.out.write_text(json.dumps(record, indent=1) + "\n")
            a, b = found["jenn"], found["jetprop"]
            faster = found["times_faster"]
            print(f"{case:22} JENN {a['seconds']:6.2f} s {a['r2']:7.4f} {a['r2_partials']:7.4f}   "
                  f"JetRegressor {b['seconds']:6.2f} s {b['r2']:7.4f} {b['r2_partials']:7.4f}   "
                  f"to its R² {'never' if faster is None else f'{faster:.1f} x faster'}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
