"""``semiseg convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from semiseg.cli import options
from semiseg.cli.commands.init import told
from semiseg.cli.options import argument, flag
from semiseg.cli.output import Output, columns, counted
from semiseg.errors import UsageError

EXAMPLES = (
    "semiseg convert",
    "semiseg convert acdc ACDC/database -o Dataset027_ACDC",
    "semiseg convert la '2018LA_Seg_Training Set' --split ua-mt",
    "semiseg convert brats2019 DOWNLOAD --channels all --task regions",
)

Words = list[str] | None


def run(
    out: Output,
    name: Annotated[
        str | None,
        argument("NAME", "Public data set; without it, all are listed."),
    ] = None,
    source: Annotated[
        Path | None,
        argument("DIR", "Folder of the data set, as unpacked."),
    ] = None,
    output: Annotated[
        Path | None, flag("-o --output DIR", "Dataset folder to make.  [default: beside DIR]")
    ] = None,
    split: Annotated[
        str | None, flag("--split NAME", "Published split, or none, files or random.  [default: usual one]")
    ] = None,
    channels: Annotated[
        str | None, flag("--channels A,B", "Channels to take, in this order; or all.")
    ] = None,
    task: Annotated[
        str | None, flag("--task NAME", "Labels to take, where the data set has several kinds.")
    ] = None,
    words: Annotated[Words, flag("--with WORD", "Option of this data set; may be repeated.")] = None,
    extra: Annotated[
        str, flag("--extra PART", "Use of cases that are in no list: out, unlabeled or test.")
    ] = "out",
    allow_missing: Annotated[
        bool, flag("--allow-missing", "Leave out listed cases that are missing.")
    ] = False,
    link: Annotated[bool, flag("--link", "Hard-link files instead of copying them.")] = False,
    dry_run: Annotated[bool, flag("--dry-run", "Show what would be done; write nothing.")] = False,
    seed: Annotated[int, flag("--seed N", "Random seed of --split random.", min=0)] = 0,
    workers: options.Workers = None,
) -> None:
    """Make a dataset folder of a public data set, raw or as h5, with its published split.

    Without DIR, says what is known of the data set; without NAME, lists all. The source is never changed.
    """
    from semiseg.dataset.public.convert import convert, datasets

    if name is None:
        known = datasets()
        out.result({"datasets": known}, columns((each["name"], _summary(each)) for each in known))
        return
    if source is None:
        from semiseg.dataset import public

        public.find(name)
        about = next(each for each in datasets() if each["name"] == name)
        out.result(about, columns(_facts(about)))
        return
    chosen = options.names_in(channels)
    if channels is not None and not chosen:
        raise UsageError("--channels wants names with commas between them", hint="such as --channels dwi,adc")
    with counted(out, "convert") as tick:
        result = convert(
            name,
            source,
            output,
            split=split,
            channels=chosen,
            task=task,
            options=words or (),
            extra=extra,  # type: ignore[arg-type]  # which refuses others
            allow_missing=allow_missing,
            link=link,
            dry_run=dry_run,
            seed=seed,
            workers=options.workers(workers),
            progress=tick,
        )
    out.result(result.as_dict(), "\n".join(told(result, written=not dry_run)))


def _summary(about: dict[str, Any]) -> str:
    named = ", ".join(about["splits"]) or "none published"
    return f"{about['title']}: {about['size']}; splits: {named}"


def _facts(about: dict[str, Any]) -> list[tuple[str, str]]:
    """What is known of one data set, a line each."""
    facts = [(key, str(about[key])) for key in ("title", "size", "license", "reference", "download")]
    for kind, key in (("--split", "splits"), ("--task", "tasks"), ("--with", "options")):
        facts += [(f"{kind} {name}", str(text)) for name, text in about[key].items()]
    if about["channels"]:
        facts.append(("--channels", ", ".join(about["channels"])))
    return [*facts, ("usual split", about["split"])]
