"""A latent from a layer of someone's own classifier."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torchvision.models import resnet18

from latentloom import Objective, losses
from latentloom.checks import UserError
from latentloom.config import Term
from latentloom.encoders import Centres, LabelEmbeddings, attach, parameter_groups, uniform_noise
from latentloom.encoders.attach import Attached
from latentloom.values import Latent

OBJECTIVE = Objective({"cross_entropy": 1.0, "center": 0.1})
X = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 1, 0])


@pytest.fixture(scope="module")
def classifier() -> nn.Module:
    """ResNet-18 of five classes, in evaluation, so that one forward is like another."""
    torch.manual_seed(0)
    return resnet18(num_classes=5).eval()


class Toy(nn.Module):
    """A classifier whose ReLU writes over what the layer before it gave."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(6, 4)
        self.relu = nn.ReLU(inplace=True)
        self.last = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.relu(self.first(x)))


class Halfway(Toy):
    def forward(self, x: Tensor) -> Tensor:
        self.first(x)
        raise RuntimeError("halfway")


def rows(n: int = 5) -> Tensor:
    return torch.randn(n, 6, generator=torch.Generator().manual_seed(1))


# Where it reads, and the latent by hand.
TAPS: dict[str, tuple[Literal["output", "input"], Callable[[nn.Module, Tensor], Tensor]]] = {
    "avgpool": ("output", lambda model, x: trunk(model, x).mean((2, 3))),
    "layer4": ("output", lambda model, x: trunk(model, x).mean((2, 3))),
    "layer4.1.bn2": ("output", lambda model, x: last_norm(model, x).mean((2, 3))),
    "fc": ("input", lambda model, x: trunk(model, x).mean((2, 3))),
}


def stages(model: nn.Module, x: Tensor, names: str) -> Tensor:
    for name in names.split():
        x = model.get_submodule(name)(x)
    return x


def trunk(model: nn.Module, x: Tensor) -> Tensor:
    return stages(model, x, "conv1 bn1 relu maxpool layer1 layer2 layer3 layer4")


def last_norm(model: nn.Module, x: Tensor) -> Tensor:
    return stages(
        model,
        x,
        "conv1 bn1 relu maxpool layer1 layer2 layer3 layer4.0 "
        "layer4.1.conv1 layer4.1.bn1 layer4.1.relu layer4.1.conv2 layer4.1.bn2",
    )


@pytest.mark.parametrize("layer", TAPS)
def test_latent_is_what_passes_the_layer(classifier: nn.Module, layer: str) -> None:
    read, by_hand = TAPS[layer]
    expected, logits = by_hand(classifier, X), classifier(X)
    latent = attach(copy.deepcopy(classifier), layer, OBJECTIVE, read=read)(X)
    assert isinstance(latent, Latent)
    assert set(latent.samples) == {"z", "logits"}
    assert latent.z.shape == (4, 512)
    assert_close(latent.z, expected)
    assert torch.equal(latent.logits, logits)


def test_output_of_the_last_layer_is_flat() -> None:
    latent = attach(Toy(), "last", OBJECTIVE)(rows())
    assert torch.equal(latent.z, latent.logits)


def test_model_gains_no_parameter_and_stays_itself() -> None:
    model = Toy()
    before, logits = {k: v.clone() for k, v in model.state_dict().items()}, model(rows())
    attached = attach(model, "first", OBJECTIVE)
    assert attached.model is model
    assert attached.objective is OBJECTIVE
    assert list(attached.parameters()) == list(model.parameters())
    attached(rows())
    assert model.state_dict().keys() == before.keys()
    assert torch.equal(model(rows()), logits)


def test_learned_centres_are_parameters_of_the_wrapper() -> None:
    model = Toy()
    attached = attach(model, "first", OBJECTIVE, heads={"centres": Centres(4, 2)})
    latent = attached(rows(4))
    assert latent["centres"] is attached.heads["centres"].points
    assert [name for name, _ in attached.named_parameters() if "model" not in name] == [
        "heads.centres.points"
    ]
    attached.objective(latent.with_samples(y=Y)).total.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in attached.parameters())
    assert not any("centres" in name for name in model.state_dict())


def test_gradient_of_a_latent_loss_stops_at_the_tap() -> None:
    attached = attach(Toy(), "first", OBJECTIVE)
    losses.center(attached(rows(4)).z, Y).backward()
    assert attached.model.first.weight.grad.abs().sum() > 0
    assert attached.model.last.weight.grad is None


def test_layer_that_writes_in_place_does_not_change_z() -> None:
    model = Toy()
    z = attach(model, "first", OBJECTIVE)(rows()).z
    assert torch.equal(z, model.first(rows()))
    assert z.min() < 0
    before = attach(Toy(), "relu", OBJECTIVE, read="input")(rows()).z
    assert torch.equal(before, z)


