"""What a table run again came to, as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from textwrap import fill

from latentloom.published import Published
from latentloom.records import strict
from latentloom.report.rows import Spread
from latentloom.reproduce.plan import MEASURES

WIDTH = 100  # columns of a terminal
HEADER = ("method", "lambda", "measure", "ours", "printed", "doubts")
NAMES = {
    "LatentBoost": "Latent Boost",
    "LatentBoost_wo_PCA": "LB without PCA",
    "LatentBoost_vs_Baseline": "LB vs baseline",
}
CHANGE = "_relative_change_pct"  # ends the name of a measure of LatentBoost_vs_Baseline


@dataclass(frozen=True)
class Comparison:
    """A printed number and ours."""

    published: Published
    lam: float
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
    measures = dict.fromkeys(c.published.metric for c in done.comparisons)
    notes = [MEASURES[name].note for name in measures if name in MEASURES and MEASURES[name].note]
    parts = [
        "\n".join([_wrapped(done.title), done.work, _wrapped(done.caveat)]),
        *_tables(done, doubts),
        "\n".join(_wrapped(f"failed: {cell}: {reason}") for cell, reason in done.failed.items()),
        "ours and printed: mean ± standard deviation over seeds (n of them); ours is of the sample, n - 1",
        "\n".join(map(_wrapped, notes)),
        "\n".join(_wrapped(f"[{mark}] {doubt}") for doubt, mark in doubts.items()),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _tables(done: Reproduction, doubts: Mapping[str, int]) -> Iterator[str]:
    """One per data set; with the reason, where it could not be read."""
    for dataset in dict.fromkeys(c.published.dataset for c in done.comparisons):
        mine = [c for c in done.comparisons if c.published.dataset == dataset]
        absent = [_wrapped(f"no data here: {done.absent[dataset]}")] if dataset in done.absent else []
        nothing = "no data here" if absent else "failed" if done.failed else "–"
        lines = [HEADER, *(_line(c, nothing, doubts) for c in mine)]
        yield "\n".join([f"{dataset}, {mine[0].published.model}", *absent, *_aligned(lines)])


def _line(comparison: Comparison, nothing: str, doubts: Mapping[str, int]) -> tuple[str, ...]:
    row, ours = comparison.published, comparison.ours
    name = row.metric.removesuffix(CHANGE)
    label, digits = MEASURES[name].label, MEASURES[name].decimals
    if name != row.metric:
        label, digits = f"change of {label.removesuffix(', %')}, %", 2
    return (
        NAMES.get(row.method, row.method),
        f"{comparison.lam:g}",
        label,
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
