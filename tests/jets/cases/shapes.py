"""Cases of the rules of shape: the value's axes count."""

from __future__ import annotations

import torch
from torch import nn

from jets.rule_cases import Case, drawn
from jets.tolerances import BFLOAT16, EXACT, HALF, SINGLE, Tolerance

X = drawn(2, 3)
CUBE = drawn(2, 1, 3)
EMPTY = drawn(2, 6)
REPEATS = torch.tensor([2, 0, 1])


def case(rule, function, x=X, label="", **spellings):
    return Case(rule, function, x, label, {k.replace("_", " "): v for k, v in spellings.items()}, value_tolerance=EXACT)


def conversion(name: str, dtype: torch.dtype, tolerance: Tolerance) -> Case:
    words = {"to": lambda x: x.to(dtype), "keyword": lambda x: x.to(dtype=dtype), "type": lambda x: x.type(dtype)}
    return Case(name, lambda x: getattr(x, name)(), X, "", words, tolerance=tolerance, smooth=False, order=2)


CASES = [
    case(
        "reshape",
        lambda x: torch.reshape(x, (3, 2)),
        method=lambda x: x.reshape(3, -1),
        tuple=lambda x: x.reshape((-1, 2)),
        keyword=lambda x: x.reshape(shape=(3, 2)),
        of_itself=lambda x: x.reshape(x.shape[1], x.size(0)),
    ),
    case("reshape", lambda x: x[:1, :1].reshape(()), label="0-d"),
    case("view", lambda x: x.view(3, 2), tuple=lambda x: x.view((3, -1)), list=lambda x: x.view([-1, 2])),
    case("view_as", lambda x: x.view_as(EMPTY[0].view(3, 2)), reshape_as=lambda x: x.reshape_as(EMPTY[0].view(3, 2))),
    case(
        "flatten",
        torch.flatten,
        method=lambda x: x.flatten(0, -1),
        ravel=torch.ravel,
        module=nn.Flatten(0),
        keyword=lambda x: torch.flatten(x, start_dim=0),
    ),
    case("flatten", lambda x: x.flatten(1), CUBE, "from axis 1", module=nn.Flatten()),
    case("flatten", lambda x: x[0, 0].flatten(), label="0-d"),
    case("unflatten", lambda x: x.unflatten(1, (3, 1)), module=nn.Unflatten(1, (3, 1))),
    case(
        "permute",
        lambda x: torch.permute(x, (2, 0, 1)),
        CUBE,
        method=lambda x: x.permute(2, 0, 1),
        negative=lambda x: x.permute(-1, 0, 1),
        keyword=lambda x: x.permute(dims=(2, 0, 1)),
    ),
    case(
        "transpose",
        lambda x: torch.transpose(x, 0, 2),
        CUBE,
        method=lambda x: x.transpose(-1, 0),
        swapaxes=lambda x: x.swapaxes(0, 2),
        swapdims=lambda x: torch.swapdims(x, 0, 2),
        in_place=lambda x: x.clone().transpose_(0, 2),
    ),
    case("t", torch.t, method=lambda x: x.t(), in_place=lambda x: x.clone().t_()),
    case("T", lambda x: x.T),
    case("mT", lambda x: x.mT, CUBE),
    case(
        "movedim",
        lambda x: torch.movedim(x, 0, -1),
        CUBE,
        method=lambda x: x.movedim(0, 2),
        moveaxis=lambda x: torch.moveaxis(x, 0, 2),
        tuples=lambda x: x.movedim((0,), (2,)),
    ),
    case(
        "unsqueeze",
        lambda x: torch.unsqueeze(x, -1),
        method=lambda x: x.unsqueeze(2),
        in_place=lambda x: x.clone().unsqueeze_(2),
    ),
    case("squeeze", torch.squeeze, CUBE, method=lambda x: x.squeeze(1), in_place=lambda x: x.clone().squeeze_(-2)),
    case("squeeze", lambda x: x.squeeze(0), CUBE, "nothing to do", tuple=lambda x: x.squeeze((0, 2))),
    case("squeeze", lambda x: x.sum().squeeze(), CUBE, "0-d"),
    case(
        "expand",
        lambda x: x.expand(2, 2, 3),
        CUBE,
        keeping=lambda x: x.expand(-1, 2, -1),
        tuple=lambda x: x.expand((2, 2, 3)),
        broadcast_to=lambda x: torch.broadcast_to(x, (2, 2, 3)),
    ),
    case("expand", lambda x: x.expand(2, 2, 3), label="new axis"),
    case("expand_as", lambda x: x.expand_as(torch.zeros(2, 2, 3)), CUBE),
    case("broadcast_tensors", lambda x: torch.broadcast_tensors(x, torch.zeros(2, 2, 3))[0], CUBE),
    case("repeat", lambda x: x.repeat(2, 1), tuple=lambda x: x.repeat((2, 1)), tile=lambda x: torch.tile(x, (2, 1))),
    case("repeat", lambda x: x.repeat(2, 1, 1), label="new axis"),
    case("repeat", lambda x: x.tile(2), label="tile", tuple=lambda x: torch.tile(x, dims=(2,))),
    case(
        "repeat_interleave",
        lambda x: torch.repeat_interleave(x, 2, 1),
        method=lambda x: x.repeat_interleave(2, dim=-1),
    ),
    case("repeat_interleave", lambda x: x.repeat_interleave(2), label="flat"),
    case("repeat_interleave", lambda x: x.repeat_interleave(REPEATS, 1), label="tensor"),
    case(
        "flip", lambda x: torch.flip(x, (1,)), method=lambda x: x.flip(-1), keyword=lambda x: torch.flip(x, dims=(1,))
    ),
    case("flip", lambda x: x.flip(0, 1), label="both", tuple=lambda x: x.flip((0, 1))),
    case("roll", lambda x: torch.roll(x, 1, 1), method=lambda x: x.roll(shifts=1, dims=-1)),
    case("roll", lambda x: x.roll((1, 2), (0, 1)), label="both"),
    case("roll", lambda x: x.roll(2), label="flat"),
    case("narrow", lambda x: torch.narrow(x, 1, 1, 2), method=lambda x: x.narrow(-1, 1, 2)),
    case("select", lambda x: torch.select(x, 1, 2), method=lambda x: x.select(-1, -1)),
    case("index_select", lambda x: x.index_select(1, REPEATS), torch=lambda x: torch.index_select(x, -1, REPEATS)),
    case("diagonal", torch.diagonal, method=lambda x: x.diagonal(0, -2, -1), linalg=torch.linalg.diagonal),
    case(
        "diagonal",
        lambda x: x.diagonal(1, 0, 2),
        CUBE,
        "offset",
        keywords=lambda x: x.diagonal(offset=1, dim1=0, dim2=-1),
    ),
    case("diagonal", torch.linalg.diagonal, CUBE, "of linalg"),
    case("chunk", lambda x: torch.chunk(x, 2, 1)[1], method=lambda x: x.chunk(chunks=2, dim=-1)[1]),
    case(
        "split",
        lambda x: torch.split(x, 2, 1)[0],
        method=lambda x: x.split(2, dim=-1)[0],
        keyword=lambda x: torch.split(x, split_size_or_sections=2, dim=1)[0],
        sections=lambda x: x.split([2, 1], 1)[0],
    ),
    case(
        "tensor_split",
        lambda x: torch.tensor_split(x, 2, 1)[1],
        method=lambda x: x.tensor_split(sections=2, dim=1)[1],
        indices=lambda x: torch.tensor_split(x, (2,), dim=-1)[1],
        keyword=lambda x: torch.tensor_split(x, indices=(2,), dim=1)[1],
    ),
    case("unbind", lambda x: torch.unbind(x)[1], method=lambda x: x.unbind(0)[1], iteration=lambda x: list(x)[1]),
    case("unbind", lambda x: x.unbind(-1)[1], label="last axis"),
    case(
        "contiguous",
        lambda x: x.t().contiguous(),
        memory_format=lambda x: x.t().contiguous(memory_format=torch.contiguous_format),
    ),
    case("clone", torch.clone, method=lambda x: x.clone(memory_format=torch.contiguous_format)),
    Case(
        "detach",
        lambda x: x.detach(),
        X,
        "",
        {"torch": torch.detach, "in place": lambda x: x.clone().detach_()},
        smooth=False,
    ),
    Case("data", lambda x: x.data, X, smooth=False),
    case(
        "to", lambda x: x.to("cpu"), other=lambda x: x.to(X), type_as=lambda x: x.type_as(X), itself=lambda x: x.to(x)
    ),
    Case("to", lambda x: x.to(torch.float32), X, "float32", tolerance=SINGLE, smooth=False, order=2),
    Case(
        "type",
        lambda x: x.type(torch.float32),
        X,
        "",
        {"text": lambda x: x.type("torch.FloatTensor")},
        tolerance=SINGLE,
        smooth=False,
        order=2,
    ),
    conversion("float", torch.float32, SINGLE),
    conversion("double", torch.float64, EXACT),
    conversion("half", torch.float16, HALF),
    conversion("bfloat16", torch.bfloat16, BFLOAT16),
    case("cpu", lambda x: x.cpu()),
    Case("cuda", lambda x: x.cuda().cpu(), X, cuda=True),
]
