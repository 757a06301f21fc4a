"""What is being done while a page is made, as a bar that is gone when the page is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Doing = Callable[[str, float], None]  # told what begins, and the share of all that is done


def unseen(what: str, share: float) -> None:
    """Show nothing."""


@contextmanager
def shown() -> Iterator[Doing]:
    """A bar on the terminal; none where there is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        page = bar.add_task("page", total=1.0)
        yield lambda what, share: bar.update(page, description=f"page: {what}", completed=share)
