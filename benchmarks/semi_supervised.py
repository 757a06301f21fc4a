"""Few labels on MNIST: the models of the thesis, its errors one at a time, and how weights were chosen.

    python benchmarks/semi_supervised.py tune
    python benchmarks/semi_supervised.py few
    python benchmarks/semi_supervised.py grid
    python benchmarks/semi_supervised.py joint
    python benchmarks/semi_supervised.py headline
    python benchmarks/semi_supervised.py errors

tune    weights and margins, on Fashion-MNIST with 60 labels and 6,000, so that no label of MNIST has a say.
        The rule: of the settings of a model that with the highest accuracy of kNN fitted on the given labels,
        on validation images, mean over both numbers of labels. Where that lay at the end of a grid, the grid
        was made longer there, once. That is what the recipes have; in the tables each number of labels has
        what was best for it, few of them as 60 and more as 6,000
few     how most is made of 60 labels: shifted images and pseudo-labels, by the same rule on the same images,
        with the convolutional encoder; then the weight of triplet loss beside an autoencoder in that way, as
        chosen for 60 labels or for 6,000
grid    every model with 60, 6,000 and all labels, latent dimension 10, three seeds; and once each with 6
        labels, and with dimension 2
joint   the metric VAE with all labels: which metric loss, its weight, and what the weight of the divergence
        starts at, by the same rule on the same images, with the convolutional pair
headline
        the cells of most interest with the convolutional pair: 60 labels as `few` chose, 6,000 and all; once
        on images as they are, then on shifted ones
errors  a hypercube prior beside triplet loss with all labels, and what the thesis has otherwise, one change
        at a time: wrong sign, missing entropy, a mixture with one mode, alternation by epochs; then all

All images of MNIST, the MLP pair unless said, 10 epochs, the last of them. Both protocols. Runs that are done
are not done again; docs/results/semi-supervised-STAGE.md gets the table, the .json beside it all figures.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from latentloom.files import write_text
from latentloom.recipes import load_recipe
from latentloom.records import strict
from latentloom.report.comparison import cells_of
from latentloom.report.rows import spread
from latentloom.training.compare import run_cells
from latentloom.values import Record

SHOWN = (
    *("all-labels/knn_accuracy", "given-labels/knn_accuracy", "all-labels/knn_ami", "given-labels/knn_ami"),
    "component_ami",
)
JUDGE = "given-labels/knn_accuracy"
BUDGET = {
    "training.epochs": "10",
    "training.logger": "false",
    "training.keep_latents": "0",
    "evaluation.bootstrap": "0",
}
ALL = "1.0"
LABELS = ("60", "6000", ALL)
HEADLINE = ("dml-triplet", "dml-supcon", "autoencoder", "dml-autoencoder", "dml-gmm-prior", "metric-vae")
OTHERS = (
    "dml-center",
    "dml-unit-prior",
    "vae",
    "vamp-vae",
    "metric-vae-supcon",
    "metric-vae-center",
    "metric-vae-latent-boost",
)
TRIPLET = "objective.terms.triplet"
KL = "objective.terms.kl"
ERRORS: dict[str, dict[str, str]] = {
    "as it is here": {},
    "wrong sign": {f"{KL}.options.variant": "wrong_sign"},
    "no entropy": {f"{KL}.options.variant": "no_entropy"},
    "a mixture with one mode": {"model.prior.logvar": "1.0"},
    "alternation by epochs": {"objective.alternate": "epoch"},
    "all of them": {
        f"{KL}.options.variant": "paper",
        "model.prior.logvar": "1.0",
        "objective.alternate": "epoch",
    },
}
WEIGHTS: dict[str, list[dict[str, str]]] = {
    "dml-triplet": [{f"{TRIPLET}.options.margin": margin} for margin in ("0.05", "0.2", "1", "5")],
    "dml-autoencoder": [
        {f"{TRIPLET}.weight": weight, f"{TRIPLET}.options.margin": margin}
        for weight, margins in {"0.1": "1", "1": "0.2 1 5", "10": "0.2 1 5", "100": "1 5"}.items()
        for margin in margins.split()
    ],
    "dml-gmm-prior": [{f"{KL}.weight": weight} for weight in ("0.001", "0.01", "0.1")],
    "metric-vae": [{f"{TRIPLET}.weight": weight} for weight in ("1", "10", "100", "1000", "10000")],
}
# What was best with 60 labels and with 6,000, where it is not what the recipe has.
BEST: dict[str, dict[str, dict[str, str]]] = {
    "dml-autoencoder": {"6000": {f"{TRIPLET}.weight": "100", f"{TRIPLET}.options.margin": "1"}},
    "dml-gmm-prior": {"6000": {f"{KL}.weight": "0.01"}},
    "metric-vae": {"6000": {f"{TRIPLET}.weight": "1000"}},
}
AS = {"6": "60", ALL: "6000"}  # numbers of labels that were not tuned for
SHIFTED = {"data.augment": "[crop]"}
PSEUDO = "{kind: linear, start: 0.0, stop: %s}"
WAYS: dict[str, dict[str, str]] = {
    "plain": {},
    "shifted": SHIFTED,
    "shifted, pseudo-labels for up to half": {**SHIFTED, "training.pseudo_labels": PSEUDO % 0.5},
    "shifted, pseudo-labels for up to all": {**SHIFTED, "training.pseudo_labels": PSEUDO % 1.0},
}
CONVOLUTIONAL = {"model.encoder": "conv", "model.decoder": "conv"}
MOST = "shifted, pseudo-labels for up to all"  # what `few` chose
# Recipe, its metric loss, what the weight of the divergence starts at, the weight of the metric loss.
JOINT = [
    *(
        ("metric-vae", "triplet", start, weight)
        for weight in ("1000", "10000")
        for start in ("0", "0.01", "0.1")
    ),
    *(("metric-vae-supcon", "supcon", "0.01", weight) for weight in ("100", "1000", "10000")),
]
TUNED = ("tune", "few", "joint")  # the stages that choose


@dataclass(frozen=True)
class Asked:
    """A line of a table."""

    recipe: str
    labels: str
    fields: Mapping[str, str]
    seeds: int
    said: str = ""  # what is special about it

    @property
    def name(self) -> str:
        own = [f"{key}={value}" for key, value in self.fields.items()]
        return ",".join([self.recipe, f"data.labels={self.labels}", *own])

    @property
    def overrides(self) -> list[tuple[str, str]]:
        pair = {"model.encoder": "mlp", "model.decoder": "mlp"}
        if not load_recipe(self.recipe).model.decoder:
            del pair["model.decoder"]
        return list({**pair, "data.labels": self.labels, **self.fields}.items())


def best(recipe: str, labels: str) -> dict[str, str]:
    """Weights and margins for so many labels."""
    return BEST.get(recipe, {}).get(AS.get(labels, labels), {})


def grid() -> list[Asked]:
    most = [Asked(recipe, labels, best(recipe, labels), 3) for recipe in HEADLINE for labels in LABELS]
    few = [Asked(recipe, "6", best(recipe, "6"), 1) for recipe in HEADLINE]
    plane = [
        Asked(recipe, "6000", {**best(recipe, "6000"), "model.latent_dim": "2"}, 1) for recipe in HEADLINE
    ]
    once = [Asked(recipe, "6000", {}, 1) for recipe in OTHERS]
    four = [Asked("dml-gmm-prior", ALL, {**best("dml-gmm-prior", ALL), "model.latent_dim": "4"}, 3)]
    return [*most, *few, *plane, *once, *four]


def headline() -> list[Asked]:
    joint = {**CONVOLUTIONAL, **WAYS[MOST]}
    some = {**CONVOLUTIONAL, **best("dml-autoencoder", "6000")}
    every = {**CONVOLUTIONAL, f"{KL}.weight.start": "0.01"}
    return [
        Asked("dml-triplet", "60", {"model.encoder": "conv", **WAYS[MOST]}, 3, MOST),
        Asked("dml-autoencoder", "60", joint, 1, MOST),
        Asked("dml-autoencoder", "60", {**joint, **some}, 3, f"{MOST}, weight 100, margin 1"),
        Asked("dml-autoencoder", "6000", some, 1, "weight 100, margin 1"),
        Asked("dml-autoencoder", "6000", {**some, **SHIFTED}, 3, "shifted, weight 100, margin 1"),
        Asked(
            "dml-gmm-prior", ALL, {"model.encoder": "conv", **best("dml-gmm-prior", ALL)}, 3, "weight 0.01"
        ),
        Asked("metric-vae", ALL, {**every, f"{TRIPLET}.weight": "10000"}, 3, "start 0.01, weight 10000"),
        Asked(
            "metric-vae-supcon",
            ALL,
            {**every, "objective.terms.supcon.weight": "10000"},
            1,
            "start 0.01, weight 10000",
        ),
    ]


def errors() -> list[Asked]:
    right = best("dml-gmm-prior", ALL)
    return [Asked("dml-gmm-prior", ALL, {**right, **fields}, 3, said) for said, fields in ERRORS.items()]


def tune() -> list[Asked]:
    return [
        Asked(recipe, labels, fields, 1)
        for recipe, settings in WEIGHTS.items()
        for fields in settings
        for labels in ("60", "6000")
    ]


def few() -> list[Asked]:
    alone = [
        Asked("dml-triplet", "60", {"model.encoder": "conv", **way}, 1, said) for said, way in WAYS.items()
    ]
    joint = {**CONVOLUTIONAL, **WAYS[MOST]}
    more = best("dml-autoencoder", "6000")
    return [
        *alone,
        Asked("dml-autoencoder", "60", joint, 1, MOST),
        Asked("dml-autoencoder", "60", {**joint, **more}, 1, f"{MOST}, weight 100, margin 1"),
    ]


def joint() -> list[Asked]:
    return [
        Asked(
            recipe,
            ALL,
            {**CONVOLUTIONAL, f"{KL}.weight.start": start, f"objective.terms.{loss}.weight": weight},
            1,
        )
        for recipe, loss, start, weight in JOINT
    ]


STAGES = {"few": few, "joint": joint, "tune": tune, "grid": grid, "headline": headline, "errors": errors}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--folder", type=Path, help="where the runs are kept (runs/semi-supervised-STAGE)")
    parser.add_argument("--out", type=Path, help="(docs/results/semi-supervised-STAGE.json)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seeds", type=int, help="at the most, of each line")
    parser.add_argument("--only", nargs="+", help="recipes")
    parser.add_argument("--set", nargs=2, action="append", default=[], metavar=("FIELD", "VALUE"))
    given = parser.parse_args()
    on = {"data.name": "mnist"}
    if given.stage in TUNED:
        on = {"data.name": "fashion-mnist", "evaluation.split": "validation"}
    budget = [*on.items(), *BUDGET.items(), *map(tuple, given.set)]
    lines = [one for one in STAGES[given.stage]() if not given.only or one.recipe in given.only]
    folder = given.folder or Path(f"runs/semi-supervised-{given.stage}")
    runs = run_all(lines, budget, folder, given.seeds, given.workers)
    out = given.out or Path(f"docs/results/semi-supervised-{given.stage}.json")
    report(given.stage, lines, runs, budget, out)


def run_all(
    lines: Sequence[Asked],
    budget: Sequence[tuple[str, str]],
    folder: Path,
    most: int | None,
    workers: int,
) -> dict[str, list[Record]]:
    """Records of every line; seed by seed, so that what is cut off has every line once."""
    cells = []
    for seed in range(max(one.seeds for one in lines)):
        for one in lines:
            if seed < min(one.seeds, most or one.seeds):
                asked = [(one.name, one.recipe, one.overrides)]
                cells += cells_of(asked, list(budget), seeds=seed + 1, folder=folder)[seed:]
    records = run_cells(cells, workers=workers)
    return {one.name: [r for r in records if r.recipe == one.name] for one in lines}


def report(
    stage: str,
    lines: Sequence[Asked],
    runs: Mapping[str, Sequence[Record]],
    budget: Sequence[tuple[str, str]],
    out: Path,
) -> None:
    """Print the table, and write it with all figures behind it."""
    picked = chosen(lines, runs) if stage in TUNED else set()
    heads = ["model", "labels", "set", *(f"{name} ↑" for name in SHOWN), "seeds"]
    rows = [heads, ["---"] * 3 + ["---:"] * (len(SHOWN) + 1)]
    for one in lines:
        records = runs[one.name]
        said = one.said or ", ".join(f"{k.split('.')[-1]} {v}" for k, v in one.fields.items())
        said += " **chosen**" if one.name in picked else ""
        found = [_shown(name, records) for name in SHOWN]
        labels = "all" if one.labels == ALL else one.labels
        rows.append([one.recipe, labels, said, *found, str(len(records))])
    text = "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"
    print(text)
    first = runs[lines[0].name][0]
    about = {
        "budget": dict(budget),
        "commit": first.commit,
        "sources": dict(first.sources),
        "versions": dict(first.versions),
        "hardware": first.hardware,
        "seconds": {name: [r.seconds for r in records] for name, records in runs.items()},
        "figures": {
            name: [{k: f.value for k, f in r.card.findings.items()} for r in records]
            for name, records in runs.items()
        },
    }
    write_text(out, json.dumps(strict(about), indent=1, allow_nan=False) + "\n")
    write_text(out.with_suffix(".md"), text)


def _shown(score: str, records: Sequence[Record]) -> str:
    """Mean and spread of a score; a dash where the model has none."""
    if any(score not in record.card.findings for record in records):
        return "–"
    return spread([record.card.value(score) for record in records]).text(4)


def chosen(lines: Sequence[Asked], runs: Mapping[str, Sequence[Record]]) -> set[str]:
    """Of the settings of each model the one that is judged best, over both numbers of labels."""
    judged: dict[tuple[str, str], list[float]] = {}
    for one in lines:
        values = [record.card.value(JUDGE) for record in runs[one.name]]
        judged.setdefault((one.recipe, json.dumps(dict(one.fields))), []).extend(values)
    best = {
        recipe: max((key for key in judged if key[0] == recipe), key=lambda key: fmean(judged[key]))
        for recipe, _ in judged
    }
    return {one.name for one in lines if best[one.recipe][1] == json.dumps(dict(one.fields))}


if __name__ == "__main__":
    main()
