"""The command: parse, one call, print.

Nothing heavy is imported before the arguments are understood, so that --help answers at once.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from latentloom.checks import UserError
from latentloom.commands import command, judge, meaning, page, papers, runs, search, use
from latentloom.flags import Overrides, field_of, taken_apart
from latentloom.lists import LISTS

INTERRUPTED, ENDED = 128 + signal.SIGINT, 128 + signal.SIGTERM  # exit codes, as shells have them
IN_ORDER = (runs, search, papers, judge, page, use, meaning)  # of --help


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    The exit code is 0 when done, 2 for a mistake in what was asked, 130 or 143 if stopped by a signal.
    """
    before = signal.signal(signal.SIGTERM, _end)
    try:
        return _main(argv)
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _main(argv: Sequence[str] | None) -> int:
    words, fields = taken_apart(sys.argv[1:] if argv is None else argv)
    arguments, rest = _parser().parse_known_args(words)
    try:
        overrides = [(field_of(name), text) for name, text in fields]
        if rest:
            raise UserError(f"what is {rest[0]!r}? fields are set as --data.batch 64; see --help")
        if overrides and not arguments.settable:
            raise UserError(f"{arguments.command} takes no --{overrides[0][0]}")
        arguments.run(arguments, overrides)
    except (UserError, OSError) as error:
        notes = "".join(f"\n  {note}" for note in getattr(error, "__notes__", []))
        print(f"latentloom: {error}{notes}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return _stopped(INTERRUPTED)
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):  # what Lightning makes of one in a run
            return _stopped(INTERRUPTED)
        if stop.code in (INTERRUPTED, ENDED):
            return _stopped(stop.code)
        raise
    return 0


def _stopped(code: int) -> int:
    together = sys.modules.get("torch.distributed")
    if together is None or not together.is_initialized() or together.get_rank() == 0:
        print("latentloom: stopped; the same command goes on from the last checkpoint", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="latentloom",
        description="Give an image classifier a latent space with structure, and measure it.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for part in IN_ORDER:
        part.add_to(commands)
    listing = command(commands, "list", _list, "what there is to choose from")
    listing.add_argument("of", choices=LISTS, metavar="|".join(LISTS))
    return parser


def _list(arguments: argparse.Namespace, overrides: Overrides) -> None:
    rows = list(LISTS[arguments.of]())
    width = max(len(name) for name, _ in rows)
    for name, about in rows:
        print(f"{name:<{width}}  {about}".rstrip())


if __name__ == "__main__":
    sys.exit(main())
