"""How the figures of a comparison came about, and what speaks against comparing them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from latentloom.records import stale
from latentloom.report.rows import Runs
from latentloom.values import Record


def protocol(runs: Runs) -> list[tuple[str, str]]:
    """What a reader must know, as (name, text); runs that differ are listed with all that they have."""
    records = [record for found in runs.values() for record in found]
    seeds = ", ".join(map(str, sorted({record.seed for record in records})))
    notes = [(name, "; ".join(_distinct(text(record) for record in records))) for name, text in NOTES.items()]
    return [*notes, ("seeds", f"{seeds} ({len(records)} runs)")]


def _distinct(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def _images(record: Record) -> str:
    data = record.config["data"]
    limit = f"{data['limit']} of the training images" if data["limit"] else "all training images"
    share = f"{data['validation']:.0%} of them"
    held_out = "half of the test images" if data.get("split") == "paper" else share
    return f"{limit}, {held_out} for validation; scores on {record.card.images} {record.card.split} images"


def _selection(record: Record) -> str:
    last = record.config["training"].get("select") == "last"
    chosen = f"the epoch with the best validation {record.config['training']['monitor']}"
    chosen = "the last epoch, whatever validation says" if last else chosen
    if record.card.split == "test":
        return f"{chosen}; the test images are read once, after training"
    return f"{chosen}; scores are of {record.card.split} images too, hence optimistic; test is not read"


def _epochs(record: Record) -> str:
    training = record.config["training"]
    if training.get("select") == "last":
        return f"{training['epochs']}"
    return f"at most {training['epochs']}, stopped after {training['stop_patience']} without improvement"


def _labels(record: Record) -> str:
    """How many training labels were kept; records of before that could be asked for have all."""
    kept = record.config["data"].get("labels", 1.0)
    if isinstance(kept, float):
        return "all" if kept == 1 else f"{100 * kept:g} % of the training images"
    return f"{kept} of the training images"


NOTES: dict[str, Callable[[Record], str]] = {
    "data": lambda record: str(record.config["data"]["name"]),
    "images": _images,
    "labels": _labels,
    "selection": _selection,
    "epochs": _epochs,
    "hardware": lambda record: record.hardware,
    "data path": lambda record: record.data_path or "not recorded",
    "commit": lambda record: record.commit,
    "versions": lambda record: ", ".join(f"{name} {number}" for name, number in record.versions.items()),
}


def doubts(runs: Runs) -> list[str]:
    """What speaks against the comparison: protocols that differ, code changed since, warnings of runs."""
    records = [record for found in runs.values() for record in found]
    texts = {name: _distinct(text(record) for record in records) for name, text in NOTES.items()}
    differing = [
        f"the runs differ in {name}: {'; '.join(found)}" for name, found in texts.items() if len(found) > 1
    ]
    warned = [
        f"{recipe}, seed {record.seed}: {warning}"
        for recipe, found in runs.items()
        for record in found
        for warning in record.warnings
    ]
    return [*differing, *_changed(records), *warned]


def _changed(records: Sequence[Record]) -> list[str]:
    changed = [files for record in records if (files := stale(record))]
    if not changed:
        return []
    names = ", ".join(sorted({name for files in changed for name in files}))
    return [f"code changed since {len(changed)} of {len(records)} runs: {names}; run them again to be sure"]
