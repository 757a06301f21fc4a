"""Laws that hold for every loss term; where one does not, the exemption carries its reason and is true."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from latentloom.losses import TERMS

CLASSES, DIMS = 4, 4


@dataclass(frozen=True)
class Setting:
    """A term with options and the tensors that it may read."""

    term: str
    options: Mapping[str, Any] = field(default_factory=dict)
    extra: tuple[str, ...] = ()

    @property
    def reads(self) -> tuple[str, ...]:
        return (*TERMS[self.term].reads, *self.extra)


SETTINGS: dict[str, Setting] = {
    "cross_entropy": Setting("cross_entropy"),
    "cross_entropy smoothed": Setting("cross_entropy", {"label_smoothing": 0.1}),
    "contrastive": Setting("contrastive", {"margin": 2.0}),
    "contrastive power 1": Setting("contrastive", {"margin": 2.0, "power": 1}),
    "contrastive pml": Setting("contrastive", {"variant": "pml"}),
    "triplet": Setting("triplet"),
    "triplet nonzero": Setting("triplet", {"margin": 0.5, "over": "nonzero"}),
    "triplet pml": Setting("triplet", {"variant": "pml"}),
    "triplet pullback": Setting("triplet", {"distance": "pullback"}, ("pullback",)),
    "n_pair": Setting("n_pair"),
    "n_pair pml": Setting("n_pair", {"variant": "pml"}),
    "supcon": Setting("supcon"),
    "supcon in": Setting("supcon", {"variant": "in", "temperature": 0.5}),
    "magnet": Setting("magnet"),
    "magnet clusters": Setting("magnet", extra=("cluster",)),
    "magnet code": Setting("magnet", {"variant": "code"}),
    "latent_boost": Setting("latent_boost"),
    "latent_boost clusters": Setting("latent_boost", {"share": 0.8}, ("cluster",)),
    "latent_boost paper": Setting("latent_boost", {"variant": "paper"}),
    "latent_boost class variance": Setting("latent_boost", {"variance": "class", "detach_variance": True}),
    "center": Setting("center"),
    "center apart": Setting("center", {"apart": 3.0}),
    "center learned": Setting("center", {"apart": 3.0}, ("centres",)),
    "euclidean_target": Setting("euclidean_target"),
    "cosine_target": Setting("cosine_target"),
    "class_proximity": Setting("class_proximity", {"r": 3.0}),
    "class_proximity paper": Setting("class_proximity", {"r": 3.0, "variant": "paper"}),
    "push_pull": Setting("push_pull"),
    "push_pull code": Setting("push_pull", {"variant": "code"}),
    "comparison": Setting("comparison"),
    "comparison summed": Setting("comparison", {"reduction": "sum"}),
    "cosface": Setting("cosface"),
    "arcface": Setting("arcface"),
    "sphereface": Setting("sphereface"),
    "sphereface margin 1.5": Setting("sphereface", {"margin": 1.5, "scale": 3.0}),
    "adacos": Setting("adacos"),
    "adacos fixed": Setting("adacos", {"variant": "fixed"}),
    "kl": Setting("kl"),
    "kl paper": Setting("kl", {"variant": "paper"}),
    "unit_kl": Setting("unit_kl"),
    "unit_kl free bits": Setting("unit_kl", {"free_bits": 0.1}),
    "reconstruction": Setting("reconstruction"),
    "reconstruction bernoulli": Setting("reconstruction", {"likelihood": "bernoulli", "pixels": "mean"}),
    "semantic_anchor": Setting("semantic_anchor"),
    "semantic_anchor coarse": Setting(
        "semantic_anchor", {"coarse_weight": 0.3}, ("coarse_embeddings", "coarse_of")
    ),
    "semantic_anchor balance": Setting("semantic_anchor", {}, ("coarse_embeddings", "coarse_of", "balance")),
    "semantic_triplet": Setting("semantic_triplet"),
    "semantic_triplet by distance": Setting("semantic_triplet", {"by_distance": True}),
    "semantic_triplet random": Setting("semantic_triplet", {"negatives": "random"}, ("noise",)),
    "centering": Setting("centering"),
    "centering mean": Setting("centering", {"reduction": "mean"}),
    "unit_variance": Setting("unit_variance"),
    "unit_variance mean": Setting("unit_variance", {"reduction": "mean"}),
    "decorrelation": Setting("decorrelation"),
}

every_setting = pytest.mark.parametrize("name", SETTINGS)
GENERATIVE = [name for name, s in SETTINGS.items() if s.term in ("kl", "unit_kl", "reconstruction")]
SEMANTIC = [name for name, s in SETTINGS.items() if s.term.startswith("semantic_")]
CENTERING, SPREAD = ["centering", "centering mean"], ["unit_variance", "unit_variance mean", "decorrelation"]


@dataclass(frozen=True)
class Inputs:
    z: Tensor
    y: Tensor
    cluster: Tensor
    centres: Tensor

    @property
    def logits(self) -> Tensor:
        return self.z

    @property
    def class_embeddings(self) -> Tensor:
        return self.centres  # one learned point per class, as they are

    @property
    def pullback(self) -> Tensor:
        return 2 * torch.eye(DIMS).to(self.z).expand(len(self.y), -1, -1)  # no rotation changes it

    @property
    def mean(self) -> Tensor:
        return self.z / 2

    @property
    def logvar(self) -> Tensor:
        return self.z.clamp(-2, 2)

    @property
    def log_prior(self) -> Tensor:
        return -self.z.abs().amax(1)  # any function of a row

    @property
    def reconstruction(self) -> Tensor:
        return self.z[:, :, None]

    @property
    def x(self) -> Tensor:
        return (self.reconstruction > 0).to(self.z.dtype)

    @property
    def label_embeddings(self) -> Tensor:
        return self.centres

    @property
    def coarse_embeddings(self) -> Tensor:
        return -self.centres  # a group per class

    @property
    def coarse_of(self) -> Tensor:
        return torch.arange(CLASSES)

    @property
    def balance(self) -> Tensor:
        return torch.tensor([0.7, -0.2])

    @property
    def noise(self) -> Tensor:
        return 0.37 * self.cluster.float() % 1

    def rows(self, index: Any) -> Inputs:
        return replace(self, z=self.z[index], y=self.y[index], cluster=self.cluster[index])


def scene(n: int = 17, dtype: torch.dtype = torch.float64) -> Inputs:
    """Points of four classes that overlap, the first three rows of one class; sizes are unequal."""
    g = torch.Generator().manual_seed(4)
    y = torch.cat([torch.tensor([2, 2, 2, 0, 1]), (torch.rand(n - 5, generator=g).square() * CLASSES).long()])
    z = torch.randn(n, DIMS, generator=g, dtype=torch.float64) + 1.5 * torch.eye(CLASSES)[y] + 0.3
    centres = torch.randn(CLASSES, DIMS, generator=g, dtype=torch.float64)
    return Inputs(z.to(dtype), y, 10 * y + torch.arange(n) % 2, centres.to(dtype))


def evaluate(name: str, inputs: Inputs, **instead: Any) -> Tensor:
    setting = SETTINGS[name]
    tensors = [getattr(inputs, key) for key in setting.reads]
    return TERMS[setting.term].fn(*tensors, **{**setting.options, **instead})


def evaluate_and_differentiate(name: str, inputs: Inputs) -> tuple[Tensor, Tensor]:
    z = inputs.z.detach().clone().requires_grad_()
    value = evaluate(name, replace(inputs, z=z))
    (slope,) = torch.autograd.grad(value, z)
    return value.detach(), slope


def holds(name: str, exempt: Mapping[str, str], law: Callable[[], None]) -> None:
    """The law holds; or the setting is exempt for a stated reason, and the law is indeed broken."""
    if name in exempt:
        with pytest.raises(AssertionError):
            law()
    else:
        law()


def test_every_term_is_under_the_laws() -> None:
    assert {setting.term for setting in SETTINGS.values()} == TERMS.keys()
    for name, info in TERMS.items():
        assert set(info.may_read) == {key for s in SETTINGS.values() if s.term == name for key in s.extra}


# What must not matter

NO_ORDER = dict.fromkeys(
    ["n_pair", "n_pair pml"], "takes the first two rows of each class, so the order chooses the pair"
)


@every_setting
def test_order_of_the_batch_does_not_matter(name: str) -> None:
    inputs = scene()
    order = torch.randperm(len(inputs.y), generator=torch.Generator().manual_seed(0))
    holds(name, NO_ORDER, lambda: assert_close(evaluate(name, inputs.rows(order)), evaluate(name, inputs)))


NO_RENAMING = {"semantic_triplet random": "noise picks the number of a class"}


@every_setting
def test_numbers_of_classes_and_clusters_do_not_matter(name: str) -> None:
    inputs, number = scene(), torch.tensor([2, 0, 3, 1])
    reads = SETTINGS[name].reads
    z = inputs.z[:, number.argsort()] if "logits" in reads else inputs.z
    renamed = Inputs(z, number[inputs.y], 977 - inputs.cluster, inputs.centres[number.argsort()])
    holds(name, NO_RENAMING, lambda: assert_close(evaluate(name, renamed), evaluate(name, inputs)))
    if not {"logits", "centres", "class_embeddings", "label_embeddings"} & set(reads):
        assert_close(evaluate(name, replace(inputs, y=inputs.y * 1000 + 7)), evaluate(name, inputs))


NO_ROTATION = dict.fromkeys(
    ["cross_entropy", "cross_entropy smoothed"], "a coordinate of the logits belongs to a class"
) | dict.fromkeys(GENERATIVE, "what z is made into is taken by coordinates")
NO_ROTATION |= dict.fromkeys(SPREAD, "dimensions are told apart")
NO_TRANSLATION = dict.fromkeys(
    [
        *("contrastive pml", "triplet pml", "n_pair", "n_pair pml", "supcon", "supcon in", "cosine_target"),
        *("cosface", "arcface", "sphereface", "sphereface margin 1.5", "adacos", "adacos fixed"),
    ],
    "angles are taken from the origin",
) | dict.fromkeys(
    ["cross_entropy", "cross_entropy smoothed"], "a coordinate of the logits belongs to a class"
)
NO_TRANSLATION |= dict.fromkeys(GENERATIVE, "priors and images stay where they are")
NO_TRANSLATION |= dict.fromkeys(SEMANTIC, "angles are taken from the origin")
NO_TRANSLATION |= dict.fromkeys(CENTERING, "the origin stays where it is")
NO_LABELS = dict.fromkeys([*GENERATIVE, *CENTERING, *SPREAD], "needs no label, so that every row counts")


@every_setting
def test_rotation_does_not_matter(name: str) -> None:
    inputs = scene()
    turn = torch.linalg.qr(torch.randn(DIMS, DIMS, generator=torch.Generator().manual_seed(0)).double()).Q
    turned = replace(inputs, z=inputs.z @ turn, centres=inputs.centres @ turn)
    holds(name, NO_ROTATION, lambda: assert_close(evaluate(name, turned), evaluate(name, inputs)))


@every_setting
def test_translation_does_not_matter(name: str) -> None:
    inputs, by = scene(), torch.tensor([5.0, -3, 8, 1], dtype=torch.float64)
    moved = replace(inputs, z=inputs.z + by, centres=inputs.centres + by)
    holds(name, NO_TRANSLATION, lambda: assert_close(evaluate(name, moved), evaluate(name, inputs)))


@every_setting
def test_unlabelled_rows_are_as_if_not_there(name: str) -> None:
    inputs = scene()
    absent = torch.tensor([0, 5, 6, 16])
    y = inputs.y.index_fill(0, absent, -1)
    value, slope = evaluate_and_differentiate(name, replace(inputs, y=y))

    def law() -> None:
        assert_close((value, slope[y >= 0]), evaluate_and_differentiate(name, inputs.rows(y >= 0)))
        assert (slope[absent] == 0).all()

    holds(name, NO_LABELS, law)


@every_setting
def test_inputs_and_the_state_of_torch_are_left_alone(name: str) -> None:
    def state() -> tuple[Any, ...]:
        return (
            torch.is_grad_enabled(),
            torch.get_default_dtype(),
            torch.is_autocast_enabled("cpu"),
            torch.get_rng_state().tolist(),
            torch.are_deterministic_algorithms_enabled(),
        )

    inputs, copy = scene(), scene()
    versions = [t._version for t in vars(inputs).values()]
    with torch.no_grad():
        before = state()
        evaluate(name, inputs)
        assert state() == before
    evaluate_and_differentiate(name, inputs)
    assert [t._version for t in vars(inputs).values()] == versions
    assert_close(vars(inputs), vars(copy), rtol=0, atol=0)


# Every batch has a value

Spoil = Callable[[Inputs], Inputs]
SPOILS: dict[str, Spoil] = {
    "rows twice": lambda s: s.rows(torch.arange(len(s.y)).repeat(2)),
    "all points equal": lambda s: replace(s, z=torch.full_like(s.z, 0.7)),
    "all points zero": lambda s: replace(s, z=torch.zeros_like(s.z)),
    "points of a class equal": lambda s: replace(s, z=s.centres[s.y]),
    "on a line": lambda s: replace(s, z=s.z[:, :1].repeat(1, DIMS)),
    "one class": lambda s: replace(s, y=torch.ones_like(s.y), cluster=torch.ones_like(s.y)),
    "one row per class": lambda s: s.rows(torch.tensor([s.y.tolist().index(c) for c in range(CLASSES)])),
    "two rows of two classes": lambda s: s.rows(torch.tensor([0, 3])),
    "single row": lambda s: s.rows(slice(0, 1)),
    "empty": lambda s: s.rows(slice(0, 0)),
    "all unlabelled": lambda s: replace(s, y=torch.full_like(s.y, -1)),
    "small": lambda s: replace(s, z=1e-4 * s.z, centres=1e-4 * s.centres),
    "large": lambda s: replace(s, z=1e4 * s.z, centres=1e4 * s.centres),
    "far from the origin": lambda s: replace(s, z=s.z + 1e4, centres=s.centres + 1e4),
    "tight and far apart": lambda s: replace(s, z=1e3 * s.centres[s.y] + 1e-3 * s.z),
    "learned points equal": lambda s: replace(s, centres=torch.full_like(s.centres, 0.7)),
    "learned points zero": lambda s: replace(s, centres=torch.zeros_like(s.centres)),
    "all on one learned point": lambda s: replace(
        s, z=torch.full_like(s.z, 0.7), centres=torch.full_like(s.centres, 0.7)
    ),
}


@pytest.mark.parametrize("spoil", SPOILS)
@every_setting
def test_value_and_gradient_are_finite_on_every_batch(name: str, spoil: str) -> None:
    inputs = SPOILS[spoil](scene(dtype=torch.float32))
    z, centres = inputs.z.clone().requires_grad_(), inputs.centres.clone().requires_grad_()
    value = evaluate(name, replace(inputs, z=z, centres=centres))
    assert value.shape == ()
    value.backward()
    assert value.isfinite()
    assert z.grad is not None
    assert z.grad.isfinite().all()
    assert centres.grad is None or centres.grad.isfinite().all()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@every_setting
def test_what_is_not_a_number_reaches_the_loss(name: str, bad: float) -> None:
    inputs = scene(dtype=torch.float32)
    inputs.z[0, 2] = bad
    assert not evaluate(name, inputs).isfinite()


@pytest.mark.parametrize("labels", [torch.int32, torch.int16, torch.uint8])
@every_setting
def test_any_integer_labels_will_do(name: str, labels: torch.dtype) -> None:
    inputs = scene()
    few = replace(inputs, y=inputs.y.to(labels), cluster=inputs.cluster.to(labels))
    assert_close(evaluate(name, few), evaluate(name, inputs))


# The gradient


def frozen(name: str) -> dict[str, Any]:
    """Options under which nothing is detached: finite differences see what the gradient leaves out."""
    if SETTINGS[name].term == "latent_boost":
        return {"share": 1.0, "detach_variance": False}
    if SETTINGS[name].term == "adacos":
        return {"variant": "fixed"}
    return {}


@every_setting
def test_gradient_is_true(name: str) -> None:
    inputs = scene()
    z, centres = inputs.z.requires_grad_(), inputs.centres.requires_grad_()

    def value(z: Tensor, centres: Tensor) -> Tensor:
        return evaluate(name, replace(inputs, z=z, centres=centres), **frozen(name)) + 0 * centres.sum()

    assert torch.autograd.gradcheck(value, (z, centres))


@every_setting
def test_gradient_leads_down(name: str) -> None:
    inputs = scene()
    value, slope = evaluate_and_differentiate(name, inputs)
    assert slope.norm() > 1e-3
    assert evaluate(name, replace(inputs, z=inputs.z - 1e-3 * slope)) < value


# Types


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@every_setting
def test_half_types_are_computed_in_float32(name: str, dtype: torch.dtype) -> None:
    inputs = scene()
    for scale in (1.0, 300.0):
        half = replace(inputs, z=(scale * inputs.z).to(dtype), centres=(scale * inputs.centres).to(dtype))
        whole = replace(half, z=half.z.float(), centres=half.centres.float())
        (value, slope), (expected, expected_slope) = (
            evaluate_and_differentiate(name, each) for each in (half, whole)
        )
        assert value.dtype == torch.float32
        assert slope.dtype == dtype
        assert_close(value, expected, rtol=0, atol=0)
        # Slopes that reach z by way of several tensors are added in the half type, outside of the term.
        near = 0.02 * expected_slope.abs().max().item() if SETTINGS[name].term in ("kl", "unit_kl") else 0
        assert_close(slope, expected_slope.to(dtype), rtol=0, atol=near)


@every_setting
def test_half_types_are_close_to_float64(name: str) -> None:
    inputs = scene()
    half = replace(inputs, z=inputs.z.half(), centres=inputs.centres.half())
    assert_close(evaluate(name, half).double(), evaluate(name, inputs), rtol=2e-2, atol=2e-2)


@every_setting
def test_float32_is_close_to_float64(name: str) -> None:
    found = evaluate_and_differentiate(name, scene(dtype=torch.float32))
    expected = evaluate_and_differentiate(name, scene())
    assert found[0].dtype == torch.float32
    assert expected[0].dtype == torch.float64
    assert_close([part.double() for part in found], list(expected), rtol=1e-4, atol=1e-5)


# n_pair: the products of points 1000 from the origin have few digits left for their differences.
@pytest.mark.parametrize("name", [name for name in SETTINGS if name != "n_pair"])
def test_float32_keeps_its_digits_far_from_the_origin(name: str) -> None:
    near = scene(dtype=torch.float32)
    single = replace(near, z=near.z + 1000, centres=near.centres + 1000)
    double = replace(single, z=single.z.double(), centres=single.centres.double())
    assert_close(evaluate(name, single).double(), evaluate(name, double), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@every_setting
def test_autocast_changes_nothing(name: str, dtype: torch.dtype) -> None:
    inputs = scene(dtype=torch.float32)
    z = inputs.z.clone().requires_grad_()
    with torch.autocast("cpu", dtype):
        value = evaluate(name, replace(inputs, z=z))
    found = value.detach(), torch.autograd.grad(value, z)[0]
    assert_close(found, evaluate_and_differentiate(name, inputs), rtol=0, atol=0)


# Compilation


def compiled_equals_eager(name: str, backend: str) -> None:
    torch.compiler.reset()
    inputs = scene(dtype=torch.float32)
    inputs.y[7] = -1

    def value(z: Tensor, y: Tensor, cluster: Tensor, centres: Tensor) -> Tensor:
        return evaluate(name, Inputs(z, y, cluster, centres))

    compiled = torch.compile(value, fullgraph=True, backend=backend)
    found, expected = [], []
    for fn, into in ((compiled, found), (value, expected)):
        z, centres = inputs.z.clone().requires_grad_(), inputs.centres.clone().requires_grad_()
        loss = fn(z, inputs.y, inputs.cluster, centres)
        into += [loss.detach(), *torch.autograd.grad(loss, (z, centres), materialize_grads=True)]
    assert_close(found, expected, rtol=1e-5, atol=1e-6)


@every_setting
def test_compiles_whole(name: str) -> None:
    compiled_equals_eager(name, "aot_eager")


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("c++") or shutil.which("g++")), reason="inductor needs a C++ compiler")
@pytest.mark.parametrize("name", ["triplet", "magnet", "latent_boost"])
def test_compiles_with_inductor(name: str) -> None:
    compiled_equals_eager(name, "inductor")


# Memory


class Largest(TorchDispatchMode):
    """The most bytes that one operation has put into one tensor, backward pass included."""

    bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(tensor, Tensor):
                self.bytes = max(self.bytes, tensor.untyped_storage().nbytes())
        return out


def largest_tensor(fn: Callable[[Tensor], Tensor], z: Tensor) -> int:
    with Largest() as seen:
        fn(z).backward()
    return seen.bytes


@every_setting
def test_memory_grows_with_the_square_of_the_batch(name: str) -> None:
    n = 256
    inputs = scene(n, dtype=torch.float32)
    most = largest_tensor(lambda z: evaluate(name, replace(inputs, z=z)), inputs.z.requires_grad_())
    assert most <= 2 * 8 * n * n  # two squares of 8 bytes; the cube would be 128 of them


def test_memory_of_all_triplets_at_2048_rows() -> None:
    n = 2048
    inputs = scene(n, dtype=torch.float32)
    most = largest_tensor(lambda z: evaluate("triplet", replace(inputs, z=z)), inputs.z.requires_grad_())
    assert most <= 2 * 8 * n * n


def test_a_cube_would_be_noticed() -> None:
    z = torch.randn(256, 2, requires_grad=True)
    most = largest_tensor(lambda z: (torch.cdist(z, z)[:, :, None] - torch.cdist(z, z)[:, None]).sum(), z)
    assert most > 2 * 8 * 256 * 256
