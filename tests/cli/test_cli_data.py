"""``init``, ``check``, ``plan`` and ``evaluate`` on files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from semiseg.preparation.plan import Plan


@pytest.fixture
def own(tiny: Path, tmp_path: Path) -> Path:
    """A copy of the tiny dataset that a test may spoil."""
    return Path(shutil.copytree(tiny, tmp_path / tiny.name))


def spoil(own: Path, value: int) -> None:
    """Give a label file a value that no class has."""
    path = own / "labelsTr" / "case_00.nii.gz"
    image = nib.load(path)
    label = np.asarray(image.dataobj).copy()
    label[label == 1] = value
    nib.save(nib.Nifti1Image(label, image.affine), path)


# --- check


def test_check_of_a_good_dataset(cli: Callable, tiny: Path) -> None:
    answer = cli("check", tiny)
    assert answer.code == 0
    assert "OK" in answer.out.splitlines()[-1]
    machine = cli("check", tiny, "--json").json
    assert (machine["ok"], machine["problems"]) == (True, [])


def test_check_exits_3_and_names_the_problem(cli: Callable, own: Path) -> None:
    (own / "imagesTr" / "case_01_0000.nii.gz").write_bytes(b"not an image")
    answer = cli("check", own)
    assert answer.code == 3
    assert "case_01" in answer.out
    assert answer.err.startswith("error: ")
    assert answer.err.splitlines()[1].startswith("hint: ")
    machine = cli("check", own, "--json")
    assert (machine.code, machine.json["ok"]) == (3, False)
    assert any(problem["case"] == "case_01" for problem in machine.json["details"]["problems"])


def test_check_fix_writes_the_label_map(cli: Callable, own: Path) -> None:
    for path in sorted((own / "labelsTr").iterdir()):
        image = nib.load(path)
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj) * np.uint8(255), image.affine), path)
    for path in sorted((own / "labelsTs").iterdir()):
        path.unlink()
    before = cli("check", own)
    assert before.code == 3
    assert "--fix" in before.err
    assert cli("check", own, "--fix").code == 0
    assert cli("check", own).code == 0


def test_datasets_are_found_by_name_and_number(
    cli: Callable, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEMISEG_DATA", str(tiny.parent))
    assert cli("check", tiny.name).code == 0
    assert cli("check", "1").code == 0


# --- init


def test_init_then_check(cli: Callable, tiny: Path, tmp_path: Path) -> None:
    pile = tmp_path / "pile"
    (pile / "scans").mkdir(parents=True)
    (pile / "masks").mkdir()
    for path in (tiny / "labelsTr").iterdir():
        shutil.copy(path, pile / "masks" / path.name)
        shutil.copy(tiny / "imagesTr" / path.name.replace(".nii", "_0000.nii"), pile / "scans" / path.name)
    for path in (tiny / "imagesUn").iterdir():
        shutil.copy(path, pile / "scans" / path.name.replace("_0000", ""))
    made = tmp_path / "Dataset300_Mine"
    answer = cli("init", pile, "-o", made, "--label", "1=ball", "--json")
    assert answer.code == 0
    assert answer.json["dataset"]["labels"] == {"background": 0, "ball": 1}
    assert (answer.json["counts"]["labeled"], answer.json["counts"]["unlabeled"]) == (3, 4)
    assert cli("check", made).code == 0
    again = cli("init", pile, "-o", made)
    assert (again.code, "not empty" in again.err) == (2, True)


# --- plan


def test_plan_is_written_once_and_read_back(cli: Callable, tiny: Path, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    answer = cli("plan", tiny, "-o", file, "--labeled", 2, "--set", "plan.patch=[16,16,16]", "-j", 0)
    assert answer.code == 0
    assert Plan.load(file).patch == (16, 16, 16)
    assert "2 labeled, 5 unlabeled" in answer.out
    assert f"--plan {file}" in answer.out
    assert cli("plan", tiny, "-o", file).code == 2
    assert cli("plan", tiny, "-o", file, "--overwrite", "-j", 0).code == 0
    assert Plan.load(file).patch != (16, 16, 16)


def test_plan_dry_run_writes_nothing(
    cli: Callable, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = cli("plan", tiny, "--dry-run", "--json", "-j", 0)
    assert (answer.code, answer.json["file"], list(tmp_path.iterdir())) == (0, None, [])
    assert Plan.model_validate(answer.json["plan"]).dim == 3


def test_plans_of_two_datasets_lie_side_by_side(
    cli: Callable, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Path(shutil.copytree(own, tmp_path / "Dataset002_Other"))
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    for dataset in (own, other):
        assert cli("plan", dataset, "-j", 0).code == 0
    assert {path.name for path in here.iterdir()} == {f"{own.name}_plan.json", "Dataset002_Other_plan.json"}
    again = cli("plan", own, "-j", 0)
    assert (again.code, "already exists" in again.err) == (2, True)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([], "8 GB, assumed: cuda is not in this machine"),
        (["--set", "plan.memory_gb=24"], "24 GB, as asked"),
    ],
)
def test_a_device_that_is_elsewhere_can_be_planned_for(
    cli: Callable, tiny: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], says: str
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    answer = cli("plan", tiny, "--dry-run", "--device", "cuda", "-j", 0, *given)
    assert answer.code == 0, answer.err
    assert says in answer.out
    assert cli("recommend", tiny, "--device", "cuda", "-j", 0).code == 0


# --- evaluate


@pytest.fixture
def predictions(tiny: Path, tmp_path: Path) -> Path:
    """Perfect ones."""
    return Path(shutil.copytree(tiny / "labelsTs", tmp_path / "predictions"))


def test_evaluate_writes_both_files_and_not_twice(cli: Callable, tiny: Path, predictions: Path) -> None:
    answer = cli("evaluate", tiny / "labelsTs", predictions)
    assert answer.code == 0
    assert "structure 1" in answer.out
    assert {path.name for path in predictions.glob("*.[jc]s*")} == {"summary.json", "metrics.csv"}
    again = cli("evaluate", tiny / "labelsTs", predictions)
    assert (again.code, "--overwrite" in again.err) == (2, True)
    machine = cli("evaluate", tiny / "labelsTs", predictions, "--overwrite", "--json").json
    assert machine["foreground_mean"]["Dice"] == 1.0


def test_init_quotes_the_next_command(cli: Callable, tiny: Path, tmp_path: Path) -> None:
    made = tmp_path / "Mein Datensatz"
    answer = cli("init", tiny / "imagesUn", "-o", made)
    assert f"next: semiseg check '{made}'" in answer.out


def test_what_evaluate_noticed_is_shown(cli: Callable, tmp_path: Path) -> None:
    for part, value in (("truth", 1), ("guess", 255)):
        (tmp_path / part).mkdir()
        picture = np.zeros((12, 12), np.uint8)
        picture[3:8, 3:8] = value
        Image.fromarray(picture).save(tmp_path / part / "p.png")
    answer = cli("evaluate", tmp_path / "truth", tmp_path / "guess")
    assert "notice: no class in common: references hold 1, predictions 255" in answer.out
    many = np.arange(144, dtype=np.uint8).reshape(12, 12)
    Image.fromarray(many).save(tmp_path / "guess" / "p.png")
    again = cli("evaluate", tmp_path / "truth", tmp_path / "guess", "--overwrite")
    assert "no class in common" not in again.out


def test_evaluate_exits_5_when_a_case_is_missing(
    cli: Callable, tiny: Path, predictions: Path, tmp_path: Path
) -> None:
    (predictions / "ts_01.nii.gz").unlink()
    answer = cli("evaluate", tiny / "labelsTs", predictions, "-o", tmp_path / "scores", "--json")
    assert answer.code == 5
    assert answer.json["code"] == "CASES_FAILED"
    assert "ts_01" in answer.json["details"]["failed"]
    assert (tmp_path / "scores" / "summary.json").is_file()
    allowed = cli("evaluate", tiny / "labelsTs", predictions, "-o", tmp_path / "other", "--allow-missing")
    assert allowed.code == 0


def test_unknown_convention_and_missing_folder(cli: Callable, tiny: Path, predictions: Path) -> None:
    assert "uamt" in cli("evaluate", tiny / "labelsTs", predictions, "--legacy", "umat").err
    assert cli("evaluate", tiny / "nowhere", predictions).code == 2
