"""Images a second in training: against a loop by hand, and against a script of Lightning and torchvision.

    python benchmarks/throughput.py --out docs/results/benchmark-throughput.txt

All train the same network on the same images with the same batches, cross-entropy and Adam:

bare        forward, backward and step on one batch of random images that stays where it is
by hand     a loop over a tensor of all images, as one would write it: permutation, selection, step
laid out    the same loop, with the channels of a pixel side by side in memory, as latentloom has them
latentloom  the recipe `baseline`, with its counts, history, validation, checkpoints and log
script      a LightningModule as in its tutorial; torchvision's data set and transforms, a DataLoader

They train an epoch each in turns. Only the training part of an epoch counts, which is from its first batch
to its last, and the first epoch of each, where workers start, does not. Rates are medians with quartiles;
shares are of the rates of the same turn. On a GPU the clock is read when it has done its work.
"""

from __future__ import annotations

import argparse
import gzip
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
from lightning.pytorch import Callback, LightningModule, Trainer
from timing import spread
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Subset
from torchvision.transforms import v2

from latentloom.config import Data
from latentloom.data import load
from latentloom.encoders import ENCODERS, build_encoder, measured_standardise
from latentloom.files import write_text
from latentloom.recipes import load_recipe
from latentloom.training.run import run
from latentloom.values import ImageSet

WARM = 1  # epochs that do not count
# What the recipe is also run with, where asked.
VARIANTS = {
    "bf16": {"training.precision": "bf16-mixed"},
    "compiled": {"training.compile": "true"},
    "bf16, compiled": {"training.precision": "bf16-mixed", "training.compile": "true"},
}
Seconds = Iterator[float]  # of epochs, for as long as they are asked for


class EnoughError(Exception):
    """Ends a run from outside."""


@dataclass(frozen=True)
class Setting:
    """What all of them do."""

    data: str
    encoder: str
    batch: int
    limit: int | None
    precision: str
    device: torch.device

    @property
    def autocast(self) -> Any:
        bf16 = self.precision == "bf16-mixed"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=bf16)


class Scaled(nn.Module):
    """Pixels less their mean, over their deviation."""

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", x.mean((0, 2, 3), keepdim=True))
        self.register_buffer("std", x.std((0, 2, 3), keepdim=True))

    def forward(self, x: Tensor) -> Tensor:
        return ((x.float() / 255 if x.dtype == torch.uint8 else x) - self.mean) / self.std


def network(setting: Setting, train: ImageSet, *, laid_out: bool = False) -> nn.Module:
    """Images (b, c, h, w) uint8 -> logits, of the layers that the recipe has."""
    assert isinstance(train.images, Tensor)
    _, channels, size, _ = train.images.shape
    latent_dim = ENCODERS[setting.encoder].latent_dim
    some = train.images[:2000].float() / 255
    layers = [
        measured_standardise(some) if laid_out else Scaled(some),
        build_encoder(setting.encoder, channels, size),
        nn.Linear(latent_dim, len(train.class_names)),
    ]
    return nn.Sequential(*layers).to(setting.device)


def step(model: nn.Module, adam: torch.optim.Optimizer, x: Tensor, y: Tensor, setting: Setting) -> Tensor:
    with setting.autocast:
        loss = cross_entropy(model(x), y)
    adam.zero_grad()
    loss.backward()
    adam.step()
    return loss.detach()


