"""Our fast paths and the plain ones that they are measured against give the same results."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("h5py", reason="the plain loader reads h5 files")

from benchmarks.speed import scans
from benchmarks.speed.items import ITEMS, arrays, find, inference, step
from benchmarks.speed.plain import networks, training
from benchmarks.speed.plain.loader import RandomCrop, RandomSlice, Scans, batch, rotate_flip
from benchmarks.speed.setting import Setting

from semiseg import networks as our_networks

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    return Setting(CPU, True, None, tmp_path_factory.mktemp("speed"))


@pytest.mark.parametrize(
    ("name", "dim", "kind"), [("vnet", 3, networks.VNet), ("unet2d", 2, networks.UNet2D)]
)
def test_the_plain_network_is_ours(name, dim, kind):
    torch.manual_seed(0)
    mine = our_networks.build(name, dim=dim, in_channels=1, classes=2 if dim == 3 else 4).eval()
    plain = kind().eval()
    networks.copy_weights(plain, mine)
    x = torch.randn(1, 1, *[32] * dim)
    with torch.no_grad():
        torch.testing.assert_close(plain(x), mine(x).logits)


@pytest.mark.parametrize(
    ("dim", "method"), [("3d", "supervised"), ("3d", "mean_teacher"), ("3d", "ua_mt"), ("2d", "mean_teacher")]
)
def test_a_step_has_the_same_loss_and_gradient_in_float32(dim, method):
    loss, gradient = step.differences(dim, method, CPU, "32", (32,) * int(dim[0]))
    assert loss < 1e-5
    assert gradient < 1e-4


def test_a_step_in_bf16_stays_within_the_stated_tolerance():
    loss, gradient = step.differences("2d", "mean_teacher", CPU, "bf16", (32, 32))
    assert 0 < loss < step.LIMITS["bf16"][0]
    assert 0 < gradient < step.LIMITS["bf16"][1]


def test_the_plain_teacher_is_a_moving_average_and_the_plain_optimizer_is_ours():
    from semiseg.schedules import ema_update, warm_decay
    from semiseg.settings.config import OptimizerConfig
    from semiseg.training.optim import build_optimizer

    form = step.plain_form("2d", "mean_teacher", CPU, calm=True)
    net, teacher = networks.UNet2D(dropout=False), networks.UNet2D(dropout=False)
    networks.copy_weights(net, form.net)
    networks.copy_weights(teacher, form.teacher)
    config = OptimizerConfig(name="sgd", lr=0.01, momentum=0.9, weight_decay=1e-4)
    optimizer = build_optimizer(net, config)
    x, y = step.batch_of(24, (32, 32), 4)
    form.labeled = 24
    for k in (5, 500):
        training.Supervised.loss(form, x, y, k).backward()
        for mine, theirs in zip(net.parameters(), form.net.parameters(), strict=True):
            mine.grad = theirs.grad.clone()
        form.optimizer.step()
        form.after(k)
        optimizer.step()
        ema_update(teacher, net, warm_decay(k, 0.99))
    for mine, theirs in ((net, form.net), (teacher, form.teacher)):
        for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


def test_prediction_gives_the_same_labels_with_the_same_windows(setting):
    assert "32: 0.0000%" in inference.agree(setting)


@pytest.mark.parametrize("item", ["metrics", "components", "confident", "distance"])
def test_what_runs_on_arrays_is_the_same(setting, item):
    said = [case.agree() for case in find([item], setting)]
    assert all(said)
    if item in ("components", "confident"):
        assert all("identical" in text and ", 0 voxels" not in text for text in said)


def test_a_difference_is_told():
    ones, zeros = torch.ones(3), torch.zeros(3)
    with pytest.raises(SystemExit):
        arrays.same_tensors(ones, zeros)
    with pytest.raises(SystemExit):
        arrays.same_values([[1.0]], [[1.0 + 1e-9]])
    with pytest.raises(SystemExit):
        arrays.near_maps(np.zeros((1, 2)), torch.full((1, 1, 2), 2e-6))


def test_the_plain_loader_gives_voxels_of_the_scans(setting):
    files = scans.h5_files(setting, scans.LEFT_ATRIUM)
    image, label = scans.cases(setting, scans.LEFT_ATRIUM)[0]
    np.random.seed(0)
    x, y = batch(Scans(files[:1], [rotate_flip, RandomCrop(setting.patch)]), [0, 0])
    assert x.shape == (2, 1, *setting.patch)
    assert y.dtype == torch.int64
    assert set(x.unique().tolist()) <= {0.0, *np.unique(image).tolist()}  # 0 around a small scan
    whole = Scans(files[:1], [])[0]
    assert np.array_equal(whole["image"][0], image)
    assert np.array_equal(whole["label"], label)
    slices = Scans(scans.h5_files(setting, scans.ACDC, slices=True), [RandomSlice((48, 40))])
    assert {slices[i]["image"].shape for i in range(8)} == {(1, 48, 40)}


def test_every_item_has_cases_with_names_of_their_own(setting):
    found = [case.name for case in find(list(ITEMS), setting)]
    assert len(set(found)) == len(found) >= 12
    assert {name.partition(".")[0] for name in found} == set(ITEMS)
    assert [case.name for case in find(["step3d.ua_mt"], setting)] == ["step3d.ua_mt"]
