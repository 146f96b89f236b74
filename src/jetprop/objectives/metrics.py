"""How good a network is, in the measure that results are stated in."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["ErrorMeter", "relative_error"]


class ErrorMeter:
    """The error e of (3) over a set that comes in chunks.

        e = mean_a rms(N_a − C_a) / σ_a

    Args:
        deviation: σ, the standard deviations of the outputs over the *training* set, also for test sets; > 0.

    Raises:
        ValueError: a deviation is not positive.

    Source:
        avrutskiy2023, (3).

    Example:
        >>> import torch
        >>> from jetprop.objectives import ErrorMeter
        >>> meter = ErrorMeter(torch.tensor([2.0, 4.0]))
        >>> meter.update(torch.zeros(3, 2), torch.ones(3, 2))
        >>> meter.compute()
        0.375
    """

    def __init__(self, deviation: Tensor) -> None:
        deviation = deviation.detach().cpu().to(torch.float64).flatten()
        bad = ~((deviation > 0) & deviation.isfinite())
        if bool(bad.any()):
            output = int(bad.nonzero()[0])
            raise ValueError(
                f"output {output} has standard deviation {float(deviation[output])} over the training set, and error "
                f"(3) divides by it: drop constant outputs"
            )
        self.deviation = deviation
        self.squares = torch.zeros_like(deviation)
        self.count = 0

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add a chunk, `[n, outputs]` each."""
        if prediction.shape != target.shape or prediction[0].numel() != len(self.deviation):
            raise ValueError(
                f"predictions {tuple(prediction.shape)} and targets {tuple(target.shape)} must both be [n, "
                f"{len(self.deviation)}]"
            )
        prediction, target = (t.detach().cpu().to(torch.float64) for t in (prediction, target))
        difference = (prediction - target).flatten(1)
        self.squares += difference.square().sum(0)
        self.count += len(difference)

    def outputs(self) -> Tensor:
        """rms(N_a − C_a)/σ_a for each output."""
        if self.count == 0:
            raise ValueError("no predictions were added; call update first")
        return (self.squares / self.count).sqrt() / self.deviation

    def compute(self) -> float:
        """The mean of `outputs`."""
        return float(self.outputs().mean())


def relative_error(prediction: Tensor, target: Tensor, deviation: Tensor) -> float:
    """The error e of (3) in one call: mean_a rms(N_a − C_a)/σ_a.

    Args:
        prediction: N, `[n, outputs]`.
        target: C, `[n, outputs]`.
        deviation: σ over the training set, `[outputs]`.

    Returns:
        e; multiply by 100 for the percentages of the paper's tables.

    Example:
        >>> import torch
        >>> from jetprop.objectives import relative_error
        >>> relative_error(torch.zeros(3, 2), torch.ones(3, 2), torch.tensor([2.0, 4.0]))
        0.375
    """
    meter = ErrorMeter(deviation)
    meter.update(prediction, target)
    return meter.compute()
