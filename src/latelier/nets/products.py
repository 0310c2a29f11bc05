"""Convolutions in 2 dimensions as one matrix product, where that is faster. N = rows, C, O = channels, k = kernel, L = positions.

They are torch's layers, with the same parameters and the same sums; only the way the sums are taken differs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Measured on one core, 128 rows, forwards and backwards: with 2 to 8 million weights on 1 to 16 positions the product takes 0.18
# to 0.6 of the time of the library's convolution, which is written for many positions, on AVX2, and 0.7 of it in bfloat16 on
# AVX-512. In float32 on AVX-512 it takes 1.1 times as long, and so it does with fewer weights.
WEIGHTS, POSITIONS = 1 << 21, 16


def by_product(x: Tensor, weight: Tensor, space: Sequence[int]) -> bool:
    """Whether a product is the faster way for these weights at so many positions: on a CPU, few and wide."""
    if x.device.type != "cpu" or weight.numel() < WEIGHTS or math.prod(space) > POSITIONS:
        return False
    narrow = x.dtype == torch.bfloat16 or torch.is_autocast_enabled("cpu")
    return narrow or torch.backends.cpu.get_cpu_capability() != "AVX512"


class Conv2d(nn.Conv2d):
    """(N, C, H, W) -> (N, O, H', W'): windows of C k k numbers, (N, L, C k k), times the weights.

    >>> layer = Conv2d(512, 256, 4, 2, 1)
    >>> layer(torch.zeros(2, 512, 7, 7)).shape
    torch.Size([2, 256, 3, 3])
    """

    def forward(self, x: Tensor) -> Tensor:
        padding, kernel, gap, stride = self.padding, self.kernel_size, self.dilation, self.stride
        if isinstance(padding, str) or self.padding_mode != "zeros" or self.groups > 1:
            return super().forward(x)
        height, width = (
            (x.shape[2 + i] + 2 * padding[i] - gap[i] * (kernel[i] - 1) - 1) // stride[i] + 1 for i in (0, 1)
        )
        if not by_product(x, self.weight, (height, width)):
            return super().forward(x)
        windows = F.unfold(x, kernel, gap, padding, stride).transpose(1, 2)
        y = F.linear(windows.flatten(0, 1), self.weight.flatten(1), self.bias)
        return y.view(len(x), height, width, self.out_channels).permute(0, 3, 1, 2)


class ConvTranspose2d(nn.ConvTranspose2d):
    """(N, C, H, W) -> (N, O, H', W'): each position times the weights is a window of O k k numbers, and windows are added up.

    >>> layer = ConvTranspose2d(512, 512, 3, 2, 1)
    >>> layer(torch.zeros(2, 512, 4, 4)).shape
    torch.Size([2, 512, 7, 7])
    """

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        padding, kernel, gap, stride = self.padding, self.kernel_size, self.dilation, self.stride
        if (
            isinstance(padding, str)
            or output_size is not None
            or self.groups > 1
            or not by_product(x, self.weight, x.shape[2:])
        ):
            return super().forward(x, output_size)
        height, width = (
            (x.shape[2 + i] - 1) * stride[i] - 2 * padding[i] + gap[i] * (kernel[i] - 1) + self.output_padding[i] + 1
            for i in (0, 1)
        )
        windows = torch.mm(x.flatten(2).transpose(1, 2).flatten(0, 1), self.weight.flatten(1))
        windows = windows.view(len(x), -1, windows.shape[1]).transpose(1, 2)
        y = F.fold(windows, (height, width), kernel, gap, padding, stride)
        return y if self.bias is None else y + self.bias[:, None, None]
