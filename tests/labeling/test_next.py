"""What to label next: each strategy by what it promises, on real scans and on features made by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tests.factories import make_dataset
from tests.trained import make_plan, make_run

import semiseg
from semiseg.cli import main
from semiseg.dataset.dataset import Dataset
from semiseg.errors import DataError, SemisegError, UsageError
from semiseg.images.grid import Grid
from semiseg.labeling import strategies
from semiseg.labeling.facts import Facts
from semiseg.labeling.next import next_cases
from semiseg.labeling.planes import masked, planes_to_label
from semiseg.labeling.strategies import NEED_MODEL, STRATEGIES, Pool
from semiseg.preparation.plan import ChannelPlan


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six unlabeled scans: un_03 has gray values half way between the classes, un_05 shows nothing."""
    folder = make_dataset(tmp_path_factory.mktemp("next"), labeled=2, unlabeled=6, test=0, shape=(12, 12, 12))
    for name, value in (("un_03", 0.5), ("un_05", 0.0)):
        file = folder / "imagesUn" / f"{name}_0000.nii.gz"
        image = nib.load(file)
        noise = 0.01 * np.random.default_rng(1).standard_normal(image.shape)
        array = np.where(image.get_fdata() > 0.5, value + 0.02, 0) + noise
        nib.save(nib.Nifti1Image(array.astype(np.float32), image.affine), file)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("run"), make_plan())


@pytest.mark.parametrize("name", sorted(set(STRATEGIES) - {"disagreement"}))
def test_every_strategy_names_other_scans_and_repeats_itself(folder: Path, run: Path, name: str) -> None:
    model = semiseg.Model.load(run, "cpu")
    first, again = (semiseg.next_cases(folder, model, strategy=name, n=4, seed=3) for _ in range(2))
    ids = [one.id for one in first.cases]
    assert first.cases == again.cases
    assert len(set(ids)) == 4
    assert all(name.startswith("un_") for name in ids)
    assert all(one.reason for one in first.cases)
    everything = semiseg.next_cases(folder, model, strategy=name, n=50)
    assert len(everything.cases) == 6


def test_the_least_certain_scan_comes_first(folder: Path, run: Path) -> None:
    found = semiseg.next_cases(folder, run, strategy="entropy", n=2, device="cpu")
    assert "un_03" in [one.id for one in found.cases]
    assert "entropy" in found.cases[0].reason
    foreground = semiseg.next_cases(folder, run, strategy="foreground_random", n=5, device="cpu")
    assert "un_05" not in [one.id for one in foreground.cases]


def test_records_of_predictions_are_used(folder: Path, run: Path, tmp_path: Path) -> None:
    semiseg.predict(folder / "imagesUn", tmp_path, run, device="cpu", workers=0)
    record = json.loads((tmp_path / "un_01.json").read_text())
    record["uncertainty"]["entropy"] = 1e6
    (tmp_path / "un_01.json").write_text(json.dumps(record))
    found = semiseg.next_cases(folder, run, strategy="entropy", n=1, predictions=tmp_path, device="cpu")
    assert found.cases[0].id == "un_01"


def test_without_a_model_by_what_scans_look_like(folder: Path) -> None:
    cold = semiseg.next_cases(folder, n=3)
    assert cold.strategy == "typiclust"
    far = semiseg.next_cases(folder, strategy="coreset", n=2)
    assert {one.id for one in far.cases} & {"un_03", "un_05"}  # unlike all labeled ones
    assert "unlike all labeled ones" in far.cases[0].reason
    for name in NEED_MODEL:
        with pytest.raises(SemisegError, match="needs a model"):
            semiseg.next_cases(folder, strategy=name)


def test_labels_are_never_opened(folder: Path, run: Path, tmp_path: Path) -> None:
    copy = make_dataset(tmp_path, labeled=2, unlabeled=3, test=1, shape=(12, 12, 12))
    for label in (copy / "labelsTr").iterdir():
        label.write_bytes(b"nobody reads this")
    for name in ("coreset", "mixed", "typiclust"):
        assert semiseg.next_cases(copy, run, strategy=name, n=2, device="cpu").cases