class Nothing(nn.Module):
    def forward(self, x: Tensor) -> tuple[()]:
        return ()


class Odd(nn.Module):
    """Calls layers in ways that cannot be tapped, or only with care."""

    def __init__(self) -> None:
        super().__init__()
        self.never, self.twice, self.named = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6)
        self.recurrent = nn.LSTM(6, 6, batch_first=True)
        self.nothing = Nothing()
        self.no_rows, self.other_rows = nn.Flatten(0), nn.Identity()
        self.last = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.named(input=self.twice(self.twice(x)))
        x = self.recurrent(x[:, None])[0][:, 0]
        self.nothing(x)
        self.no_rows(x)
        self.other_rows(x.T)
        return self.last(x)


@pytest.mark.parametrize(("layer", "times"), [("never", 0), ("twice", 2)])
def test_layer_that_is_not_called_once(layer: str, times: int) -> None:
    attached = attach(Odd(), layer, OBJECTIVE)
    for _ in range(2):  # the second call starts afresh
        with pytest.raises(UserError, match=f"layer '{layer}' ran {times} times in one forward, wanted once"):
            attached(rows())


def test_layer_that_gives_no_tensor() -> None:
    with pytest.raises(UserError, match="layer 'nothing' gives tuple, wanted a tensor"):
        attach(Odd(), "nothing", OBJECTIVE)(rows())


def test_of_a_tuple_the_first_is_taken() -> None:
    model = Odd()
    states = model.recurrent(model.named(model.twice(model.twice(rows())))[:, None])[0]
    assert_close(attach(model, "recurrent", OBJECTIVE)(rows()).z, states[:, 0])


@pytest.mark.parametrize(("layer", "shape"), [("no_rows", r"\(30,\)"), ("other_rows", r"\(6, 5\)")])
def test_layer_that_has_no_row_per_image(layer: str, shape: str) -> None:
    with pytest.raises(UserError, match=f"layer '{layer}' gives {shape}"):
        attach(Odd(), layer, OBJECTIVE)(rows())


def test_input_that_is_passed_by_name() -> None:
    model = Odd()
    z = attach(model, "named", OBJECTIVE, read="input")(rows()).z
    assert_close(z, model.twice(model.twice(rows())))


@pytest.mark.parametrize("layer", ["layer5", "", "layer4.1.bn3"])
def test_misspelt_layer(classifier: nn.Module, layer: str) -> None:
    with pytest.raises(UserError, match=f"no layer '{layer}'") as caught:
        attach(classifier, layer, OBJECTIVE)
    assert ("did you mean 'layer" in str(caught.value)) == bool(layer)


@pytest.mark.parametrize("where", ["whole", "inside", "in place"])
def test_compiled_model_is_refused(where: str) -> None:
    model: nn.Module = Toy()
    if where == "in place":
        model.compile(backend="eager")
    else:
        model = torch.compile(model, backend="eager")
    if where == "inside":
        model = nn.Sequential(model)
    with pytest.raises(UserError, match=r"attach first, then torch\.compile"):
        attach(model, "first", OBJECTIVE)


def test_attached_compiles_whole() -> None:
    attached = attach(Toy(), "first", OBJECTIVE, heads={"centres": Centres(4, 2)})

    def step(model: nn.Module) -> tuple[Latent, list[Tensor]]:
        latent = model(rows(4))
        total = OBJECTIVE(latent.with_samples(y=Y)).total
        return latent, list(torch.autograd.grad(total, list(attached.parameters())))

    latent, slopes = step(attached)
    for _ in range(2):
        compiled, compiled_slopes = step(torch.compile(attached, fullgraph=True, backend="aot_eager"))
        assert_close(dict(compiled.samples), dict(latent.samples))
        assert_close(compiled["centres"], latent["centres"])
        assert_close(compiled_slopes, slopes)


def test_copy_after_a_forward_is_apart() -> None:
    attached = attach(Toy(), "first", OBJECTIVE)
    z = attached(rows()).z
    attached.model(rows())  # its own forward keeps nothing either
    twin = copy.deepcopy(attached)
    with torch.no_grad():
        attached.model.first.weight.zero_()
    assert torch.equal(twin(rows()).z, z)
    assert not torch.equal(attached(rows()).z, z)


def test_attached_can_be_sent_to_another_process() -> None:
    attached = attach(Toy(), "first", OBJECTIVE, heads={"centres": Centres(4, 2)})
    latent = attached(rows())
    again = pickle.load(io.BytesIO(pickle.dumps(attached)))(rows())
    assert torch.equal(again.z, latent.z)
    assert torch.equal(again["centres"], latent["centres"])


