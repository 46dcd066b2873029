"""Starting: a pile of scans becomes a dataset once; the server says where it is and ends when asked."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tests.conftest import environment_of_ranks
from tests.factories import make_dataset

from semiseg.dataset.case import case_header
from semiseg.dataset.dataset import Dataset
from semiseg.dataset.description import read_description
from semiseg.errors import SemisegError, UsageError
from semiseg.images.grid import Volume
from semiseg.labeling.store import Labels, Origin
from semiseg.studio.rounds import training_round
from semiseg.studio.serve import _listening, open_or_adopt, token_for


def test_a_pile_of_scans_becomes_a_dataset_once(tmp_path: Path) -> None:
    pile = tmp_path / "scans"
    pile.mkdir()
    rng = np.random.default_rng(0)
    for i in range(3):
        image = nib.Nifti1Image(rng.standard_normal((6, 7, 8)).astype(np.float32), np.eye(4))
        nib.save(image, pile / f"patient{i}.nii.gz")
    before = sorted(pile.iterdir())
    made = open_or_adopt(pile, ["liver", "tumor"])
    assert read_description(made)[0].labels == {"background": 0, "liver": 1, "tumor": 2}
    labels = Labels(made)
    assert len(labels.cases) == 3
    name = min(labels.cases)
    grid = case_header(labels.cases[name]).grid
    labels.save(
        name,
        Volume(np.eye(6, 7, dtype=np.uint8)[..., None] * np.ones(8, np.uint8), grid),
        base=0,
        origin=Origin("drawn"),
    )
    split = Dataset.open(training_round(labels, tmp_path / "round")).split()
    assert (len(split.labeled), len(split.unlabeled)) == (1, 2)
    assert open_or_adopt(pile) == made
    assert open_or_adopt(pile, ["liver", "tumor"]) == made
    with pytest.raises(SemisegError, match="has labels of the classes"):
        open_or_adopt(made, ["liver"])
    assert sorted(pile.iterdir()) == before
    with pytest.raises(SemisegError):
        open_or_adopt(tmp_path / "nothing")


def test_who_listens_elsewhere_has_a_token(caplog: pytest.LogCaptureFixture) -> None:
    assert token_for("127.0.0.1", None) is None
    assert token_for("127.0.0.1", "own") == "own"
    made = {token_for("0.0.0.0", None), token_for("192.168.0.7", None)}
    assert len(made) == 2
    assert all(made)
    assert min(len(str(token)) for token in made) >= 32
    assert "no TLS" in caplog.text


def test_a_port_that_there_is_not_is_told() -> None:
    with pytest.raises(UsageError, match="70000: there is no such port"), _listening("127.0.0.1", 70000):
        pass


def test_the_command_serves_says_where_and_ends(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, labeled=1, unlabeled=1, test=0, shape=(6, 6, 6))
    command = [sys.executable, "-m", "semiseg", "studio", str(folder), "--port", "0", "--json"]
    environment = {**environment_of_ranks(), "SEMISEG_HOME": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        text = ""
        while process.stdout is not None and not text.endswith("}\n"):
            text += process.stdout.readline()
        told = json.loads(text)
        try:
            assert told["url"].startswith("http://127.0.0.1:")
            with urllib.request.urlopen(f"{told['url']}api/session") as answer:
                assert json.load(answer)["counts"]["unlabeled"] == 1
            again = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
            assert again.returncode == 2
            assert json.loads(again.stdout)["code"] == "IN_USE"
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
