"""How long it takes to start, beside what torch itself takes.

    python benchmarks/startup.py --out docs/results/benchmark-startup.txt

Each line is a process of its own, all of them in turns: seconds by the clock, medians with quartiles, and
the ratio to `import torch` of the same turn.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from timing import spread

from latentloom.files import write_text

STARTS = {
    "import torch": ["-c", "import torch"],
    "python alone": ["-c", ""],
    "import latentloom": ["-c", "import latentloom"],
    "one loss used": ["-c", "from latentloom.losses import latent_boost"],
    "latentloom --help": ["-m", "latentloom", "--help"],
    "latentloom train --help": ["-m", "latentloom", "train", "--help"],
    "latentloom list terms": ["-m", "latentloom", "list", "terms"],
}


def seconds(words: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="also write the lines to this file")
    parser.add_argument("--repeats", type=int, default=7)
    given = parser.parse_args()
    taken: dict[str, list[float]] = {name: [] for name in STARTS}
    for turn in range(given.repeats + 1):
        for name, words in STARTS.items():
            found = seconds(words)
            if turn:  # the first reads files from disk
                taken[name].append(found)
    lines = [f"{'':26}{'seconds':>22}{'of import torch':>24}"]
    for name, values in taken.items():
        own = spread(values)
        ratio = spread([a / b for a, b in zip(values, taken["import torch"], strict=True)])
        lines.append(
            f"{name:26}{own.median:8.2f} [{own.low:.2f}, {own.high:.2f}]".ljust(50)
            + f"{ratio.median:8.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"
        )
    text = "\n".join(lines) + "\n"
    print(text, end="")
    if given.out:
        write_text(given.out, text)


if __name__ == "__main__":
    main()
