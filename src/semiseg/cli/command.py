"""What every command has: ``-q``, ``-v``, ``--json`` and ``--no-progress``, declared once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from semiseg.cli import logs
from semiseg.cli.output import Output
from semiseg.errors import Interrupted

CONTEXT: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

Quiet = Annotated[
    int,
    typer.Option("-q", "--quiet", count=True, show_default=False, help="Only warnings; twice: only errors."),
]
Verbose = Annotated[
    int, typer.Option("-v", "--verbose", count=True, show_default=False, help="Debug lines, and tracebacks.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
NoProgress = Annotated[bool, typer.Option("--no-progress", help="Draw no progress bars.")]

SHARED = {
    "quiet": (Quiet, 0),
    "verbose": (Verbose, 0),
    "json": (Json, False),
    "no_progress": (NoProgress, False),
}


def with_shared_options(function: Callable[..., None], output: Output) -> Callable[..., None]:
    """``function(out, …)`` as a function whose signature has the shared options instead of ``out``."""
    own = [p for p in inspect.signature(function, eval_str=True).parameters.values() if p.name != "out"]
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in SHARED.items()
    ]

    def call(**given: Any) -> None:
        options = {name: given.pop(name) for name in SHARED}
        output.json = options["json"]
        output.verbosity = options["verbose"] - options["quiet"]
        output.progress = output.progress and not options["no_progress"] and output.verbosity >= 0
        logs.start(output)
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
