"""Which committed results a change of the code has made stale, and whether today's code still gives them.

    python benchmarks/stale.py [docs/results]
    python benchmarks/stale.py docs/results/fashion-mnist --replay

A record is stale when the code of a file that it depends on has changed, also where the change cannot
matter. --replay trains the first epoch of every stale record of seed 0 again, from its own configuration,
and compares all that the history says of it (losses, validation scores) to the last bit. On another
processor or another version of torch a difference means nothing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import torch

from latentloom.recipes import resolve
from latentloom.records import load_record, stale
from latentloom.training.run import run
from latentloom.values import Record


class EnoughError(Exception):
    """The epoch that was wanted has been seen."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, default=Path("docs/results"))
    parser.add_argument("--replay", action="store_true", help="train the first epoch of seed 0 again")
    asked = parser.parse_args()
    records = {path: load_record(path) for path in sorted(asked.folder.rglob("seed-*.json"))}
    changed = {path: files for path, record in records.items() if (files := stale(record))}
    for path, files in changed.items():
        print(f"{path}: {', '.join(files)}")
    print(f"{len(changed)} of {len(records)} records are stale")
    if not asked.replay:
        return 1 if changed else 0
    torch.set_num_threads(1)  # as `compare --workers` has it; the order of sums depends on it
    seen = [_said(path, records[path]) for path in changed if path.name == "seed-0.json"]
    return 0 if all(seen) else 1


def _said(path: Path, record: Record) -> bool:
    differ = list(differences(record.history[0], first_epoch(record)))
    print(f"{path}: {'; '.join(differ) or 'first epoch the same to the last bit'}", flush=True)
    return not differ


def first_epoch(record: Record) -> Mapping[str, float]:
    """The first row of the history of the same run with today's code."""
    rows: list[Mapping[str, float]] = []

    def watch(row: Mapping[str, float]) -> None:
        rows.append(row)
        raise EnoughError

    with tempfile.TemporaryDirectory() as folder, suppress(EnoughError):
        run(resolve(dict(record.config)), Path(folder) / "run", recipe="again", progress=False, watch=watch)
    return rows[0]


def differences(was: Mapping[str, float], now: Mapping[str, float]) -> Iterator[str]:
    """What of a row of the history is not as it was; how long it took is left out, and what is new."""
    for name, value in was.items():
        if name != "seconds" and now.get(name) != value:
            yield f"{name} was {value}, is {now.get(name)}"


if __name__ == "__main__":
    sys.exit(main())
