"""Which runs a published table stands for, at each scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from latentloom import config
from latentloom.checks import UserError, check_choice
from latentloom.published import PAPERS, Published, published
from latentloom.recipes import load_recipe
from latentloom.values import Record


@dataclass(frozen=True)
class Scale:
    """How much of a table is run, and for how long."""

    images: int | None  # training images, those for validation included; None is all
    test_images: int | None
    epochs: int
    seeds: int
    cells: Literal["ends", "best", "all"]  # per data set: first and last; best lambda per method; all


SCALES = {
    "smoke": Scale(images=1_000, test_images=1_000, epochs=1, seeds=1, cells="ends"),
    "cpu": Scale(images=8_000, test_images=None, epochs=8, seeds=3, cells="best"),
    "full": Scale(images=None, test_images=None, epochs=100, seeds=5, cells="all"),
}


@dataclass(frozen=True)
class Measure:
    """What of a record stands beside a printed number."""

    label: str
    decimals: int
    read: Callable[[Record], float]
    note: str = ""


MEASURES = {
    "accuracy_pct": Measure("accuracy, %", 2, lambda record: 100 * record.card.value("accuracy")),
    "micro_f1": Measure(
        "F1",
        4,
        lambda record: record.card.value("macro_f1"),
        "F1: ours is macro-F1; what is printed as micro-F1 is none, or it would equal the accuracy.",
    ),
    "epochs_to_stop": Measure(
        "epochs", 2, lambda record: len(record.history), "epochs: until training stopped, early or not."
    ),
    "silhouette": Measure("silhouette", 3, lambda record: record.card.value("silhouette")),
}

# What the paper calls a thing -> what it is called here.
DATASETS = {"Fashion-MNIST": "fashion-mnist", "CIFAR-10": "cifar10", "CIFAR-100": "cifar100"}
ENCODERS = {
    "CNN(latent 64)": "small_cnn",
    "VGG-16(latent 512)": "vgg16",
    "ResNet-50(latent 2048)": "resnet50",
}
METHODS: dict[str, tuple[str, Sequence[tuple[str, str]]]] = {
    "Baseline": ("baseline", ()),
    "Contrast": ("contrastive", ()),
    "Triplet": ("triplet", ()),
    "N-pair": ("n-pair", ()),
    "Magnet": ("magnet", ()),
    "LatentBoost": ("latent-boost-paper", ()),
    "LatentBoost_wo_PCA": ("latent-boost-no-pca", ()),
}


@dataclass(frozen=True)
class Setting:
    """A cell of a table: a method at one lambda on one data set."""

    dataset: str
    model: str
    method: str
    lam: float

    def __str__(self) -> str:
        return f"{self.dataset}, {self.method}, lambda {self.lam:g}"


def settings_of(paper: str, table: str) -> list[Setting]:
    """Every cell of a table, by data set, in the order of the print."""
    found = dict.fromkeys(s for row in published(paper, table) if (s := setting_of(row)))
    if not found:
        known = "; ".join(f"{name} {', '.join(tables)}" for name, tables in trainable().items())
        raise UserError(
            f"no recipe trains what table {table} of {paper} shows; tables that can be run: {known}"
        )
    order = list(dict.fromkeys(s.dataset for s in found))
    return sorted(found, key=lambda s: order.index(s.dataset))


def setting_of(row: Published) -> Setting | None:
    """The cell that a printed number belongs to; None where it is not one of a run that we can do."""
    if row.metric not in MEASURES or row.method not in METHODS or row.dataset not in DATASETS:
        return None
    return Setting(row.dataset, row.model, row.method, _lambda(row))


def trainable() -> dict[str, list[str]]:
    """Paper -> its tables that hold numbers of runs that we can do."""
    able = {p: [t for t in PAPERS[p].tables if any(map(setting_of, published(p, t)))] for p in PAPERS}
    return {paper: tables for paper, tables in able.items() if tables}


def find_scale(name: str) -> Scale:
    """The scale of that name."""
    check_choice("scale", name, SCALES)
    return SCALES[name]


def plan(paper: str, table: str, scale: str) -> list[Setting]:
    """The cells of a table that a scale runs."""
    chosen, settings = find_scale(scale), settings_of(paper, table)
    if chosen.cells == "best":
        rows = published(paper, table)
        return [
            s for s in settings if not _rivals(s, settings) or s.lam == best_lambda(rows, s.dataset, s.method)
        ]
    if chosen.cells == "ends":
        by_dataset = [
            [s for s in settings if s.dataset == d] for d in dict.fromkeys(s.dataset for s in settings)
        ]
        return [s for mine in by_dataset for s in dict.fromkeys((mine[0], mine[-1]))]
    return settings


def best_lambda(rows: Sequence[Published], dataset: str, method: str) -> float:
    """The lambda at which these rows print a method's best accuracy on a data set."""
    tried = {
        _lambda(row): row.value
        for row in rows
        if (row.dataset, row.method, row.metric) == (dataset, method, "accuracy_pct")
        and isinstance(row.value, float)
    }
    return max(tried, key=tried.__getitem__)


def asked(setting: Setting, scale: Scale, data: config.Data, seed: int) -> config.Train:
    """The run of a cell: the paper's protocol where it states one, our defaults where it does not."""
    train = _recipe(setting.method)
    return replace(
        train,
        data=replace(data, name=DATASETS[setting.dataset], limit=scale.images, test_limit=scale.test_images),
        model=replace(train.model, encoder=ENCODERS[setting.model]),
        objective=replace(train.objective, lam=setting.lam or None),
        training=config.Training(
            epochs=scale.epochs,
            plateau_factor=0.2,
            plateau_patience=10,
            stop_patience=20,
            keep_latents=0,
            logger=False,
        ),
        seed=seed,
    )


@cache
def _recipe(method: str) -> config.Train:
    recipe, overrides = METHODS[method]
    return load_recipe(recipe, overrides)


def _rivals(setting: Setting, settings: Sequence[Setting]) -> list[Setting]:
    """The same method on the same data set at other lambdas."""
    return [s for s in settings if s == replace(setting, lam=s.lam) and s != setting]


def _lambda(row: Published) -> float:
    """Of a printed number; tables of best trials name none, and mean the best of tables 2 and 3."""
    value = row.hyperparameters.removeprefix("lambda=")
    try:
        return float(value)
    except ValueError:
        if row.method == "Baseline":
            return 0.0
        tried = [*published("latent-boost", "2"), *published("latent-boost", "3")]
        return best_lambda(tried, row.dataset, row.method)
