"""Choose the weight, margin and form of every method on validation images.

    python benchmarks/tune.py --folder runs/tune --out docs/results/tuning-fashion-mnist.json

The rule, the same for all methods: among the settings of a method's grid, the highest mean silhouette of
those whose mean accuracy lies at most half a point below the best of the grid. Validation images alone
are looked at; the file lists all that was tried. Runs that are done are not done again.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from latentloom.files import write_text
from latentloom.recipes import load_recipe
from latentloom.report.rows import summary
from latentloom.training.compare import Cell, run_cells
from latentloom.values import Record

BUDGET = {
    "data.name": "fashion-mnist",
    "data.limit": "12000",  # 8,000 to train on, 4,000 to choose by
    "data.test_limit": "100",  # never looked at
    "data.validation": "0.33333",
    "training.epochs": "8",
    "training.logger": "false",
    "training.keep_latents": "0",
    "evaluation.split": "validation",
    "evaluation.bootstrap": "10",
}
SLACK = 0.005  # of accuracy
BOOST = "objective.terms.latent_boost.options"
MAGNET = "objective.terms.magnet.options"
CENTER = "objective.terms.center"
FALLING = "{kind: linear, start: 0.75, stop: 0.25}"
RISING = "{kind: linear, start: 0.25, stop: 0.75}"

# Method -> recipe, and the values tried for each field; every combination is run.
GRIDS: dict[str, tuple[str, Mapping[str, Sequence[str]]]] = {
    "baseline": ("baseline", {}),
    "magnet": ("magnet", {"objective.lam": ["0.25", "0.5", "0.75"], f"{MAGNET}.alpha": ["1", "2"]}),
    "center": (
        "center",
        {f"{CENTER}.weight": ["0.02", "0.05", "0.1"], f"{CENTER}.options.apart": ["0", "8"]},
    ),
    "latent-boost": (
        "latent-boost",
        {
            "objective.lam": ["0.25", "0.5", "0.75"],
            f"{BOOST}.alpha": ["1", "2", "4"],
        },
    ),
    "latent-boost, other forms": (
        "latent-boost",
        {
            "objective.lam": ["0.5"],
            f"{BOOST}.alpha": ["2"],
            f"{BOOST}.share": ["0.95", "null"],
            f"{BOOST}.variance": ["pooled", "class"],
            f"{BOOST}.hinge": ["true", "false"],
        },
    ),
    "latent-boost, lambda that moves": (
        "latent-boost",
        {"objective.lam": ["0.5", FALLING, RISING], f"{BOOST}.alpha": ["2"]},
    ),
    "latent-boost-paper": ("latent-boost-paper", {"objective.lam": ["0.25", "0.75"]}),
}


def settings() -> Iterator[tuple[str, str, dict[str, str]]]:
    """(method, recipe, fields) of everything that is tried."""
    for method, (recipe, grid) in GRIDS.items():
        for values in itertools.product(*grid.values()):
            yield method, recipe, dict(zip(grid, values, strict=True))


def name_of(recipe: str, fields: Mapping[str, str]) -> str:
    """A setting as one would write it behind `latentloom compare`."""
    return ",".join([recipe, *(f"{key}={value}" for key, value in fields.items())])


def chosen(runs: Mapping[str, Sequence[Record]]) -> str:
    """The setting that the rule picks."""
    accuracy, silhouette = (
        {name: fmean(r.card.value(score) for r in records) for name, records in runs.items()}
        for score in ("accuracy", "silhouette")
    )
    enough = [name for name in runs if accuracy[name] >= max(accuracy.values()) - SLACK]
    return max(enough, key=lambda name: silhouette[name])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path("runs/tune"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/tuning-fashion-mnist.json"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    tried = {name_of(recipe, fields): (recipe, fields) for _, recipe, fields in settings()}
    cells = [
        Cell(
            name,
            load_recipe(recipe, [*BUDGET.items(), *fields.items(), ("seed", str(seed))]),
            arguments.folder / _folder(name) / f"seed-{seed}",
        )
        for seed in range(arguments.seeds)
        for name, (recipe, fields) in tried.items()
    ]
    records = run_cells(cells, workers=arguments.workers)
    runs = {name: [r for r in records if r.recipe == name] for name in tried}
    report(runs, arguments.out)


def report(runs: Mapping[str, Sequence[Record]], out: Path) -> None:
    """Print the grids with what the rule picks, and write all of it."""
    rows = {row.recipe: row for row in summary(runs, ["accuracy", "silhouette"])}
    tables = {}
    for method in GRIDS:
        names = [name_of(recipe, fields) for of, recipe, fields in settings() if of == method]
        best = chosen({name: runs[name] for name in names})
        tables[method] = [_entry(name, rows, picked=name == best) for name in names]
        print(f"\n{method}")
        for entry in tables[method]:
            print(
                ("* " if entry["chosen"] else "  ")
                + f"{entry['accuracy']}  {entry['silhouette']}  {entry['setting']}"
            )
    first = next(iter(runs.values()))[0]
    about = {
        "rule": " ".join((__doc__ or "").split("The rule,")[1].split()),
        "budget": BUDGET,
        "seeds": [record.seed for record in next(iter(runs.values()))],
        "commit": first.commit,
        "sources": {k: v for r in runs.values() for k, v in r[0].sources.items()},
        "versions": first.versions,
        "hardware": first.hardware,
    }
    write_text(out, json.dumps({**about, "tried": tables}, indent=1) + "\n")


def _entry(name: str, rows: Mapping[str, object], *, picked: bool) -> dict[str, object]:
    cells = rows[name].cells  # type: ignore[attr-defined]
    return {
        "setting": name,
        "chosen": picked,
        "accuracy": cells["accuracy"].spread.text(4),
        "silhouette": cells["silhouette"].spread.text(4),
    }


def _folder(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_.=," else "-" for c in name)


if __name__ == "__main__":
    main()
