"""Choose the weight, margin and form of every method on validation images.

    python benchmarks/tune.py --folder runs/tune --out docs/results/tuning-fashion-mnist.json

The rule, the same for all methods. Every setting of a method's grid is run with one seed; the four with the
highest silhouette among those whose accuracy lies at most half a point below the best of the grid are run
with all seeds. Of these the one is chosen that has the highest mean silhouette among those whose mean
accuracy lies at most half a point below the best. Grids that are there to be shown whole have all seeds.
Validation images alone are looked at; the file lists all that was tried. Runs that are done are not done
again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from latentloom.files import write_text
from latentloom.recipes import load_recipe
from latentloom.report.rows import Cell as TableCell
from latentloom.report.rows import Row, summary
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
FALLING = "{kind: linear, start: 0.5, stop: 0.0}"
RISING = "{kind: linear, start: 0.0, stop: 0.5}"

SHOWN = ("latent-boost, other forms", "latent-boost, lambda that moves", "latent-boost-paper")
SURVIVORS = 4
# Method -> recipe, and grids of values for its fields; every combination of a grid is run.
Grid = Mapping[str, Sequence[str]]
GRIDS: dict[str, tuple[str, *tuple[Grid, ...]]] = {
    "baseline": ("baseline", {}),
    "magnet": ("magnet", {"objective.lam": ["0.25", "0.5", "0.75"], f"{MAGNET}.alpha": ["1", "2", "4", "8"]}),
    "center": (
        "center",
        {f"{CENTER}.weight": ["0.02", "0.05", "0.1"], f"{CENTER}.options.apart": ["0", "8"]},
    ),
    "latent-boost": (
        "latent-boost",
        {
            f"{BOOST}.share": ["0.95", "1.0"],
            "objective.lam": ["0.25", "0.5", "0.75"],
            f"{BOOST}.alpha": ["1", "2", "4", "8"],
        },
        {
            "objective.lam": ["0.25", "0.5"],
            f"{BOOST}.alpha": ["2", "4"],
            f"{BOOST}.share": ["1.0"],
            f"{BOOST}.detach_variance": ["true"],
        },
        {
            "objective.lam": ["0.25"],
            f"{BOOST}.alpha": ["2", "4"],
            f"{BOOST}.share": ["1.0"],
            f"{BOOST}.beta": ["0.5", "2"],
        },
    ),
    # One change at a time, from the formula that works to the one that is printed.
    "latent-boost, other forms": (
        "latent-boost",
        {
            "objective.lam": ["0.5"],
            f"{BOOST}.alpha": ["2"],
            f"{BOOST}.share": ["0.95", "1.0"],
            f"{BOOST}.variance": ["pooled", "class"],
            f"{BOOST}.hinge": ["true", "false"],
        },
    ),
    "latent-boost, lambda that moves": (
        "latent-boost",
        {
            f"{BOOST}.share": ["1.0"],
            "objective.lam": ["0.25", FALLING, RISING],
            f"{BOOST}.alpha": ["4"],
        },
    ),
    "latent-boost-paper": ("latent-boost-paper", {"objective.lam": ["0.25", "0.75"]}),
}


def settings() -> Iterator[tuple[str, str, dict[str, str]]]:
    """(method, recipe, fields) of everything that is tried."""
    for method, (recipe, *grids) in GRIDS.items():
        for grid in grids:
            for values in itertools.product(*grid.values()):
                yield method, recipe, dict(zip(grid, values, strict=True))


def name_of(recipe: str, fields: Mapping[str, str]) -> str:
    """A setting as one would write it behind `latentloom compare`."""
    return ",".join([recipe, *(f"{key}={value}" for key, value in fields.items())])


def ranked(runs: Mapping[str, Sequence[Record]]) -> list[str]:
    """Settings that are accurate enough, the highest mean silhouette first."""
    accuracy, silhouette = (
        {name: fmean(r.card.value(score) for r in records) for name, records in runs.items()}
        for score in ("accuracy", "silhouette")
    )
    enough = [name for name in runs if accuracy[name] >= max(accuracy.values()) - SLACK]
    return sorted(enough, key=lambda name: -silhouette[name])


def survivors(runs: Mapping[str, Sequence[Record]]) -> list[str]:
    """Settings that are run with all seeds."""
    kept = {}
    for method in GRIDS:
        names = names_of(method)
        best = ranked({name: runs[name] for name in names})
        kept |= dict.fromkeys(names if method in SHOWN else best[:SURVIVORS])
    return list(kept)


def names_of(method: str) -> list[str]:
    return [name_of(recipe, fields) for of, recipe, fields in settings() if of == method]


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

    def runs_of(names: Sequence[str], seeds: range) -> dict[str, list[Record]]:
        cells = [
            Cell(
                name,
                load_recipe(tried[name][0], [*BUDGET.items(), *tried[name][1].items(), ("seed", str(seed))]),
                arguments.folder / _folder(name) / f"seed-{seed}",
            )
            for seed in seeds
            for name in names
        ]
        records = run_cells(cells, workers=arguments.workers)
        return {name: [record for record in records if record.recipe == name] for name in names}

    first = runs_of(list(tried), range(1))
    report(first | runs_of(survivors(first), range(arguments.seeds)), arguments.seeds, arguments.out)


def report(runs: Mapping[str, Sequence[Record]], seeds: int, out: Path) -> None:
    """Print the grids with what the rule picks, and write all of it."""
    rows = {row.recipe: row for row in summary(runs, ["accuracy", "silhouette"])}
    tables = {}
    for method in GRIDS:
        best = ranked({name: runs[name] for name in names_of(method) if len(runs[name]) == seeds})[0]
        tables[method] = [_entry(name, rows, picked=name == best) for name in names_of(method)]
        print(f"\n{method}")
        for entry in tables[method]:
            mark = "*" if entry["chosen"] else " "
            print(f"{mark} {entry['accuracy']:15} {entry['silhouette']:15} {entry['setting']}")
    one = next(iter(runs.values()))[0]
    about = {
        "rule": " ".join((__doc__ or "").split("The rule, ")[1].split()),
        "budget": BUDGET,
        "seeds": list(range(seeds)),
        "commit": one.commit,
        "sources": dict(one.sources),
        "versions": dict(one.versions),
        "hardware": one.hardware,
    }
    write_text(out, json.dumps({**about, "tried": tables}, indent=1) + "\n")
    write_text(out.with_suffix(".md"), as_markdown(tables))


def as_markdown(tables: Mapping[str, Sequence[Mapping[str, object]]]) -> str:
    """A table per method; what the rule picks is marked."""
    parts = []
    for method, entries in tables.items():
        lines = [f"## {method}", "", "| accuracy | silhouette | seeds | setting |", "|---|---|---|---|"]
        for entry in entries:
            name = _short(str(entry["setting"])) + (" **chosen**" if entry["chosen"] else "")
            lines.append(f"| {entry['accuracy']} | {entry['silhouette']} | {entry['seeds']} | {name} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _short(setting: str) -> str:
    """A setting without the paths of its fields."""
    return re.sub(r",?objective\.(?:terms\.\w+\.)?(?:options\.)?", ", ", setting)


def _entry(name: str, rows: Mapping[str, Row], *, picked: bool) -> dict[str, object]:
    cells, seeds = rows[name].cells, len(rows[name].seeds)
    return {
        "setting": name,
        "chosen": picked,
        "seeds": seeds,
        "accuracy": _text(cells["accuracy"]),
        "silhouette": _text(cells["silhouette"]),
    }


def _text(cell: TableCell | None) -> str:
    return cell.spread.text(4) if cell else "-"


def _folder(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_.=," else "-" for c in name)


if __name__ == "__main__":
    main()
