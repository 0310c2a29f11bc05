"""A critic of pictures, patch by patch. N = rows, C = channels, space = (L,), (H, W) or (D, H, W)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

PLAIN = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


class PatchCritic(nn.Module):
    """(N, C, *space) in [0, 1] -> (N, 1, *patches) scores, high for what looks real (Isola et al. 2017, section 3.2.2).

    Each of ``channels`` halves the map, so a score sees a patch and judges texture, not the whole. Spectral normalisation
    (Miyato et al. 2018) bounds its slope; its power iteration is kept in buffers, so a resumed run goes on exactly.

    >>> PatchCritic(3, (16, 16), (8, 16))(torch.zeros(2, 3, 16, 16)).shape
    torch.Size([2, 1, 4, 4])
    """

    def __init__(self, inputs: int, space: Sequence[int], channels: Sequence[int] = (32, 64)):
        super().__init__()
        conv = PLAIN[len(space)]
        self.down = nn.ModuleList(spectral_norm(conv(a, b, 3, 2, 1)) for a, b in pairwise([inputs, *channels]))
        self.last = spectral_norm(conv(channels[-1], 1, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        # In full precision: power iteration in bfloat16 drifts, and a critic is small beside what it judges.
        with torch.autocast(x.device.type, enabled=False):
            h = 2 * x.float() - 1
            for down in self.down:
                h = F.leaky_relu(down(h), 0.2)
            return self.last(h)
