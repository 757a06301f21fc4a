"""Terms x weighting: what an objective adds up, and how it says what went wrong."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from unittest.mock import patch

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from latentloom import losses
from latentloom.checks import UserError
from latentloom.config import Objective as ObjectiveConfig
from latentloom.config import Schedule, Term
from latentloom.losses import TERMS, term
from latentloom.objective import Objective, batch_counts, not_finite
from latentloom.values import Latent

RISE = Schedule("linear", 0.0, 1.0)


def batch(**shared: Tensor) -> Latent:
    """Nine points of three classes, one row unlabelled; z and logits are leaves of the graph."""
    g = torch.Generator().manual_seed(0)
    z, logits = (torch.randn(9, d, generator=g, dtype=torch.float64).requires_grad_() for d in (4, 3))
    y = torch.tensor([0, 1, 2, 0, 1, 2, 0, -1, 1])
    return Latent({"z": z, "logits": logits, "y": y}, shared)


@pytest.fixture
def own_terms() -> Iterator[None]:
    """Terms that a test registers are gone after it."""
    with patch.dict(TERMS):
        yield


# What is added up


def test_total_is_the_weighted_sum() -> None:
    latent = batch()
    objective = Objective({"cross_entropy": 0.5, "triplet": Term(2.0, {"margin": 0.3}), "center": 0.25})
    found = objective(latent)
    parts = {
        "cross_entropy": 0.5 * losses.cross_entropy(latent.logits, latent.y),
        "triplet": 2.0 * losses.triplet(latent.z, latent.y, margin=0.3),
        "center": 0.25 * losses.center(latent.z, latent.y),
    }
    assert_close(dict(found.parts), {name: part.detach() for name, part in parts.items()})
    assert_close(found.total, parts["cross_entropy"] + parts["triplet"] + parts["center"])
    assert found.weights == {"cross_entropy": 0.5, "triplet": 2.0, "center": 0.25}
    assert found.total.shape == ()
    assert not any(part.requires_grad for part in found.parts.values())
    with pytest.raises(AssertionError):
        assert_close(found.parts["triplet"], 2.0 * losses.triplet(latent.z, latent.y).detach())


def test_gradient_is_the_weighted_sum_of_gradients() -> None:
    latent = batch()
    weights = {"triplet": 2.0, "center": 0.25}
    (slope,) = torch.autograd.grad(Objective(weights)(latent).total, latent.z)
    own = [torch.autograd.grad(TERMS[name].fn(latent.z, latent.y), latent.z)[0] for name in weights]
    assert_close(slope, 2.0 * own[0] + 0.25 * own[1])
    with pytest.raises(AssertionError):
        assert_close(slope, own[0] + own[1])


def test_one_loss_counts_twice_under_two_names() -> None:
    latent = batch()
    terms = {"near": Term(1.0, {"margin": 0.1}, "triplet"), "far": Term(1.0, {"margin": 2.0}, "triplet")}
    found = Objective(terms)(latent).parts
    for name, margin in {"near": 0.1, "far": 2.0}.items():
        assert_close(found[name], losses.triplet(latent.z, latent.y, margin=margin).detach())


def test_configuration_and_code_say_the_same() -> None:
    terms = {"cross_entropy": Term(), "magnet": Term(0.5, {"alpha": 2.0})}
    built = Objective.from_config(ObjectiveConfig(terms, lam=0.25))
    assert_close(built(batch()).total, Objective(terms, lam=0.25)(batch()).total)


@pytest.mark.usefixtures("own_terms")
def test_term_of_a_user() -> None:
    @term
    def spread(z: Tensor, y: Tensor, row: Tensor | None = None, *, scale: float = 1.0) -> Tensor:
        """Mean square of z; `row` is not there."""
        assert row is None
        return scale * z.square().mean()

    latent = batch()
    found = Objective({"spread": Term(0.5, {"scale": 3.0})})(latent)
    assert_close(found.total, 1.5 * latent.z.square().mean())


def test_registered_terms_are_gone_after_the_test() -> None:
    assert "spread" not in TERMS


def test_centres_of_a_head_reach_the_center_term() -> None:
    centres = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    latent = batch(centres=centres.requires_grad_())
    found = Objective({"center": 1.0})(latent)
    assert_close(found.total, losses.center(latent.z, latent.y, centres))
    assert torch.autograd.grad(found.total, centres)[0].abs().min() > 0
    with pytest.raises(AssertionError):
        assert_close(found.total, Objective({"center": 1.0})(batch()).total)


# Lambda


@pytest.mark.parametrize(("lam", "weights"), [(0.25, (1.5, 1.0, 0.125)), (0.75, (0.5, 3.0, 0.375))])
def test_lambda_sets_cross_entropy_against_the_rest(lam: float, weights: tuple[float, ...]) -> None:
    terms = {"cross_entropy": 2.0, "triplet": 4.0, "center": 0.5}
    assert Objective(terms, lam).weights(0.0) == dict(zip(terms, weights, strict=True))


def test_lambda_knows_cross_entropy_under_another_name() -> None:
    terms = {"smooth": Term(1.0, {"label_smoothing": 0.1}, "cross_entropy"), "triplet": Term()}
    assert Objective(terms, 0.2).weights(0.0) == {"smooth": 0.8, "triplet": 0.2}


@pytest.mark.usefixtures("own_terms")
@pytest.mark.parametrize("lam", [0.0, None])
def test_term_of_weight_zero_is_not_evaluated(lam: float | None) -> None:
    @term
    def broken(z: Tensor, y: Tensor) -> Tensor:
        """Fails when it is asked."""
        raise AssertionError

    latent = batch()
    found = Objective({"cross_entropy": 1.0, "broken": 1.0 if lam == 0.0 else 0.0}, lam)(latent)
    assert torch.equal(found.total, losses.cross_entropy(latent.logits, latent.y))
    assert found.parts.keys() == {"cross_entropy"}
    assert found.weights == {"cross_entropy": 1.0, "broken": 0.0}


def test_lambda_one_leaves_the_head_untrained() -> None:
    latent = batch()
    with pytest.warns(UserWarning, match="nothing trains the linear head"):
        found = Objective({"cross_entropy": 1.0, "triplet": 1.0}, lam=1.0)(latent)
    assert_close(found.total, losses.triplet(latent.z, latent.y))
    assert torch.autograd.grad(found.total, latent.logits, allow_unused=True) == (None,)


@pytest.mark.parametrize(
    ("lam", "value"),
    [
        (-0.1, -0.1),
        (1.5, 1.5),
        (math.nan, math.nan),
        (Schedule("linear", -0.5, 1.0), -0.5),
        (Schedule("linear", 0.0, 1.25), 1.25),
        (Schedule("linear", 0.0, 1.0, minimum=2.0), 2.0),
    ],
)
def test_lambda_outside_of_its_range(lam: float | Schedule, value: float) -> None:
    with pytest.raises(UserError, match=rf"lambda must lie in \[0, 1\], got {value} at progress") as caught:
        Objective({"cross_entropy": 1.0, "triplet": 1.0}, lam)
    assert "--objective.lam" in str(caught.value)


@pytest.mark.parametrize("lam", [0, Schedule("linear", 1.0, 0.0), Schedule("linear", 0.0, 2.0, until=2.0)])
def test_lambda_at_the_ends_of_its_range(lam: float | Schedule) -> None:
    Objective({"cross_entropy": 1.0, "triplet": 1.0}, lam)


def test_lambda_needs_cross_entropy() -> None:
    with pytest.raises(UserError, match="add cross_entropy"):
        Objective({"triplet": 1.0}, lam=0.5)


# Progress


def test_weights_options_and_lambda_move() -> None:
    terms = {"cross_entropy": Term(2.0), "triplet": Term(Schedule("step", 1.0, 3.0, 0.5), {"margin": RISE})}
    objective = Objective(terms, lam=Schedule("linear", 0.0, 1.0))
    latent = batch()
    for progress, triplet_weight in {0.25: 1.0, 0.75: 3.0}.items():
        found = objective(latent, progress)
        weights = {"cross_entropy": 2 * (1 - progress), "triplet": progress * triplet_weight}
        assert found.weights == weights == objective.weights(progress)
        assert found.options == {"triplet.margin": progress} == objective.moving_options(progress)
        expected = weights["triplet"] * losses.triplet(latent.z, latent.y, margin=progress)
        assert_close(found.parts["triplet"], expected.detach())


def test_progress_starts_at_zero() -> None:
    objective = Objective({"cross_entropy": Schedule("linear", 3.0, 0.0)})
    assert objective(batch()).weights == {"cross_entropy": 3.0}


# The graph


def test_graph_is_kept_where_nothing_counts() -> None:
    latent = batch()
    found = Objective({"cross_entropy": 0.0, "triplet": 0.0})(latent)
    assert found.parts == {}
    assert found.total == 0
    assert torch.equal(torch.autograd.grad(found.total, latent.z)[0], torch.zeros_like(latent.z))


def test_empty_batch() -> None:
    samples = {k: v[:0] for k, v in batch().samples.items()}
    samples |= dict.fromkeys(("mean", "logvar", "reconstruction", "x"), samples["z"])
    samples["log_prior"] = samples["z"].sum(1)
    shared = {"class_embeddings": torch.randn(3, samples["z"].shape[1], dtype=samples["z"].dtype)}
    found = Objective(dict.fromkeys(TERMS, 1.0))(Latent(samples, shared))
    assert found.total == 0
    assert found.total.requires_grad
    assert all(count == 0 for count in found.counts.values())


def test_latents_that_no_term_reads_cannot_spoil_the_total() -> None:
    # In half precision the sum of such latents is infinite.
    latent = batch().with_samples(z=torch.full((9, 512), 60.0, dtype=torch.float16))
    assert_close(
        Objective({"cross_entropy": 1.0})(latent).total, losses.cross_entropy(latent.logits, latent.y)
    )


# What is counted


@pytest.mark.parametrize(
    ("y", "counts"),
    [
        ([0, 0, 0, 1, 1, 4], (6, 3, 4, 1)),
        ([2, -1, 2, -1, 7, -1], (3, 2, 1, 1)),
        ([-1, -1], (0, 0, 0, 0)),
        ([], (0, 0, 0, 0)),
        ([5, 3, 4], (3, 3, 0, 3)),
    ],
)
def test_counts_by_hand(y: list[int], counts: tuple[int, ...]) -> None:
    found = batch_counts(torch.tensor(y, dtype=torch.int64))
    names = ("labelled", "classes", "positive_pairs", "singletons")
    assert {name: int(count) for name, count in found.items()} == dict(zip(names, counts, strict=True))


def test_breakdown_counts_its_batch() -> None:
    counts = Objective({"center": 1.0})(batch()).counts
    assert {name: int(count) for name, count in counts.items()} == {
        "labelled": 8,
        "classes": 3,
        "positive_pairs": 3 + 3 + 1,
        "singletons": 0,
    }


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_term_that_is_not_finite_is_named(bad: float) -> None:
    objective = Objective({"cross_entropy": 1.0, "center": 1.0, "triplet": 0.0})
    latent = batch()
    assert not_finite(objective(latent)) == []
    z, logits = latent.z.detach().clone(), latent.logits.detach().clone()
    z[0, 0] = logits[0, 0] = bad
    assert not_finite(objective(latent.with_samples(z=z))) == ["center"]
    assert not_finite(objective(latent.with_samples(logits=logits))) == ["cross_entropy"]
    assert not_finite(objective(latent.with_samples(z=z, logits=logits))) == ["cross_entropy", "center"]


# What is refused


def test_no_term() -> None:
    with pytest.raises(UserError, match="at least one term"):
        Objective({})


def test_misspelt_term() -> None:
    with pytest.raises(UserError, match=r"no loss term 'tripet'; did you mean 'triplet'\?"):
        Objective({"tripet": 1.0})
    with pytest.raises(UserError, match=r"did you mean 'center'\?"):
        Objective({"mine": Term(loss="centre")})


def test_misspelt_option() -> None:
    with pytest.raises(UserError, match=r"no option of triplet 'magrin'; did you mean 'margin'\?"):
        Objective({"triplet": Term(1.0, {"magrin": 0.2})})


@pytest.mark.parametrize(
    "terms",
    [
        {"triplet": Schedule("linear", until=0.0)},
        {"triplet": Term(Schedule("linear", until=0.0))},
        {"triplet": Term(1.0, {"margin": Schedule("linear", until=0.0)})},
    ],
)
def test_impossible_schedule_is_refused_before_the_first_step(terms: dict[str, Term]) -> None:
    with pytest.raises(UserError, match="`until` must be > 0"):
        Objective(terms)


@pytest.mark.parametrize("key", ["z", "logits", "y"])
def test_missing_tensor(key: str) -> None:
    latent = batch()
    short = replace(latent, samples={k: v for k, v in latent.samples.items() if k != key})
    name = "cross_entropy" if key == "logits" else "triplet"
    with pytest.raises(UserError, match=f"term '{name}' reads '{key}', but the latent holds only") as caught:
        Objective({name: 1.0})(short)
    assert str(caught.value).endswith(", ".join(short.samples))


def test_what_a_term_raises_names_the_term() -> None:
    latent = batch()
    flat = latent.with_samples(z=latent.z[:, 0])
    objective = Objective({"cross_entropy": 1.0, "triplet": Term(1.0, {"margin": RISE})})
    with pytest.raises(ValueError, match="flatten maps") as caught:
        objective(flat, 0.5)
    assert caught.value.__notes__ == ["in loss term triplet with options {'margin': 0.5}"]
