"""LARESA on CIFAR-100: how its weights were chosen, its ablations, wrong names, and classes never seen.

    python benchmarks/laresa.py tune
    python benchmarks/laresa.py ablations
    python benchmarks/laresa.py noise
    python benchmarks/laresa.py zero-shot
    python benchmarks/laresa.py weights FOLDER

tune       weights and weighting, on validation images. The rule: every setting is run with one seed; of those
           whose accuracy is at most half a point below that of cross-entropy alone, the three with the
           highest mean of hit rate and coarse Spearman are run with all seeds, and the best of them by
           the same rule over their means is the default. Where that lay at the end of a grid, the grid was
           made longer there, once
ablations  cross-entropy with every choice of LARESA's parts, by the recipes, on test images
noise      what is lost where label embeddings tell less than names do, or something wrong: 25, 50 and 100 %
           of them permuted; random orthogonal vectors; character n-grams of the names; for each class the
           vector of its group; between laresa with the names and cross-entropy alone. Scores that read
           label embeddings read the right ones. With the folder of the ablations, their runs serve here too
zero-shot  ten classes are drawn by seed and left out of training, validation, and the map of groups. Then
           images of theirs are given to the nearest of their ten names, or of all hundred; and they, and
           images of clothes, are told from those of known classes by four confidences
weights    what each term weighs in the last epoch of the runs of a stage, and the least share of all weights
           that cross-entropy ever has

12,500 images, 2,500 of them for validation, mirrored; conv4, 30 epochs. Tables go to
docs/results/laresa-STAGE.md, and all figures to the .json beside it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from latentloom.checks import UserError
from latentloom.config import Data
from latentloom.data import load
from latentloom.data.splits import subset
from latentloom.evaluation.ood import ood_findings
from latentloom.evaluation.semantics import semantic_pearson, semantic_spearman
from latentloom.evaluation.zero_shot import held_out, zero_shot_accuracy
from latentloom.files import atomically, write_text
from latentloom.latent.geometry import unit
from latentloom.names.coarse import CoarseMap, coarse_of, write_groups
from latentloom.names.vectors import label_vectors
from latentloom.records import load_record, strict
from latentloom.report.comparison import Asked, cells_of, compare
from latentloom.report.rows import spread
from latentloom.training.compare import Cell, run_cells
from latentloom.training.latents import collect
from latentloom.training.model import model_for
from latentloom.training.trainer import Replay
from latentloom.values import ImageSet, Latent, Record

BUDGET = {
    "data.validation": "0.2",
    "data.augment": "[flip]",
    "model.encoder": "conv4",
    "training.epochs": "30",
    "training.keep_latents": "0",
    "training.logger": "false",
    "evaluation.bootstrap": "0",
}
IMAGES = 12_500
CIFAR = [("data.name", "cifar100"), ("data.limit", str(IMAGES)), *BUDGET.items()]
VALIDATION_ALONE = [
    *CIFAR,
    ("data.test_limit", "200"),  # never looked at
    ("evaluation.split", "validation"),
    ("evaluation.probe_limit", "1000"),
]
NEW = 10  # classes left out
ANCHOR, TRIPLET = "objective.terms.semantic_anchor", "objective.terms.semantic_triplet"
WEIGHTING, FLOOR = "objective.weighting", "objective.floor"
BASELINE, FULL = "laresa-ce", "laresa-anchor-triplet-reg"


def weighed(anchor: str, triplet: str) -> dict[str, str]:
    return {f"{ANCHOR}.weight": anchor, f"{TRIPLET}.weight": triplet}


TRIED: list[tuple[str, dict[str, str]]] = [
    (BASELINE, {}),
    *(
        (FULL, weighed(anchor, triplet))
        for anchor, triplet in (
            ("0.3", "1"),
            ("1", "1"),
            ("1", "5"),
            ("3", "3"),
            ("5", "5"),
            ("10", "10"),
            ("20", "20"),
        )
    ),
    *(
        (FULL, {**weighed("1", "1"), WEIGHTING: weighting})
        for weighting in ("softmax", "floor", "frozen", "fixed_ce", "uncertainty")
    ),
    (FULL, {**weighed("1", "1"), WEIGHTING: "floor", FLOOR: "0.15"}),
    (FULL, {**weighed("1", "5"), f"{TRIPLET}.options.by_distance": "true"}),
    (FULL, {**weighed("1", "1"), "objective.terms.decorrelation.weight": "1"}),
    *(
        ("laresa", weighed(anchor, triplet))
        for anchor, triplet in (("1", "5"), ("3", "3"), ("10", "10"), ("30", "30"))
    ),
]
LOST = 0.005  # accuracy that a setting may be below the baseline
FINALISTS = 3
ABLATIONS = (
    *(BASELINE, "laresa-anchor", "laresa-triplet", "laresa-reg", "laresa-anchor-reg", "laresa-triplet-reg"),
    *("laresa", FULL),
)
SOURCE = "model.label_embeddings.source"
SCORES = ("accuracy", "hit_rate", "coarse_silhouette", "coarse_accuracy")
Rows = Sequence[Sequence[str]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("comparison", nargs="?", type=Path, help="the folder of the stage that weights reads")
    parser.add_argument("--seeds", type=int, default=3, help="(3)")
    parser.add_argument("--workers", type=int, default=2, help="runs at a time (2)")
    parser.add_argument("--folder", type=Path, help="where the runs are kept (runs/laresa-STAGE)")
    parser.add_argument("--out", type=Path, help="(docs/results/laresa-STAGE.json)")
    given = parser.parse_args()
    given.folder = (given.folder or Path(f"runs/laresa-{given.stage}")).resolve()
    heads, rows, figures = STAGES[given.stage](given)
    text = "\n".join(f"| {' | '.join(row)} |" for row in [heads, ["---"] * len(heads), *rows]) + "\n"
    print(text)
    out = given.out or Path(f"docs/results/laresa-{given.stage}.json")
    write_text(out, json.dumps(strict(figures), indent=1, allow_nan=False) + "\n")
    write_text(out.with_suffix(".md"), text)


# Weights


def tune(given: argparse.Namespace) -> tuple[Sequence[str], Rows, Mapping[str, object]]:
    """A table with a line for each setting, those with more seeds first, best first."""
    asked = [(_said(recipe, fields), recipe, list(fields.items())) for recipe, fields in TRIED]
    runs = {label: [record] for label, record in _run(given, asked, VALIDATION_ALONE, seeds=1)}
    enough = fmean(_values(runs, _said(*TRIED[0]), "accuracy")) - LOST
    rest = [label for label in runs if label != BASELINE]
    last = [BASELINE, *sorted(rest, key=lambda s: _merit(runs[s], enough), reverse=True)[:FINALISTS]]
    again = _run(given, [one for one in asked if one[0] in last], VALIDATION_ALONE, seeds=given.seeds)
    for label in last:
        runs[label] = [record for of, record in again if of == label]
    enough = fmean(_values(runs, BASELINE, "accuracy")) - LOST
    order = sorted(runs, key=lambda s: (len(runs[s]), _merit(runs[s], enough)), reverse=True)
    scores = (*SCORES, "semantic_spearman", "coarse_spearman", "severity")
    rows = [
        [label, str(len(runs[label])), *(_cell(_values(runs, label, s)) for s in scores)] for label in order
    ]
    figures = {label: {s: _values(runs, label, s) for s in scores} for label in order}
    every = [record for records in runs.values() for record in records]
    return ["setting", "seeds", *scores], rows, _about(every, dict(VALIDATION_ALONE), figures)


def _run(
    given: argparse.Namespace, asked: Sequence[Asked], budget: Sequence[tuple[str, str]], seeds: int
) -> list[tuple[str, Record]]:
    cells = cells_of(asked, budget, seeds=seeds, folder=given.folder)
    return list(zip([cell.recipe for cell in cells], run_cells(cells, workers=given.workers), strict=True))


def _said(recipe: str, fields: Mapping[str, str]) -> str:
    return ",".join([recipe, *(f"{key}={value}" for key, value in fields.items())])


def _values(runs: Mapping[str, Sequence[Record]], label: str, score: str) -> list[float]:
    return [record.card.value(score) for record in runs[label]]


def _merit(records: Sequence[Record], enough: float) -> tuple[bool, float]:
    """Is it accurate enough; the mean of hit rate and coarse Spearman."""
    of = {
        s: fmean(record.card.value(s) for record in records)
        for s in ("accuracy", "hit_rate", "coarse_spearman")
    }
    return of["accuracy"] >= enough, (of["hit_rate"] + of["coarse_spearman"]) / 2


# Ablations


def ablations(given: argparse.Namespace) -> tuple[Sequence[str], Rows, Mapping[str, object]]:
    """The table of a comparison; the comparison itself is in its folder."""
    asked: list[Asked] = [(recipe, recipe, []) for recipe in ABLATIONS]
    compare(asked, CIFAR, seeds=given.seeds, folder=given.folder, workers=given.workers)
    runs = {recipe: _records(given.folder / recipe) for recipe in ABLATIONS}
    scores = (*SCORES, "semantic_spearman", "coarse_spearman", "severity")
    rows = [[recipe, *(_cell(_values(runs, recipe, s)) for s in scores)] for recipe in ABLATIONS]
    figures = {recipe: {s: _values(runs, recipe, s) for s in scores} for recipe in ABLATIONS}
    every = [record for records in runs.values() for record in records]
    return ["recipe", *scores], rows, _about(every, dict(CIFAR), figures)


# Wrong names


def noise(given: argparse.Namespace) -> tuple[Sequence[str], Rows, Mapping[str, object]]:
    """A table with a line for each kind of vectors."""
    data = Data(name="cifar100")
    train = load(data, 0).train
    files = write_vectors(given.folder / "vectors", train)
    asked: list[Asked] = [("laresa", "laresa", [])]
    asked += [(name, "laresa", [(SOURCE, str(path))]) for name, path in files.items()]
    asked += [(BASELINE, BASELINE, [])]
    cells = cells_of(asked, CIFAR, seeds=given.seeds, folder=given.folder)
    records = run_cells(cells, workers=given.workers)
    right = label_vectors(train.class_names, centred=True).vectors
    found: dict[str, list[dict[str, float]]] = {label: [] for label, _, _ in asked}
    for cell, record in zip(cells, records, strict=True):
        centres = load_file(cell.folder / "class_centres.safetensors")["class_centres"]
        every = torch.arange(len(centres))
        aligned = {
            "semantic_spearman": semantic_spearman(centres, every, right).item(),
            "semantic_pearson": semantic_pearson(centres, every, right).item(),
        }
        found[cell.recipe].append({**{s: record.card.value(s) for s in SCORES}, **aligned})
    scores = [*SCORES, "semantic_spearman"]
    rows = [[label, *(_cell([one[s] for one in ours]) for s in scores)] for label, ours in found.items()]
    return ["vectors", *(f"{score} ↑" for score in scores)], rows, _about(records, dict(CIFAR), found)


def write_vectors(folder: Path, train: ImageSet) -> dict[str, Path]:
    """Matrices (C, d) that stand in for label embeddings, each in a file of its own."""
    names, groups = train.class_names, coarse_of(train)
    assert groups is not None
    right = label_vectors(names).vectors
    rng = np.random.default_rng(0)
    kinds = {f"{share} % permuted": permuted(right, share, rng) for share in (25, 50, 100)}
    kinds["random orthogonal"] = orthogonal(*right.shape, rng)
    kinds["character n-grams"] = n_grams(names, right.shape[1])
    kinds["the group alone"] = label_vectors(train.coarse_names).vectors[groups]
    files = {name: folder / f"{name.replace(' ', '-').replace('%', 'percent')}.npy" for name in kinds}
    for name, path in files.items():
        with atomically(path) as part, part.open("wb") as file:
            np.save(file, kinds[name].numpy())
    return files


def permuted(vectors: Tensor, percent: int, rng: np.random.Generator) -> Tensor:
    """So many of the rows, drawn at random, in a circle: each of them gets the vector of another."""
    rows = rng.permutation(len(vectors))[: round(percent / 100 * len(vectors))]
    wrong = vectors.clone()
    wrong[rows] = vectors[np.roll(rows, 1)]
    return wrong


def orthogonal(count: int, d: int, rng: np.random.Generator) -> Tensor:
    """Directions at right angles, (count, d): all classes are as far apart."""
    basis, _ = np.linalg.qr(rng.standard_normal((d, count)))
    return torch.from_numpy(basis.T.astype(np.float32))


def n_grams(names: Sequence[str], d: int) -> Tensor:
    """How often each sequence of 2 to 4 characters stands in a name, hashed to (C, d): its spelling."""
    from sklearn.feature_extraction.text import HashingVectorizer

    hashed = HashingVectorizer(analyzer="char_wb", ngram_range=(2, 4), n_features=d).transform(names)
    return torch.from_numpy(hashed.toarray().astype(np.float32))


# Classes never seen


def zero_shot(given: argparse.Namespace) -> tuple[Sequence[str], Rows, Mapping[str, object]]:
    """A table with a line for each recipe."""
    found: dict[str, list[dict[str, float]]] = {}
    records: list[Record] = []
    for draw in range(given.seeds):
        new = held_out(100, NEW, draw)
        whole = load(Data(name="cifar100", limit=round(IMAGES * 100 / (100 - NEW))), draw)
        budget = write_known(given.folder / f"draw-{draw}", whole.train, whole.test, new)
        asked: list[Asked] = [(name, name, []) for name in (BASELINE, "laresa")]
        overrides = [*budget.items(), *BUDGET.items()]
        cells = cells_of(asked, overrides, seeds=draw + 1, folder=given.folder / f"draw-{draw}")[-2:]
        records += run_cells(cells, workers=given.workers)
        clothes = load(Data(name="fashion-mnist", test_limit=2000), 0).test
        for cell in cells:
            latent, far = (embedded(cell, images) for images in (whole.test, as_cifar(clothes)))
            names = centred_as_known(whole.train.class_names, new)
            told = told_apart(cell, latent, far, names, new)
            found.setdefault(cell.recipe, []).append(judged(latent, names, new) | told)
    scores = list(found["laresa"][0])
    rows = [[recipe, *(_cell([one[s] for one in ours]) for s in scores)] for recipe, ours in found.items()]
    return ["recipe", *scores], rows, _about(records, BUDGET, found)


def write_known(folder: Path, train: ImageSet, test: ImageSet, new: Tensor) -> dict[str, str]:
    """Images of all classes but the new ones as an npz, and their groups; the fields that ask for them."""
    known = [label for label in range(len(train.class_names)) if label not in new]
    arrays = {"class_names": np.array([train.class_names[label] for label in known])}
    number = torch.full((len(train.class_names),), -1)
    number[known] = torch.arange(len(known))
    for prefix, images in (("train", train), ("test", test)):
        part = subset(images, (number[images.labels] >= 0).nonzero()[:, 0])
        arrays |= {f"{prefix}_images": np.asarray(part.images)}
        arrays |= {f"{prefix}_labels": number[part.labels].numpy()}
    path, groups = folder / "known.npz", coarse_of(train)
    assert groups is not None
    if not path.exists():
        with atomically(path) as half, half.open("wb") as file:
            np.savez(file, **arrays)
    present, of = groups[known].unique(return_inverse=True)
    names = tuple(train.coarse_names[group] for group in present)
    if not (folder / "groups.yaml").exists():
        write_groups(folder / "groups.yaml", CoarseMap(names, of), arrays["class_names"].tolist())
    return {"data.name": f"npz:{path}", "data.coarse": str(folder / "groups.yaml")}


def embedded(cell: Cell, images: ImageSet) -> Latent:
    """The latents that the network of a finished run makes of images."""
    model = model_for(cell.config, load(cell.config.data, cell.config.seed).train)
    model.load_state_dict(load_file(cell.folder / "model.safetensors"))
    return collect(model, Replay(images, model))


def centred_as_known(names: Sequence[str], new: Tensor) -> Tensor:
    """Vectors of all names, centred as those of the known ones were, (C, d)."""
    vectors = label_vectors(names).vectors
    known = [label for label in range(len(names)) if label not in new]
    return unit(vectors - vectors[known].mean(0))


def judged(latent: Latent, names: Tensor, new: Tensor) -> dict[str, float]:
    """Accuracy on the new classes, by the vectors of all names (C, d)."""
    of = {"of ten": False, "of all hundred": True}
    return {
        f"zero-shot accuracy, {said} ↑": zero_shot_accuracy(
            latent.z, latent.y, names, new, generalised=all_of_them
        ).item()
        for said, all_of_them in of.items()
    }


def as_cifar(images: ImageSet) -> ImageSet:
    """Grey images of 28 pixels with a black border, in three colours."""
    assert isinstance(images.images, Tensor)
    bordered = nn.functional.pad(images.images, (2, 2, 2, 2)).expand(-1, 3, -1, -1).contiguous()
    return replace(images, images=bordered)


def told_apart(cell: Cell, latent: Latent, far: Latent, names: Tensor, new: Tensor) -> dict[str, float]:
    """Areas under the ROC curve of images of known classes against new ones (near) and others (far)."""
    is_new = torch.isin(latent.y, new)
    known = [label for label in range(len(names)) if label not in new]
    centres = load_file(cell.folder / "class_centres.safetensors")["class_centres"]
    inside = taken(latent, ~is_new).with_shared(class_centres=centres, label_embeddings=names[known])
    found = ood_findings(inside, {"near": taken(latent, is_new), "far": far}, split="test")
    return {f"{name} ↑": finding.value for name, finding in found.items()}


def taken(latent: Latent, rows: Tensor) -> Latent:
    return Latent({name: part[rows] for name, part in latent.samples.items()}, latent.shared)


# Weights


def weights(given: argparse.Namespace) -> tuple[Sequence[str], Rows, Mapping[str, object]]:
    """A table with a line for each recipe of a folder."""
    if given.comparison is None:
        raise UserError("weights are those of runs; give the folder of a comparison, or of the stage tune")
    runs = {place.name: _records(place) for place in sorted(given.comparison.iterdir()) if place.is_dir()}
    rows, figures = [], {}
    for recipe, records in runs.items():
        last = {term: fmean(r.history[-1][f"weight/{term}"] for r in records) for term in _terms(records)}
        share = [min(_share(row) for row in r.history) for r in records]
        figures[recipe] = [[{t: row[f"weight/{t}"] for t in last} for row in r.history] for r in records]
        shown = ", ".join(f"{term} {value:.3f}" for term, value in last.items())
        rows.append([recipe, shown, f"{last['cross_entropy']:.3f}", f"{min(share):.3f}"])
    heads = ["recipe", "weights in the last epoch", "of cross-entropy", "its least share of all weights"]
    return heads, rows, _about([r for found in runs.values() for r in found], {}, figures)


def _share(row: Mapping[str, float]) -> float:
    """The weight of cross-entropy by the sum of all."""
    return row["weight/cross_entropy"] / sum(v for name, v in row.items() if name.startswith("weight/"))


def _records(folder: Path) -> list[Record]:
    return [load_record(path) for path in sorted(folder.glob("seed-*/record.json"))]


def _terms(records: Sequence[Record]) -> list[str]:
    return [name.removeprefix("weight/") for name in records[0].history[-1] if name.startswith("weight/")]


def _cell(values: Sequence[float]) -> str:
    return spread(values).text(4) if values else "–"


def _about(
    records: Sequence[Record], budget: Mapping[str, str], figures: Mapping[str, object]
) -> dict[str, object]:
    one = records[0]
    return {
        "budget": dict(budget),
        "commit": one.commit,
        "sources": dict(one.sources),
        "versions": dict(one.versions),
        "hardware": one.hardware,
        "seconds": fmean(record.seconds for record in records),
        "figures": figures,
    }


STAGES: dict[str, Callable[[argparse.Namespace], tuple[Sequence[str], Rows, Mapping[str, object]]]] = {
    "tune": tune,
    "ablations": ablations,
    "noise": noise,
    "zero-shot": zero_shot,
    "weights": weights,
}

if __name__ == "__main__":
    main()
