"""``scattering``: the image and two layers of wavelet moduli, every filter from a formula; nothing in it is learned.

After Bruna and Mallat, "Invariant Scattering Convolution Networks", IEEE TPAMI 35 (2013), computed as a cascade: the
same small wavelets at every octave of a low-pass pyramid, in place of dilated wavelets on the full image. What follows
the logarithm (windows, centring, mirror sums) is this project's choice and not part of that paper.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from ndec_baselines.cards import registrations
from ndec_baselines.networks.inference import TorchBaseline

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ndec_baselines.base import ModelCard

SIDE = 64
MICRO_BATCH = 8
SCALES = 3
ORIENTATIONS = 4
RADIUS = 4
SIGMA = 1.0
FREQUENCY = 2.2
SLANT = 0.5
FLOOR = 0.005
FLAT = 1e-3
WINDOWS = (6, 6, 2)
LAYER_WEIGHTS = (0.5, 1.0, 0.5)
_GRID = 64


def low_pass() -> NDArray[np.float64]:
    """Return the (6, 6) float64 low-pass: the outer product of the binomial weights 1, 5, 10, 10, 5, 1 over 32.

    Its length is even, so that halving the resolution with it commutes with mirroring.
    """
    row = np.array([math.comb(5, k) for k in range(6)]) / 32
    return np.outer(row, row)


def morlet_wavelets(orientations: int = ORIENTATIONS) -> NDArray[np.complex128]:
    """Return (orientations, 9, 9) complex128 Morlet wavelets, sum zero, oscillating at angles pi l / orientations.

    psi(u) = c g(u) (exp(i xi u_1) - beta) with g a Gaussian of width sigma along the oscillation and sigma / slant
    across it, beta such that the sum vanishes (Bruna and Mallat 2013, section 2.1), and the one real factor c as
    large as `littlewood_paley` at most 1 allows.
    """
    waves = np.stack([_morlet(math.pi * index / orientations) for index in range(orientations)])
    energy, low = _energies(waves, low_pass())
    room = np.divide(1 - low, energy, out=np.full_like(energy, np.inf), where=energy > 1e-9 * energy.max())
    return waves * math.sqrt(room.min())


def littlewood_paley(waves: NDArray[np.complex128], low: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (64, 64) float64: |low|^2 plus the mean of sum |psi|^2 at w and at -w, on the grid of frequencies w.

    At most 1 everywhere means that one layer does not enlarge differences between images before it is subsampled.
    """
    energy, passed = _energies(waves, low)
    return energy + passed


