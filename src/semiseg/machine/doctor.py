"""What this machine offers: versions, devices, memory, disk, optional packages. Reads; changes nothing."""

from __future__ import annotations

import importlib.metadata as metadata
import os
import platform
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from semiseg.__about__ import __version__
from semiseg.machine import hardware
from semiseg.machine.provenance import version_of
from semiseg.settings import environment

PRIVACY = {"network use": "none", "telemetry": "none"}
_REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)")
_EXTRA = re.compile(r"extra\s*==\s*['\"]([^'\"]+)['\"]")
USER_EXTRAS = ("fast", "monai", "dicom", "studio", "onnx", "hpo", "slurm", "ray", "mlflow", "wandb")


def examine() -> dict[str, Any]:
    """Everything, as one JSON-able mapping; ``problems`` lists what would stop a training."""
    config = environment.read()
    required, extras = requirements()
    report: dict[str, Any] = {
        "semiseg": __version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "packages": {name: version_of(name) for name in required},
        "extras": {
            extra: {name: version_of(name) for name in names}
            for extra, names in extras.items()
            if extra in USER_EXTRAS
        },
        "cpu": hardware.cpu(),
        "memory_gb": {"free": hardware.free_memory_gb(), "total": hardware.total_memory_gb()},
        "keeps_freed_memory": {"on_a_cpu": (why := hardware.why_not()) is None, "why_not": why},
        "folders": {
            "cache": _folder(config.cache),
            "runs": _folder((*config.runs, Path("runs"))[0]),
            "data": [str(path) for path in config.data],
        },
        "devices": _devices(),
        **PRIVACY,
    }
    report["problems"] = problems(report)
    return report


def requirements() -> tuple[list[str], dict[str, list[str]]]:
    """Names of the required packages, and of those of each extra, from the installed metadata."""
    required: list[str] = []
    extras: dict[str, list[str]] = {}
    try:
        lines = metadata.requires("semiseg") or []
    except metadata.PackageNotFoundError:
        lines = []
    for line in lines:
        name = _REQUIREMENT.match(line)
        extra = _EXTRA.search(line)
        if name and extra:
            extras.setdefault(extra[1], []).append(name[1])
        elif name:
            required.append(name[1])
    return required, extras


def problems(report: dict[str, Any]) -> list[str]:
    """What is wrong, one line each."""
    found = [
        f"required package {name} is not installed" for name, v in report["packages"].items() if v is None
    ]
    if "error" in report["devices"]:
        found.append(f"torch cannot be imported: {report['devices']['error']}")
    for name in ("cache", "runs"):
        if not report["folders"][name]["writable"]:
            found.append(f"the {name} folder {report['folders'][name]['path']} is not writable")
    found += [
        f"environment variable {name} is not one that semiseg reads"
        for name in environment.unknown_variables()
    ]
    return found


def _folder(path: Path) -> dict[str, Any]:
    """Where it is, whether we may write there, and the free space below its nearest existing parent."""
    path = path.expanduser().absolute()
    there = next(parent for parent in (path, *path.parents) if parent.exists())
    return {
        "path": str(path),
        "exists": path.is_dir(),
        "writable": os.access(there, os.W_OK),
        "free_gb": round(shutil.disk_usage(there).free / 2**30, 1),
    }


def _devices() -> dict[str, Any]:
    """What torch can compute on. A broken torch is an answer here, not a crash."""
    try:
        import torch
    except (ImportError, OSError) as error:
        return {"error": str(error)}
    cuda = [
        {
            "name": torch.cuda.get_device_name(index),
            "memory_gb": round(torch.cuda.get_device_properties(index).total_memory / 2**30, 1),
            "bf16": torch.cuda.is_bf16_supported(),
        }
        for index in range(torch.cuda.device_count())
    ]
    return {
        "cpu": {"threads": torch.get_num_threads()},
        "cuda": cuda,
        "cuda_build": torch.version.cuda,
        "mps": torch.backends.mps.is_available(),
        "default": "cuda" if cuda else "mps" if torch.backends.mps.is_available() else "cpu",
    }
