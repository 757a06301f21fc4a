"""What has to be known of a paper before its tables can be run again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from latentloom import config
from latentloom.published import Published
from latentloom.values import Record

CHANGE = "_relative_change_pct"  # ends the metric of a change between two methods


@dataclass(frozen=True)
class Scale:
    """How much of a table is run, and for how long."""

    images: int | None  # training images, those for validation included; None is all
    test_images: int | None
    epochs: int
    seeds: int
    cells: Literal["ends", "some", "all"]  # per data set: first and last; as the study chooses; all
    show_all: bool = False  # print the cells that are not run too


@dataclass(frozen=True)
class Measure:
    """What of a record stands beside a printed number."""

    label: str
    decimals: int
    read: Callable[[Record], float]
    note: str = ""
    given: Callable[[Record], float] | None = None  # the same, of probes that have the given labels alone


@dataclass(frozen=True)
class Setting:
    """A cell of a table: what is trained, in the words of the print."""

    dataset: str
    model: str
    method: str
    options: tuple[tuple[str, float], ...]  # hyper-parameters that differ between cells, by name

    @property
    def label(self) -> str:
        """Unique among the cells of a network on a data set; names its folder."""
        return "-".join([self.method, *(f"{value:g}" for _, value in self.options)])

    def __str__(self) -> str:
        options = (f"{name} {value:g}" for name, value in self.options)
        return ", ".join([self.dataset, self.model, self.method, *options])


class Study(Protocol):
    """A paper whose tables can be run again: a module with these names."""

    SCALES: Mapping[str, Scale]
    NAMES: Mapping[str, str]  # method in print -> as it is shown, where that differs
    CHANGES: Mapping[str, tuple[str, str]]  # method in print -> the two methods that it is a change between

    def setting_of(self, row: Published) -> Setting | None:
        """The cell that a printed number belongs to; None where it is not one of a run that we can do."""
        ...

    def measure_of(self, row: Published) -> Measure:
        """What of a run of its cell stands beside a printed number."""
        ...

    def chosen(self, table: str, settings: Sequence[Setting], scale: Scale) -> list[Setting]:
        """Those cells of a table that a scale runs."""
        ...

    def asked(self, setting: Setting, scale: Scale, data: config.Data, seed: int) -> config.Train:
        """The run of a cell."""
        ...

    def caveat(self, scale: str, data: config.Data) -> str:
        """How the protocol of a scale differs from that of the print."""
        ...


def ends(settings: Sequence[Setting]) -> list[Setting]:
    """The first and the last cell of each data set."""
    by_dataset = [[s for s in settings if s.dataset == d] for d in dict.fromkeys(s.dataset for s in settings)]
    return [s for mine in by_dataset for s in dict.fromkeys((mine[0], mine[-1]))]
