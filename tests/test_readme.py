"""The README's Python example, run as a user would run it: word for word, as a script, beside a dataset."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.factories import make_dataset

README = Path(__file__).resolve().parent.parent / "README.md"


def test_the_python_example_runs_word_for_word(tmp_path: Path) -> None:
    make_dataset(tmp_path, name="MyDataset")
    blocks = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 1
    (tmp_path / "example.py").write_text(blocks[0], encoding="utf-8")
    few = {
        "SEMISEG__TRAIN__ITERATIONS": "3",
        "SEMISEG__PLAN__PATCH": "[16, 16, 16]",
        "SEMISEG__PLAN__FEATURES": "[4, 8]",
        "SEMISEG__TRAIN__PRECISION": "'32'",
        "SEMISEG_DEVICE": "cpu",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "example.py"],
        cwd=tmp_path,
        env={**os.environ, **few},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert re.fullmatch(r"[01]\.\d+", done.stdout.strip().splitlines()[-1])
    assert len(list((tmp_path / "predictions").glob("ts_0?.nii.gz"))) == 2
    assert len(list(tmp_path.glob("runs/MyDataset/*/labeled-2_*/checkpoints/final.ckpt"))) == 1
