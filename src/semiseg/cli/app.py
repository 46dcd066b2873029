"""The command table, and the one place where a command starts and every failure ends.

What every command has: ``-q``, ``-v``, ``--json`` and ``--no-progress``, declared once.
"""

from __future__ import annotations

import inspect
import io
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from semiseg.cli.failures import exit_code_of, report
from semiseg.cli.help import LINES, MESSAGES, Command, GroupedHelp
from semiseg.cli.options import flag
from semiseg.cli.output import Output, start_logging, stop_logging
from semiseg.errors import Interrupted, unknown_name
from semiseg.machine.stopping import ended_as_by_ctrl_c


class LazyGroup(GroupedHelp):
    """Commands by name from :data:`LINES`; a command's module is imported only to run it."""

    output: Output

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, in the order of a first session."""
        return list(LINES)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """What the list in ``--help`` needs: a name and one line."""
        return TyperCommand(cmd_name, help=LINES[cmd_name]) if cmd_name in LINES else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The real command that ``args`` calls (UsageError: no such command; names the nearest)."""
        name = args[0]
        if name not in LINES:
            raise unknown_name("command", name, LINES, see="`semiseg --help`")
        return name, load(name, self.output), args[1:]


def load(name: str, output: Output) -> TyperCommand:
    """Import ``semiseg.cli.commands.NAME`` and make it a command that reports to ``output``."""
    module = import_module(f"semiseg.cli.commands.{name}")
    single = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings=CONTEXT)
    epilog = "\b\nExample:\n" + "\n".join(f"  {line}" for line in module.EXAMPLES)
    single.command(name, cls=Command, epilog=epilog)(with_shared_options(module.run, output))
    command = get_command(single)
    if not isinstance(command, TyperCommand):
        raise TypeError(f"{module.__name__}.run must be a single command")
    return command


def build(output: Output) -> TyperGroup:
    """The whole ``semiseg`` application."""
    app = typer.Typer(
        cls=LazyGroup,
        name="semiseg",
        rich_markup_mode=None,
        no_args_is_help=False,
        invoke_without_command=True,
        context_settings=CONTEXT,
    )

    @app.callback(invoke_without_command=True)
    def semiseg(
        ctx: typer.Context,
        version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
    ) -> None:
        """Train a medical image segmentation model from a few labeled and many unlabeled scans."""
        if version:
            from semiseg.__about__ import __version__

            output.result({"version": __version__}, f"semiseg {__version__}")
            raise typer.Exit
        if ctx.invoked_subcommand is None:
            typer.echo(ctx.get_help(), err=True)
            raise typer.Exit(2)

    group = get_command(app)
    if not isinstance(group, LazyGroup):
        raise TypeError("the application must be a LazyGroup")
    group.output = output
    return group


def run(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; whatever goes wrong is told in two lines."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    output = Output.guess(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # an ASCII terminal, or a file name that is not UTF-8
            stream.reconfigure(errors="backslashreplace")
    try:
        start_logging(output)
        with ended_as_by_ctrl_c():
            code = build(output).main(args=arguments, prog_name="semiseg", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        return _close_quietly()
    except SystemExit as error:
        return exit_code_of(error)
    except BaseException as error:
        try:
            return report(error, output)
        except BrokenPipeError:
            return _close_quietly()
    finally:
        stop_logging()
    return code if isinstance(code, int) else 0


def _close_quietly() -> int:
    """The reader (``| head``) has gone: write nothing more, not even at interpreter exit."""
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
    return 1


CONTEXT: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


SHARED: dict[str, tuple[type, str, str]] = {
    "quiet": (int, "-q --quiet", "Show only warnings; -qq shows only errors."),
    "verbose": (int, "-v --verbose", "Show debug lines, and tracebacks of errors."),
    "json": (bool, "--json", "Print the result as one JSON object on stdout."),
    "no_progress": (bool, "--no-progress", "Draw no progress bars."),
}
"""Option of every command -> its type (a number counts how often it is given), flags and help."""


def with_shared_options(function: Callable[..., None], output: Output) -> Callable[..., None]:
    """``function(out, …)`` as a function whose signature has the shared options instead of ``out``."""
    own = [p for p in inspect.signature(function, eval_str=True).parameters.values() if p.name != "out"]
    shared = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=kind(),
            annotation=Annotated[kind, flag(flags, text, MESSAGES, count=kind is int, show_default=False)],
        )
        for name, (kind, flags, text) in SHARED.items()
    ]

    def call(**given: Any) -> None:
        options = {name: given.pop(name) for name in SHARED}
        output.json = options["json"]
        output.verbosity = options["verbose"] - options["quiet"]
        output.progress = output.progress and not options["no_progress"] and output.verbosity >= 0
        start_logging(output)
        try:
            function(output, **given)
        except KeyboardInterrupt:
            raise Interrupted("interrupted") from None

    call.__doc__ = inspect.getdoc(function)
    call.__name__ = function.__name__
    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + shared
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {p.name: p.annotation for p in parameters}
    return call
