"""Few-shot accuracy and certainty on MNIST: class embeddings beside the pure network.

    python benchmarks/few_shot.py

Two tables in docs/results/few-shot-mnist.md, and few-shot-mnist.json with every seed. The protocol: every
recipe is trained on the digits 0 to 6, its best epoch chosen on validation images.

Few-shot. The digits 7, 8 and 9, which no network has seen, are embedded at the mean of 1 or 5 support
latents, and 15 queries of each are given to the nearest embedding, in 100 episodes drawn from the test
images. All networks of a seed, the pure one (baseline) among them, are asked the same episodes.

Certainty. On the test images of the digits 0 to 6: is a prediction that is more certain more often right,
and as often as it says? Temperatures are fitted on the validation images, those of linear heads too, so
that no classifier has an advantage by it.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, cast

import numpy as np
from safetensors.torch import load_file
from torch import Tensor

from latentloom.config import Data, Train
from latentloom.data import load
from latentloom.data.catalogue import find_dataset
from latentloom.data.originals import locate
from latentloom.data.splits import subset
from latentloom.evaluation import class_means, mean_interval, paired_difference
from latentloom.evaluation.certainty import (
    area_under_risk_coverage,
    distance_logits,
    expected_calibration_error,
    fitted_temperature,
    softmax_confidence,
)
from latentloom.evaluation.few_shot import few_shot_accuracy
from latentloom.evaluation.nearest import Metric
from latentloom.files import atomically, write_text
from latentloom.records import strict
from latentloom.report.comparison import cells_of
from latentloom.report.rows import spread
from latentloom.report.tables import MARKS
from latentloom.training.compare import Cell, run_cells
from latentloom.training.latents import collect
from latentloom.training.model import model_for
from latentloom.training.trainer import Replay
from latentloom.values import ImageSet, Latent, Record

RECIPES = ("baseline", "euclidean-target", "cosine-target", "class-proximity", "push-pull", "comparison")
TRAINED = 7  # the digits below are trained on, the others are new
SHOTS = (1, 5)
EPISODES = 100
METRICS: tuple[Metric, ...] = ("euclidean", "cosine")
FIGURES = {
    "accuracy": "accuracy ↑",
    "aurc": "AURC ↓",
    "auroc": "AUROC ↑",
    "auroc_of_largest_logit": "AUROC, largest logit ↑",
    "calibration_error": "calibration error ↓",
    "calibration_error_unscaled": "the same at temperature 1 ↓",
}
READING = (
    "AURC: area under the risk-coverage curve, which falls with the error rate itself. AUROC: how often a "
    "right image is surer than a wrong one, 0.5 by chance; certainty is the softmax probability, or the "
    "largest logit alone, which of distances is that to the nearest class."
)
PerSeed = Mapping[str, Sequence[Mapping[str, Any]]]  # recipe -> what was found, by seed


@dataclass(frozen=True)
class Seen:
    """What a trained network makes of the images."""

    train: Latent
    validation: Latent
    test: Latent
    new: Latent  # of the digits it was not trained on


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--limit", type=int, default=20_000, help="images to train and validate on (20000)")
    parser.add_argument("--epochs", type=int, default=5, help="(5)")
    parser.add_argument("--seeds", type=int, default=3, help="(3)")
    parser.add_argument("--recipes", nargs="+", default=RECIPES, help="the first is compared with")
    parser.add_argument("--root", help="folder of the data sets (LATENTLOOM_DATA)")
    parser.add_argument("--folder", type=Path, default=Path("runs/few-shot-mnist"), help="gets the runs")
    parser.add_argument("--out", type=Path, default=Path("docs/results/few-shot-mnist.json"))
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    train, test = mnist(arguments.root)
    path = arguments.folder / "digits-0-to-6.npz"
    write_digits(path, train, test)
    budget = {
        "data.limit": str(arguments.limit),
        "training.epochs": str(arguments.epochs),
        "training.logger": "false",
        "training.keep_latents": "0",
        "evaluation.bootstrap": "0",
    }
    asked = [(name, name, ()) for name in arguments.recipes]
    overrides = [("data.name", f"npz:{path}"), *budget.items()]
    cells = cells_of(asked, overrides, seeds=arguments.seeds, folder=arguments.folder)
    records = run_cells(cells, workers=arguments.workers)
    report(cells, records, digits(test, TRAINED, 10), budget, arguments.out)


def report(
    cells: Sequence[Cell], records: Sequence[Record], new: ImageSet, budget: Mapping[str, str], out: Path
) -> None:
    """Take both tables of the runs that are done; print and write them."""
    shots: dict[str, list[Mapping[str, Any]]] = {cell.recipe: [] for cell in cells}
    sure: dict[str, list[Mapping[str, Any]]] = {cell.recipe: [] for cell in cells}
    for cell in cells:
        seen = embedded(cell, new)
        shots[cell.recipe].append(few_shot(seen.new, cell.config.seed))
        sure[cell.recipe].append(certainty(seen, cell.config))
    one = records[0]
    about = {
        "protocol": " ".join((__doc__ or "").partition("The protocol: ")[2].split()),
        "budget": budget,
        "seeds": sorted({cell.config.seed for cell in cells}),
        "commit": one.commit,
        "sources": dict(one.sources),
        "versions": dict(one.versions),
        "hardware": one.hardware,
    }
    whole = strict({**about, "few_shot": shots, "certainty": sure})
    write_text(out, json.dumps(whole, indent=1, allow_nan=False) + "\n")
    text = f"{few_shot_table(shots)}\n\n{certainty_table(sure)}\n\n{READING}\n"
    write_text(out.with_suffix(".md"), text)
    print(text)


def mnist(root: str | None) -> tuple[ImageSet, ImageSet]:
    """All images of MNIST: for training, for testing."""
    dataset, _ = find_dataset("mnist")
    data = Data(name=dataset.name, root=root)
    train, test = dataset.read(locate(dataset, data), data)
    return train, cast(ImageSet, test)


def digits(images: ImageSet, first: int, end: int) -> ImageSet:
    """The images of the digits from `first` to below `end`."""
    return subset(images, ((images.labels >= first) & (images.labels < end)).nonzero()[:, 0])


def write_digits(path: Path, train: ImageSet, test: ImageSet) -> None:
    """The digits to train on, as an npz that a run reads."""
    arrays = {"class_names": np.array([str(digit) for digit in range(TRAINED)])}
    for prefix, images in (("train", digits(train, 0, TRAINED)), ("test", digits(test, 0, TRAINED))):
        arrays |= {
            f"{prefix}_images": np.asarray(images.images),
            f"{prefix}_labels": np.asarray(images.labels),
        }
    with atomically(path) as part, part.open("wb") as file:
        np.savez(file, **arrays)


def embedded(cell: Cell, new: ImageSet) -> Seen:
    """The latents that the network of a finished run makes."""
    splits = load(cell.config.data, cell.config.seed)
    model = model_for(cell.config, splits.train)
    model.load_state_dict(load_file(cell.folder / "model.safetensors"))
    parts = (splits.train, splits.validation, splits.test, new)
    return Seen(*(collect(model, Replay(part, model)) for part in parts))


def few_shot(new: Latent, seed: int) -> dict[str, dict[str, Any]]:
    """Mean accuracy on the new digits, with its 95 % interval over episodes, for all shots and metrics."""
    found = {}
    for shots in SHOTS:
        for metric in METRICS:
            accuracies = few_shot_accuracy(
                new.z, new.y, shots=shots, episodes=EPISODES, metric=metric, seed=seed
            ).tolist()
            found[f"k = {shots}, {metric}"] = {
                "mean": fmean(accuracies),
                "interval": mean_interval(accuracies),
            }
    return found


def certainty(seen: Seen, config: Train) -> dict[str, dict[str, float]]:
    """For each classifier of a network, how well its certainty tells right from wrong."""
    return {
        name: figures(on_validation, seen.validation.y, on_test, seen.test.y)
        for name, on_validation, on_test in classifiers(seen, config)
    }


def classifiers(seen: Seen, config: Train) -> Iterator[tuple[str, Tensor, Tensor]]:
    """(name, logits of the validation images, logits of the test images) of those that the network has."""
    chosen = config.model.classifier
    if chosen == "linear":
        yield "linear softmax", seen.validation.logits, seen.test.logits
    metric: Metric = "euclidean" if chosen == "linear" else chosen
    centres = class_means(seen.train.z, seen.train.y, TRAINED)
    for name, reference in (("embedding", seen.train.get("class_embeddings")), ("centre", centres)):
        if reference is not None:
            near = [distance_logits(part.z, reference, metric) for part in (seen.validation, seen.test)]
            yield f"class-{name} distance, {metric}", near[0], near[1]


def figures(validation: Tensor, validation_y: Tensor, test: Tensor, y: Tensor) -> dict[str, float]:
    """Figures of a classifier on the test images, at the temperature that suits the validation images."""
    temperature = fitted_temperature(validation, validation_y)
    predicted, confidence = softmax_confidence(test, temperature=temperature)
    right = predicted == y
    return {
        "accuracy": right.double().mean().item(),
        "aurc": area_under_risk_coverage(confidence, right).item(),
        "auroc": auroc(confidence, right),
        "auroc_of_largest_logit": auroc(test.amax(1), right),
        "calibration_error": expected_calibration_error(confidence, right).item(),
        "calibration_error_unscaled": expected_calibration_error(softmax_confidence(test)[1], right).item(),
        "temperature": temperature,
    }


def auroc(confidence: Tensor, right: Tensor) -> float:
    """How often a right image is surer than a wrong one; nan where all are right, or all wrong."""
    from sklearn.exceptions import UndefinedMetricWarning
    from sklearn.metrics import roc_auc_score

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        return float(roc_auc_score(right.numpy(), confidence.numpy()))


def few_shot_table(shots: PerSeed) -> str:
    """A line per recipe, a column per number of shots and metric."""
    base, first = next(iter(shots.items()))
    intervals = [cell["interval"] for runs in shots.values() for run in runs for cell in run.values()]
    widest = max((high - low) / 2 for low, high in intervals)
    marks = ", ".join(f"{mark} {word}" for word, mark in MARKS.items())
    title = (
        f"Accuracy on the new digits 7, 8 and 9, chance 0.3333; mean ± sd over {len(first)} seeds (against "
        f"{base}, paired over seeds: {marks}). Over its {EPISODES} episodes the mean of one seed has a 95 % "
        f"interval of at most ± {widest:.4f}."
    )
    lines = [[name, *(_shots(runs, first, column) for column in first[0])] for name, runs in shots.items()]
    return f"{title}\n\n{piped(['recipe', *(f'{column} ↑' for column in first[0])], lines)}"


def _shots(runs: Sequence[Mapping[str, Any]], first: Sequence[Mapping[str, Any]], column: str) -> str:
    ours, theirs = ([run[column]["mean"] for run in of] for of in (runs, first))
    mark = "" if runs is first else MARKS[paired_difference(ours, theirs).verdict("higher")]
    return f"{spread(ours).text(4)} {mark}".rstrip()


def certainty_table(sure: PerSeed) -> str:
    """A line per recipe and classifier, a column per figure."""
    seeds = len(next(iter(sure.values())))
    title = f"Certainty on the test images of the digits 0 to 6; mean ± sd over {seeds} seeds."
    lines = [
        [name, classifier, *(spread([run[classifier][key] for run in runs]).text(4) for key in FIGURES)]
        for name, runs in sure.items()
        for classifier in runs[0]
    ]
    return f"{title}\n\n{piped(['recipe', 'classifier', *FIGURES.values()], lines)}"


def piped(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---" if name in ("recipe", "classifier") else "---:" for name in header]
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *lines))


if __name__ == "__main__":
    main()
