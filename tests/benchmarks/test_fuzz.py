"""Damaged files through the command, at a tiny size: nothing worse than a refusal."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY


def test_no_damage_under_a_checksum_is_read_as_something_else(tmp_path: Path) -> None:
    only = [".nii.gz label", ".png", ".tif", ".mha"]
    command = [
        sys.executable,
        "benchmarks/fuzz.py",
        "--mutations",
        "12",
        "--results",
        str(tmp_path),
        "--only",
    ]
    subprocess.run([*command, *only], cwd=REPOSITORY, check=True, capture_output=True)
    found = json.loads((tmp_path / "fuzz.json").read_text())["columns"]["now"]
    assert set(found) == set(only)
    for name, counts in found.items():
        assert sum(counts.values()) == 12
        assert not set(counts) & {"traceback", "hang", "died"}, name
    assert not found[".nii.gz label"].get("silent")
    assert not found[".png"].get("silent")
    assert "| `.png` * |" in (tmp_path / "fuzz.md").read_text()
