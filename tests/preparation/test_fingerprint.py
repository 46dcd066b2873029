import json

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from tests.factories import make_dataset

from semiseg.dataset.case import Case, LabeledCase, load_case
from semiseg.dataset.dataset import Dataset
from semiseg.errors import DataError
from semiseg.preparation.fingerprint import Fingerprint, fingerprint


def save(path, array, affine=None):
    nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


@pytest.fixture
def cases(tmp_path):
    """Two labeled and two unlabeled 'CT' scans: air -1000, body 40, and an organ of 100 under the label."""
    made = []
    for i in range(4):
        image = np.full((8, 9, 10), -1000, np.int16)
        image[2:6, 2:6, 2:6] = 40
        image[3:5, 3:5, 3:5] = 100 + i
        affine = np.diag([-1.0, 1, 2 + i, 1])
        path = save(tmp_path / f"c{i}_0000.nii.gz", image, affine)
        label = save(tmp_path / f"c{i}.nii.gz", (image >= 100).astype(np.uint8), affine)
        made.append(LabeledCase(f"c{i}", (path,), label) if i < 2 else Case(f"c{i}", (path,)))
    return made


@pytest.mark.parametrize(("value", "what"), [(np.nan, "1 NaN"), (-np.inf, "1 infinite"), (1e30, "1 huge")])
def test_voxels_that_training_refuses_are_not_planned_with(tmp_path, value, what):
    image = np.ones((4, 5, 6), np.float32)
    image[1, 2, 3] = value
    with pytest.raises(DataError, match=f"channel 'MRI' holds {what} of 120 voxels") as caught:
        fingerprint([Case("a", (save(tmp_path / "a_0000.nii.gz", image),))], ["MRI"])
    assert "a" in caught.value.message


def test_grids_and_orientation(cases):
    found = fingerprint(cases, ["MRI"])
    assert [case.spacing for case in found.cases] == [(1, 1, 2), (1, 1, 3), (1, 1, 4), (1, 1, 5)]
    assert found.cases[0].shape == (8, 9, 10)
    assert found.cases[0].ras == (0, 1, 2)
    assert not found.flat


def test_nonzero_box(tmp_path):
    image = np.zeros((8, 10, 20), np.float32)
    image[2:4, 0:10, 5:10] = 1
    found = fingerprint([Case("a", (save(tmp_path / "a_0000.nii.gz", image),))], ["MRI"])
    assert found.cases[0].nonzero == (0.25, 1.0, 0.25)
    assert found.cases[0].size(cropped=True) == (2, 10, 5)


def test_ct_foreground_comes_from_labeled_cases_only(cases):
    facts = fingerprint(cases, ["CT"]).channels[0]
    assert (facts.foreground.minimum, facts.foreground.maximum) == (100, 101)
    assert facts.foreground.images == 2
    assert (facts.body.minimum, facts.body.maximum) == (40, 103)
    assert facts.body.images == 4


def test_label_map_and_ignore_decide_what_is_foreground(cases):
    none = fingerprint(cases, ["CT"], label_map={1: 0}).channels[0]
    assert none.foreground is None
    ignored = fingerprint(cases, ["CT"], label_map={1: 9}, ignore_value=9).channels[0]
    assert ignored.foreground is None


def test_no_label_of_a_plain_case_is_opened(cases):
    plain = [case.without_label() if isinstance(case, LabeledCase) else case for case in cases]
    expected = fingerprint(plain, ["CT"])
    for case in cases[:2]:
        case.label.write_bytes(b"garbage")
    assert fingerprint(plain, ["CT"]) == expected
    with pytest.raises(DataError, match="c0"):
        fingerprint(cases, ["MRI"])


@pytest.mark.parametrize(
    ("more", "run"),
    [
        ({}, (2, 3, 20)),  # of class 2, whose voxels along the last axis lie in two pieces; 4 mm apart
        ({"label_map": {2: 0}}, (6, 7, 32)),
        ({"label_map": {2: 1}}, (5.35, 5.82, 29.33)),
        ({"ignore_value": 1}, (2, 3, 20)),
        ({"label_map": {1: 0, 2: 0}}, None),
    ],
)
def test_size_of_the_smallest_structure(tmp_path, more, run):
    label = np.zeros((10, 12, 20), np.uint8)
    label[1:7, 2:9, 3:11] = 1
    label[7:9, 2:5, [*range(2, 7), *range(12, 17)]] = 2
    grid = np.diag([1.0, 1, 4, 1])
    paths = [save(tmp_path / f"a{end}.nii.gz", label, grid) for end in ("_0000", "")]
    case = LabeledCase("a", (paths[0],), paths[1])
    found = fingerprint([case], ["MRI"], **more).cases[0].run
    assert found == (None if run is None else pytest.approx(run, abs=0.01))
    assert fingerprint([case.without_label()], ["MRI"], **more).cases[0].run is None


