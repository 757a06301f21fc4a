"""How the tables of VAEs for Semi-Supervised Deep Metric Learning (Safir 2022) are run again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

from latentloom import config
from latentloom.published import Published, published
from latentloom.recipes import load_recipe
from latentloom.reproduce.study import Measure, Scale, Setting, ends

SCALES: Mapping[str, Scale] = {
    "smoke": Scale(images=1_000, test_images=1_000, epochs=1, seeds=1, cells="ends", show_all=True),
    "cpu": Scale(images=None, test_images=None, epochs=5, seeds=3, cells="some", show_all=True),
    "full": Scale(images=None, test_images=None, epochs=50, seeds=4, cells="all", show_all=True),
}
CHANGES: Mapping[str, tuple[str, str]] = {}

# What the thesis calls a thing -> what it is called here.
DATASETS = {"MNIST": "mnist", "OrganAMNIST": "organamnist"}
RECIPES = {
    "DML(triplet)": "dml-triplet",
    "DML(supcon)": "dml-supcon",
    "DML(center)": "dml-center",
    "DML-Autoencoder(triplet)": "dml-autoencoder",
    "DML+unit-Gaussian prior": "dml-unit-prior",
    "DML+GMM hypercube prior": "dml-gmm-prior",
    "MVAE(triplet)": "metric-vae",
    "MVAE(supcon)": "metric-vae-supcon",
    "MVAE(center)": "metric-vae-center",
    "MVAE joint(triplet) L_U+gamma*L_S": "metric-vae",
}
OPTIONS = {"pl%": "pl%", "lsdim": "d", "alpha": "alpha", "gamma": "gamma"}
NAMES: Mapping[str, str] = {
    "dml-triplet": "DML (triplet)",
    "dml-supcon": "DML (supcon)",
    "dml-center": "DML (center)",
    "dml-autoencoder": "DML-AE",
    "dml-unit-prior": "unit prior",
    "dml-gmm-prior": "GMM prior",
    "metric-vae": "MVAE (triplet)",
    "metric-vae-supcon": "MVAE (supcon)",
    "metric-vae-center": "MVAE (center)",
}
IMAGES = {"MNIST": 60_000, "OrganAMNIST": 34_561}  # for training; pl% is of these
FEWEST = 3  # labels: 0.01 % of OrganAMNIST
WITHOUT_LABELS = ("reconstruction", "kl", "unit_kl")  # the terms of L_U; all others are of L_S

NOTE = """\
pl%: percent of the training images whose label is kept; 3 labels at least.
alpha: losses without labels count alpha, those with labels 1 - alpha; gamma: losses with labels count \
gamma, the others 1. So alpha 1 and gamma 0 learn from no label: a plain autoencoder, a plain VAE, or a \
prior alone.
measures: accuracy and adjusted mutual information (AMI; MI in the thesis) of what a classifier on the \
latents predicts for test images: the 5 nearest neighbours (kNN), a random forest, an MLP (headed linear \
in the thesis).
all labels: the classifier is fitted on 10,000 training latents, with the labels withheld from training \
too. So it must have been for the printed numbers, since models of no label reach 0.86 in table 6.1.
given labels: the classifier has those labels alone that training had, which is what could be had with \
so few."""


def _measure(label: str, decimals: int, score: str, scale: float = 1.0) -> Measure:
    """A score of a probe, by all labels and by the given ones."""
    return Measure(
        label,
        decimals,
        lambda record: scale * record.card.value(f"all-labels/{score}"),
        NOTE,
        lambda record: scale * record.card.value(f"given-labels/{score}"),
    )


MEASURES = {
    "knn_accuracy": _measure("kNN", 4, "knn_accuracy"),
    "knn_ami": _measure("kNN AMI", 4, "knn_ami"),
    "knn_accuracy_pct": _measure("kNN, %", 1, "knn_accuracy", 100),
    "random_forest_accuracy_pct": _measure("forest, %", 1, "random_forest_accuracy", 100),
    "linear_accuracy_pct": _measure("MLP, %", 1, "mlp_accuracy", 100),
}


def setting_of(row: Published) -> Setting | None:
    """The cell that a printed number belongs to: a model with so many labels and dimensions."""
    return Setting(row.dataset, row.model, RECIPES[row.method], _options(row.hyperparameters))


def measure_of(row: Published) -> Measure:
    """The score of the probe that a printed number is of."""
    return MEASURES[row.metric]


def chosen(table: str, settings: Sequence[Setting], scale: Scale) -> list[Setting]:
    """The ends, those of most interest, or all.

    Of most interest is each model at its best printed alpha or gamma, and where it learns from no label.
    Triplet loss is run in the most dimensions with each number of labels, and in the fewest with the
    most; supcon and center in the most dimensions with the most labels.
    """
    if scale.cells == "all":
        return list(settings)
    if scale.cells == "ends":
        return ends(settings)
    best = best_printed(table)
    return [s for s in settings if s in best and _of_interest(s, settings)]


def best_printed(table: str) -> set[Setting]:
    """Of cells that differ in alpha or gamma alone the one of best printed accuracy; also all of no label."""
    found = {
        setting: float(row.value)
        for row in published("vae-dml", table)
        if row.metric.startswith("knn_accuracy") and row.value is not None and (setting := setting_of(row))
    }
    best: dict[tuple[object, ...], Setting] = {}
    for setting, accuracy in found.items():
        of = dict(setting.options)
        rivals = (setting.dataset, setting.method, of["pl%"], of["d"], learns_from_labels(setting))
        if rivals not in best or accuracy > found[best[rivals]]:
            best[rivals] = setting
    return set(best.values())


def learns_from_labels(setting: Setting) -> bool:
    """Whether labels count at its alpha or gamma."""
    of = dict(setting.options)
    return of.get("alpha") != 1 and of.get("gamma") != 0


def asked(setting: Setting, scale: Scale, data: config.Data, seed: int) -> config.Train:
    """The run of a cell: the recipe of its model, with the printed hyper-parameters."""
    train, of = _recipe(setting.method), dict(setting.options)
    pair = "conv" if scale.cells == "all" else "mlp"
    return replace(
        train,
        data=replace(
            data,
            name=DATASETS[setting.dataset],
            limit=scale.images,
            test_limit=scale.test_images,
            labels=labels_kept(of["pl%"], scale.images or IMAGES[setting.dataset]),
        ),
        model=replace(
            train.model, encoder=pair, decoder=train.model.decoder and pair, latent_dim=int(of["d"])
        ),
        objective=_weighed(train.objective, of.get("alpha"), of.get("gamma"), setting.method),
        training=replace(train.training, epochs=scale.epochs, lr=0.001, keep_latents=0, logger=False),
        seed=seed,
    )


def labels_kept(percent: float, images: int) -> int | float:
    """So many labels are a percentage of the images; all of them are 1.0.

    >>> [labels_kept(percent, 60_000) for percent in (0.01, 0.1, 10, 100)]
    [6, 60, 6000, 1.0]
    """
    return 1.0 if percent == 100 else max(FEWEST, round(percent * images / 100))


def caveat(scale: str, data: config.Data) -> str:
    """How the protocol of a scale differs from that of the print."""
    full, epochs = scale == "full", SCALES[scale].epochs
    warning = (
        "NOT COMPARABLE with the printed numbers: only scale full trains convolutional networks and all "
        "cells.\n"
    )
    return ("" if full else warning) + (
        "Of the thesis's protocol the learning rate (0.001), labels, dimensions and weights are known. "
        "Networks, optimiser, batch, epochs and margins are lost, and it does not say what its classifiers "
        f"were fitted on. Ours: {'convolutional networks' if full else 'MLPs'}, Adam, batch {data.batch}, "
        f"and the last epoch of {epochs}: no validation label is looked at, though "
        f"{100 * data.validation:g} % of the training images are held out. Labels are kept "
        f"{'of every class alike' if data.stratified else 'at random'}. Losses with and without labels are "
        "joint, in every step, where the thesis alternated by epoch; only the MVAE of table 6.5 alternates. "
        "Beside alpha the weights of our recipes count: reconstruction is summed over pixels, the "
        "divergence from a fixed prior counts 0.01, the MVAE's losses with labels up to 10."
    )


_recipe = cache(load_recipe)


def _options(printed: str) -> tuple[tuple[str, float], ...]:
    """Percent of labels, latent dimension, and alpha or gamma where there is one.

    >>> _options("pl%=0.01;alpha=0.25;lsdim=2;lr=0.001")
    (('pl%', 0.01), ('d', 2.0), ('alpha', 0.25))
    """
    given = dict(part.split("=") for part in printed.split(";"))
    return tuple((ours, float(given[name])) for name, ours in OPTIONS.items() if name in given)


def _of_interest(setting: Setting, settings: Sequence[Setting]) -> bool:
    """Whether scale cpu runs a cell, at some alpha or gamma."""
    of, every = dict(setting.options), [dict(s.options) for s in settings]
    most_labels = of["pl%"] == max(o["pl%"] for o in every)
    fewest, most = min(o["d"] for o in every), max(o["d"] for o in every)
    if setting.method.endswith(("supcon", "center")):
        return most_labels and of["d"] == most and learns_from_labels(setting)
    return of["d"] == most or (most_labels and of["d"] == fewest)


def _weighed(
    objective: config.Objective, alpha: float | None, gamma: float | None, recipe: str
) -> config.Objective:
    """The same objective with that alpha or gamma; without the terms of labels at alpha 1."""
    if gamma is not None:
        terms = {
            n: t if n in WITHOUT_LABELS else replace(t, weight=gamma) for n, t in objective.terms.items()
        }
        return replace(objective, terms=terms)
    if alpha == 1:
        return replace(objective, terms={n: t for n, t in objective.terms.items() if n in WITHOUT_LABELS})
    alternate = recipe.startswith("metric-vae")  # without a gamma it is of table 6.5
    return replace(objective, alpha=alpha, alternate="epoch" if alternate else "never")
