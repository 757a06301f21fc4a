"""A published table run again: ours beside the print, with its doubts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from latentloom import config
from latentloom.checks import UserError
from latentloom.data import image_shape, load
from latentloom.published import PAPERS, Published, published
from latentloom.report.rows import Spread, spread
from latentloom.reproduce.plan import STUDIES, find_scale, plan, settings_of
from latentloom.reproduce.result import Comparison, Reproduction
from latentloom.reproduce.study import CHANGE, Scale, Setting, Study
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
    plan_runs: Callable[[Sequence[Cell]], None] | None = None,
) -> Reproduction:
    """Train the cells of a published table that belong to a scale, and set them beside the print.

    A run whose record lies under `folder` is read, not repeated; so tables share their runs, and a call
    that was interrupted goes on where it was.

    Args:
        paper, table: as in `latentloom.published`.
        scale: smoke, cpu or full; anything but full is not comparable with the print.
        data: where the data are and how they are fed; name, limits and labels are set by table and scale.
        workers: runs at a time.
        say: told what will run, for about how long, and what is missing.
        load, run: read a data set; train cells.
        plan_runs: told all cells, before the first of them are to be trained.
    """
    settings = plan(paper, table, scale)
    study, chosen = STUDIES[paper], find_scale(paper, scale)
    shown = settings_of(paper, table) if chosen.show_all else settings
    title, work = f"{paper}, table {table}: {PAPERS[paper].tables[table]}", _work(scale, paper, table)
    say(f"{title}\n{work}")
    cells = {s: _cells(study, s, chosen, folder / paper / scale, data) for s in settings}
    absent = _prepare(cells, say, load)
    there = {s: cells[s] for s in settings if s.dataset not in absent}
    if plan_runs is not None:
        plan_runs([cell for mine in there.values() for cell in mine])
    records, failed = _train(there, workers, say, run)
    comparisons = tuple(_compared(study, published(paper, table), shown, settings, records))
    notes = dict.fromkeys(study.measure_of(c.published).note for c in comparisons)
    return Reproduction(
        paper=paper,
        table=table,
        title=title,
        scale=scale,
        work=work,
        caveat=study.caveat(scale, data),
        comparable=scale == "full",
        notes=tuple(note for note in notes if note),
        comparisons=comparisons,
        absent=absent,
        failed=failed,
        runs=_about([record for found in records.values() for record in found]),
    )


def _about(records: Sequence[Record]) -> dict[str, object]:
    """What the runs of a table were of and by; of runs by several commits, all commits."""
    return {
        "count": len(records),
        "seconds": sum(record.seconds for record in records),
        "commits": sorted({record.commit for record in records}),
        "sources": {name: value for record in records for name, value in record.sources.items()},
        "versions": {name: value for record in records for name, value in record.versions.items()},
        "hardware": sorted({record.hardware for record in records}),
    }


def _cells(study: Study, setting: Setting, scale: Scale, folder: Path, data: config.Data) -> list[Cell]:
    """The runs of a setting, one per seed."""
    mine = [study.asked(setting, scale, data, seed) for seed in range(scale.seeds)]
    place = folder / mine[0].data.name / mine[0].model.encoder / setting.label
    return [Cell(setting.label, train, place / f"seed-{train.seed}") for train in mine]


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
            say(f"  {dataset}: {_estimated(mine, splits.train)}")
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


def _estimated(cells: Sequence[Cell], train: ImageSet) -> str:
    """`estimate`, or why there is none: a network whose weights are not to be had fails for itself later."""
    try:
        return estimate(cells, train)
    except UserError as error:
        return f"time unknown: {error}"


def estimate(cells: Sequence[Cell], train: ImageSet) -> str:
    """How many runs are left, and about how long they take one after the other."""
    left = [cell for cell in cells if not (cell.folder / RECORD).exists()]
    if not left:
        return f"all {len(cells)} runs are done"
    by_parts = {_parts(cell.config): cell.config for cell in left}
    step = {parts: step_seconds(asked, train) for parts, asked in by_parts.items()}
    seconds = sum(_steps(cell.config, train) * step[_parts(cell.config)] for cell in left)
    return f"{len(left)} of {len(cells)} runs to do, about {duration(seconds)} of training"


def _parts(asked: config.Train) -> tuple[str | None, ...]:
    """What of a model the time of a step depends on most."""
    return asked.model.encoder, asked.model.decoder, asked.model.prior.kind


def _steps(asked: config.Train, train: ImageSet) -> float:
    return asked.training.epochs * len(train) / asked.data.batch


def step_seconds(train: config.Train, images: ImageSet) -> float:
    """Seconds of one training step of the model, its losses left out: the second of two."""
    from latentloom.training.model import model_for

    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    model = model_for(train, images).to(device)
    x = torch.randint(256, (train.data.batch, *image_shape(images.images)), dtype=torch.uint8, device=device)
    rows = torch.arange(len(x), device=device)
    for _ in range(2):
        start = time.perf_counter()
        loss = torch.stack([part.mean() for part in model(x, rows).samples.values()]).sum()
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
    study: Study,
    rows: Sequence[Published],
    shown: Sequence[Setting],
    planned: Sequence[Setting],
    records: Mapping[Setting, Sequence[Record]],
) -> Iterator[Comparison]:
    """The printed numbers of the settings shown, and changes between them, each with ours."""
    runs = {
        row: _beside(study, row, s, s in planned, records.get(s, ()))
        for row in rows
        if (s := study.setting_of(row)) in shown and s
    }
    by_name = {(row.dataset, row.method, row.metric): comparison for row, comparison in runs.items()}
    for row in rows:
        if row in runs:
            yield runs[row]
        elif row.method in study.CHANGES:
            metric = row.metric.removesuffix(CHANGE)
            base, changed = (by_name.get((row.dataset, m, metric)) for m in study.CHANGES[row.method])
            if base and changed:
                yield _changed(study, row, base, changed)


def _beside(
    study: Study, row: Published, setting: Setting, planned: bool, records: Sequence[Record]
) -> Comparison:
    measure = study.measure_of(row)
    values = tuple(float(measure.read(record)) for record in records)
    given = None if measure.given is None else tuple(float(measure.given(record)) for record in records)
    return Comparison(
        published=row,
        setting=setting,
        method=study.NAMES.get(setting.method, setting.method),
        measure=measure.label,
        decimals=measure.decimals,
        ours=spread(values) if values else None,
        values=values,
        planned=planned,
        given=spread(given) if given else None,
        given_values=given,
    )


def _changed(study: Study, row: Published, base: Comparison, changed: Comparison) -> Comparison:
    return replace(
        changed,
        published=row,
        method=study.NAMES.get(row.method, row.method),
        measure=f"change of {changed.measure.removesuffix(', %')}, %",
        decimals=2,
        ours=_change(base.ours, changed.ours),
        values=(),
    )


def _change(base: Spread | None, boosted: Spread | None) -> Spread | None:
    """Of the mean, in % of the size of the first; None from 0 and where either is missing."""
    if base is None or boosted is None or base.mean == 0:
        return None
    return Spread(100 * (boosted.mean - base.mean) / abs(base.mean), None, min(base.n, boosted.n))


def _work(name: str, paper: str, table: str) -> str:
    scale, chosen, all_ = find_scale(paper, name), plan(paper, table, name), settings_of(paper, table)
    images = "all images" if scale.images is None else f"{scale.images:,} training images"
    test = "" if scale.test_images is None else f", {scale.test_images:,} test images"
    epochs = "1 epoch" if scale.epochs == 1 else f"{scale.epochs} epochs"
    seeds = "1 seed" if scale.seeds == 1 else f"{scale.seeds} seeds"
    return f"scale {name}: {images}{test}, {epochs}, {seeds}, {len(chosen)} of {len(all_)} cells"
