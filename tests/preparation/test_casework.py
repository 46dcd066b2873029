"""Processes are started only where they can import the script that runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import environment_of_ranks

CALL = "from semiseg.preparation.workers import _starts_processes\nprint(_starts_processes())\n"


@pytest.mark.parametrize(
    ("script", "how", "answer", "told"),
    [
        (CALL, "file", "False", "has no `if __name__"),
        (f"if __name__ == '__main__':\n    {CALL.replace(chr(10), chr(10) + '    ')}\n", "file", "True", ""),
        (CALL, "-c", "True", ""),
        (CALL, "pipe", "False", "other processes cannot import the script"),
    ],
)
def test_a_script_without_guard_works_in_its_own_process(
    tmp_path: Path, script: str, how: str, answer: str, told: str
) -> None:
    file = tmp_path / "script.py"
    file.write_text(script)
    arguments = {"file": [str(file)], "-c": ["-c", script], "pipe": ["-"]}[how]
    done = subprocess.run(
        [sys.executable, *arguments],
        input=script if how == "pipe" else None,
        capture_output=True,
        text=True,
        env=environment_of_ranks(),
        check=True,
        cwd=tmp_path,
    )
    assert done.stdout.strip() == answer
    assert told in done.stderr
