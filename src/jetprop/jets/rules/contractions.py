"""Sums over products of entries: matrix products of every kind, and Einstein's notation for all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from math import prod
from string import ascii_letters
from typing import Any

import torch
from torch import Tensor

from jetprop.jets.dispatch import rule, spell
from jetprop.jets.jet import Jet
from jetprop.jets.remember import remembered
from jetprop.jets.rules import shapes as _shapes  # noqa: F401 - registers `reshape`, `permute`, …
from jetprop.jets.rules.operands import aligned, axis, common_basis, is_jet
from jetprop.jets.rules.products import bilinear, plus, product_of

__all__ = ["contract", "matmul"]


# ---- matrix products ------------------------------------------------------------------------------------------------


@rule("matmul", "bilinear", "mm", "bmm")
def matmul(x: Jet | Tensor, y: Jet | Tensor) -> Jet:
    """The matrix product, batched and broadcast as PyTorch does it."""
    row_vector, column_vector = x.dim() == 1, y.dim() == 1  # vectors are taken as matrices
    x, y = x.unsqueeze(0) if row_vector else x, y.unsqueeze(-1) if column_vector else y
    ndim, basis = max(x.dim(), y.dim()), common_basis(x, y)
    x = Jet._of(aligned(x.rows, ndim), basis) if is_jet(x) else x
    y = Jet._of(aligned(y.rows, ndim), basis) if is_jet(y) else y
    out = bilinear(torch.matmul, x, y, stacked=True)
    if column_vector:
        out = out.squeeze(-1)
    return out.squeeze(-1 if column_vector else -2) if row_vector else out


def _matmul_of_tensors(x: Any, y: Any) -> Jet:
    """`tensor.matmul(jet)` and `tensor @ jet`, as which torch.compile also calls `jet @ tensor`, exchanged."""
    if torch.compiler.is_compiling() and not is_jet(x):
        raise RuntimeError(
            "torch.compile confuses `jet @ tensor` with `tensor @ jet`; write torch.matmul(x, y) or a torch.nn.Linear"
        )
    return matmul(x, y)


for _method in (Tensor.matmul, Tensor.__matmul__):
    spell(_method, _matmul_of_tensors)


@rule("rmatmul", "bilinear")
def rmatmul(x: Jet, y: Jet | Tensor) -> Jet:
    """`y @ x`."""
    return matmul(y, x)


def _of_vectors(name: str) -> Callable[[Any, Any], Jet]:
    """Products with vectors, whose precision autocast lowers on some devices and not on others."""
    operator = getattr(torch, name)

    def apply(x: Any, y: Any) -> Jet:
        kept = torch.is_autocast_enabled(x.device.type)
        if kept:
            entries = ((z.value if is_jet(z) else z)[(slice(1),) * z.dim()] for z in (x, y))
            kept = operator(*entries).dtype == x.dtype
        with torch.autocast(x.device.type, enabled=False) if kept else nullcontext():
            return matmul(x.conj() if name == "vdot" else x, y)

    apply.__doc__ = f"`torch.{name}`."
    return apply


for _name in ("mv", "dot", "vdot"):
    rule(_name, "bilinear")(_of_vectors(_name))


@rule("multi_dot", "composition")
def multi_dot(tensors: Sequence[Any]) -> Jet:
    """The product of several matrices in the order that takes the fewest multiplications; vectors at the ends."""
    if len(tensors) < 2:
        raise ValueError(f"multi_dot: expected at least two tensors or jets, got {len(tensors)}")
    for place, x in enumerate(tensors):
        if x.dim() != 2 and not (x.dim() == 1 and place in (0, len(tensors) - 1)):
            raise ValueError(
                f"multi_dot: expected matrices, or vectors at the ends, got {x.dim()} axes at place {place}"
            )
    first = tensors[0].unsqueeze(0) if tensors[0].dim() == 1 else tensors[0]
    last = tensors[-1].unsqueeze(-1) if tensors[-1].dim() == 1 else tensors[-1]
    out = _in_best_order([first, *tensors[1:-1], last])
    return out.reshape(*tensors[0].shape[:-1], *tensors[-1].shape[1:])


def _in_best_order(factors: Sequence[Any]) -> Any:
    splits = _best_splits((*(f.shape[0] for f in factors), factors[-1].shape[1]))

    def formed(i: int, j: int) -> Any:
        k = splits[i, j]
        return factors[i] if j == i + 1 else torch.matmul(formed(i, k), formed(k, j))

    return formed(0, len(factors))


@remembered
def _best_splits(sizes: tuple[int, ...]) -> dict[tuple[int, int], int]:
    """Where to split the product of factors i to j − 1 of sizes[k] × sizes[k + 1], so that it costs least."""
    count = len(sizes) - 1
    cheapest: dict[tuple[int, int], tuple[int, int]] = {(k, k + 1): (0, k) for k in range(count)}
    for length in range(2, count + 1):
        for i in range(count - length + 1):
            j = i + length
            cheapest[i, j] = min(
                (cheapest[i, k][0] + cheapest[k, j][0] + sizes[i] * sizes[k] * sizes[j], k) for k in range(i + 1, j)
            )
    return {span: k for span, (_, k) in cheapest.items()}


@rule("chain_matmul", "composition")
def chain_matmul(*matrices: Any) -> Jet:
    """`multi_dot` of matrices, each an argument."""
    return multi_dot(matrices)


@rule("vecdot", "bilinear")
def vecdot(x: Jet | Tensor, y: Jet | Tensor, *, dim: int = -1) -> Jet:
    """Σ x̄ᵢ yᵢ along an axis, the others broadcast."""
    shape = torch.broadcast_shapes(x.shape, y.shape)
    x, y = (z.expand(shape).movedim(dim, -1) for z in (x.conj(), y))
    return matmul(x.unsqueeze(-2), y.unsqueeze(-1)).squeeze((-2, -1))


@rule("inner", "bilinear")
def inner(x: Jet | Tensor, y: Jet | Tensor) -> Jet:
    """Products summed over the last axes of both."""
    if x.dim() == 0 or y.dim() == 0:
        return product_of(x, y)
    flat = matmul(x, y.reshape(-1, y.shape[-1]).transpose(0, 1))
    return flat.reshape(*x.shape[:-1], *y.shape[:-1])


@rule("outer", "bilinear", "ger")
def outer(x: Jet | Tensor, y: Jet | Tensor) -> Jet:
    """All products of the entries of two vectors."""
    return contract("a", "b", "ab", x, y)


@rule("kron", "bilinear")
def kron(x: Jet | Tensor, y: Jet | Tensor) -> Jet:
    """Kronecker's product: blocks x_ij·y."""
    ndim = max(x.dim(), y.dim())
    a, b = (1,) * (ndim - x.dim()) + tuple(x.shape), (1,) * (ndim - y.dim()) + tuple(y.shape)
    blocks = x.reshape([n for size in a for n in (size, 1)]), y.reshape([n for size in b for n in (1, size)])
    return product_of(*blocks).reshape([m * n for m, n in zip(a, b, strict=True)])


