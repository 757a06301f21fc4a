"""Time and memory of the losses: against pytorch-metric-learning, at large batches, and within a step.

    python benchmarks/losses.py --out losses.json

Four tables. `rivals`: forward and backward of every loss that both have, in the form of the rival
(variant pml), the two interleaved; their values are compared first. `compile_breaks`: how often
torch.compile leaves the graph of each. `large`: all triplets of a batch
that a tensor of n^3 would not allow. `steps`: magnet and latent_boost, timed apart, divided by a
whole training step (forward, cross-entropy, backward, Adam) of two networks.

Times are medians over repeats, with the quartiles as spread; on one thread they are processor time,
which other work on the machine hardly changes, else the clock's. Memory is the peak of what torch
allocates on the CPU from the call to the end of its backward pass, by torch's profiler; for `large`
also the growth of the process's resident memory, in a process of its own.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # read when torch is loaded: the profiler is to be silent

import torch
from timing import interleaved, seconds, spread
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from latentloom.losses import contrastive, latent_boost, magnet, n_pair, triplet

MIB = 2**20
Loss = Callable[[Tensor, Tensor], Tensor]


def batch(n: int, d: int, classes: int = 10) -> tuple[Tensor, Tensor]:
    """Points of classes that overlap, as at the start of training; else the hinges have nothing to do."""
    g = torch.Generator().manual_seed(n + d)
    y = torch.arange(n) % classes
    middles = 2 * nn.functional.normalize(torch.randn(classes, d, generator=g))
    return (torch.randn(n, d, generator=g) + middles[y]).requires_grad_(), y


def there_and_back(loss: Loss, z: Tensor, y: Tensor) -> float:
    value = loss(z, y)
    torch.autograd.grad(value, z)
    return value.item()


def peak_bytes(fn: Callable[[], object]) -> int:
    """Most bytes that torch holds on the CPU at one time during the call, beyond those held before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        fn()
    with tempfile.TemporaryDirectory() as folder:
        seen.export_chrome_trace(f"{folder}/trace.json")
        events = json.loads(Path(folder, "trace.json").read_text())["traceEvents"]
    changes = [
        event["args"]["Bytes"]
        for event in sorted(events, key=lambda e: e.get("ts", 0))
        if event["name"] == "[memory]"
    ]
    return max(itertools.accumulate(changes))


def rivals() -> dict[str, tuple[Loss, Loss]]:
    from pytorch_metric_learning import losses

    return {
        "contrastive": (partial(contrastive, variant="pml"), losses.ContrastiveLoss()),
        "triplet, all": (partial(triplet, variant="pml"), losses.TripletMarginLoss()),
        "n_pair": (partial(n_pair, variant="pml"), losses.NPairsLoss()),
    }


def need_of_rival(name: str, n: int, classes: int = 10) -> float:
    """Bytes that the rival will take, roughly: for triplets, 80 for each."""
    return 80 * n * (n / classes) * (n - n / classes) if name == "triplet, all" else 0.0


def free_bytes() -> int:
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def against_rivals(sizes: Sequence[int], dims: Sequence[int], budget: float) -> list[dict[str, Any]]:
    rows = []
    print(f"{'loss':13} {'n':>5} {'d':>4}   {'ours':32} {'theirs':34} {'times faster':22} memory, MiB")
    for name, losses in rivals().items():
        for n in sizes:
            for d in dims:
                if need_of_rival(name, n) > free_bytes():
                    print(f"{name:13} {n:5} {d:4}   left out: theirs needs more than the free memory")
                    continue
                rows.append(duel(name, losses, n, d, budget))
    return rows


def duel(name: str, losses: tuple[Loss, Loss], n: int, d: int, budget: float) -> dict[str, Any]:
    z, y = batch(n, d)
    runs = [partial(there_and_back, loss, z, y) for loss in losses]
    values = [run() for run in runs]  # which also warms them up
    if abs(values[0] - values[1]) > 1e-4 * abs(values[1]) + 1e-6:
        raise SystemExit(f"{name}: ours is {values[0]}, theirs {values[1]}; nothing to compare")
    taken = interleaved(runs, budget)
    ours, theirs = map(spread, taken)
    ratio = spread([b / a for a, b in zip(*taken, strict=True)])
    memory = [peak_bytes(run) for run in runs]
    print(
        f"{name:13} {n:5} {d:4}   {ours!s:32} {theirs!s:34} "
        f"{f'{ratio.median:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]':22} "
        f"{memory[0] / MIB:.1f} / {memory[1] / MIB:.1f} = {memory[0] / memory[1]:.3f}",
        flush=True,
    )
    return {
        "loss": name,
        "n": n,
        "d": d,
        "ours": asdict(ours),
        "theirs": asdict(theirs),
        "times_faster": asdict(ratio),
        "bytes": {"ours": memory[0], "theirs": memory[1]},
    }


