"""The jet: a value together with chosen derivatives of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor

from jetprop.jets.basis import Basis
from jetprop.jets.dispatch import dispatch

__all__ = ["Jet"]


@dataclass(eq=False)
class Jet:
    """A value and derivatives of it, which any `torch.nn.Module` takes in place of a tensor.

    `shape`, `dim()`, indexing and axes are those of the *value*; the axis of rows is hidden, so code written for
    tensors runs unchanged, and `model(jet)` is the jet of `model(x)`. Everything is differentiable in the rows and in
    the model's parameters as often as the operations themselves are.

    Args:
        rows: `[R, batch, …]`, floating point; `rows[r]` is the derivative `basis[r]`, never divided by a factorial;
            row 0 is the value.
        basis: which derivative each row holds.

    Raises:
        TypeError: rows are no tensor, or not of a floating-point (or complex) dtype.
        ValueError: the number of rows is not that of the basis, or a row holds NaN or infinity.

    Example:
        >>> import torch
        >>> from jetprop import Basis, Jet
        >>> x = torch.tensor([[3.0, 5.0]])
        >>> y = Jet.seed(x, order=2).prod(-1)          # x₀ x₁ and its derivatives
        >>> y.value, y.d(0), y.d(0, 1), y.d(0, 0)
        (tensor([15.]), tensor([5.]), tensor([1.]), tensor([0.]))
    """

    rows: Tensor
    basis: Basis

    def __post_init__(self) -> None:
        if torch.compiler.is_compiling():
            return
        if not isinstance(self.rows, Tensor):
            raise TypeError(f"the rows of a jet are one tensor [R, batch, …], got {type(self.rows).__name__}")
        if not isinstance(self.basis, Basis):
            raise TypeError(f"the basis of a jet is a Basis, got {type(self.basis).__name__}; see Basis.full")
        if not (self.rows.is_floating_point() or self.rows.is_complex()):
            raise TypeError(f"jets need a floating-point dtype, got {self.rows.dtype}; convert with .to(torch.float32)")
        if self.rows.dim() == 0 or self.rows.shape[0] != len(self.basis):
            raise ValueError(
                f"rows of shape {tuple(self.rows.shape)} do not fit {self.basis!r}: expected {len(self.basis)} rows "
                f"along axis 0, as [{len(self.basis)}, batch, …]"
            )
        self.check_finite()

    @classmethod
    def _of(cls, rows: Tensor, basis: Basis) -> Jet:
        """A jet from rows that the engine itself has made: nothing is checked."""
        jet = object.__new__(cls)
        jet.rows = rows
        jet.basis = basis
        return jet

    @classmethod
    def constant(cls, value: Tensor, basis: Basis) -> Jet:
        """The jet of a constant: every derivative zero.

        Args:
            value: `[batch, …]`.
            basis: the derivatives to carry.
        """
        return cls(torch.cat([value.unsqueeze(0), value.new_zeros(len(basis) - 1, *value.shape)]), basis)

    @classmethod
    def seed(cls, x: Tensor, directions: Tensor | None = None, order: int = 1, basis: Basis | None = None) -> Jet:
        """The jet of the straight line x + Σ_i t_i directions[i] at t = 0, the usual start.

        Args:
            x: `[batch, …]`, where the derivatives are taken.
            directions: `[D, batch, …]` or `[D, …]` (the same for the whole batch); None takes the coordinates of
                the last axis of x, D of them.
            order: the highest order, for the default basis `Basis.full(D, order)`.
            basis: another basis over D directions, e.g. `Basis.laplacian(D)`; `order` is then its own.

        Raises:
            ValueError: the directions do not fit x, or the basis has other directions.

        Example:
            >>> import torch
            >>> from jetprop import Jet
            >>> Jet.seed(torch.ones(4, 3), order=2).basis
            Basis(10 rows: (), (0,), (1,), (2,), (0, 0), (0, 1), …)
        """
        if directions is None:
            if x.dim() == 0:
                raise ValueError("Jet.seed without directions needs x with a last axis of coordinates, got a scalar")
            eye = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
            directions = eye.reshape(x.shape[-1], *[1] * (x.dim() - 1), x.shape[-1]).expand(x.shape[-1], *x.shape)
        elif directions.dim() == x.dim():
            directions = directions.unsqueeze(1)
        try:
            directions = directions.to(x).expand(directions.shape[0], *x.shape)
        except RuntimeError as error:
            raise ValueError(
                f"directions of shape {tuple(directions.shape)} do not fit x of shape {tuple(x.shape)}: "
                f"expected [D, {', '.join(map(str, x.shape))}] or [D, {', '.join(map(str, x.shape[1:]))}]"
            ) from error
        count = directions.shape[0]
        basis = Basis.full(count, order) if basis is None else basis
        if basis.order and len(basis.directions) != count:
            raise ValueError(f"{count} directions were given, the basis has {len(basis.directions)}: {basis!r}")
        above = len(basis) - 1 - count if basis.order else 0
        firsts = directions if basis.order else directions[:0]
        return cls(torch.cat([x.unsqueeze(0), firsts, x.new_zeros(above, *x.shape)]), basis)

    # ---- rows -------------------------------------------------------------------------------------------------------

    @property
    def value(self) -> Tensor:
        """Row 0, `[batch, …]`."""
        return self.rows[0]

    @property
    def first(self) -> Tensor:
        """The first derivatives, `[D, batch, …]`, in the order of `basis.directions`."""
        return self._order_slice(1)

    @property
    def second(self) -> Tensor:
        """The second derivatives, in the order of the basis: `[D(D+1)/2, batch, …]` for `Basis.full`."""
        return self._order_slice(2)

    def _order_slice(self, order: int) -> Tensor:
        found = self.basis.rows_of_order(order)
        return self.rows[found[0] : found[-1] + 1] if found else self.rows[:0]

    def d(self, *directions: int) -> Tensor:
        """One derivative: `jet.d()` is the value, `jet.d(0, 1)` is ∂²/∂x₀∂x₁.

        Raises:
            KeyError: the basis does not carry it.
        """
        return self.rows[self.basis.row(*directions)]

    def truncated(self, order: int) -> Jet:
        """The same jet without the rows above `order` (a view)."""
        basis = self.basis.truncated(order)
        return Jet._of(self.rows[: len(basis)], basis)

    def check_finite(self) -> None:
        """Raise if a row holds NaN or infinity (not while compiling, capturing, or under function transforms).

        Raises:
            ValueError: names the first such row and how many entries are affected.
        """
        rows = self.rows.detach()
        if type(rows) is not Tensor or rows.is_meta or torch.compiler.is_compiling():
            return
        if torch._C._are_functorch_transforms_active() or (rows.is_cuda and torch.cuda.is_current_stream_capturing()):
            return
        if bool(rows.sum().isfinite()) or bool(rows.isfinite().all()):  # the sum is cheap, but may overflow
            return
        bad = (~rows.isfinite()).reshape(len(rows), -1).sum(1)
        row = int(bad.nonzero()[0])
        raise ValueError(
            f"row {row} of the jet (derivative {self.basis[row]}) holds {int(bad[row])} NaN or infinite entries out of "
            f"{rows[0].numel()}; mask missing derivative labels with objectives.match(…, mask=…) instead of NaN"
        )

    # ---- what a tensor would say ------------------------------------------------------------------------------------

    @property
    def shape(self) -> torch.Size:
        """The shape of the value."""
        return self.rows.shape[1:]

    @property
    def ndim(self) -> int:
        """The number of axes of the value."""
        return self.rows.dim() - 1

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of every row."""
        return self.rows.dtype

    @property
    def device(self) -> torch.device:
        """The device of every row."""
        return self.rows.device

    @property
    def layout(self) -> torch.layout:
        """The layout of the rows."""
        return self.rows.layout

    @property
    def requires_grad(self) -> bool:
        """Whether autograd records what happens to the rows."""
        return self.rows.requires_grad

    @property
    def is_cpu(self) -> bool:
        """Whether the rows lie in main memory."""
        return self.rows.is_cpu

    @property
    def is_cuda(self) -> bool:
        """Whether the rows lie on a CUDA device."""
        return self.rows.is_cuda

    @property
    def is_nested(self) -> bool:
        """False: jets are dense."""
        return False

    @property
    def is_sparse(self) -> bool:
        """False: jets are dense."""
        return False

    @property
    def is_quantized(self) -> bool:
        """False: jets are floating point."""
        return False

    def dim(self) -> int:
        """The number of axes of the value."""
        return self.rows.dim() - 1

    def size(self, dim: int | None = None) -> torch.Size | int:
        """The shape of the value, or one length of it."""
        return self.shape if dim is None else self.shape[dim]

    def numel(self) -> int:
        """The number of elements of the value."""
        return self.shape.numel()

    def is_floating_point(self) -> bool:
        """Whether the dtype is a floating-point one."""
        return self.rows.is_floating_point()

    def is_complex(self) -> bool:
        """Whether the dtype is complex."""
        return self.rows.is_complex()

    def is_contiguous(self, memory_format: torch.memory_format = torch.contiguous_format) -> bool:
        """Whether the value row is contiguous."""
        return self.rows[0].is_contiguous(memory_format=memory_format)

    def requires_grad_(self, requires_grad: bool = True) -> Jet:
        """Have autograd record what happens to the rows."""
        self.rows.requires_grad_(requires_grad)
        return self

    def __len__(self) -> int:
        if self.dim() == 0:
            raise TypeError(
                "a jet with a 0-d value has no len(); if torch.tensor(jet) or torch.as_tensor(jet) asked for it, that "
                "would lose the derivatives of a jet without a word; take jet.value if that is meant"
            )
        return self.shape[0]

    def __iter__(self) -> Iterator[Jet]:
        return (self[i] for i in range(len(self)))

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        note = ", requires_grad" if self.requires_grad else ""
        return f"Jet(value {list(self.shape)}, {self.dtype}, {self.device}{note}; {self.basis!r})"

    # ---- what would lose the derivatives ----------------------------------------------------------------------------

    __array_ufunc__ = None  # an array or a scalar of NumPy on the left leaves the operation to the jet

    def _refuse(self, what: str) -> Any:
        raise TypeError(f"{what} would lose the derivatives of a jet without a word; take jet.value if that is meant")

    def __array__(self, *_: Any, **__: Any) -> Any:
        self._refuse("conversion to a NumPy array")

    def __float__(self) -> float:
        return self._refuse("float(jet)")

    def __int__(self) -> int:
        return self._refuse("int(jet)")

    def __complex__(self) -> complex:
        return self._refuse("complex(jet)")

    def __bool__(self) -> bool:
        return self._refuse("the truth value of a jet")

    def item(self) -> float:
        """Refused: a Python number has no derivatives."""
        return self._refuse("jet.item()")

    def numpy(self, *_: Any, **__: Any) -> Any:
        """Refused: an array has no derivatives."""
        return self._refuse("jet.numpy()")

    def tolist(self) -> list:
        """Refused: a list has no derivatives."""
        return self._refuse("jet.tolist()")

    # ---- dispatch ---------------------------------------------------------------------------------------------------

    @classmethod
    def __torch_function__(
        cls, func: Callable, types: Iterable[type], args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """Send an operation of PyTorch that met a jet to its rule (see `jetprop.jets.dispatch`)."""
        return dispatch(func, args, kwargs or {})

    if TYPE_CHECKING:
        # Tensor methods and operators are attached by `jetprop.jets.dispatch` from the table of rules.
        def __getattr__(self, name: str) -> Callable[..., Any]: ...
        def __getitem__(self, index: Any) -> Jet: ...
        def __setitem__(self, index: Any, value: Any) -> None: ...
        def __add__(self, other: Any) -> Jet: ...
        def __radd__(self, other: Any) -> Jet: ...
        def __sub__(self, other: Any) -> Jet: ...
        def __rsub__(self, other: Any) -> Jet: ...
        def __mul__(self, other: Any) -> Jet: ...
        def __rmul__(self, other: Any) -> Jet: ...
        def __truediv__(self, other: Any) -> Jet: ...
        def __rtruediv__(self, other: Any) -> Jet: ...
        def __pow__(self, other: Any) -> Jet: ...
        def __rpow__(self, other: Any) -> Jet: ...
        def __matmul__(self, other: Any) -> Jet: ...
        def __rmatmul__(self, other: Any) -> Jet: ...
        def __neg__(self) -> Jet: ...
        def __abs__(self) -> Jet: ...
        def __lt__(self, other: Any) -> Tensor: ...
        def __le__(self, other: Any) -> Tensor: ...
        def __gt__(self, other: Any) -> Tensor: ...
        def __ge__(self, other: Any) -> Tensor: ...
        def __eq__(self, other: Any) -> Any: ...
        def __ne__(self, other: Any) -> Any: ...

        @property
        def T(self) -> Jet:
            """All axes in reverse."""
            ...

        @property
        def mT(self) -> Jet:
            """The last two axes exchanged."""
            ...

        @property
        def H(self) -> Jet:
            """The conjugate transpose of a matrix."""
            ...

        @property
        def mH(self) -> Jet:
            """The last two axes exchanged, conjugated."""
            ...

        @property
        def real(self) -> Jet:
            """The real part."""
            ...

        @property
        def imag(self) -> Jet:
            """The imaginary part."""
            ...

        @property
        def data(self) -> Jet:
            """What `detach` gives."""
            ...


def _unflatten(leaves: Iterable[Any], basis: Any) -> Jet:
    (rows,) = leaves
    return Jet._of(rows, basis)


pytree.register_pytree_node(Jet, lambda jet: ([jet.rows], jet.basis), _unflatten, serialized_type_name="jetprop.Jet")
