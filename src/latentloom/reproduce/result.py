"""What a table run again came to, as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from textwrap import fill

from latentloom.published import Published
from latentloom.records import strict
from latentloom.report.rows import Spread
from latentloom.reproduce.study import Setting

WIDTH = 100  # columns of a terminal


@dataclass(frozen=True)
class Comparison:
    """A printed number and ours."""

    published: Published
    setting: Setting
    method: str  # as it is shown, like the measure and its decimals
    measure: str
    decimals: int
    ours: Spread | None  # over seeds; None where nothing was run
    values: tuple[float, ...]  # one per seed; none for a change, which is one of means


@dataclass(frozen=True)
class Reproduction:
    """A table, run at some scale."""

    paper: str
    table: str
    title: str
    scale: str
    work: str  # images, epochs, seeds and cells of the scale
    caveat: str
    comparable: bool
    notes: tuple[str, ...]  # on the measures
    comparisons: tuple[Comparison, ...]
    absent: Mapping[str, str]  # data set -> why it could not be read
    failed: Mapping[str, str]  # cell -> why it did not train

    def text(self) -> str:
        """Aligned tables for a terminal, at most 100 columns wide: ours and the print, then the doubts."""
        return _text(self)

    def json(self) -> str:
        """Strict JSON, with the value of every seed."""
        return json.dumps(strict(asdict(self)), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _text(done: Reproduction) -> str:
    doubts = _numbered(done.comparisons)
    parts = [
        "\n".join([_wrapped(done.title), done.work, _wrapped(done.caveat)]),
        *_tables(done, doubts),
        "\n".join(_wrapped(f"failed: {cell}: {reason}") for cell, reason in done.failed.items()),
        "ours: mean ± standard deviation over seeds (n of them), of the sample, n - 1; printed: as in print",
        "\n".join(map(_wrapped, done.notes)),
        "\n".join(_wrapped(f"[{mark}] {doubt}") for doubt, mark in doubts.items()),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _tables(done: Reproduction, doubts: Mapping[str, int]) -> Iterator[str]:
    """One per data set and network; with the reason, where it could not be read."""
    options = list(dict.fromkeys(name for c in done.comparisons for name, _ in c.setting.options))
    header = ("method", *options, "measure", "ours", "printed", "doubts")
    for dataset, model in dict.fromkeys((c.setting.dataset, c.setting.model) for c in done.comparisons):
        mine = [c for c in done.comparisons if (c.setting.dataset, c.setting.model) == (dataset, model)]
        absent = [_wrapped(f"no data here: {done.absent[dataset]}")] if dataset in done.absent else []
        nothing = "no data here" if absent else "failed" if done.failed else "–"
        lines = [header, *(_line(c, options, nothing, doubts) for c in mine)]
        yield "\n".join([f"{dataset}, {model}", *absent, *_aligned(lines)])


def _line(
    comparison: Comparison, options: Sequence[str], nothing: str, doubts: Mapping[str, int]
) -> tuple[str, ...]:
    row, ours, digits = comparison.published, comparison.ours, comparison.decimals
    values = dict(comparison.setting.options)
    return (
        comparison.method,
        *(f"{values[name]:g}" if name in values else "–" for name in options),
        comparison.measure,
        nothing if ours is None else f"{ours.text(digits)} (n {ours.n})",
        _printed(row, digits),
        " ".join(f"[{doubts[doubt]}]" for doubt in _doubts(row)),
    )


def _printed(row: Published, digits: int) -> str:
    value = f"{row.value:.{digits}f}" if isinstance(row.value, float) else "unreadable"
    return value if row.std is None else f"{value} ± {row.std:.{digits}f}"


def _numbered(comparisons: Iterable[Comparison]) -> dict[str, int]:
    """Doubt -> its mark, from 1."""
    found = dict.fromkeys(doubt for c in comparisons for doubt in _doubts(c.published))
    return {doubt: mark for mark, doubt in enumerate(found, 1)}


def _doubts(row: Published) -> list[str]:
    return row.doubt.split(" | ") if row.doubt else []


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def _wrapped(text: str) -> str:
    return fill(text, WIDTH, subsequent_indent="    ")
