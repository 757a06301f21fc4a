"""What each command does: its arguments, one call, what is printed.

Nothing heavy is imported before the arguments are understood, so that --help answers at once.
"""

from __future__ import annotations

import argparse
import typing
from collections.abc import Callable

from latentloom.flags import Overrides, fields_text

Commands: typing.TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
Run: typing.TypeAlias = Callable[[argparse.Namespace, Overrides], None]


def command(
    commands: Commands, name: str, run: Run, about: str, settable: bool = False
) -> argparse.ArgumentParser:
    """Add a command.

    Args:
        commands: of the parser.
        name: what is typed.
        run: called with the arguments, and with the fields that were set.
        about: one line, small letters.
        settable: fields of the configuration can be set, as --data.batch 64.
    """
    parser = commands.add_parser(
        name,
        help=about,
        description=about[0].upper() + about[1:] + ".",
        epilog=fields_text() if settable else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run, settable=settable)
    return parser
