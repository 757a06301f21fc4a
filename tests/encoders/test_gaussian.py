"""The Gaussian head and its noise: an image has its own, wherever it is drawn."""

from __future__ import annotations

import math
from statistics import NormalDist

import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.testing import assert_close

from latentloom.checks import UserError
from latentloom.encoders.gaussian import Gaussian, _normal, row_noise

GOLDEN, WORD = 0x9E3779B97F4A7C15, 2**64


def finalised(x: int) -> int:
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % WORD
    x = (x ^ x >> 27) * 0x94D049BB133111EB % WORD
    return x ^ x >> 31


def splitmix(state: int, count: int) -> list[int]:
    return [finalised((state + k * GOLDEN) % WORD) for k in range(1, count + 1)]


def test_the_reference_is_the_published_generator() -> None:
    """The first numbers of SplitMix64 from 1234567, as its author's program prints them."""
    assert splitmix(1234567, 3) == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def naive_noise(seed: int, step: int, rows: list[int], d: int) -> list[list[float]]:
    found = []
    for row in rows:
        key = 0
        for number in (seed, step, row):
            key = splitmix((key + number) % WORD, 1)[0]
        found.append([NormalDist().inv_cdf(((bits >> 12) + 0.5) / 2**52) for bits in splitmix(key, d)])
    return found


ROWS = [0, 1, 59_999, 2**40, -3, 1]


@pytest.mark.parametrize("seed", [0, 7, 2**63 + 5, -1])
def test_agrees_with_the_loop_and_with_no_mistake(seed: int) -> None:
    noise = row_noise(seed, 3, torch.tensor(ROWS), 4)
    assert noise.dtype == torch.float32
    assert_close(noise, torch.tensor(naive_noise(seed, 3, ROWS, 4)))
    mistakes = {
        "another seed": naive_noise(seed + 1, 3, ROWS, 4),
        "step left out": naive_noise(seed, 0, ROWS, 4),
        "seed and step exchanged": naive_noise(3, seed, ROWS, 4),
        "row left out": naive_noise(seed, 3, [0] * 6, 4),
        "place in the batch for the row": naive_noise(seed, 3, list(range(6)), 4),
        "columns shifted": [row[1:] for row in naive_noise(seed, 3, ROWS, 5)],
    }
    for name, mistake in mistakes.items():
        assert not torch.allclose(noise, torch.tensor(mistake)), name


def test_an_image_has_the_same_noise_in_any_batch() -> None:
    rows = torch.randperm(101, generator=torch.Generator().manual_seed(0))
    whole = row_noise(5, 9, rows, 3)
    assert torch.equal(torch.cat([row_noise(5, 9, some, 3) for some in rows.split(8)]), whole)
    assert torch.equal(row_noise(5, 9, rows.flip(0), 3).flip(0), whole)
    assert torch.equal(row_noise(5, 9, torch.arange(101), 3)[rows], whole)
    assert torch.equal(
        row_noise(5, 9, rows, 7)[:, :3], whole
    )  # nor does a column depend on how many there are
    assert row_noise(5, 9, rows[:0], 3).shape == (0, 3)


def test_no_generator_is_touched_or_read() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = row_noise(1, 2, torch.arange(4), 2)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(row_noise(1, 2, torch.arange(4), 2), first)


def test_noise_can_be_asked_for_on_another_device() -> None:
    assert row_noise(1, 2, torch.arange(4), 2, "meta").device.type == "meta"


def is_normal(values: Tensor) -> bool:
    """By its first four moments, within five standard errors, and by the test of Kolmogorov and Smirnov."""
    x, n = values.double().flatten(), values.numel()
    moments = [
        (x.mean(), 0, 1),
        (x.square().mean(), 1, 2),
        (x.pow(3).mean(), 0, 15),
        (x.pow(4).mean(), 3, 96),
    ]
    near = all(abs(found - wanted) < 5 * math.sqrt(var / n) for found, wanted, var in moments)
    return near and bool(stats.kstest(x.numpy(), "norm").pvalue > 1e-4)


def test_noise_is_normal_along_every_axis() -> None:
    many = torch.arange(40_000)
    assert is_normal(row_noise(0, 0, many, 1))
    assert is_normal(row_noise(0, 0, many[:1], 40_000))
    assert is_normal(torch.cat([row_noise(0, step, many[:1], 20) for step in range(1000)]))
    assert is_normal(torch.cat([row_noise(seed, 0, many[:1], 20) for seed in range(1000)]))


def test_the_test_of_normality_sees_what_is_not() -> None:
    noise = row_noise(0, 0, torch.arange(40_000), 1)
    for spoilt in (noise + 0.03, noise * 1.03, noise.abs(), noise.clamp(-2, 2)):
        assert not is_normal(spoilt)
    assert not is_normal(torch.rand(40_000, generator=torch.Generator().manual_seed(0)) * 3.46 - 1.73)


