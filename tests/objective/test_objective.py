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
    per_class = torch.randn(3, samples["z"].shape[1], dtype=samples["z"].dtype)
    shared = {"class_embeddings": per_class, "label_embeddings": per_class}
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


# Labelled and unlabelled terms


def drawn(n: int = 9, seed: int = 0, **more: Tensor) -> Latent:
    """A batch as a variational autoencoder gives it; everything that is learned is a leaf of the graph."""
    g = torch.Generator().manual_seed(seed)

    def leaf(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64).requires_grad_()

    samples = {"mean": leaf(n, 4), "logvar": leaf(n, 4), "z": leaf(n, 4), "log_prior": leaf(n)}
    made = {"reconstruction": leaf(n, 1, 2, 2), "x": torch.rand(n, 1, 2, 2, generator=g).double()}
    labels = {"logits": leaf(n, 3), "y": torch.tensor([0, 1, 2, 0, 1, 2, 0, -1, 1])[:n]}
    return Latent({**samples, **made, **labels, **more})


MIXED = {"reconstruction": 2.0, "unit_kl": 0.5, "triplet": 4.0, "cross_entropy": 1.0}
ALTERNATE = ["never", "epoch", "batch"]


def slopes(objective: Objective, latent: Latent, **how: object) -> dict[str, Tensor]:
    """Gradient to each tensor that is learned; 0 where there is none."""
    learned = {name: t for name, t in latent.samples.items() if t.requires_grad}
    total = objective(latent, **how).total
    found = torch.autograd.grad(total, list(learned.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(learned, found, strict=True))


@pytest.mark.parametrize(
    ("alpha", "weights"),
    [(0.25, (0.5, 0.125, 3.0, 0.75)), (0.75, (1.5, 0.375, 1.0, 0.25)), (0.0, (0.0, 0.0, 4.0, 1.0))],
)
def test_alpha_sets_what_reads_no_label_against_what_does(alpha: float, weights: tuple[float, ...]) -> None:
    latent, objective = drawn(), Objective(MIXED, alpha=alpha)
    expected = dict(zip(MIXED, weights, strict=True))
    assert objective.weights(0.0) == expected
    own = {name: Objective({name: 1.0})(latent).total for name in MIXED}
    total = objective(latent).total
    assert_close(total, sum(weight * own[name] for name, weight in expected.items()))
    mistakes = {
        "alpha the wrong way round": Objective(MIXED, alpha=1 - alpha).weights(0.0),
        "alpha left out": MIXED,
        "without the weights of the terms": {
            name: Objective(dict.fromkeys(MIXED, 1.0), alpha=alpha).weights(0.0)[name] for name in MIXED
        },
    }
    for wrong in mistakes.values():
        with pytest.raises(AssertionError):
            assert_close(total, sum(weight * own[name] for name, weight in wrong.items()))


@pytest.mark.usefixtures("own_terms")
def test_which_terms_learn_from_labels() -> None:
    @term
    def spread(z: Tensor) -> Tensor:
        """Mean square of z."""
        return z.square().mean()

    @term
    def gathered(z: Tensor, cluster: Tensor | None = None) -> Tensor:
        """Reads clusters, which are found within classes."""
        return z.mean()

    terms = {"mine": Term(1.0, {"margin": 0.1}, "triplet"), "spread": 1.0, "gathered": 1.0, "kl": 1.0}
    reads = {"mine": True, "spread": False, "gathered": True, "kl": False}
    assert Objective(terms).reads_labels == reads
    assert Objective(terms, alpha=0.25).weights(0.0) == {k: 0.75 if v else 0.25 for k, v in reads.items()}


def test_alpha_moves() -> None:
    objective = Objective({"reconstruction": 2.0, "triplet": 4.0}, alpha=Schedule("linear", 1.0, 0.0))
    for progress in (0.25, 0.75):
        assert objective.weights(progress) == {"reconstruction": 2 * (1 - progress), "triplet": 4 * progress}


@pytest.mark.parametrize("alternate", ALTERNATE)
def test_alpha_one_learns_nothing_from_labels(alternate: str) -> None:
    latent, objective = drawn(), Objective(MIXED, alpha=1.0, alternate=alternate)
    other = latent.with_samples(y=torch.tensor([2, 2, 0, 1, -1, 0, 1, 0, -1]))
    assert not torch.equal(latent.y, other.y)
    for turn in (0, 1):
        assert objective.weights(0.0, turn) == {**MIXED, "triplet": 0.0, "cross_entropy": 0.0}
        found = slopes(objective, latent, turn=turn)
        assert torch.equal(objective(latent, turn=turn).total, objective(other, turn=turn).total)
        for name, slope in slopes(objective, other, turn=turn).items():
            assert torch.equal(found[name], slope)
        assert not found["z"].any()
        assert not found["logits"].any()
        assert found["mean"].all()
        assert found["reconstruction"].all()
    nearly = Objective(MIXED, alpha=0.99, alternate=alternate)
    assert not torch.equal(slopes(nearly, latent)["z"], slopes(nearly, other)["z"])


@pytest.mark.parametrize("alternate", ALTERNATE)
@pytest.mark.parametrize("alpha", [None, 0.25])
def test_terms_that_read_labels_count_in_every_second_turn_the_first_among_them(
    alternate: str, alpha: float | None
) -> None:
    latent = drawn()
    objective = Objective(MIXED, alpha=alpha, alternate=alternate)
    share = {True: 1.0, False: 1.0} if alpha is None else {True: 0.75, False: 0.25}
    reads = objective.reads_labels
    joint = {name: weight * share[reads[name]] for name, weight in MIXED.items()}
    alone = {name: 0.0 if reads[name] else weight for name, weight in joint.items()}
    own = {name: Objective({name: 1.0})(latent).total for name in MIXED}
    for number in range(1, 6):  # counted from 1, odd ones have labels
        expected = joint if alternate == "never" or number % 2 else alone
        found = objective(latent, turn=number - 1)
        assert found.weights == objective.weights(0.0, number - 1) == expected
        assert_close(found.total, sum(expected[name] * own[name] for name in MIXED))
        assert found.parts.keys() == {name for name, weight in expected.items() if weight}


def test_labels_are_not_looked_at_in_a_turn_without_them() -> None:
    latent, objective = drawn(), Objective(MIXED, alternate="epoch")
    spoilt = latent.with_samples(logits=torch.full_like(latent.logits, torch.nan))
    assert torch.equal(objective(spoilt, turn=1).total, objective(latent, turn=1).total)
    assert objective(spoilt, turn=0).total.isnan()
    only = Objective({"triplet": 1.0}, alternate="batch")
    assert only(latent, turn=1).parts == {}
    assert not slopes(only, latent, turn=1)["z"].any()
    assert slopes(only, latent, turn=0)["z"].any()


def test_configuration_says_alpha_and_alternation_too() -> None:
    built = Objective.from_config(ObjectiveConfig({"kl": Term(), "triplet": Term()}, None, 0.25, "batch"))
    assert built.weights(0.0, 0) == {"kl": 0.25, "triplet": 0.75}
    assert built.weights(0.0, 1) == {"kl": 0.25, "triplet": 0.0}


# A batch of labelled rows beside the batch of all


def labelled_batch() -> Latent:
    """Six rows of two classes, without what is made of unlabelled ones."""
    latent = drawn(6, seed=1, y=torch.tensor([1, 1, 0, 1, 0, 1]))
    return Latent({name: latent[name] for name in ("mean", "logvar", "z", "logits", "y")})


def test_terms_that_read_labels_read_the_labelled_batch_and_the_others_do_not() -> None:
    latent, labelled, objective = drawn(), labelled_batch(), Objective(MIXED)
    found = objective(latent, labelled=labelled)
    read = {name: labelled if reads else latent for name, reads in objective.reads_labels.items()}
    parts = {name: MIXED[name] * Objective({name: 1.0})(read[name]).total for name in MIXED}
    assert_close(dict(found.parts), {name: part.detach() for name, part in parts.items()})
    assert_close(found.total, sum(parts.values()))
    made = {name: latent[name] for name in ("reconstruction", "x")}
    for mistake in (objective(latent), objective(labelled.with_samples(**made))):
        with pytest.raises(AssertionError):
            assert_close(found.total, mistake.total)


def test_gradients_go_to_the_batch_that_was_read() -> None:
    latent, labelled = drawn(), labelled_batch()
    total = Objective(MIXED)(latent, labelled=labelled).total
    leaves = {
        "all z": latent.z,
        "all logits": latent.logits,
        "all mean": latent["mean"],
        "labelled z": labelled.z,
        "labelled logits": labelled.logits,
        "labelled mean": labelled["mean"],
    }
    grads = torch.autograd.grad(total, list(leaves.values()), allow_unused=True, materialize_grads=True)
    moved = {name for name, grad in zip(leaves, grads, strict=True) if grad.any()}
    assert moved == {"all mean", "labelled z", "labelled logits"}


def test_labels_of_the_batch_of_all_have_no_say_beside_a_labelled_one() -> None:
    latent, labelled, objective = drawn(), labelled_batch(), Objective(MIXED)
    other = latent.with_samples(y=torch.full((9,), -1))
    assert torch.equal(objective(latent, labelled=labelled).total, objective(other, labelled=labelled).total)
    assert not torch.equal(objective(latent).total, objective(other).total)


def test_counts_are_those_of_the_labelled_batch() -> None:
    counts = Objective(MIXED)(drawn(), labelled=labelled_batch()).counts
    assert {name: int(count) for name, count in counts.items()} == {
        "labelled": 6,
        "classes": 2,
        "positive_pairs": 6 + 1,
        "singletons": 0,
    }


@pytest.mark.parametrize("y", [[-1] * 9, [-1] * 8 + [1], [0, 1, 2, -1, -1, -1, -1, -1, -1], [1] * 9])
@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize("name", ["triplet", "supcon", "center", "magnet", "latent_boost", "contrastive"])
def test_batches_without_any_pair_leave_the_rest_of_the_loss_as_it_is(
    name: str, beside: bool, y: list[int]
) -> None:
    latent = drawn(y=torch.tensor(y))
    labelled = drawn(seed=1, y=torch.tensor(y)) if beside else None
    objective = Objective({"reconstruction": 1.0, "kl": 0.5, name: 2.0}, alpha=0.25, alternate="batch")
    for turn in (0, 1):
        assert objective(latent, turn=turn, labelled=labelled).total.isfinite()
        for slope in slopes(objective, latent, turn=turn, labelled=labelled).values():
            assert slope.isfinite().all()
        assert slopes(objective, latent, turn=turn, labelled=labelled)["reconstruction"].all()
    if labelled is not None:
        total = objective(latent, labelled=labelled).total
        (slope,) = torch.autograd.grad(total, labelled.z, allow_unused=True, materialize_grads=True)
        assert slope.isfinite().all()


# What is refused of them


def test_lambda_and_alpha_together() -> None:
    with pytest.raises(UserError, match="both divide the weight of the terms; set one of them"):
        Objective(MIXED, 0.5, alpha=0.5)


@pytest.mark.parametrize(
    ("alpha", "value"),
    [
        (-0.1, -0.1),
        (1.5, 1.5),
        (math.nan, math.nan),
        (Schedule("linear", -0.5, 1.0), -0.5),
        (Schedule("linear", 0.0, 1.25), 1.25),
    ],
)
def test_alpha_outside_of_its_range(alpha: float | Schedule, value: float) -> None:
    with pytest.raises(UserError, match=rf"alpha must lie in \[0, 1\], got {value} at progress") as caught:
        Objective(MIXED, alpha=alpha)
    assert "--objective.alpha" in str(caught.value)


@pytest.mark.parametrize("alpha", [0, 1, Schedule("linear", 1.0, 0.0)])
def test_alpha_at_the_ends_of_its_range(alpha: float | Schedule) -> None:
    Objective(MIXED, alpha=alpha)


@pytest.mark.parametrize(
    ("weight", "value"),
    [
        (-1.0, -1.0),
        (math.nan, math.nan),
        (math.inf, math.inf),
        (Schedule("linear", 1.0, -0.5), -0.5),
        (Schedule("linear", -0.5, 1.0), -0.5),
    ],
)
def test_weight_that_is_no_finite_number_above_zero(weight: float | Schedule, value: float) -> None:
    with pytest.raises(
        UserError, match=f"weight of kl must be a finite number >= 0, got {value} at progress"
    ):
        Objective({"triplet": 1.0, "kl": weight})


def test_misspelt_alternation() -> None:
    with pytest.raises(UserError, match=r"no alternation 'epochs'; did you mean 'epoch'\?"):
        Objective(MIXED, alternate="epochs")  # type: ignore[arg-type]
