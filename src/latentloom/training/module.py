"""What happens to a batch and to an epoch; Lightning does the rest."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, cast

import torch
import torch.distributed as dist
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from latentloom.checks import UserError
from latentloom.config import Training
from latentloom.data.batches import seed_of
from latentloom.encoders import Model, parameter_groups
from latentloom.latent.gather import gathered, processes
from latentloom.losses import find_term
from latentloom.objective import Objective, not_finite
from latentloom.training.latents import joined, on_cpu
from latentloom.training.processes import SharedStatistics
from latentloom.training.scoring import Measured, Scoring
from latentloom.values import Breakdown, Latent

Batch = Mapping[str, Any]  # tensors, and under "labelled" another batch


class DivergedError(UserError):
    """A term is nan or infinite; the last good checkpoint is kept."""


class LatentModule(LightningModule):
    """A model of the one contract, trained on an objective.

    Progress is the share of whole epochs done, so that a schedule holds still within an epoch. All that
    a resumed run needs and Lightning does not keep (sums of the epoch, history, plateau schedule,
    clusters) is in the checkpoint.
    """

    def __init__(
        self, model: nn.Module, objective: Objective, config: Training, scoring: Scoring, seed: int = 0
    ) -> None:
        super().__init__()
        self.model = compiled(model) if config.compile else model
        self.objective = objective
        self.config = config
        self.scoring = scoring
        self.seed = seed
        self.cluster: Tensor | None = None  # (training images,) int64
        self.history: list[dict[str, float]] = []
        self.classes: list[dict[str, Tensor]] = []  # an entry per epoch, figures (C,) of each class
        self.alarms: list[str] = []
        self.data_path = ""
        self.seconds = 0.0
        self._sums: dict[str, Tensor] = {}
        self._seen: list[Latent] = []
        self._plateau_state: dict[str, Any] | None = None
        self._since = 0.0

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam; heads keep their own learning rate; they and the weights of losses have no weight decay."""
        c = self.config
        groups = parameter_groups(self.model, weight_decay=c.weight_decay, heads_lr=c.heads_lr)
        if learned := list(self.objective.parameters()):
            groups.append({"params": learned, "weight_decay": 0.0})
        adam = torch.optim.Adam(groups, lr=c.lr)
        # Stepped here and not by Lightning, which steps a plateau schedule after the checkpoint.
        self._plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            adam,
            mode="max" if self.scoring.better == "higher" else "min",
            factor=c.plateau_factor,
            patience=c.plateau_patience,
        )
        if self._plateau_state is not None:
            self._plateau.load_state_dict(self._plateau_state)
        return adam

    @property
    def progress(self) -> float:
        """Share of the epochs that are done, in [0, 1]."""
        return min(self.current_epoch / self.config.epochs, 1.0)

    @property
    def turn(self) -> int:
        """Number of the epoch or batch by which terms alternate."""
        return self.global_step if self.objective.alternate == "batch" else self.current_epoch

    def on_train_start(self) -> None:
        self._begin()  # resumed in mid-epoch, no epoch is started

    def on_train_epoch_start(self) -> None:
        self._begin()

    def _begin(self) -> None:
        if self.config.eval_after_first_epoch and self.current_epoch > 0:
            self.model.eval()
        self._since = time.perf_counter()

    def training_step(self, batch: Batch, index: int) -> Tensor:
        labelled = batch.get("labelled")
        if labelled is not None and all(self.objective.reads_labels.values()):
            batch, labelled = labelled, None  # nothing would be learned from the others
        latent, taught = self._latents(batch, labelled)
        self._reseed(own=False)
        breakdown: Breakdown = self.objective(latent, self.progress, turn=self.turn, labelled=taught)
        if not torch.isfinite(breakdown.total):
            raise _diverged(breakdown, latent, self.current_epoch, self.global_step)
        self._add(breakdown, latent)
        return breakdown.total

    def _latents(self, batch: Batch, labelled: Batch | None) -> tuple[Latent, Latent | None]:
        """Of all images and of labelled ones, of all processes, as far as terms read them."""
        together = processes() > 1
        self._reseed(own=True)
        with SharedStatistics() if together else nullcontext():
            # Only terms that read labels read the decoder's metric, and only the others what it generates.
            latent = self._latent(batch, pullback=labelled is None)
            taught = None if labelled is None else self._latent(labelled, generate=False)
        if not together:
            return latent, taught
        read = read_by(self.objective)
        if taught is None:
            return gathered(latent, read[True] | read[False]), None
        return gathered(latent, read[False]), gathered(taught, read[True])

    def _reseed(self, *, own: bool) -> None:
        """Of several processes each drops out its own, and what the objective draws is the same in all."""
        if processes() > 1:
            torch.manual_seed(seed_of(self.seed, self.global_step, 1 + dist.get_rank() if own else 0))

    def _latent(self, batch: Batch, *, generate: bool = True, pullback: bool = True) -> Latent:
        rows, extra = batch["row"], dict[str, Any]()
        if isinstance(self.model, Model):  # those of others are called with images alone, as everywhere
            wanted = {"generate": generate, "pullback": pullback}
            extra = {"rows": rows, "step": self.global_step, **wanted}
        latent: Latent = self.model(batch["x"], **extra)
        return latent.with_samples(
            y=batch["y"],
            row=rows,
            coarse=batch.get("coarse"),
            cluster=None if self.cluster is None else self.cluster.to(rows.device)[rows],
        )

    def _add(self, breakdown: Breakdown, latent: Latent) -> None:
        now = {
            "train/total": breakdown.total.detach(),
            **{f"train/{name}": part for name, part in breakdown.parts.items()},
            **{f"batch/{name}": count for name, count in breakdown.counts.items()},
            **{f"weight/{name}": w for name, w in breakdown.weights.items() if isinstance(w, Tensor)},
            **_balance(latent),
            "batches": torch.ones((), device=breakdown.total.device),
        }
        self._sums |= {name: value + self._sums.get(name, 0) for name, value in now.items()}

    def on_validation_epoch_start(self) -> None:
        self.seconds += time.perf_counter() - self._since
        self._seen = []

    def validation_step(self, batch: Batch, index: int) -> None:
        latent: Latent = self.model(batch["x"]).with_samples(y=batch["y"])
        self._seen.append(on_cpu(gathered(latent)))

    def _measured(self) -> Measured:
        """The figures of the first process, which decide in all of them, to the last bit."""
        if processes() == 1:
            return self.scoring(joined(self._seen), self.model)
        found = self.scoring(joined(self._seen), self.model) if self.trainer.is_global_zero else None
        return cast(Measured, self.trainer.strategy.broadcast(found))

    def on_validation_epoch_end(self) -> None:
        measured = self._measured()
        self._seen = []
        if measured.alarm is not None:
            self.alarms.append(f"epoch {self.current_epoch}: {measured.alarm}")
        self.classes.append(measured.classes)
        batches = self._sums.pop("batches")
        means = {name: float(total / batches) for name, total in self._sums.items()}
        self._sums = {}
        self.history.append(
            {
                "epoch": self.current_epoch,
                "seconds": self.seconds,
                "lr": self.optimizers().param_groups[0]["lr"],  # type: ignore[union-attr]
                **means,
                **{f"val/{name}": value for name, value in measured.scores.items()},
                **{name: value for name, value in self._moving().items() if name not in means},
            }
        )
        self.log_dict(
            {k: v for k, v in self.history[-1].items() if k not in ("epoch", "seconds")}, prog_bar=False
        )
        self.log("score", measured.scores[self.scoring.monitor], prog_bar=True, logger=False)

    def _moving(self) -> dict[str, float]:
        # Of terms that alternate by batch, the weight in the batches in which they count.
        turn = 0 if self.objective.alternate == "batch" else self.current_epoch
        weights = {f"weight/{n}": w for n, w in self.objective.weights(self.progress, turn).items()}
        return {**weights, **self.objective.moving_options(self.progress)}

    def on_train_epoch_end(self) -> None:
        if self.config.select == "last":
            return  # validation labels have no say
        self._plateau.step(self.history[-1][f"val/{self.scoring.monitor}"])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        since = time.perf_counter() - self._since if self._sums else 0.0
        checkpoint["latentloom"] = {
            "history": self.history,
            "classes": self.classes,
            "alarms": self.alarms,
            "seconds": self.seconds + since,
            "sums": self._sums,
            "plateau": {k: v for k, v in self._plateau.state_dict().items() if k != "_last_lr"},
            "cluster": self.cluster,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        kept = checkpoint["latentloom"]
        self.history, self.classes, self.alarms = kept["history"], kept["classes"], kept["alarms"]
        self.seconds, self._sums = kept["seconds"], kept["sums"]
        self._plateau_state, self.cluster = kept["plateau"], kept["cluster"]


def compiled(model: nn.Module) -> nn.Module:
    """The same model, whose networks torch compiles when they are first called; weights keep their names.

    Heads, Gaussian and prior stay as they are: they take little time, and read numbers that change with
    every step.
    """
    networks = (model.encoder, model.decoder) if isinstance(model, Model) else (model,)
    for network in networks:
        if network is not None:
            network.compile()
    return model


def read_by(objective: Objective) -> dict[bool, set[str]]:
    """Names of the samples that terms read, and counts: by those that learn from labels, by the others."""
    read: dict[bool, set[str]] = {True: {"z", "y"}, False: {"z", "y"}}
    for name, term in objective.terms.items():
        info = find_term(term.loss or name)
        read[objective.reads_labels[name]] |= {*info.reads, *info.may_read}
    return read


def _balance(latent: Latent) -> dict[str, Tensor]:
    """Shares of fine and coarse names in the anchor, where a head learns them."""
    logits = latent.shared.get("balance")
    if logits is None:
        return {}
    fine, coarse = logits.detach().softmax(0)
    return {"balance/fine": fine, "balance/coarse": coarse}


def _diverged(breakdown: Breakdown, latent: Latent, epoch: int, step: int) -> DivergedError:
    names = ", ".join(not_finite(breakdown)) or "their sum"
    where = "" if torch.isfinite(latent.z).all() else "; the latents themselves are not finite"
    return DivergedError(
        f"the loss is not finite at epoch {epoch}, step {step}: {names}{where}. Training stopped and the "
        "last good checkpoint is kept; lower --training.lr, or the weight of that term"
    )
