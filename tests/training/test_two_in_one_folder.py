"""A folder that a process works in is refused to all others, and free again when that process is killed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.bad_input.ground import TRAIN, make_ground, snapshot
from tests.machine.test_claim import holder

from semiseg.cli import main
from semiseg.machine.claim import LOCK
from semiseg.preparation.cache import CacheEntry

RUN = (*TRAIN, "--run", "run", "--set", "plan.patch=[8,8,8]", "--set", "plan.features=[2,4]")
PREDICT = ("predict", "-i", "scans", "-m", "model", "--device", "cpu", "-o")
SPEC = """
name: two
datasets: [data]
methods: [supervised]
labeled: [2]
seeds: [0]
bounds: false
iterations: 2
set: {plan.patch: [8, 8, 8], plan.features: [2, 4]}
"""
TUNE = (
    "tune",
    "data",
    "--method",
    "mean_teacher",
    "--labeled",
    "2",
    "--iterations",
    "1",
    "--folds",
    "2",
    "-o",
)

CASES: list[tuple[tuple[str, ...], str]] = [
    (RUN, f"run/{LOCK}"),
    ((*RUN, "--resume"), f"run/{LOCK}"),
    ((*RUN, "--overwrite"), f"run/{LOCK}"),
    ((*PREDICT, "out"), f"out/{LOCK}"),
    ((*PREDICT, "out", "--overwrite"), f"out/{LOCK}"),
    (("predict", "-i", "scans/scan_0_0000.nii.gz", "-m", "model", "-o", "one.nii.gz"), ".one.nii.gz.lock"),
    (("evaluate", "labels", "predictions", "-j", "1"), f"predictions/{LOCK}"),
    (("evaluate", "labels", "predictions", "-j", "1", "-o", "scores"), f"scores/{LOCK}"),
    (("init", "scans", "-o", "made"), ".made.lock"),
    (("sweep", "spec.yaml", "-j", "0", "-o", "swept"), f"swept/{LOCK}"),
    ((*TUNE, "tuned"), f"tuned/{LOCK}"),
    ((*TUNE, "tuned", "--overwrite"), f"tuned/{LOCK}"),
    (("demo", "-o", "demo"), f"demo/{LOCK}"),
]
AGAIN = {0, 3, 5, 6, 8}
"""Rows that are quick enough to run to their end."""


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        here = tmp_path_factory.mktemp("here")
        make_ground(here)
        (here / "spec.yaml").write_text(SPEC)
        patch.chdir(here)
        patch.setenv("SEMISEG_HOME", str(tmp_path_factory.mktemp("home")))
        yield here


@pytest.mark.parametrize(
    "row", range(len(CASES)), ids=[" ".join(argv[:1]) + f" {lock}" for argv, lock in CASES]
)
def test_the_second_command_is_refused(row: int, ground: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if CASES[row][0][0] == "tune":
        pytest.importorskip("optuna")
    argv, lock = CASES[row]
    with holder(ground / lock) as other:
        before = snapshot(ground)
        assert main(list(argv)) == 2
        err = capsys.readouterr().err
        lines = [line for line in err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, err
        assert "in use by" in lines[0]
        assert str(other.pid) in lines[0]
        assert "Traceback" not in err
        assert snapshot(ground) == before
        other.kill()
        other.wait()
        if row in AGAIN:
            assert main(list(argv)) == 0, capsys.readouterr().err
            assert not (ground / lock).exists()


def test_a_sweep_of_the_same_cells_shares_a_folder(ground: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = (
        "import sys; from pathlib import Path; from semiseg.sweeping.run import _shared\n"
        "from semiseg.sweeping.grid import grid; from semiseg.sweeping.spec import read_spec\n"
        "with _shared(Path('swept'), list(grid(read_spec(Path('spec.yaml')), 'spec'))):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert main(["sweep", "spec.yaml", "-j", "0", "-o", "swept"]) == 0, capsys.readouterr().err
        other_cells = SPEC.replace("seeds: [0]", "seeds: [1]")
        (ground / "other.yaml").write_text(other_cells)
        assert main(["sweep", "other.yaml", "-j", "0", "-o", "swept"]) == 2
        assert "in use by" in capsys.readouterr().err
        other.communicate()


def test_init_removes_what_a_killed_one_left(ground: Path) -> None:
    left = ground / ".again.00004711.tmp"
    (left / "imagesTr").mkdir(parents=True)
    (ground / ".others.00004711.tmp").mkdir()
    assert main(["init", "scans", "-o", "again"]) == 0
    assert not left.exists()
    assert (ground / ".others.00004711.tmp").is_dir()


@contextmanager
def _made_elsewhere(entry: CacheEntry) -> Iterator[Callable[[], None]]:
    with holder(entry.sidecar.with_suffix(".lock")) as other:
        yield other.kill


def test_an_entry_of_the_cache_is_made_by_one_process_and_waited_for(tmp_path: Path) -> None:
    entry = CacheEntry(tmp_path, "ab12")
    with _made_elsewhere(entry) as end:
        assert not json.loads(entry.sidecar.with_suffix(".lock").read_text())["note"]
        end()
        with entry.alone():
            entry.write({}, {"made": "here"})
    assert entry.read() == {"made": "here"}
    assert [path.name for path in entry.sidecar.parent.iterdir()] == [entry.sidecar.name]
