"""The command: parse, one call, print.

Nothing heavy is imported before the arguments are understood, so that --help answers at once.
"""

from __future__ import annotations

import argparse
import sys
import typing
from collections.abc import Callable, Sequence
from pathlib import Path

from latentloom.checks import UserError
from latentloom.config import Train
from latentloom.files import file_name
from latentloom.flags import Overrides, field_of, fields_text, taken_apart
from latentloom.lists import LISTS

Commands: typing.TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0 when done, 2 for a mistake in what was asked, 130 if stopped."""
    words, fields = taken_apart(sys.argv[1:] if argv is None else argv)
    arguments, rest = _parser().parse_known_args(words)
    try:
        overrides = [(field_of(name), text) for name, text in fields]
        if rest:
            raise UserError(f"what is {rest[0]!r}? fields are set as --data.batch 64; see --help")
        if overrides and arguments.run not in (_train, _compare, _sweep, _reproduce, _names, _groups):
            raise UserError(f"{arguments.command} takes no --{overrides[0][0]}")
        arguments.run(arguments, overrides)
    except (UserError, OSError) as error:
        notes = "".join(f"\n  {note}" for note in getattr(error, "__notes__", []))
        print(f"latentloom: {error}{notes}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return _stopped()
    except SystemExit as stop:  # what Lightning makes of an interrupt in a run
        if isinstance(stop.__context__, KeyboardInterrupt):
            return _stopped()
        raise
    return 0


def _stopped() -> int:
    print("latentloom: stopped; the same command goes on from the last checkpoint", file=sys.stderr)
    return 130


def _train(arguments: argparse.Namespace, overrides: Overrides) -> None:
    from latentloom.recipes import load_recipe
    from latentloom.training.folder import LAST, RECORD
    from latentloom.training.run import run

    asked = load_recipe(arguments.recipe, overrides)
    name = _label(arguments.recipe)
    folder = Path(arguments.folder or f"runs/{name}-{file_name(asked.data.name)}-seed{asked.seed}")
    if (folder / RECORD).exists():
        print(f"{folder} holds this run already; it is not run again")
    elif (folder / LAST).exists():
        print(f"{folder} holds a run that did not end; it goes on from its last checkpoint")
    record = run(asked, folder, recipe=name)
    print(record.card)
    print(f"best epoch {record.best_epoch + 1} of {len(record.history)}, {record.seconds:.0f} s of training")
    print(f"everything is in {folder}")


def _compare(arguments: argparse.Namespace, overrides: Overrides) -> None:
    from latentloom.report.comparison import compare

    if any(field == "seed" for field, _ in overrides):
        raise UserError("compare runs the seeds 0 to N - 1; say how many with --seeds N")
    recipes = [_with_inline(text) for text in arguments.recipes]
    folder = Path(arguments.folder or f"runs/compare-{file_name(dict(overrides).get('data.name', 'digits'))}")
    text, page = compare(recipes, overrides, seeds=arguments.seeds, folder=folder, workers=arguments.workers)
    print(text)
    print(f"the page is {page}")


def _sweep(arguments: argparse.Namespace, overrides: Overrides) -> None:
    from latentloom.sweep import sweep

    if any(field == "seed" for field, _ in overrides):
        raise UserError("sweep runs the seeds 0 to N - 1 of each trial; say how many with --seeds N")
    name = f"{_label(arguments.recipe)}-{file_name(dict(overrides).get('data.name', 'digits'))}"
    result = sweep(
        arguments.recipe,
        overrides,
        space=arguments.space,
        trials=arguments.trials,
        folder=Path(arguments.folder or f"runs/sweep-{name}"),
        seeds=arguments.seeds,
        search=arguments.search,
        workers=arguments.workers,
        cpus=arguments.cpus,
        gpus=arguments.gpus,
        address=arguments.address,
    )
    print(result.text())


def _evaluate(arguments: argparse.Namespace, overrides: Overrides) -> None:
    from latentloom.report.cards import card_of

    print(card_of(Path(arguments.what)))


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


def _names(arguments: argparse.Namespace, overrides: Overrides) -> None:
    from latentloom.data.catalogue import class_names
    from latentloom.names.command import checked, show

    if arguments.check:
        print(checked())
        return
    asked = _asked_names("names", overrides)
    print(show(asked.model.label_embeddings, *class_names(asked.data), arguments.out))


def _groups(arguments: argparse.Namespace, overrides: Overrides) -> None:
    from latentloom.data.catalogue import class_names
    from latentloom.names.asked import asked_vectors
    from latentloom.names.groups import suggest_groups
    from latentloom.names.vectors import centre

    asked = _asked_names("groups", overrides)
    fine, _ = class_names(asked.data)
    found = asked_vectors(asked.model.label_embeddings, fine)
    vectors = centre(found.vectors, fine) if asked.model.label_embeddings.centred else found.vectors
    print(suggest_groups(vectors, fine, Path(arguments.out), arguments.number))


def _asked_names(command: str, overrides: Overrides) -> Train:
    """Which class names, and how they are read."""
    from latentloom.recipes import load_recipe

    for field, _ in overrides:
        if not field.startswith(("data.", "model.label_embeddings.")):
            raise UserError(
                f"{command} trains nothing; --{field} cannot be set, only --data.* and "
                "--model.label_embeddings.*"
            )
    if "data.name" not in dict(overrides):
        raise UserError("say whose class names: --data NAME, or --data folder:PATH")
    return load_recipe("baseline", [("model.label_embeddings.source", "names"), *overrides])


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
    _add_names(commands)
    listing = _command(commands, "list", _list, "what there is to choose from")
    listing.add_argument("of", choices=LISTS, metavar="|".join(LISTS))
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
    _add_sweep(commands)
    again = _command(
        commands, "reproduce", _reproduce, "our figures beside the published ones", settable=True
    )
    again.add_argument("paper", metavar="PAPER", help="laresa, latent-boost, moving-targets or vae-dml")
    again.add_argument(
        "table",
        metavar="TABLE",
        help="of laresa 1 to 3, 7 or 8; of latent-boost 2 to 5 or A1 to A8; of moving-targets 6 or 7; "
        "of vae-dml 6.1 to 6.6",
    )
    again.add_argument("--scale", default="smoke", choices=["smoke", "cpu", "full"], help="(smoke)")
    again.add_argument("--workers", type=int, default=1, help="runs at a time (1)")
    again.add_argument("--json", help="also write the figures to this file")
    again.add_argument("--folder", help="where the runs are kept (runs/reproduce)")


def _add_names(commands: Commands) -> None:
    names = _command(
        commands, "names", _names, "what is read for class names, and its vectors", settable=True
    )
    names.add_argument("--out", help="write the vectors to this .safetensors file")
    names.add_argument("--check", action="store_true", help="compute the packaged vectors again and compare")
    groups = _command(
        commands, "groups", _groups, "coarse labels from what class names mean, to be edited", settable=True
    )
    groups.add_argument("--out", required=True, help="the YAML file, for --data.coarse")
    groups.add_argument("--number", type=int, help="of groups (that of the best silhouette)")


def _add_sweep(commands: Commands) -> None:
    sweep = _command(
        commands,
        "sweep",
        _sweep,
        "search for the fields of a recipe that do best on validation",
        settable=True,
    )
    sweep.add_argument("recipe", metavar="RECIPE", help="a name of `latentloom list recipes`, or a YAML file")
    sweep.add_argument(
        "--space", default="default", help="a name of `latentloom list spaces`, or a YAML file (default)"
    )
    sweep.add_argument("--trials", type=int, default=30, help="how many in all (30)")
    sweep.add_argument("--seeds", type=int, default=1, help="runs of each trial, seeds 0 to N - 1 (1)")
    sweep.add_argument("--workers", type=int, help="trials at a time (as many as there is room for)")
    sweep.add_argument("--cpus", type=float, default=1, help="cores of a trial (1)")
    sweep.add_argument("--gpus", type=float, help="GPUs of a trial, or a share of one (1 where there is any)")
    sweep.add_argument("--address", help="of a running Ray cluster, HOST:PORT or auto (one is started here)")
    sweep.add_argument("--search", default="tpe", choices=["tpe", "hyperopt"], help="(tpe)")
    sweep.add_argument("--folder", help="where everything is kept (runs/sweep-RECIPE-DATA)")


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
        epilog=fields_text() if settable else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    return parser


def _with_inline(text: str) -> tuple[str, str, Overrides]:
    """A recipe with fields of its own, "name,a.b=value,...": its label, its name, the fields."""
    name, *pairs = text.split(",")
    for pair in pairs:
        if "=" not in pair:
            raise UserError(f"{text!r}: {pair!r} is not field=value")
    parts = [pair.partition("=") for pair in pairs]
    return _label(text), name, [(field_of(key), value) for key, _, value in parts]


def _label(recipe: str) -> str:
    """A recipe's name as a folder can have it."""
    name, *pairs = recipe.split(",")
    return ",".join([Path(name).stem if name.endswith((".yaml", ".yml")) else name, *map(file_name, pairs)])


if __name__ == "__main__":
    sys.exit(main())
