"""Every term on large batches and many classes: seconds and memory, forward and backward.

    python benchmarks/large.py --out docs/results/benchmark-large.txt

Each runs in a process of its own. MiB is what the process grows by at the most, beside the inputs and their
gradients; seconds are the processor's, on one thread. In the first table are the terms that compare the rows
of a batch, in the second those that compare rows with every class.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentloom.files import write_text
from latentloom.losses import TERMS

MIB = 2**20
PAIRS = ("contrastive", "triplet", "n_pair", "supcon", "magnet", "latent_boost", "center", "decorrelation")
BY_CLASS = (
    "cross_entropy",
    "euclidean_target",
    "cosine_target",
    "class_proximity",
    "push_pull",
    "comparison",
    "cosface",
    "arcface",
    "sphereface",
    "adacos",
    "center",
    "semantic_anchor",
    "semantic_triplet",
)


def inputs(term: str, n: int, d: int, classes: int) -> list[Tensor]:
    """What the term reads, at random: rows (n, d) and vectors of classes (classes, d)."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).requires_grad_()

    def drawn(name: str) -> Tensor:
        match name:
            case "y":
                return torch.randint(classes, (n,), generator=generator)
            case "z":
                return normal(n, d)
            case "logits":
                return normal(n, classes)
        vectors = torch.nn.functional.normalize(normal(classes, d), dim=1).detach()
        return vectors.requires_grad_(name != "label_embeddings")  # the names have no gradient

    info = TERMS[term]
    wanted = [*info.reads, *(["centres"] if term == "center" and classes > n else [])]
    return [drawn(name) for name in wanted]


def most_resident() -> int:
    """Most bytes of this process ever in memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def one(term: str, n: int, d: int, classes: int) -> dict[str, float]:
    def once(tensors: list[Tensor]) -> None:
        TERMS[term].fn(*tensors).backward()

    once(inputs(term, 64, d, 10))  # what is loaded or made once
    tensors = inputs(term, n, d, classes)
    for tensor in tensors:
        if tensor.requires_grad:
            tensor.grad = torch.zeros_like(tensor)
    before, start = most_resident(), time.process_time()
    once(tensors)
    return {"seconds": time.process_time() - start, "bytes": most_resident() - before}


def apart(term: str, n: int, d: int, classes: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", term, *map(str, (n, d, classes))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return dict(json.loads(done.stdout))


def table(terms: tuple[str, ...], n: int, d: int, classes: int) -> str:
    lines = [f"{n:,} rows of {d} dimensions, {classes:,} classes", f"{'':20}{'seconds':>9}{'MiB':>8}"]
    for term in terms:
        found = apart(term, n, d, classes)
        lines.append(f"{term:20}{found['seconds']:9.2f}{found['bytes'] / MIB:8.0f}")
        print(lines[-1], flush=True)
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="also write the lines to this file")
    parser.add_argument("--rows", type=int, default=8192)
    parser.add_argument("--classes", type=int, default=100_000)
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(one(given.one[0], *map(int, given.one[1:]))))
        return
    text = f"torch {torch.__version__}, one thread\n"
    text += table(PAIRS, given.rows, 128, 100) + table(BY_CLASS, 256, 128, given.classes)
    if given.out:
        write_text(given.out, text)


if __name__ == "__main__":
    main()
