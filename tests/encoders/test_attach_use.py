"""What is attached in loops of others; the model inside, its export, its compilation; and detached again."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Literal

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset

from latentloom import Objective, attach
from latentloom.checks import UserError
from latentloom.encoders import Centres, parameter_groups
from latentloom.encoders.attach import Attached

OBJECTIVE = Objective({"cross_entropy": 1.0, "center": 0.5})
G = torch.Generator().manual_seed(0)
X, Y = torch.randn(24, 6, generator=G), torch.arange(24) % 2
STATE_DICT = {"0.weight", "0.bias", "2.weight", "2.bias"}


def classifier() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 4), nn.ReLU(inplace=True), nn.Linear(4, 2))


def attached_to(model: nn.Module) -> Attached:
    torch.manual_seed(1)
    return attach(model, "0", OBJECTIVE, heads={"centres": Centres(4, 2)})


# Loops of others


def plain_loop(attached: Attached, epochs: int = 2) -> None:
    adam = torch.optim.Adam(parameter_groups(attached), lr=0.01)
    for _ in range(epochs):
        for x, y in zip(X.split(8), Y.split(8), strict=True):
            adam.zero_grad()
            attached.objective(attached(x).with_samples(y=y)).total.backward()
            adam.step()


class TheirModule(LightningModule):
    """Someone's module, with one line of ours in each of two methods."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.attached = attached_to(model)

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        x, y = batch
        total: Tensor = self.attached.objective(self.attached(x).with_samples(y=y)).total
        return total

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameter_groups(self.attached), lr=0.01)


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec")
def test_module_of_lightning_learns_what_a_plain_loop_does() -> None:
    plain, module = attached_to(classifier()), TheirModule(classifier())
    before = copy.deepcopy(plain.state_dict())
    plain_loop(plain)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(TensorDataset(X, Y), batch_size=8))
    assert_close(module.attached.state_dict(), plain.state_dict(), rtol=0, atol=0)
    assert not any(torch.equal(before[name], value) for name, value in plain.state_dict().items())


def test_learned_in_a_loop_and_detached_it_is_a_classifier_as_before() -> None:
    model = classifier()
    attached = attached_to(model)
    plain_loop(attached)
    logits = attached(X).logits
    assert attached.detach() is model
    assert torch.equal(model(X), logits)
    assert model.state_dict().keys() == STATE_DICT
    again = attach(model, "2", OBJECTIVE)
    assert torch.equal(again(X).z, logits)


# Detached


def hooked(model: nn.Module) -> list[str]:
    return [name for name, m in model.named_modules() if m._forward_hooks or m._forward_pre_hooks]


@pytest.mark.parametrize("read", ["output", "input"])
def test_detaching_removes_what_one_wrapper_put_there(read: Literal["output", "input"]) -> None:
    model = classifier()
    theirs = model[2].register_forward_hook(lambda *_: None)
    first, second = (attach(model, layer, OBJECTIVE, read=read) for layer in ("0", ["0", "1"]))
    assert hooked(model) == ["0", "1", "2"]
    z = first(X).z
    second.detach()
    assert hooked(model) == ["0", "2"]
    assert torch.equal(first(X).z, z)
    assert first.detach() is first.detach() is model
    assert hooked(model) == ["2"]
    theirs.remove()


def test_detached_wrapper_says_so() -> None:
    attached = attached_to(classifier())
    attached.detach()
    with pytest.raises(UserError, match=r"was detached, .* attach again"):
        attached(X)


def pickled(attached: Attached) -> Attached:
    twin: Attached = pickle.load(io.BytesIO(pickle.dumps(attached)))
    return twin


@pytest.mark.parametrize("copied", [copy.deepcopy, pickled])
def test_copies_are_detached_apart(copied: Callable[[Attached], Attached]) -> None:
    attached = attached_to(classifier())
    twin = copied(attached)
    z = attached(X).z
    model = twin.detach()
    assert hooked(model) == []
    assert hooked(attached.model) == ["0"]
    assert torch.equal(attached(X).z, z)


# The model inside


def exported(model: nn.Module) -> Callable[[Tensor], Tensor]:
    module: Callable[[Tensor], Tensor] = torch.export.export(model, (X,)).module()
    return module


INSIDE: dict[str, Callable[[nn.Module], Callable[[Tensor], Tensor]]] = {
    "copied": copy.deepcopy,
    "pickled": lambda model: pickle.load(io.BytesIO(pickle.dumps(model))),
    "exported": exported,
    "traced": lambda model: torch.fx.symbolic_trace(model),
    "compiled": lambda model: torch.compile(model, fullgraph=True, backend="aot_eager"),
}


@pytest.mark.parametrize("way", INSIDE)
def test_model_inside_is_used_as_before(way: str) -> None:
    model = classifier()
    attached = attached_to(model)
    z, logits = attached(X).z, model(X)
    assert torch.equal(INSIDE[way](model)(X), logits)
    assert [tap.seen for tap in attached.taps] == [None]
    assert torch.equal(attached(X).z, z)
    assert model.state_dict().keys() == STATE_DICT
    assert [name for name, _ in model.named_modules()] == ["", "0", "1", "2"]


def test_several_layers_compile_whole() -> None:
    attached = attach(classifier(), ["0", "1"], OBJECTIVE)
    compiled = torch.compile(attached, fullgraph=True, backend="aot_eager")
    for n in (24, 7):
        assert_close(dict(compiled(X[:n]).samples), dict(attached(X[:n]).samples))


def test_moving_average_of_an_attached_model() -> None:
    attached = attached_to(classifier())
    attached(X)
    average = AveragedModel(attached)
    plain_loop(attached, epochs=1)
    average.update_parameters(attached)
    assert torch.equal(average(X).z, attached(X).z)


class Checkpointed(nn.Module):
    """Its body runs again in the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.last = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True)), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = checkpoint(self.body, x, use_reentrant=False)
        logits: Tensor = self.last(h.mean((2, 3)))
        return logits


def test_layer_that_runs_again_in_the_backward_pass() -> None:
    torch.manual_seed(0)
    model, x = Checkpointed(), torch.rand(5, 3, 8, 8)
    by_hand = model.body[0](x).mean((2, 3))
    expected = torch.autograd.grad(by_hand.square().sum(), model.body[0].weight)
    z = attach(model, "body.0", OBJECTIVE)(x).z
    assert_close(torch.autograd.grad(z.square().sum(), model.body[0].weight), expected)
