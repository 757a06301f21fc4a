from __future__ import annotations

from collections import Counter

import pytest

from latentloom.checks import UserError
from latentloom.published import PAPERS, Published, published

EVERY = [row for paper in PAPERS for table in PAPERS[paper].tables for row in published(paper, table)]
COUNTS = {
    ("latent-boost", "v1"): 468,
    ("latent-boost", "v2"): 207,
    ("moving-targets", ""): 534,
    ("vae-dml", ""): 453,
    ("laresa", ""): 450,
}


def find(paper: str, table: str, **named: str) -> Published:
    (row,) = [r for r in published(paper, table) if named.items() <= vars(r).items()]
    return row


def test_every_number_is_in_a_described_table() -> None:
    assert Counter((row.paper, row.version) for row in EVERY) == COUNTS
    assert all(published(paper, table) for paper in PAPERS for table in PAPERS[paper].tables)


def test_versions_follow_the_names_of_tables() -> None:
    boost = [row for row in EVERY if row.paper == "latent-boost"]
    assert {(row.version, row.table.startswith("A")) for row in boost} == {("v1", True), ("v2", False)}


@pytest.mark.parametrize(
    ("paper", "table", "named", "value", "std"),
    [
        (
            "latent-boost",
            "2",
            {"dataset": "Fashion-MNIST", "method": "Baseline", "metric": "accuracy_pct"},
            88.59,
            0.15,
        ),
        (
            "latent-boost",
            "4",
            {"dataset": "CIFAR-10", "method": "LatentBoost", "metric": "epochs_to_stop"},
            66.33,
            4.5,
        ),
        (
            "latent-boost",
            "5",
            {"dataset": "CIFAR-100", "method": "LatentBoost", "metric": "silhouette"},
            -0.25,
            None,
        ),
        (
            "latent-boost",
            "A7",
            {"method": "Magnet", "hyperparameters": "lambda=0.75", "metric": "accuracy_pct"},
            63.5,
            0.7,
        ),
        ("moving-targets", "5", {"dataset": "MNIST", "model": "RN18-PP"}, 99.56, None),
        (
            "vae-dml",
            "6.1",
            {
                "method": "DML(triplet)",
                "hyperparameters": "pl%=0.01;lsdim=10;lr=0.001",
                "metric": "knn_accuracy",
            },
            0.2610,
            None,
        ),
        (
            "laresa",
            "2",
            {"dataset": "CIFAR-100", "model": "ResNet50", "method": "LARESA", "metric": "silhouette_coarse"},
            0.2476,
            None,
        ),
    ],
)
def test_known_values(paper: str, table: str, named: dict[str, str], value: float, std: float | None) -> None:
    row = find(paper, table, **named)
    assert (row.value, row.std) == (value, std)


def test_a_cell_that_cannot_be_read_is_none_and_text_stays_text() -> None:
    assert [(row.table, row.doubt.split()[0]) for row in EVERY if row.value is None] == [("A7", "LOST")]
    assert {row.value for row in EVERY if isinstance(row.value, str)} >= {"all", "MeanReducer"}


# What the papers' numbers contradict, each with the number of cells it is said of.
DOUBTS = {
    "CONTRADICTS": 21,
    "low confidence": 192,
    "only possible with n=3 runs": 18,
    "not a multiple of 1/3 or 1/5": 3,
    "88.12 duplicates": 1,
    "63.05 vs F1 0.6218": 2,
    "std differs from the lambda table": 4,
    "row missing from v1 text": 2,
    "divided by its absolute value": 2,
    "of one trial": 18,
    "epoch selected on the test set": 305,
    "not of the linear head (72.47)": 1,
    "belongs to the form of the released code": 15,
    "null model": 236,
    "alpha=1 row is identical": 12,
    "equals the OrganAMNIST cell": 2,
    "one run of four": 288,
    "a single run": 45,
    "one seed": 54,
    "LARESA slower": 4,
    "OUTLIER 64.89": 1,
    "identical to CE": 1,
}


@pytest.mark.parametrize("doubt", DOUBTS)
def test_no_doubt_is_lost(doubt: str) -> None:
    assert sum(doubt in row.doubt for row in EVERY) == DOUBTS[doubt]


def test_two_tables_that_print_different_numbers_for_a_cell_both_say_so() -> None:
    def by_cell(table: str) -> dict[tuple[str, ...], Published]:
        rows = published("latent-boost", table)
        return {(r.dataset, r.method, r.hyperparameters, r.metric): r for r in rows if r.value is not None}

    appendix = by_cell("A7")
    pairs = [(row, appendix[cell]) for cell, row in by_cell("2").items() if cell in appendix]
    different = [(a, b) for a, b in pairs if a.value != b.value]
    assert (len(pairs), len(different)) == (25, 21)
    for ours, theirs in pairs:
        assert ("contradicted by Table A7" in ours.doubt) == ((ours, theirs) in different)
        assert ("CONTRADICTS" in theirs.doubt) == ((ours, theirs) in different)


def test_unknown_names_are_refused_with_the_likely_one() -> None:
    with pytest.raises(UserError, match="no paper 'latent-bost'; did you mean 'latent-boost'"):
        published("latent-bost", "2")
    with pytest.raises(UserError, match=r"no table of latent-boost '6'.*known: 1, 2, 3"):
        published("latent-boost", "6")
