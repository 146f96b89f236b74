"""A local page to look at cubes with a trained network: drag the cube, add noise, attack, and see what it does.

`look` computes what there is to see for a `State`; the page itself, `jetprop.explore.page`, needs the extra
`jetprop[explore]` and is started by `jetprop explore`.
"""

from __future__ import annotations

from jetprop.explore.runs import Run, Runs, find_runs
from jetprop.explore.state import State
from jetprop.explore.view import Answer, View, look

__all__ = ["Answer", "Run", "Runs", "State", "View", "find_runs", "look"]
