"""Peak memory, held against counts made by hand."""

import pytest
import torch

from jetprop.benchmarks import peak_bytes


def test_the_peak_is_between_allocations_that_overlap():
    """4000, 12000, 8000 (the first is gone), 10000, 22000 at the end, all of it temporary."""

    def run() -> None:
        first = torch.empty(1000, dtype=torch.float32)
        second = torch.empty(1000, dtype=torch.float64)
        del first
        third = torch.empty(2000, dtype=torch.bool)
        fourth = torch.empty(3000, dtype=torch.float32)
        assert len(second) + len(third) + len(fourth) == 6000

    assert peak_bytes(run) == 8000 + 2000 + 12000


def test_memory_from_before_does_not_count():
    before = torch.ones(10_000, dtype=torch.float32)
    assert peak_bytes(before.neg) == 40_000
    assert peak_bytes(lambda: before[::2]) == peak_bytes(before.neg_) == 0


def test_what_an_operation_takes_and_gives_back_inside_counts():
    """The mean square holds the squares, then their sum, until it returns a number."""
    x = torch.ones(5000, dtype=torch.float32)
    assert peak_bytes(lambda: torch.nn.functional.mse_loss(x, 0 * x)) >= 2 * 20_000


@pytest.mark.parametrize(
    "device", ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]
)
def test_a_step_of_autograd(device):
    """After the forward pass two results of exp live; each backward adds one gradient before it lets one of them go."""
    n = 1 << 16
    x = torch.ones(n, dtype=torch.float32, device=device, requires_grad=True)
    peak = peak_bytes(lambda: x.exp().exp().sum().backward(), device)
    assert 3 * 4 * n <= peak <= 3 * 4 * n + 4096
    assert x.grad is not None


def test_it_is_the_same_every_time():
    x = torch.randn(64, 100)
    layer = torch.nn.Linear(100, 50)

    def run() -> None:
        torch.autograd.grad(layer(x).sigmoid().sum(), list(layer.parameters()))

    assert len({peak_bytes(run) for _ in range(3)}) == 1


def test_another_device_is_refused():
    with pytest.raises(ValueError, match='"cpu" or "cuda", got \'meta\''):
        peak_bytes(lambda: None, "meta")
