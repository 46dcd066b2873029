"""What the planner chooses when it is left alone."""

import json

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from tests.factories import make_dataset

from semiseg.dataset.dataset import Dataset
from semiseg.preparation.fingerprint import ChannelFacts, Fingerprint
from semiseg.preparation.layout import lay_out_dataset
from semiseg.preparation.measure import CaseFacts
from semiseg.preparation.network_size import Load, budget_for, cases_gb, choose_patch, memory, stages_for
from semiseg.preparation.plan import Plan, explain
from semiseg.preparation.planner import make_plan


def planned(folder, labeled=None, **asked) -> Plan:
    dataset = Dataset.open(folder)
    return make_plan(dataset, dataset.split(labeled=labeled), **asked)


def facts(*cases) -> Fingerprint:
    """Cases of (shape, spacing[, ras])."""
    made = [CaseFacts(f"c{i}", c[0], c[1], c[2] if len(c) > 2 else (0, 1, 2)) for i, c in enumerate(cases)]
    return Fingerprint(tuple(made), (ChannelFacts("MRI", None, None),))


def require_sound(plan: Plan) -> None:
    """The rules that every plan keeps."""
    assert all(n % d == 0 for n, d in zip(plan.patch, plan.network.divisor, strict=True))
    assert all(n // d >= min(4, n) for n, d in zip(plan.patch, plan.network.divisor, strict=True))
    assert len(plan.network.strides) == len(plan.network.kernels) == len(plan.network.features)
    assert set(plan.memory_gb) == {"one network", "two networks", "as planned", "prepared cases"}
    assert plan.memory_gb["one network"] < plan.memory_gb["two networks"]


def test_memory_of_the_prepared_cases_is_what_the_store_holds():
    layout = lay_out_dataset(facts(*[((190, 142, 88), (1, 1, 1))] * 100), spacing=(2.0, 1.0, 1.0))
    assert cases_gb(layout, 2) == pytest.approx(100 * 95 * 142 * 88 * 9 / 1e9, abs=0.01)


def test_hippocampus(shared_data):
    plan = planned(shared_data / "Dataset104_Hippocampus", labeled=8)
    require_sound(plan)
    assert (plan.dim, plan.patch, plan.batch) == (3, (40, 56, 40), 4)  # as nnU-Net's: it covers 35 x 50 x 36
    assert plan.network.features == (16, 32, 64, 128)
    assert plan.channels[0].scheme == "zscore"
    assert plan.spacing == (1, 1, 1)


def test_acdc_is_read_slice_by_slice(shared_data):
    plan = planned(shared_data / "Dataset102_ACDC", labeled=16)
    require_sound(plan)
    assert (plan.dim, plan.axes, plan.spacing) == (2, (2, 0, 1), (None, 1, 1))
    assert plan.patch == (176, 176)
    assert 8 <= plan.batch <= 12
    assert plan.channels[0].scheme == "none"


def test_tiny_dataset_is_planned_soundly(tmp_path):
    plan = planned(make_dataset(tmp_path))
    require_sound(plan)
    assert plan.dim == 3
    assert plan.patch == (20, 24, 20)  # covers 20 x 22 x 18
    assert plan.labels == {"background": 0, "structure 1": 1}
    assert "3 labeled and 4 unlabeled" in plan.reasons["dataset"]


def test_test_images_and_hidden_labels_are_not_opened(tmp_path):
    folder = make_dataset(tmp_path, labeled=3)
    before = planned(folder, labeled=1)
    for path in [
        *folder.glob("imagesTs/*"),
        *folder.glob("labelsTs/*"),
        *folder.glob("labelsTr/case_0[12]*"),
    ]:
        path.write_bytes(b"garbage")
    assert planned(folder, labeled=1) == before


def test_flat_images(tmp_path):
    folder = make_dataset(tmp_path, labeled=2, unlabeled=1, test=0)
    for part in ("imagesTr", "labelsTr", "imagesUn"):
        for path in list((folder / part).iterdir()):
            Image.fromarray(np.zeros((60, 90), np.uint8)).save(path.with_name(f"{path.name[:-7]}.png"))
            path.unlink()
    description = json.loads((folder / "dataset.json").read_text()) | {"file_ending": ".png"}
    (folder / "dataset.json").write_text(json.dumps(description))
    plan = planned(folder)
    require_sound(plan)
    assert (plan.dim, plan.axes, plan.orientation) == (2, (2, 0, 1), "native")
    assert plan.patch == (64, 96)  # covers 60 x 90


def test_ct_statistics_are_in_the_plan(tmp_path):
    folder = make_dataset(tmp_path)
    description = json.loads((folder / "dataset.json").read_text()) | {"channel_names": {"0": "CT"}}
    (folder / "dataset.json").write_text(json.dumps(description))
    channel = planned(folder).channels[0]
    assert channel.scheme == "ct"
    assert channel.mean == pytest.approx(1, abs=0.05)  # the factory's ball is 1 with noise of 0.3
    assert channel.std == pytest.approx(0.3, abs=0.05)
    assert channel.p005 < channel.mean < channel.p995


def test_mostly_empty_scans_are_cropped(tmp_path):
    folder = make_dataset(tmp_path, labeled=1, unlabeled=2, test=0, shape=(40, 40, 40))
    assert planned(folder).crop == "none"
    for path in [*folder.glob("imagesTr/*"), *folder.glob("imagesUn/*")]:
        image = np.zeros((40, 40, 40), np.float32)
        image[10:30, 10:30, 10:26] = 1
        nib.save(nib.Nifti1Image(image, np.eye(4)), path)
    plan = planned(folder)
    assert plan.crop == "nonzero"
    assert plan.patch == (20, 20, 16)


@pytest.mark.parametrize(
    ("shape", "spacing", "dim", "slices"),
    [
        ((220, 250, 10), (1, 1, 1), 2, 2),
        ((10, 220, 250), (1, 1, 1), 2, 0),
        ((320, 320, 18), (0.6, 0.6, 3.6), 2, 2),
        ((320, 320, 24), (0.6, 0.6, 3.6), 3, None),
        ((35, 50, 35), (1, 1, 1), 3, None),
        ((20, 22, 10), (1, 1, 1), 3, None),
    ],
)
def test_2d_or_3d(shape, spacing, dim, slices):
    layout = lay_out_dataset(facts((shape, spacing), (shape, spacing)))
    assert layout.dim == dim
    assert layout.axes[0] == (slices if dim == 2 else 0)


def test_oblique_stacks_stay_in_file_order():
    """Short-axis stacks whose slices point anywhere: in RAS the slice axis would differ between scans."""
    shape, spacing = (200, 200, 12), (1.4, 1.4, 10.0)
    layout = lay_out_dataset(facts((shape, spacing, (0, 1, 2)), (shape, spacing, (2, 0, 1))))
    assert (layout.orientation, layout.dim, layout.axes) == ("native", 2, (2, 0, 1))
    assert "mix them up" in layout.reasons["orientation"]
    sagittal = ((12, 200, 200), (10.0, 1.4, 1.4))
    layout = lay_out_dataset(facts((*sagittal, (0, 1, 2)), ((200, 12, 200), (1.4, 10.0, 1.4), (1, 0, 2))))
    assert (layout.orientation, layout.axes[0]) == ("RAS", 0)


def test_spacing_is_the_median_and_finer_across_thick_slices():
    layout = lay_out_dataset(facts(*[((100, 100, 100), (mm, 1, 1)) for mm in (0.8, 1.0, 1.4)]))
    assert layout.target == (1, 1, 1)
    thick = lay_out_dataset(facts(*[((300, 300, 40), (1, 1, mm)) for mm in (4.0, 6.0, 6.0, 6.0, 6.0)]))
    assert thick.target[2] == pytest.approx(4.8)
    assert "10th percentile" in thick.reasons["spacing"]


def test_thick_slices_are_not_mixed_until_voxels_are_cubic():
    strides, kernels = stages_for((16, 128, 128), (5, 1, 1), 6, exact=True)
    assert strides == ((1, 1, 1), (1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2), (1, 2, 2))
    assert kernels == ((1, 3, 3), (1, 3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3))  # and stay at 3


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("median", [(96, 71, 44), (192, 142, 88), (500, 500, 40), (9, 9, 9), (3, 400, 7)])
def test_patches_fit(device, median):
    budget, load = budget_for(device, 3), Load(1, 2, 4)
    patch = choose_patch(median, (1, 1, 1), budget, 8.0, load)
    strides, _ = stages_for(patch, (1, 1, 1), budget.stages, exact=True)
    divisor = [int(np.prod([s[a] for s in strides])) for a in range(3)]
    assert all(n % d == 0 and n // d >= min(4, n) for n, d in zip(patch, divisor, strict=True))
    assert np.prod(patch) <= budget.voxels
    assert memory(patch, (1, 1, 1), budget, load)["two networks"] <= 8.0
    assert all(n <= -(-m // 32) * 32 for n, m in zip(patch, median, strict=True))


def test_more_memory_gives_a_larger_patch():
    budget, load = budget_for("cuda", 3), Load(1, 2, 4)
    sizes = [np.prod(choose_patch((192, 142, 88), (1, 1, 1), budget, gb, load)) for gb in (4, 8, 24)]
    assert sizes[0] < sizes[1] < sizes[2]


def test_explain_gives_every_choice_a_reason(tmp_path):
    plan = planned(make_dataset(tmp_path))
    lines = explain(plan)
    assert len(lines) == len({line.split(":")[0] for line in lines}) >= 12
    for name in ("dim", "spacing", "crop", "channels", "patch", "batch", "network", "memory_gb"):
        line = next(line for line in lines if line.startswith(f"{name}:"))
        assert plan.reasons[name] in line
    assert not any("\n" in line for line in lines)


def test_plans_survive_their_file(tmp_path):
    plan = planned(make_dataset(tmp_path))
    plan.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == plan
