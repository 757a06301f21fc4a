"""What `attach` adds to a training step without extra terms: forward, cross-entropy, backward and SGD.

    python benchmarks/attach.py --out docs/results/benchmark-attach.txt

Each network is copied and stepped in turns: bare; bare again, whose ratio would be 1 without noise; attached,
with cross-entropy of its logits; attached, with an objective of cross-entropy alone, which also counts what
is in a batch. Ratios are of the steps of one turn. What is added is then also timed apart, as the ratios of
a busy machine are uncertain by more than that: the same four steps of a model that only hands out what the
layer gave and what the network answered; added is what they take beyond the bare one, and its share is of
the bare step of the network.

Step times are medians with quartiles; ratios and shares are medians with 95 % intervals by 2,000 resamples of
the turns. On one thread, time is the processor's.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import timm
import torch
import torchvision
from timing import interleaved, spread
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from latentloom import Objective, attach
from latentloom.files import write_text

SIZE, CLASSES, RESAMPLES = 64, 10, 2000
MANY = 20  # steps of the model that computes nothing, timed at once
Step = Callable[[], object]
Times = Mapping[str, np.ndarray]
Read = Literal["output", "input"]

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet18": lambda: torchvision.models.resnet18(num_classes=CLASSES),
    "mobilenet_v3_small": lambda: torchvision.models.mobilenet_v3_small(num_classes=CLASSES),
    "vit_tiny_patch16": lambda: timm.create_model("vit_tiny_patch16_224", img_size=SIZE, num_classes=CLASSES),
}
# Where each is tapped; layer1 gives the largest maps of its network.
TAPS: list[tuple[str, str, Read]] = [
    ("resnet18", "fc", "input"),
    ("resnet18", "layer1", "output"),
    ("mobilenet_v3_small", "features", "output"),
    ("vit_tiny_patch16", "norm", "output"),
]


class Answers(nn.Module):
    """Hands out what a layer gave and what its network answered; both are learned, to have gradients."""

    def __init__(self, given: Tensor, logits: Tensor) -> None:
        super().__init__()
        self.layer = nn.Identity()
        self.given, self.logits = nn.Parameter(given), nn.Parameter(logits)

    def forward(self, x: Tensor) -> Tensor:
        self.layer(self.given)
        return self.logits * 1


def answers(network: nn.Module, layer: str, read: Read, x: Tensor) -> Answers:
    seen: list[Tensor] = []
    hook = network.get_submodule(layer).register_forward_hook(
        lambda _, inputs, output: seen.append(output if read == "output" else inputs[0])
    )
    with torch.no_grad():
        logits = network(x)
    hook.remove()
    return Answers(seen[0], logits)


def stepped(model: nn.Module, loss: Callable[[], Tensor]) -> Step:
    """A training step of a model."""
    sgd = torch.optim.SGD(model.parameters(), lr=1e-3)

    def step() -> None:
        sgd.zero_grad()
        loss().backward()
        sgd.step()

    return step


def steps(model: nn.Module, layer: str, read: Read, x: Tensor, y: Tensor) -> dict[str, Step]:
    bare, again, *others = (copy.deepcopy(model) for _ in range(4))
    plain, judged = (attach(m, layer, Objective({"cross_entropy": 1.0}), read=read) for m in others)
    return {
        "bare": stepped(bare, lambda: cross_entropy(bare(x), y)),
        "bare again": stepped(again, lambda: cross_entropy(again(x), y)),
        "attached": stepped(plain, lambda: cross_entropy(plain(x).logits, y)),
        "with an objective": stepped(judged, lambda: judged.objective(judged(x).with_samples(y=y)).total),
    }


def timed(runs: Mapping[str, Step], budget: float) -> Times:
    for run in runs.values():
        run()
    taken = interleaved(list(runs.values()), budget)
    return {name: np.array(times) for name, times in zip(runs, taken, strict=True)}


def many(step: Step) -> None:
    for _ in range(MANY):
        step()


def compared(name: str, layer: str, read: Read, rows: int, budget: float) -> Iterator[str]:
    torch.manual_seed(0)
    network, x, y = NETWORKS[name](), torch.rand(rows, 3, SIZE, SIZE), torch.arange(rows) % CLASSES
    whole = timed(steps(network, layer, read, x, y), budget)
    empty = steps(answers(network, layer, read, x), "layer", "output", x, y)
    apart = timed({run: partial(many, step) for run, step in empty.items()}, budget / 4)
    bare = whole["bare"]
    yield f"{name}, {read} of {layer}, {len(bare)} turns: bare {spread(bare.tolist())}"
    for run in list(whole)[1:]:
        share = (apart[run] - apart["bare"]) / MANY / np.median(bare)
        yield f"    {run:18} ratio {interval(whole[run] / bare)}   apart {interval(100 * share)} %"


def interval(values: np.ndarray) -> str:
    drawn = np.random.default_rng(0).choice(values, (RESAMPLES, len(values)))
    low, high = np.quantile(np.median(drawn, 1), [0.025, 0.975])
    return f"{np.median(values):.3f} [{low:.3f}, {high:.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="also write the lines to this file")
    parser.add_argument("--rows", type=int, default=32, help="images in a batch (32)")
    parser.add_argument("--seconds", type=float, default=60, help="for each network and layer (60)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    lines = [f"torch {torch.__version__}, {arguments.rows} images of {SIZE} x {SIZE} a step, one thread"]
    print(*lines)
    for tap in TAPS:
        for line in compared(*tap, arguments.rows, arguments.seconds):
            lines.append(line)
            print(line, flush=True)
    if arguments.out:
        write_text(arguments.out, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