def test_taps_hold_nothing_between_forwards() -> None:
    model = Toy()
    attached = attach(model, ["first", "relu"], OBJECTIVE)
    attached(rows())
    model(rows())
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        attached(rows()[:, :3])
    assert [tap.seen for tap in attached.taps] == [None, None]


def test_forward_that_fails_halfway_leaves_nothing() -> None:
    attached = attach(Halfway(), "first", OBJECTIVE)
    with pytest.raises(RuntimeError, match="halfway"):
        attached(rows())
    assert attached.taps[0].seen is None
    copy.deepcopy(attached)  # a tensor with a graph cannot be copied


def test_two_taps_on_one_model() -> None:
    model = Toy()
    first, second = (attach(model, layer, OBJECTIVE) for layer in ("first", "relu"))
    for _ in range(2):
        assert_close(second(rows()).z, first(rows()).z.relu())


# What the class names mean

GROUPED = Objective(
    {
        "cross_entropy": 1.0,
        "semantic_anchor": 1.0,
        "semantic_triplet": Term(options={"negatives": "random", "margin": 2.0}),
    }
)


def named(learned_balance: bool = True) -> LabelEmbeddings:
    """Two classes of one group, in nine dimensions."""
    g = torch.Generator().manual_seed(3)
    vectors, groups = torch.randn(2, 9, generator=g), torch.randn(1, 9, generator=g)
    group = torch.zeros(2, dtype=torch.int64)
    return LabelEmbeddings(vectors, groups, group, learned_balance=learned_balance, seed=5)


def with_names() -> Attached:
    """The layer of four numbers aligned with names of nine."""
    torch.manual_seed(1)
    heads = {"names": named()}
    return attach(Toy(), "first", GROUPED, heads=heads, projection=nn.Linear(4, 9))


def test_projection_stands_between_the_layer_and_the_heads() -> None:
    attached, model = with_names(), Toy()
    latent = attached(rows())
    assert latent.z.shape == (5, 9)
    assert attached.projection is not None
    assert torch.equal(latent.z, attached.projection(model.first(rows())))
    assert torch.equal(latent.logits, model(rows()))
    assert attached.model.state_dict().keys() == model.state_dict().keys()
    outside = {name for name in attached.state_dict() if not name.startswith("model.")}
    assert {"projection.weight", "projection.bias", "heads.names.balance"} <= outside
    assert {name for name in outside if name.startswith("projection")} <= {*dict(attached.named_parameters())}


def test_layer_of_another_length_than_the_names() -> None:
    with pytest.raises(UserError, match=r"or give attach a projection, nn\.Linear\(4, 9\)"):
        attach(Toy(), "first", GROUPED, heads={"names": named()})(rows())


def test_names_and_groups_train_through_a_tapped_layer() -> None:
    attached = with_names()
    optimiser = torch.optim.SGD(parameter_groups(attached), lr=0.1)

    def loss() -> Tensor:
        latent = attached(rows(4), rows=torch.arange(4), step=0)
        total: Tensor = attached.objective(latent.with_samples(y=Y)).total
        return total

    before = loss()
    before.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in attached.parameters())
    balance = attached.heads["names"].balance.detach().clone()
    optimiser.step()
    assert loss() < before
    assert not torch.equal(attached.heads["names"].balance, balance)


def test_what_is_learned_moves_and_is_saved_with_the_wrapper() -> None:
    attached = with_names().to(torch.float64)
    floating = [t for t in attached.state_dict().values() if t.is_floating_point()]
    assert {t.dtype for t in floating} == {torch.float64}
    assert attached(rows().double()).z.dtype == torch.float64
    with torch.no_grad():
        for parameter in attached.parameters():
            parameter.add_(1)
    other = with_names().double()
    other.load_state_dict(attached.state_dict())
    assert_close(other(rows().double()).z, attached(rows().double()).z)
    assert torch.equal(other.heads["names"].balance, attached.heads["names"].balance)


def test_learned_weights_of_losses_are_in_the_wrapper() -> None:
    objective = Objective({"cross_entropy": 1.0, "center": 0.1}, weighting="softmax")
    attached, learned = attach(Toy(), "first", objective), {id(p) for p in objective.parameters()}
    assert learned
    assert learned <= {id(p) for p in attached.parameters()}
    assert any(name.startswith("objective.") for name in attached.state_dict())


def test_noise_comes_with_rows_and_names() -> None:
    attached, order = with_names().eval(), torch.tensor([4, 2, 0, 9, 7])
    assert torch.equal(attached(rows(), rows=order, step=3)["noise"], uniform_noise(order, 3, 5))
    assert "noise" not in attached(rows())
    assert "noise" not in attach(Toy(), "first", OBJECTIVE)(rows(), rows=order)
    with pytest.raises(UserError, match=r"it is called with rows, .* negatives 'all' needs none"):
        attached.objective(attached(rows(4)).with_samples(y=Y))
