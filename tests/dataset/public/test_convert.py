"""``semiseg convert``: each public data set from a look-alike to a dataset without errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests import lookalikes

from semiseg.dataset.adopt.finish import AdoptResult
from semiseg.dataset.check import check
from semiseg.dataset.dataset import Dataset
from semiseg.dataset.public import known, recognize
from semiseg.dataset.public.convert import convert
from semiseg.dataset.public.published import splits
from semiseg.errors import DataError, UsageError
from semiseg.images import read, read_label


def converted(tmp_path: Path, name: str, look: str, **options: Any) -> tuple[AdoptResult, Dataset]:
    source = getattr(lookalikes, look)(tmp_path / "source")
    result = convert(name, source, tmp_path / "out", **{"allow_missing": True, **options})
    assert check(result.folder).errors == []
    return result, Dataset.open(result.folder)


LOOKS = {"la_raw": "la", "la_h5": "la", "acdc_raw": "acdc", "acdc_h5": "acdc"}


@pytest.mark.parametrize("look", LOOKS)
def test_each_look_alike(tmp_path: Path, look: str) -> None:
    result, dataset = converted(tmp_path, LOOKS[look], look)
    about = known()[LOOKS[look]].ABOUT
    assert recognize(tmp_path / "source") is known()[LOOKS[look]]
    content = result.dataset
    assert content["source"]["adapter"] == about.name
    assert content["licence"] == about.license
    assert content["reference"] == about.reference
    assert not any(name.startswith(("structure", "foreground")) for name in dataset.labels)
    assert dataset.split().labeled
    for case in (*dataset.annotated, *dataset.unannotated, *dataset.test):
        read(case.images[0])


def test_la_takes_the_cavity_and_says_the_size(tmp_path: Path) -> None:
    result, dataset = converted(tmp_path, "la", "la_raw")
    assert dataset.channel_names == ("LGE",)
    assert dataset.labels == {"background": 0, "left atrium": 1}
    assert [case.id for case in dataset.test] == ["UPT6DX9IQY9JAZ7HJKA7"]
    assert dataset.splits is not None
    assert dataset.splits.order == lookalikes.LA_IDS[:4]
    grid = read(dataset.annotated[0].images[0]).grid
    np.testing.assert_allclose(grid.spacing, 0.625)
    assert any("2 masks of the wall" in text for text in result.notices)
    assert any("one acquisition" in text for text in result.notices)
    twins = dataset.split(labeled=2)
    ids = {case.id for case in (*twins.labeled, *twins.unlabeled)}
    assert {"0RZDK210BSMWAA6467LU", "CMPXO4J23G58J53Q98SZ"} <= ids
    assert len(set(twins.patients.values())) == 4


def test_la_with_its_wall(tmp_path: Path) -> None:
    _, dataset = converted(tmp_path, "la", "la_raw", options=["wall"])
    assert dataset.labels == {"background": 0, "left atrium": 1, "wall": 2}
    assert set(np.unique(read_label(dataset.annotated[0].label).array)) == {0, 2, 255}


def test_acdc_phases_come_from_info_cfg(tmp_path: Path) -> None:
    result, dataset = converted(tmp_path, "acdc", "acdc_raw")
    assert dataset.labels == {"background": 0, "right ventricle": 1, "myocardium": 2, "left ventricle": 3}
    assert [case.id for case in dataset.annotated] == [
        *("patient099_frame01", "patient099_frame02", "patient003_frame01", "patient003_frame02"),
        *("patient002_frame01", "patient002_frame02"),
    ]
    assert result.dataset["cases"]["patient003_frame02"] == {"phase": "ES", "frame": 8, "group": "DCM"}
    assert result.splits["published"]["sizes"] == {
        **{"5%": 3, "10%": 7, "20%": 14, "30%": 21, "40%": 28, "50%": 35}
    }
    split = dataset.split(labeled_patients=1)
    assert [case.id for case in split.labeled] == ["patient099_frame01", "patient099_frame02"]
    assert [case.id for case in split.val] == ["patient002_frame01", "patient002_frame02"]
    assert {case.id for case in split.test} == {"patient001_frame01", "patient001_frame02"}
    (tmp_path / "source" / "training" / "patient003" / "Info.cfg").unlink()
    with pytest.raises(DataError, match=r"patient003.*end diastole"):
        convert("acdc", tmp_path / "source", tmp_path / "again", allow_missing=True)


def test_acdc_cine_takes_phases_of_training_patients_alone(tmp_path: Path) -> None:
    _, dataset = converted(tmp_path, "acdc", "acdc_raw", options=["cine"])
    assert {case.id[:10] for case in dataset.unannotated} == {"patient099", "patient003"}
    assert "patient099_cine01" not in {case.id for case in dataset.unannotated}
    assert "patient099_cine02" in {case.id for case in dataset.unannotated}


def test_acdc_extra_patients(tmp_path: Path) -> None:
    result, _ = converted(tmp_path, "acdc", "acdc_raw")
    assert any("left out 2 cases that no list names: patient101" in text for text in result.notices)
    for extra, where in (("unlabeled", "unannotated"), ("test", "test")):
        result = convert("acdc", tmp_path / "source", tmp_path / extra, allow_missing=True, extra=extra)
        cases = getattr(Dataset.open(result.folder), where)
        assert {"patient101_frame01", "patient101_frame02"} <= {case.id for case in cases}


@pytest.mark.parametrize("whole", [True, False])
def test_acdc_of_h5_volumes_or_slices(tmp_path: Path, whole: bool) -> None:
    source = lookalikes.acdc_h5(tmp_path / "source", whole=whole)
    dataset = Dataset.open(convert("acdc", source, tmp_path / "out", allow_missing=True).folder)
    assert [case.id for case in dataset.split().val] == ["patient028_frame01", "patient028_frame02"]
    grid = read(dataset.annotated[0].images[0]).grid
    assert (grid.shape, grid.unit) == ((14, 16, 5), "px")


def test_missing_cases_are_named(tmp_path: Path) -> None:
    source = lookalikes.la_h5(tmp_path / "source")
    with pytest.raises(DataError, match="95 cases of the split ua-mt") as caught:
        convert("la", source, tmp_path / "out")
    assert "1GU15S0GJ6PFNARO469W" in caught.value.details["missing"]
    assert not (tmp_path / "out").exists()
    result = convert("la", source, tmp_path / "out", allow_missing=True)
    assert len(result.splits["published"]["missing"]) == 95


def test_lists_beside_the_data_are_compared_and_can_be_used(tmp_path: Path) -> None:
    source = lookalikes.la_h5(tmp_path / "source")
    result = convert("la", source, tmp_path / "a", allow_missing=True)
    assert any("train.list (4 names) is not the published list" in text for text in result.notices)
    result = convert("la", source, tmp_path / "b", split="files")
    assert result.splits["order"] == list(lookalikes.LA_IDS[:4])
    assert result.splits["test"] == [lookalikes.LA_IDS[4]]
    order = list(splits("la")["ua-mt"].order)
    lookalikes.write_list(source / "train.list", (f"{name.lower()}.h5,x" for name in order), "\r\n")
    result = convert("la", source, tmp_path / "c", allow_missing=True)
    assert "train.list is the published list of ua-mt" in result.decisions


def test_splits_by_chance_and_none(tmp_path: Path) -> None:
    source = lookalikes.acdc_raw(tmp_path / "source", patients=range(1, 11))
    drawn = convert("acdc", source, tmp_path / "a", split="random", seed=1)
    again = convert("acdc", source, tmp_path / "b", split="random", seed=1)
    other = convert("acdc", source, tmp_path / "c", split="random", seed=2)
    assert drawn.splits == again.splits != other.splits
    assert {part: len(drawn.splits[part]) for part in ("order", "val", "test")} == {
        **{"order": 14, "val": 2, "test": 4}
    }
    assert check(drawn.folder).errors == []
    assert convert("acdc", source, tmp_path / "d", split="none").counts["labeled"] == 20


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    source = lookalikes.la_raw(tmp_path / "source")
    result = convert("la", source, tmp_path / "out", allow_missing=True, dry_run=True)
    assert result.counts == {"labeled": 4, "unlabeled": 0, "val": 0, "test": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"name": "lla"}, "data set 'lla'.*'la'"),
        ({"split": "ssl"}, "unknown split 'ssl'"),
        ({"channels": ["T1"]}, "la has one channel"),
        ({"task": "x"}, "unknown task"),
        ({"options": ["wal"]}, "option 'wal'.*'wall'"),
        ({"extra": "some"}, "--extra"),
        ({"source": "nowhere"}, "no folder"),
    ],
)
def test_wrong_flags(tmp_path: Path, options: dict[str, Any], match: str) -> None:
    source = lookalikes.la_h5(tmp_path / "source")
    given = {"name": "la", "source": source, "target": tmp_path / "out", **options}
    with pytest.raises(UsageError, match=match):
        convert(**given)
    assert not (tmp_path / "out").exists()


def test_another_folder_is_refused(tmp_path: Path) -> None:
    source = lookalikes.la_h5(tmp_path / "source")
    with pytest.raises(DataError, match="does not look like ACDC"):
        convert("acdc", source, tmp_path / "out")
    assert json.loads(json.dumps(convert("la", source, tmp_path / "la", split="none").as_dict()))["ok"]
