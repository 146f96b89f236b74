"""Architectures in common use, unchanged: rows and gradients against nested reverse mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from jetprop.jets import Basis, Jet, MissingRuleError, functional_call, push
from jets.cases.normalization import composed_batch_norm, composed_layer_norm
from jets.rule_cases import DTYPE, drawn
from jets.tolerances import BFLOAT16, ENGINE, EXACT, ROUNDING

pytestmark = pytest.mark.filterwarnings(
    "ignore::jetprop.jets.KinkWarning",
    "ignore:enable_nested_tensor is True:UserWarning",
)

BASES = {"one direction, order 3": Basis.full(1, 3), "two directions, order 2": Basis.full(2, 2)}


@pytest.fixture(params=BASES)
def basis(request: pytest.FixtureRequest) -> Basis:
    return BASES[request.param]


def curve(x: Tensor, basis: Basis) -> Jet:
    """A jet at x with every row drawn."""
    return Jet(torch.cat([x[None], drawn(len(basis) - 1, *x.shape, low=-0.5, high=0.5, seed=1)]), basis)


def settled(model: nn.Module) -> nn.Module:
    """Parameters and statistics drawn, the same on every call, none at its initial 0 or 1."""
    for k, (name, tensor) in enumerate({**dict(model.named_parameters()), **dict(model.named_buffers())}.items()):
        if not tensor.is_floating_point():
            continue
        shape, positive = tensor.shape, name.endswith("running_var") or (name.endswith("weight") and tensor.dim() == 1)
        spread = 1.0 if tensor.dim() < 2 else tensor[0].numel() ** -0.5
        low, high = (0.5, 1.5) if positive else (-1.5 * spread, 1.5 * spread)
        tensor.data = drawn(*shape, low=low, high=high, seed=k)
    return model


def from_definitions(model: nn.Module) -> nn.Module:
    """The same model with normalisations spelled out, where third derivatives of PyTorch's own are wrong."""
    for name, child in model.named_children():
        if isinstance(child, nn.BatchNorm2d) and child.training:
            setattr(model, name, Composed(composed_batch_norm, child.weight, child.bias))
        elif isinstance(child, nn.LayerNorm):
            setattr(model, name, Composed(lambda x, w, b: composed_layer_norm(x, 1, w, b), child.weight, child.bias))
        else:
            from_definitions(child)
    return model


class Composed(nn.Module):
    """A normalisation from its definition, with the parameters of a layer."""

    def __init__(self, normalise: Callable[..., Tensor], weight: nn.Parameter, bias: nn.Parameter) -> None:
        super().__init__()
        self.normalise, self.weight, self.bias = normalise, weight, bias
        self.eps = 1e-5

    def forward(self, x: Tensor) -> Tensor:
        return self.normalise(x, self.weight, self.bias)


def check(
    build: Callable[[], nn.Module],
    x: Tensor,
    basis: Basis,
    training: bool = True,
    call: Callable[[nn.Module, Any], Any] = lambda model, x: model(x),
) -> None:
    """Value, rows and gradients of the parameters, with the same random numbers everywhere."""

    def run(model: nn.Module) -> Callable[[Any], Any]:
        def seeded(x: Any) -> Any:
            torch.manual_seed(5)
            return call(model, x)

        return seeded

    ours, plain, theirs = (settled(build()).train(training) for _ in range(3))
    theirs = from_definitions(theirs)
    jet = curve(x, basis)
    found = run(ours)(jet)
    ROUNDING.check(found.value, run(plain)(x))
    with sdpa_kernel(SDPBackend.MATH):
        expected = push(run(theirs), jet, backend="reference")
    ENGINE.check(found.rows, expected.rows)
    weights = drawn(*found.rows.shape, seed=2)
    (found.rows * weights).sum().backward()
    (expected.rows * weights).sum().backward()
    gradients = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        assert (parameter.grad is None) == ((expected_gradient := gradients[name].grad) is None), name
        if parameter.grad is not None and expected_gradient is not None:
            scale = 1 + float(parameter.grad.abs().max())
            ENGINE.check(parameter.grad / scale, expected_gradient / scale, name)
    for (name, buffer), (_, expected_buffer) in zip(ours.named_buffers(), plain.named_buffers(), strict=True):
        ROUNDING.check(buffer, expected_buffer, name)


