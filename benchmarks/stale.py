"""Which committed results a change of the code has made stale.

python benchmarks/stale.py [docs/results]
"""

from __future__ import annotations

import sys
from pathlib import Path

from latentloom.records import load_record, stale


def main() -> int:
    found = 0
    for path in sorted(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/results").glob("*/*/seed-*.json")):
        if changed := stale(load_record(path)):
            found += 1
            print(f"{path}: {', '.join(changed)}")
    print(f"{found} stale records; run them again where the change could matter")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
