"""`keras-preact ...`: parses, calls one function, prints; heavy imports wait until needed."""

import os
import sys
from collections.abc import Sequence

import jsonargparse

from keras_preact.cli import (
    analyzing,
    converting,
    drawing,
    explaining,
    looking,
    measuring,
    papers,
    training,
    tuning,
    using,
)
from keras_preact.cli.help import Parser
from keras_preact.console import end_quickly, open_closed_streams, visible
from keras_preact.errors import OWN, left_out, library_of, line_of, near


def main(argv: list[str] | None = None) -> int:
    """Runs the command line and returns its exit code.

    Args:
        argv: Arguments; those of the process if not given.

    Returns:
        0 done, 1 a disk or device that fails, 2 an invalid argument, 3 invalid data, 4 training
        diverged, 130 interrupted, 143 stopped by SIGTERM.

    Example:
        >>> from keras_preact.cli import main
        >>> main(["models", "resnet110v2", "--json"])
        {"name": "resnet110v2", "depth": 110, "parameters": 1727962, "multiply_adds": 252887680}
        0
    """
    if argv is None:
        argv = sys.argv[1:]
        end_quickly()
    open_closed_streams()
    parser = parser_for(argv)
    if not argv:
        parser.print_help()
        return 2
    try:
        arguments = parser.parse_args(argv)
        run, _, _ = _COMMANDS[arguments.subcommand]
        run(arguments[arguments.subcommand])
    except jsonargparse.ArgumentError as error:
        return _fail(_usage(str(error), argv), 2)
    except BrokenPipeError:  # as in `keras-preact models | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except BaseException as error:
        code, message = exit_code(error)
        if message is None:
            raise
        return _fail(message, code)
    return 0


def exit_code(error: BaseException) -> tuple[int, str | None]:
    """The exit code for an error, and the line that is printed.

    Returns:
        An exit code and a message; the message is `None` for a bug in this program, which keeps its
        traceback.
    """
    if isinstance(error, OWN):
        return error.exit_code, str(error)
    if isinstance(error, KeyboardInterrupt):
        return 130, "Interrupted."
    if words := left_out(error):
        return 2, words
    if library_of(error) or isinstance(error, MemoryError):
        return 1, line_of(error)
    return 1, None


#: For each command: the function to run, the one that adds its arguments, and its description.
_COMMANDS = {
    **training.COMMANDS,
    **using.COMMANDS,
    **measuring.COMMANDS,
    **tuning.COMMANDS,
    **papers.COMMANDS,
    **looking.COMMANDS,
    **analyzing.COMMANDS,
    **explaining.COMMANDS,
    **drawing.COMMANDS,
    **converting.COMMANDS,
}


def parser_for(argv: Sequence[str]) -> Parser:
    """A parser of all commands, with the options of the command in these arguments."""
    from keras_preact import __version__

    parser = Parser(
        prog="keras-preact",
        description="Residual networks in every variant of the papers by He et al.",
        allow_abbrev=False,  # an option that was mistyped may not begin something else
    )
    parser.add_argument("--version", action="version", version=f"keras-preact {__version__}")
    commands = parser.add_subcommands()
    for name, (_, add_arguments, words) in _COMMANDS.items():
        command = Parser(name, description=words)
        commands.add_subcommand(name, command, help=words)
        if name in argv[:1]:  # the others' take time, and packages that may not be there
            add_arguments(command)
    return parser


def _usage(message: str, argv) -> str:
    """jsonargparse's message in one line, with a suggestion for an unknown option."""
    message = " ".join(message.split())
    unknown = [word.partition("=")[0] for word in message.split() if word.startswith("--")]
    if "unrecognized" in message and unknown and argv[0] in _COMMANDS:
        command = Parser()
        _COMMANDS[argv[0]][1](command)
        words = argv[:1]
        inner = getattr(command._subcommands_action, "choices", None) or {}
        if argv[1:2] and argv[1] in inner:
            command, words = inner[argv[1]], argv[:2]
        hint = near(unknown[0], list(command._option_string_actions))
        message += f".{hint} `keras-preact {' '.join(words)} --help` lists the options."
    return message


def _fail(message: str, code: int) -> int:
    print(f"keras-preact: {visible(message)}", file=sys.stderr)
    return code
