"""Where the numbers come from: versions, hardware, commits, hashes, commands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from semiseg.report.comparison.html import Child, Markup, join, tag
from semiseg.report.comparison.sections.lists import folded, plain
from semiseg.report.comparison.words import count

if TYPE_CHECKING:
    from semiseg.comparison.arm import RunScores
    from semiseg.comparison.result import Comparison


def provenance(comparison: Comparison) -> Markup:
    """What made the runs; where runs differ, each value with how many runs have it."""
    runs = all_runs(comparison)
    found: dict[str, dict[str, int]] = {}
    for run in runs:
        for key, value in _facts(run):
            values = found.setdefault(key, {})
            values[value] = values.get(value, 0) + 1
    rows: list[list[Child]] = []
    for key, values in found.items():
        alone = len(values) == 1 and sum(values.values()) == len(runs)
        told: list[Child] = [
            tag("div", value, None if alone else tag("small", count(times, "run"), class_="times"))
            for value, times in values.items()
        ]
        rows.append([key, join(told)])
    commands = [
        tag("div", tag("p", _name(run), tag("small", str(run.folder))), tag("pre", _command(run)))
        for run in runs
    ]
    return join(
        [
            plain(f"What made the {count(len(runs), 'run')}", ["of the runs", "value"], rows),
            folded("Folder and command of every run", *commands),
        ]
    )


def all_runs(comparison: Comparison) -> list[RunScores]:
    """Every run once; an upper bound stands on several boards."""
    runs = {run.folder: run for board in comparison.boards for arm in board.arms for run in arm.runs}
    return list(runs.values())


def _facts(run: RunScores) -> Iterator[tuple[str, str]]:
    manifest = run.manifest
    yield "semiseg", str(manifest.get("semiseg", "unknown"))
    git = manifest.get("git") or {}
    if git.get("commit"):
        yield "commit", f"{git['commit']}{' with local changes' if git.get('modified') else ''}"
    yield "Python", str(manifest.get("python", "unknown"))
    packages = manifest.get("packages") or {}
    yield "packages", ", ".join(f"{name} {version}" for name, version in packages.items()) or "unknown"
    yield "platform", str(manifest.get("platform", "unknown"))
    yield "hardware", _hardware(manifest.get("hardware") or {})
    yield "number format", str(manifest.get("precision", "unknown"))
    for deviation in manifest.get("deviations") or ():
        yield "deviation from strict", str(deviation)
    yield "files of the data, SHA-256", str(manifest.get("data_sha256", "unknown"))
    yield "lists of cases, SHA-256", str(manifest.get("split_sha256", "unknown"))


def _hardware(found: dict[str, Any]) -> str:
    gpus = found.get("gpus") or []
    return ", ".join(
        [
            *map(str, gpus),
            str(found.get("cpu", "unknown CPU")),
            f"{found.get('cores', '?')} cores",
            f"{found.get('threads', '?')} threads",
        ]
    )


def _name(run: RunScores) -> str:
    return f"{run.variant or run.method}, {run.labeled} labeled, fold {run.fold}, seed {run.seed}"


def _command(run: RunScores) -> str:
    return str(run.manifest.get("command") or "not recorded")
