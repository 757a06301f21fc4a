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
    planned: bool = True  # whether the scale runs its cell
    given: Spread | None = None  # ours, of probes that have the given labels alone
    given_values: tuple[float, ...] | None = None  # None where the measure knows no such probe


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
    runs: Mapping[str, object]  # what trained: how many, seconds, commits, sources, versions, hardware

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
    both = any(c.given_values is not None for c in done.comparisons)
    ours = ("all labels", "given labels") if both else ("ours",)
    header = ("method", *options, "measure", *ours, "printed", "doubts")
    for dataset, model in dict.fromkeys((c.setting.dataset, c.setting.model) for c in done.comparisons):
        mine = [c for c in done.comparisons if (c.setting.dataset, c.setting.model) == (dataset, model)]
        absent = [_wrapped(f"no data here: {done.absent[dataset]}")] if dataset in done.absent else []
        lines = [header, *(_line(c, options, _ours(c, both, _nothing(c, done)), doubts) for c in mine)]
        yield "\n".join([f"{dataset}, {model}", *absent, *_aligned(lines)])


def _line(
    comparison: Comparison, options: Sequence[str], ours: Sequence[str], doubts: Mapping[str, int]
) -> tuple[str, ...]:
    row, digits = comparison.published, comparison.decimals
    values = dict(comparison.setting.options)
    return (
        comparison.method,
        *(f"{values[name]:g}" if name in values else "–" for name in options),
        comparison.measure,
        *ours,
        _printed(row, digits),
        " ".join(f"[{doubts[doubt]}]" for doubt in _doubts(row)),
    )


def _ours(comparison: Comparison, both: bool, nothing: str) -> tuple[str, ...]:
    """Ours; where there are probes of two kinds, of both."""
    ours, given, digits = comparison.ours, comparison.given, comparison.decimals
    text = nothing if ours is None else f"{ours.text(digits)} (n {ours.n})"
    return (text, nothing if given is None else given.text(digits)) if both else (text,)


def _nothing(comparison: Comparison, done: Reproduction) -> str:
    """Why a number of ours is not there."""
    if comparison.setting.dataset in done.absent:
        return "no data here"
    if not comparison.planned:
        return "not run"
    return "failed" if done.failed else "–"


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
    return "\n".join(fill(line, WIDTH, subsequent_indent="    ") for line in text.splitlines())
