"""The logistic distribution over intervals, which pixel levels and ordered codes share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def log_mass(low: Tensor, length: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """Log of P(low < L < low + length) for a standard logistic L, nats; all shapes broadcast, ``length`` > 0.

    The ``first`` interval (bool) reaches down to minus infinity and the ``last`` up to infinity. The product form of
    sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - exp(a - b)) never subtracts near-equal numbers, so intervals
    far in a tail keep an exact, finite logarithm and a useful gradient.

    >>> log_mass(torch.tensor(-1.0), torch.tensor(2.0), torch.tensor(False), torch.tensor(False)).exp()
    tensor(0.4621)
    """
    below_top = torch.where(last, 0.0, F.logsigmoid(low + length))
    above_bottom = torch.where(first, 0.0, F.logsigmoid(-low))
    return below_top + above_bottom + torch.where(first | last, 0.0, torch.log(-torch.expm1(-length)))


def standard_logistic(like: Tensor) -> Tensor:
    """Draws of the shape of ``like``, by the inverse of the cumulative distribution function."""
    return torch.rand_like(like).logit_(eps=1e-7)


def standard_gumbel(like: Tensor) -> Tensor:
    """Draws of the shape of ``like``: adding them to logits makes the largest a draw from the softmax."""
    return torch.empty_like(like).exponential_().clamp_min_(1e-30).log_().neg_()