@rule("cross", "bilinear")
def cross(x: Any, y: Any, dim: int | None = None) -> Jet:
    """The vector product along an axis of length 3: by default the first of that length."""
    if dim is None:
        dim = next((k for k, size in enumerate(x.shape) if size == 3), -1)
    return _vector_product(x, y, dim=dim)


def _vector_product(x: Any, y: Any, *, dim: int = -1) -> Jet:
    """`torch.linalg.cross`: along the last axis unless told."""
    if x.shape[dim] != 3 or y.shape[dim] != 3:
        raise ValueError(
            f"cross: expected length 3 along axis {dim} of both, got shapes {tuple(x.shape)}, {tuple(y.shape)}"
        )
    after, before = torch.roll(x, -1, dim), torch.roll(x, -2, dim)
    return product_of(after, torch.roll(y, -2, dim)) - product_of(before, torch.roll(y, -1, dim))


spell(torch.linalg.cross, _vector_product)


# ---- products added to something ------------------------------------------------------------------------------------


@rule("addmm", "composition", "baddbmm")
def addmm(c: Any, x: Any, y: Any, *, beta: float = 1, alpha: float = 1) -> Jet:
    """`β c + α x y`."""
    return _accumulated(c, torch.matmul(x, y), beta, alpha)


@rule("addmv", "composition")
def addmv(c: Any, x: Any, y: Any, *, beta: float = 1, alpha: float = 1) -> Jet:
    """`β c + α x y`, y a vector."""
    return _accumulated(c, torch.mv(x, y), beta, alpha)


