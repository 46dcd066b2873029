"""The README's Python example, run as a user would run it: word for word, as a script, beside a dataset."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import semiseg
from semiseg.dataset.adopt import adopt
from semiseg.errors import DataError
from tests.factories import blob, make_dataset

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
    assert re.findall(r"^ts_0\d \{'structure 1': [0-9.]+\}$", done.stdout, re.MULTILINE)
    assert (tmp_path / "predictions" / "summary.json").is_file()
    assert len(list(tmp_path.glob("runs/MyDataset/*/labeled-2_*/checkpoints/final.ckpt"))) == 1


@pytest.mark.parametrize("layout", ["data/{}.h5", "data/{}/mri_norm2.h5"])
def test_the_script_for_ssl4mis_makes_a_sound_dataset(tmp_path: Path, layout: str) -> None:
    h5py = pytest.importorskip("h5py")
    parts = {"train": ["c1", "c2", "c3"], "val": ["v1"], "test": ["t1"]}
    source = tmp_path / "data" / "LA"
    for part, cases in parts.items():
        for seed, case in enumerate(cases):
            image, label = blob((12, 11, 10), 2, 1, np.random.default_rng([seed, len(part)]))
            path = source / layout.format(case)
            path.parent.mkdir(parents=True, exist_ok=True)
            with h5py.File(path, "w") as file:
                file["image"], file["label"] = image[0], label
        (source / f"{part}.list").write_text("".join(f"{case}\n" for case in cases))
    with pytest.raises(DataError) as caught:
        adopt(source, tmp_path / "adopted")
    assert "coming-from-ssl4mis.md" in caught.value.hint
    text = (README.parent / "docs" / "coming-from-ssl4mis.md").read_text("utf-8")
    (script,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, timeout=120)
    report = semiseg.check(tmp_path / "Dataset001_LA")
    assert not report.errors
    split = json.loads((tmp_path / "Dataset001_LA" / "splits.json").read_text())
    assert split == {"order": ["c1", "c2", "c3"], "val": ["v1"]}
    image = nib.load(tmp_path / "Dataset001_LA" / "imagesTs" / "t1_0000.nii.gz")
    assert image.header.get_zooms() == (0.625, 0.625, 0.625)