class ScatteringNet(nn.Module):
    """Maps (n, 1, 64, 64) float32 grey images in [0, 1] to (n, 660) float32 unit vectors.

    Layer 0: the image itself, 6 x 6 windows (36 numbers). Layer 1: 3 scales x 4 orientations, 6 x 6 windows (432).
    Layer 2: the 3 pairs of a scale and a coarser one, 4 x 4 orientations, 2 x 2 windows (192). Then, per layer:
    logarithm, centring of each scale (or pair) over its orientations and windows, sums and absolute differences with
    the mirror image (which fold one half of the windows onto the other), unit length; layers 0 and 2 count half.
    """

    wavelets: torch.Tensor
    low: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        waves = morlet_wavelets()
        self.register_buffer("wavelets", _filters(np.concatenate([waves.real, waves.imag])))
        self.register_buffer("low", _filters(low_pass()[None]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the descriptors of a batch."""
        layers = self.scatter(images)
        finished = [weight * _finish(layers[order], order) for order, weight in enumerate(LAYER_WEIGHTS)]
        return functional.normalize(torch.cat(finished, dim=1))

    def scatter(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the window averages of the three layers, before the logarithm; the last axes are row and column.

        (n, 1, 1, 6, 6); (n, 3, 4, 6, 6): scale, orientation; (n, 3, 16, 2, 2): pair of scales, both orientations.
        """
        mean = _windows(images, WINDOWS[0])[:, None]
        first, second = [], []
        for scale in range(SCALES):
            moduli = self._moduli(images)
            first.append(_windows(moduli, WINDOWS[1]))
            second += self._second_layer(moduli, scale)
            images = self._halve(images)
        return mean, torch.stack(first, dim=1), torch.stack(second, dim=1)

    def _second_layer(self, moduli: torch.Tensor, scale: int) -> list[torch.Tensor]:
        count, orientations, height, width = moduli.shape
        maps, found = moduli.reshape(count * orientations, 1, height, width), []
        for _ in range(scale + 1, SCALES):
            maps = self._halve(maps)
            averages = _windows(self._moduli(maps), WINDOWS[2])
            found.append(averages.reshape(count, -1, *averages.shape[-2:]))
        return found

    def _moduli(self, images: torch.Tensor) -> torch.Tensor:
        waves = functional.conv2d(functional.pad(images, (RADIUS,) * 4, mode="reflect"), self.wavelets)
        return torch.sqrt(waves[:, :ORIENTATIONS] ** 2 + waves[:, ORIENTATIONS:] ** 2)

    def _halve(self, images: torch.Tensor) -> torch.Tensor:
        return functional.conv2d(functional.pad(images, (2,) * 4, mode="reflect"), self.low, stride=2)


def _morlet(angle: float) -> NDArray[np.complex128]:
    rows, columns = np.mgrid[-RADIUS : RADIUS + 1, -RADIUS : RADIUS + 1]
    along = columns * math.cos(angle) + rows * math.sin(angle)
    across = rows * math.cos(angle) - columns * math.sin(angle)
    gauss = np.exp(-(along**2 + (SLANT * across) ** 2) / (2 * SIGMA**2))
    wave = np.exp(1j * FREQUENCY * along)
    result: NDArray[np.complex128] = gauss * (wave - (gauss * wave).sum() / gauss.sum())
    return result


def _energies(
    waves: NDArray[np.complex128], low: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    power = (np.abs(np.fft.fft2(waves, s=(_GRID, _GRID))) ** 2).sum(axis=0)
    mirrored = np.roll(power[::-1, ::-1], (1, 1), axis=(0, 1))
    return (power + mirrored) / 2, np.abs(np.fft.fft2(low, s=(_GRID, _GRID))) ** 2


def _filters(kernels: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(kernels[:, None].astype(np.float32))


def _windows(maps: torch.Tensor, count: int) -> torch.Tensor:
    # Windows that overlap by half change less when the picture is shifted or cropped than a plain grid does.
    return functional.avg_pool2d(functional.adaptive_avg_pool2d(maps, count + 1), 2, stride=1)


def _finish(averages: torch.Tensor, order: int) -> torch.Tensor:
    logs = torch.log(averages + FLOOR)
    logs = logs - logs.mean(dim=(2, 3, 4), keepdim=True)
    mirrored = _mirror(logs, order)
    half = averages.shape[-1] // 2
    folded = torch.cat([(logs + mirrored)[..., :half], (logs - mirrored).abs()[..., :half]], dim=1)
    # A flat image has only rounding errors here; the constant keeps them small and its descriptor defined.
    return functional.normalize(folded.flatten(1) + FLAT)


def _mirror(logs: torch.Tensor, order: int) -> torch.Tensor:
    # Mirroring turns the orientation pi l / L into pi (L - l) / L, in each of the layer's orientation axes.
    count, groups, _, rows, columns = logs.shape
    turned = [-index % ORIENTATIONS for index in range(ORIENTATIONS)]
    view = logs.flip(-1).reshape(count, groups, *(ORIENTATIONS,) * order, rows, columns)
    for axis in range(2, 2 + order):
        view = view.index_select(axis, torch.tensor(turned, device=logs.device))
    return view.reshape(logs.shape)


def preprocess(image: Image.Image) -> torch.Tensor:
    """Return the grey image as a (1, 64, 64) float32 tensor in [0, 1]."""
    grey = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.asarray(grey, dtype=np.float32) / np.float32(255))[None]


def load(card: ModelCard, weights: None, device: str) -> TorchBaseline:
    """Return the baseline on ``device``."""
    return TorchBaseline(card, ScatteringNet(), preprocess, device=device, micro_batch=MICRO_BATCH)


BASELINES = registrations("scattering", load)