@rule("addbmm", "composition")
def addbmm(c: Any, x: Any, y: Any, *, beta: float = 1, alpha: float = 1) -> Jet:
    """`β c + α Σ_b x_b y_b`."""
    return _accumulated(c, torch.einsum("bij,bjk->ik", x, y), beta, alpha)


@rule("addr", "composition")
def addr(c: Any, x: Any, y: Any, *, beta: float = 1, alpha: float = 1) -> Jet:
    """`β c + α x yᵀ`, of vectors."""
    return _accumulated(c, torch.outer(x, y), beta, alpha)


def _accumulated(c: Any, product: Any, beta: float, alpha: float) -> Jet:
    """`β c + α product`; with β = 0, NaN and infinity in c leave no trace."""
    product = alpha * product if alpha != 1 else product
    if beta == 0 and is_jet(product):
        return product
    if torch.is_autocast_enabled(product.device.type):
        c = c.to(product.dtype)
    return plus(product, beta * c if beta != 1 else c)


@rule("bilinear", "composition")
def bilinear_layer(x: Any, y: Any, weight: Any, bias: Any = None) -> Jet:
    """Σ_ij x_i W_kij y_j + b_k, as `torch.nn.Bilinear` has it."""
    with torch.autocast(x.device.type, enabled=False):  # PyTorch does not lower its precision
        out: Any = torch.einsum("...i,kij,...j->...k", x, weight, y)
    return out if bias is None else out + bias


# ---- Einstein's notation --------------------------------------------------------------------------------------------


def contract(left: str, right: str, result: str, x: Jet | Tensor, y: Jet | Tensor) -> Jet:
    """Two operands, at least one of them a jet, multiplied and summed over the letters that the result lacks.

    Args:
        left: a letter for each axis of x.
        right: a letter for each axis of y.
        result: the letters of the result's axes.
        x: a jet or a constant.
        y: a jet or a constant.
    """
    rows = _unused(left + right)

    def operation(a: Tensor, b: Tensor) -> Tensor:
        first = rows + left if a.dim() > len(left) else left
        second = rows + right if b.dim() > len(right) else right
        return torch.einsum(f"{first},{second}->{rows}{result}", a, b)

    return bilinear(operation, x, y, stacked=True)


def _unused(letters: str) -> str:
    free = next((c for c in ascii_letters if c not in letters), None)
    if free is None:
        raise ValueError("einsum on jets needs one letter of the 52 for the axis of rows, and all are taken")
    return free


