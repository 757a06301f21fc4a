"""Terms x weighting: one differentiable number, and where it came from."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from latentloom.checks import UserError, check_choice
from latentloom.config import Objective as ObjectiveConfig
from latentloom.config import Schedule, Term
from latentloom.latent.pairs import groups, positive_pairs
from latentloom.losses import TermInfo, find_term
from latentloom.objective.schedules import at
from latentloom.objective.weighting import weighting_for
from latentloom.values import Breakdown, Latent

CLASSIFICATION = "cross_entropy"  # the term that `lam` sets against all others
LABELS = {"y", "coarse", "cluster"}  # what a term that learns from labels reads


class Objective(nn.Module):
    """total = sum over terms of weight(progress) * term(latent).

    Args:
        terms: name -> weight, or name -> `Term` with options. A name is that of a registered loss
            unless the `Term` says which.
        lam: L in [0, 1] or a schedule of it: cross_entropy then counts (1 - L) * weight, all other
            terms count L * weight (Latent Boost, arXiv:2412.08515, Eq. 5).
        alpha: A in [0, 1] or a schedule of it: terms that read no label count A * weight, those that do
            (1 - A) * weight (SAFIR).
        alternate: terms that read labels count in every step (never), in every second epoch, the first
            among them, or in every second batch.
        weighting: fixed, or a name of `weighting_for`: each part is then multiplied by a weight that moves
            with the parts. Those that learn have parameters, here, for the optimiser.
        floor, freeze_after: of the weightings floor and frozen.

    A term whose weight is 0 is not evaluated.

    >>> Objective({"cross_entropy": 1.0, "triplet": Term(0.5, {"margin": 0.2})}).weights(0.0)
    {'cross_entropy': 1.0, 'triplet': 0.5}
    """

    def __init__(
        self,
        terms: Mapping[str, float | Schedule | Term],
        lam: float | Schedule | None = None,
        *,
        alpha: float | Schedule | None = None,
        alternate: Literal["never", "epoch", "batch"] = "never",
        weighting: str = "fixed",
        floor: float = 0.05,
        freeze_after: float = 0.1,
    ) -> None:
        super().__init__()
        self.terms = {n: t if isinstance(t, Term) else Term(weight=t) for n, t in terms.items()}
        self.lam = lam
        self.alpha = alpha
        self.alternate = alternate
        check_choice("alternation", alternate, ("never", "epoch", "batch"))
        self._infos = {name: _checked(name, term) for name, term in self.terms.items()}
        # Whether each term learns from labels.
        self.reads_labels = {
            name: bool(LABELS & {*info.reads, *info.may_read}) for name, info in self._infos.items()
        }
        if not terms:
            raise UserError("an objective needs at least one term; known: latentloom list terms")
        for name, term in self.terms.items():
            _check_weight(name, term.weight)
        if lam is not None:
            self._check_lam()
        if alpha is not None:
            self._check_alpha()
        # Places among the losses that are weighed; a term that never counts has none.
        self._weighed = [name for name, term in self.terms.items() if term.weight != 0]
        self.weighting = weighting_for(
            weighting, [*map(self._classifies, self._weighed)], floor=floor, freeze_after=freeze_after
        )
        if self.weighting is not None and (lam is not None or alpha is not None):
            raise UserError(
                f"lambda and alpha divide constant weights, and those of {weighting} move; leave them out, "
                "or set --objective.weighting fixed"
            )

    @classmethod
    def from_config(cls, config: ObjectiveConfig) -> Objective:
        """The objective that a recipe describes."""
        return cls(
            config.terms,
            config.lam,
            alpha=config.alpha,
            alternate=config.alternate,
            weighting=config.weighting,
            floor=config.floor,
            freeze_after=config.freeze_after,
        )

    def weights(self, progress: float, turn: int = 0) -> dict[str, float]:
        """Weight of each term at `progress` in [0, 1], in the epoch or batch `turn`, from 0.

        A weighting that is not fixed comes on top; see `Breakdown.weights`.
        """
        weights = {name: _as_float(at(term.weight, progress)) for name, term in self.terms.items()}
        if self.lam is not None:
            lam = _as_float(at(self.lam, progress))
            weights = {
                name: w * ((1 - lam) if self._classifies(name) else lam) for name, w in weights.items()
            }
        if self.alpha is not None:
            alpha = _as_float(at(self.alpha, progress))
            share = {True: 1 - alpha, False: alpha}
            weights = {name: w * share[self.reads_labels[name]] for name, w in weights.items()}
        if self.alternate == "never" or turn % 2 == 0:
            return weights
        return {name: 0.0 if self.reads_labels[name] else w for name, w in weights.items()}

    def forward(
        self, latent: Latent, progress: float = 0.0, *, turn: int = 0, labelled: Latent | None = None
    ) -> Breakdown:
        """Evaluate every term on one batch.

        Args:
            latent: with samples["y"]; labels -1 are unlabelled.
            progress: share of the training that is done, in [0, 1]; drives the schedules.
            turn: number of the epoch or batch, from 0; read where terms alternate.
            labelled: a batch of labelled rows, for the terms that read labels; the others then read
                `latent` alone.
        """
        weights: dict[str, float | Tensor] = {**self.weights(progress, turn)}
        taught = latent if labelled is None else labelled
        options = {name: self._options(name, progress) for name in self.terms}
        parts = {
            name: weight * self._evaluate(name, taught if self.reads_labels[name] else latent, options[name])
            for name, weight in weights.items()
            if weight != 0
        }
        if self.weighting is not None and parts:
            parts, learned = self._reweighed(parts, progress)
            weights |= {name: weights[name] * learned[name] for name in learned}
        nothing = latent.z[:0].sum()  # 0 with the graph kept; z.sum() * 0 is nan where the sum is infinite
        total = sum(parts.values(), nothing)
        return Breakdown(
            total=total,
            parts={name: part.detach() for name, part in parts.items()},
            weights=weights,
            options=self.moving_options(progress),
            counts=batch_counts(taught.y),
        )

    def _reweighed(
        self, parts: Mapping[str, Tensor], progress: float
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The parts after the weighting, and the weights, detached, that it gives to each term."""
        assert self.weighting is not None
        nothing = torch.zeros_like(next(iter(parts.values())))  # of terms that have no turn
        losses = torch.stack([parts.get(name, nothing) for name in self._weighed])
        found, weights = self.weighting(losses, progress)
        after = dict(zip(self._weighed, found, strict=True))
        return {name: after[name] for name in parts}, dict(zip(self._weighed, weights.detach(), strict=True))

    def _options(self, name: str, progress: float) -> dict[str, Any]:
        return {key: at(value, progress) for key, value in self.terms[name].options.items()}

    def moving_options(self, progress: float) -> dict[str, float]:
        """Options that have a schedule, as "term.option", at `progress`."""
        return {
            f"{name}.{key}": _as_float(at(value, progress))
            for name, term in self.terms.items()
            for key, value in term.options.items()
            if isinstance(value, Schedule)
        }

    def _evaluate(self, name: str, latent: Latent, options: Mapping[str, Any]) -> Tensor:
        info = self._infos[name]
        if missing := [key for key in info.reads if key not in latent]:
            have = ", ".join([*latent.samples, *latent.shared])
            raise UserError(f"term {name!r} reads {missing[0]!r}, but the latent holds only {have}")
        tensors = [latent[key] for key in info.reads]
        more = [latent.get(key) for key in info.may_read]
        try:
            return info.fn(*tensors, *more, **options)
        except (ValueError, TypeError, RuntimeError) as error:
            error.add_note(f"in loss term {name} with options {dict(options)}")
            raise

    def _classifies(self, name: str) -> bool:
        return (self.terms[name].loss or name) == CLASSIFICATION

    def _check_alpha(self) -> None:
        if self.lam is not None:
            raise UserError("lambda and alpha both divide the weight of the terms; set one of them")
        for progress in (0.0, 1.0):
            alpha = _as_float(at(self.alpha, progress))
            if not 0 <= alpha <= 1:
                raise UserError(
                    f"alpha must lie in [0, 1], got {alpha} at progress {progress}; "
                    "1 is without labels, set it with --objective.alpha"
                )

    def _check_lam(self) -> None:
        for progress in (0.0, 1.0):  # a schedule never turns, so that its ends bound it
            lam = _as_float(at(self.lam, progress))
            if not 0 <= lam <= 1:
                raise UserError(
                    f"lambda must lie in [0, 1], got {lam} at progress {progress}; "
                    "0 is cross-entropy alone, set it with --objective.lam"
                )
        if not any(map(self._classifies, self.terms)):
            raise UserError("lambda weighs cross_entropy against the other terms; add cross_entropy")
        if self.lam == 1:
            warnings.warn("lambda is 1: nothing trains the linear head", stacklevel=3)


