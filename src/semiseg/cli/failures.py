"""Any exception as two lines and an exit code."""

from __future__ import annotations

import json
import re
import sys
import traceback
from collections.abc import Sequence

import typer

from semiseg.cli.help import documentation
from semiseg.cli.output import Output, printable
from semiseg.errors import (
    DeviceError,
    Interrupted,
    SemisegError,
    UsageError,
    as_semiseg_error,
    first_line,
    in_a_line,
    is_out_of_memory,
    nearest,
)
from semiseg.machine.files import plain


def report(error: BaseException, output: Output) -> int:
    """Tell ``error`` in the asked form (stderr lines, or JSON on stdout) and return the exit code."""
    known = explain(error, output.arguments)
    if output.verbosity > 0 and not isinstance(error, typer.TyperException | Interrupted):
        sys.stderr.write("".join(traceback.format_exception(error)))
    if output.verbosity > 0 and known is error and not isinstance(known, Interrupted):
        sys.stderr.write(f"see: {problem_page(known.code)}\n")
    if output.json:
        sys.stdout.write(json.dumps(plain(known.as_dict()), indent=1) + "\n")
    elif isinstance(known, Interrupted):
        sys.stderr.write(printable("; ".join(filter(None, (known.message, known.hint)))) + "\n")
    else:
        hint = f"hint: {known.hint}\n" if known.hint else ""
        sys.stderr.write(printable(f"error: {known.message}\n{hint}"))
    sys.stdout.flush()
    return known.exit_code


def explain(error: BaseException, arguments: Sequence[str] = ()) -> SemisegError:
    """``error`` as one that a user can understand."""
    if isinstance(error, SemisegError):
        return error
    if isinstance(error, typer.TyperException):
        return _usage(error, arguments)
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return Interrupted("interrupted")
    if is_out_of_memory(error):
        return _out_of_memory(error, arguments)
    if type(error).__name__ == "BrokenProcessPool":
        return DeviceError(
            "a worker process died, most often because memory ran out",
            hint="use fewer workers, for example --workers 1",
            code="WORKER_DIED",
        )
    return as_semiseg_error(error)


def problem_page(code: str) -> str:
    """Where the documentation says more about an error code."""
    page = "problems/" if documentation() else "docs/problems.md"
    return f"{documentation()}{page}#{code.lower()}"


def exit_code_of(error: SystemExit) -> int:
    """The code of a ``sys.exit`` in some library."""
    if error.code is None or isinstance(error.code, int):
        return error.code or 0
    return 1


def _out_of_memory(error: BaseException, arguments: Sequence[str]) -> DeviceError:
    where = "GPU" if "cuda" in str(error).lower() else "main"
    hint = (
        "lower plan.batch, plan.patch or plan.features, for example --set plan.batch=2; "
        "or --set plan.memory_gb=GB to let the planner do it"
    )
    if "predict" in arguments[:1]:
        hint = (
            "lower inference.window_batch (--set inference.window_batch=1) or --workers, or use --device cpu"
        )
    return DeviceError(f"out of {where} memory{first_line(error)}", hint=hint, code="OUT_OF_MEMORY")


_NUMBERS = {"number": "number", "integer": "whole number"}
_NUMBER = re.compile(r"Input should be a valid (number|integer), unable to parse.*")
"""What the parser says of text in place of a number."""


def _usage(error: typer.TyperException, arguments: Sequence[str]) -> UsageError:
    """A parse error of the command line, with the nearest flag when one was misspelled."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context else " ".join(["semiseg", *arguments[:1]])
    hint = f"see `{path} --help`"
    option = getattr(error, "option_name", None)
    message = error.format_message().rstrip(".")
    given = _given(getattr(getattr(error, "param", None), "opts", ()), arguments)
    if given is not None and type(error).__name__ == "BadParameter":
        message = _NUMBER.sub(lambda found: f"wanted a {_NUMBERS[found[1]]}", message) + f", got {given!r}"
    if type(error).__name__ == "NoSuchOption" and option and context:
        known = [
            name for p in context.command.params for name in (*p.opts, *p.secondary_opts) if name[:1] == "-"
        ]
        message, near = f"unknown flag {option!r}", nearest_flag(option, known, arguments)
        message += f". Did you mean {near!r}?" if near else ""
    return UsageError(in_a_line(message), hint=hint, code="USAGE")


def _given(flags: Sequence[str], arguments: Sequence[str]) -> str | None:
    """The value that a flag was given on the command line."""
    found = None
    for index, word in enumerate(arguments):  # the last one counts
        flag, equals, value = word.partition("=")
        if flag in flags:
            found = value if equals else next(iter(arguments[index + 1 :]), None)
    return found


def nearest_flag(option: str, known: list[str], arguments: Sequence[str]) -> str | None:
    """The flag that was meant: the closest long one, also for single-dash words such as ``-device``."""
    words = [option]
    if not option.startswith("--"):
        words += [
            f"-{word}"
            for word in arguments
            if word.startswith(option) and not word.startswith("--") and len(word) > 2
        ]
    for word in reversed(words):
        near = nearest(word.partition("=")[0], known, n=1, cutoff=0.6)
        if near:
            return near[0]
    begin = [name for name in known if len(option) == 2 and name.startswith(f"-{option}")]
    return begin[0] if len(begin) == 1 else None
