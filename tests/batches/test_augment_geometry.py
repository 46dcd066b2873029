"""Where augmentation puts voxels: identity, rotation in millimeters, mirroring, alignment of all that belongs
together."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.trained import make_plan

from semiseg.batches import augment
from semiseg.batches.augment.default import Default, has_side, sided_axes
from semiseg.batches.augment.draws import Draws
from semiseg.batches.augment.plain import gather
from semiseg.errors import UsageError
from semiseg.preparation.resident import make_resident

OFF = {"rotate": 0.0, "scale": 0.0, "warp_chance": 0.0, "mirror": ()}
NAMES = [("crop", 3), ("default", 2), ("default", 3), ("la", 3), ("acdc", 2)]


def plan(dim: int = 3, patch: int = 17, spacing: tuple[float, ...] = (1.0, 1.0, 1.0), **more):
    return make_plan(dim, patch=(patch,) * dim, spacing=spacing, **more)


def draws(count: int = 1, seed: int = 0) -> Draws:
    return Draws([(seed, n) for n in range(count)])


def fix(monkeypatch, angles=(0.0, 0.0, 0.0), log_factor=0.0, flips=None) -> Draws:
    """Draws with known angles (radians), scale and flips."""

    def uniform(self, low, high, *shape):
        return torch.tensor([angles] if shape == (3,) else [log_factor])

    def chance(self, probability, *shape):
        return torch.tensor([flips or [False] * shape[0]]) if shape else torch.tensor([True])

    monkeypatch.setattr(Draws, "uniform", uniform)
    monkeypatch.setattr(Draws, "chance", chance)
    return draws()


@pytest.mark.parametrize("dim", [2, 3])
def test_with_everything_off_nothing_moves(dim):
    augmentation = augment.build("default", plan(dim, 8), OFF)
    images = torch.rand(2, 1, *[8] * dim)
    labels = torch.randint(0, 3, (2, *[8] * dim), dtype=torch.uint8)
    assert augmentation.margin == 0
    moved, same = augmentation.warp(images, labels, draws(2))
    torch.testing.assert_close(moved, images, rtol=0, atol=1e-5)
    assert torch.equal(same, labels)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.0, 2.0, 1.0), (0.5, 1.0, 1.5)])
@pytest.mark.parametrize("degrees", [15.0, -30.0, 90.0])
@pytest.mark.parametrize(("index", "pair"), [(0, (1, 2)), (1, (0, 2)), (2, (0, 1))])
def test_rotation_is_one_of_space_not_of_voxels(index, pair, degrees, spacing, monkeypatch):
    augmentation = Default(plan(patch=33, spacing=spacing), rotate=0.0, scale=0.0)
    angles = [0.0] * 3
    angles[index] = math.radians(degrees)
    fixed = fix(monkeypatch, tuple(angles))
    a, b = pair
    for axis in pair:  # a ball some 3 mm from the center along each axis of the plane
        place = [16] * 3
        place[axis] += round(3 / spacing[axis])
        image = torch.zeros(1, 1, 33, 33, 33)
        offsets = torch.stack(torch.meshgrid(*[torch.arange(33.0)] * 3, indexing="ij")) - torch.tensor(
            place
        ).view(3, 1, 1, 1)
        image[0, 0] = torch.exp(-((offsets * torch.tensor(spacing).view(3, 1, 1, 1)).square().sum(0)) / 2)
        moved = augmentation.warp(image, None, fixed)[0][0, 0]
        axes = torch.stack(torch.meshgrid(*[torch.arange(33.0) - 16] * 3, indexing="ij"))
        center = (moved * axes).flatten(1).sum(1) / moved.sum() * torch.tensor(spacing)
        start = torch.zeros(3)
        start[axis] = round(3 / spacing[axis]) * spacing[axis]
        assert center.norm().item() == pytest.approx(start.norm().item(), abs=0.15)
        turned = abs(math.degrees(math.atan2(center[b], center[a]) - math.atan2(start[b], start[a])))
        assert min(turned, 360 - turned) == pytest.approx(abs(degrees), abs=2)


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_scaling_changes_lengths_alike(factor, monkeypatch):
    fixed = fix(monkeypatch, log_factor=math.log(factor))
    augmentation = Default(plan(patch=21, spacing=(1.0, 2.0, 1.0)), rotate=0.0, scale=0.0)
    coordinates = torch.stack(torch.meshgrid(*[torch.arange(21.0) - 10] * 3, indexing="ij"))[None]
    moved = augmentation.warp(coordinates, None, fixed)[0]
    inner = (..., slice(6, 15), slice(6, 15), slice(6, 15))
    torch.testing.assert_close(moved[inner], coordinates[inner] * factor, rtol=0, atol=1e-4)


def test_flat_slices_are_turned_in_plane_only():
    augmentation = Default(plan(spacing=(1.0, 1.0, 5.0)), warp_chance=1.0)
    matrices = augmentation._matrices(draws(20))
    signs_and_scale = matrices[:, 2, 2].abs()
    assert torch.allclose(matrices[:, 2, :2], torch.zeros(20, 2))
    assert torch.allclose(matrices[:, :2, 2], torch.zeros(20, 2))
    assert (matrices[:, 0, 1].abs() > 0).all()
    assert (signs_and_scale >= 1 / 1.2 - 1e-5).all()
    assert (signs_and_scale <= 1.2 + 1e-5).all()


@pytest.mark.parametrize(
    ("orientation", "names", "axes"),
    [
        ("RAS", ("background", "tumor"), (0,)),
        ("native", ("background", "tumor"), ()),
        ("RAS", ("background", "left kidney", "right kidney"), ()),
        ("RAS", ("background", "LeftKidney"), ()),
        ("RAS", ("background", "kidney_L"), ()),
        ("RAS", ("background", "RV", "MYO", "LV"), ()),
        ("RAS", ("background", "liver", "lesion", "rectum"), (0,)),
    ],
)
def test_mirroring_only_where_no_class_has_a_side(orientation, names, axes):
    labels = {name: k for k, name in enumerate(names)}
    for dim in (2, 3):
        stored = (2, 0, 1) if dim == 2 else (0, 1, 2)
        made = plan(dim, labels=labels, orientation=orientation, axes=stored)
        assert sided_axes(made) == axes
        assert Default(made).mirrored == axes


@pytest.mark.parametrize("name", ["left", "Right_Lung", "lv", "hippocampus-r", "L", "RVendo LV"])
def test_names_with_a_side_or_in_doubt(name):
    assert has_side(name)


@pytest.mark.parametrize("name", ["liver", "tumor", "ALLERGY", "structure 1", "clavicle", "MYO"])
def test_names_without_a_side(name):
    assert not has_side(name)


def test_mirroring_flips_the_named_axis_and_nothing_else(monkeypatch):
    fixed = fix(monkeypatch, flips=[True, True, True])
    augmentation = Default(plan(patch=8), **{**OFF, "mirror": (1,)})
    image = torch.rand(1, 1, 8, 8, 8)
    moved = augmentation.warp(image, None, fixed)[0]
    torch.testing.assert_close(moved, image.flip(3), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("name", "dim"), NAMES)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_label_and_image_stay_aligned(name, dim, seed):
    """The label of a smooth ball is where the warped image of that ball is bright."""
    made = plan(dim, 16, spacing=(1.0, 1.5, 1.0), foreground=1.0)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in (24, 22, 20)], indexing="ij"), -1)
    distance = np.linalg.norm((index - [13, 10, 9]) * [1, 1.5, 1], axis=-1).astype(np.float32)
    label = (distance < 7).astype(np.uint8)
    stored = SimpleNamespace(id="ball", image=(7 - distance)[None], label=label)
    stored.foreground = np.argwhere(label).astype(np.int32)
    (resident,) = make_resident([stored], torch.device("cpu"))
    augmentation = augment.build(name, made)
    image, mask = augmentation.cut(resident, 13 if dim == 2 else None, draws(seed=seed), foreground=1.0)
    images, masks = augmentation.warp(gather([image]), gather([mask]), draws(seed=seed))
    assert images.shape[2:] == masks.shape[1:] == (16,) * dim
    image, mask = images[0, 0], masks[0]
    assert (mask[image > 1.5] == 1).all()
    assert (mask[image < -1.5] == 0).all()


def test_unknown_names_options_and_dimensions_are_refused():
    with pytest.raises(UsageError, match="default"):
        augment.build("defualt", plan())
    with pytest.raises(UsageError, match="rotation"):
        augment.build("default", plan(), {"rotation": 3})
    with pytest.raises(UsageError, match="2D"):
        augment.build("acdc", plan(3))
    with pytest.raises(UsageError, match="3D"):
        augment.build("la", plan(2))


def test_a_share_of_the_slices_of_acdc_stays_untouched(monkeypatch):
    """Half are turned whatever is asked; of the others as many are left alone as asked."""
    from semiseg.batches.augment import acdc

    kinds = []
    monkeypatch.setattr(acdc, "turn_lookup", lambda *_: kinds.append("turned") or real((12, 12), 1))
    monkeypatch.setattr(acdc, "rotate_lookup", lambda _, a, __: kinds.append(a == 0) or real((12, 12), a))
    real = lambda shape, angle: acdc.Lookup(np.arange(144).reshape(shape))  # noqa: E731
    stored = SimpleNamespace(
        id="a", image=np.ones((1, 3, 12, 12), np.float32), label=np.ones((3, 12, 12), np.uint8)
    )
    stored.foreground = np.zeros((1, 3), np.int32)
    (resident,) = make_resident([stored], torch.device("cpu"))
    for untouched, wanted in ((0.0, (0.5, 1 / 40)), (0.25, (0.5, 0.25 + 0.25 / 40)), (0.5, (0.5, 0.5))):
        kinds.clear()
        made = augment.build("acdc", plan(2, 12), {"untouched": untouched})
        for seed in range(600):
            made.cut(resident, 1, draws(seed=seed), foreground=0.0)
        shares = kinds.count("turned") / 600, kinds.count(True) / 600
        np.testing.assert_allclose(shares, wanted, atol=0.06)
    with pytest.raises(UsageError, match="half of the slices are turned"):
        augment.build("acdc", plan(2), {"untouched": 0.6})


@pytest.mark.parametrize(
    ("name", "options", "dim", "axes"),
    [
        ("default", {}, 3, (0,)),
        ("default", {"mirror": (0, 2)}, 3, (0, 2)),
        ("default", {"mirror": (-1, 1, 2)}, 3, (1, 2)),
        ("default", {"mirror": ()}, 2, ()),
        ("la", {}, 3, (0, 1)),
        ("acdc", {}, 2, (0, 1)),
        ("crop", {}, 3, ()),
        ("none", {}, 2, ()),
    ],
)
def test_an_augmentation_tells_which_axes_it_mirrors(name, options, dim, axes):
    assert augment.build(name, plan(dim), options).mirrored == axes


@pytest.mark.parametrize(("name", "dim"), NAMES)
def test_every_told_axis_is_mirrored_and_no_other(name, dim):
    """Of a ramp along an axis, some patches run backwards where that axis is mirrored, else none does."""
    size = 12
    made = plan(dim, size)
    index = np.stack(np.meshgrid(*[np.arange(size, dtype=np.float32)] * 3, indexing="ij"))
    stored = SimpleNamespace(id="ramps", image=index, foreground=np.zeros((0, 3), np.int32))
    (resident,) = make_resident([stored], torch.device("cpu"))
    augmentation = augment.build(name, made)
    backwards = set()
    for seed in range(40):
        keys = draws(seed=seed)
        cut, _ = augmentation.cut(resident, 0 if dim == 2 else None, keys, foreground=0.0)
        image, _ = augmentation.warp(gather([cut]), None, keys)
        for axis in range(dim):
            ramp = image[0, axis + 3 - dim]
            middle = ramp.narrow(axis, 2, size - 4)
            if bool(middle.diff(dim=axis).mean() < -0.3):
                backwards.add(axis)
    assert backwards == set(augmentation.mirrored)


def test_an_axis_that_a_patch_lacks_cannot_be_mirrored():
    with pytest.raises(UsageError, match=r"mirror: \[0, 2\] names axis 2, a patch has axes 0 to 1"):
        augment.build("default", plan(2), {"mirror": (0, 2)})
