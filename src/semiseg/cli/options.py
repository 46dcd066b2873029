"""Flags that several commands share, spelled once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from semiseg.cli.help import DATA, MACHINE, METHOD, OUTPUT
from semiseg.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from semiseg.settings.environment import Settings


def flag(names: str, text: str, panel: str | None = None, **more: Any) -> Any:
    """A flag of a command: ``-o --output FILE``, as the help shows it, in a section (``panel``)."""
    given = names.split()
    value = given.pop() if not given[-1].startswith("-") else None
    return typer.Option(*given, metavar=value, help=text, rich_help_panel=panel, **more)


def argument(name: str, text: str) -> Any:
    """A positional argument of a command: its name in the help, and what it is."""
    return typer.Argument(metavar=name, show_default=False, help=text)


_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")

Dataset = Annotated[str, argument("DATASET", "Dataset folder, or its name or number.")]
Config = Annotated[
    Path | None,
    flag("-c --config FILE", "YAML file with settings; `semiseg recipes default` prints an example.", METHOD),
]
Set = Annotated[
    list[str] | None,
    flag("--set KEY=VALUE", "Change one setting; may be repeated.", METHOD),
]
Device = Annotated[
    str | None,
    flag("--device DEVICE", "Device: auto, cpu, cuda, cuda:N or mps.  [default: auto]", MACHINE),
]
Workers = Annotated[
    int | None,
    flag(
        "-j --workers N", "Number of worker processes.  [default: from cores and free memory]", MACHINE, min=0
    ),
]
Seed = Annotated[
    int | None,
    flag(
        "--seed N", "Random seed; the same seed makes the same random choices.  [default: 0]", METHOD, min=0
    ),
]
AllowCode = Annotated[
    list[str] | None,
    flag("--allow-code MODULE", "Allow a model to import its network from this module; may be repeated."),
]
Overwrite = Annotated[bool, flag("--overwrite", "Replace earlier results.", OUTPUT)]
Labeled = Annotated[
    int | None,
    flag(
        "--labeled --labelled K",
        "Number of labeled cases to use; the others become unlabeled.  [default: all]",
        DATA,
        min=1,
    ),
]
LabeledPatients = Annotated[
    int | None,
    flag(
        "--labeled-patients --labelled-patients N",
        "Number of labeled patients to use, instead of --labeled.",
        DATA,
        min=1,
    ),
]
Fold = Annotated[
    int | None, flag("--fold N", "Fold of the split file, counted from 0.  [default: 0]", DATA, min=0)
]
FoldOrAll = Annotated[
    str | None,
    flag("--fold N|all", "Hold out fold N of the labeled cases, or train all folds in turn.", DATA),
]
Recipe = Annotated[
    str | None,
    flag(
        "--recipe --protocol NAME",
        "Named settings; `semiseg recipes` lists them.  [default: default]",
        METHOD,
    ),
]
Method = Annotated[
    str | None,
    flag("--method NAME", "Training method; `semiseg methods` lists them.  [default: fixmatch]", METHOD),
]
PlanFile = Annotated[Path | None, flag("--plan FILE", "Use this plan.json instead of making a plan.", METHOD)]


def fold(given: str | None) -> int | Literal["all"] | None:
    """``--fold``: a number, or ``all`` (UsageError: neither)."""
    if given is None:
        return None
    if given.strip().lower() == "all":
        return "all"
    if not given.strip().isdecimal():
        raise UsageError(
            f"--fold wants a number from 0 or `all`, got {given!r}", hint="for example --fold 0", code="FOLD"
        )
    return int(given)


def names_in(text: str | None) -> tuple[str, ...]:
    """The names in ``"DWI, ADC"``."""
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def _environment() -> Settings:
    from semiseg.settings.environment import read

    return read()


def device(given: str | None) -> str:
    """``--device``, else ``SEMISEG_DEVICE``, else ``auto`` (UsageError: not the name of a device)."""
    name = given or _environment().device
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
    return _environment().workers if given is None else given


def runs(given: Path | None) -> Path:
    """``--runs``, else the first folder of ``SEMISEG_RUNS``, else ``runs`` here."""
    return (*_environment().runs, Path("runs"))[0] if given is None else given


def refuse_existing(*paths: Path) -> None:
    """Refuse to overwrite a path that exists (UsageError)."""
    there = [path for path in paths if path.exists()]
    if there:
        raise UsageError(
            f"{there[0]} already exists",
            hint="add --overwrite to replace it, or choose another place",
            code="EXISTS",
        )


def find_run(path: Path) -> Path:
    """``-m``: a path, or one below a folder of ``SEMISEG_RUNS``; a pattern names all that fit it."""
    from semiseg.prediction.packaged import fitting

    if path.exists() or path.is_absolute() or fitting(path):
        return path
    roots = (root / path for root in _environment().runs)
    return next((place for place in roots if place.exists() or fitting(place)), path)


def contradiction(one: str, other: str) -> UsageError:
    """The error for two flags that exclude each other."""
    return UsageError(f"{one} and {other} exclude each other", hint="give one of them", code="CONTRADICTION")


def require_method(name: str) -> None:
    """Refuse a method that does not exist, before torch is loaded (UsageError)."""
    from semiseg import methods

    if ":" not in name and name not in methods.names():
        raise unknown_name("method", name, methods.names(), see="`semiseg methods`")
