"""What priors and joint training cost in a training step: forward, backward and Adam, at batch 128.

    python benchmarks/generative.py --out docs/results/benchmark-generative.txt

Two tables, for the MLP and the convolutional pair on 28 x 28 images, latent dimension 10. `joint`: a step of
dml-autoencoder, with its batch of all images and its batch of labelled ones, over the sum of a step of
autoencoder and one of dml-triplet. `priors`: a step of a variational autoencoder with each prior over one
with the unit prior; `given` is a mixture of fixed Gaussians by Monte Carlo, `vamp` encodes all its
pseudo-inputs in each step, `vamp, 10 a step` ten of them in turn.

What is compared is interleaved in one run; times are medians with quartiles, of the processor on one thread.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from timing import interleaved, spread

from latentloom.config import Train
from latentloom.files import write_text
from latentloom.objective import Objective
from latentloom.recipes import load_recipe
from latentloom.training.model import model_for
from latentloom.values import ImageSet

BATCH = 128
PRIORS = {
    "unit": "{kind: unit}",
    "given, 500": "{kind: sphere, components: 500}",
    "vamp, 10": "{kind: vamp, components: 10}",
    "vamp, 50": "{kind: vamp, components: 50}",
    "vamp, 500": "{kind: vamp, components: 500}",
    "vamp, 500, 10 a step": "{kind: vamp, components: 500, fresh: 10}",
}
Step = Callable[[], object]


def images(n: int = 1000) -> ImageSet:
    """Noise in the form of MNIST; what is timed does not depend on what is seen."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(256, (n, 1, 28, 28), generator=generator, dtype=torch.uint8)
    return ImageSet("mnist", x, torch.arange(n) % 10, tuple("0123456789"))


def step_of(config: Train, data: ImageSet, *, two_streams: bool = False) -> Step:
    """A training step of a configuration, as the training module takes it."""
    torch.manual_seed(0)
    model, objective = model_for(config, data), Objective.from_config(config.objective)
    adam = torch.optim.Adam(model.parameters())
    rows = torch.arange(BATCH)
    x, y = data.images[rows], data.labels[rows]

    def step() -> None:
        latent = model(x, rows).with_samples(y=y)
        labelled = model(x, rows, generate=False).with_samples(y=y) if two_streams else None
        adam.zero_grad()
        objective(latent, 0.5, labelled=labelled).total.backward()
        adam.step()

    return step


def with_pair(recipe: str, pair: str, prior: str | None = None) -> Train:
    """A recipe with an encoder and, where it has a decoder, its mirror."""
    config = load_recipe(recipe)
    fields = [("data.name", "mnist"), ("model.encoder", pair)]
    fields += [("model.decoder", pair)] if config.model.decoder else []
    fields += [("model.prior", prior)] if prior else []
    return load_recipe(recipe, fields)


def joint(pair: str, budget: float) -> Iterator[str]:
    data = images()
    steps = [
        step_of(with_pair("dml-autoencoder", pair), data, two_streams=True),
        step_of(with_pair("autoencoder", pair), data),
        step_of(with_pair("dml-triplet", pair), data),
    ]
    both, alone, metric = interleaved(steps, budget)
    ratios = [b / (a + m) for b, a, m in zip(both, alone, metric, strict=True)]
    parts = f"autoencoder {spread(alone)}   metric {spread(metric)}"
    yield f"{pair:5} joint {spread(both)}   {parts}   {_ratio(ratios)}"


def priors(pair: str, budget: float) -> Iterator[str]:
    data = images()
    # vamp-vae has the Monte-Carlo divergence, vae the closed form.
    steps = [
        step_of(with_pair("vae" if name == "unit" else "vamp-vae", pair, prior), data)
        for name, prior in PRIORS.items()
    ]
    taken = interleaved(steps, budget)
    for name, mine in zip(PRIORS, taken, strict=True):
        ratios = [one / unit for one, unit in zip(mine, taken[0], strict=True)]
        yield f"{pair:5} {name:22} {spread(mine)}   {_ratio(ratios)}"


def _ratio(values: Sequence[float]) -> str:
    found = spread(values)
    return f"{found.median:.3f} [{found.low:.3f}, {found.high:.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="also write the lines to this file")
    parser.add_argument("--seconds", type=float, default=30, help="for each table and pair (30)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    lines = [f"torch {torch.__version__}, batch {BATCH}, one thread"]
    for title, table in (("joint step over the sum of its parts", joint), ("over the unit prior", priors)):
        lines.append(title)
        print(title)
        for pair in ("mlp", "conv"):
            for line in table(pair, arguments.seconds):
                lines.append(line)
                print(line, flush=True)
    if arguments.out:
        write_text(arguments.out, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
