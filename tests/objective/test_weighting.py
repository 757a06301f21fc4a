"""Learned weights: their gradient, where they lead, what bounds them, and that a run keeps them."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from latentloom.checks import UserError
from latentloom.config import Objective as ObjectiveConfig
from latentloom.config import Schedule, Term, Training
from latentloom.objective import Objective, weighting_for
from latentloom.objective.weighting import KINDS
from latentloom.recipes import load_recipe
from latentloom.training.module import LatentModule
from latentloom.training.run import run
from latentloom.training.scoring import Scoring
from latentloom.values import Latent

CONSTANT = (1.0, 0.5, 0.15, 0.02, 5.0)  # cross-entropy and four others, as they are at some start
CLASSIFIES = (True, False, False, False, False)
LEARNED = ("softmax", "floor", "frozen", "fixed_ce", "uncertainty")
MOVING = (*LEARNED, "random", "stch")
TERMS = {"cross_entropy": 1.0, "triplet": 1.0, "center": 1.0}


def batch() -> Latent:
    """Nine points of three classes; z and logits are leaves of the graph."""
    g = torch.Generator().manual_seed(0)
    z, logits = (torch.randn(9, d, generator=g, dtype=torch.float64).requires_grad_() for d in (4, 3))
    return Latent({"z": z, "logits": logits, "y": torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 1])})


def weighting(kind: str, **options: float) -> nn.Module:
    found = weighting_for(kind, CLASSIFIES, **options)
    assert found is not None
    return found.double()


def losses_of(values: tuple[float, ...] = CONSTANT) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def by_hand(logits: list[float]) -> list[float]:
    """softmax without torch."""
    powers = [math.exp(a) for a in logits]
    return [power / sum(powers) for power in powers]


def trained(module: nn.Module, steps: int, lr: float, progress: float = 0.0) -> Tensor:
    """The weights of constant losses after so many steps of Adam."""
    adam = torch.optim.Adam(module.parameters(), lr=lr)
    losses = losses_of().requires_grad_()  # as in training, where a model is behind them
    for _ in range(steps):
        adam.zero_grad()
        module(losses, progress)[0].sum().backward()
        adam.step()
    return module(losses, progress)[1].detach()


# What a weighting gives


@pytest.mark.parametrize("kind", ["softmax", "floor", "frozen"])
def test_weights_add_up_to_one_and_parts_are_weighted(kind: str) -> None:
    module = weighting(kind)
    torch.nn.init.normal_(module.logits, generator=torch.Generator().manual_seed(0))
    parts, weights = module(losses_of(), 0.0)
    assert_close(weights.sum().item(), 1.0)
    assert_close(parts, weights * losses_of())
    floor = 0.05 if kind == "floor" else 0.0
    shares = by_hand(module.logits.tolist())
    assert_close(weights.detach(), losses_of(tuple((1 - 5 * floor) * share + floor for share in shares)))
    for mistake in ([share + floor for share in shares], [max(share, floor) for share in shares]):
        if floor:
            with pytest.raises(AssertionError):
                assert_close(weights.detach(), losses_of(tuple(mistake)))


@pytest.mark.parametrize("kind", LEARNED)
def test_first_weights_prefer_nothing(kind: str) -> None:
    expected = {"fixed_ce": (1.0, *[0.25] * 4), "uncertainty": (1.0,) * 5}.get(kind, (0.2,) * 5)
    assert_close(weighting(kind)(losses_of(), 0.0)[1].detach(), losses_of(expected))


def test_gradient_of_a_logit_is_its_weight_times_what_its_loss_is_above_the_total() -> None:
    module = weighting("softmax")
    torch.nn.init.normal_(module.logits, generator=torch.Generator().manual_seed(1))
    parts, _ = module(losses_of(), 0.0)
    (slope,) = torch.autograd.grad(parts.sum(), module.logits)
    weights = by_hand(module.logits.tolist())
    total = sum(w * loss for w, loss in zip(weights, CONSTANT, strict=True))
    assert_close(
        slope, losses_of(tuple(w * (loss - total) for w, loss in zip(weights, CONSTANT, strict=True)))
    )
    mistakes = {
        "the loss itself": [w * loss for w, loss in zip(weights, CONSTANT, strict=True)],
        "above the plain mean": [
            w * (loss - sum(CONSTANT) / 5) for w, loss in zip(weights, CONSTANT, strict=True)
        ],
    }
    for wrong in mistakes.values():
        with pytest.raises(AssertionError):
            assert_close(slope, losses_of(tuple(wrong)))


def test_uncertainty_by_hand_and_by_torchjd() -> None:
    scalarization = pytest.importorskip("torchjd.scalarization")
    module = weighting("uncertainty")
    torch.nn.init.normal_(module.log_variance, generator=torch.Generator().manual_seed(2))
    s = module.log_variance.tolist()
    parts, weights = module(losses_of(), 0.0)
    assert_close(
        parts.detach(), losses_of(tuple(math.exp(-a) * x + a for a, x in zip(s, CONSTANT, strict=True)))
    )
    assert_close(weights.detach(), losses_of(tuple(math.exp(-a) for a in s)))
    theirs = scalarization.UW(5).double()
    theirs.log_var.data.copy_(module.log_variance.data)
    assert_close(parts.sum(), 2 * theirs(losses_of()))
    slopes = [
        torch.autograd.grad(t, p)[0]
        for t, p in ((parts.sum(), module.log_variance), (2 * theirs(losses_of()), theirs.log_var))
    ]
    assert_close(*slopes)


# Where it leads


def test_softmax_gives_all_weight_to_the_smallest_loss() -> None:
    module = weighting("softmax")
    adam = torch.optim.Adam(module.parameters(), lr=1e-3)
    smallest = {}
    for step in range(1, 5001):
        adam.zero_grad()
        parts, _ = module(losses_of(), 0.0)
        parts.sum().backward()
        adam.step()
        if step in (1000, 5000):
            smallest[step] = module(losses_of(), 0.0)[1][3].item()
    assert smallest == pytest.approx({1000: 0.32, 5000: 0.91}, abs=0.005)


def test_what_bounds_the_weights_bounds_them() -> None:
    """Where softmax leaves cross-entropy next to nothing."""
    ends = {kind: trained(weighting(kind), 400, lr=0.05) for kind in LEARNED}
    assert ends["softmax"][0] < 0.01
    assert ends["floor"].min() >= 0.05 - 1e-12
    assert ends["floor"][0] < 0.06
    assert_close(ends["frozen"], ends["softmax"])  # nothing is frozen at the start of the training
    assert_close(trained(weighting("frozen"), 400, 0.05, progress=0.1), losses_of((0.2,) * 5))
    assert ends["fixed_ce"][0] == 1
    assert_close(ends["fixed_ce"][1:].sum().item(), 1.0)
    assert ends["fixed_ce"][3] > 0.95
    uncertain = torch.stack([losses_of((1.0,) * 5), 1 / losses_of()])  # where it starts, and its optimum
    assert (ends["uncertainty"] >= uncertain.min(0).values - 0.02).all()
    assert (ends["uncertainty"] <= uncertain.max(0).values + 2).all()
    assert ends["uncertainty"][0] > 0.98


def test_a_frozen_weight_stays_where_it_was_in_spite_of_momentum() -> None:
    module = weighting("frozen", freeze_after=0.5)
    adam = torch.optim.Adam(module.parameters(), lr=0.01)
    seen = []
    for progress in (0.0, 0.25, 0.5, 0.75):
        adam.zero_grad()
        parts, weights = module(losses_of().requires_grad_(), progress)
        parts.sum().backward()
        adam.step()
        seen.append(weights.detach())
    assert not torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[1], seen[2])
    assert torch.equal(seen[2], seen[3])


# A loss of nothing


@pytest.mark.parametrize("kind", ["softmax", "floor", "uncertainty"])
def test_a_loss_of_nothing_moves_no_weight(kind: str) -> None:
    module, nothing = weighting(kind), (1.0, 0.5, 0.0, 0.02, 0.0)
    (parameter,) = module.parameters()
    torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(3))
    parts, weights = module(losses_of(nothing), 0.0)
    assert_close(weights.detach(), module(losses_of(), 0.0)[1].detach())
    (slope,) = torch.autograd.grad(parts.sum(), parameter)
    assert slope[2] == slope[4] == 0
    assert slope[[0, 1, 3]].all()
    if kind != "uncertainty":  # what the others give to each other adds up
        assert_close(slope.sum().item(), 0.0)
    small = losses_of(tuple(max(x, 1e-9) for x in nothing))  # counts as a loss, and draws weight
    (slope,) = torch.autograd.grad(module(small, 0.0)[0].sum(), parameter)
    assert slope.all()


@pytest.mark.parametrize("kind", LEARNED)
def test_losses_that_are_all_nothing(kind: str) -> None:
    module = weighting(kind)
    (parameter,) = module.parameters()
    losses = losses_of((0.0,) * 5).requires_grad_()
    parts, _ = module(losses, 0.0)
    assert parts.sum() == 0
    slopes = torch.autograd.grad(parts.sum(), (parameter, losses), allow_unused=True, materialize_grads=True)
    assert not slopes[0].any()
    assert slopes[1].all()


# From TorchJD


def test_smooth_maximum_follows_the_largest_loss() -> None:
    pytest.importorskip("torchjd")
    parts, weights = weighting("stch")(losses_of(), 0.0)
    assert_close(weights, losses_of(tuple(w / 5 for w in by_hand([x / (5 * 0.1) for x in CONSTANT]))))
    assert_close(parts, weights * losses_of())


def test_random_weights_are_drawn_in_every_step() -> None:
    pytest.importorskip("torchjd")
    torch.manual_seed(0)
    module = weighting("random")
    first, second = (module(losses_of(), 0.0)[1] for _ in range(2))
    assert not torch.equal(first, second)
    assert_close(torch.stack([first.sum(), second.sum()]), torch.ones(2, dtype=torch.float64))
    torch.manual_seed(0)
    assert torch.equal(first, module(losses_of(), 0.0)[1])


# In an objective


def test_fixed_is_the_default_and_learns_nothing() -> None:
    latent = batch()
    objective = Objective(TERMS)
    assert objective.weighting is None
    assert list(objective.parameters()) == []
    assert torch.equal(objective(latent).total, Objective(TERMS, weighting="fixed")(latent).total)
    assert objective(latent).weights == TERMS


@pytest.mark.parametrize("kind", MOVING)
def test_objective_adds_up_what_the_weighting_makes_of_its_parts(kind: str) -> None:
    pytest.importorskip("torchjd")
    latent, terms = batch(), {"cross_entropy": 2.0, "triplet": 0.5, "center": 1.0}
    objective = Objective(terms, weighting=kind).double()
    torch.manual_seed(0)
    found = objective(latent)
    parts = Objective(terms)(latent).parts  # configured weights scale the losses
    torch.manual_seed(0)
    assert objective.weighting is not None
    after, weights = objective.weighting(torch.stack([*parts.values()]), 0.0)
    assert_close(found.total, after.sum())
    assert_close(torch.stack([*found.parts.values()]), after.detach())
    assert not any(part.requires_grad for part in found.parts.values())
    assert_close(
        torch.stack([*found.weights.values()]), weights.detach() * torch.tensor([2.0, 0.5, 1.0]).double()
    )
    assert not any(weight.requires_grad for weight in found.weights.values())


@pytest.mark.parametrize("kind", MOVING)
def test_gradient_to_the_points_is_the_weighted_sum(kind: str) -> None:
    pytest.importorskip("torchjd")
    latent = batch()
    found = Objective(TERMS, weighting=kind).double()(latent)
    slopes = torch.autograd.grad(found.total, (latent.z, latent.logits))
    again = Objective({name: float(weight) for name, weight in found.weights.items()})(latent)
    for ours, theirs in zip(slopes, torch.autograd.grad(again.total, (latent.z, latent.logits)), strict=True):
        assert_close(ours, theirs)


def test_only_terms_that_can_count_have_a_logit() -> None:
    terms = {**TERMS, "magnet": 0.0, "contrastive": Schedule("step", 0.0, 1.0, 0.5)}
    objective = Objective(terms, weighting="softmax").double()
    assert [tuple(p.shape) for p in objective.parameters()] == [(4,)]
    weights = {name: float(w) for name, w in objective(batch()).weights.items()}
    assert weights == pytest.approx({**dict.fromkeys(TERMS, 0.25), "magnet": 0.0, "contrastive": 0.0})
    assert objective(batch()).parts.keys() == TERMS.keys()
    assert float(objective(batch(), 0.5).weights["contrastive"]) == pytest.approx(0.25)
    (slope,) = torch.autograd.grad(objective(batch()).total, list(objective.parameters()))
    assert slope[3] == 0  # a term without its turn gains nothing
    assert slope[:3].all()


def test_terms_that_take_turns() -> None:
    objective = Objective({"triplet": 1.0}, alternate="batch", weighting="softmax").double()
    assert objective(batch(), turn=1).parts == {}
    assert objective(batch(), turn=1).total == 0
    assert objective(batch(), turn=0).weights["triplet"] == 1


@pytest.mark.parametrize("kind", LEARNED)
def test_cross_entropy_alone_is_cross_entropy(kind: str) -> None:
    latent = batch()
    found = Objective({"cross_entropy": 1.0}, weighting=kind).double()(latent)
    assert_close(found.total, Objective({"cross_entropy": 1.0})(latent).total)


def test_cross_entropy_is_known_under_another_name() -> None:
    terms = {"triplet": Term(), "smooth": Term(1.0, {"label_smoothing": 0.1}, "cross_entropy")}
    weights = Objective(terms, weighting="fixed_ce").double()(batch()).weights
    assert {name: float(w) for name, w in weights.items()} == {"triplet": 1.0, "smooth": 1.0}


def test_configuration_and_code_say_the_same() -> None:
    terms = {name: Term() for name in TERMS}
    built = Objective.from_config(ObjectiveConfig(terms, weighting="floor", floor=0.25))
    assert built.weighting is not None
    assert built.weighting.floor == 0.25
    built = Objective.from_config(ObjectiveConfig(terms, weighting="frozen", freeze_after=0.75))
    assert built.weighting is not None
    assert built.weighting.freeze_after == 0.75


# What is refused


def test_misspelt_weighting() -> None:
    with pytest.raises(UserError, match=r"no weighting 'sofmax'; did you mean 'softmax'\?"):
        Objective(TERMS, weighting="sofmax")


@pytest.mark.parametrize("floor", [-0.01, 1 / 3, 0.5, math.nan])
def test_floor_outside_of_its_range(floor: float) -> None:
    with pytest.raises(UserError, match=r"less than 1 / 3, got .* --objective\.floor"):
        Objective(TERMS, weighting="floor", floor=floor)
    Objective(TERMS, weighting="softmax", floor=floor)


@pytest.mark.parametrize("share", [-0.01, 1.01, math.nan])
def test_freezing_outside_of_the_training(share: float) -> None:
    with pytest.raises(UserError, match=r"freeze_after is a share of the training in \[0, 1\], got"):
        Objective(TERMS, weighting="frozen", freeze_after=share)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_freezing_at_the_ends_of_its_range(share: float) -> None:
    Objective(TERMS, weighting="frozen", freeze_after=share)


@pytest.mark.parametrize("kind", MOVING)
def test_lambda_and_alpha_are_for_fixed_weights(kind: str) -> None:
    pytest.importorskip("torchjd")
    for options in ({"lam": 0.5}, {"alpha": 0.5}):
        with pytest.raises(UserError, match=f"divide constant weights, and those of {kind} move"):
            Objective(TERMS, **options, weighting=kind)


@pytest.mark.parametrize("terms", [{"triplet": 1.0}, {"triplet": 1.0, "cross_entropy": 0.0}])
def test_fixed_cross_entropy_wants_cross_entropy(terms: dict[str, float]) -> None:
    with pytest.raises(UserError, match="no term is cross_entropy; add it"):
        Objective(terms, weighting="fixed_ce")


@pytest.mark.parametrize("kind", ["random", "stch"])
def test_without_torchjd(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchjd.scalarization", None)
    with pytest.raises(UserError, match=r"pip install 'latentloom\[multi\]'"):
        Objective(TERMS, weighting=kind)
    for other in set(KINDS) - {"random", "stch"}:
        Objective(TERMS, weighting=other)


# In a run

QUICK = [
    ("data.limit", "200"),
    ("data.batch", "60"),  # three steps an epoch
    ("training.epochs", "3"),
    ("training.logger", "false"),
    ("training.keep_latents", "0"),
    ("training.accelerator", "cpu"),
    ("evaluation.bootstrap", "10"),
    ("training.checkpoint_steps", "1"),
]


def learning(*more: tuple[str, str]):
    return load_recipe("triplet", [*QUICK, ("objective.lam", "null"), *more])


def module_for(kind: str) -> LatentModule:
    scoring = Scoring("accuracy", lambda model: batch(), 3)
    return LatentModule(
        nn.Linear(2, 2), Objective(TERMS, weighting=kind), Training(weight_decay=0.1), scoring
    )


@pytest.mark.parametrize("kind", LEARNED)
def test_learned_weights_are_in_the_optimiser_and_do_not_decay(kind: str) -> None:
    module = module_for(kind)
    (parameter,) = module.objective.parameters()
    groups = module.configure_optimizers().param_groups
    found = [g["weight_decay"] for g in groups for p in g["params"] if p is parameter]
    assert found == [0.0]
    assert [len(g["params"]) for g in groups] == [2, 1]
    assert groups[0]["weight_decay"] == 0.1
    assert len(module_for("fixed").configure_optimizers().param_groups) == 1


class KilledError(Exception):
    """Where a process would have been killed."""


def test_stopped_in_mid_epoch_and_resumed_is_bitwise_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = learning(("objective.weighting", "softmax"), ("training.lr", "0.05"))
    whole = run(config, tmp_path / "whole", recipe="x", progress=False)
    step = LatentModule.training_step

    def stop(self: LatentModule, *args: object) -> Tensor:
        if self.global_step == 5:
            raise KilledError
        return step(self, *args)

    monkeypatch.setattr(LatentModule, "training_step", stop)
    with pytest.raises(KilledError):
        run(config, tmp_path / "stopped", recipe="x", progress=False)
    monkeypatch.undo()
    resumed = run(config, tmp_path / "stopped", recipe="x", progress=False)
    ours, theirs = ([{**row, "seconds": 0} for row in record.history] for record in (whole, resumed))
    assert ours == theirs
    weights = [[row[f"weight/{name}"] for row in whole.history] for name in ("cross_entropy", "triplet")]
    assert [sum(pair) for pair in zip(*weights, strict=True)] == pytest.approx([1.0] * 3)
    assert len(set(weights[0])) == 3
    for row in whole.history:
        assert row["train/total"] == pytest.approx(
            row["train/cross_entropy"] + row["train/triplet"], rel=1e-5
        )


def test_balance_of_an_anchor_is_in_the_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = LatentModule._latent

    def with_balance(self: LatentModule, *args: object, **options: bool) -> Latent:
        latent = made(self, *args, **options)
        return Latent(latent.samples, {**latent.shared, "balance": torch.tensor([math.log(3.0), 0.0])})

    monkeypatch.setattr(LatentModule, "_latent", with_balance)
    (row,) = run(learning(("training.epochs", "1")), tmp_path, recipe="x", progress=False).history
    assert (row["balance/fine"], row["balance/coarse"]) == pytest.approx((0.75, 0.25))
    assert (row["weight/cross_entropy"], row["weight/triplet"]) == (1.0, 1.0)
