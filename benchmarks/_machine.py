"""What a measurement must say of the machine it was made on."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from semiseg.machine.hardware import cores, cpu

ROOT = Path(__file__).resolve().parent.parent


def machine() -> dict[str, Any]:
    """CPU model, cores usable, threads, versions and the commit. No host name, no user name, no paths."""
    return {
        "cpu": cpu()["name"],
        "cores": cores(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: _version(name) for name in ("torch", "numpy", "scipy", "monai", "edt")},
        **_torch(),
        **_commit(),
    }


def described(about: dict[str, Any]) -> str:
    """What :func:`machine` says, in a line to stand under a table."""
    return "Machine: " + ", ".join(f"{key} {value}" for key, value in about.items()) + "."


def typed() -> str:
    """The command that runs now, as it was typed; of a path that exists the last part alone."""
    script = Path(sys.argv[0]).resolve().relative_to(ROOT)
    words = [Path(word).resolve().name if Path(word).exists() else word for word in sys.argv[1:]]
    return shlex.join(["python", str(script), *words])


def store(folder: Path, name: str, title: str, command: str, text: str, figures: dict[str, Any]) -> None:
    """Write what a command measured: the figures as NAME.json, and a page of them as NAME.md.

    Args:
        folder: of the results, made if need be.
        name: of both files.
        title: of the page.
        command: that was given.
        text: Markdown.
        figures: what can be read back.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = {"title": title, "command": command, "machine": machine(), **figures}
    (folder / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    page = "\n\n".join([f"# {title}", text, f"Command: `{command}`.", described(content["machine"])])
    (folder / f"{name}.md").write_text(page + "\n", encoding="utf-8")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first hold numbers."""
    align = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, align, *rows))


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _torch() -> dict[str, Any]:
    try:
        import torch
    except ImportError:
        return {"torch_threads": None, "gpu": None}
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {"torch_threads": torch.get_num_threads(), "gpu": gpu}


def _commit() -> dict[str, Any]:
    """The commit, and whether files under src or benchmarks differ from it."""
    try:
        return {
            "commit": _git("rev-parse", "HEAD"),
            "dirty": bool(_git("status", "--porcelain", "--untracked-files=no", "src", "benchmarks/*.py")),
        }
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip()
