"""A head that gives each image a Gaussian in the latent space, and noise that belongs to the image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from latentloom.checks import UserError
from latentloom.values import Latent

WIDEST = 20.0  # a log-variance is kept within this of 0, where float32 holds exp(logvar)
# SplitMix64 (Steele, Lea and Flood 2014, doi:10.1145/2660193.2660195): increment and multipliers.
GOLDEN, FIRST, SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


class Gaussian(nn.Module):
    """A Gaussian of diagonal covariance for each image: samples["mean"], ["logvar"] and ["z"], (n, d).

        z = mean + exp(logvar / 2) * noise

    in training, with `row_noise(seed, step, rows, d)`, and z = mean in evaluation. The log-variance is
    20 tanh(l / 20) of what a linear layer gives, and all is computed in float32 under autocast too.

    Args:
        inputs: length of what the encoder ends in.
        latent_dim: d.
        seed: of the noise.
    """

    def __init__(self, inputs: int, latent_dim: int, seed: int = 0) -> None:
        super().__init__()
        self.mean = nn.Linear(inputs, latent_dim)
        self.logvar = nn.Linear(inputs, latent_dim)
        self.seed = seed

    def forward(self, h: Tensor, rows: Tensor | None = None, step: int = 0) -> Latent:
        """The latent of encoded images.

        Args:
            h: what the encoder ends in, (n, inputs).
            rows: number of each image in its set, (n,); needed in training alone.
            step: batches seen before.
        """
        mean, logvar = self.moments(h)
        if not self.training:
            return Latent({"mean": mean, "logvar": logvar, "z": mean})
        if rows is None:
            raise UserError(
                "a Gaussian head draws noise for each image in training and got no row numbers; pass rows "
                "and step, or call eval() for the means"
            )
        noise = row_noise(self.seed, step, rows, mean.shape[1], mean.device)
        return Latent({"mean": mean, "logvar": logvar, "z": mean + torch.exp(logvar / 2) * noise.to(mean)})

    def moments(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of encoded images (n, inputs): (n, d) each."""
        with torch.autocast(h.device.type, enabled=False):
            h = h.to(self.mean.weight.dtype)
            return self.mean(h), WIDEST * torch.tanh(self.logvar(h) / WIDEST)


def row_noise(seed: int, step: int, rows: Tensor, d: int, device: torch.device | str | None = None) -> Tensor:
    """Noise of N(0, 1) for each image at a step: (n, d) float32.

    Every number is a function of seed, step, row and column alone. So an image has the same noise
    whichever batch, or process, it is in, and no state is kept; on another kind of device it is the same
    to rounding. Each row is the stream of a SplitMix64 generator, started at a hash of (seed, step, row),
    through the inverse of the normal distribution function.

    Args:
        seed, step: whole numbers.
        rows: number of each image in its set, (n,) int64.
        d: numbers per image.
        device: of the noise; that of the rows unless given.
    """
    device = torch.device(device) if device is not None else rows.device
    exact = torch.device("cpu") if device.type == "mps" else device  # MPS has no float64
    key = torch.zeros(1, dtype=torch.int64, device=exact)
    for number in (_signed(seed), _signed(step), rows.to(exact, torch.int64)):
        key = _mixed(key + _signed(GOLDEN) + number)  # one after the other, so that neighbours share nothing
    columns = torch.arange(1, d + 1, device=exact)
    bits = _mixed(key[:, None] + columns * _signed(GOLDEN))  # (n, d)
    return _normal(bits).to(device, torch.float32)


def _normal(bits: Tensor) -> Tensor:
    """N(0, 1) from 64 random bits each, in float64.

    The upper 52 bits, at the middle of their step, as a number in (0, 1). With one more the largest would
    round to 1, and its normal be infinite.
    """
    normal: Tensor = torch.special.ndtri((_shifted(bits, 12).double() + 0.5) * 2.0**-52)
    return normal


def _mixed(x: Tensor) -> Tensor:
    """The finaliser of SplitMix64: a bijection of 64-bit numbers of which each bit depends on all bits."""
    x = (x ^ _shifted(x, 30)) * _signed(FIRST)
    x = (x ^ _shifted(x, 27)) * _signed(SECOND)
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, by: int) -> Tensor:
    """x >> by of the 64 bits as they are; that of int64 would draw in copies of the sign."""
    shifted: Tensor = (x >> by) & (2 ** (64 - by) - 1)
    return shifted


def _signed(number: int) -> int:
    """The int64 of the same lower 64 bits."""
    return (number + 2**63) % 2**64 - 2**63
