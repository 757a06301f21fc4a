"""The numbers that the papers print, with what is doubtful about each: facts to set our own beside."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from latentloom.checks import check_choice


@dataclass(frozen=True)
class Paper:
    """A paper, and what each of its tables shows."""

    title: str
    authors: str
    reference: str
    tables: Mapping[str, str]


@dataclass(frozen=True)
class Published:
    """One printed number; in percent where the metric's name ends in _pct."""

    paper: str
    version: str  # v1 or v2 of latent-boost, else empty
    table: str
    dataset: str
    model: str
    method: str
    hyperparameters: str
    metric: str
    value: float | str | None  # text where the print is no number (all); None where it cannot be read
    std: float | None
    doubt: str  # why not to trust the number; several are parted by " | "


PAPERS: dict[str, Paper] = {
    "latent-boost": Paper(
        title="Enhancing Interpretability Through Loss-Defined Classification Objective in Structured Latent "
        "Spaces; earlier version: Latent Boost: leveraging latent space distance metrics to augment "
        "classification performance",
        authors="Geissler, Zhou, Liu, Lukowicz",
        reference="arXiv:2412.08515",
        tables={
            "1": "hyper-parameters of the metric losses",
            "2": "accuracy and F1 of four metric losses at three lambdas",
            "3": "accuracy and F1 of Latent Boost over lambda",
            "4": "Latent Boost with and without PCA, epochs to stop",
            "5": "silhouettes",
            "A1": "earlier version, table 1: repeats table 2",
            "A2": "earlier version, table 2: Latent Boost at its best lambda, epochs to stop",
            "A3": "earlier version, table 3: silhouettes",
            "A4": "earlier version, table 4: hyper-parameters of the metric losses",
            "A5": "earlier version, appendix: four metric losses over lambda, Fashion-MNIST",
            "A6": "earlier version, appendix: four metric losses over lambda, CIFAR-10",
            "A7": "earlier version, appendix: four metric losses over lambda, CIFAR-100",
            "A8": "earlier version, appendix: Latent Boost over lambda; repeats table 3",
        },
    ),
    "moving-targets": Paper(
        title="A Geometric Approach to Image Classification using Neural Networks with Class Embeddings",
        authors="a project group of Aalborg University",
        reference="Aalborg University 2023; code: github.com/Simonbolsen/P8",
        tables={
            "2": "statistics that images are normalised with",
            "5": "best accuracies beside reported ones",
            "6": "accuracy of each loss and classifier on MNIST, Fashion-MNIST and KMNIST",
            "7": "accuracy of each loss and classifier on CIFAR-10 and CIFAR-100",
            "8": "hyper-parameters found for CIFAR-10 and CIFAR-100",
            "9": "hyper-parameters found for MNIST, Fashion-MNIST and KMNIST",
        },
    ),
    "vae-dml": Paper(
        title="VAEs for Semi-Supervised Deep Metric Learning",
        authors="Safir",
        reference="MSc thesis, University of Georgia 2022; short version: SciPy proceedings 2022",
        tables={
            "6.1": "triplet loss with and without an autoencoder, MNIST; means of four runs",
            "6.2": "triplet loss with and without an autoencoder, OrganAMNIST; means of four runs",
            "6.3": "triplet loss with priors, MNIST",
            "6.4": "triplet loss with priors, OrganAMNIST",
            "6.5": "metric VAE with a VampPrior, trained alternately",
            "6.6": "metric VAE with a VampPrior, trained jointly",
        },
    ),
    "laresa": Paper(
        title="LARESA: Loss-based latent restructuring with semantic alignment",
        authors="anonymous",
        reference="OpenReview EUX1RkodOk, submitted to ICLR 2026",
        tables={
            "1": "accuracy of the ablations, three encoders; on half of the test images",
            "2": "silhouettes over coarse labels, hit rate of the nearest class centre",
            "3": "correlation of latent and semantic distances, coarse labels",
            "7": "accuracy of the ablations, nine encoders; on half of the test images",
            "8": "epochs to the best validation accuracy",
        },
    ),
}


def published(paper: str, table: str) -> list[Published]:
    """Every number of a table, in the order of the print.

    >>> row = published("latent-boost", "2")[0]
    >>> row.dataset, row.method, row.metric, row.value, row.std
    ('Fashion-MNIST', 'Baseline', 'accuracy_pct', 88.59, 0.15)
    """
    check_choice("paper", paper, PAPERS)
    check_choice(f"table of {paper}", table, PAPERS[paper].tables)
    return [row for row in _all() if (row.paper, row.table) == (paper, table)]


@cache
def _all() -> tuple[Published, ...]:
    lines = files(__name__).joinpath("targets.csv").read_text(encoding="utf-8").splitlines()
    return tuple(_row(cells) for cells in csv.DictReader(lines))


def _row(cells: dict[str, str]) -> Published:
    text = {name: cells[name] for name in cells if name not in ("value", "std")}
    return Published(**text, value=_number(cells["value"]), std=float(cells["std"]) if cells["std"] else None)


def _number(cell: str) -> float | str | None:
    try:
        return float(cell) if cell else None
    except ValueError:
        return cell
