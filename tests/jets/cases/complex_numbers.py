"""Cases of complex numbers; complex results are taken as pairs of real numbers."""

from __future__ import annotations

from typing import Any

import torch

from jetprop.jets.rules.elementwise import OF_COMPLEX
from jets.cases.fourier import as_complex, as_real
from jets.rule_cases import Case, drawn
from jets.tolerances import SINGLE

X = drawn(2, 3)
Z = torch.complex(drawn(2, 3, seed=1), drawn(2, 3, seed=2))
PAIRS = drawn(3, 2)


def of_complex(rule: str, function: Any, label: str = "of a complex jet", order: int = 3) -> Case:
    return Case(rule, lambda x: as_real(function(as_complex(x))), X, label, order=order)


CASES = [
    of_complex("real", lambda z: z.real * torch.real(z)),
    of_complex("imag", lambda z: z.imag * torch.imag(z)),
    of_complex("conj", lambda z: z.conj() * z * torch.conj(z)),
    of_complex("conj_physical", lambda z: z.conj_physical() * z),
    of_complex("resolve_conj", lambda z: z.conj().resolve_conj()),
    of_complex("resolve_neg", lambda z: z.conj().imag.resolve_neg()),
    of_complex("view_as_real", lambda z: torch.view_as_real(z) ** 2),
    Case("view_as_complex", lambda x: as_real(torch.view_as_complex(x) ** 2), PAIRS, order=3),
    Case("cfloat", lambda x: as_real(x.cfloat()), X.float(), order=2, tolerance=SINGLE),
    Case("cdouble", lambda x: as_real(x.cdouble() ** 2), X, order=3),
    of_complex("adjoint", lambda z: z.adjoint() @ z),
    of_complex("mH", lambda z: z.mH @ Z),
    of_complex("H", lambda z: z @ z.H),
    Case("complex", lambda x: as_real(torch.complex(x, X[0])), X, "constant part", order=2),
    Case("complex", lambda x: as_real(torch.complex(X, x[0])), X, "constant part of higher rank", order=2),
    Case("polar", lambda x: as_real(torch.polar(x * x + 0.5, x)), X, order=3),
    Case("polar", lambda x: as_real(torch.polar(X, x)), X, "constant magnitude", order=3),
    of_complex("angle", torch.angle),
    Case("angle", lambda x: x * torch.angle(x), X, "of a real jet"),
    of_complex("abs", torch.abs),
    of_complex("sgn", torch.sgn),
    *(
        of_complex(name, getattr(torch, name))
        for name in sorted(OF_COMPLEX)
        if name not in ("abs", "sgn", "power of a jet")
    ),
    of_complex("pow", lambda z: z**3, "complex, 3"),
    of_complex("pow", lambda z: z ** (0.5 - 1j), "complex exponent"),
    of_complex("pow", lambda z: (2 - 1j) ** z, "complex base"),
    of_complex("pow", lambda z: z**Z, "complex tensor"),
    of_complex("mul", lambda z: Z * z * 2j, "complex"),
    Case("mul", lambda x: as_real(x * Z), X, "by a complex tensor"),
    of_complex("div", lambda z: (1 - 2j) / z + z / Z, "complex"),
    of_complex("add", lambda z: Z + z + 1j, "complex"),
    Case("add", lambda x: as_real(x + 0.1j), X, "a complex number"),
    of_complex("matmul", lambda z: z @ Z.mT, "complex"),
    of_complex("linear", lambda z: torch.nn.functional.linear(z, Z, Z[:, 0]), "complex"),
    of_complex("sum", lambda z: (z * z).sum(1), "complex"),
    of_complex("prod", lambda z: z.prod(0), "complex"),
    of_complex("var", lambda z: z.var(1), "complex"),
    of_complex("std", lambda z: z.std(), "complex"),
    of_complex("vdot", lambda z: torch.vdot(z[0], Z[0]), "complex"),
    of_complex("vecdot", lambda z: torch.linalg.vecdot(z, Z), "complex"),
    of_complex("vector_norm", lambda z: torch.linalg.vector_norm(z, 3, -1), "complex"),
    of_complex("vector_norm", lambda z: torch.linalg.vector_norm(z), "complex, p=2"),
    of_complex("matrix_norm", lambda z: torch.linalg.matrix_norm(z, 1), "complex"),
]
