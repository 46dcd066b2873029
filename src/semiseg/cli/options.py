"""Flags that several commands share, spelled once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from semiseg.cli.help import DATA, MACHINE, METHOD, OUTPUT
from semiseg.errors import UsageError, unknown_name

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")

Dataset = Annotated[
    str,
    typer.Argument(metavar="DATASET", show_default=False, help="Dataset folder, or its name or number."),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "-c",
        "--config",
        metavar="FILE",
        help="YAML file with settings; `semiseg recipes default` prints an example.",
        rich_help_panel=METHOD,
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change one setting; may be repeated.",
        show_default=False,
        rich_help_panel=METHOD,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="DEVICE",
        help="Device: auto, cpu, cuda, cuda:N or mps.  [default: auto]",
        show_default=False,
        rich_help_panel=MACHINE,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "-j",
        "--workers",
        metavar="N",
        min=0,
        help="Number of worker processes.  [default: from cores and free memory]",
        rich_help_panel=MACHINE,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        metavar="N",
        min=0,
        help="Random seed; the same seed makes the same random choices.  [default: 0]",
        rich_help_panel=METHOD,
    ),
]
AllowCode = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-code",
        metavar="MODULE",
        show_default=False,
        help="Allow a model to import its network from this module; may be repeated.",
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace earlier results.", rich_help_panel=OUTPUT)
]
Labeled = Annotated[
    int | None,
    typer.Option(
        "--labeled",
        "--labelled",
        metavar="K",
        min=1,
        help="Number of labeled cases to use; the others become unlabeled.  [default: all]",
        rich_help_panel=DATA,
    ),
]
LabeledPatients = Annotated[
    int | None,
    typer.Option(
        "--labeled-patients",
        "--labelled-patients",
        metavar="N",
        min=1,
        help="Number of labeled patients to use, instead of --labeled.",
        rich_help_panel=DATA,
    ),
]
Fold = Annotated[
    int | None,
    typer.Option(
        "--fold",
        metavar="N",
        min=0,
        help="Fold of the split file, counted from 0.  [default: 0]",
        rich_help_panel=DATA,
    ),
]
FoldOrAll = Annotated[
    str | None,
    typer.Option(
        "--fold",
        metavar="N|all",
        help="Hold out fold N of the labeled cases, or train all folds in turn.",
        rich_help_panel=DATA,
    ),
]
Recipe = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        "--protocol",
        metavar="NAME",
        help="Named settings; `semiseg recipes` lists them.  [default: default]",
        rich_help_panel=METHOD,
    ),
]
Method = Annotated[
    str | None,
    typer.Option(
        "--method",
        metavar="NAME",
        help="Training method; `semiseg methods` lists them.  [default: fixmatch]",
        rich_help_panel=METHOD,
    ),
]
PlanFile = Annotated[
    Path | None,
    typer.Option(
        "--plan",
        metavar="FILE",
        help="Use this plan.json instead of making a plan.",
        rich_help_panel=METHOD,
    ),
]


def fold(given: str | None) -> int | Literal["all"] | None:
    """``--fold``: a number, or ``all``.

    Raises:
        UsageError: neither.
    """
    if given is None:
        return None
    if given.strip().lower() == "all":
        return "all"
    if not given.strip().isdecimal():
        raise UsageError(
            f"--fold wants a number from 0 or `all`, got {given!r}", hint="for example --fold 0", code="FOLD"
        )
    return int(given)


def device(given: str | None) -> str:
    """``--device``, else ``SEMISEG_DEVICE``, else ``auto``.

    Raises:
        UsageError: not the name of a device.
    """
    from semiseg.settings.environment import read

    name = given or read().device
    if not _DEVICE.fullmatch(name):
        source = "--device" if given else "SEMISEG_DEVICE"
        raise UsageError(
            f"{source}: unknown device {name!r}",
            hint="use auto, cpu, cuda, cuda:N or mps",
            code="UNKNOWN_DEVICE",
        )
    return name


def workers(given: int | None) -> int | None:
    """``-j``, else ``SEMISEG_WORKERS``, else None: chosen from cores and free memory."""
    if given is not None:
        return given
    from semiseg.settings.environment import read

    return read().workers


def runs(given: Path | None) -> Path:
    """``--runs``, else the first folder of ``SEMISEG_RUNS``, else ``runs`` here."""
    if given is not None:
        return given
    from semiseg.settings.environment import read

    return (*read().runs, Path("runs"))[0]


def refuse_existing(*paths: Path) -> None:
    """Nothing is overwritten unless asked.

    Raises:
        UsageError: one of the paths exists.
    """
    there = [path for path in paths if path.exists()]
    if there:
        raise UsageError(
            f"{there[0]} already exists",
            hint="add --overwrite to replace it, or choose another place",
            code="EXISTS",
        )


def find_run(path: Path) -> Path:
    """``-m``: a path, or one below a folder of ``SEMISEG_RUNS``; a pattern names all that fit it."""
    from semiseg.prediction.ensembles import fitting

    if path.exists() or path.is_absolute() or fitting(path):
        return path
    from semiseg.settings.environment import read

    roots = (root / path for root in read().runs)
    return next((place for place in roots if place.exists() or fitting(place)), path)


def contradiction(one: str, other: str) -> UsageError:
    """The error for two flags that exclude each other."""
    return UsageError(f"{one} and {other} exclude each other", hint="give one of them", code="CONTRADICTION")


def require_method(name: str) -> None:
    """Say that a method does not exist before torch is loaded."""
    from semiseg import methods

    if ":" not in name and name not in methods.names():
        raise unknown_name("method", name, methods.names(), see="`semiseg methods`")
