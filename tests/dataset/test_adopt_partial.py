"""Labels and scans as clinics have them: a channel that lacks, some slices, films, outlines of structures."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from tests.dataset.test_adopt import ids, scan, sound
from tests.images.synthetic_dicom import AXIAL, OBLIQUE, volume, write_series
from tests.lookalikes import ball, save_nii, scan_of

import semiseg
from semiseg.dataset.adopt import adopt
from semiseg.errors import DataError
from semiseg.images import read, read_label
from semiseg.images.dicom import find_series, read_series
from semiseg.images.dicom_contours import write_contours
from semiseg.images.dicom_results import Maker, Structure, origin_of
from semiseg.images.dicom_structures import draw
from semiseg.images.grid import Grid
from semiseg.preparation.resident import Resident, is_hardly_labeled


def test_a_channel_that_lacks_is_zero_where_that_is_said(tmp_path: Path) -> None:
    source = tmp_path / "pile"
    for n, name in enumerate(("P1", "P2", "P3")):
        for word in ("T1", "FLAIR"):
            if (name, word) != ("P3", "T1"):
                scan(source / name / f"{word}.nii.gz", 10 * n + len(word))
        scan(source / name / "seg.nii.gz", n, mask=True)
    with pytest.raises(DataError, match=r"1 of 3 cases lack a channel: P3 \(T1\)") as caught:
        adopt(source, tmp_path / "out")
    assert "--missing zero" in str(caught.value.hint)
    result = adopt(source, tmp_path / "out", missing="zero")
    dataset = sound(result)
    assert ids(dataset.annotated) == ["P1", "P2", "P3"]
    first, second = (read(path) for path in dataset.annotated[2].images)
    assert not first.array.any()
    assert second.array.any()
    assert first.grid.matches(second.grid)
    assert ids(sound(adopt(source, tmp_path / "less", missing="out")).annotated) == ["P1", "P2"]


def test_slices_that_nobody_labeled_are_ignored_and_learned_from_as_unlabeled(tmp_path: Path) -> None:
    source = tmp_path / "pile"
    for n in range(3):
        mask = ball((14, 14, 16), n, 0.9).astype(np.uint8)
        save_nii(source / f"c{n}.nii.gz", scan_of(mask > 0, 0, 100, n).astype(np.float32))
        if n < 2:
            some = np.zeros_like(mask)
            some[..., 4:13:4] = mask[..., 4:13:4]
            save_nii(source / f"c{n}_seg.nii.gz", some)
    result = adopt(source, tmp_path / "out", some_slices=True)
    assert any("labels of 2 of 2 cases are of some slices" in text for text in result.decisions)
    dataset = sound(result)
    assert (dataset.labels, dataset.ignore_value) == ({"background": 0, "foreground": 1}, 2)
    label = read_label(dataset.annotated[0].label).array
    assert set(np.unique(label[..., 4:13:4])) == {0, 1}
    assert set(np.unique(np.delete(label, range(4, 13, 4), axis=2))) == {-1}
    run = semiseg.train(
        result.folder, method="mean_teacher", iterations=2, run=tmp_path / "run", network="unet",
        settings={"plan.features": [4, 8], "plan.patch": [8, 8, 8]}, device="cpu", workers=0,
    )  # fmt: skip
    assert run.finished


@pytest.mark.parametrize(("step", "hardly"), [(1, False), (2, False), (3, True)])
@pytest.mark.parametrize("kind", [torch.from_numpy, np.asarray])
def test_a_scan_with_few_labeled_slices_counts_as_unlabeled_too(kind, step: int, hardly: bool) -> None:
    label = np.full((4, 4, 12), 255, np.uint8)
    label[..., ::step] = 0
    image = np.zeros((1, 4, 4, 12), np.float32)
    case = Resident("a", kind(image), kind(label), np.zeros((0, 3), np.int32), torch.device("cpu"))
    assert is_hardly_labeled(case) == hardly


@pytest.mark.parametrize("flat", [True, False])
def test_frames_of_a_film_are_unlabeled_scans_of_its_patient(tmp_path: Path, flat: bool) -> None:
    source = tmp_path / "pile"
    for n in range(3):
        place = source if flat else source / f"P{n}"
        film = np.random.default_rng(n).integers(0, 99, (9, 8, 7, 3)).astype(np.int16)
        save_nii(place / f"P{n}_4d.nii.gz", film)
        if n < 2:
            save_nii(place / f"P{n}_frame1.nii.gz", film[..., 1])
            save_nii(place / f"P{n}_frame1_gt.nii.gz", ball((9, 8, 7), n).astype(np.uint8))
    left = adopt(source, tmp_path / "left")
    assert any("left out 3 4D files" in text and "--frames" in text for text in left.notices)
    result = adopt(source, tmp_path / "out", frames=True)
    dataset = sound(result)
    assert len(dataset.annotated) == 2
    assert len(dataset.unannotated) == 2 + 2 + 3
    assert any("2 frames left out, there as scans of their own" in text for text in result.decisions)
    groups = result.splits["group_by_patient"]
    assert len(set(groups.values())) == 3
    one = dataset.annotated[0].id
    assert sum(group == groups[one] for group in groups.values()) == 3
    assert len(dataset.split().unlabeled) == 7


def test_a_4d_file_gives_a_4d_label_map(tmp_path: Path) -> None:
    from tests.trained import make_run

    film = np.random.default_rng(0).integers(0, 2, (9, 8, 7, 4)).astype(np.float32)
    image = nib.Nifti1Image(film, np.diag([1.5, 1.5, 4, 1]))
    image.header.set_zooms((1.5, 1.5, 4, 0.03))
    image.header.set_xyzt_units("mm", "sec")
    (tmp_path / "in").mkdir()
    nib.save(image, tmp_path / "in" / "heart.nii.gz")
    for _ in range(2):  # what is there already is put together, too
        report = semiseg.predict(
            tmp_path / "in", tmp_path / "out", make_run(tmp_path / "run"), device="cpu", resume=True
        )
        assert [case.id for case in report.cases] == [f"heart_t00{k}" for k in range(4)]
        found = nib.load(tmp_path / "out" / "heart.nii.gz")
        np.testing.assert_array_equal(np.asarray(found.dataobj), film.astype(np.uint8))
        np.testing.assert_allclose(found.header.get_zooms(), (1.5, 1.5, 4, 0.03), rtol=1e-5)
        assert found.header.get_xyzt_units() == ("mm", "sec")
        np.testing.assert_allclose(found.affine, image.affine)


# -- RT structure sets


def structure_set(folder: Path, place: Path, masks: dict[str, np.ndarray]) -> None:
    """The outlines of masks on the series in ``folder``, as one file."""
    held = read_series(find_series(folder)[0])
    structures = [Structure(name, (255, 0, 0)) for name in masks]
    place.parent.mkdir(parents=True, exist_ok=True)
    write_contours(
        place, list(masks.values()), held.grid, origin_of(held.meta), structures, Maker("a", "1", "x")
    )


@pytest.mark.parametrize("orientation", [AXIAL, OBLIQUE])
def test_outlines_become_the_masks_of_their_series(tmp_path: Path, orientation: tuple[float, ...]) -> None:
    source, wanted = tmp_path / "pile", {}
    shape = (14, 13, 6)
    for n, name in enumerate(("A", "B", "C")):
        write_series(source / name / "ct", volume(shape, n), orientation=orientation)
        ring = ball(shape, n, 0.8) & ~ball(shape, n, 0.3)  # with a hole
        spot = np.zeros(shape, bool)
        spot[0:2, 0:2, 2:4] = True
        wanted[name] = 2 * ring + spot
        if n < 2:
            masks = {"Liver": ring, "GTV 1": spot} if n else {"GTV 1": spot, "Liver": ring}
            structure_set(source / name / "ct", source / name / "plan" / "RS.dcm", masks)
    lost = tmp_path / "elsewhere"
    write_series(lost, volume(shape, 9))
    structure_set(lost, source / "old" / "RS.dcm", {"Liver": wanted["A"] == 2})
    result = adopt(source, tmp_path / "out")
    dataset = sound(result)
    assert dataset.labels == {"background": 0, "GTV 1": 1, "Liver": 2}
    assert (ids(dataset.annotated), ids(dataset.unannotated)) == (["A", "B"], ["C"])
    for case in dataset.annotated:
        np.testing.assert_array_equal(read_label(case.label).array, wanted[case.id])
    assert any("1 RT structure set whose series is not here: old/RS.dcm" in text for text in result.notices)
    assert not any("structures that others have" in text for text in result.notices)
    structure_set(source / "B" / "ct", source / "B" / "plan" / "RS.dcm", {"GTV 1": wanted["B"] == 1})
    again = adopt(source, tmp_path / "again")
    assert any(
        "structures that others have" in text and "B/plan/RS.dcm (Liver)" in text for text in again.notices
    )
    assert "PRIVATE" not in str(result.as_dict())
    assert "DOE" not in str(result.as_dict())


def square(low: float, high: float, slice_: float) -> np.ndarray:
    """LPS points on an upright grid of 1 mm, whose x and y are turned."""
    ring = [(low, low), (high, low), (high, high), (low, high)]
    return np.array([(-x, -y, slice_) for x, y in ring])


def test_outlines_with_holes_and_slices_between_them(tmp_path: Path) -> None:
    grid = Grid((20, 20, 12), np.eye(4))
    every_second = draw([square(4.5, 10.5, k) for k in (1, 3, 5)], grid, tmp_path)
    assert every_second[5:11, 5:11, 1:6].all()
    assert every_second.sum() == 36 * 5
    apart = draw([square(4.5, 10.5, k) for k in (1, 2, 8, 9)], grid, tmp_path)
    assert np.flatnonzero(apart.any((0, 1))).tolist() == [1, 2, 8, 9]
    hole = draw([square(4.5, 10.5, 1), square(6.5, 8.5, 1)], grid, tmp_path)
    assert hole.sum() == 36 - 4
    for wrong in (2.5, 14.0):
        with pytest.raises(DataError, match="an outline at slice"):
            draw([square(4.5, 10.5, wrong)], grid, tmp_path)
