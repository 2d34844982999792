"""Large-kernel convolutions by tiles in the frequency domain: the same result, less arithmetic."""

import math
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TILE = 26
"""Side of a tile; with a 7×7 kernel 20 pixels of it are valid, which divide 360×480 evenly."""


Complex = tuple[Tensor, Tensor]
"""Real and imaginary part."""


class _Transforms(NamedTuple):
    """Fourier transforms of tiles as real matrices; u counts columns' frequencies, v rows'."""

    columns: Tensor  # 2u × TILE: real and imaginary part of each u
    rows: Complex  # v × 2·TILE each: to the real and to the imaginary part
    kernel: Complex  # uv × K² each: conjugate spectrum of a kernel
    inverse_rows: Complex  # inner × v each: cosines and sines
    inverse_columns: Complex  # inner × u each


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # they are kept, and a later call may want gradients
def _transforms(kernel: int) -> _Transforms:
    full = torch.arange(TILE, dtype=torch.float64, device="cpu")
    u, inner, taps = full[: TILE // 2 + 1], full[: TILE - kernel + 1], full[:kernel]

    def angle(a: Tensor, b: Tensor) -> Tensor:
        return 2 * math.pi / TILE * torch.outer(a, b)

    columns = torch.stack([angle(u, full).cos(), -angle(u, full).sin()], 1).flatten(0, 1)
    cos, sin = angle(full, full).cos(), angle(full, full).sin()
    rows = torch.cat([cos, sin], 1), torch.cat([-sin, cos], 1)
    spread = angle(full, taps)[None, :, :, None] + angle(u, taps)[:, None, None, :]
    spectrum = spread.cos().flatten(2).flatten(0, 1), spread.sin().flatten(2).flatten(0, 1)
    back = angle(inner, full).cos() / TILE, angle(inner, full).sin() / TILE
    twice = torch.full_like(u, 2.0)  # each u stands for its mirror image too, but the ends
    twice[0] = twice[-1] = 1.0
    last = angle(inner, u).cos() * twice / TILE, -angle(inner, u).sin() * twice / TILE
    parts = [m.float() for m in (columns, *rows, *spectrum, *back, *last)]
    return _Transforms(parts[0], *((parts[i], parts[i + 1]) for i in (1, 3, 5, 7)))


def _spectra(images: Tensor, plan: _Transforms, kernel: int) -> Complex:
    """N×C×H×W to real and imaginary parts, uv × (tiles·N) × C, of overlapping tiles."""
    inner, before = TILE - kernel + 1, kernel // 2
    down, right = (-n % inner for n in images.shape[2:])
    edges = (0, 0, 0, 0, before, right + before, before, down + before)
    tiles = F.pad(images.permute(2, 3, 0, 1), edges).unfold(1, TILE, inner)
    half = plan.columns @ tiles.permute(4, 0, 1, 2, 3).reshape(TILE, -1)
    height, rest = images.shape[2] + down + 2 * before, tiles.shape[1:4].numel()
    stacked = half.view(len(half), height, rest).unfold(1, TILE, inner)
    stacked = stacked.permute(0, 3, 1, 2).reshape(len(half) // 2, 2 * TILE, -1)
    real, imaginary = (
        torch.matmul(matrix, stacked).view(TILE * (TILE // 2 + 1), -1, images.shape[1])
        for matrix in plan.rows
    )
    return real, imaginary


def _product(left: Complex, right: Complex) -> Complex:
    """The batched product of two complex matrices, each given as (real, imaginary)."""
    (a, b), (c, d) = left, right
    real = torch.baddbmm(torch.bmm(a, c), b, d, alpha=-1)
    return real, torch.baddbmm(torch.bmm(a, d), b, c)


def _pixels(spectra: Complex, plan: _Transforms) -> Tensor:
    """Spectra uv × tiles × O back to the valid pixels of tiles: columns × (rows·tiles·O)."""
    by_column = tuple(part.view(TILE // 2 + 1, TILE, -1) for part in spectra)
    cos, sin = (matrix.expand(TILE // 2 + 1, -1, -1) for matrix in plan.inverse_rows)
    real, imaginary = _product((cos, sin), (by_column[0], by_column[1]))
    cos, sin = plan.inverse_columns
    return torch.addmm(cos @ real.flatten(1), sin, imaginary.flatten(1))


def spectral_conv2d(images: Tensor, weight: Tensor) -> Tensor:
    """What ``conv2d(images, weight, padding=K // 2)`` gives, up to float32 rounding.

    Tiles of 26×26 pixels are transformed by matrix products, multiplied by the kernel's spectrum
    channel by channel, and transformed back (overlap-save; Oppenheim and Schafer, 1975). With 7×7
    kernels and 64 channels that takes a sixth of the multiplications. Gradients are autograd's.

    Args:
        images: Float32 N×C×H×W.
        weight: O×C×K×K, K odd and below 26.
    """
    kernel = weight.shape[-1]
    plan, inner = _transforms(kernel), TILE - kernel + 1
    taps = weight.permute(2, 3, 1, 0).flatten(2).flatten(0, 1)
    shape = (TILE * (TILE // 2 + 1), weight.shape[1], weight.shape[0])
    spectrum = (plan.kernel[0] @ taps).view(shape), (plan.kernel[1] @ taps).view(shape)
    tiles = _pixels(_product(_spectra(images, plan, kernel), spectrum), plan)
    count, height, width = images.shape[0], images.shape[2], images.shape[3]
    rows, columns = -(-height // inner), -(-width // inner)
    tiles = tiles.view(inner, inner, rows, columns, count, len(weight)).permute(4, 5, 2, 1, 3, 0)
    return tiles.reshape(count, len(weight), rows * inner, columns * inner)[:, :, :height, :width]


class LargeConv2d(nn.Conv2d):
    """A K×K convolution of stride 1 and zero padding that keeps the size, without bias.

    On the CPU in float32 it is computed by :func:`spectral_conv2d`, elsewhere directly.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__(inputs, outputs, kernel, padding=kernel // 2, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """Map N×inputs×H×W to N×outputs×H×W."""
        if images.device.type == "cpu" and images.dtype == torch.float32 and self.in_channels > 8:
            return spectral_conv2d(images, self.weight)
        return super().forward(images)