def bare(setting: Setting, train: ImageSet) -> Seconds:
    assert isinstance(train.images, Tensor)
    model = network(setting, train)
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    shape = (setting.batch, *train.images.shape[1:])
    x = torch.randint(256, shape, dtype=torch.uint8, device=setting.device)
    y = torch.randint(len(train.class_names), shape[:1], device=setting.device)
    while True:
        start = now(setting)
        for _ in range(len(train) // setting.batch):
            step(model, adam, x, y, setting)
        yield now(setting) - start


def by_hand(setting: Setting, train: ImageSet, *, laid_out: bool = False) -> Seconds:
    assert isinstance(train.images, Tensor)
    model = network(setting, train, laid_out=laid_out)
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    x, y = train.images.to(setting.device), train.labels.to(setting.device)
    while True:
        start, total = now(setting), torch.zeros((), device=setting.device)
        order = torch.randperm(len(y), device=setting.device)
        for rows in order[: len(y) // setting.batch * setting.batch].view(-1, setting.batch):
            total += step(model, adam, x[rows], y[rows], setting)
        yield now(setting) - start


def by_latentloom(setting: Setting, train: ImageSet, epochs: int, more: Mapping[str, str]) -> list[float]:
    fields = {
        "data.name": setting.data,
        "data.batch": setting.batch,
        "data.limit": setting.limit,
        "model.encoder": setting.encoder,
        "training.precision": setting.precision,
        "training.accelerator": setting.device.type,
        "training.deterministic": setting.device.type == "cpu",
        **more,
    }
    asked = [(name, str(value).lower()) for name, value in fields.items() if value is not None]
    config = load_recipe("baseline", asked)
    rows: list[float] = []

    def watch(row: Any) -> None:
        rows.append(row["seconds"])
        if len(rows) == epochs:
            raise EnoughError

    with tempfile.TemporaryDirectory() as folder, suppress(EnoughError):
        run(config, Path(folder, "run"), recipe="baseline", progress=False, watch=watch)
    return [after - before for before, after in zip([0.0, *rows], rows, strict=False)]


class Plain(LightningModule):
    """As a tutorial has it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        x, y = batch
        loss = cross_entropy(self.model(x), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: list[Tensor], index: int) -> None:
        x, y = batch
        self.log("val_accuracy", (self.model(x).argmax(1) == y).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


class Clock(Callback):
    """Seconds of the training part of each epoch."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.rows: list[float] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.start = now(self.setting)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *rest: Any) -> None:
        if trainer.is_last_batch:
            self.rows.append(now(self.setting) - self.start)


def by_script(setting: Setting, train: ImageSet, epochs: int, workers: int) -> list[float]:
    class_of = {
        "fashion-mnist": torchvision.datasets.FashionMNIST,
        "mnist": torchvision.datasets.MNIST,
        "cifar100": torchvision.datasets.CIFAR100,
    }[setting.data]
    clock = Clock(setting)
    with tempfile.TemporaryDirectory() as folder:
        transform = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
        whole = class_of(_as_torchvision_wants(Path(folder), class_of), train=True, transform=transform)
        cut, last = len(train), min(len(train) + 6000, len(whole))
        options: dict[str, Any] = {"num_workers": workers, "persistent_workers": workers > 0}
        trainer = Trainer(
            default_root_dir=folder,
            max_epochs=epochs,
            accelerator=setting.device.type,
            devices=1,
            precision=setting.precision,  # type: ignore[arg-type]
            callbacks=[clock],
            enable_progress_bar=False,
            enable_model_summary=False,
            logger=False,
        )
        trainer.fit(
            Plain(network(setting, train)),
            DataLoader(Subset(whole, range(cut)), setting.batch, shuffle=True, drop_last=True, **options),
            DataLoader(Subset(whole, range(cut, last)), 1000, **options),
        )
    return clock.rows


def _as_torchvision_wants(folder: Path, class_of: Any) -> Path:
    """The data where torchvision looks for them, unpacked as it would on its first use."""
    root = Path(os.environ["LATENTLOOM_DATA"])
    if class_of is torchvision.datasets.CIFAR100:
        return root
    raw = folder / class_of.__name__ / "raw"
    raw.mkdir(parents=True)
    name = "fashion-mnist" if class_of is torchvision.datasets.FashionMNIST else "mnist"
    for packed in (root / name).glob("*.gz"):
        (raw / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    return folder


def now(setting: Setting) -> float:
    if setting.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def taken(many: Callable[[], Seconds], epochs: int) -> list[float]:
    seconds = many()
    return [next(seconds) for _ in range(epochs)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="fashion-mnist", choices=("fashion-mnist", "mnist", "cifar100"))
    parser.add_argument("--encoder", default="small_cnn")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--limit", type=int, help="training images before validation images are taken")
    parser.add_argument("--precision", default="32-true", choices=("32-true", "bf16-mixed"))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--epochs", type=int, default=2, help="counted, of each in a turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 2], help="of the script's DataLoader")
    parser.add_argument("--variants", action="store_true", help="the recipe in bf16 and compiled too")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    setting = Setting(
        given.data, given.encoder, given.batch, given.limit, given.precision, torch.device(given.device)
    )
    train = load(Data(name=given.data, limit=given.limit), seed=0).train
    epochs = WARM + given.epochs
    contenders: dict[str, Callable[[], list[float]]] = {
        "bare": lambda: taken(lambda: bare(setting, train), epochs),
        "by hand": lambda: taken(lambda: by_hand(setting, train), epochs),
        "by hand, laid out": lambda: taken(lambda: by_hand(setting, train, laid_out=True), epochs),
        "latentloom": lambda: by_latentloom(setting, train, epochs, {}),
        **{
            f"latentloom, {name}": lambda more=more: by_latentloom(setting, train, epochs, more)
            for name, more in VARIANTS.items()
            if given.variants
        },
        **{f"script, {w} workers": lambda w=w: by_script(setting, train, epochs, w) for w in given.workers},
    }
    images = len(train) // given.batch * given.batch
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(given.turns):
        for name, contender in contenders.items():
            rates[name] += [images / seconds for seconds in contender()[WARM:]]
    text = table(setting, rates)
    print(text, end="")
    if given.out:
        write_text(given.out, text)


def table(setting: Setting, rates: dict[str, Sequence[float]]) -> str:
    where = torch.cuda.get_device_name() if setting.device.type == "cuda" else "processor"
    lines = [
        f"{setting.data}, {setting.encoder}, batch {setting.batch}, {setting.precision}; {where}, cores "
        f"{os.cpu_count()}, threads {torch.get_num_threads()}, torch {torch.__version__}",
        f"{'':28}{'images a second':>28}{'of a loop by hand':>26}",
    ]
    for name, found in rates.items():
        rate = spread(found)
        share = spread([own / hand for own, hand in zip(found, rates["by hand"], strict=True)])
        lines.append(
            f"{name:28}{rate.median:12,.0f} [{rate.low:,.0f}, {rate.high:,.0f}]".ljust(56)
            + f"{share.median:12.3f} [{share.low:.3f}, {share.high:.3f}]"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