def batch_counts(y: Tensor) -> dict[str, Tensor]:
    """Labelled rows, classes, positive pairs and classes of one row in a batch; on its device."""
    y = y if len(y) else y.new_full((1,), -1)  # an empty batch counts as one unlabelled row: nothing
    found = groups(y)
    return {
        "labelled": found.labelled.sum(),
        "classes": found.stands.sum(),
        "positive_pairs": positive_pairs(y).sum() // 2,
        "singletons": (found.size == 1).sum(),
    }


def not_finite(breakdown: Breakdown) -> list[str]:
    """Names of the terms whose value is nan or infinite."""
    return [name for name, part in breakdown.parts.items() if not torch.isfinite(part).all()]


def _checked(name: str, term: Term) -> TermInfo:
    info = find_term(term.loss or name)
    for option in term.options:
        check_choice(f"option of {name}", option, info.options)
    for number in (term.weight, *term.options.values()):
        at(number, 0.0)  # an impossible schedule is refused here, not in the first step
    return info


def _check_weight(name: str, weight: float | Schedule) -> None:
    for progress in (0.0, 1.0):  # a schedule never turns, so that its ends bound it
        if not 0 <= (value := _as_float(at(weight, progress))) < math.inf:
            raise UserError(
                f"the weight of {name} must be a finite number >= 0, got {value} at progress {progress}; "
                "0 leaves the term out"
            )


def _as_float(number: Any) -> float:
    return float(number)
