"""Laws that hold for every score; where one does not, the exemption carries its reason and is true."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor

from latentloom.evaluation import SCORES, ScoreInfo

Inputs = dict[str, Tensor]
CLASSES, DIMS, N = 4, 5, 40
Y = torch.arange(N) % CLASSES
COARSE_OF = torch.tensor([0, 0, 1, 1])

PLACES = ("class_embeddings", "class_centres")  # rows of classes in the latent space
PER_CLASS = (*PLACES, "label_embeddings")
SHARED = (*PER_CLASS, "coarse_of", "coarse_embeddings")
GIVEN = ", with what it may read"
# What a score is given: what it needs, and where it takes more, also all of that.
READS = {name: info.reads for name, info in SCORES.items()} | {
    f"{name}{GIVEN}": (*info.reads, *info.may_read) for name, info in SCORES.items() if info.may_read
}

every_score = pytest.mark.parametrize("name", READS)
of_points = pytest.mark.parametrize("name", [name for name, reads in READS.items() if "z" in reads])
of_labels = pytest.mark.parametrize("name", [name for name, reads in READS.items() if "y" in reads])


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scene() -> Inputs:
    """Four classes of unequal size that overlap, interleaved, off the origin; a head that errs."""
    y = torch.tensor([0, 0, 1, 3, 2, 0, 1, 0, 3, 2] * 4)
    places = 2 * random(CLASSES, DIMS, seed=1)
    return {
        "z": places[y] + random(N, DIMS) + 3,
        "y": y,
        "logits": torch.eye(CLASSES, dtype=torch.float64)[y] + random(N, CLASSES, seed=2),
        "class_embeddings": places + 0.3 * random(CLASSES, DIMS, seed=4) + 3,
        "class_centres": places + 0.3 * random(CLASSES, DIMS, seed=5) + 3,
        "label_embeddings": random(CLASSES, 6, seed=6),
        "coarse_of": torch.tensor([2, 2, 0, 1]),
        "coarse_embeddings": random(3, 6, seed=7),
    }


def info_of(name: str) -> ScoreInfo:
    return SCORES[name.removesuffix(GIVEN)]


def value(name: str, inputs: Inputs) -> float:
    return info_of(name).fn(*(inputs[key] for key in READS[name])).item()


def each_image(inputs: Inputs, change: Callable[[Tensor], Tensor]) -> Inputs:
    """The inputs with a change of the rows of images; those of classes and groups stay."""
    return {key: rows if key in SHARED else change(rows) for key, rows in inputs.items()}


def each_place(inputs: Inputs, change: Callable[[Tensor], Tensor]) -> Inputs:
    """The inputs with a change of all that is a place in the latent space."""
    return {key: change(rows) if key in ("z", *PLACES) else rows for key, rows in inputs.items()}


def assert_law(name: str, exempt: Mapping[str, str], before: float, after: float) -> None:
    """The values are the same, and differ where the score is exempt."""
    same, reason = after == pytest.approx(before, rel=1e-9, abs=1e-12), exempt.get(name.removesuffix(GIVEN))
    assert same != (reason is not None), reason or (before, after)


# Inputs that are the worse for the score the larger the amount is, from 0 on.
def noisier(amount: float) -> Inputs:
    corners = torch.eye(DIMS, dtype=torch.float64)[Y]
    places = torch.eye(DIMS, dtype=torch.float64)[:CLASSES]
    return {
        "z": corners + amount * random(N, DIMS),
        "y": Y,
        "class_embeddings": places,
        "class_centres": places,
        "coarse_of": COARSE_OF,
    }


def nearer(amount: float) -> Inputs:
    places = random(CLASSES, DIMS) / (1 + amount)
    return {"z": places[Y] + 0.01 * random(N, DIMS), "y": Y, "class_centres": places}


def flatter(amount: float) -> Inputs:
    return {"z": random(500, DIMS) * torch.exp(-amount * torch.arange(DIMS, dtype=torch.float64))}


def more_wrong(amount: float) -> Inputs:
    wrong = torch.arange(N) < round(amount * N / 4)
    return {
        "logits": 20 * torch.eye(CLASSES, dtype=torch.float64)[torch.where(wrong, Y + 1, Y) % CLASSES],
        "y": Y,
        "coarse_of": COARSE_OF,
    }


def graver(amount: float) -> Inputs:
    """All images are of class 0, the more of them called 3 and not 1, the larger the amount."""
    turns = torch.tensor([0.0, 0.2, 0.6, 1.4], dtype=torch.float64)
    called = torch.where(torch.arange(N) < round(amount * N / 3), 3, 1)
    return {
        "logits": torch.eye(CLASSES, dtype=torch.float64)[called],
        "y": torch.zeros_like(Y),
        "label_embeddings": torch.stack([turns.cos(), turns.sin()], 1),
    }


def less_meant(amount: float) -> Inputs:
    """Twelve classes in six groups that lie about as their names do, less so the larger the amount."""
    groups, y = torch.arange(12) // 2, torch.arange(4 * 12) % 12
    middles = torch.nn.functional.normalize(random(6, DIMS))
    meant = middles[groups] + 0.2 * random(6, DIMS, seed=3)[groups] * torch.tensor([[1], [-1]]).repeat(6, 1)
    places = meant + amount * random(12, DIMS, seed=6)
    return {
        "z": places[y],
        "y": y,
        "class_centres": places,
        "label_embeddings": meant,
        "coarse_of": groups,
        "coarse_embeddings": middles,
    }


WORSE: dict[str, Callable[[float], Inputs]] = {
    "silhouette": noisier,
    "cluster_size": noisier,
    "centre_distance": nearer,
    "size_to_distance": noisier,
    "centre_spacing": nearer,
    "centre_cosine": noisier,
    "nearest_embedding_accuracy": noisier,
    "nearest_embedding_cosine_accuracy": noisier,
    "nearest_centre_accuracy": noisier,
    "nearest_centre_cosine_accuracy": noisier,
    "scatter_ratio": noisier,
    "effective_rank": flatter,
    "components": flatter,
    "accuracy": more_wrong,
    "micro_f1": more_wrong,
    "macro_f1": more_wrong,
    "calibration_error": more_wrong,
    "silhouette_cosine": noisier,
    "coarse_silhouette": noisier,
    "coarse_silhouette_cosine": noisier,
    "hit_rate": less_meant,
    "semantic_spearman": less_meant,
    "semantic_pearson": less_meant,
    "coarse_spearman": less_meant,
    "coarse_pearson": less_meant,
    "severity": graver,
    "coarse_accuracy": more_wrong,
}


def test_every_score_has_a_direction_to_test() -> None:
    assert WORSE.keys() == SCORES.keys()


@every_score
def test_knows_its_direction_and_range(name: str) -> None:
    info, worse = info_of(name), WORSE[name.removesuffix(GIVEN)]
    ever_worse = [value(name, worse(amount)) for amount in (0, 0.1, 0.5, 1, 3)]
    assert ever_worse == sorted(ever_worse, reverse=info.better == "higher")
    assert len(set(ever_worse)) >= 4
    assert all(info.low <= found <= info.high for found in [*ever_worse, value(name, scene())])


@every_score
def test_says_what_it_is_and_where_it_degenerates(name: str) -> None:
    info = info_of(name)
    assert info.title
    assert info.degenerate
    assert info.low < info.high
    assert {*info.reads, *info.may_read} <= scene().keys()


@every_score
def test_order_of_the_images_does_not_matter(name: str) -> None:
    inputs, order = scene(), torch.randperm(N, generator=torch.Generator().manual_seed(0))
    after = value(name, each_image(inputs, lambda rows: rows[order]))
    assert after == pytest.approx(value(name, inputs), rel=1e-9)


@every_score
def test_names_of_the_classes_do_not_matter(name: str) -> None:
    inputs, names = scene(), torch.tensor([5, 0, 6, 2])
    logits = torch.full((N, 7), -1e9, dtype=torch.float64).index_copy(1, names, inputs["logits"])
    classes = {
        key: torch.full((7, inputs[key].shape[1]), math.nan, dtype=torch.float64).index_copy(
            0, names, inputs[key]
        )
        for key in PER_CLASS
    }
    classes["coarse_of"] = torch.full((7,), -1).index_copy(0, names, inputs["coarse_of"])
    after = value(name, inputs | {"y": names[inputs["y"]], "logits": logits, **classes})
    assert after == pytest.approx(value(name, inputs), rel=1e-9)


@of_points
def test_turning_the_space_does_not_matter(name: str) -> None:
    inputs, turn = scene(), torch.linalg.qr(random(DIMS, DIMS, seed=3)).Q
    after = value(name, each_place(inputs, lambda places: places @ turn))
    assert after == pytest.approx(value(name, inputs), rel=1e-9)


FROM_THE_ORIGIN = {
    "centre_cosine": "an angle at the origin",
    "nearest_embedding_cosine_accuracy": "an angle at the origin",
    "nearest_centre_cosine_accuracy": "an angle at the origin",
    "silhouette_cosine": "an angle at the origin",
    "coarse_silhouette_cosine": "an angle at the origin",
}


@of_points
def test_moving_the_space_does_not_matter(name: str) -> None:
    inputs, away = scene(), 2 * random(DIMS)
    after = value(name, each_place(inputs, lambda places: places + away))
    assert_law(name, FROM_THE_ORIGIN, value(name, inputs), after)


UNITS = {
    "centre_spacing": "a length, in units of z",
    "cluster_size": "a length, in units of z",
    "centre_distance": "a length, in units of z",
}


@of_points
def test_scale_of_the_space_does_not_matter(name: str) -> None:
    inputs = scene()
    after = value(name, each_place(inputs, lambda places: 1000 * places))
    assert_law(name, UNITS, value(name, inputs), after)


NEEDS_NO_LABELS = {
    "effective_rank": "says how points fill the space, labelled or not",
    "components": "says how points fill the space, labelled or not",
}


@every_score
def test_unlabelled_images_do_not_count(name: str) -> None:
    inputs = scene()
    far = 1e3 * random(10, 1) * torch.ones(DIMS)
    broken = {"z": far, "y": torch.full((10,), -1), "logits": random(10, CLASSES)}
    order = torch.randperm(N + 10, generator=torch.Generator().manual_seed(0))
    more = {key: torch.cat([inputs[key], rows])[order] for key, rows in broken.items()}
    after = value(name, inputs | more)
    assert_law(name, NEEDS_NO_LABELS, value(name, inputs), after)


@of_labels
def test_unlabelled_images_may_be_anything(name: str) -> None:
    inputs = scene()
    y = torch.where(torch.arange(N) == 3, -1, inputs["y"])
    broken = {key: inputs[key].index_fill(0, torch.tensor([3]), math.nan) for key in ("z", "logits")}
    assert value(name, {**inputs, **broken, "y": y}) == value(name, inputs | {"y": y})


SPOILED: dict[str, Callable[[Inputs], Inputs]] = {
    "all points equal": lambda i: (
        i | {"z": torch.full_like(i["z"], 0.1), "logits": torch.ones_like(i["logits"])}
    ),
    "one class": lambda i: i | {"y": torch.zeros_like(i["y"])},
    "each point its own class": lambda i: i | {"y": torch.arange(N)},
    "one point": lambda i: each_image(i, lambda rows: rows[:1]),
    "two points": lambda i: each_image(i, lambda rows: rows[[0, 2]]),
    "classes drawn to a point": lambda i: i | {"z": random(CLASSES, DIMS)[i["y"]]},
    "a line": lambda i: i | {"z": i["z"][:, :1] * torch.ones(DIMS)},
    "one dimension": lambda i: i | {"z": i["z"][:, :1], "logits": i["logits"][:, :1]},
    "far more dimensions than points": lambda i: i | {"z": random(N, 200)},
    "no labels": lambda i: i | {"y": torch.full_like(i["y"], -1)},
    "nothing": lambda i: each_image(i, lambda rows: rows[:0]),
    "classes without a centre": lambda i: i | {key: i[key].index_fill(0, Y[1:3], math.nan) for key in PLACES},
    "huge": lambda i: i | {"z": (i["z"] * 1e37).float(), "logits": (i["logits"] * 1e37).float()},
    "tiny": lambda i: i | {"z": (i["z"] * 1e-40).float(), "logits": (i["logits"] * 1e-40).float()},
}


@every_score
@pytest.mark.parametrize("spoil", SPOILED)
def test_stays_in_its_range_where_there_is_little_to_compare(name: str, spoil: str) -> None:
    info, inputs = info_of(name), SPOILED[spoil](scene())
    classes, dims = max(CLASSES, *inputs["y"].tolist(), 0) + 1, inputs["z"].shape[1]
    if inputs["z"].shape[1:] != inputs["class_centres"].shape[1:] or classes > CLASSES + 1:
        inputs |= {key: random(classes, dims) for key in PLACES}
        inputs |= {"label_embeddings": random(classes, 6), "coarse_of": torch.arange(classes) % 3}
    assert info.low <= value(name, inputs) <= info.high


@every_score
def test_nothing_to_judge_is_the_worst_end(name: str) -> None:
    assert value(name, SPOILED["nothing"](scene())) == info_of(name).worst


NOT_WORST = {
    "silhouette": "0, as scikit-learn has it: nothing is nearer to another class than to its own",
    "cluster_size": "0, the best: it is small there, and is read with centre_distance",
    "centre_cosine": "1, the best: it is near there, and is read with centre_distance",
    "nearest_embedding_accuracy": "all images get one class, which is right for some",
    "nearest_embedding_cosine_accuracy": "all images get one class, which is right for some",
    "nearest_centre_accuracy": "all images get one class, which is right for some",
    "nearest_centre_cosine_accuracy": "all images get one class, which is right for some",
    "silhouette_cosine": "0, as the silhouette",
    "coarse_silhouette": "0, as the silhouette",
    "coarse_silhouette_cosine": "0, as the silhouette",
    "hit_rate": "all classes get one for the nearest, which is right for some",
    "semantic_spearman": "0: what does not vary goes neither with the names nor against them",
    "semantic_pearson": "0: what does not vary goes neither with the names nor against them",
    "coarse_spearman": "0: what does not vary goes neither with the names nor against them",
    "coarse_pearson": "0: what does not vary goes neither with the names nor against them",
}


@pytest.mark.parametrize("name", [name for name, info in SCORES.items() if "z" in info.reads])
def test_all_points_in_one_place_is_the_worst_end(name: str) -> None:
    found = value(name, SPOILED["all points equal"](scene()))
    assert (found == SCORES[name].worst) != (name in NOT_WORST), NOT_WORST.get(name, found)


@every_score
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_an_input_that_is_not_finite_gives_nan(name: str, bad: float) -> None:
    inputs = scene()
    for key in ("z", "logits"):
        inputs[key][7, 1] = bad
    assert math.isnan(value(name, inputs))


@every_score
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_works_in_float64_whatever_comes(name: str, dtype: torch.dtype) -> None:
    inputs = scene()
    rounded = {key: rows.to(dtype) if rows.is_floating_point() else rows for key, rows in inputs.items()}
    wide = {key: rows.double() if rows.is_floating_point() else rows for key, rows in rounded.items()}
    with torch.autocast("cpu", torch.bfloat16):
        assert value(name, rounded) == value(name, wide)


@every_score
def test_leaves_inputs_and_global_state_alone(name: str) -> None:
    inputs = scene()
    for key in ("z", "logits"):
        inputs[key].requires_grad_()
    before = (
        torch.get_rng_state(),
        torch.is_grad_enabled(),
        torch.get_default_dtype(),
        torch.get_num_threads(),
    )
    found = info_of(name).fn(*(inputs[key] for key in READS[name]))
    after = torch.get_rng_state(), torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    assert found.shape == ()
    assert found.dtype == torch.float64
    assert not found.requires_grad
    assert all(torch.equal(rows, scene()[key]) for key, rows in inputs.items())


@pytest.mark.parametrize("name", [name for name, info in SCORES.items() if info.per_image])
def test_is_the_mean_of_its_values_per_image(name: str) -> None:
    info, inputs = SCORES[name], scene()
    inputs["y"][::7] = -1
    values = info.per_image(*(inputs[key] for key in info.reads))  # type: ignore[misc]
    assert values.isnan().tolist() == (inputs["y"] < 0).tolist()
    assert values.nanmean().item() == pytest.approx(value(name, inputs))
