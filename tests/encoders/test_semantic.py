"""The head of class names, and the noise that picks other names."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.testing import assert_close

from latentloom.checks import UserError
from latentloom.encoders import LabelEmbeddings, row_noise, uniform_noise
from latentloom.losses import semantic_anchor, semantic_triplet

GROUP = torch.tensor([0, 1, -1, 1, 0])


def vectors(n: int, seed: int = 0) -> Tensor:
    return 3 * torch.randn(n, 6, generator=torch.Generator().manual_seed(seed))


def head(**changed: Any) -> LabelEmbeddings:
    given: dict[str, Any] = {"vectors": vectors(5), "coarse_vectors": vectors(2, 1), "coarse_of": GROUP}
    return LabelEmbeddings(**{**given, "learned_balance": True, **changed})


Z, Y = torch.linspace(-1, 1, 24).reshape(4, 6), torch.tensor([0, 2, 4, -1])


def test_gives_what_the_terms_read() -> None:
    latent = head()(Z)
    assert latent.samples == {}
    assert {name: (tuple(t.shape), t.dtype) for name, t in latent.shared.items()} == {
        "label_embeddings": ((5, 6), torch.float32),
        "coarse_embeddings": ((2, 6), torch.float32),
        "coarse_of": ((5,), torch.int64),
        "balance": ((2,), torch.float32),
    }
    for name, given in (("label_embeddings", vectors(5)), ("coarse_embeddings", vectors(2, 1))):
        lengths = [math.hypot(*row) for row in given.tolist()]
        assert_close(latent[name], given / torch.tensor(lengths)[:, None])
    assert torch.equal(latent["coarse_of"], GROUP)
    assert latent["balance"].tolist() == [1, 1]


def test_without_groups_there_are_only_labels() -> None:
    alone = LabelEmbeddings(vectors(5).double())
    assert alone(Z).shared.keys() == {"label_embeddings"}
    assert list(alone.parameters()) == []
    fixed = head(learned_balance=False)
    assert fixed(Z).shared.keys() == {"label_embeddings", "coarse_embeddings", "coarse_of"}
    assert list(fixed.parameters()) == []


def test_what_is_given_is_not_learned_and_the_balance_is() -> None:
    whole = head()
    shared = whole(Z).shared
    assert [tuple(p.shape) for p in whole.parameters()] == [(2,)]
    z = Z.clone().requires_grad_()
    groups = shared["coarse_embeddings"], shared["coarse_of"]
    loss = semantic_anchor(z, shared["label_embeddings"], Y, *groups, shared["balance"])
    loss.backward()
    assert whole.balance is not None
    assert whole.balance.grad is not None
    assert whole.balance.grad.abs().max() > 0
    assert not shared["label_embeddings"].requires_grad


def test_what_was_given_stays_as_it_was() -> None:
    given, coarse, group = vectors(5), vectors(2, 1), GROUP.clone()
    made = LabelEmbeddings(given, coarse, group)
    with torch.no_grad():
        for buffer in made.buffers():
            buffer.zero_()
    assert torch.equal(given, vectors(5))
    assert torch.equal(coarse, vectors(2, 1))
    assert torch.equal(group, GROUP)


def test_weights_make_the_same_head_again() -> None:
    first, second = head(), head(vectors=vectors(5, 7), coarse_vectors=vectors(2, 8), coarse_of=0 * GROUP)
    with torch.no_grad():
        next(first.parameters()).copy_(torch.tensor([0.2, 3.0]))
    assert first.state_dict().keys() == {"vectors", "coarse_vectors", "coarse_of", "balance"}
    second.load_state_dict(first.state_dict())
    assert_close(dict(second(Z).shared), dict(first(Z).shared), rtol=0, atol=0)
    assert isinstance(first, nn.Module)


def test_any_integer_groups_will_do() -> None:
    assert torch.equal(head(coarse_of=GROUP.to(torch.int8))(Z)["coarse_of"], GROUP)


def spoilt(at: int, value: float) -> Tensor:
    wrong = vectors(5)
    wrong[at] = value
    return wrong


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "a vector": (
        {"vectors": vectors(5)[0]},
        r"label embeddings must be floating .*, a row per name, got .* \(6,\)",
    ),
    "no name": ({"vectors": vectors(0)}, r"label embeddings must be floating .* \(0, 6\)"),
    "integers": ({"vectors": torch.ones(5, 6, dtype=torch.int64)}, r"got torch.int64 \(5, 6\)"),
    "nan": ({"vectors": spoilt(3, math.nan)}, "label embeddings must be finite, got nan or inf in row 3"),
    "inf": ({"vectors": spoilt(1, math.inf)}, "label embeddings must be finite, got nan or inf in row 1"),
    "zeros": (
        {"vectors": spoilt(2, 0.0)},
        "label embeddings must have a direction, got only zeros in row 2; a name",
    ),
    "groups of another length": (
        {"coarse_vectors": vectors(2)[:, :4]},
        r"coarse embeddings must be floating .*, as long as the label embeddings, 6, got .* \(2, 4\)",
    ),
    "nan in groups": ({"coarse_vectors": spoilt(0, math.nan)}, "coarse embeddings must be finite"),
    "vectors of groups alone": (
        {"coarse_of": None, "learned_balance": False},
        "coarse_vectors and coarse_of go",
    ),
    "groups without vectors": (
        {"coarse_vectors": None, "learned_balance": False},
        "coarse_vectors and coarse_of go",
    ),
    "balance of nothing": (
        {"coarse_vectors": None, "coarse_of": None},
        "a learned balance of class and group needs groups; give coarse_vectors",
    ),
    "a group for too few": (
        {"coarse_of": GROUP[:4]},
        r"coarse_of must be integer \(5,\), .* got torch.int64 \(4,\)",
    ),
    "floating groups": (
        {"coarse_of": GROUP.float()},
        r"coarse_of must be integer \(5,\), .* got torch.float32",
    ),
    "a group that is not there": ({"coarse_of": GROUP + 1}, r"must lie in \[0, 2\), or be -1 .* got 0 to 2"),
    "below -1": ({"coarse_of": GROUP - 1}, r"must lie in \[0, 2\), or be -1 .* got -2 to 0"),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_mistakes_of_the_caller(what: str) -> None:
    changed, message = MISTAKES[what]
    with pytest.raises(UserError, match=message):
        head(**changed)


def test_points_of_another_length() -> None:
    with pytest.raises(
        UserError,
        match=r"z has 4 dimensions and the label embeddings 6; set --model\.latent_dim 6, or give attach a "
        r"projection, nn\.Linear\(4, 6\)",
    ):
        head()(Z[:, :4])


# Noise


ROWS = torch.tensor([0, 1, 59_999, 2**40, 1])


def test_noise_is_that_of_row_noise_made_uniform() -> None:
    noise = uniform_noise(ROWS, 3, 11)
    assert noise.dtype == torch.float32
    normal = row_noise(11 + 2**32, 3, ROWS, 1)[:, 0].tolist()
    assert_close(noise.tolist(), [NormalDist().cdf(x) for x in normal], rtol=0, atol=1e-6)
    for other in (uniform_noise(ROWS, 4, 11), uniform_noise(ROWS, 3, 12), uniform_noise(ROWS + 1, 3, 11)):
        assert not torch.allclose(other, noise)


def test_an_image_has_the_same_noise_in_any_batch() -> None:
    rows = torch.randperm(101, generator=torch.Generator().manual_seed(0))
    whole = uniform_noise(rows, 9, 5)
    assert torch.equal(torch.cat([uniform_noise(some, 9, 5) for some in rows.split(8)]), whole)
    assert torch.equal(uniform_noise(torch.arange(101), 9, 5)[rows], whole)
    assert uniform_noise(rows[:0], 9, 5).shape == (0,)
    before = torch.get_rng_state()
    uniform_noise(rows, 9, 5)
    assert torch.equal(torch.get_rng_state(), before)


def is_uniform(noise: Tensor) -> bool:
    return bool(stats.kstest(noise.numpy(), "uniform").pvalue > 1e-4)


def test_noise_is_uniform_over_rows_steps_and_seeds() -> None:
    many, one = torch.arange(40_000), torch.arange(1)
    noise = uniform_noise(many, 0, 0)
    assert is_uniform(noise)
    assert is_uniform(torch.cat([uniform_noise(one, step, 0) for step in range(500)]))
    assert is_uniform(torch.cat([uniform_noise(one, 0, seed) for seed in range(500)]))
    for spoilt_noise in (noise.square(), noise * 0.95, row_noise(0, 0, many, 1)[:, 0]):
        assert not is_uniform(spoilt_noise)


def test_noise_has_nothing_to_do_with_that_of_a_gaussian_of_the_same_seed() -> None:
    rows = torch.arange(20_000)
    normal = row_noise(5, 2, rows, 1)[:, 0]
    for power in (1, 2):
        pair = torch.stack([(uniform_noise(rows, 2, 5) - 0.5) ** power, normal**power])
        assert abs(pair.corrcoef()[0, 1]) < 5 / math.sqrt(len(rows))


def test_noise_stays_below_1(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = torch.tensor([[-9.0], [9.0]])
    monkeypatch.setattr("latentloom.encoders.semantic.row_noise", lambda *_: ends)
    low, high = uniform_noise(torch.arange(2), 0, 0).tolist()
    assert 0 <= low < 1e-7
    assert 1 - 1e-7 < high < 1


def test_noise_picks_every_other_name_as_often() -> None:
    """Over many rows the random negative is the mean over all of them, to a few standard errors."""
    n, labels = 20_000, head()(Z)["label_embeddings"]
    z, y = Z[:1].expand(n, 6), torch.full((n,), 3)
    drawn = semantic_triplet(z, labels, y, uniform_noise(torch.arange(n), 0, 0), negatives="random")
    assert drawn.item() == pytest.approx(semantic_triplet(z, labels, y).item(), rel=0.03)