@rule("einsum", "bilinear")
def einsum(equation: str, *operands: Any) -> Any:
    """Products summed by Einstein's convention, of any number of jets and tensors, two at a time from the left.

    Raises:
        TypeError: lists of numbers in place of an equation.
        ValueError: the equation does not fit the operands.
    """
    if not isinstance(equation, str):
        raise TypeError("einsum on jets takes an equation, as in torch.einsum('ij,jk', x, y), got a list of numbers")
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    letters, result = _spelled_out(equation, tuple(x.dim() for x in operands))
    names, out = letters[0], operands[0]
    if len(operands) == 1:
        rows = _unused(names)
        return Jet._of(torch.einsum(f"{rows}{names}->{rows}{result}", out.rows), out.basis)
    for place, (other, x) in enumerate(zip(letters[1:], operands[1:], strict=True), start=2):
        later = {*result, *(c for word in letters[place:] for c in word)}
        kept = "".join(c for c in dict.fromkeys(names + other) if c in later) if place < len(operands) else result
        if is_jet(out) or is_jet(x):
            out = contract(names, other, kept, out, x)
        else:
            out = torch.einsum(f"{names},{other}->{kept}", out, x)
        names = kept
    return out


@remembered
def _spelled_out(equation: str, ndims: tuple[int, ...]) -> tuple[list[str], str]:
    """A letter for every axis of the operands and of the result: ellipses written out, the result if it was implied."""
    words, arrow, result = equation.replace(" ", "").partition("->")
    inputs = words.split(",")
    if len(inputs) != len(ndims):
        raise ValueError(f"einsum: {equation!r} has {len(inputs)} operands, got {len(ndims)}")
    free = [c for c in ascii_letters if c not in equation]
    hidden = [ndim - len(word.replace("...", "")) for word, ndim in zip(inputs, ndims, strict=True)]
    for place, (word, extra) in enumerate(zip(inputs, hidden, strict=True)):
        if extra < 0 or (extra and "..." not in word):
            raise ValueError(
                f"einsum: operand {place} is {word!r} in {equation!r}, got a value with {ndims[place]} axes"
            )
    most = max((extra for word, extra in zip(inputs, hidden, strict=True) if "..." in word), default=0)
    ellipsis = "".join(free[:most])
    letters = [
        word.replace("...", ellipsis[most - extra :] if extra else "")
        for word, extra in zip(inputs, hidden, strict=True)
    ]
    if not arrow:
        counts = Counter("".join(word.replace("...", "") for word in inputs))
        result = "..." + "".join(sorted(c for c, count in counts.items() if count == 1))
    return letters, result.replace("...", ellipsis)


@rule("tensordot", "bilinear")
def tensordot(x: Jet | Tensor, y: Jet | Tensor, dims: Any = 2) -> Jet:
    """Sums over pairs of axes: the last `dims` of x with the first of y, or a list for each."""
    if isinstance(dims, Tensor):
        dims = dims.tolist()
    if isinstance(dims, int):
        if not 0 <= dims <= min(x.dim(), y.dim()):
            raise ValueError(f"tensordot: dims={dims} does not fit values with {x.dim()} and {y.dim()} axes")
        dims = list(range(x.dim() - dims, x.dim())), list(range(dims))
    over = [
        [axis(d, z.dim()) - 1 for d in ([ds] if isinstance(ds, int) else ds)]
        for ds, z in zip(dims, (x, y), strict=True)
    ]
    for a, b in zip(*over, strict=True):
        if x.shape[a] != 1 == y.shape[b]:
            x = x.sum(a, keepdim=True)
        elif x.shape[a] == 1 != y.shape[b]:
            y = y.sum(b, keepdim=True)
        elif x.shape[a] != y.shape[b]:
            raise ValueError(
                f"tensordot: axis {a} of {tuple(x.shape)} and axis {b} of {tuple(y.shape)} differ in length"
            )
    rest = [[d for d in range(z.dim()) if d not in o] for o, z in zip(over, (x, y), strict=True)]
    shapes = [[z.shape[d] for d in r] for r, z in zip(rest, (x, y), strict=True)]
    summed = prod([x.shape[d] for d in over[0]])
    left = x.permute(*rest[0], *over[0]).reshape(prod(shapes[0]), summed)
    right = y.permute(*over[1], *rest[1]).reshape(summed, prod(shapes[1]))
    return matmul(left, right).reshape(*shapes[0], *shapes[1])
