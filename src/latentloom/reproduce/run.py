"""A published table run again: ours beside the print, with its doubts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy

from latentloom import config
from latentloom.checks import UserError
from latentloom.data import image_shape, load
from latentloom.published import PAPERS, Published, published
from latentloom.report.rows import Spread, spread
from latentloom.reproduce.plan import (
    MEASURES,
    Scale,
    Setting,
    asked,
    find_scale,
    plan,
    setting_of,
    settings_of,
)
from latentloom.reproduce.result import CHANGE, Comparison, Reproduction
from latentloom.training.compare import Cell, run_cells
from latentloom.training.folder import RECORD
from latentloom.values import ImageSet, Record, Splits


def reproduce(
    paper: str,
    table: str,
    scale: str,
    folder: Path,
    data: config.Data,
    workers: int = 1,
    *,
    say: Callable[[str], None] = print,
    load: Callable[[config.Data, int], Splits] = load,
    run: Callable[..., list[Record]] = run_cells,
) -> Reproduction:
    """Train the cells of a published table that belong to a scale, and set them beside the print.

    A run whose record lies under `folder` is read, not repeated; so tables share their runs, and a call
    that was interrupted goes on where it was.

    Args:
        paper, table: as in `latentloom.published`.
        scale: a name in `SCALES`; anything but full is not comparable with the print.
        data: where the data are and how they are fed; its name and limits are set by table and scale.
        workers: runs at a time.
        say: told what will run, for about how long, and what is missing.
        load, run: read a data set; train cells.
    """
    chosen, settings = find_scale(scale), plan(paper, table, scale)
    title, work = f"{paper}, table {table}: {PAPERS[paper].tables[table]}", _work(scale, paper, table)
    say(f"{title}\n{work}")
    cells = {s: _cells(s, chosen, folder / paper / scale, data) for s in settings}
    absent = _prepare(cells, say, load)
    records, failed = _train({s: cells[s] for s in settings if s.dataset not in absent}, workers, say, run)
    return Reproduction(
        paper=paper,
        table=table,
        title=title,
        scale=scale,
        work=work,
        caveat=_caveat(scale, chosen, data),
        comparable=scale == "full",
        comparisons=tuple(_compared(published(paper, table), settings, records)),
        absent=absent,
        failed=failed,
    )


def _cells(setting: Setting, scale: Scale, folder: Path, data: config.Data) -> list[Cell]:
    """The runs of a setting, one per seed."""
    mine = [asked(setting, scale, data, seed) for seed in range(scale.seeds)]
    place = folder / mine[0].data.name / f"{setting.method}-{setting.lam:g}"
    return [Cell(f"{setting.method}-{setting.lam:g}", train, place / f"seed-{train.seed}") for train in mine]


def _prepare(
    cells: Mapping[Setting, Sequence[Cell]],
    say: Callable[[str], None],
    load: Callable[[config.Data, int], Splits],
) -> dict[str, str]:
    """Say for each data set how long its runs will take; those that cannot be read, each with the reason."""
    absent = {}
    for dataset in dict.fromkeys(s.dataset for s in cells):
        mine = [cell for s in cells if s.dataset == dataset for cell in cells[s]]
        try:
            splits = load(mine[0].config.data, 0)
        except UserError as error:
            absent[dataset] = str(error)
            say(f"  {dataset}: no data here")
        else:
            say(f"  {dataset}: {estimate(mine, splits.train)}")
    return absent


def _train(
    cells: Mapping[Setting, Sequence[Cell]],
    workers: int,
    say: Callable[[str], None],
    run: Callable[..., list[Record]],
) -> tuple[dict[Setting, list[Record]], dict[str, str]]:
    """The records of each cell, and the cells that did not train, each with the reason."""
    records, failed = {}, {}
    for setting, mine in cells.items():
        try:
            records[setting] = run(mine, workers=workers)
        except UserError as error:
            failed[str(setting)] = str(error)
        say(f"  {setting}: {'failed' if str(setting) in failed else 'done'}")
    return records, failed


def estimate(cells: Sequence[Cell], train: ImageSet) -> str:
    """How many runs are left, and about how long they take one after the other."""
    left = [cell for cell in cells if not (cell.folder / RECORD).exists()]
    if not left:
        return f"all {len(cells)} runs are done"
    steps = sum(cell.config.training.epochs * len(train) / cell.config.data.batch for cell in left)
    seconds = steps * step_seconds(left[0].config, train)
    return f"{len(left)} of {len(cells)} runs to do, about {duration(seconds)} of training"


def step_seconds(train: config.Train, images: ImageSet) -> float:
    """Seconds of one training step of the encoder with cross-entropy: the second of two."""
    from latentloom.training.run import model_for

    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    model = model_for(train, images).to(device)
    x = torch.randint(256, (train.data.batch, *image_shape(images.images)), dtype=torch.uint8, device=device)
    y = torch.arange(len(x), device=device) % len(images.class_names)
    for _ in range(2):
        start = time.perf_counter()
        loss = cross_entropy(model(x).logits, y)
        torch.autograd.backward(loss)
        loss.item()  # waits for the device
    return time.perf_counter() - start


def duration(seconds: float) -> str:
    """A rough duration in words.

    >>> duration(3), duration(200), duration(40_000), duration(400_000)
    ('1 minute', '4 minutes', '11 hours', '5 days')
    """
    for unit, length in (("day", 86_400), ("hour", 3_600)):
        if seconds > 2 * length:
            return f"{seconds / length:.0f} {unit}s"
    minutes = int(seconds // 60) + 1
    return f"{minutes} minute{'s' if minutes > 1 else ''}"


def _compared(
    rows: Sequence[Published], settings: Sequence[Setting], records: Mapping[Setting, Sequence[Record]]
) -> Iterator[Comparison]:
    """The printed numbers of the settings, and changes between them, each with ours."""
    runs = {
        row: _beside(row, s, records.get(s, ())) for row in rows if (s := setting_of(row)) in settings and s
    }
    by_name = {(row.dataset, row.method, row.metric): comparison for row, comparison in runs.items()}
    for row in rows:
        measure = row.metric.removesuffix(CHANGE)
        base, boosted = (
            by_name.get((row.dataset, method, measure)) for method in ("Baseline", "LatentBoost")
        )
        if row in runs:
            yield runs[row]
        elif measure != row.metric and base and boosted:
            yield Comparison(row, boosted.lam, _change(base.ours, boosted.ours), ())


def _beside(row: Published, setting: Setting, records: Sequence[Record]) -> Comparison:
    values = tuple(float(MEASURES[row.metric].read(record)) for record in records)
    return Comparison(row, setting.lam, spread(values) if values else None, values)


def _change(base: Spread | None, boosted: Spread | None) -> Spread | None:
    """Of the mean, in % of the size of the first; None from 0 and where either is missing."""
    if base is None or boosted is None or base.mean == 0:
        return None
    return Spread(100 * (boosted.mean - base.mean) / abs(base.mean), None, min(base.n, boosted.n))


def _work(name: str, paper: str, table: str) -> str:
    scale, chosen, all_ = find_scale(name), plan(paper, table, name), settings_of(paper, table)
    images = "all images" if scale.images is None else f"{scale.images:,} training images"
    test = "" if scale.test_images is None else f", {scale.test_images:,} test images"
    epochs = "1 epoch" if scale.epochs == 1 else f"{scale.epochs} epochs"
    seeds = "1 seed" if scale.seeds == 1 else f"{scale.seeds} seeds"
    return f"scale {name}: {images}{test}, {epochs}, {seeds}, {len(chosen)} of {len(all_)} cells"


def _caveat(name: str, scale: Scale, data: config.Data) -> str:
    if name != "full":
        return (
            "NOT COMPARABLE with the printed numbers: only scale full keeps to their protocol "
            "(all images, up to 100 epochs with plateau schedule and early stopping, 5 seeds)."
        )
    return (
        f"The protocol is the paper's where it states one. Ours are: learning rate {config.Training().lr:g}, "
        f"batch {data.batch}, {100 * data.validation:g} % of the training images for validation, "
        f"{' and '.join(data.augment) or 'no'} augmentation, at most {scale.epochs} epochs."
    )
