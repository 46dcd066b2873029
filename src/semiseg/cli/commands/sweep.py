"""``semiseg sweep``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from semiseg.cli import options
from semiseg.cli.options import argument, flag
from semiseg.cli.output import Output
from semiseg.errors import UsageError

if TYPE_CHECKING:
    from semiseg.sweeping.progress import SweepProgress

EXAMPLES = (
    "semiseg sweep SPEC.yaml --dry-run",
    "semiseg sweep SPEC.yaml --devices cuda:0,cuda:1",
    "semiseg sweep SPEC.yaml -j 4",
    "semiseg sweep SPEC.yaml --on slurm --set-slurm slurm_partition=gpu",
    "semiseg sweep runs/SPEC --retry-failed",
)


def run(
    out: Output,
    spec: Annotated[Path, argument("SPEC", "YAML file, or a sweep folder.")],
    runs: Annotated[
        Path | None, flag("--runs DIR", "Parent folder of the sweep folder.  [default: runs]")
    ] = None,
    output: Annotated[Path | None, flag("-o --output DIR", "Exact sweep folder, instead of --runs.")] = None,
    on: Annotated[str, flag("--on PLACE", "Where to run: local, ray, ray://HOST:PORT or slurm.")] = "local",
    devices: Annotated[
        str | None,
        flag(
            "--devices LIST",
            "Devices: auto (every GPU, else the CPU), cpu, or a list such as cuda:0,cuda:1.  [default: auto]",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        flag(
            "-j --workers N",
            "Number of runs at a time; 0: in this process.  [default: one per device, or by cores "
            "and memory]",
            min=0,
        ),
    ] = None,
    retry_failed: Annotated[bool, flag("--retry-failed", "Also repeat runs that failed before.")] = False,
    slurm: Annotated[
        list[str] | None,
        flag("--set-slurm KEY=VALUE", "Parameter of submitit; may be repeated."),
    ] = None,
    ray: Annotated[
        list[str] | None,
        flag("--set-ray KEY=VALUE", "Option of a Ray task; may be repeated."),
    ] = None,
    dry_run: Annotated[bool, flag("--dry-run", "List the runs and their cost; write nothing.")] = False,
) -> None:
    """Train many methods, label counts, seeds and datasets, and score every run.

    Finished runs are never repeated. Runs whose process died are tried again. A failed run does not stop the
    others; the exit code is then 5. Ctrl-C saves; the same command continues from there.
    """
    places: dict[str, Any] = {"runs": options.runs(runs), "folder": output}
    if dry_run:
        from semiseg.sweeping.sweep import preview

        _list_cells(out, *preview(spec, **places))
        return
    from semiseg.drawing.table import terminal
    from semiseg.sweeping.progress import result_table, summary_line, watching
    from semiseg.sweeping.sweep import sweep

    with watching(out.progress, quiet=out.verbosity < 0) as watch:
        outcome = sweep(
            spec,
            **places,
            on=on,
            devices=devices or options.device(None),
            workers=options.workers(workers),
            retry_failed=retry_failed,
            slurm=_pairs("slurm", slurm or []),
            ray=_pairs("ray", ray or []),
            watch=watch,
        )
    text = f"{summary_line(outcome.board)}: {outcome.folder}"
    if (problem := outcome.problem("the same command")) is not None:
        out.text(text)
        raise problem
    out.text(terminal(result_table(outcome.board)))
    out.result({"folder": outcome.folder, **outcome.content}, text)


def _list_cells(out: Output, board: SweepProgress, folder: Path) -> None:
    from semiseg.drawing.table import terminal
    from semiseg.sweeping.progress import cell_table, cost, summary_line

    cells = [
        {
            **entry.cell.model_dump(mode="json", exclude={"config", "scoring"}),
            "state": entry.state,
            "cost": round(cost(entry.cell), 1),
            "trained": round(board.share[entry.cell.id], 4),
        }
        for entry in board.entries
    ]
    out.text(terminal(cell_table(board)))
    total = sum(cell["cost"] * (1 - cell["trained"]) for cell in cells if cell["state"] != "done")
    text = f"{summary_line(board)}; {total:.0f} supervised iterations to go: {folder}"
    out.result({"dry_run": True, "folder": folder, "cells": cells, "cost": total}, text)


def _pairs(name: str, settings: list[str]) -> dict[str, Any]:
    """What ``--set-slurm`` or ``--set-ray`` says (UsageError: not ``key=value``)."""
    import yaml

    from semiseg.settings.resolve import read

    given = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        try:
            if not equals or not key:
                raise yaml.YAMLError
            given[key] = read(value)
        except yaml.YAMLError:
            raise UsageError(
                f"--set-{name} wants key=value, got {setting!r}", hint=f"such as --set-{name} cpus=4"
            ) from None
    return given