def test_a_scan_that_cannot_be_read_is_told_and_left_out(run: Path, tmp_path: Path) -> None:
    copy = make_dataset(tmp_path, labeled=1, unlabeled=3, test=0, shape=(8, 8, 8))
    (copy / "imagesUn" / "un_01_0000.nii.gz").write_bytes(b"damaged")
    found = semiseg.next_cases(copy, run, strategy="entropy", n=3, device="cpu")
    assert [set(found.failed), len(found.cases)] == [{"un_01"}, 2]


def test_disagreement_wants_something_that_can_disagree(folder: Path, run: Path, tmp_path: Path) -> None:
    alone = make_run(tmp_path / "alone", make_plan(), content={"mirrored": []})
    with pytest.raises(SemisegError, match="ensemble"):
        semiseg.next_cases(folder, alone, strategy="disagreement", device="cpu")
    other = make_run(tmp_path / "other", make_plan(), shift=0.3)
    found = semiseg.next_cases(folder, [run, other], strategy="disagreement", n=6, device="cpu")
    assert found.cases[0].score > found.cases[-1].score >= 0


@dataclass
class Points:
    """Features made by hand."""

    vectors: dict[str, list[float]]

    def features(self, name: str) -> np.ndarray:
        return np.array(self.vectors[name], float)


def pool(labeled: dict[str, list[float]], unlabeled: dict[str, list[float]]) -> Pool:
    facts: Facts = Points({**labeled, **unlabeled})  # type: ignore[assignment]
    return Pool(list(unlabeled), list(labeled), facts, np.random.default_rng(0))


def test_coreset_takes_the_farthest_one_after_the_other() -> None:
    chosen = strategies.coreset(pool({"a": [0, 0]}, {"b": [2, 0], "c": [10, 0], "d": [9, 0], "e": [0, 6]}), 3)
    assert [one.id for one in chosen] == ["e", "c", "b"]  # in spreads of each dimension


def test_typiclust_takes_the_middle_of_each_group_without_a_label() -> None:
    groups = {f"{g}{i}": [10.0 * g + d, 0.0] for g in range(3) for i, d in enumerate((-1, 0, 1))}
    labeled = {"00": groups.pop("00")}
    assert {one.id for one in strategies.typiclust(pool(labeled, groups), 2)} == {"11", "21"}


def test_every_strategy_has_its_source() -> None:
    told = {one["name"]: one for one in strategies.describe()}
    assert set(told) == set(STRATEGIES)
    assert told["coreset"]["source"] == "arXiv 1708.00489"
    assert told["typiclust"]["source"] == "arXiv 2202.02794"
    assert told["clasp_pe"]["source"] == "arXiv 2601.13677"


def test_the_commands(folder: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = make_dataset(tmp_path, labeled=1, unlabeled=3, test=0, shape=(12, 12, 12))
    call: Callable[..., int] = lambda *words: main([str(word) for word in words])  # noqa: E731
    allow = ("--allow-code", "tests")
    assert call("next", copy, "-m", run, "-n", 2, "--strategy", "entropy", "--json", *allow) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["rank"] for one in told["cases"]] == [1, 2]
    assert call("predict", "-i", copy / "imagesUn", "-o", tmp_path / "out", "-m", run, "-j", 0, *allow) == 0
    assert call("accept", copy, tmp_path / "out", "--cases", "un_01", "--by", "anna", "--json") == 0
    lines = [json.loads(line) for line in (copy / "labels.jsonl").read_text().splitlines()]
    assert [(one["case"], one["source"], one["by"]) for one in lines] == [("un_01", "accepted", "anna")]
    assert call("accept", copy, tmp_path / "out", "--cases", "un_01") == 5
    assert "has a label already" in capsys.readouterr().err
    assert call("accept", copy, tmp_path / "out") == 0
    assert len(semiseg.Dataset.open(copy).annotated) == 4
    assert call("next", copy) == 3


def test_the_planes_of_most_entropy_one_across_each_axis() -> None:
    entropy = np.zeros((8, 9, 10), np.float32)
    entropy[2, 7, 4] = 1
    grid = Grid(entropy.shape, np.diag([-1.0, 1.5, 2.0, 1.0]))
    found = planes_to_label(grid, entropy)
    assert [(one.axis, one.index, one.name) for one in found] == [
        (0, 2, "sagittal"),
        (1, 7, "coronal"),
        (2, 4, "axial"),
    ]
    assert {one.at for one in found} == {(-2.0, 10.5, 8.0)}


