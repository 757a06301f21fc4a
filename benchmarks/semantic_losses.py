"""What LARESA's terms cost: in a training step of ResNet-18, and in memory with 100,000 classes.

    python benchmarks/semantic_losses.py --out semantic-losses.json

A step is forward, cross-entropy, backward and Adam, batch 128 of 32 x 32 in colour, 100 classes in 20
groups, latents of 384; each term, forward and backward, is timed in turns with it and divided by it.
Memory is the peak of what torch allocates on the CPU from the call to the end of the backward pass, at batch
256.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from timing import interleaved, spread
from torch import Tensor, nn

from latentloom.encoders import Standardise, build_encoder, build_model
from latentloom.losses import centering, semantic_anchor, semantic_triplet, unit_variance
from losses import MANY as REPEATS
from losses import MIB, many, peak_bytes
from losses import machine as about_machine

D, GROUPS = 384, 20
Term = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
TERMS: dict[str, Term] = {
    "semantic_anchor": lambda z, e, y, g, of: semantic_anchor(z, e, y, g, of),
    "semantic_triplet": lambda z, e, y, g, of: semantic_triplet(z, e, y),
    "centering": lambda z, e, y, g, of: centering(z),
    "unit_variance": lambda z, e, y, g, of: unit_variance(z),
}


def scene(rows: int, classes: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Points, label embeddings, classes, embeddings of groups, the group of each class."""
    g = torch.Generator().manual_seed(0)
    z, e, groups = (torch.randn(n, D, generator=g) for n in (rows, classes, GROUPS))
    return z.requires_grad_(), e, torch.arange(rows) % classes, groups, torch.arange(classes) % GROUPS


def there_and_back(term: Term, tensors: tuple[Tensor, Tensor, Tensor, Tensor, Tensor]) -> None:
    torch.autograd.grad(term(*tensors), tensors[0])


def training_step(rows: int, classes: int) -> Callable[[], None]:
    half = torch.full((3,), 0.5)
    model = build_model(
        build_encoder("resnet18", 3, 32, D),
        latent_dim=D,
        classes=classes,
        standardise=Standardise(half, half),
    )
    optimizer = torch.optim.Adam(model.parameters())
    x, y = torch.rand(rows, 3, 32, 32), torch.arange(rows) % classes

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x).logits, y).backward()
        optimizer.step()

    return step


def shares(budget: float, rows: int = 128, classes: int = 100) -> list[dict[str, Any]]:
    """Each term, and all of them, as a share of the step."""
    tensors = scene(rows, classes)
    terms = [partial(many, partial(there_and_back, term, tensors)) for term in TERMS.values()]
    runs = [training_step(rows, classes), *terms]
    for run in runs:
        run()
    steps, *taken = interleaved(runs, budget)
    step = statistics.median(steps)
    print(f"resnet18, batch {rows}, {classes} classes: step {spread(steps)}")
    found = []
    for name, times in zip(TERMS, taken, strict=True):
        each = spread([t / REPEATS for t in times])
        print(f"    {name:18} {each!s:34} {100 * each.median / step:.2f} % of the step")
        found.append({"term": name, "share": each.median / step, "seconds": asdict(each)})
    print(f"    all of them {100 * sum(one['share'] for one in found):.2f} % of the step")
    return found


def memory(rows: int = 256, classes: int = 100_000) -> dict[str, float]:
    """MiB of each term with many classes."""
    tensors = scene(rows, classes)
    found = {name: peak_bytes(partial(there_and_back, term, tensors)) / MIB for name, term in TERMS.items()}
    for name, mib in found.items():
        print(f"{name}, batch {rows}, {classes:,} classes: {mib:.0f} MiB at the peak")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="also write all figures to this file")
    parser.add_argument("--budget", type=float, default=60, help="seconds of the timed turns (60)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = {"machine": about_machine(), "shares": shares(given.budget), "memory_mib": memory()}
    if given.out:
        given.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