def test_json_round_trip(cases):
    found = fingerprint(cases, ["CT"])
    assert Fingerprint.from_dict(json.loads(json.dumps(found.as_dict()))) == found


def test_cache_is_used_until_a_file_changes(cases, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    first = fingerprint(cases, ["MRI"], cache=cache)
    with monkeypatch.context() as patch:
        patch.setattr(
            "semiseg.preparation.fingerprint.measure", lambda *_, **__: pytest.fail("measured again")
        )
        assert fingerprint(cases, ["MRI"], cache=cache) == first
    for path in cache.glob("*.json"):
        path.write_text("{broken")
    assert fingerprint(cases, ["MRI"], cache=cache) == first
    save(cases[3].images[0], np.ones((3, 4, 5), np.float32))
    assert fingerprint(cases, ["MRI"], cache=cache).cases[3].shape == (3, 4, 5)


def test_a_scan_is_measured_once_for_all_lists_of_a_dataset(cases, tmp_path, monkeypatch):
    cache, read = tmp_path / "cache", []

    def counted(case, channels):
        read.append(case.id)
        return load_case(case, channels)

    monkeypatch.setattr("semiseg.preparation.measure.load_case", counted)
    part = fingerprint(cases[1:], ["CT"], cache=cache)
    assert read == [case.id for case in cases[1:]]
    assert fingerprint(cases, ["CT"], cache=cache) == fingerprint(cases, ["CT"])
    assert read[len(cases) - 1 :] == [cases[0].id, *(case.id for case in cases)]
    for path in [*cache.glob("*.json"), *cache.glob("fingerprint-*")]:
        path.unlink(missing_ok=True)
    damaged = sorted(cache.glob("measured-*.npz"))[0]
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    read.clear()
    assert fingerprint(cases[1:], ["CT"], cache=cache) == part
    assert len(read) <= 1


def test_processes_find_the_same(cases):
    assert fingerprint(cases, ["CT"], 2) == fingerprint(cases, ["CT"], 0)


def test_the_number_of_images_read_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("semiseg.preparation.fingerprint.MOST_IMAGES", 3)
    image = np.ones((4, 4, 4), np.uint8)
    cases = [Case(f"c{i}", (save(tmp_path / f"c{i}_0000.nii.gz", image),)) for i in range(7)]
    found = fingerprint(cases, ["MRI"])
    assert len(found.cases) == 7
    assert [case.id for case in found.cases if case.nonzero] == ["c0", "c3", "c6"]


def test_faults_are_told_at_once(cases, tmp_path):
    cases[0].images[0].write_bytes(b"junk")
    cases[2].images[0].unlink()
    with pytest.raises(DataError) as caught:
        fingerprint(cases, ["MRI"])
    assert "c0" in caught.value.message
    assert "c2" in caught.value.message
    with pytest.raises(DataError, match="no training case"):
        fingerprint([], ["MRI"])
    with pytest.raises(DataError, match="got 1 channel, wanted 2"):
        fingerprint([cases[1]], ["MRI", "T2"])


def test_flat_and_solid_images_do_not_mix(tmp_path):
    solid = Case("a", (save(tmp_path / "a_0000.nii.gz", np.zeros((4, 4, 4), np.uint8)),))
    Image.fromarray(np.zeros((6, 9), np.uint8)).save(tmp_path / "b_0000.png")
    flat = Case("b", (tmp_path / "b_0000.png",))
    assert fingerprint([flat], ["x"]).flat
    with pytest.raises(DataError, match="1 of 2 images in 2D"):
        fingerprint([solid, flat], ["x"])


def test_real_hippocampus(shared_data):
    dataset = Dataset.open(shared_data / "Dataset104_Hippocampus")
    split = dataset.split(labeled=2)
    found = fingerprint([*split.labeled, *split.unlabeled[:4]], dataset.channel_names)
    assert {case.spacing for case in found.cases} == {(1.0, 1.0, 1.0)}


def test_factory_dataset(tmp_path):
    dataset = Dataset.open(make_dataset(tmp_path, channels=2))
    split = dataset.split()
    found = fingerprint([*split.labeled, *split.unlabeled], dataset.channel_names)
    assert [channel.name for channel in found.channels] == ["MRI", "MRI"]
    assert found.channels[1].body.mean > found.channels[0].body.mean