def test_of_thick_slices_three_that_lie_apart_and_without_a_model_evenly() -> None:
    grid = Grid((8, 24, 9), np.diag([1.0, 4.0, 1.0, 1.0]))
    entropy = np.zeros(grid.shape, np.float32)
    entropy[:, :, :] = np.array([9, 10, 8, *[1] * 9, 7, *[1] * 10, 6])[None, :, None]
    assert [(one.axis, one.index) for one in planes_to_label(grid, entropy)] == [(1, 1), (1, 12), (1, 23)]
    assert [one.index for one in planes_to_label(grid)] == [4, 12, 20]


def test_a_label_of_planes_alone_has_ignore_elsewhere_and_needs_such_a_class(tmp_path: Path) -> None:
    dataset = Dataset.open(make_dataset(tmp_path, labeled=2, unlabeled=1))
    label = np.ones((4, 5, 6), np.uint8)
    with pytest.raises(DataError, match="ignore"):
        masked(label, [(0, 1)], dataset)
    found = masked(label, [(0, 1), (2, 3)], replace(dataset, ignore_value=300))
    assert found.dtype == np.uint16
    assert (found == 1).sum() == 30 + 20 - 5
    assert set(np.unique(found)) == {1, 300}
    with pytest.raises(UsageError, match="no plane 6"):
        masked(label, [(2, 6)], replace(dataset, ignore_value=300))


def test_slices_are_named_with_their_scans(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, labeled=2, unlabeled=2, shape=(12, 12, 12))
    run = make_run(tmp_path / "run", make_plan())
    with_model = next_cases(folder, run, strategy="random", n=2, slices=True, device="cpu")
    for one in (*with_model.cases, *next_cases(folder, strategy="random", n=1, slices=True).cases):
        assert [plane.name for plane in one.slices] == ["sagittal", "coronal", "axial"]
        assert "slices: sagittal" in one.reason
    assert all(plane.score is not None for one in with_model.cases for plane in one.slices)
    told = with_model.as_dict()["cases"][0]["slices"][0]
    assert set(told) == {"axis", "index", "name", "score", "at"}


def test_naming_slices_predicts_no_scan_again(
    folder: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = next_cases(folder, run, strategy="entropy", n=6, device="cpu")
    calls = []
    infer = semiseg.Model.infer
    monkeypatch.setattr(semiseg.Model, "infer", lambda *a, **k: calls.append(1) or infer(*a, **k))
    found = next_cases(folder, run, strategy="entropy", n=6, slices=True, device="cpu")
    assert [(one.id, one.score) for one in found.cases] == [(one.id, one.score) for one in plain.cases]
    assert all(len(one.slices) == 3 for one in found.cases)
    assert len(calls) == 6


def test_channels_in_another_order_are_followed(tmp_path: Path) -> None:
    """The same scans, their channels numbered the other way round, are told the same of."""
    schemes: tuple[ChannelPlan, ...] = (
        ChannelPlan(name="T1", scheme="none"),
        ChannelPlan(name="T2", scheme="rescale_to_0_1"),
    )
    model = semiseg.Model.load(make_run(tmp_path / "run", make_plan(channels=schemes)), "cpu")
    found = []
    for names in (("T1", "T2"), ("T2", "T1")):
        data = make_dataset(
            tmp_path / names[0], labeled=1, unlabeled=3, test=0, shape=(8, 8, 8), channels=2, order=False
        )
        content = json.loads((data / "dataset.json").read_text())
        content["channel_names"] = dict(enumerate(names))
        (data / "dataset.json").write_text(json.dumps(content))
        if names[0] == "T2":
            for first in data.rglob("*_0000.nii.gz"):
                second, aside = (
                    first.with_name(first.name.replace("_0000", "_0001")),
                    first.with_name("aside"),
                )
                first.rename(aside)
                second.rename(first)
                aside.rename(second)
        found.append(semiseg.next_cases(data, model, strategy="entropy", n=3).cases)
    assert found[0] == found[1]
