"""The committed results: tables are what their records give, and the documents quote them as they are."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from latentloom.records import load_record
from latentloom.report.rows import summary
from latentloom.report.tables import as_markdown

ROOT = Path(__file__).parent.parent
METHOD = ("class_embeddings", "classifier", "normalise", "lr", "eval_after_first_epoch")
RESULTS = ROOT / "docs" / "results"
COMPARISONS = sorted(path.parent for path in RESULTS.glob("*/table.md"))
WHOLE = re.compile(r"<!-- all of (\S+) -->\n```text\n(.*?)\n```", re.DOTALL)
QUOTED = re.compile(r"<!-- from (\S+) -->\n(.*?)<!-- end -->", re.DOTALL)


def runs_in(folder: Path):
    """Records by recipe, in the order of the table."""
    table = json.loads((folder / "table.json").read_text())
    return {
        row["recipe"]: [load_record(folder / row["recipe"] / f"seed-{seed}.json") for seed in row["seeds"]]
        for row in table
    }


@pytest.mark.parametrize("folder", COMPARISONS, ids=lambda folder: folder.name)
def test_the_table_is_what_the_records_give(folder):
    runs = runs_in(folder)
    scores = {name: None for records in runs.values() for record in records for name in record.card.findings}
    assert as_markdown(summary(runs, list(scores))) + "\n" == (folder / "table.md").read_text()


@pytest.mark.parametrize("folder", COMPARISONS, ids=lambda folder: folder.name)
def test_runs_that_are_compared_differ_in_nothing_but_the_method_and_the_seed(folder):
    def asked(record):
        """All but what a method is: losses, what is learned per class, scale of pixels, how it learns."""
        rest = {k: v for k, v in record.config.items() if k not in ("objective", "seed")}
        model = {k: v for k, v in rest["model"].items() if k not in METHOD}
        training = {k: v for k, v in rest["training"].items() if k not in METHOD}
        return {**rest, "model": model, "training": training}

    records = [record for records in runs_in(folder).values() for record in records]
    assert all(asked(record) == asked(records[0]) for record in records)
    assert len({record.commit for record in records}) == 1
    assert not records[0].commit.endswith("+")


@pytest.mark.parametrize(
    "document", [*sorted(ROOT.glob("docs/**/*.md")), ROOT / "README.md"], ids=lambda p: p.name
)
def test_quoted_lines_stand_in_the_file_they_are_quoted_from(document):
    for source, text in QUOTED.findall(document.read_text()):
        lines = (ROOT / source).read_text().splitlines()
        for line in text.splitlines():
            assert not line.strip() or set(line) <= set("|-: ") or line in lines, line


def test_a_file_that_is_quoted_whole_is_quoted_as_it_is():
    quoted = WHOLE.findall((ROOT / "docs" / "benchmarks.md").read_text())
    assert quoted
    for source, text in quoted:
        assert text == (ROOT / source).read_text().rstrip("\n")
