"""Sources: the same samples whatever the storage, the process, or the history."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import jetprop.training.data as data
from jetprop import Basis, Jet
from jetprop.jets import along
from jetprop.manifolds import Cube
from jetprop.objectives import Match, RandomDirections
from jetprop.training import Fresh, Rendered, Source, Stored
from training.curve import Curve

F64: dict[str, Any] = {"dtype": torch.float64}


def sources(batch: int = 6, seed: int = 0, count: int = 20, order: int = 2) -> list[Source]:
    common = {**F64, "order": order, "seed": seed, "start": 3}
    return [
        Stored.of(Curve(), count, batch, **common),
        Rendered(Curve(), count, batch, **common),
        Fresh(Curve(), batch, **common),
    ]


def same(one: Jet, other: Jet) -> bool:
    return one.basis == other.basis and torch.allclose(one.rows, other.rows, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("chunk", [512, 4])
@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("manifold", [Curve(), Cube()], ids=["one by one", "poses"])
def test_storage_does_not_change_batches(monkeypatch, manifold: Any, order: int, chunk: int) -> None:
    monkeypatch.setattr(data, "CHUNK", chunk)
    common = {**F64, "order": 2, "seed": 5, "start": 7}
    stored = Stored.of(manifold, 9, 4, **common)
    rendered = Rendered(manifold, 9, 4, **common)
    for step in (0, 1, 2, 5):
        for one, other in zip(stored.batch(step, order)[:2], rendered.batch(step, order)[:2], strict=True):
            assert same(one, other)
    for (x, y), (u, v) in zip(stored.chunks(), rendered.chunks(), strict=True):
        assert same(x, u) and same(y, v)
    for (x, y), (u, v) in zip(stored.values(), rendered.values(), strict=True):
        assert torch.allclose(x, u) and torch.allclose(y, v)


def test_an_epoch_visits_every_sample_once_in_an_order_of_its_own() -> None:
    x = Jet.constant(torch.arange(20.0)[:, None], Basis.full(1, 0))
    source = Stored(x, x, batch=6, seed=1)
    assert source.steps_per_epoch == 3
    epochs = [torch.cat([source.batch(3 * e + k, 0).inputs.value for k in range(3)]).flatten() for e in range(3)]
    assert all(len(epoch.unique()) == 18 for epoch in epochs)
    assert not torch.equal(epochs[0], epochs[1]) and not torch.equal(epochs[1], epochs[2])


@pytest.mark.parametrize("kind", range(3))
@pytest.mark.parametrize("random", [False, True])
def test_a_step_depends_on_seed_and_number_alone(kind: int, random: bool) -> None:
    def made(seed: int) -> Source:
        source = sources(seed=seed)[kind]
        if random:
            source.randomize(RandomDirections(torch.tensor([1.0, 2.0]), 2))
        return source

    forward, backward = made(3), made(3)
    batches = [forward.batch(step, 1) for step in range(7)]
    for step in (6, 2, 4, 0):
        assert same(batches[step].inputs, backward.batch(step, 1).inputs)
    other = made(4).batch(0, 1)
    assert same(batches[0].inputs, other.inputs) == (kind == 2 and not random)


@pytest.mark.parametrize("kind", range(3))
@pytest.mark.parametrize("random", [False, True])
def test_processes_share_each_batch(kind: int, random: bool) -> None:
    whole, parts = sources()[kind], [sources()[kind] for _ in range(3)]
    for rank, part in enumerate(parts):
        part.share(rank, 3)
    if random:
        for source in (whole, *parts):
            source.randomize(RandomDirections(torch.tensor([1.0, 2.0]), 1))
    for step in range(4):
        joined = torch.cat([part.batch(step, 2).inputs.rows for part in parts], 1)
        assert torch.allclose(joined, whole.batch(step, 2).inputs.rows, rtol=1e-12)
    with pytest.raises(ValueError, match="multiple of 4"):
        whole.share(0, 4)


def test_random_directions_are_contracted_or_rendered_to_the_same() -> None:
    stored, rendered, fresh = sources()
    full = stored.batch(2, 2)
    for source in (stored, rendered, fresh):
        source.randomize(RandomDirections(torch.tensor([1.0, 2.0]), 3))
        assert source.basis_of(2) == Basis.directional(3, 2)
        assert source.batch(2, 0).inputs.basis == Basis.full(0, 0)
    for one, other in zip(stored.batch(2, 2)[:2], rendered.batch(2, 2)[:2], strict=True):
        assert same(one, other)
    v = stored._directions_at(2, 2)
    assert v is not None and same(along(full.targets, v), stored.batch(2, 2).targets)


def test_fresh_poses_never_end_and_skip_the_test_set() -> None:
    class Counter(Curve):
        def sample(self, n: int, start: int = 0, *args: Any, **kwargs: Any) -> tuple[Jet, Jet]:
            x, y = super().sample(n, start, *args, **kwargs)
            numbers = torch.arange(start, start + n, dtype=x.dtype)[:, None].expand(n, 6)
            return Jet.constant(numbers, x.basis), y

    for start, skip in ((0, (10, 5)), (12, (10, 5)), (20, (10, 5)), (0, (0, 0))):
        source = Fresh(Counter(), 4, start=start, order=1, skip=skip, measured=12, **F64)
        seen = torch.cat([source.batch(step, 1).inputs.value[:, 0] for step in range(8)]).int().tolist()
        wanted = [k for k in range(start, start + 60) if not skip[0] <= k < sum(skip)]
        assert seen == wanted[:32], (start, skip)
        measured = torch.cat([x.value[:, 0] for x, _ in source.chunks()]).int().tolist()
        assert measured == wanted[:12]
    assert source.steps_per_epoch is None and list(source.values()) == []


def test_masks_travel_with_their_samples() -> None:
    x = Jet.constant(torch.arange(8.0)[:, None].double(), Basis.full(1, 1))
    mask = (torch.arange(8) % 2 == 0).view(1, 8, 1).expand(2, 8, 1)
    source = Stored(x, x, batch=4, mask=mask)
    batch = source.batch(1, 1)
    assert batch.mask is not None and torch.equal(batch.mask[0], batch.inputs.value % 2 == 0)
    assert source.batch(1, 0).mask.shape == (1, 4, 1)  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="cannot be used with a mask"):
        source.randomize(RandomDirections(torch.ones(1), 1))


def test_sets_that_do_not_fit_into_memory_are_refused(monkeypatch) -> None:
    monkeypatch.setattr(data, "_free_memory", lambda device: 1e3)
    with pytest.raises(MemoryError, match='storage = "render"'):
        Stored.of(Curve(), 100, 4)


X = Jet.constant(torch.ones(4, 2), Basis.full(1, 1))


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: Stored(X, X, batch=5), ValueError, "cannot be drawn from 4 samples"),
        (lambda: Stored(X, X, batch=0), ValueError, "integer ≥ 1"),
        (lambda: Stored(X, X.truncated(0), batch=2), ValueError, "same rows"),
        (lambda: Stored(X, X[:3], batch=2), ValueError, "4 inputs and 3 targets"),
        (lambda: Stored(X, X, batch=2, mask=torch.ones(2, 4, 2)), ValueError, "a mask is bool"),
        (lambda: Rendered(object(), 4, 2), TypeError, "is no manifold"),  # type: ignore[arg-type]
        (lambda: Stored.of(Curve(broken="basis"), 4, 2), ValueError, "same derivative"),
        (lambda: Stored.of(Curve(broken="count"), 4, 2), ValueError, "expected 1 samples"),
    ],
)
def test_bad_arguments_are_named(call, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        call()


def test_parts_of_a_masked_batch_weigh_what_the_whole_one_does() -> None:
    """However unequally the labels fall to the processes."""
    x = Jet.seed(torch.randn(12, 2, **F64))
    y = Jet(torch.randn(3, 12, 2, **F64), x.basis)
    mask = torch.rand(3, 12, 2, generator=torch.Generator().manual_seed(0)) < 0.3
    mask[:, :, 1] &= torch.arange(12) < 2

    def terms(rank: int, world: int) -> torch.Tensor:
        source = Stored(x, y, batch=12, seed=3, mask=mask)
        source.share(rank, world)
        inputs, targets, there, labels = source.batch(0, 1)
        return Match(x.basis, empty="zero")(inputs, targets, there, labels).rows

    assert torch.allclose(torch.stack([terms(0, 3), terms(1, 3), terms(2, 3)]).mean(0), terms(0, 1), rtol=1e-12)
