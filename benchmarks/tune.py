"""Choose the weight, margin and form of every method on validation images.

    python benchmarks/tune.py small
    python benchmarks/tune.py full
    python benchmarks/tune.py targets

Two stages for the small CNN, small (8,000 images to train on, 8 epochs, every form and margin) and full
(54,000 images, 15 epochs, as the table is made; the margins and forms that the small stage left, smaller
weights); and one for class embeddings, targets (ResNet-18 at 36 x 36, 4,000 images, 5 epochs). In each,
validation images alone are looked at, runs that are done are not done again, and docs/results/ gets a list
of all that was tried.

The rule, the same for all methods. Every setting of a method's grid is run with one seed; the ones with the
highest silhouette among those accurate enough (four in the small stage, two in the full one) are run with
all seeds. Of these the one is chosen that has the highest mean silhouette among those accurate enough, or
the most accurate one if none is. Accurate enough is, in the small stage, at most half a point of accuracy
below the best of the grid; in the full stage, at most 0.2 points below the baseline, since a default should
not cost accuracy; in the stage of class embeddings, which are the classifier themselves, the best alone.
Grids that are there to be shown whole have all seeds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from latentloom.files import write_text
from latentloom.report.comparison import cells_of
from latentloom.report.rows import Cell as TableCell
from latentloom.report.rows import Row, summary
from latentloom.training.compare import run_cells
from latentloom.values import Record

VALIDATION_ALONE = {
    "data.name": "fashion-mnist",
    "data.test_limit": "100",  # never looked at
    "training.logger": "false",
    "training.keep_latents": "0",
    "evaluation.split": "validation",
    "evaluation.bootstrap": "10",
}
BOOST = "objective.terms.latent_boost.options"
MAGNET = "objective.terms.magnet.options"
CENTER = "objective.terms.center"
FALLING = "{kind: linear, start: 0.5, stop: 0.0}"
RISING = "{kind: linear, start: 0.0, stop: 0.5}"

SHOWN = ("latent-boost, other forms", "latent-boost, lambda that moves", "latent-boost-paper")
Runs = Mapping[str, Sequence[Record]]
# Method -> recipe, and grids of values for its fields; every combination of a grid is run.
Grid = Mapping[str, Sequence[str]]
SMALL: dict[str, tuple[str, *tuple[Grid, ...]]] = {
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


FULL: dict[str, tuple[str, *tuple[Grid, ...]]] = {
    "baseline": ("baseline", {}),
    "magnet": ("magnet", {"objective.lam": ["0.1", "0.25", "0.5"]}),
    "center": ("center", {f"{CENTER}.weight": ["0.02", "0.1", "0.3"]}),
    "latent-boost": (
        "latent-boost",
        {"objective.lam": ["0.05", "0.1", "0.25", FALLING, "{kind: linear, start: 0.25, stop: 0.0}"]},
        {"objective.lam": ["0.25"], f"{BOOST}.alpha": ["1"]},
        # Added after the rest was seen: the alpha that the small stage chose for Magnet.
        {"objective.lam": ["0.1", "0.25"], f"{BOOST}.alpha": ["2"]},
    ),
}

RATES: Grid = {"training.lr": ["3e-4", "1e-3"], "training.heads_lr": ["null", "1e-2"]}
PROXIMITY = "objective.terms.class_proximity.options"
PUSH_PULL = "objective.terms.push_pull.options"
TARGETS: dict[str, tuple[str, *tuple[Grid, ...]]] = {
    "baseline": ("baseline", {"training.lr": ["3e-4", "1e-3", "3e-3"]}),
    "euclidean-target": ("euclidean-target", RATES),
    "cosine-target": ("cosine-target", RATES),
    "class-proximity": (
        "class-proximity",
        {f"{PROXIMITY}.r": ["1e2", "1e3", "1e4"]},
        {f"{PROXIMITY}.r": ["1e3"], "training.lr": ["3e-4"]},
        {f"{PROXIMITY}.r": ["1e3"], "training.heads_lr": ["1e-2"]},
    ),
    "push-pull": (
        "push-pull",
        {f"{PUSH_PULL}.margin": ["1", "2", "4"]},
        {f"{PUSH_PULL}.margin": ["1"], "training.lr": ["3e-4"]},
        {f"{PUSH_PULL}.margin": ["1"], "training.heads_lr": ["1e-2"]},
    ),
    "comparison": ("comparison", RATES),
}


@dataclass(frozen=True)
class Stage:
    """A budget, what is tried with it, and how the choice is made."""

    budget: Mapping[str, str]
    grids: Mapping[str, tuple[str, *tuple[Grid, ...]]]
    seeds: int
    survivors: int
    slack: float | None  # of accuracy, below the baseline or the best of the grid
    below_baseline: bool = False

    def settings(self) -> Iterator[tuple[str, str, dict[str, str]]]:
        """(method, recipe, fields) of everything that is tried."""
        for method, (recipe, *grids) in self.grids.items():
            for grid in grids:
                for values in itertools.product(*grid.values()):
                    yield method, recipe, dict(zip(grid, values, strict=True))

    def names_of(self, method: str) -> list[str]:
        return [name_of(recipe, fields) for of, recipe, fields in self.settings() if of == method]

    def ranked(self, method: str, runs: Runs) -> list[str]:
        """Settings of a method that are accurate enough, the highest mean silhouette first.

        Without slack the most accurate come first.
        """
        accuracy, silhouette = (
            {name: fmean(r.card.value(score) for r in records) for name, records in runs.items()}
            for score in ("accuracy", "silhouette")
        )
        names = [name for name in self.names_of(method) if name in runs]
        best = max(names, key=lambda name: accuracy[name])
        if self.slack is None:
            return sorted(names, key=lambda name: -accuracy[name])
        floor = accuracy["baseline" if self.below_baseline else best] - self.slack
        enough = [name for name in names if accuracy[name] >= floor]
        return sorted(enough, key=lambda name: -silhouette[name]) or [best]

    def kept(self, runs: Runs) -> list[str]:
        """Settings that are run with all seeds."""
        kept: dict[str, None] = {}
        for method in self.grids:
            best = self.ranked(method, runs)[: self.survivors]
            kept |= dict.fromkeys(self.names_of(method) if method in SHOWN else best)
        return list(kept)


STAGES = {
    "small": Stage(
        # 8,000 to train on, 4,000 to choose by.
        VALIDATION_ALONE | {"data.limit": "12000", "data.validation": "0.33333", "training.epochs": "8"},
        SMALL,
        seeds=3,
        survivors=4,
        slack=0.005,
    ),
    "full": Stage(
        VALIDATION_ALONE | {"training.epochs": "15"},
        FULL,
        seeds=2,
        survivors=2,
        slack=0.002,
        below_baseline=True,
    ),
    "targets": Stage(
        # 4,000 to train on, 2,000 to choose by.
        VALIDATION_ALONE
        | {"data.limit": "6000", "data.validation": "0.33333", "data.size": "36", "data.resize": "44"}
        | {"model.encoder": "resnet18", "model.stem": "full", "training.epochs": "5"},
        TARGETS,
        seeds=2,
        survivors=2,
        slack=None,
    ),
}


def name_of(recipe: str, fields: Mapping[str, str]) -> str:
    """A setting as one would write it behind `latentloom compare`."""
    return ",".join([recipe, *(f"{key}={value}" for key, value in fields.items())])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--folder", type=Path, help="where the runs are kept (runs/tune-STAGE)")
    parser.add_argument("--out", type=Path, help="(docs/results/tuning-fashion-mnist-STAGE.json)")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    stage = STAGES[arguments.stage]
    folder = arguments.folder or Path(f"runs/tune-{arguments.stage}")
    tried = {
        name_of(recipe, fields): (recipe, list(fields.items())) for _, recipe, fields in stage.settings()
    }

    def runs_of(names: Sequence[str], seeds: int) -> dict[str, list[Record]]:
        asked = [(name, *tried[name]) for name in names]
        cells = cells_of(asked, list(stage.budget.items()), seeds=seeds, folder=folder)
        records = run_cells(cells, workers=arguments.workers)
        return {name: [record for record in records if record.recipe == name] for name in names}

    first = runs_of(list(tried), 1)
    runs = first | runs_of(stage.kept(first), stage.seeds)
    report(stage, runs, arguments.out or Path(f"docs/results/tuning-fashion-mnist-{arguments.stage}.json"))


def report(stage: Stage, runs: Runs, out: Path) -> None:
    """Print the grids with what the rule picks, and write all of it."""
    rows = {row.recipe: row for row in summary(runs, ["accuracy", "silhouette"])}
    whole = {name: records for name, records in runs.items() if len(records) == stage.seeds}
    tables = {}
    for method in stage.grids:
        best = stage.ranked(method, whole)[0]
        tables[method] = [_entry(name, rows, picked=name == best) for name in stage.names_of(method)]
        print(f"\n{method}")
        for entry in tables[method]:
            mark = "*" if entry["chosen"] else " "
            print(f"{mark} {entry['accuracy']:15} {entry['silhouette']:15} {entry['setting']}")
    one = next(iter(runs.values()))[0]
    about = {
        "rule": " ".join((__doc__ or "").split("The rule, ")[1].split()),
        "budget": dict(stage.budget),
        "seeds": list(range(stage.seeds)),
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


if __name__ == "__main__":
    main()
