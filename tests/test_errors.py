"""No error is raised without a fix, anywhere in the package; and a real process tells it alike."""

from __future__ import annotations

import ast
import errno
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

import pytest

import semiseg
from semiseg.errors import SemisegError, UsageError, plural, where_to_move

SOURCE = Path(semiseg.__file__).parent
KINDS = {"SemisegError", "UsageError", "DataError", "DeviceError", "PartialError"}


def without_hint(path: Path) -> list[str]:
    """Places where an error is made without ``hint``."""
    calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
    return [
        f"{path.relative_to(SOURCE)}:{call.lineno}"
        for call in calls
        if isinstance(call.func, ast.Name)
        and call.func.id in KINDS
        and not any(keyword.arg in ("hint", None) for keyword in call.keywords)
    ]


def test_every_error_has_a_fix() -> None:
    files = sorted(SOURCE.rglob("*.py"))
    assert sum(path.read_text("utf-8").count("Error(") for path in files) > 100
    assert [place for path in files for place in without_hint(path)] == []


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("home/cache/ab.npy", "set SEMISEG_HOME to another folder"),
        ("/dev/shm/x", "work in one process: -j 0"),
        ("temporary/x", "set TMPDIR to another folder"),
        ("elsewhere/x", "another place with -o, --runs or --run"),
        (None, "`-j 0` needs no /dev/shm"),
    ],
)
def test_where_no_room_is_left_the_setting_that_moves_the_files_is_named(
    place: str | None, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEMISEG_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    for number in (errno.ENOSPC, errno.EACCES):
        told = where_to_move(OSError(number, "no", place and str(tmp_path / place)))
        assert says in told or (place is None and "SEMISEG_HOME" in told)
    assert not where_to_move(OSError(errno.EIO, "no", str(tmp_path)))


def test_a_traceback_ends_with_the_fix() -> None:
    with pytest.raises(UsageError) as caught:
        semiseg.check("nowhere")
    text = "".join(traceback.format_exception(caught.value))
    assert text.rstrip().endswith(f"hint: {caught.value.hint}")
    assert not getattr(SemisegError("none", hint=""), "__notes__", [])


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        (["trian"], 2, "Did you mean 'train'?"),
        (["check", "nowhere"], 2, "no dataset folder 'nowhere'"),
        (["check", "."], 3, "semiseg init"),
        (
            ["train", ".", "--set", "train.iterations=-5"],
            2,
            "wanted a whole number above 0",
        ),
    ],
)
def test_a_real_process(argv: list[str], code: int, says: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "semiseg", *argv], capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_number_has_its_noun_in_the_right_form() -> None:
    assert [plural(n, "case") for n in (0, 1, 2)] == ["0 cases", "1 case", "2 cases"]
    assert plural(1, "class", "classes") == "1 class"
    assert plural(2, "case is", "cases are") == "2 cases are"
    assert plural(1_000_000, "voxel") == "1000000 voxels"
    assert plural(1.5, "minute") == "1.5 minutes"
