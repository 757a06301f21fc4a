"""One training step of many objectives, in one process or in the parts of many: gradients and what is logged.

Run as a script it is one of the processes; see `together`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import torch
from runs_together import runs_of
from together import in_processes
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from latentloom.checks import UserError
from latentloom.config import Term, Training
from latentloom.data.batches import Part
from latentloom.encoders import ClassEmbeddings, Gaussian, Linear, Model
from latentloom.latent import gather
from latentloom.latent.gather import gathered, processes
from latentloom.latent.mixtures import VampPrior
from latentloom.objective import Objective
from latentloom.training import module as training
from latentloom.training.module import LatentModule
from latentloom.values import Latent


def load_laws() -> ModuleType:
    path = Path(__file__).parent.parent / "laws" / "test_terms.py"
    spec = importlib.util.spec_from_file_location("laws_of_terms", path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    with patch.dict("sys.modules", {"laws_of_terms": loaded}):
        spec.loader.exec_module(loaded)
    return loaded


laws = load_laws()
N, LABELLED = 18, 7  # images of a batch, and of one of labelled images beside it
SHARED = ("class_embeddings", "centres", "label_embeddings", "coarse_embeddings", "coarse_of", "balance")
# Rows of each process.
PARTS: dict[int, dict[str, tuple[int, ...]]] = {
    1: {"whole": (18,)},
    2: {"even": (9, 9), "uneven": (13, 5), "one has none": (18, 0)},
    3: {"even": (6, 6, 6), "uneven": (11, 2, 5), "one has none": (10, 0, 8)},
}
ALL = slice(None)
Outcome = dict[str, Tensor]
Step = Callable[[slice, slice], Outcome]  # own rows of the batch, and of the labelled one


class Toy(nn.Module):
    """A latent of all that a setting reads, from an encoder with batch statistics."""

    def __init__(self, reads: set[str]) -> None:
        super().__init__()
        torch.manual_seed(0)
        d = laws.DIMS
        self.encoder = nn.Sequential(nn.Linear(d, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, d))
        self.centres = nn.Parameter(laws.scene().centres)
        self.balance = nn.Parameter(torch.tensor([0.7, -0.2]))
        self.reads = reads

    def forward(self, x: Tensor) -> Latent:
        z, none = x[:, :-1], x.new_zeros(len(x)).long()
        inputs = laws.Inputs(z + self.encoder(z), none, x[:, -1].long(), self.centres)
        tensors = {name: getattr(inputs, name) for name in self.reads - {"y", "cluster", "balance"}}
        tensors |= {"z": inputs.z, "balance": self.balance} if "balance" in self.reads else {"z": inputs.z}
        return Latent(
            {name: t for name, t in tensors.items() if name not in SHARED},
            {name: t for name, t in tensors.items() if name in SHARED},
        )


def of_setting(name: str) -> Step:
    setting = laws.SETTINGS[name]
    return lambda own, _: stepped(
        Toy(set(setting.reads)), Objective({"one": Term(1.0, setting.options, setting.term)}), batch_of(own)
    )


def weighted(kind: str) -> Step:
    terms = {"cross_entropy": 1.0, "supcon": 0.5, "latent_boost": 2.0}
    return lambda own, _: stepped(Toy({"z", "logits", "y"}), Objective(terms, weighting=kind), batch_of(own))


def in_turn(own: slice, _: slice) -> Outcome:
    """A step in which the term that reads labels, and with it the linear layer, has no turn."""
    model = Toy({"z", "y"})
    model.linear = nn.Linear(laws.DIMS, laws.CLASSES)
    objective = Objective({"euclidean_target": 1.0, "centering": 1.0}, alternate="epoch")
    model.reads |= {"class_embeddings"}
    with patch.object(LatentModule, "turn", 1):
        return stepped(model, objective, batch_of(own))


def semi_supervised(own: slice, taught: slice) -> Outcome:
    """Two streams, noise of the image, a decoder, pseudo-inputs through an encoder with batch statistics."""
    torch.manual_seed(1)
    d = laws.DIMS
    encoder = nn.Sequential(nn.Linear(d, 8), nn.BatchNorm1d(8), nn.Tanh())
    heads = {"linear": Linear(3, laws.CLASSES), "embeddings": ClassEmbeddings(3, laws.CLASSES)}
    model = Model(encoder, heads, Gaussian(8, 3), nn.Linear(3, d)).eval()
    model.prior = VampPrior(torch.rand(5, d), model.posterior)
    model.train()
    terms = {"kl": 0.1, "reconstruction": 1.0, "cross_entropy": 1.0, "class_proximity": 0.3, "triplet": 1.0}
    labelled = {key: t[LABELLED:][:LABELLED][taught] for key, t in batch_of(ALL).items()}
    batch = {**batch_of(own), "labelled": labelled}
    batch["x"], labelled["x"] = batch["x"][:, :-1], labelled["x"][:, :-1]
    found = stepped(model, Objective(terms, weighting="softmax"), batch)
    # Pseudo-inputs are once in each process; of their spread over (n - 1) images that is another estimate.
    return {name: t for name, t in found.items() if not name.endswith("running_var")}


def batch_of(own: slice) -> dict[str, Any]:
    inputs = laws.scene(N)
    x = torch.cat([inputs.z, inputs.cluster[:, None].double()], 1)
    whole = {"x": x, "y": inputs.y, "row": torch.arange(N)}
    return {name: t[own] for name, t in whole.items()}


class Training_(nn.Module):  # noqa: N801
    """What is wrapped to average gradients: a training step."""

    def __init__(self, module: LatentModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, batch: Mapping[str, Any]) -> Tensor:
        return self.module.training_step(batch, 0)


def stepped(model: nn.Module, objective: Objective, batch: Mapping[str, Any]) -> Outcome:
    """Gradients, sums that are logged, and buffers after a step."""
    scoring: Any = None
    module = LatentModule(model, objective, Training(), scoring).double()
    module.cluster = laws.scene(N).cluster if "cluster" in getattr(model, "reads", ()) else None
    step: nn.Module = Training_(module)
    if processes() > 1:
        step = DistributedDataParallel(step, find_unused_parameters=True)
    step(batch).backward()
    slopes = {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
    return {**slopes, **module._sums, **{name: b for name, b in module.named_buffers()}}


STEPS: dict[str, Step] = {
    **{name: of_setting(name) for name in laws.SETTINGS},
    **{f"weighting {kind}": weighted(kind) for kind in ("softmax", "fixed_ce", "uncertainty", "stch")},
    "in turn": in_turn,
    "semi-supervised": semi_supervised,
}


@contextmanager
def no_factor_in_backward() -> Iterator[None]:
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None]:
        return slope[ctx.span], None, None

    with patch.object(gather.Rows, "backward", staticmethod(backward)):
        yield


@contextmanager
def no_gradient() -> Iterator[None]:
    with patch.object(gather.Rows, "apply", staticmethod(lambda own, whole, start: whole + 0 * own.sum())):
        yield


@contextmanager
def loss_scaled() -> Iterator[None]:
    forward = Objective.forward

    def scaled(self: Objective, *args: Any, **options: Any) -> Any:
        found = forward(self, *args, **options)
        return replace(found, total=found.total * processes())

    with no_factor_in_backward(), patch.object(Objective, "forward", scaled):
        yield


@contextmanager
def statistics_of_each() -> Iterator[None]:
    with patch.object(training, "SharedStatistics", nullcontext):
        yield


MISTAKES = {
    "loss scaled": loss_scaled,
    "no gradient": no_gradient,
    "no factor": no_factor_in_backward,
    "own statistics": statistics_of_each,
}
CAUGHT_BY = ("center learned", "semi-supervised", "supcon")


def not_a_number(own: slice) -> str:
    """What a step says where one image, of one process, is not a number."""
    batch = batch_of(own)
    batch["x"] = torch.where(batch["row"][:, None] == N - 1, torch.nan, batch["x"])
    try:
        stepped(Toy({"z", "y"}), Objective({"supcon": 1.0}), batch)
    except UserError as error:
        return str(error)
    return ""


def drawn() -> dict[str, Tensor]:
    """Random numbers that a model draws in a step, and the weights that an objective does."""

    class Drawing(Toy):
        def forward(self, x: Tensor) -> Latent:
            self.drawn = torch.rand(4)
            return super().forward(x)

    model = Drawing({"z", "logits", "y"})
    found = stepped(
        model, Objective({"cross_entropy": 1.0, "supcon": 0.5}, weighting="random"), batch_of(ALL)
    )
    return {"model": model.drawn, "weight": found["weight/supcon"]}


def at_odds(rank: int) -> str:
    """What is said where processes have different tensors."""
    more = {"extra": torch.zeros(3, 2)} if rank else {}
    try:
        gathered(Latent({"z": torch.zeros(3, 4 + rank), **more}))
    except UserError as error:
        return str(error)
    return ""


def part(rank: int, world: int, folder: Path) -> dict[str, Any]:
    """All that one of the processes finds, of steps and of whole runs."""
    found: dict[str, Any] = {"at odds": at_odds(rank), "drawn": [drawn(), drawn()]}
    for split, lengths in PARTS[world].items():
        start = sum(lengths[:rank])
        own, taught = slice(start, start + lengths[rank]), Part(rank, world).of(LABELLED)
        found[split] = {name: step(own, taught) for name, step in STEPS.items()}
        found[f"nan {split}"] = not_a_number(own)
        if split == "uneven":
            for mistake, made in MISTAKES.items():
                with made():
                    found[mistake] = {name: STEPS[name](own, taught) for name in CAUGHT_BY}
    return {**found, "runs": runs_of(rank, world, folder)}


if __name__ == "__main__":
    in_processes(part)
