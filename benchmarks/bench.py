"""Every table of speed and memory, one after the other, kept under today's date.

    python benchmarks/bench.py                  # what `make bench` runs; about half an hour on two cores
    python benchmarks/bench.py startup losses

Each line of a table is a ratio to a rival, or to a limit, taken in the same run, so that a slow or busy
machine changes seconds and hardly changes what they say. Tables are printed, and kept in
runs/benchmarks/DATE/NAME.txt below a line that says what they were measured on.
"""

from __future__ import annotations

import argparse
import datetime
import os
import subprocess
import sys
from pathlib import Path

from latentloom.checks import check_choice
from latentloom.files import write_text
from latentloom.records import commit_of, hardware, versions

HERE = Path(__file__).parent
ONE = {"OMP_NUM_THREADS": "1"}  # time is then the processor's
TABLES: dict[str, tuple[list[str], dict[str, str]]] = {
    "startup": (["startup.py"], {}),
    "losses": (["losses.py"], {}),
    "semantic-losses": (["semantic_losses.py"], ONE),
    "generative": (["generative.py"], ONE),
    "attach": (["attach.py"], ONE),
    "large": (["large.py"], ONE),
    "throughput": (["throughput.py"], {}),
    "embed": (["embed.py"], {}),
    "silhouette": (["silhouette.py"], {}),
    "card": (["card.py", "--sizes", "100000"], {}),
}


def head() -> str:
    """What is measured, and on what."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes")
    packages = ", ".join(f"{name} {number}" for name, number in versions().items())
    load = os.getloadavg()[0]
    return f"{now}, commit {commit_of()}\n{hardware()}, load {load:.1f} before\n{packages}\n\n"


def kept(name: str, folder: Path) -> bool:
    """Run one benchmark, show its lines as they come, and keep them; whether it ended well."""
    words, environment = TABLES[name]
    text = head()
    print(f"\n== {name}\n{text}", end="", flush=True)
    command = [sys.executable, "-W", "ignore", str(HERE / words[0]), *words[1:]]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
    ) as own:
        assert own.stdout is not None
        for line in own.stdout:
            print(line, end="", flush=True)
            text += line
    if own.returncode:
        print(f"{name} ended with {own.returncode} and is not kept", file=sys.stderr)
        return False
    write_text(folder / f"{name}.txt", text)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help=f"of {', '.join(TABLES)}; all of them unless given")
    given = parser.parse_args()
    for name in given.names:
        check_choice("benchmark", name, TABLES)
    folder = Path("runs/benchmarks", datetime.date.today().isoformat())
    ended = [kept(name, folder) for name in given.names or TABLES]
    print(f"\n{sum(ended)} of {len(ended)} tables are in {folder}")
    return 0 if all(ended) else 1


if __name__ == "__main__":
    sys.exit(main())
