"""``semiseg init``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from semiseg.cli import options
from semiseg.cli.options import argument, flag
from semiseg.cli.output import Output, counted
from semiseg.errors import DataError, UsageError

if TYPE_CHECKING:
    from semiseg.dataset.adopt import AdoptResult

EXAMPLES = (
    "semiseg init scans",
    "semiseg init scans -o Dataset201_Heart --link",
    "semiseg init scans --label 1=atrium --channel 0=CT",
    "semiseg init scans --channels DWI,ADC,FLAIR --resample-to DWI",
    "semiseg init scans --missing zero --some-slices",
)

Pairs = list[str] | None


def run(
    out: Output,
    source: Annotated[Path, argument("DIR", "Folder of scans and masks.")],
    output: Annotated[
        Path | None, flag("-o --output DIR", "Dataset folder to make.  [default: beside DIR]")
    ] = None,
    link: Annotated[bool, flag("--link", "Hard-link files instead of copying them.")] = False,
    label: Annotated[Pairs, flag("--label VALUE=NAME", "Name a class; may be repeated.")] = None,
    channel: Annotated[Pairs, flag("--channel INDEX=NAME", "Name a channel; may be repeated.")] = None,
    max_classes: Annotated[
        int, flag("--max-classes N", "Refuse masks with more values than this.", min=1)
    ] = 30,
    channels: Annotated[
        str | None,
        flag("--channels NAMES", "Channels to keep, in this order, such as DWI,ADC.  [default: all]"),
    ] = None,
    resample_to: Annotated[
        str | None,
        flag(
            "--resample-to CHANNEL",
            "Resample channels on other grids onto this channel's grid, or onto `label`.",
        ),
    ] = None,
    spacing: Annotated[str | None, flag("--spacing X,Y,Z", "Voxel size in mm where files say none.")] = None,
    missing: Annotated[
        str,
        flag(
            "--missing HOW",
            "Where cases lack a channel: refuse, zero (put zeros there), or out (leave these cases out).",
        ),
    ] = "refuse",
    frames: Annotated[
        bool, flag("--frames", "Take frames of 4D files beside 3D scans as unlabeled scans.")
    ] = False,
    some_slices: Annotated[
        bool, flag("--some-slices", "Labels are of some slices only; ignore slices without a class.")
    ] = False,
    workers: options.Workers = None,
) -> None:
    """Turn scans into a dataset: NIfTI, NRRD, MetaImage, HDF5, PNG, TIFF or DICOM, flat or nested.

    Finds which files are masks, which channels and classes there are, and which scans have no label.
    The source is never changed.
    """
    from semiseg.dataset.adopt import adopt
    from semiseg.dataset.public import advice

    names: dict[str, Any] = {
        "label_names": numbered("--label", label),
        "channel_names": numbered("--channel", channel),
    }
    names |= {"max_classes": max_classes, "spacing": numbers("--spacing", spacing)}
    names |= {"missing": missing, "frames": frames, "some_slices": some_slices}
    names |= {"resample_to": resample_to or "", "channels": options.names_in(channels)}
    known = advice(source)
    try:
        with counted(out, "init") as tick:
            result = adopt(
                source, output, link=link, **names, workers=options.workers(workers), progress=tick
            )
    except DataError as error:
        error.hint = f"{error.hint}; {known}" if known else error.hint
        raise
    result.notices += [known] * bool(known)
    out.result(result.as_dict(), "\n".join(told(result)))


def numbered(flag: str, pairs: Pairs) -> dict[int, str]:
    """``["1=atrium"]`` as ``{1: "atrium"}`` (UsageError: not a number, ``=`` and a name)."""
    named = {}
    for pair in pairs or ():
        number, equals, name = pair.partition("=")
        if not (equals and name.strip() and re.fullmatch(r"\s*-?[0-9]+\s*", number)):
            raise UsageError(f"{flag} wants NUMBER=NAME, got {pair!r}", hint=f"for example {flag} 1=atrium")
        named[int(number)] = name.strip()
    return named


def numbers(flag: str, text: str | None) -> tuple[float, ...]:
    """``"0.6,0.6,3"`` as numbers (UsageError: not numbers with commas between them)."""
    try:
        return tuple(float(part) for part in (text or "").split(",") if text)
    except ValueError:
        raise UsageError(
            f"{flag} wants numbers with commas between them, got {text!r}", hint=f"such as {flag} 0.6,0.6,3"
        ) from None


def told(result: AdoptResult, *, written: bool = True) -> Iterator[str]:
    """What was made (or, not ``written``, would be), line by line."""
    yield from result.decisions
    yield from (f"notice: {notice}" for notice in result.notices)
    counts = ", ".join(f"{number} {kind}" for kind, number in result.counts.items() if number)
    yield f"{'made' if written else 'would make'} {result.folder}: {counts}"
    if written:
        yield f"next: semiseg check {shlex.quote(str(result.folder))}"
