"""Experiments: the tables and figures of the papers, and our own, each one entry of a registry.

`find("avrutskiy2023", "table2").run(Context(scale="smoke", runs=folder))` runs one and returns its `Record`.
"""

from jetprop.experiments import avrutskiy2023, robust_figures, robust_pictures, robust_tables, when_it_pays
from jetprop.experiments.demo import demo
from jetprop.experiments.records import Figure, Record
from jetprop.experiments.registry import EXPERIMENTS, Context, Experiment, Scale, experiment, find

__all__ = [
    "EXPERIMENTS",
    "Context",
    "Experiment",
    "Figure",
    "Record",
    "Scale",
    "avrutskiy2023",
    "demo",
    "experiment",
    "find",
    "robust_figures",
    "robust_pictures",
    "robust_tables",
    "when_it_pays",
]
