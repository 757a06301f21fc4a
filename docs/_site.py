"""What the site has beside the documents: pages made of the files above them, tables made of the registries.

A line `<!-- table of NAME -->` in a document becomes what TABLES has under that name, when the site is built.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
ABOVE = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
CELL = re.compile(r"<td.*?</td>", re.DOTALL)
MARK = re.compile(r"^<!-- table of (\w+) -->$", re.MULTILINE)


def on_files(files: Any, config: Any) -> Any:
    """Called by MkDocs with the files that it has found; those above docs/ come in as pages."""
    from mkdocs.structure.files import File

    for source, page in ABOVE.items():
        files.append(File.generated(config, page, content=_as_page((ROOT / source).read_text("utf-8"))))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Called by MkDocs with the text of each page; the search is spared tables of nothing but figures."""
    if page.file.src_uri.startswith("results/"):
        page.meta["search"] = {"exclude": True}
    up = "../" * page.file.src_uri.count("/")
    for source, name in ABOVE.items():
        markdown = markdown.replace(f"](../{up}{source}", f"]({up}{name}")
    return MARK.sub(lambda mark: TABLES[mark[1]](), markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Called by MkDocs with each page as HTML; in code in a table it leaves the backslash before a bar."""
    return CELL.sub(lambda cell: cell[0].replace("\\|", "|"), html)


def terms() -> str:
    """The terms, a table for each family."""
    from latentloom.losses import TERMS

    families = _by_module({name: info.fn for name, info in TERMS.items()})
    head = ("term", "what it does", "reads", "options")
    return _tables(families, head, lambda name: _term(name, TERMS[name]))


def scores() -> str:
    """The scores, a table for each family."""
    from latentloom.evaluation import SCORES

    families = _by_module({name: info.fn for name, info in SCORES.items()})
    head = ("score", "is", "better", "range", "needs")
    return _tables(families, head, lambda name: _score(name, SCORES[name]))


def terms_in_full() -> str:
    """What mkdocstrings is to show of each term."""
    from latentloom.losses import TERMS

    return _in_full(info.fn for info in TERMS.values())


def scores_in_full() -> str:
    """What mkdocstrings is to show of each score."""
    from latentloom.evaluation import SCORES

    return _in_full(info.fn for info in SCORES.values())


def evaluation() -> str:
    """What mkdocstrings is to show of what `latentloom.evaluation` has beside the scores."""
    from latentloom import evaluation

    public = {name: getattr(evaluation, name) for name in evaluation.__all__}
    others = {
        name: value
        for name, value in public.items()
        if callable(value) and name not in evaluation.SCORES and not value.__module__.endswith("._table")
    }
    families = _by_module(others)
    return "\n\n".join(
        f"{about}\n\n{_in_full(others[name] for name in names)}" for about, names in families.items()
    )


def choices(kind: str) -> str:
    """What `latentloom list` prints of a kind."""
    from latentloom.lists import LISTS

    return _table(("name", "is"), ((f"`{name}`", about) for name, about in LISTS[kind]()))


TABLES: dict[str, Callable[[], str]] = {
    "terms": terms,
    "scores": scores,
    "terms_in_full": terms_in_full,
    "scores_in_full": scores_in_full,
    "evaluation": evaluation,
    **{
        kind: lambda kind=kind: choices(kind)
        for kind in ("recipes", "data", "encoders", "decoders", "spaces")
    },
}


def _as_page(text: str) -> str:
    """A document from above docs/, as one that lies in it."""
    text = text.replace("](docs/", "](")
    for source, page in ABOVE.items():
        text = text.replace(f"]({source})", f"]({page})")
    return text


def _term(name: str, info: Any) -> tuple[str, ...]:
    reads = [*_code(info.reads), *(f"{key} if there" for key in _code(info.may_read))]
    defaults = {key: p.default for key, p in inspect.signature(info.fn).parameters.items()}
    options = [f"{key} = {defaults[key]!r}" for key in info.options]
    return _link(name, info.fn), _first_line(info.fn), ", ".join(reads), ", ".join(_code(options))


def _score(name: str, info: Any) -> tuple[str, ...]:
    needs = [*_code(info.reads), *(f"{key} if there" for key in _code(info.may_read))]
    span = f"{info.low:g} to {info.high:g}".replace("inf", "∞")
    return _link(name, info.fn), f"{info.title}.", info.better, span, ", ".join(needs)


def _tables(
    families: dict[str, list[str]], head: Sequence[str], row: Callable[[str], tuple[str, ...]]
) -> str:
    parts = [f"{about}\n\n{_table(head, map(row, names))}" for about, names in families.items()]
    return "\n\n".join(parts)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _by_module(functions: dict[str, Callable[..., Any]]) -> dict[str, list[str]]:
    """Names by what the module that they are from says of itself."""
    found: dict[str, list[str]] = {}
    for name, function in functions.items():
        found.setdefault(_first_line(sys.modules[function.__module__]), []).append(name)
    return found


def _in_full(functions: Iterable[Callable[..., Any]]) -> str:
    return "\n\n".join(f"::: {_path(function)}" for function in functions)


def _link(name: str, function: Callable[..., Any]) -> str:
    return f"[`{name}`][{_path(function)}]"


def _path(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{function.__name__}"


def _first_line(about: object) -> str:
    return (about.__doc__ or "").strip().splitlines()[0]


def _code(names: Iterable[str]) -> list[str]:
    return [f"`{name}`" for name in names]
