"""``semiseg convert``: each public data set from a look-alike to a dataset without errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from tests import lookalikes

from semiseg.dataset.adopt.finish import AdoptResult
from semiseg.dataset.case import LabeledCase
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


LOOKS = {
    "la_raw": "la", "la_h5": "la", "acdc_raw": "acdc", "acdc_h5": "acdc", "brats_raw": "brats2019",
    "brats_h5": "brats2019", "pancreas_raw": "pancreas-ct", "pancreas_h5": "pancreas-ct",
    "promise12": "promise12", "isles": "isles2022", "isles_b": "isles2022", "cadis": "cadis", "msd": "msd",
    "amos": "amos", "flare22": "flare22", "btcv_raw": "btcv", "btcv_npz": "btcv", "kvasir": "kvasir",
    "isic2018": "isic", "isic_tcsm": "isic", "kits19": "kits19", "lits": "lits",
}  # fmt: skip


def test_every_data_set_has_a_look_alike() -> None:
    assert set(LOOKS.values()) == set(known())


@pytest.mark.parametrize("look", LOOKS)
def test_each_look_alike(tmp_path: Path, look: str) -> None:
    result, dataset = converted(tmp_path, LOOKS[look], look)
    about = known()[LOOKS[look]].ABOUT
    assert recognize(tmp_path / "source") is known()[LOOKS[look]]
    content = result.dataset
    assert content["source"]["adapter"] == about.name
    assert content["licence"]
    assert content["reference"]
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


def test_acdc_copies_that_keep_the_numbers_of_frames(tmp_path: Path) -> None:
    names = ["patient099_frame01", "patient099_frame09", "patient090_frame04", "patient090_frame11"]
    for whole in (True, False):
        source = lookalikes.acdc_h5(tmp_path / f"source{whole}", names, whole=whole)
        result = convert("acdc", source, tmp_path / f"out{whole}", allow_missing=True)
        assert result.splits["order"] == ["patient099_frame01", "patient099_frame02"]
        assert any("frames of 1 patient have their numbers in the cine" in text for text in result.notices)
        assert any("patient090: no number says" in text for text in result.notices)


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


# -- what each data set is about


def test_brats_takes_flair_and_the_whole_tumor_unless_asked(tmp_path: Path) -> None:
    result, dataset = converted(tmp_path, "brats2019", "brats_raw")
    assert (dataset.channel_names, dataset.labels) == (("FLAIR",), {"background": 0, "whole tumor": 1})
    assert dataset.label_map == {2: 1, 4: 1}
    assert [c.id for c in dataset.split().val] == ["BraTS19_CBICA_AAP_1"]
    assert result.dataset["cases"]["BraTS19_TCIA09_141_1"] == {"grade": "LGG"}
    source = tmp_path / "source"
    several = convert("brats2019", source, tmp_path / "all", allow_missing=True, channels=["all"])
    dataset = Dataset.open(several.folder)
    assert dataset.channel_names == ("T1", "T1c", "T2", "FLAIR")
    assert list(dataset.labels) == ["background", "necrotic core", "edema", "enhancing tumor"]
    regions = convert("brats2019", source, tmp_path / "r", allow_missing=True, task="regions")
    assert Dataset.open(regions.folder).regions == {
        "whole tumor": (1, 2, 3),
        "tumor core": (1, 3),
        "enhancing tumor": (3,),
    }
    assert check(regions.folder).errors == []


def test_brats_h5_is_turned_and_has_one_channel(tmp_path: Path) -> None:
    _, dataset = converted(tmp_path, "brats2019", "brats_h5")
    grid = read(dataset.annotated[0].images[0]).grid
    assert (grid.shape, grid.spacing, grid.unit) == ((14, 12, 10), (1.0, 1.0, 1.0), "mm")
    with pytest.raises(UsageError, match="FLAIR and the whole tumor alone"):
        convert("brats2019", tmp_path / "source", tmp_path / "x", channels=["t1"], allow_missing=True)


def test_pancreas_labels_are_laid_on_their_scans(tmp_path: Path) -> None:
    result, dataset = converted(tmp_path, "pancreas-ct", "pancreas_raw")
    assert "label arrays are flipped (y for 5 scans)" in " ".join(result.decisions)
    for case in dataset.annotated:
        inside = read(case.images[0]).array[read_label(case.label).array > 0]
        assert 105 < inside.mean() < 115
        assert inside.std() < 10
    assert any("label0025" in text for text in result.notices)
    assert len(list((result.folder / "overlays").glob("*.png"))) == 3
    missing = result.splits["published"]["missing"]
    assert {"image0025", "image0070"} <= set(missing)


def test_an_odd_pancreas_label_is_named(tmp_path: Path) -> None:
    source = lookalikes.pancreas_raw(tmp_path / "source", odd=[18])
    with pytest.raises(
        DataError, match=r"4 labels fit .* flipped along y, 1 otherwise: PANCREAS_0018 as stored"
    ):
        convert("pancreas-ct", source, tmp_path / "out", allow_missing=True)
    each = convert("pancreas-ct", source, tmp_path / "out", allow_missing=True, options=["flip=each"])
    assert each.dataset["cases"]["PANCREAS_0018"]["flip"] == "none"
    with pytest.raises(UsageError, match="flip=w"):
        convert("pancreas-ct", source, tmp_path / "x", allow_missing=True, options=["flip=w"])


def test_check_tells_pancreas_labels_that_lie_wrong(tmp_path: Path) -> None:
    """Right labels are silent, wrong ones are told, and one that is flipped alone is named."""
    result, dataset = converted(tmp_path, "pancreas-ct", "pancreas_raw")

    def told() -> list[str]:
        return [each.got for each in check(result.folder).problems if each.code == "FLIPPED_LABEL"]

    def turn(case: LabeledCase) -> None:
        label = nib.load(case.label)
        lookalikes.save_nii(case.label, np.flip(np.asarray(label.dataobj), 1).copy(), label.affine)

    assert told() == []
    odd, *others = (case for case in dataset.annotated if case.label)
    turn(odd)
    assert len(told()) == 1
    assert f"({odd.id})" in told()[0]
    for case in others:
        turn(case)
    assert "array axis y" in told()[0]
    assert f"labels of {1 + len(others)} of" in told()[0]


def test_a_pancreas_region_as_published(tmp_path: Path) -> None:
    result, dataset = converted(tmp_path, "pancreas-ct", "pancreas_raw", options=["roi=3"])
    grid = read(dataset.annotated[0].images[0]).grid
    np.testing.assert_allclose(grid.spacing, 1.0)
    assert max(grid.shape[:2]) < 18
    assert result.dataset["source"]["roi_mm"] == 3


def test_promise_names_test_scans_apart(tmp_path: Path) -> None:
    result, dataset = converted(tmp_path, "promise12", "promise12")
    assert [case.id for case in dataset.unannotated] == ["Test_Case00"]
    assert {name: case["center"] for name, case in result.dataset["cases"].items()} == {
        **{"Case00": "BIDMC", "Case01": "UCL", "Case02": "BIDMC", "Case35": "UCL", "Case40": "HK"}
    }
    assert dataset.splits is not None
    assert dataset.splits.order == ("Case00", "Case01", "Case02")
    tests = convert("promise12", tmp_path / "source", tmp_path / "t", allow_missing=True, extra="test")
    assert "Test_Case00" in {case.id for case in Dataset.open(tests.folder).test}


@pytest.mark.parametrize("look", ["isles", "isles_b"])
def test_isles_flair_comes_onto_the_grid_of_dwi(tmp_path: Path, look: str) -> None:
    result, dataset = converted(tmp_path, "isles2022", look, channels=["dwi", "FLAIR"])
    assert dataset.channel_names == ("DWI", "FLAIR")
    first, second = (read(path).grid for path in dataset.annotated[0].images)
    assert first.matches(second)
    assert "1 mask is empty" in " ".join(result.notices)


def test_cadis_tasks_share_their_frames(tmp_path: Path) -> None:
    source = lookalikes.cadis(tmp_path / "source")
    result = convert("cadis", source, tmp_path / "out", allow_missing=True, task="all")
    for task, count in (("1", 8), ("2", 17), ("3", 25)):
        folder = tmp_path / "out" / f"task{task}"
        assert check(folder).errors == []
        dataset = Dataset.open(folder)
        assert len(dataset.labels) == count + 1  # "no class" in the place of the background
        assert dataset.ignore_value == count + 1
        assert {case.id[:7] for case in dataset.split().val} == {"Video05"}
        assert {case.id[:7] for case in dataset.test} == {"Video02"}
    frame = "imagesTr/Video01_frame000090_0000.png"
    assert len({(tmp_path / "out" / f"task{t}" / frame).stat().st_ino for t in (1, 2, 3)}) == 1
    assert result.folder == tmp_path / "out" / "task1"


def test_cadis_mislabeled_frames(tmp_path: Path) -> None:
    source = lookalikes.cadis(tmp_path / "source")
    for kind in ("Labels", "Images"):
        folder = source / "segmentation" / "Video02" / kind
        (folder / "Video2_frame000090.png").rename(folder / "Video2_frame001630.png")
    result = convert("cadis", source, tmp_path / "a", allow_missing=True)
    assert any("mislabeled, as is known: 1 frame" in text for text in result.notices)
    clean = convert("cadis", source, tmp_path / "b", allow_missing=True, options=["clean"])
    assert clean.counts["test"] == result.counts["test"] - 1 == 1


def test_cadis_corrected_labels(tmp_path: Path) -> None:
    source = lookalikes.cadis(tmp_path / "source")
    with pytest.raises(UsageError, match="wants a folder relabelled"):
        convert("cadis", source, tmp_path / "a", allow_missing=True, options=["relabeled"])
    for kind in ("Labels", "Images"):
        folder = source / "segmentation" / "Video10" / kind
        folder.parent.mkdir(exist_ok=True)
        (source / "segmentation" / "Video01" / kind).rename(folder)
        (folder / "Video1_frame000090.png").rename(folder / "Video10_frame019630.png")
    lookalikes.save_picture(source / "relabelled" / "Video10_frame019630.png", np.full((54, 96), 3, np.uint8))
    left = convert("cadis", source, tmp_path / "b", allow_missing=True)
    assert any("flagged as doubtful by RViMLab and kept: labels of 1 frame" in text for text in left.notices)
    assert any("left out 1 label of the folder relabelled" in text for text in left.notices)
    taken = convert("cadis", source, tmp_path / "c", allow_missing=True, options=["relabeled"])
    assert not any("doubtful" in text for text in taken.notices)
    label = read_label(taken.folder / "labelsTr" / "Video10_frame019630.png").array
    assert set(np.unique(label)) == {3}


@pytest.mark.parametrize(
    ("split", "grouped"),
    [
        ("mcf-1", {"PANCREAS_0025", "PANCREAS_0070"}),
        ("mc-net", {"PANCREAS_0002", "PANCREAS_0070"}),
        ("mcf-3", {"PANCREAS_0002", "PANCREAS_0025", "PANCREAS_0070"}),
    ],
)
def test_the_pancreas_that_is_there_three_times(tmp_path: Path, split: str, grouped: set[str]) -> None:
    """A published list that cuts a patient can be trained on; the rest of the patient stays together."""
    source = tmp_path / "source"
    for number in (2, 25, 70, 57, 18):
        mask = lookalikes.ball((20, 20, 18), 2 if number in (25, 70) else number, 0.7)
        lookalikes.save_h5(
            source / "Pancreas_h5" / f"image{number:04d}_norm.h5",
            lookalikes.scan_of(mask, 0, 1, number),
            mask,
        )
    result = convert("pancreas-ct", source, tmp_path / "out", split=split, allow_missing=True)
    assert set(result.splits["group_by_patient"]) == grouped
    assert any("scores of that case are too good" in text for text in result.notices) == (len(grouped) == 2)
    report = check(tmp_path / "out")
    assert report.errors == []
    assert "DUPLICATE_MASK" in {problem.code for problem in report.problems}
    assert Dataset.open(tmp_path / "out").split().labeled


def test_decathlon_test_scans_may_be_unlabeled_ones(tmp_path: Path) -> None:
    _, dataset = converted(tmp_path, "msd", "msd")
    assert (dataset.channel_names, list(dataset.labels)) == (("T2", "ADC"), ["background", "PZ", "TZ"])
    assert len(dataset.test) == 1
    more = convert("msd", tmp_path / "source", tmp_path / "more", extra="unlabeled")
    assert [case.id for case in Dataset.open(more.folder).unannotated] == ["prostate_03"]


@pytest.mark.parametrize(
    ("task", "channel", "count"), [("ct", "CT", 5), ("mr", "MRI", 2), ("both", "CT or MRI", 7)]
)
def test_amos_modalities_are_kept_apart(tmp_path: Path, task: str, channel: str, count: int) -> None:
    result, dataset = converted(tmp_path, "amos", "amos", task=task)
    assert dataset.channel_names == (channel,)
    assert sum(result.counts.values()) - result.counts["unlabeled"] == count
    assert result.counts["unlabeled"] == (task != "mr")
    assert any("amos_5437" in text for text in result.notices)


def test_amos_list_with_strangers(tmp_path: Path) -> None:
    source = lookalikes.amos(tmp_path / "source")
    with pytest.raises(DataError, match="published as labeled and not in its list for training: 3 cases"):
        convert("amos", source, tmp_path / "out", split="dhc-20")
    result = convert("amos", source, tmp_path / "out", split="dhc-20", allow_missing=True)
    assert len(result.splits["published"]["left_out"]) == 3


def test_flare_validation_scans_do_not_train(tmp_path: Path) -> None:
    result, dataset = converted(tmp_path, "flare22", "flare22", link=True)
    assert result.counts == {"labeled": 3, "unlabeled": 3, "val": 0, "test": 1}
    assert list(dataset.labels)[1:3] == ["liver", "right kidney"]
    assert all(case.images[0].stat().st_nlink == 2 for case in dataset.unannotated)


def test_btcv_of_two_kinds(tmp_path: Path) -> None:
    _, raw = converted(tmp_path, "btcv", "btcv_raw")
    assert (len(raw.labels), raw.channel_names) == (14, ("CT",))
    assert [case.id for case in raw.annotated[:2]] == ["case0009", "case0021"]
    assert [case.id for case in raw.test] == ["case0008"]
    source = lookalikes.btcv_npz(tmp_path / "npz")
    result = convert("btcv", source, tmp_path / "b", allow_missing=True, split="transunet")
    arrays = Dataset.open(result.folder)
    assert list(arrays.labels)[1:3] == ["aorta", "gallbladder"]
    assert [case.id for case in arrays.annotated] == ["case0005", "case0006"]
    assert [case.id for case in arrays.test] == ["case0008"]
    assert {read(case.images[0]).grid.shape for case in (*arrays.annotated, *arrays.test)} == {(18, 18, 6)}


def test_kvasir_masks_are_black_and_white_again(tmp_path: Path) -> None:
    _, dataset = converted(tmp_path, "kvasir", "kvasir", split="random")
    assert set(np.unique(read_label(dataset.annotated[0].label).array)) == {0, 1}


def test_isic_parts_and_lists(tmp_path: Path) -> None:
    result, dataset = converted(tmp_path, "isic", "isic2018")
    assert result.counts == {"labeled": 3, "unlabeled": 0, "val": 1, "test": 1}
    assert dataset.label_map == {255: 1}
    source = lookalikes.isic_tcsm(tmp_path / "tcsm")
    listed = convert("isic", source, tmp_path / "b", split="tcsm-50", allow_missing=True)
    assert listed.splits["order"] == ["ISIC_0014346", "ISIC_0011208", "ISIC_0000003"]
    assert listed.counts == {"labeled": 3, "unlabeled": 0, "val": 1, "test": 1}


def test_broken_files_are_named_before_anything_is_written(tmp_path: Path) -> None:
    source = lookalikes.flare22(tmp_path / "source")
    scan = source / "Training" / "FLARE22_UnlabeledCase1-1000" / "Case_00002_0000.nii.gz"
    scan.write_bytes(scan.read_bytes()[:40])
    with pytest.raises(DataError, match=r"1 file of 1 case cannot be used.*Case_00002"):
        convert("flare22", source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    result = convert("flare22", source, tmp_path / "out", allow_missing=True)
    assert result.counts["unlabeled"] == 2
    assert any("left out 1 case with broken files" in text for text in result.notices)
    assert check(result.folder).errors == []
