"""Recipes over seeds: run what is missing, then a table and a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from latentloom.checks import UserError
from latentloom.files import file_name, write_text
from latentloom.recipes import load_recipe
from latentloom.report.page import write_report
from latentloom.report.rows import summary
from latentloom.report.tables import HEADLINE, as_json, as_markdown, as_text
from latentloom.training.compare import Cell, run_cells
from latentloom.values import Record

Asked = tuple[str, str, Sequence[tuple[str, str]]]  # label, recipe, fields of its own


def compare(
    recipes: Sequence[Asked],
    overrides: Sequence[tuple[str, str]],
    *,
    seeds: int,
    folder: Path,
    workers: int = 1,
    run: Callable[..., list[Record]] = run_cells,
) -> tuple[str, Path]:
    """Run every recipe with every seed, and compare with the first recipe.

    Args:
        recipes: (label, recipe, fields of its own); labels must differ.
        overrides: fields for all of them.
        seeds: runs of each recipe, with seeds 0 to seeds - 1.
        folder: gets LABEL/seed-K/ for each run, table.md, table.json and report.html.
        workers: runs at a time.
        run: train cells.

    Returns:
        The table as text, and the path of the page.
    """
    labels = [label for label, _, _ in recipes]
    if len(set(labels)) < len(labels):
        raise UserError(f"each recipe may be named once, got {', '.join(labels)}")
    if seeds < 1 or workers < 1:
        raise UserError(f"--seeds and --workers must be at least 1, got {seeds} and {workers}")
    cells = cells_of(recipes, overrides, seeds=seeds, folder=folder)
    records = run(cells, workers=workers)
    runs = {label: [r for r in records if r.recipe == label] for label in labels}
    scores = {name: None for record in records for name in record.card.findings}
    rows = summary(runs, list(scores))
    write_text(folder / "table.md", as_markdown(rows) + "\n")
    write_text(folder / "table.json", as_json(rows) + "\n")
    page = folder / "report.html"
    places = {label: _place(found[0], folder, label) for label, found in runs.items()}
    write_report(page, runs, places)
    headline = [replace(row, cells={k: row.cells[k] for k in HEADLINE if k in row.cells}) for row in rows]
    return as_text(headline), page


def cells_of(
    recipes: Sequence[Asked], overrides: Sequence[tuple[str, str]], *, seeds: int, folder: Path
) -> list[Cell]:
    """Every recipe with every seed, seed by seed, so that a comparison that is stopped has pairs."""
    return [
        Cell(
            label,
            load_recipe(name, [*overrides, *own, ("seed", str(seed))]),
            folder / file_name(label) / f"seed-{seed}",
        )
        for seed in range(seeds)
        for label, name, own in recipes
    ]


def _place(record: Record, folder: Path, label: str) -> Path:
    return folder / file_name(label) / f"seed-{record.seed}"
