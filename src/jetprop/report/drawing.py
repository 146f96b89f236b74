"""What all figures share: colours, sizes, and how a figure becomes a file or a part of a page."""

from __future__ import annotations

import math
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from io import BytesIO
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

__all__ = ["COLOURS", "GRID", "INK", "MARKERS", "WIDTH", "markup", "number", "save", "sheet", "style", "write_whole"]

COLOURS = ("#D55E00", "#8A6FD1", "#1F9E89", "#B8860B", "#2F8FD0", "#C2418A")
"""Of series, in their order. The first three stay at least 37 apart in CIELAB for normal, protan, deutan and tritan
sight, and each has a contrast of 3 or more against white and against the page's dark background."""

MARKERS = ("o", "s", "^", "D", "v", "P")
"""Of series, in their order, so that colour is never the only difference."""

INK, GRID = "#1b1f24", "#c9d1d9"
"""Text and axes, and grid lines; `markup` replaces them by the page's own, which follow its light or dark mode."""

WIDTH = 5.4
"""Of a plot, inches. On a page it is scaled to its column."""

STYLE: dict[str, object] = {
    "font.size": 10,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "text.color": INK,
    "text.parse_math": False,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.8,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "jetprop",
}


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib's settings for drawing and saving, put back afterwards."""
    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        yield


def sheet(width: float = WIDTH, height: float = 3.3) -> Figure:
    """An empty figure, inches; no window and no global state, whatever matplotlib's backend is. Use it in `style`."""
    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Figure, path: Path) -> Path:
    """Write a figure to a file, whole or not at all; its ending says how: `.svg`, `.pdf` or `.png` (200 dpi, white).

    Raises:
        ValueError: another ending.
        OSError: the file cannot be written.
    """
    kind = path.suffix.removeprefix(".").lower()
    if kind not in ("svg", "pdf", "png"):
        raise ValueError(f"a figure is saved as .svg, .pdf or .png, got {path.name!r}")
    buffer = BytesIO()
    with style():
        figure.savefig(buffer, format=kind, dpi=200, facecolor="white" if kind == "png" else "none")
    return write_whole(path, buffer.getvalue())


def markup(figure: Figure, description: str) -> str:
    """A figure as SVG to be put into a page: the page's font and ink, no identifiers that could meet others.

    Args:
        figure: drawn in `style`.
        description: read out instead of the picture; says what is to be seen.
    """
    buffer = BytesIO()
    with style():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue().decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)  # it would hold for the whole page
    text = re.sub(r"(font|font-family): ([^;\"]*?)'DejaVu Sans'[^;\"]*", r"\1: \2var(--font)", text)
    text = text.replace(INK, "currentColor").replace(GRID, "var(--line)")
    text = _own_identifiers(text, description)
    head, body = text.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    assert box is not None
    return (
        f'<svg xmlns:xlink="http://www.w3.org/1999/xlink" {box.group()} role="img" '
        f'aria-label="{escape(description)}" style="stroke-linejoin: round">{body}'
    ).strip()


def number(value: float, digits: int = 3) -> str:
    """A number for people: `digits` significant digits, no exponent for what is neither huge nor tiny.

    Example:
        >>> from jetprop.report.drawing import number
        >>> [number(x) for x in (0.16834, 12345.0, 6.0, 0.0, 2.5e-7)]
        ['0.168', '12345', '6.00', '0', '2.50e-07']
    """
    if not math.isfinite(value):
        return "not finite"
    if value == 0:
        return "0"
    rounded = float(f"{value:.{digits - 1}e}")
    exponent = math.floor(math.log10(abs(rounded)))
    if not -5 <= exponent < 9:
        return f"{value:.{digits - 1}e}"
    return f"{value:.{max(digits - 1 - exponent, 0)}f}"


def write_whole(path: Path, content: bytes) -> Path:
    """Write a file such that nobody ever sees half of it; folders are made.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _own_identifiers(text: str, description: str) -> str:
    """Drop the ids that nothing refers to, and mark the others as those of this figure."""
    own = f"f{zlib.crc32((description + text).encode()):08x}-"
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', text))
    text = re.sub(r' id="([^"]+)"', lambda found: f' id="{own}{found[1]}"' if found[1] in used else "", text)
    return re.sub(r'(url\(#|href="#)', rf"\g<1>{own}", text)
