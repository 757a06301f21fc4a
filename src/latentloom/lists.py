"""What there is to choose from, read from the registries: (name, a line about it)."""

from __future__ import annotations

from collections.abc import Callable, Iterator


def _list_recipes() -> Iterator[tuple[str, str]]:
    from latentloom.recipes import recipes

    yield from recipes().items()


def _list_terms() -> Iterator[tuple[str, str]]:
    from latentloom.losses import TERMS

    for name, info in sorted(TERMS.items()):
        options = ", ".join(info.options)
        yield name, f"{_first_line(info.fn)} Reads {', '.join(info.reads)}; options: {options}"


def _list_scores() -> Iterator[tuple[str, str]]:
    from latentloom.evaluation import SCORES

    for name, info in sorted(SCORES.items()):
        yield name, f"{info.better} is better, {info.low:g} to {info.high:g}. {_first_line(info.fn)}"


def _list_data() -> Iterator[tuple[str, str]]:
    from latentloom.data import DATASETS

    for name, info in sorted(DATASETS.items()):
        shape = f"{info.channels} x {info.size} x {info.size}"
        yield name, f"{info.title}: {info.classes} classes, {shape}; {info.licence}"
    yield "folder:PATH", "a directory per class, any image sizes and modes"
    yield "npz:PATH", "arrays images (n, h, w[, c]) uint8 and labels (n,)"


def _list_encoders() -> Iterator[tuple[str, str]]:
    from latentloom.encoders import ENCODERS

    for name, info in sorted(ENCODERS.items()):
        yield name, f"latent {info.latent_dim}; {info.about}"


def _list_decoders() -> Iterator[tuple[str, str]]:
    from latentloom.encoders import DECODERS

    for name, info in sorted(DECODERS.items()):
        yield name, f"images of at least {info.smallest} pixels; {info.about}"


def _list_spaces() -> Iterator[tuple[str, str]]:
    from latentloom.sweep import spaces

    yield from spaces().items()


LISTS: dict[str, Callable[[], Iterator[tuple[str, str]]]] = {
    "recipes": _list_recipes,
    "terms": _list_terms,
    "scores": _list_scores,
    "data": _list_data,
    "encoders": _list_encoders,
    "decoders": _list_decoders,
    "spaces": _list_spaces,
}


def _first_line(fn: Callable[..., object]) -> str:
    return (fn.__doc__ or "").strip().splitlines()[0]
