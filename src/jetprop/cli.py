"""The command line: commands, no logic."""

from __future__ import annotations

import json
import logging
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.logging import RichHandler

app = typer.Typer(
    name="jetprop",
    help="Derivatives of networks with respect to their inputs: carried, trained, measured.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)
console = Console()


class ScaleName(StrEnum):
    """How large an experiment runs."""

    smoke = "smoke"
    cpu = "cpu"
    paper = "paper"


Runs = Annotated[Path, typer.Option(help="Folder for checkpoints and logs; what is finished there is not done again.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]


def _prepare(patient: bool = True) -> None:
    """Choose how threads wait, show what is compiled, keep freed memory.

    Threads that spin while they wait for each other slow each other down as soon as another program wants a core; they
    are told to sleep instead, unless speed is measured. That must be said before torch is loaded.
    """
    if patient:
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from jetprop.jets import keep_freed_memory

    logging.basicConfig(
        level=logging.INFO, format="%(message)s", handlers=[RichHandler(console=Console(stderr=True), show_path=False)]
    )
    for noisy in ("torch", "lightning", "lightning_fabric"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    keep_freed_memory()


def _fail(error: Exception) -> NoReturn:
    Console(stderr=True).print(f"[red]error:[/red] {error}", highlight=False, markup=True, soft_wrap=True)
    raise typer.Exit(1) from error


def _version(wanted: bool) -> None:
    if wanted:
        from jetprop import __version__

        console.print(f"jetprop {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """Derivatives of networks with respect to their inputs: carried, trained, measured."""


@app.command()
def demo(
    seconds: Annotated[float, typer.Option(min=1, help="Training time of each of the three networks.")] = 95.0,
    report: Annotated[Path, typer.Option(help="Where the HTML report goes.")] = Path("jetprop-demo.html"),
    runs: Runs = Path("runs/demo"),
    seed: Seed = 0,
    again: Annotated[
        bool, typer.Option("--again", help="Train anew, even if the networks of an earlier call are there.")
    ] = False,
) -> None:
    """Train three networks on the same images: values only, with first, with second derivatives. About six minutes."""
    _prepare()
    import shutil

    from jetprop import experiments
    from jetprop.report import table, write_demo
    from jetprop.training import CheckpointError

    folder = runs / f"{seconds:g}s-seed{seed}"
    if again:
        shutil.rmtree(folder, ignore_errors=True)
    try:
        context = experiments.Context("cpu", folder, seed, console.print, show=sys.stderr.isatty())
        record = experiments.demo(context, seconds)
        record.save(folder)
        path = write_demo(record, report)
    except (ValueError, OSError, CheckpointError) as error:
        _fail(error)
    console.print(table(record))
    console.print(f"The report, one self-contained page: {path.resolve()}", soft_wrap=True)


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe in TOML; see docs/training.md.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the run; by default runs/ and the recipe's name.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoint in the folder.")] = True,
    change: Annotated[list[str] | None, typer.Option("--set", help="Change a key: --set training.seed=1")] = None,
) -> None:
    """Train a network as a recipe says; killed at any moment, it goes on when called again."""
    _prepare()
    from jetprop.training import CheckpointError, Recipe, RecipeError, fit

    try:
        chosen = Recipe.load(recipe)
        if change:
            chosen = chosen.replace(dict(_assignment(text) for text in change))
        result = fit(chosen, out=out or Path("runs") / recipe.stem, resume=resume)
    except (RecipeError, CheckpointError, ValueError, OSError) as error:
        _fail(error)
    if int(os.environ.get("LOCAL_RANK", 0)) == 0:
        for name, value in result.metrics.items():
            console.print(f"{name}: {100 * value:.4g} %" if "error" in name else f"{name}: {value:.6g}")
        console.print(f"{result.status} after {result.steps} steps; {result.out}")
    if not result.finished:
        _fail(RuntimeError(result.message))


def _assignment(text: str) -> tuple[str, object]:
    import tomllib

    key, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--set {text!r}: write key=value, e.g. --set training.seed=1")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()


@app.command()
def reproduce(
    name: Annotated[
        list[str], typer.Argument(help="Paper and table: avrutskiy2023 table2. Without a table: all of it.")
    ],
    scale: Annotated[
        ScaleName, typer.Option(help="smoke: seconds; cpu: minutes; paper: the exact settings.")
    ] = ScaleName.cpu,
    runs: Runs = Path("runs"),
    results: Annotated[Path, typer.Option(help="Folder of the records.")] = Path("results"),
    seconds: Annotated[
        float | None, typer.Option(help="Stop at a checkpoint after so long; the next call goes on.")
    ] = None,
    seed: Seed = 0,
    jobs: Annotated[int, typer.Option(min=1, help="Networks trained side by side, where an experiment allows it.")] = 1,
) -> None:
    """Reproduce a table or figure of a paper, ours beside the published figures."""
    _prepare()
    from jetprop import experiments
    from jetprop.report import claims, table, write_experiment, write_gallery
    from jetprop.training import CheckpointError

    try:
        if len(name) == 1 and name[0] not in experiments.EXPERIMENTS:
            chosen = [e for key, e in experiments.EXPERIMENTS.items() if key.startswith(name[0] + " ")] or [
                experiments.find(*name)
            ]
        else:
            chosen = [experiments.find(*name)]
        for one in chosen:
            show = sys.stderr.isatty()
            context = experiments.Context(scale.value, runs, seed, console.print, seconds, show, jobs)
            record = one.run(context)
            path = record.save(results)
            pages = [path]
            if scale is not ScaleName.smoke:
                pages += [write_experiment(record, path.with_suffix(".html"))]
                pages += filter(None, [write_gallery(record, path.with_suffix(".png"))])
            console.print(table(record))
            for note in [*claims(record), *record.notes]:
                console.print(f"- {note}")
            console.print(", ".join(map(str, pages)))
    except (ValueError, OSError, CheckpointError) as error:
        _fail(error)


@app.command("experiments")
def list_experiments() -> None:
    """List what `reproduce` knows, and what each costs."""
    from jetprop.experiments import EXPERIMENTS

    for one in EXPERIMENTS.values():
        console.print(f"[bold]{one.name}[/bold]  {one.title}")
        for scale, cost in one.cost.items():
            console.print(f"    {scale}: {cost}")


class BenchName(StrEnum):
    """What can be measured."""

    engine = "engine"
    rivals = "rivals"


@app.command()
def bench(
    name: Annotated[
        BenchName,
        typer.Argument(help="engine: against the bare matrix products; rivals: beside torch.func, JAX and others."),
    ] = BenchName.engine,
    seconds: Annotated[float, typer.Option(help="For each case, beside warm-up.")] = 20.0,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    rivals: Annotated[bool, typer.Option(help="engine: nested torch.func and double backward too.")] = True,
    widths: Annotated[str, typer.Option(help="engine: widths L of 1681-L-L-L-128-9.")] = "256,1024",
    models: Annotated[
        str | None, typer.Option(help="rivals: mlp-L, cnn-C, transformer-E with sizes, and commas; by default six.")
    ] = None,
    orders: Annotated[str, typer.Option(help="rivals: orders of derivatives.")] = "1,2,3",
    batch: Annotated[int, typer.Option(help="Samples a step.")] = 64,
    limit: Annotated[float, typer.Option(help="rivals: who takes more seconds for a step is measured once.")] = 10.0,
    precision: Annotated[
        str, typer.Option(help="Of float32 matrix products in PyTorch: highest, high or medium, for all but JAX.")
    ] = "highest",
    out: Annotated[Path | None, typer.Option(help="Write the figures as JSON.")] = None,
    plot: Annotated[Path | None, typer.Option(help="rivals: draw them, as .svg, .pdf or .png.")] = None,
) -> None:
    """Measure whole training steps: time, memory, and whether the gradient is right."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # the profiler that counts memory else announces each of its steps
    _prepare(patient=False)
    import torch

    from jetprop import benchmarks
    from jetprop.experiments.records import environment
    from jetprop.report import bench_table, rivals_figure, rivals_table, save

    found: list[dict] = []

    def keep(cases: list[dict]) -> None:
        found.extend(cases)
        if out:
            text = json.dumps({"environment": environment(), "precision": precision, "cases": found}, indent=1) + "\n"
            out.write_text(text, encoding="utf-8")

    try:
        if precision not in ("highest", "high", "medium"):
            raise ValueError(f"--precision is highest, high or medium, got {precision!r}")
        torch.set_float32_matmul_precision(precision)
        if name is BenchName.engine:
            for case in [benchmarks.EngineCase(int(w), order, batch) for w in widths.split(",") for order in (1, 2)]:
                keep([benchmarks.bench_engine(case, seconds, device, rivals, console.print)])
        else:
            chosen = [int(order) for order in orders.split(",")]
            for model in models.split(",") if models else benchmarks.RIVAL_MODELS:
                keep(benchmarks.bench_rivals(model, chosen, batch, seconds, limit, device, progress=console.print))
        console.print((bench_table if name is BenchName.engine else rivals_table)(found))
        if out:
            console.print(str(out))
        if plot and name is BenchName.rivals:
            console.print(str(save(rivals_figure(found), plot)))
    except (ValueError, OSError) as error:
        _fail(error)


@app.command()
def explore(
    runs: Annotated[Path, typer.Argument(help="Folder of trained runs, at any depth.")] = Path("runs/demo"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of this machine; 0: any that is free.")] = 8400,
    show: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
) -> None:
    """Look at a cube with trained networks: drag it, add noise, attack; a page of this machine alone."""
    _prepare()
    try:
        from jetprop.explore.page import serve
    except ModuleNotFoundError as error:
        if error.name == "nicegui":
            error = ModuleNotFoundError("the page needs the extra `explore`: pip install 'jetprop\\[explore]'")
        _fail(error)
    from jetprop.explore import find_runs

    def say(address: str) -> None:
        console.print(f"{address} (Ctrl-C ends it)", soft_wrap=True)

    try:
        serve(find_runs(runs), runs, port, show, say)
    except (ValueError, OSError) as error:
        _fail(error)


if __name__ == "__main__":
    app()
