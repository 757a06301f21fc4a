"""Weightings that move with the losses: how much each term counts, learned beside the model.

A weighting takes the losses of a step, L (K,), and gives the part of each in the total, (K,), and its
weight, (K,); the parts add up to what is differentiated. Its parameters are trained by the optimiser of
the model.

A term with nothing to compare in a batch is exactly 0. Taken for a small loss it would draw weight, or
lose it, by chance of the batch; so a loss of exactly 0 moves nothing that is learned, neither its own
weight nor another's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from latentloom.checks import UserError, check_choice

KINDS = ("fixed", "softmax", "floor", "frozen", "fixed_ce", "uncertainty", "random", "stch")
SMOOTHING = 0.1  # mu of the smooth maximum; its authors tried 0.01 to 1 and found no best value


class Softmax(nn.Module):
    """total = sum_i w_i L_i, w = (1 - K floor) softmax(a) + floor, where a is learned from 1.

    Without a floor this is LARESA (ICLR 2026 submission), Eq. 3-5. It degenerates: the gradient to a_i is
    w_i (L_i - total), so that weight moves to whichever loss is smallest, until all others have none. With
    constant losses the smallest has nearly all of it after some thousand steps of Adam at 1e-3. A floor,
    an end of learning, or a fixed weight for the term that matters most bounds that.

    Args:
        terms: number of losses.
        fixed: places of losses with a constant weight of 1; the K others share another 1.
        floor: what a learned weight never falls below, in [0, 1 / K).
        freeze_after: from this progress in [0, 1] on, a stays as it is; None is never.
    """

    learned: Tensor  # (K,) int64

    def __init__(
        self,
        terms: int,
        *,
        fixed: Sequence[int] = (),
        floor: float = 0.0,
        freeze_after: float | None = None,
    ) -> None:
        super().__init__()
        learned = [i for i in range(terms) if i not in fixed]
        if not 0 <= floor * len(learned) < 1:
            raise UserError(
                f"the floor of {len(learned)} weights that add up to 1 must be at least 0 and less than "
                f"1 / {len(learned)}, got {floor}; set it with --objective.floor"
            )
        if freeze_after is not None and not 0 <= freeze_after <= 1:
            raise UserError(
                "freeze_after is a share of the training in [0, 1], "
                f"got {freeze_after}; set it with --objective.freeze_after"
            )
        self.floor = floor
        self.freeze_after = freeze_after
        self.logits = nn.Parameter(torch.ones(len(learned)))
        self.register_buffer("learned", torch.tensor(learned, dtype=torch.int64), persistent=False)

    def forward(self, losses: Tensor, progress: float) -> tuple[Tensor, Tensor]:
        logits = self.logits.to(losses.dtype)
        if self.freeze_after is not None and progress >= self.freeze_after:
            logits = logits.detach()  # with no gradient at all, Adam does not go on by its momentum
        shares = _shares(logits, losses.detach().index_select(0, self.learned))
        shares = (1 - len(logits) * self.floor) * shares + self.floor
        weights = torch.ones_like(losses).index_copy(0, self.learned, shares)
        return weights * losses, weights


def _shares(logits: Tensor, losses: Tensor) -> Tensor:
    """softmax(logits), (K,), differentiated as if there were only the losses that are not 0."""
    shares = logits.softmax(0)
    counts = losses != 0
    among = logits.masked_fill(~counts, torch.finfo(logits.dtype).min).softmax(0)
    return torch.where(counts, (shares * counts).sum().detach() * among, shares.detach())


class Uncertainty(nn.Module):
    """total = sum_i exp(-s_i) L_i + s_i, where s is learned from 0. Paper: Kendall et al., arXiv:1705.07115.

    The sum is twice that of the paper, which is also IMTL-L of Liu et al. (ICLR 2021) with s = -s. At the
    minimum s_i = log L_i each weighted loss is 1: a weight lies between 1 and 1 / L_i and takes nothing
    from another, so that the weights add up to no constant. The total may be negative. A loss near 0 gains
    weight without bound, and so does one below 0, which has no minimum: this is for losses >= 0.
    """

    def __init__(self, terms: int) -> None:
        super().__init__()
        self.log_variance = nn.Parameter(torch.zeros(terms))

    def forward(self, losses: Tensor, progress: float) -> tuple[Tensor, Tensor]:
        s = self.log_variance.to(losses.dtype)
        s = torch.where(losses != 0, s, s.detach())
        weights = (-s).exp()
        return weights * losses + s, weights


class Scalarized(nn.Module):
    """total = sum_i w_i L_i, w = dV/dL, for a value V that TorchJD makes of the losses.

    The total has the gradient of V, though not its value.
    """

    def __init__(self, value: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.value = value

    def forward(self, losses: Tensor, progress: float) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            point = losses.detach().requires_grad_()
            (weights,) = torch.autograd.grad(self.value(point), point)
        return weights * losses, weights


def weighting_for(
    kind: str, classifies: Sequence[bool], *, floor: float = 0.05, freeze_after: float = 0.1
) -> nn.Module | None:
    """The weighting of that name; None is constant weights.

    softmax      softmax over all terms (LARESA)
    floor        the same, and no weight falls below `floor`
    frozen       the same, and from `freeze_after` of the training on the weights stay
    fixed_ce     1 for cross_entropy, softmax over the others
    uncertainty  exp(-s), each its own (Kendall et al., arXiv:1705.07115)
    random       softmax of N(0, 1), drawn in every step (Lin et al., arXiv:2111.10603), from TorchJD
    stch         the largest loss counts most: of mu log sum_i exp(L_i / (K mu)) with mu = 0.1 the gradient,
                 which adds up to 1 / K (Lin et al., arXiv:2402.19078), from TorchJD

    Of TorchJD the rest is left out. Aggregators (UPGrad, MGDA, ...) and FAMO want a backward pass or an
    evaluation of their own in each step. DWA keeps its averages out of the checkpoint, and a resumed run
    would go another way. A geometric mean has no gradient where a loss is 0, which losses without a pair
    are. UW and IMTL-L are `uncertainty`.

    Args:
        kind: one of the above, or fixed.
        classifies: for each term with a weight, whether it is cross_entropy.
        floor, freeze_after: read by the kinds of those names.
    """
    check_choice("weighting", kind, KINDS)
    terms = len(classifies)
    match kind:
        case "softmax":
            return Softmax(terms)
        case "floor":
            return Softmax(terms, floor=floor)
        case "frozen":
            return Softmax(terms, freeze_after=freeze_after)
        case "fixed_ce":
            return _beside_cross_entropy(classifies)
        case "uncertainty":
            return Uncertainty(terms)
        case "random" | "stch":
            return _from_torchjd(kind)
    return None


def _beside_cross_entropy(classifies: Sequence[bool]) -> Softmax:
    if not any(classifies):
        raise UserError(
            "the weighting fixed_ce keeps cross_entropy at weight 1, and no term is cross_entropy; add it, "
            "or choose another --objective.weighting"
        )
    return Softmax(len(classifies), fixed=[i for i, own in enumerate(classifies) if own])


def _from_torchjd(kind: str) -> Scalarized:
    try:
        from torchjd.scalarization import STCH, Random
    except ImportError as error:
        raise UserError(
            f"the weighting {kind!r} comes from TorchJD, which is not installed: "
            "pip install 'latentloom[multi]', or choose another --objective.weighting"
        ) from error
    return Scalarized(Random() if kind == "random" else STCH(SMOOTHING))
