"""The command: parse, one call, print.

Nothing heavy is imported before the arguments are understood, so that --help answers at once.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import typing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from latentloom import config
from latentloom.checks import UserError, unknown

Overrides = list[tuple[str, str]]
Commands: typing.TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
# Short flags for the fields that are set most often.
SHORT = {
    "data": "data.name",
    "root": "data.root",
    "epochs": "training.epochs",
    "seed": "seed",
    "lam": "objective.lam",
}


# Flags of the command itself; all others are fields.
OWN = {"help", "folder", "seeds", "workers", "scale", "json"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0 when done, 2 for a mistake in what was asked, 130 if stopped."""
    words, fields = _taken_apart(sys.argv[1:] if argv is None else argv)
    arguments, rest = _parser().parse_known_args(words)
    try:
        overrides = [(_field(name), text) for name, text in fields]
        if rest:
            raise UserError(f"what is {rest[0]!r}? fields are set as --data.batch 64; see --help")
        if overrides and arguments.run not in (_train, _compare, _reproduce):
            raise UserError(f"{arguments.command} takes no --{overrides[0][0]}")
        arguments.run(arguments, overrides)
    except (UserError, OSError) as error:
        notes = "".join(f"\n  {note}" for note in getattr(error, "__notes__", []))
        print(f"latentloom: {error}{notes}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("latentloom: stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


def _train(arguments: argparse.Namespace, overrides: Overrides) -> None:
    from latentloom.evaluation import card_table
    from latentloom.recipes import load_recipe
    from latentloom.training.folder import LAST, RECORD
    from latentloom.training.run import run

    asked = load_recipe(arguments.recipe, overrides)
    name = _label(arguments.recipe)
    folder = Path(arguments.folder or f"runs/{name}-{_safe(asked.data.name)}-seed{asked.seed}")
    if (folder / RECORD).exists():
        print(f"{folder} holds this run already; it is not run again")
    elif (folder / LAST).exists():
        print(f"{folder} holds a run that did not end; it goes on from its last checkpoint")
    record = run(asked, folder, recipe=name)
    print(card_table(record.card))
    print(f"best epoch {record.best_epoch + 1} of {len(record.history)}, {record.seconds:.0f} s of training")
    print(f"everything is in {folder}")


def _compare(arguments: argparse.Namespace, overrides: Overrides) -> None:
    from latentloom.report.comparison import compare

    if any(field == "seed" for field, _ in overrides):
        raise UserError("compare runs the seeds 0 to N - 1; say how many with --seeds N")
    recipes = [_with_inline(text) for text in arguments.recipes]
    folder = Path(arguments.folder or f"runs/compare-{_safe(dict(overrides).get('data.name', 'digits'))}")
    text, page = compare(recipes, overrides, seeds=arguments.seeds, folder=folder, workers=arguments.workers)
    print(text)
    print(f"the page is {page}")


def _evaluate(arguments: argparse.Namespace, overrides: Overrides) -> None:
    from latentloom.evaluation import card_table
    from latentloom.report.cards import card_of

    print(card_table(card_of(Path(arguments.what))))


def _list(arguments: argparse.Namespace, overrides: Overrides) -> None:
    rows = list(LISTS[arguments.of]())
    width = max(len(name) for name, _ in rows)
    for name, about in rows:
        print(f"{name:<{width}}  {about}".rstrip())


def _reproduce(arguments: argparse.Namespace, overrides: Overrides) -> None:
    from latentloom.files import write_text
    from latentloom.recipes import load_recipe
    from latentloom.reproduce import reproduce

    for field, _ in overrides:
        if not field.startswith("data.") or field == "data.name":
            raise UserError(
                f"reproduce runs what the table says; --{field} cannot be set, only how data are found"
            )
    data = load_recipe("baseline", overrides).data
    folder = Path(arguments.folder or "runs/reproduce")
    done = reproduce(arguments.paper, arguments.table, arguments.scale, folder, data, arguments.workers)
    print(done.text())
    if arguments.json:
        write_text(Path(arguments.json), done.json())


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


LISTS: dict[str, Callable[[], Iterator[tuple[str, str]]]] = {
    "recipes": _list_recipes,
    "terms": _list_terms,
    "scores": _list_scores,
    "data": _list_data,
    "encoders": _list_encoders,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="latentloom",
        description="Give an image classifier a latent space with structure, and measure it.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_runs(commands)
    evaluate = _command(commands, "evaluate", _evaluate, "the card of a run, or of any latents")
    evaluate.add_argument(
        "what", metavar="RUN|LATENTS", help="a run's folder, or a .parquet or .npz file with z and y"
    )
    listing = _command(commands, "list", _list, "what there is to choose from")
    listing.add_argument("of", choices=[*LISTS], metavar="|".join(LISTS))
    return parser


def _add_runs(commands: Commands) -> None:
    train = _command(commands, "train", _train, "train one recipe, and take its card", settable=True)
    train.add_argument("recipe", metavar="RECIPE", help="a name of `latentloom list recipes`, or a YAML file")
    train.add_argument("--folder", help="where the run is kept (runs/RECIPE-DATA-seedN)")
    compare = _command(
        commands, "compare", _compare, "recipes over seeds: a table with spread, and a page", settable=True
    )
    compare.add_argument(
        "recipes",
        metavar="RECIPE",
        nargs="+",
        help="the first is compared with; fields may follow: magnet,objective.lam=0.25",
    )
    compare.add_argument("--seeds", type=int, default=3, help="runs of each recipe, seeds 0 to N - 1 (3)")
    compare.add_argument(
        "--workers", type=int, default=1, help="runs at a time, each on its share of cores (1)"
    )
    compare.add_argument("--folder", help="where the runs are kept (runs/compare-DATA)")
    again = _command(
        commands, "reproduce", _reproduce, "our figures beside the published ones", settable=True
    )
    again.add_argument("paper", metavar="PAPER", help="latent-boost")
    again.add_argument("table", metavar="TABLE", help="2, 3, 4, 5, A5, A6, A7 or A8")
    again.add_argument("--scale", default="smoke", choices=["smoke", "cpu", "full"], help="(smoke)")
    again.add_argument("--workers", type=int, default=1, help="runs at a time (1)")
    again.add_argument("--json", help="also write the figures to this file")
    again.add_argument("--folder", help="where the runs are kept (runs/reproduce)")


def _command(
    commands: Commands,
    name: str,
    run: Callable[[argparse.Namespace, Overrides], None],
    about: str,
    settable: bool = False,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=about,
        description=about[0].upper() + about[1:] + ".",
        epilog=_fields_text() if settable else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    return parser


def _fields_text() -> str:
    """Every field of the configuration with its default, as flags."""
    lines = [f"  --{name:<28} {default}" for name, default in _fields(config.Train)]
    short = ", ".join(f"--{flag} = --{field}" for flag, field in SHORT.items())
    return "\n".join(
        [
            "any field of the recipe can be set, and any option of a term, as in",
            "  --objective.terms.latent_boost.options.beta 0.5",
            f"short: {short}",
            "",
            "fields and their defaults:",
            *lines,
        ]
    )


def _fields(kind: type, prefix: str = "") -> Iterator[tuple[str, object]]:
    types = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(types[field.name]):
            yield from _fields(typing.cast(type, types[field.name]), f"{prefix}{field.name}.")
        elif field.default is dataclasses.MISSING:
            made = field.default_factory() if callable(field.default_factory) else None
            yield f"{prefix}{field.name}", made
        else:
            yield f"{prefix}{field.name}", field.default


def _taken_apart(argv: Sequence[str]) -> tuple[list[str], Overrides]:
    """The words of the command, and (field, YAML text) of flags `--a.b value` and `--a.b=value`.

    A flag whose field is true or false needs no value.
    """
    defaults = dict(_fields(config.Train))
    words: list[str] = []
    found: Overrides = []
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        name, equals, text = word[2:].partition("=")
        if not word.startswith("--") or name in OWN:
            words.append(word)
            continue
        alone = isinstance(defaults.get(name), bool) and not (rest and rest[0] in ("true", "false"))
        if not equals:
            text = "true" if alone or not rest else rest.pop(0)
        found.append((name, text))
    return words, found


def _field(name: str) -> str:
    field = SHORT.get(name, name)
    if field.split(".")[0] not in {f.name for f in dataclasses.fields(config.Train)}:
        raise unknown(
            "option", f"--{name}", [f"--{known}" for known in [*SHORT, *dict(_fields(config.Train))]]
        )
    return field


def _with_inline(text: str) -> tuple[str, str, Overrides]:
    """A recipe with fields of its own, "name,a.b=value,...": its label, its name, the fields."""
    name, *pairs = text.split(",")
    for pair in pairs:
        if "=" not in pair:
            raise UserError(f"{text!r}: {pair!r} is not field=value")
    parts = [pair.partition("=") for pair in pairs]
    return _label(text), name, [(_field(key), value) for key, _, value in parts]


def _label(recipe: str) -> str:
    """A recipe's name as a folder can have it."""
    name, *pairs = recipe.split(",")
    return ",".join([Path(name).stem if name.endswith((".yaml", ".yml")) else name, *map(_safe, pairs)])


def _safe(text: str) -> str:
    return "".join(c if c.isalnum() or c in "-_.=," else "-" for c in text)


def _first_line(fn: Callable[..., object]) -> str:
    return (fn.__doc__ or "").strip().splitlines()[0]


if __name__ == "__main__":
    sys.exit(main())