def test_neighbours_share_nothing() -> None:
    rows, n = torch.arange(20_000), 40_000
    noise = row_noise(3, 4, rows, 2).flatten()
    others = {
        "next row": row_noise(3, 4, rows + 1, 2),
        "next step": row_noise(3, 5, rows, 2),
        "next seed": row_noise(4, 4, rows, 2),
        "next column": row_noise(3, 4, rows, 3)[:, 1:],
        "seed and step exchanged": row_noise(4, 3, rows, 2),
        "row and step exchanged": torch.cat(
            [row_noise(3, int(row), torch.tensor([4]), 2) for row in rows[:500]]
        ),
    }
    for name, other in others.items():
        for power in (1, 2):  # squares too: values may be tied where signs are not
            pair = torch.stack([noise[: other.numel()], other.flatten()]).double().pow(power)
            assert abs(pair.corrcoef()[0, 1]) < 5 / math.sqrt(min(n, other.numel())), name


def test_the_largest_and_the_smallest_are_finite_and_alike() -> None:
    ends = _normal(torch.tensor([0, -1, 1 << 62, -(1 << 63)]))
    assert_close(ends[0], -ends[1])
    assert 8 < ends[1] < 8.5
    assert ends[2].item() == pytest.approx(NormalDist().inv_cdf(0.25))
    assert abs(ends[3]) < 1e-9


def head(training: bool) -> Gaussian:
    torch.manual_seed(0)
    return Gaussian(5, 3, seed=11).train(training)


H, SOME = torch.linspace(-1, 1, 20).view(4, 5), torch.tensor([8, 2, 900, 3])


def test_evaluation_takes_the_mean() -> None:
    gaussian = head(training=False)
    samples = gaussian(H).samples
    assert samples.keys() == {"mean", "logvar", "z"}
    assert torch.equal(samples["z"], samples["mean"])
    assert_close(samples["mean"], H @ gaussian.mean.weight.T + gaussian.mean.bias)
    raw = H @ gaussian.logvar.weight.T + gaussian.logvar.bias
    assert_close(samples["logvar"], 20 * torch.tanh(raw / 20))


def test_training_draws_from_the_gaussian() -> None:
    samples = {name: value.detach() for name, value in head(training=True)(H, SOME, 6).samples.items()}
    noise = naive_noise(11, 6, SOME.tolist(), 3)
    for i in range(4):
        for j in range(3):
            wanted = samples["mean"][i, j] + math.exp(samples["logvar"][i, j].item() / 2) * noise[i][j]
            assert_close(samples["z"][i, j], wanted)
    assert not torch.equal(head(training=True)(H, SOME, 7).z, samples["z"])
    assert torch.equal(head(training=True)(H, SOME, 6).z, samples["z"])


@pytest.mark.parametrize("mistake", [None, 1.0, 2.0])
def test_many_draws_have_the_mean_and_the_variance(mistake: float | None) -> None:
    """The deviation is exp(logvar / 2); neither exp(logvar) nor exp(2 logvar)."""
    gaussian, one = head(training=True), H[3:]
    latent = gaussian(one.expand(50_000, 5), torch.arange(50_000), 0)
    spread = torch.exp((mistake or 0.5) * latent["logvar"][0])
    near = torch.isclose(latent.z.var(0), spread.square(), rtol=0.04)
    assert near.all() == (mistake is None)
    assert (latent.z.mean(0) - latent["mean"][0]).abs().max() < 5 * latent.z.std() / math.sqrt(50_000)


def test_gradient_passes_to_mean_and_variance() -> None:
    gaussian, h = head(training=True).double(), H.double().requires_grad_()
    torch.autograd.gradcheck(lambda h: gaussian(h, SOME, 2).z, h)
    gaussian(h, SOME, 2).z.sum().backward()
    noise = torch.tensor(naive_noise(11, 2, SOME.tolist(), 3), dtype=torch.float64)
    bend = torch.tanh(gaussian.logvar(h) / 20)
    slope = (torch.exp(10 * bend) * (1 - bend.square()) * noise / 2).sum(0)
    assert_close(gaussian.mean.bias.grad, torch.full((3,), 4.0, dtype=torch.float64))
    assert_close(gaussian.logvar.bias.grad, slope.detach(), rtol=1e-5, atol=1e-6)


def test_no_input_makes_a_variance_infinite() -> None:
    gaussian = head(training=True)
    latent = gaussian(1e6 * H, SOME, 0)
    assert latent["logvar"].abs().max() <= 20
    assert latent["logvar"].abs().max() > 19
    assert latent.z.isfinite().all()


def test_half_precision_does_not_reach_the_gaussian() -> None:
    gaussian = head(training=False)
    with torch.autocast("cpu", torch.bfloat16):
        inside = gaussian(H.bfloat16())
    assert inside["mean"].dtype == inside["logvar"].dtype == torch.float32
    assert torch.equal(inside["mean"], gaussian(H.bfloat16().float())["mean"])


def test_training_needs_row_numbers() -> None:
    with pytest.raises(UserError, match=r"got no row numbers; pass rows and step, or call eval\(\)"):
        head(training=True)(H)


def test_weights_make_the_same_head_again() -> None:
    first, second = head(training=True), Gaussian(5, 3, seed=11)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(H, SOME, 1).z, second(H, SOME, 1).z)
    assert isinstance(first, nn.Module)
