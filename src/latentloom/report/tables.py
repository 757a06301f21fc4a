"""The rows of a comparison as text, as Markdown and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from latentloom.records import strict
from latentloom.report.rows import Cell, Reach, Row, Spread
from latentloom.values import ARROWS, decimals

WIDTH = 110  # columns of a terminal
MARKS = {"better": "+", "worse": "-", "not decided": "~"}
NOTHING = "–"
# What fits a terminal, and what a page shows first; files hold every score.
HEADLINE = ("accuracy", "macro_f1", "silhouette", "size_to_distance", "effective_rank", "knn_accuracy")


@dataclass(frozen=True)
class Grid:
    """A table of texts; the first column names the lines."""

    title: str
    header: Sequence[str]
    lines: Sequence[Sequence[str]]


def as_text(rows: Sequence[Row]) -> str:
    """Aligned tables for a terminal, at most 110 columns wide; a wide one goes on below."""
    parts = [part for grid in grids(rows) for part in _narrowed(grid)]
    return "\n\n".join(f"{part.title}\n{_aligned([part.header, *part.lines])}" for part in parts)


def as_markdown(rows: Sequence[Row]) -> str:
    """The same tables in Markdown."""
    return "\n\n".join(f"{grid.title}\n\n{_piped(grid)}" for grid in grids(rows))


def as_json(rows: Sequence[Row]) -> str:
    """The rows as strict JSON, a list with an object per recipe."""
    return json.dumps([strict(asdict(row)) for row in rows], indent=1, allow_nan=False)


def grids(rows: Sequence[Row]) -> list[Grid]:
    """Scores, differences from the first recipe where there is another one, and speed."""
    return [_scores(rows), *([_differences(rows)] if len(rows) > 1 else []), _speed(rows)]


def headings(rows: Sequence[Row]) -> dict[str, str]:
    """Score -> its name with an arrow that points to the better side."""
    cells = {name: cell for row in rows for name, cell in row.cells.items() if cell}
    return {name: f"{name} {ARROWS[cells[name].better]}" for name in rows[0].cells}


def digits(cell: Cell) -> int:
    """Decimals of the mean."""
    return decimals(cell.spread.mean)


def _scores(rows: Sequence[Row]) -> Grid:
    legend = f" (against {rows[0].recipe}: {', '.join(f'{mark} {word}' for word, mark in MARKS.items())})"
    title = "Scores, mean ± sd over seeds" + (legend if len(rows) > 1 else "")
    lines = [[row.recipe, str(len(row.seeds)), *map(_score, row.cells.values())] for row in rows]
    return Grid(title, ["recipe", "seeds", *headings(rows).values()], lines)


def _score(cell: Cell | None) -> str:
    if cell is None:
        return NOTHING
    return f"{cell.spread.text(digits(cell))} {MARKS[cell.verdict] if cell.verdict else ' '}"


def _differences(rows: Sequence[Row]) -> Grid:
    title = f"Against {rows[0].recipe}, paired over the seeds that both have"
    header = ["recipe", "score", "change", "difference", "95 % interval", "p", "seeds", "verdict"]
    found = [(row, name, row.cells[name]) for name in rows[0].cells for row in rows[1:]]
    names = headings(rows)
    return Grid(
        title, header, [[row.recipe, names[name], *_difference(cell)] for row, name, cell in found if cell]
    )


def _difference(cell: Cell) -> list[str]:
    change = NOTHING if cell.change is None else f"{cell.change:+.2f} %"
    d, n = cell.difference, digits(cell)
    if d is None:
        return [change, *[NOTHING] * 4, "not decided"]
    interval = [f"[{d.low:+.{n}f}, {d.high:+.{n}f}]", _p(d.p)] if d.interval else [NOTHING, NOTHING]
    return [change, f"{d.mean:+.{n}f}", *interval, str(d.n), str(cell.verdict)]


def _p(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _speed(rows: Sequence[Row]) -> Grid:
    title = "Speed by validation score, mean ± sd over the seeds that get there (own best: all do)"
    target = f"to {rows[0].recipe}'s best"
    header = ["recipe", "epochs to own best", "seconds", f"epochs {target}", "seconds"]
    return Grid(title, header, [[row.recipe, *(time.text(1) for time in times(row))] for row in rows])


def times(row: Row) -> Sequence[Spread | Reach]:
    """Epochs and seconds, to the recipe's own best and to the first recipe's."""
    return row.epochs_to_best, row.seconds_to_best, row.epochs_to_reach, row.seconds_to_reach


def _narrowed(grid: Grid) -> Iterator[Grid]:
    """The grid in parts that fit the width, each with the column of names."""
    widths = _widths([grid.header, *grid.lines])
    part: list[int] = []
    for column in range(1, len(widths)):
        if part and widths[0] + sum(2 + widths[k] for k in [*part, column]) > WIDTH:
            yield _columns(grid, part)
            part = []
        part.append(column)
    yield _columns(grid, part)


def _columns(grid: Grid, chosen: Sequence[int]) -> Grid:
    header, *lines = [[line[k] for k in (0, *chosen)] for line in (grid.header, *grid.lines)]
    return Grid(grid.title, header, lines)


def _widths(lines: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*lines, strict=True)]


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    """Names to the left, all else to the right."""
    widths = _widths(lines)
    return "\n".join(
        f"{name:{widths[0]}}"
        + "".join(f"  {text:>{width}}" for text, width in zip(rest, widths[1:], strict=True))
        for name, *rest in lines
    )


def _piped(grid: Grid) -> str:
    rule = ["---", *["---:"] * (len(grid.header) - 1)]
    escaped = [
        [text.strip().replace("|", "\\|") for text in line] for line in (grid.header, rule, *grid.lines)
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)
