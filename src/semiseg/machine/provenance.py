"""Who made a run, with what, from what: versions, git state, hardware, hashes, protocol, deviations."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semiseg.__about__ import __version__
from semiseg.errors import UsageError
from semiseg.machine import hardware as machine
from semiseg.machine.files import json_object

PACKAGES = ("torch", "numpy", "scipy", "nibabel", "SimpleITK", "pydicom", "monai", "lightning-fabric", "edt")


def environment() -> dict[str, Any]:
    """Versions, git state of a source checkout, command line and hardware."""
    program = Path(sys.argv[0]).name  # __main__.py for python -m semiseg
    return {
        "semiseg": __version__,
        "git": git_state(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version for name in PACKAGES if (version := version_of(name))},
        "command": shlex.join([program if program != "__main__.py" else "semiseg", *sys.argv[1:]]),
        "hardware": hardware(),
    }


def software() -> dict[str, str]:
    """What decides on the numbers of a training: semiseg, its commit (of a checkout), and torch."""
    state = git_state() or {}
    found = {"semiseg": __version__, "commit": state.get("commit", ""), "torch": version_of("torch") or ""}
    return {name: version for name, version in found.items() if version}


def changed_since(earlier: Mapping[str, str]) -> str:
    """What of :func:`software` has changed since ``earlier``, in words; what one lacks does not count."""
    now = software()
    return ", ".join(
        f"{name} {now[name][:10]} instead of {earlier[name][:10]}"
        for name in now
        if earlier.get(name, now[name]) != now[name]
    )


def other_version(path: Path, folder: Path, why: str) -> UsageError | None:
    """The error for a part of a run that cannot be read because another version of semiseg wrote it.

    Args:
        path: what cannot be read: the run, or a checkpoint of it.
        folder: of the run, whose ``manifest.json`` says who wrote it.
        why: what is not known here.

    Returns:
        None where this version wrote it, or nobody says who did.
    """
    written = json_object(folder / "manifest.json").get("semiseg")
    if written in (None, __version__):
        return None
    return UsageError(
        f"{path} was written by semiseg {written}, and this is semiseg {__version__}: {why}",
        hint="use it with the version that wrote it; `semiseg export` there, where the run is to leave",
        code="RUN_VERSION",
    )


def hardware() -> dict[str, Any]:
    """CPU model, cores, threads used by torch, and GPU names."""
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "cpu": machine.cpu()["name"],
        "cores": machine.cores(),
        "threads": torch.get_num_threads(),
        "gpus": gpus,
    }


def git_state() -> dict[str, Any] | None:
    """Commit and whether the tree is modified, when this package runs from a git checkout."""
    folder = Path(__file__).resolve().parent.parent
    git = shutil.which("git")
    if git is None or not (folder.parent.parent / ".git").exists():
        return None

    def ask(*words: str) -> str:
        result = subprocess.run([git, "-C", str(folder), *words], capture_output=True, text=True, check=False)
        return result.stdout.strip()

    commit = ask("rev-parse", "HEAD")
    return {"commit": commit, "modified": bool(ask("status", "--porcelain"))} if commit else None


def now() -> str:
    """The time, ISO 8601 with the zone."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def version_of(package: str) -> str | None:
    """The installed version of a distribution, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
