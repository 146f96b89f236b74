"""Special functions, by their towers."""

from __future__ import annotations

from typing import Any

from jetprop.jets import special_towers as towers
from jetprop.jets.dispatch import RULES, rule
from jetprop.jets.jet import Jet
from jetprop.jets.rules.elementwise import elementwise
from jetprop.jets.rules.operands import is_jet

__all__: list[str] = []

for _name in "ndtr log_ndtr ndtri erfinv erfcx entr logit sinc i0 i0e i1 i1e frac deg2rad rad2deg".split():
    elementwise(_name)(getattr(towers, _name))

elementwise("polygamma of a jet")(towers.polygamma)


@rule("polygamma", "composition")
def polygamma(n: Any, x: Any) -> Jet:
    """The n-th derivative of ψ; as a method, `x.polygamma(n)`."""
    n, x = (x, n) if is_jet(n) else (n, x)
    return RULES["polygamma of a jet"].apply(x, n)
