"""Time and peak memory of the card of many latents, by the command `latentloom evaluate`.

    python benchmarks/card.py --out docs/results/benchmark-card.json

Points are a mixture of Gaussians, one for each class, in float32, written to a .npy file that is read by
memory map, and to a .parquet file that is read by row group. Every line is the command in a process of
its own: seconds by the clock from its start to its end, CPU seconds of all threads together, and the most
that was ever resident, in which the pages of a mapped file that were read count.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

AT_ONCE = 2**14  # rows that are drawn together, and rows of a row group
MIB = 2**20


def labels(n: int, classes: int) -> np.ndarray:
    return np.random.default_rng(0).integers(classes, size=n)


def parts(y: np.ndarray, d: int, classes: int) -> Iterator[np.ndarray]:
    """Points (m, d) float32 of some rows after the others: of each class a Gaussian, all overlapping."""
    middles = np.random.default_rng(1).standard_normal((classes, d), np.float32)
    for start in range(0, len(y), AT_ONCE):
        noise = np.random.default_rng([2, start]).standard_normal(
            (len(y[start : start + AT_ONCE]), d), np.float32
        )
        yield 0.5 * middles[y[start : start + AT_ONCE]] + noise


def write_npy(folder: Path, y: np.ndarray, d: int, classes: int) -> list[str]:
    """What follows `latentloom evaluate` for a .npy file."""
    np.save(folder / "y.npy", y)
    z = np.lib.format.open_memmap(folder / "z.npy", "w+", np.float32, (len(y), d))
    for k, part in enumerate(parts(y, d, classes)):
        z[k * AT_ONCE : k * AT_ONCE + len(part)] = part
    z.flush()
    return [str(folder / "z.npy"), "--labels", str(folder / "y.npy")]


def write_parquet(folder: Path, y: np.ndarray, d: int, classes: int) -> list[str]:
    """The same for a .parquet file with a column for each dimension."""
    import pyarrow
    from pyarrow import parquet

    schema = pyarrow.schema([*((f"z_{k}", pyarrow.float32()) for k in range(d)), ("y", pyarrow.int64())])
    with parquet.ParquetWriter(folder / "z.parquet", schema) as writer:
        for k, part in enumerate(parts(y, d, classes)):
            columns = [*np.ascontiguousarray(part.T), y[k * AT_ONCE : k * AT_ONCE + len(part)]]
            writer.write_table(pyarrow.table(columns, schema=schema))
    return [str(folder / "z.parquet")]


WRITERS = {"npy": write_npy, "parquet": write_parquet}


def measured(words: list[str], threads: int) -> dict[str, float]:
    """Seconds, CPU seconds and the largest resident memory, in bytes, of the command."""
    command = [sys.executable, "-m", "latentloom", "evaluate", *words]
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    began = time.perf_counter()
    own = os.posix_spawn(
        sys.executable, command, {**os.environ, "OMP_NUM_THREADS": str(threads)}, file_actions=quiet
    )
    _, status, used = os.wait4(own, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    return {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "peak_bytes": 1024 * used.ru_maxrss,
    }


def machine(threads: int) -> dict[str, Any]:
    return {
        "date": datetime.date.today().isoformat(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": threads,
        "load": os.getloadavg()[0],
        "torch": version("torch"),
    }


def one(n: int, d: int, classes: int, kind: str, threads: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        words = WRITERS[kind](Path(folder), labels(n, classes), d, classes)
        size = Path(words[0]).stat().st_size
        found = measured([*words, "--json", f"{folder}/card.json"], threads)
        silhouette = json.loads(Path(folder, "card.json").read_text())["findings"]["silhouette"]["value"]
    return {
        "n": n,
        "d": d,
        "classes": classes,
        "file": kind,
        "file_bytes": size,
        **found,
        "silhouette": silhouette,
    }


COLUMNS = ("n", "d", "classes", "file", "file MiB", "seconds", "CPU s", "peak MiB", "silhouette")
WIDTHS = (9, 5, 8, 8, 9, 8, 8, 9, 11)


def line(row: dict[str, Any]) -> str:
    """A row of the table, under COLUMNS."""
    words = (
        f"{row['n']:,}",
        f"{row['d']}",
        f"{row['classes']:,}",
        row["file"],
        f"{row['file_bytes'] / MIB:.0f}",
        f"{row['seconds']:.1f}",
        f"{row['cpu_seconds']:.1f}",
        f"{row['peak_bytes'] / MIB:.0f}",
        f"{row['silhouette']:.4f}",
    )
    return "".join(map(str.rjust, words, WIDTHS))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, help="write all figures to this JSON file, and the table beside it"
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--dims", type=int, default=512)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--files", nargs="+", choices=WRITERS, default=[*WRITERS])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    given = parser.parse_args()
    about = machine(given.threads)
    text = [", ".join(f"{key} {value}" for key, value in about.items())]
    text.append("".join(map(str.rjust, COLUMNS, WIDTHS)))
    print(*text, sep="\n", flush=True)
    rows = []
    for n in given.sizes:
        for kind in given.files:
            rows.append(one(n, given.dims, given.classes, kind, given.threads))
            text.append(line(rows[-1]))
            print(text[-1], flush=True)
    if given.out:
        given.out.write_text(json.dumps({"machine": about, "cards": rows}, indent=1) + "\n")
        given.out.with_suffix(".txt").write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
