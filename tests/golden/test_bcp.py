"""BCP against the original scripts: masks, mixed losses, cleaned pseudo-labels, moving averages."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.golden.replay import state
from torch import nn

from semiseg.core import Batch, Clock
from semiseg.inference.postprocess import largest_components
from semiseg.methods.bcp import BCP, mixed_dice_ce, region_cross_entropy, region_dice
from semiseg.methods.parts.mixing import draw_starts, mask_of, scaled
from semiseg.schedules import ema_update


def corner(mask):
    """Where the zeros begin, per axis."""
    return tuple(int(places.min()) for places in np.nonzero(mask == 0))


def places(size, sides, cells=1, draws=400):
    """All starts that we draw for the first cell, per axis."""
    torch.manual_seed(0)
    return [
        set(axis) for axis in zip(*(draw_starts(size, sides, cells)[0] for _ in range(draws)), strict=True)
    ]


@pytest.mark.parametrize("name", ["bcp__context_mask_la", "bcp__mask_pancreas", "bcp__mask_acdc2d"])
def test_box(golden, name):
    v = golden(name)
    size, sides, start = v["mask"].shape, tuple(v["box_size"].tolist()), tuple(v["box_start"].tolist())
    for length, side in zip(size, sides, strict=True):
        ratio = int(v["patch_size"]) / length if "patch_size" in v else float(v.get("mask_ratio", 2 / 3))
        assert scaled((length,), ratio) == (side,)
    np.testing.assert_array_equal(mask_of(size, [start], sides), v["mask"])
    assert all(a in drawn for a, drawn in zip(start, places(size, sides, draws=2000), strict=True))


def test_starts_are_drawn_from_the_same_range(golden):
    v = golden("bcp__context_mask_la")
    size, sides = v["mask"].shape, tuple(v["box_size"].tolist())
    for axis, ours in enumerate(places(size, sides, draws=3000)):
        assert set(v["starts"][:, axis].tolist()) <= ours
        assert (min(ours), max(ours)) == (0, size[axis] - sides[axis] - 1)


def test_small_boxes(golden):
    v = golden("bcp__mask_acdc2d")
    size, cells = v["random_mask"].shape, 3
    sides = scaled(size, 2 / 3 / cells)
    starts = []
    for i, j in np.ndindex(cells, cells):
        first = (i * (size[0] // cells), j * (size[1] // cells))
        part = v["random_mask"][tuple(slice(a, a + n // cells) for a, n in zip(first, size, strict=True))]
        starts.append(tuple(a + b for a, b in zip(first, corner(part), strict=True)))
    np.testing.assert_array_equal(mask_of(size, starts, sides), v["random_mask"])
    drawn = places(size, sides, cells, draws=1000)
    assert all(a in axis for a, axis in zip(starts[0], drawn, strict=True))


def test_strip(golden):
    v = golden("bcp__mask_acdc2d")
    size = v["contact_mask"].shape
    rows = int((v["contact_mask"] == 0).all(1).sum())
    assert scaled(size[1:], (2 / 3) ** 2) == (rows,)  # the original takes the length of the other axis
    start = (corner(v["contact_mask"])[0], 0)
    np.testing.assert_array_equal(mask_of(size, [start], (rows, size[1])), v["contact_mask"])
    drawn = places(size, (rows, size[1]), draws=1000)
    assert start[0] in drawn[0]
    assert drawn[1] == {0}


def test_largest_component_of_a_binary_map(golden):
    v = golden("bcp__lcc_binary3d")
    labels = torch.from_numpy(v["logits"]).argmax(1)
    np.testing.assert_array_equal(labels, v["raw"])
    for key, kind in (("la", "corners"), ("conn1", "faces"), ("conn2", "edges"), ("conn3", "corners")):
        np.testing.assert_array_equal(largest_components(labels, 2, kind), v[f"out_{key}"], err_msg=key)


def test_largest_component_of_each_class(golden):
    v = golden("bcp__lcc_multiclass2d")
    labels = torch.from_numpy(v["logits"]).argmax(1)
    classes = v["logits"].shape[1]
    np.testing.assert_array_equal(labels, v["raw"])
    np.testing.assert_array_equal(largest_components(labels, classes), v["out"])
    tied = torch.from_numpy(v["tie_in"]).long()
    np.testing.assert_array_equal(largest_components(tied, classes), v["tie_out"])


def labels_and_mask(v):
    lab, plab = (torch.from_numpy(v[key]).long() for key in ("lab", "plab"))
    return lab, plab, torch.from_numpy(v["mask"]).bool()


def test_mixed_loss_la(golden):
    v = golden("bcp__mix_loss_la")
    lab, plab, mask = labels_and_mask(v)
    u, w = float(v["u_weight"]), float(v["l_weight"])
    inward = {"host": lab, "patch": plab, "host_weight": w, "patch_weight": u}
    outward = {"host": plab, "patch": lab, "host_weight": u, "patch_weight": w}
    for name, options in (("in", inward), ("out", outward)):
        z = torch.from_numpy(v["logits"]).requires_grad_()
        loss = mixed_dice_ce(z, mask=mask, **options)
        loss.backward()
        assert loss.item() == pytest.approx(float(v[f"loss_{name}"]), rel=1e-5)
        np.testing.assert_allclose(z.grad, v[f"grad_{name}"], rtol=1e-3, atol=1e-7)
    z = torch.from_numpy(v["logits"])
    assert mixed_dice_ce(z, mask=mask, **inward).item() == pytest.approx(
        float(v["loss_in_pancreas"]), rel=1e-5
    )


def test_dice_la_and_the_loss_of_the_first_stage(golden):
    v = golden("bcp__mix_loss_la")
    lab, _, mask = labels_and_mask(v)
    z = torch.from_numpy(v["logits"])
    p, everywhere = z.softmax(1), torch.ones_like(mask)
    for name, region in (("masked", mask), ("patch", ~mask), ("full", everywhere)):
        assert region_dice(p, lab, region).item() == pytest.approx(float(v[f"dice_{name}"]), rel=1e-5)
    ours = first_stage(z, lab, lab)
    assert ours.loss.item() == pytest.approx(float(v["sup_loss"]), rel=1e-5)


def first_stage(z, y_a, y_b, mask=None, **options):
    """The update of a network that gives the logits, on images a and b."""
    method = BCP(lambda: Answer(z), **options)
    mask = torch.ones(z.shape[2:], dtype=torch.bool) if mask is None else mask
    x = torch.zeros((2 * len(z), 1, *z.shape[2:]))
    return method.pretrain(Batch(x, torch.cat([y_a, y_b]), {}), mask)


class Answer(nn.Module):
    """Always the same logits."""

    def __init__(self, z):
        super().__init__()
        self.logits = nn.Parameter(z.clone())

    def forward(self, x):
        assert len(x) == len(self.logits)
        return self


def test_mixed_loss_acdc(golden):
    v = golden("bcp__mix_loss_acdc")
    lab, plab, mask = labels_and_mask(v)
    rolled = lab.roll(1, 0)
    cases = {"unl": (plab, lab, 0.5, 1.0), "l": (lab, plab, 1.0, 0.5), "pre": (lab, rolled, 1.0, 1.0)}
    for name, (host, patch, w_host, w_patch) in cases.items():
        z = torch.from_numpy(v["logits"]).requires_grad_()
        p = z.softmax(1)
        dice = w_host * region_dice(p, host, mask, form="acdc")
        dice = dice + w_patch * region_dice(p, patch, ~mask, form="acdc")
        ce = w_host * region_cross_entropy(z, host, mask) + w_patch * region_cross_entropy(z, patch, ~mask)
        assert dice.item() == pytest.approx(float(v[f"dice_{name}"]), rel=1e-5)
        assert ce.item() == pytest.approx(float(v[f"ce_{name}"]), rel=1e-5)
        loss = mixed_dice_ce(z, host, patch, mask, host_weight=w_host, patch_weight=w_patch, dice="acdc")
        loss.backward()
        assert loss.item() == pytest.approx(0.5 * (dice + ce).item(), rel=1e-5)
        np.testing.assert_allclose(z.grad, v[f"grad_{name}"], rtol=1e-3, atol=1e-7)


def test_the_first_stage_of_acdc_is_the_mixed_loss(golden):
    v = golden("bcp__mix_loss_acdc")
    lab, _, mask = labels_and_mask(v)
    update = first_stage(torch.from_numpy(v["logits"]), lab, lab.roll(1, 0), mask[0], dice="acdc")
    assert (mask == mask[0]).all()
    assert update.loss.item() == pytest.approx(0.5 * float(v["dice_pre"] + v["ce_pre"]), rel=1e-5)


def test_the_faulty_dice_of_acdc_is_an_option_that_says_so(golden, caplog):
    v = golden("bcp__mix_loss_acdc")
    lab, _, mask = labels_and_mask(v)
    p = torch.from_numpy(v["logits"]).softmax(1)
    fixed, legacy = (region_dice(p, lab, mask, form=form).item() for form in ("acdc", "acdc_legacy"))
    assert fixed == pytest.approx(float(v["dice_mask_fixed"]), rel=1e-5)
    assert legacy == pytest.approx(float(v["dice_mask_legacy"]), rel=1e-5)
    assert not BCP(lambda: nn.Conv2d(1, 2, 1), dice="acdc").deviations
    assert not caplog.records
    assert len(BCP(lambda: nn.Conv2d(1, 2, 1), dice="acdc_legacy").deviations) == 1
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.parametrize(("average", "key"), [("parameters", "la"), ("all", "acdc")])
def test_moving_average(golden, average, key):
    v = golden("bcp__ema")
    first = v["student.0.weight"]

    def net():
        return nn.Sequential(
            nn.Conv2d(first.shape[1], first.shape[0], first.shape[2]), nn.BatchNorm2d(first.shape[0])
        )

    method = BCP(net, decay=float(v["alpha"]), average=average)
    method.net.load_state_dict(state(v, "student."))
    method.teacher.load_state_dict(state(v, "teacher_before."))
    method.after_step(Clock(0, 10, "selftrain"))  # no warm-up
    for name, value in state(v, f"teacher_after_{key}.").items():
        if value.is_floating_point():  # the original truncates the mean of the counters
            ours = method.teacher.state_dict()[name]
            np.testing.assert_allclose(ours, value, rtol=1e-6, atol=1e-7, err_msg=name)


def test_we_average_all_by_default():
    assert BCP(lambda: nn.Conv2d(1, 2, 1)).average == "all"
    source, average = nn.BatchNorm2d(2), nn.BatchNorm2d(2)
    source.running_mean.fill_(1.0)
    ema_update(average, source, 0.75)
    assert (average.running_mean == 0).all()
    ema_update(average, source, 0.75, buffers=True)
    assert (average.running_mean == 0.25).all()