# ---- a residual network ---------------------------------------------------------------------------------------------


class BasicBlock(nn.Module):
    """As in torchvision."""

    def __init__(self, inplanes: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = None
        if stride != 1 or inplanes != planes:
            self.downsample = nn.Sequential(nn.Conv2d(inplanes, planes, 1, stride, bias=False), nn.BatchNorm2d(planes))

    def forward(self, x: Any) -> Any:
        identity = x
        out = self.conv1(x)
        out = self.bn1(out)
        out = self.relu(out)
        out = self.conv2(out)
        out = self.bn2(out)
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        out = self.relu(out)
        return out


class ResNet(nn.Module):
    """As in torchvision, with `width` channels in place of 64."""

    def __init__(self, layers: tuple[int, ...], num_classes: int, width: int) -> None:
        super().__init__()
        self.inplanes = width
        self.conv1 = nn.Conv2d(3, self.inplanes, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(self.inplanes)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layer1 = self._make_layer(width, layers[0])
        self.layer2 = self._make_layer(2 * width, layers[1], stride=2)
        self.layer3 = self._make_layer(4 * width, layers[2], stride=2)
        self.layer4 = self._make_layer(8 * width, layers[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(8 * width, num_classes)

    def _make_layer(self, planes: int, blocks: int, stride: int = 1) -> nn.Sequential:
        layers = [BasicBlock(self.inplanes, planes, stride)]
        self.inplanes = planes
        layers += [BasicBlock(self.inplanes, planes) for _ in range(1, blocks)]
        return nn.Sequential(*layers)

    def forward(self, x: Any) -> Any:
        x = self.conv1(x)
        x = self.bn1(x)
        x = self.relu(x)
        x = self.maxpool(x)
        x = self.layer1(x)
        x = self.layer2(x)
        x = self.layer3(x)
        x = self.layer4(x)
        x = self.avgpool(x)
        x = torch.flatten(x, 1)
        x = self.fc(x)
        return x


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_resnet18(training: bool, basis: Basis) -> None:
    check(lambda: ResNet((2, 2, 2, 2), 1, 2), drawn(3, 3, 32, 32), basis, training)


# ---- a U-Net --------------------------------------------------------------------------------------------------------


class DoubleConv(nn.Sequential):
    """Twice convolution, group norm and activation."""

    def __init__(self, inputs: int, outputs: int, padding_mode: Any) -> None:
        convolutions = [nn.Conv2d(a, outputs, 3, padding=1, padding_mode=padding_mode) for a in (inputs, outputs)]
        super().__init__(
            *(layer for conv in convolutions for layer in (conv, nn.GroupNorm(2, outputs), nn.SiLU(inplace=True)))
        )


class UNet(nn.Module):
    """Down by pooling, up by `up`, with skips."""

    def __init__(self, up: Callable[[], nn.Module], padding_mode: Any = "zeros", width: int = 2) -> None:
        super().__init__()
        self.into = DoubleConv(1, width, padding_mode)
        self.down = nn.Sequential(nn.MaxPool2d(2), DoubleConv(width, 2 * width, padding_mode))
        self.up = up()
        self.join = DoubleConv(3 * width, width, padding_mode)
        self.out = nn.Conv2d(width, 1, 1)

    def forward(self, x: Any) -> Any:
        skip = self.into(x)
        h = self.up(self.down(skip))
        rows, columns = skip.size(2) - h.size(2), skip.size(3) - h.size(3)
        h = F.pad(h, [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2])
        return self.out(self.join(torch.cat([skip, h], dim=1))).mean((2, 3))


UPSAMPLING: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "transposed convolution": (lambda: nn.ConvTranspose2d(4, 4, 2, stride=2), "zeros"),
    "nearest": (lambda: nn.Upsample(scale_factor=2), "reflect"),
    "nearest-exact": (lambda: nn.Upsample(scale_factor=2, mode="nearest-exact"), "replicate"),
    "bilinear": (lambda: nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), "circular"),
    "bicubic": (lambda: nn.Upsample(size=(5, 4), mode="bicubic"), "zeros"),
    "pixel shuffle": (lambda: nn.Sequential(nn.Conv2d(4, 16, 1), nn.PixelShuffle(2)), "zeros"),
}


@pytest.mark.parametrize("name", UPSAMPLING)
def test_u_net(name: str, basis: Basis) -> None:
    up, padding_mode = UPSAMPLING[name]
    check(lambda: UNet(up, padding_mode), drawn(1, 1, 5, 4), basis)


# ---- transformers ---------------------------------------------------------------------------------------------------


class ViT(nn.Module):
    """Patches, a class token, positions, one encoder block with its norms first, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 4, 2, stride=2)
        self.token, self.positions = nn.Parameter(torch.zeros(1, 1, 4)), nn.Parameter(torch.zeros(1, 5, 4))
        self.ln_1, self.ln_2, self.ln = nn.LayerNorm(4), nn.LayerNorm(4), nn.LayerNorm(4)
        self.self_attention = nn.MultiheadAttention(4, 2, dropout=0.2, batch_first=True)
        self.dropout = nn.Dropout(0.2)
        self.mlp = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Dropout(0.2), nn.Linear(8, 4))
        self.head = nn.Linear(4, 2)

    def forward(self, x: Any) -> Any:
        x = self.patches(x).flatten(2).permute(0, 2, 1)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1) + self.positions
        y = self.ln_1(x)
        y, _ = self.self_attention(y, y, y, need_weights=False)
        x = x + self.dropout(y)
        x = x + self.mlp(self.ln_2(x))
        return self.head(self.ln(x)[:, 0])


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_vision_transformer(training: bool, basis: Basis) -> None:
    check(ViT, drawn(2, 1, 4, 4), basis, training)


class DecoderBlock(nn.Module):
    """As in recent language models: RMS norms, rotated positions, grouped heads, causal, a gated perceptron."""

    def __init__(self, gate: Callable[[Any], Any]) -> None:
        super().__init__()
        self.gate = gate
        self.norm_1, self.norm_2 = nn.RMSNorm(4), nn.RMSNorm(4)
        self.q, self.kv, self.o = nn.Linear(4, 8, bias=False), nn.Linear(4, 8, bias=False), nn.Linear(8, 4, bias=False)
        self.gate_up, self.down = nn.Linear(4, 12, bias=False), nn.Linear(6, 4, bias=False)

    def rotated(self, x: Any) -> Any:
        angles = torch.arange(x.shape[-2], dtype=x.dtype, device=x.device)[:, None] * torch.tensor([[1.0, 0.1]])
        a, b = x.chunk(2, -1)
        return torch.cat([a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()], -1)

    def forward(self, x: Any) -> Any:
        batch, length, _ = x.shape
        h = self.norm_1(x)
        q = self.q(h).view(batch, length, 2, 4).transpose(1, 2)
        k, v = (t.view(batch, length, 1, 4).transpose(1, 2) for t in self.kv(h).chunk(2, -1))
        h = F.scaled_dot_product_attention(self.rotated(q), self.rotated(k), v, is_causal=True, enable_gqa=True)
        x = x + self.o(h.transpose(1, 2).reshape(batch, length, -1))
        gate, up = self.gate_up(self.norm_2(x)).chunk(2, dim=-1)
        return (x + self.down(self.gate(gate) * up)).mean(1)


@pytest.mark.parametrize("gate", [F.gelu, F.silu], ids=["GEGLU", "SwiGLU"])
def test_decoder_block_of_language_models(gate: Callable[[Any], Any], basis: Basis) -> None:
    check(lambda: DecoderBlock(gate), drawn(1, 3, 4), basis)


CAUSAL = torch.ones(3, 3, dtype=torch.bool).triu(1)
PADDED = torch.tensor([[False, False, True], [False, False, False]])
X, MEMORY = drawn(2, 3, 4), drawn(2, 2, 4, seed=3)


def encoder_layer(**options: Any) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(4, 2, 6, batch_first=True, **options)


TRANSFORMERS: dict[str, tuple[Callable[[], nn.Module], Callable[[Any, Any], Any]]] = {
    "encoder layer": (encoder_layer, lambda m, x: m(x)),
    "encoder layer, norm first": (lambda: encoder_layer(norm_first=True, activation="gelu"), lambda m, x: m(x)),
    "encoder layer, masks": (
        lambda: encoder_layer(dropout=0.0),
        lambda m, x: m(x, src_mask=CAUSAL, src_key_padding_mask=PADDED),
    ),
    "encoder layer, causal": (lambda: encoder_layer(dropout=0.0), lambda m, x: m(x, CAUSAL, is_causal=True)),
    "decoder layer": (
        lambda: nn.TransformerDecoderLayer(4, 2, 6, batch_first=True),
        lambda m, x: m(x, MEMORY, tgt_mask=CAUSAL),
    ),
    "decoder layer, along the memory": (
        lambda: nn.TransformerDecoderLayer(4, 2, 6, batch_first=True),
        lambda m, x: m(MEMORY, x, memory_key_padding_mask=PADDED),
    ),
    "encoder": (
        lambda: nn.TransformerEncoder(encoder_layer(), 2, nn.LayerNorm(4)),
        lambda m, x: m(x, src_key_padding_mask=PADDED),
    ),
    "transformer": (
        lambda: nn.Transformer(4, 2, 1, 1, 6, batch_first=True),
        lambda m, x: m(x, MEMORY, src_key_padding_mask=PADDED, tgt_mask=CAUSAL[:2, :2], tgt_is_causal=True),
    ),
    "transformer, along both": (lambda: nn.Transformer(4, 2, 1, 1, 6), lambda m, x: m(x, 0.5 * x[:1])),
}


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformers(name: str, training: bool, basis: Basis) -> None:
    build, call = TRANSFORMERS[name]
    check(build, X, basis, training, lambda model, x: call(model, x)[:, :, :2])


ATTENTION: dict[str, tuple[dict[str, Any], Callable[[Any, Any], Any]]] = {
    "weights": ({}, lambda m, x: torch.cat([m(x, x, x)[0].flatten(), m(x, x, x)[1].flatten()])),
    "weights of each head": ({}, lambda m, x: m(x, x, x, average_attn_weights=False)[1]),
    "boolean padding": ({}, lambda m, x: m(x, x, x, key_padding_mask=PADDED, need_weights=False)[0]),
    "added padding, with weights": ({}, lambda m, x: m(x, x, x, key_padding_mask=-2.0 * PADDED.double())[0]),
    "mask": ({}, lambda m, x: m(x, x, x, attn_mask=CAUSAL, need_weights=False)[0]),
    "mask of each head": (
        {},
        lambda m, x: m(
            x, x, x, attn_mask=drawn(4, 3, 3, seed=4), key_padding_mask=-2.0 * PADDED.double(), need_weights=False
        )[0],
    ),
    "cross": ({}, lambda m, x: m(x, MEMORY, MEMORY, need_weights=False)[0]),
    "key and value dimensions": (
        {"kdim": 2, "vdim": 3},
        lambda m, x: m(x, x[..., :2], x[..., 1:], need_weights=False)[0],
    ),
    "added keys": (
        {"add_bias_kv": True, "add_zero_attn": True},
        lambda m, x: m(x, x, x, attn_mask=CAUSAL, key_padding_mask=PADDED)[0],
    ),
    "no bias": ({"bias": False}, lambda m, x: m(x, x, x, need_weights=False)[0]),
    "no batch": ({}, lambda m, x: m(x[0], x[0], x[0], attn_mask=CAUSAL, need_weights=False)[0]),
    "dropout": ({"dropout": 0.3}, lambda m, x: m(x, x, x)[0]),
}


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", ATTENTION)
def test_multihead_attention(name: str, training: bool, basis: Basis) -> None:
    options, call = ATTENTION[name]
    check(lambda: nn.MultiheadAttention(4, 2, batch_first=True, **options), X, basis, training, call)


def test_the_shortcuts_for_inference_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without gradients, in evaluation, with frozen parameters: where PyTorch would leave its Python code."""
    encoder = settled(nn.TransformerEncoder(encoder_layer(), 1)).eval().requires_grad_(False)
    jet = curve(X, Basis.full(1, 2))
    expected = encoder(jet)
    for name in ("_native_multi_head_attention", "_transformer_encoder_layer_fwd"):
        monkeypatch.delattr(torch, name)
    with torch.no_grad():
        EXACT.check(encoder(jet).rows, expected.rows)
        padded = encoder(jet, src_key_padding_mask=PADDED)
    ENGINE.check(padded.rows[:, 1], expected.rows[:, 1])


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_nested_tensors_are_refused() -> None:
    nested = torch.nested.nested_tensor([drawn(2, 4), drawn(3, 4)])
    with pytest.raises((TypeError, ValueError, RuntimeError)):
        Jet(nested, Basis.full(1, 1))


# ---- derivatives along parameters -----------------------------------------------------------------------------------


def test_embedding_along_its_table() -> None:
    layer, indices = settled(nn.Embedding(3, 2, padding_idx=1)), torch.tensor([[0, 1], [2, 0]])
    jet = curve(drawn(3, 2, seed=4), Basis.full(1, 2))
    found = functional_call(layer, {"weight": jet}, indices)
    ROUNDING.check(found.rows[0], jet.value[indices])
    expected = jet.rows[1:, indices]
    expected[:, 0, 1] = 0
    EXACT.check(found.rows[1:], expected)
    ENGINE.check(found.rows, push(lambda w: F.embedding(indices, w, 1), jet, backend="reference").rows)
    leaf = jet.rows.clone().requires_grad_()
    functional_call(layer, {"weight": Jet(leaf, jet.basis)}, indices).rows.sum().backward()
    assert leaf.grad is not None
    EXACT.check(leaf.grad, torch.tensor([2.0, 0.0, 1.0], dtype=DTYPE)[None, :, None].expand(3, 3, 2))


def test_embedding_refuses_what_it_cannot_honour() -> None:
    indices = torch.tensor([0, 2])
    table: Any = Jet.seed(drawn(3, 2))
    for options in ({"scale_grad_by_freq": True}, {"sparse": True}):
        with pytest.raises(TypeError, match=next(iter(options))):
            F.embedding(indices, table, **options)
    with pytest.raises(MissingRuleError, match="embedding_renorm_"):
        F.embedding(indices, table, max_norm=1.0)
    with pytest.raises(MissingRuleError, match="embedding_bag"):
        F.embedding_bag(indices[None], table)
    with pytest.raises(TypeError, match="indices"):
        F.embedding(table, drawn(3, 2))


def test_transformer_layer_along_its_parameters() -> None:
    model = settled(encoder_layer(dropout=0.0))
    basis = Basis.full(1, 2)
    for name in ("norm1.weight", "self_attn.in_proj_weight", "linear2.bias"):
        jet = curve(model.get_parameter(name).detach(), basis)

        def call(w: Any, name: str = name) -> Any:
            return functional_call(model, {name: w}, X[:1])[..., :2]

        with sdpa_kernel(SDPBackend.MATH):
            expected = push(call, jet, backend="reference")
        ENGINE.check(call(jet).rows, expected.rows, name)


# ---- what is refused, and what moves --------------------------------------------------------------------------------


def test_bad_shapes_are_told() -> None:
    x: Any = Jet.seed(drawn(2, 3))
    grid: Any = Jet.seed(drawn(1, 2, 2, 2))
    calls: dict[str, Callable[[], Any]] = {
        "normalized_shape": lambda: F.layer_norm(x, (2,)),
        "num_groups": lambda: F.group_norm(x, 2),
        "more than one value": lambda: F.instance_norm(x[:, :, None], None, None),
        "running_mean": lambda: F.batch_norm(x, None, None),
        "attn_mask or is_causal": lambda: F.scaled_dot_product_attention(
            x, x, x, torch.ones(2, 2, dtype=torch.bool), is_causal=True
        ),
        r"\[\*, C, H, W\]": lambda: F.pixel_shuffle(x, 2),
    }
    for message, call in calls.items():
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(TypeError, match="grid"):
        F.grid_sample(drawn(1, 1, 2, 2), grid, align_corners=False)


@pytest.mark.parametrize("space", [1, 2])
def test_running_statistics_of_instances_follow_the_value(space: int) -> None:
    ours, plain = (
        getattr(nn, f"InstanceNorm{space}d")(2, affine=True, track_running_stats=True, dtype=DTYPE) for _ in range(2)
    )
    x = drawn(3, 2, *[3] * space)
    for _ in range(2):
        ROUNDING.check(ours(curve(x, Basis.full(1, 2))).value, plain(x))
    for (name, found), (_, expected) in zip(ours.named_buffers(), plain.named_buffers(), strict=True):
        ROUNDING.check(found, expected, name)
    check(lambda: settled(type(plain)(2, affine=True, track_running_stats=True)), x[:1], Basis.full(1, 2), False)


# ---- other precisions, other callers --------------------------------------------------------------------------------

MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "encoder layer": (lambda: encoder_layer(dropout=0.0), (2, 3, 4)),
    "U-Net": (lambda: UNet(*UPSAMPLING["bilinear"]), (1, 1, 4, 4)),
    "vision transformer": (lambda: ViT().eval(), (2, 1, 4, 4)),
    "RMS norm": (lambda: nn.Sequential(nn.Linear(4, 4), nn.RMSNorm(4)), (2, 4)),
    "instance norm": (lambda: nn.Sequential(nn.Conv1d(1, 2, 2), nn.InstanceNorm1d(2)), (2, 1, 5)),
}


@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight:UserWarning")
@pytest.mark.parametrize("name", MODELS)
def test_autocast(name: str) -> None:
    build, shape = MODELS[name]
    model, x = settled(build()).float(), drawn(*shape).float()
    jet = curve(drawn(*shape), Basis.full(1, 2)).float()
    full = model(jet)
    with torch.autocast("cpu", torch.bfloat16):
        plain, carried = model(x), model(jet)
    assert carried.dtype == plain.dtype
    BFLOAT16.check(carried.value / 2, plain / 2)
    scale = full.rows.abs().flatten(1).amax(1).clamp_min(1).view(-1, *[1] * full.dim())
    assert ((carried.rows - full.rows).abs() / scale).max() < 10 * BFLOAT16.absolute


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision(name: str, dtype: torch.dtype) -> None:
    build, shape = MODELS[name]
    model, x = settled(build()).to(dtype), drawn(*shape).to(dtype)
    found, plain = model(Jet.seed(x, torch.ones_like(x)[None])), model(x)
    assert found.dtype == plain.dtype == dtype
    BFLOAT16.check(found.value / 2, plain / 2)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch", "ignore:.*Dynamo:UserWarning")
@pytest.mark.parametrize("name", ["encoder layer", "U-Net", "decoder block", "instance norm"])
def test_whole_models_are_traced_in_one_graph(name: str) -> None:
    build, shape = (lambda: DecoderBlock(F.silu), (1, 3, 4)) if name == "decoder block" else MODELS[name]

    def loss(model: nn.Module, jet: Jet) -> Tensor:
        return model(jet).rows.square().sum()

    results = []
    for run in (loss, torch.compile(loss, fullgraph=True, backend="aot_eager")):
        model = settled(build())
        value = run(model, curve(drawn(*shape), Basis.full(2, 2)))
        value.backward()
        results.append([value.detach(), *(p.grad for p in model.parameters() if p.grad is not None)])
    for found, expected in zip(*results, strict=True):
        ENGINE.check(found, expected)