def compile_breaks() -> list[dict[str, Any]]:
    """How often torch.compile leaves the graph of each loss; theirs in tensors, with labels as they come."""
    found = []
    for name, pair in rivals().items():
        counts = []
        for loss in pair:
            torch.compiler.reset()
            counts.append(torch._dynamo.explain(loss)(*batch(128, 64)).graph_break_count)
        print(f"{name:13} graph breaks under torch.compile: ours {counts[0]}, theirs {counts[1]}", flush=True)
        found.append({"loss": name, "ours": counts[0], "theirs": counts[1]})
    return found


def most_resident() -> int:
    """Most bytes of this process ever in memory; ru_maxrss would count the parent's before it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def large_triplets(n: int, d: int) -> dict[str, Any]:
    """One run of all triplets at n, and how far it makes the process grow."""
    z, y = batch(n, d)
    there_and_back(triplet, *batch(64, d))
    before = most_resident()
    taken = seconds(partial(there_and_back, triplet, z, y))
    grown = most_resident() - before
    peak = peak_bytes(partial(there_and_back, triplet, z, y))
    return {"n": n, "d": d, "seconds": taken, "resident_bytes": grown, "bytes": peak}


def large(n: int, d: int, threads: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--threads", str(threads), "--only-large", str(n), str(d)]
    result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    print(
        f"all triplets at n = {n}, d = {d}: {result['seconds']:.2f} s, torch allocates "
        f"{result['bytes'] / MIB:.0f} MiB at the peak, the process grows by "
        f"{result['resident_bytes'] / MIB:.0f} MiB"
    )
    return dict(result)


NETWORKS = {"resnet18": (3, 32), "small_cnn": (1, 28)}  # channels, pixels
TERMS: dict[str, Loss] = {
    "magnet": magnet,
    "latent_boost": latent_boost,
    "latent_boost, projected": partial(latent_boost, share=0.95),
}


def training_step(network: str, rows: int) -> tuple[Callable[[], object], int]:
    """A whole step of the network on one batch, and the dimension of its latent."""
    from latentloom.encoders import ENCODERS, Standardise, build_encoder, build_model

    channels, size = NETWORKS[network]
    half = torch.full((channels,), 0.5)
    model = build_model(
        build_encoder(network, channels, size),
        latent_dim=ENCODERS[network].latent_dim,
        classes=10,
        standardise=Standardise(half, half),
    )
    optimizer = torch.optim.Adam(model.parameters())
    x, y = torch.rand(rows, channels, size, size), torch.arange(rows) % 10

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x).logits, y).backward()
        optimizer.step()

    return step, ENCODERS[network].latent_dim


def share_of_steps(budget: float, rows: int = 128) -> list[dict[str, Any]]:
    """Each term in turns with the step, so that what slows the machine slows both."""
    found = []
    for network in NETWORKS:
        step, d = training_step(network, rows)
        terms = [partial(many, partial(there_and_back, loss, *batch(rows, d))) for loss in TERMS.values()]
        for run in (step, *terms):
            run()
        steps, *taken = interleaved([step, *terms], budget)
        print(f"{network}, batch {rows}, latent {d}: step {spread(steps)}")
        for name, times in zip(TERMS, taken, strict=True):
            each = spread([t / MANY for t in times])
            share = each.median / statistics.median(steps)
            print(f"    {name:24} {each!s:34} {100 * share:.2f} % of the step")
            found.append(
                {"network": network, "term": name, "share": share, "term_time": asdict(each)}
                | {"step_time": asdict(spread(steps))}
            )
    return found


MANY = 10  # repeats of a term beside one step, which takes far longer


def many(fn: Callable[[], object]) -> None:
    for _ in range(MANY):
        fn()


def machine() -> dict[str, Any]:
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
        "torch": torch.__version__,
        "pytorch-metric-learning": importlib.metadata.version("pytorch-metric-learning"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="write all figures to this JSON file")
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 512, 1024])
    parser.add_argument("--dims", type=int, nargs="+", default=[64, 512])
    parser.add_argument("--large", type=int, default=4096, help="rows of the batch of all triplets")
    parser.add_argument("--budget", type=float, default=1.0, help="seconds for each comparison")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only-large", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.only_large:
        print(json.dumps(large_triplets(*options.only_large)))
        return
    figures: dict[str, Any] = {"machine": machine()}
    print(*(f"{key} {value}" for key, value in figures["machine"].items()), sep=", ")
    figures["rivals"] = against_rivals(options.sizes, options.dims, options.budget)
    figures["compile_breaks"] = compile_breaks()
    figures["large"] = [large(options.large, d, options.threads) for d in options.dims]
    figures["steps"] = share_of_steps(10 * options.budget)
    if options.out:
        options.out.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
