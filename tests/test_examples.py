"""The scripts of the tutorials run, with few iterations; the pages show what they print."""

from __future__ import annotations

import contextlib
import io
import re
import runpy
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from semiseg import compare, methods
from semiseg.cli import main
from tests.conftest import REPOSITORY
from tests.factories import make_dataset

EXAMPLES = REPOSITORY / "examples"
FEW = {
    "SEMISEG__PLAN__PATCH": "[16, 16, 16]",
    "SEMISEG__PLAN__FEATURES": "[4, 8]",
    "SEMISEG__TRAIN__PRECISION": "'32'",
    "SEMISEG_DEVICE": "cpu",
    "SEMISEG_WORKERS": "0",
    "OMP_NUM_THREADS": "1",
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which commands and scripts run, with settings that make training short."""
    monkeypatch.chdir(tmp_path)
    for name, value in FEW.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def semiseg(words: list[str]) -> str:
    """What a command prints on both streams; it must succeed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        code = main(words)
    assert code == 0, printed.getvalue()
    return printed.getvalue()


def script(name: str, *words: str) -> str:
    """What a script of examples/ prints."""
    printed, before = io.StringIO(), sys.argv
    sys.argv = [name, *words]
    try:
        with contextlib.redirect_stdout(printed):
            runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    finally:
        sys.argv = before
    return printed.getvalue()


def tutorial(name: str, **parameters: object) -> str:
    """What a script with cells prints when its first cell has other values."""
    text = (EXAMPLES / name).read_text("utf-8")
    for key, value in parameters.items():
        text, found = re.subn(rf"^{key} = .*$", f"{key} = {value!r}", text, flags=re.MULTILINE)
        assert found == 1
    Path(name).write_text(text, "utf-8")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        runpy.run_path(name)
    return printed.getvalue()


def transcript(page: Path) -> list[tuple[str, list[str]]]:
    """(command, lines of its output) of the ``console`` blocks of a page."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"```console\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def shape(line: str) -> str:
    """A line without what differs from run to run: decimals, seconds, the numbers of a table, spaces."""
    words = line.split()
    if words[:1] == ["mean"]:
        return " ".join(["mean", *("#" for _ in words[1:])])
    return re.sub(r"[-+]?\d+\.\d+|\d+(?= s\b)", "#", " ".join(words))


def assert_printed(wanted: list[str], printed: str, command: str) -> None:
    """Each line of a transcript is printed, in its order; ``…`` stands for any lines."""
    lines = [shape(line) for line in printed.splitlines()]
    place = 0
    for line in wanted:
        if line.strip() in ("", "…"):
            continue
        assert shape(line) in lines[place:], f"{command}: {line!r} is not in\n{printed}"
        place = lines.index(shape(line), place) + 1


def test_the_readme_prints_what_it_shows(here: Path) -> None:
    script("scans.py")
    steps = transcript(REPOSITORY / "README.md")
    assert [command.split()[1] for command, _ in steps] == ["init", "check", "train", "predict", "evaluate"]
    for command, wanted in steps:
        name, *words = re.sub(r"--iterations \d+", "--iterations 3", command).split()
        assert name == "semiseg"
        assert_printed(wanted, semiseg(words), command)


def test_tutorial_3_goes_from_dicom_to_scores(here: Path) -> None:
    script("scans.py", "--dicom")
    steps = dict(transcript(REPOSITORY / "docs" / "tutorials" / "own-scans.md"))
    names = [command.split()[1] for command in steps]
    assert names == ["init", "check", "plan", "train", "predict", "evaluate"]
    for command in list(steps)[:2]:
        assert_printed(steps[command], semiseg(command.split()[1:]), command)
    shutil.rmtree("MyDataset")
    printed = script("own_scans.py", "--iterations", "3")
    assert "MyDataset: 4 labeled, 8 unlabeled, 0 test" in printed
    assert re.search(r"3 scans segmented: SEGMENTATIONS\nmean Dice 0\.\d+", printed)


def test_tutorial_1_makes_the_demo(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="semiseg"):
        printed = tutorial("first_run.py", iterations=1)
    page = (REPOSITORY / "docs" / "tutorials" / "first-run.md").read_text("utf-8")
    shown = re.findall(r"^(\d/\d \w+)", page, re.MULTILINE)
    steps = re.findall(r"^(\d/\d \w+)", "\n".join(caplog.messages), re.MULTILINE)
    assert shown == steps
    assert len(steps) > 3
    assert "report: demo/comparison/report.html" in printed.replace("\\", "/")


def test_tutorial_5_shows_its_file_which_has_the_form_and_trains(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    name = "agreeing_teacher:AgreeingTeacher"
    page = (REPOSITORY / "docs" / "tutorials" / "own-method.md").read_text("utf-8")
    assert (EXAMPLES / "agreeing_teacher.py").read_text("utf-8").strip() in page
    assert methods.description(name).problems() == []
    script("scans.py")
    semiseg(["init", "SCANS", "-o", "MyDataset"])
    trained = ["train", "MyDataset", "--method", name, "--iterations", "10", "--run", "RUN2"]
    assert re.search(r"agreement [0-9.e-]+", semiseg(trained))


def test_tutorial_2_trains_twice_and_compares(here: Path) -> None:
    make_dataset(here, labeled=6, unlabeled=0, test=6, shape=(18, 18, 18))
    printed = tutorial("left_atrium.py", dataset="Dataset001_Tiny", labeled=2, iterations=2, settings={})
    assert re.search(r"supervised: mean Dice 0\.\d+, HD95 .*\nfixmatch: mean Dice 0\.\d+", printed)
    assert (here / "comparison" / "report.html").is_file()
    page = (REPOSITORY / "docs" / "tutorials" / "left-atrium.md").read_text("utf-8")
    for command in re.findall(r"^ *semiseg (\w+)", page, re.MULTILINE):
        assert semiseg([command, "--help"])


def test_tutorial_4_sweeps_and_compares(here: Path) -> None:
    make_dataset(here, labeled=4, unlabeled=2, test=6, shape=(18, 18, 18), name="PhantomsForPaper")
    tutorial("paper.py", iterations=2, seeds=[0])
    (group,) = compare("runs/paper").groups
    assert sorted(arm.name for arm in group.arms) == [
        "fixmatch", "mean_teacher", "supervised", "supervised, all labels",
    ]  # fmt: skip
    assert (here / "comparison" / "report.html").is_file()
    page = (REPOSITORY / "docs" / "tutorials" / "paper.md").read_text("utf-8")
    spec = (EXAMPLES / "paper.yaml").read_text("utf-8").split("\n", 2)[2].strip()
    assert spec in page
    settings = yaml.safe_load(spec)
    script = (EXAMPLES / "paper.py").read_text("utf-8")
    assert all(
        f"{key} = {settings[key]!r}".replace("'", '"') in script for key in ("methods", "seeds", "iterations")
    )


def test_the_examples_of_the_reference_run(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_dataset(here, name="MyDataset")
    monkeypatch.setenv("SEMISEG__TRAIN__ITERATIONS", "2")
    pages = sorted((REPOSITORY / "docs" / "reference").glob("*.md"))
    examples = {
        page.stem: re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL) for page in pages
    }
    printed = {}
    for page, blocks in examples.items():
        for block in blocks:
            (here / f"{page}.py").write_text(block, "utf-8")
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                runpy.run_path(str(here / f"{page}.py"), run_name="__main__")
            printed[page] = out.getvalue().split("\n")[-2]
    assert set(printed) >= {"functions", "classes", "methods", "metrics", "errors"}
    assert re.fullmatch(r"[01]\.\d+", printed["functions"])
    assert re.fullmatch(r"\d+ labeled, \d+ unlabeled", printed["classes"])
    assert (printed["methods"], printed["metrics"]) == ("2", "0.9")
    assert printed["errors"].startswith("NO_DATASET")
