"""jetprop: derivatives of networks with respect to their inputs, carried, trained, bounded.

A *jet* is a value together with chosen derivatives of it. Push one through any `torch.nn.Module` and get the jet of
the output:

    >>> import torch
    >>> from jetprop import Jet
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    >>> y = model(Jet.seed(torch.zeros(5, 2), order=2))
    >>> y.shape, y.first.shape, y.second.shape
    (torch.Size([5, 1]), torch.Size([2, 5, 1]), torch.Size([3, 5, 1]))
"""

from jetprop.jets import Basis, Jet, functional_call

__version__ = "0.1.0"

__all__ = ["Basis", "Jet", "__version__", "functional_call"]
