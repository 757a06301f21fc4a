"""How the tables of Latent Boost (arXiv:2412.08515) are run again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

from latentloom import config
from latentloom.published import Published, published
from latentloom.recipes import load_recipe
from latentloom.reproduce.study import CHANGE, Measure, Scale, Setting, ends

SCALES: Mapping[str, Scale] = {
    "smoke": Scale(images=1_000, test_images=1_000, epochs=1, seeds=1, cells="ends"),
    "cpu": Scale(images=8_000, test_images=None, epochs=8, seeds=3, cells="some"),
    "full": Scale(images=None, test_images=None, epochs=100, seeds=5, cells="all"),
}
NAMES: Mapping[str, str] = {
    "LatentBoost": "Latent Boost",
    "LatentBoost_wo_PCA": "LB without PCA",
    "LatentBoost_vs_Baseline": "LB vs baseline",
}
CHANGES: Mapping[str, tuple[str, str]] = {"LatentBoost_vs_Baseline": ("Baseline", "LatentBoost")}

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
RECIPES = {
    "Baseline": "baseline",
    "Contrast": "contrastive",
    "Triplet": "triplet",
    "N-pair": "n-pair",
    "Magnet": "magnet",
    "LatentBoost": "latent-boost-paper",
    "LatentBoost_wo_PCA": "latent-boost-no-pca",
}


def setting_of(row: Published) -> Setting | None:
    """The cell that a printed number belongs to: a method at one lambda on one data set."""
    if row.metric not in MEASURES or row.method not in RECIPES or row.dataset not in DATASETS:
        return None
    return Setting(row.dataset, row.model, row.method, (("lambda", _printed_lambda(row)),))


def measure_of(row: Published) -> Measure:
    """What of a run of its cell, or of two for a change, stands beside a printed number."""
    return MEASURES[row.metric.removesuffix(CHANGE)]


def chosen(table: str, settings: Sequence[Setting], scale: Scale) -> list[Setting]:
    """The ends, each method at its best lambda, or all."""
    if scale.cells == "all":
        return list(settings)
    if scale.cells == "ends":
        return ends(settings)
    rows = published("latent-boost", table)
    return [
        s
        for s in settings
        if not _rivals(s, settings) or _lambda_of(s) == best_lambda(rows, s.dataset, s.method)
    ]


def asked(setting: Setting, scale: Scale, data: config.Data, seed: int) -> config.Train:
    """The run of a cell: the paper's protocol where it states one, our defaults where it does not."""
    train = _recipe(RECIPES[setting.method])
    return replace(
        train,
        data=replace(data, name=DATASETS[setting.dataset], limit=scale.images, test_limit=scale.test_images),
        model=replace(train.model, encoder=ENCODERS[setting.model]),
        objective=replace(train.objective, lam=_lambda_of(setting) or None),
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


def caveat(scale: str, data: config.Data) -> str:
    """How the protocol of a scale differs from that of the print."""
    if scale != "full":
        return (
            "NOT COMPARABLE with the printed numbers: only scale full keeps to their protocol "
            "(all images, up to 100 epochs with plateau schedule and early stopping, 5 seeds)."
        )
    return (
        f"The protocol is the paper's where it states one. Ours are: learning rate {config.Training().lr:g}, "
        f"batch {data.batch}, {100 * data.validation:g} % of the training images for validation, "
        f"{' and '.join(data.augment) or 'no'} augmentation, at most {SCALES[scale].epochs} epochs."
    )


def best_lambda(rows: Sequence[Published], dataset: str, method: str) -> float:
    """The lambda at which these rows print a method's best accuracy on a data set."""
    tried = {
        _printed_lambda(row): row.value
        for row in rows
        if (row.dataset, row.method, row.metric) == (dataset, method, "accuracy_pct")
        and isinstance(row.value, float)
    }
    return max(tried, key=tried.__getitem__)


_recipe = cache(load_recipe)


def _lambda_of(setting: Setting) -> float:
    """Its lambda."""
    return dict(setting.options)["lambda"]


def _rivals(setting: Setting, settings: Sequence[Setting]) -> list[Setting]:
    """The same method on the same data set at other lambdas."""
    return [s for s in settings if s == replace(setting, options=s.options) and s != setting]


def _printed_lambda(row: Published) -> float:
    """Of a printed number; tables of best trials name none, and mean the best of tables 2 and 3."""
    value = row.hyperparameters.removeprefix("lambda=")
    try:
        return float(value)
    except ValueError:
        if row.method == "Baseline":
            return 0.0
        tried = [*published("latent-boost", "2"), *published("latent-boost", "3")]
        return best_lambda(tried, row.dataset, row.method)
