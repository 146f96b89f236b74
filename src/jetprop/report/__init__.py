"""What a run leaves for people: tables against the published values, figures, one self-contained page.

All of it draws from a `Record`. `table` and `markdown` set its figures beside the paper's, `write_demo` and
`write_experiment` make a page of it, `write_gallery` a sheet of its pictures; `lines`, `points`, `image_grid` and
`predicted_cubes` draw for anything else.
"""

from __future__ import annotations

from jetprop.report.attacks import attack_figure
from jetprop.report.drawing import save
from jetprop.report.figures import Plot, Series, comparison, lines, panels, points
from jetprop.report.gallery import Group, gallery_sheet, write_gallery
from jetprop.report.page import write_demo, write_experiment
from jetprop.report.pictures import Picture, image_grid, labelled_cube, picture, predicted_cubes
from jetprop.report.rivals import rivals_figure, rivals_markdown, rivals_table
from jetprop.report.tables import Grid, bench_markdown, bench_table, cell, claims, grid, markdown, table

__all__ = [
    "Grid",
    "Group",
    "Picture",
    "Plot",
    "Series",
    "attack_figure",
    "bench_markdown",
    "bench_table",
    "cell",
    "claims",
    "comparison",
    "gallery_sheet",
    "grid",
    "image_grid",
    "labelled_cube",
    "lines",
    "markdown",
    "panels",
    "picture",
    "points",
    "rivals_figure",
    "rivals_markdown",
    "rivals_table",
    "predicted_cubes",
    "save",
    "table",
    "write_demo",
    "write_experiment",
    "write_gallery",
]
