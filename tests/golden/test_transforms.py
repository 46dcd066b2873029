"""The published augmentations with forced draws, and the structure of the two streams."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from semiseg.batches.augment import acdc, la
from semiseg.batches.batches import Stream
from semiseg.preparation.resident import Resident


def test_left_atrium_rotation_and_flip(golden):
    v = golden("vnet__la_transforms")
    image = torch.from_numpy(v["image"])
    names = [name for name in v if name.startswith("rotflip_")]
    assert names
    for name in names:
        turns, axis = map(int, re.findall(r"\d+", name))
        np.testing.assert_array_equal(la.rotate_flip(image, turns, axis), v[name])


def test_left_atrium_crops(golden):
    v = golden("vnet__la_transforms")
    image, label = torch.from_numpy(v["image"])[None], torch.from_numpy(v["label"])
    case = Resident("case", image, label, np.zeros((0, 3), np.int32), torch.device("cpu"))
    names = sorted({name.split("__")[0] for name in v if name.startswith("center")})
    assert names
    for name in names:
        patch = tuple(v[f"{name}__size"].tolist())
        shape, pads = la.padded_shape(case.shape, patch), np.array(la.padding(case.shape, patch))
        center = [round((n - p) / 2.0) for n, p in zip(shape, patch, strict=True)]
        image, label = case.crop(center - pads, patch)
        np.testing.assert_array_equal(image[0], v[f"{name}__image"])
        np.testing.assert_array_equal(label, v[f"{name}__label"])
        random = name.replace("center", "rcrop")
        image, _ = case.crop(v[f"{random}__offsets"] - pads, patch)
        np.testing.assert_array_equal(image[0], v[f"{random}__image"])
        bounds = [[0, n - p] for n, p in zip(shape, patch, strict=True)]
        np.testing.assert_array_equal(bounds, v[f"{random}__randint_lo_hi"])


def test_acdc_rotation_flip_rotation_and_resizing(golden):
    v = golden("unet2d__acdc_transforms")
    image, label = torch.from_numpy(v["image"]), torch.from_numpy(v["label"])
    checked = 0
    for name in v:
        if name.startswith("rotflip_"):
            turns, axis = map(int, re.findall(r"\d+", name))
            turned = acdc.look_up(image, acdc.turn_lookup(tuple(image.shape), turns, axis))
            np.testing.assert_array_equal(turned, v[name])
            checked += 1
        elif name.startswith("rotate_"):
            angle = int(re.findall(r"-?\d+", name)[0])
            source = image if name.endswith("image") else label
            rotated = acdc.look_up(source, acdc.rotate_lookup(tuple(image.shape), angle))
            np.testing.assert_array_equal(rotated, v[name], err_msg=name)
            checked += 1
    assert checked
    size = tuple(v["resize_size"].tolist())
    lookup = acdc.rotate_lookup(tuple(image.shape), 0, size)
    np.testing.assert_array_equal(acdc.look_up(image, lookup), v["resize__image"][0])
    np.testing.assert_array_equal(acdc.look_up(label, lookup), v["resize__label"])


@pytest.mark.parametrize("size", [(32, 24), (11, 40)])
@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("rotate", (13,)),
        ("rotate", (-20,)),
        *[("turn", (turns, axis)) for turns in range(4) for axis in (0, 1)],
    ],
)
def test_one_lookup_is_one_step_after_the_other(name, how, size):
    image = torch.rand(2, 21, 17)
    lookup = getattr(acdc, f"{name}_lookup")
    one = acdc.look_up(image, lookup((21, 17), *how, size))
    first = torch.as_tensor(acdc.look_up(image, lookup((21, 17), *how)))
    two = acdc.look_up(first, acdc.rotate_lookup(tuple(first.shape[1:]), 0, size))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("size", [2, 3])
def test_streams_have_the_structure_of_the_two_stream_sampler(golden, size):
    v = golden("vnet__two_stream_sampler")
    labeled = sorted({int(i) for name in ("epoch1", "epoch2") for i in v[name][:, :2].ravel()})
    count = max(labeled) + 1
    stream = Stream(list(range(count)), int(v["seed"]), "labeled")
    for number in range(3):  # every item once per pass
        one_pass = [stream[number * count + i] for i in range(count)]
        assert sorted(one_pass) == list(range(count))
    assert [stream[i] for i in range(size)] == [
        Stream(list(range(count)), int(v["seed"]), "labeled")[i] for i in range(size)
    ]
