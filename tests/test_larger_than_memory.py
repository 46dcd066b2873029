"""A scan that claims more memory than is free is refused before it is decoded, whoever reads it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from semiseg import images
from semiseg.cli import main
from semiseg.dataset.case import Case, load_case
from semiseg.errors import DataError
from semiseg.images import claims
from semiseg.images.dicom import find_series, read_series
from tests.factories import make_dataset
from tests.images.synthetic_dicom import volume, write_series
from tests.trained import make_run


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset, its scans as loose files, and a model, on a machine with 10 KB of memory left."""
    dataset = make_dataset(tmp_path)
    shutil.copytree(dataset / "imagesTr", tmp_path / "loose")
    make_run(tmp_path / "run")
    monkeypatch.setenv("SEMISEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(claims, "PLAUSIBLE_BYTES", 1)
    monkeypatch.setattr(claims, "free_memory_gb", lambda: 1e-5)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["check", "Dataset001_Tiny", "--workers", "0"], 3),
        (["init", "loose", "-o", "made", "--workers", "0"], 3),
        (["plan", "Dataset001_Tiny", "--workers", "0"], 3),
        (["train", "Dataset001_Tiny", "--workers", "0", "--device", "cpu", "--iterations", "2"], 3),
        (["predict", "-i", "loose", "-o", "out", "-m", "run", "--device", "cpu"], 5),
        (["predict", "-i", "loose/case_00_0000.nii.gz", "-o", "a.nii.gz", "-m", "run", "-j", "0"], 5),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_every_command_looks_before_it_decodes(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
) -> None:
    monkeypatch.chdir(place)
    assert main(arguments) == code
    told = capsys.readouterr()
    assert "GB of memory are free" in told.out + told.err


def test_a_series_of_small_files_is_looked_at_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_series(tmp_path / "series", volume())
    (found,) = find_series(tmp_path / "series")
    whole = read_series(found).array
    monkeypatch.setattr(claims, "PLAUSIBLE_BYTES", 1)
    free = (
        whole.nbytes + whole.nbytes / whole.shape[2]
    ) / 2**30  # more than a file, less than the copies of all
    monkeypatch.setattr(claims, "free_memory_gb", lambda: free)
    with pytest.raises(DataError, match="memory are free") as caught:
        read_series(found)
    assert caught.value.code == "TOO_LARGE"


def test_channels_are_looked_at_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_dataset(tmp_path, channels=3) / "imagesTr"
    case = Case("case_00", tuple(sorted(folder.glob("case_00_*"))))
    one = images.read_header(case.images[0]).needed_bytes
    monkeypatch.setattr(claims, "PLAUSIBLE_BYTES", 1)
    monkeypatch.setattr(claims, "free_memory_gb", lambda: 3 * one / 2**30)
    images.read(case.images[0])
    with pytest.raises(DataError, match=r"case_00_0000.nii.gz: its 3 channels") as caught:
        load_case(case)
    assert caught.value.code == "TOO_LARGE"
