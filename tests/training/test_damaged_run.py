"""Damage in a run folder is told in a line, or gone around where the checkpoint has what is needed."""

from __future__ import annotations

import json
import logging
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.factories import make_dataset
from tests.runs.test_run_folder import FLAGS

from semiseg.comparison.read import read_run
from semiseg.comparison.result import RunScores
from semiseg.errors import UsageError
from semiseg.machine import provenance
from semiseg.networks import checkpoint
from semiseg.prediction.model import Model
from semiseg.preparation.cache import CacheEntry
from semiseg.runs.events import Notice
from semiseg.runs.folder import StoredRun
from semiseg.runs.run import Run
from semiseg.settings.resolve import resolve
from semiseg.training import train as experiment

VALIDATED = {"train.iterations": 4, "train.log_every": 1, "validation.every": 2}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make_dataset(tmp_path_factory.mktemp("data"), unlabeled=0, test=0)
    (made / "splits.json").write_text(json.dumps({"order": ["case_00", "case_01"], "val": ["case_02"]}))
    return made


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(data, tmp_path_factory.mktemp("runs") / "run")


def train(data: Path, folder: Path, *, resume: bool = False) -> Run:
    config = resolve(flags={**FLAGS, **VALIDATED}, environment={})
    return experiment.train(data, config, run=folder, device="cpu", workers=0, resume=resume)


@pytest.fixture
def run(finished: Run, tmp_path: Path) -> Run:
    shutil.copytree(finished.folder, tmp_path / "run")
    return Run(tmp_path / "run")


def flip(path: Path, place: int, bit: int = 6) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "not UTF-8": lambda path: flip(path, len(path.read_bytes()) // 2, 7),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "empty": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(500)),
    "a list": lambda path: path.write_text("[]"),
    "other keys": lambda path: path.write_text('{"sessions": 3}'),
    "deep": lambda path: path.write_text("[" * 100_000),
}


def test_going_on_with_another_version_is_told_once_and_kept(run: Run, data: Path) -> None:
    (run.folder / "checkpoints" / "final.ckpt").unlink()
    manifest = run.manifest
    before = manifest["sessions"][0]["software"]
    manifest["sessions"][0]["software"] = {**before, "semiseg": "0.0.1", "torch": "1.0.0"}
    (run.folder / "manifest.json").write_text(json.dumps(manifest))
    heard: list[object] = []
    config = resolve(flags={**FLAGS, **VALIDATED}, environment={})
    options = {"run": run.folder, "device": "cpu", "workers": 0, "resume": True}
    again = experiment.train(data, config, listeners=[heard.append], **options)
    (told,) = [e.text for e in heard if isinstance(e, Notice) and "instead of" in e.text]
    assert (
        f"semiseg {before['semiseg']} instead of 0.0.1, torch {before['torch'][:10]} instead of 1.0.0" in told
    )
    assert "commit" not in told  # the same, or none
    assert [session["software"]["semiseg"] for session in again.manifest["sessions"]] == [
        "0.0.1",
        before["semiseg"],
    ]


def test_what_a_manifest_of_before_says_of_its_versions_counts(run: Run) -> None:
    manifest = run.manifest
    del manifest["sessions"][0]["software"]
    manifest["semiseg"] = "0.0.2"
    (run.folder / "manifest.json").write_text(json.dumps(manifest))
    assert "semiseg" in provenance.changed_since(StoredRun(run).known["software"])
    assert not provenance.changed_since({})


@pytest.mark.parametrize("part", ["method", "optimizers", "meter"])
def test_a_state_of_another_version_is_refused_in_a_line(part: str, run: Run, data: Path) -> None:
    (run.folder / "checkpoints" / "final.ckpt").unlink()
    path = run.folder / "checkpoints" / "last.ckpt"
    state = checkpoint.load(path, checkpoint.STATE)
    if part == "method":
        state["method"]["net.older.weight"] = state["method"].popitem()[1]
    else:
        del state[part]
    checkpoint.save(path, state)
    with pytest.raises(UsageError, match=r"last\.ckpt does not fit this training") as error:
        train(data, run.folder, resume=True)
    assert "manifest.json" in error.value.hint
    assert "\n" not in error.value.message


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("name", ["metrics.csv", "manifest.json", "events.jsonl"])
def test_resuming_needs_none_of_these(name: str, how: str, run: Run, data: Path) -> None:
    (run.folder / "checkpoints" / "final.ckpt").unlink()
    DAMAGE[how](run.folder / name)
    again = train(data, run.folder, resume=True)
    assert again.finished
    assert again.manifest["sessions"][-1]["reason"] == "finished"
    assert all(row["event"] in ("stepped", "validated") for row in again.metrics)


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("name", ["manifest.json", "validation/summary.json", "validation/metrics.csv"])
def test_comparing_says_which_file_in_a_line(name: str, how: str, run: Run) -> None:
    DAMAGE[how](run.folder / name)
    with pytest.raises(UsageError) as caught:
        read_run(run.folder)
    assert Path(name).name in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("how", DAMAGE)
def test_comparing_needs_no_learning_curve(how: str, run: Run) -> None:
    DAMAGE[how](run.folder / "metrics.csv")
    assert isinstance(read_run(run.folder), RunScores)


def test_the_rows_that_are_sound_are_kept(run: Run, data: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = (run.folder / "metrics.csv").read_bytes().splitlines(keepends=True)
    lines[2] = lines[2][:4] + b"\xff\n"
    (run.folder / "metrics.csv").write_bytes(b"".join(lines))
    (run.folder / "checkpoints" / "final.ckpt").unlink()
    with caplog.at_level(logging.WARNING):
        again = train(data, run.folder, resume=True)
    assert "damaged" in caplog.text
    assert len(again.metrics) == len(lines) - 2
    assert (run.folder / "metrics.csv.damaged").is_file()


def test_a_run_without_a_logged_row_has_no_metrics(tmp_path: Path) -> None:
    assert Run(tmp_path).metrics == []


def test_the_manifest_has_the_hash_of_the_weights(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    hashes = run.manifest["checkpoints"]
    final = run.folder / "checkpoints" / "final.ckpt"
    assert hashes["final.ckpt"] == checkpoint.sha256(final)
    assert {"best.ckpt", "last.ckpt"} <= set(hashes)
    with caplog.at_level(logging.WARNING):
        Model.load(run.folder, "cpu")
        assert caplog.text == ""
        content = checkpoint.load(final, checkpoint.MODEL)
        checkpoint.save(final, {**content, "step": 1})
        Model.load(run.folder, "cpu")
    assert "another hash" in caplog.text


def test_one_flipped_bit_in_the_weights_stops_prediction(run: Run) -> None:
    final = run.folder / "checkpoints" / "final.ckpt"
    with zipfile.ZipFile(final) as archive:
        largest = max(archive.infolist(), key=lambda part: part.file_size)
    flip(final, largest.header_offset + largest.file_size // 2 + 200, 3)
    with pytest.raises(UsageError, match="damaged"):
        Model.load(run.folder, "cpu")


def test_no_flipped_bit_in_a_sidecar_of_the_cache_is_believed(tmp_path: Path) -> None:
    entry = CacheEntry(tmp_path, "ab12")
    facts = {"spacing": [1.25, 1.0, 0.5], "name": "a"}
    entry.write({}, facts)
    whole = entry.sidecar.read_bytes()
    for place in range(len(whole)):
        flip(entry.sidecar, place, place % 8)
        assert entry.read() in (None, facts)
        entry.sidecar.write_bytes(whole)
    assert entry.read() == facts
