"""The oracle: what the best possible network would say, on a manifold's inputs and around them.

`Oracle` expands it about the manifold, from jets alone, and where the manifold can be rendered finds it by projection.
"""

from __future__ import annotations

from jetprop.oracle.expansion import Expansion
from jetprop.oracle.gram import Gram
from jetprop.oracle.oracle import Oracle
from jetprop.oracle.projection import Projection, Status

__all__ = ["Expansion", "Gram", "Oracle", "Projection", "Status"]
