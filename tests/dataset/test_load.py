import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from semiseg.dataset.case import Case, LabeledCase, case_header, load_case, load_label
from semiseg.errors import DataError


def save(path, array, affine=None):
    nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


def test_channels_are_stacked_in_order(tmp_path):
    files = [save(tmp_path / f"a_{c:04d}.nii.gz", np.full((3, 4, 5), c, np.int16)) for c in range(3)]
    image, grid, _ = load_case(Case("a", tuple(files)))
    assert image.shape == (3, 3, 4, 5)
    assert image[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert grid.shape == (3, 4, 5)
    assert case_header(Case("a", tuple(files))).grid.matches(grid)


def test_color_images_have_three_channels(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (6, 9, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a_0000.png")
    image, grid, _ = load_case(Case("a", (tmp_path / "a_0000.png",)))
    assert grid.shape == (6, 9)
    assert np.array_equal(image, np.moveaxis(pixels, -1, 0))


def test_float_noise_is_accepted_and_a_shift_is_not(tmp_path):
    first = save(tmp_path / "a_0000.nii.gz", np.zeros((3, 4, 5), np.uint8))
    noise, shifted = np.eye(4), np.eye(4)
    noise[0, 3], shifted[0, 3] = 1e-5, 0.5
    good = save(tmp_path / "good.nii.gz", np.zeros((3, 4, 5), np.uint8), noise)
    bad = save(tmp_path / "bad.nii.gz", np.zeros((3, 4, 5), np.uint8), shifted)
    small = save(tmp_path / "small.nii.gz", np.zeros((3, 4, 4), np.uint8))
    _, grid, _ = load_case(Case("a", (first, good)))
    assert load_label(LabeledCase("a", (first,), good), grid).shape == (3, 4, 5)
    with pytest.raises(DataError, match=r"a: bad\.nii\.gz .* up to 0\.5 mm away"):
        load_case(Case("a", (first, bad)))
    with pytest.raises(DataError, match=r"shape \(3, 4, 4\), wanted \(3, 4, 5\)"):
        load_label(LabeledCase("a", (first,), small), grid)


@pytest.mark.parametrize("load", [load_case, case_header])
def test_lost_and_broken_files_name_the_case(tmp_path, load):
    with pytest.raises(DataError, match="pat_7"):
        load(Case("pat_7", (tmp_path / "none.nii.gz",)))
    (tmp_path / "broken.nii.gz").write_bytes(b"junk")
    with pytest.raises(DataError, match="pat_7") as caught:
        load(Case("pat_7", (tmp_path / "broken.nii.gz",)))
    assert caught.value.details["case"] == "pat_7"


def test_a_color_label_is_refused(tmp_path):
    Image.new("RGB", (9, 6), (0, 0, 1)).save(tmp_path / "a.png")
    case = LabeledCase("a", (tmp_path / "a.png",), tmp_path / "a.png")
    with pytest.raises(DataError, match="color"):
        load_label(case, load_case(case)[1])
