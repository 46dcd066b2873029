"""Voxel size and patch together, for the memory of a card and the networks of a method."""

import itertools
import math

import numpy as np
import pytest
from tests.factories import make_dataset

from semiseg import methods
from semiseg.dataset.dataset import Dataset
from semiseg.errors import UsageError
from semiseg.machine import hardware
from semiseg.machine.hardware import Accelerator
from semiseg.preparation.fingerprint import ChannelFacts, Fingerprint
from semiseg.preparation.layout import lay_out_dataset
from semiseg.preparation.measure import CaseFacts
from semiseg.preparation.network_size import (
    Load,
    Memory,
    budget_for,
    choose_view,
    memory_for,
    seen,
    stages_for,
)
from semiseg.preparation.plan import Plan
from semiseg.preparation.planner import make_plan
from semiseg.preparation.prepare import plan_for
from semiseg.settings.config import Config
from semiseg.settings.resolve import resolve

WIDE = (1000.0, 1000.0, 1000.0)


def view(shape, mm, *, device="cpu", run=WIDE, gb=8.0, networks=2.0, spacing=None):
    """The layout and patch of a dataset of one size; the reasons of both."""
    flat = len(shape) == 2
    case = CaseFacts("a", shape, mm, None if flat else (0, 1, 2), None, run and run[: len(shape)])
    found = Fingerprint((case,), (ChannelFacts("MRI", None, None),))
    layout = lay_out_dataset(found, spacing=spacing)
    load = Load(1, 2, 4, None, networks)
    budget = budget_for(device, layout.dim)
    layout, patch = choose_view(layout, budget, Memory(gb, "as asked"), load, fixed=spacing is not None)
    return layout, patch


@pytest.mark.parametrize(
    ("shape", "mm", "device", "patch"),
    [
        ((35, 50, 36), (1, 1, 1), "cpu", (40, 56, 40)),  # hippocampus, a little smaller than the patch
        ((40, 56, 40), (1, 1, 1), "cpu", (40, 56, 40)),
        ((9, 9, 9), (1, 1, 1), "cpu", (10, 10, 10)),
        ((3, 400, 7), (1, 1, 1), "cpu", (3, 400, 7)),
        ((60, 90), (1, 1), "cpu", (64, 96)),
        ((150, 170), (1, 1), "cpu", (160, 176)),
        ((250, 200), (1, 1), "cuda", (256, 224)),
        ((90, 120, 180), (1, 1, 1), "cuda", (96, 128, 192)),
    ],
)
def test_a_patch_covers_a_scan_that_is_a_little_smaller(shape, mm, device, patch):
    layout, chosen = view(shape, mm, device=device, gb=64.0)
    assert chosen.value == patch
    assert layout.patch_spacing == mm
    assert seen(patch, layout) == 1
    assert "shows 100%" in chosen.reason


@pytest.mark.parametrize(
    ("shape", "mm", "device"),
    [
        ((192, 142, 88), (0.625, 0.625, 0.625), "cpu"),  # left atrium: 6 % of it at its own voxels
        ((512, 512, 400), (0.8, 0.8, 1.0), "cpu"),
        ((512, 512, 400), (0.8, 0.8, 1.0), "cuda"),
        ((512, 512, 90), (0.7, 0.7, 5.0), "cpu"),
        ((2000, 3000), (0.01, 0.01), "cpu"),
        ((512, 512), (0.8, 0.8), "cpu"),
    ],
)
def test_voxels_grow_until_a_patch_shows_enough(shape, mm, device):
    layout, patch = view(shape, mm, device=device)
    budget = budget_for(device, len(shape))
    assert seen(patch.value, layout) >= budget.seen
    assert math.prod(patch.value) <= budget.voxels
    assert all(new >= own for new, own in zip(layout.patch_spacing, mm, strict=True))
    coarsest, finest = max(layout.patch_spacing), min(layout.patch_spacing)
    assert coarsest / finest <= max(2.1, max(mm) / min(mm))
    own = " x ".join(f"{m:g}" for m in mm)
    assert f"coarser than the scans' {own} mm" in layout.reasons["spacing"]
    same, fixed = view(shape, mm, device=device, spacing=mm)
    assert same.patch_spacing == mm
    assert same.reasons["spacing"] == "as asked"
    assert "a coarser spacing would show more" in fixed.reason


@pytest.mark.parametrize("run", [(4.0, 4.0, 4.0), (100.0, 4.0, 100.0)])
def test_voxels_do_not_grow_until_a_structure_is_lost(run):
    layout, patch = view((400, 400, 400), (0.5, 0.5, 0.5), run=run)
    assert 0.9 < max(layout.patch_spacing) <= 1.0  # four voxels across 4 mm
    assert "only" in layout.reasons["spacing"]
    assert seen(patch.value, layout) < 0.5
    fine, _ = view((400, 400, 400), (0.5, 0.5, 0.5), run=(1.0, 1.0, 1.0))
    assert fine.patch_spacing == (0.5, 0.5, 0.5)
    unlabeled, _ = view((400, 400, 400), (0.5, 0.5, 0.5), run=None)
    assert max(unlabeled.patch_spacing) > 2


def test_thick_slices_keep_their_distance():
    layout, _ = view((512, 512, 40), (0.7, 0.7, 5.0))
    assert layout.patch_spacing[2] == 5
    assert layout.patch_spacing[0] > 0.7


@pytest.mark.parametrize(
    ("mm", "axes"),
    [((5, 1, 1), (0,)), ((1, 1, 5), (2,)), ((3, 1, 1), (0,)), ((1, 1, 1), ()), ((4, 4, 1), (0, 1))],
)
def test_kernels_grow_once(mm, axes):
    strides, kernels = stages_for([24 if m > 1 else 160 for m in mm], mm, 6, exact=True)
    assert [axis for axis, k in enumerate(kernels[0]) if k == 1] == list(axes)
    assert kernels[-1] == (3, 3, 3)
    for above, below in itertools.pairwise(kernels):
        assert all(a <= b for a, b in zip(above, below, strict=True))
    assert len(strides) == len(kernels)


@pytest.mark.parametrize(
    ("device", "card", "asked", "gb", "word"),
    [
        ("cpu", None, None, 8.0, "assumed"),
        ("cuda", None, None, 8.0, "cuda is not in this machine"),
        ("cuda:3", None, None, 8.0, "assumed"),
        ("cuda", Accelerator("Card", 24.0), None, 21.6, "21.6 of the 24 GB of Card"),
        ("mps", Accelerator("Apple GPU", 16.0), None, 14.4, "Apple GPU"),
        ("cuda", Accelerator("Card", 24.0), 4.0, 4.0, "as asked"),
        ("cuda", None, 40.0, 40.0, "as asked"),
    ],
)
def test_memory_is_that_of_the_card(monkeypatch, device, card, asked, gb, word):
    monkeypatch.setattr(hardware, "accelerator", lambda name: card)
    found = memory_for(device, asked)
    assert found.gb == pytest.approx(gb)
    assert word in found.why


@pytest.mark.parametrize(
    ("limit", "cases", "room"),
    [
        (Memory(20.0, "", True), 4.0, 16.0),
        (Memory(20.0, "", True), 14.0, 20.0),  # too many: they stay on disk
        (Memory(20.0, ""), 4.0, 20.0),  # what was asked for is for training
    ],
)
def test_prepared_cases_take_their_part_of_a_card(limit, cases, room):
    assert limit.room(cases) == room


@pytest.mark.parametrize(
    ("name", "cards", "found"),
    [
        ("cuda", (24, 16), "16"),  # all cards: the plan must fit each
        ("cuda:0", (24, 16), "24"),
        ("cuda:2", (24, 16), None),
        ("cuda", (), None),
        ("cpu", (24,), None),
    ],
)
def test_the_card_of_a_name(monkeypatch, name, cards, found):
    class Card:
        def __init__(self, gb):
            self.name, self.total_memory = str(gb), gb * 1e9

    monkeypatch.setattr("torch.cuda.device_count", lambda: len(cards))
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda index: Card(cards[index]))
    card = hardware.accelerator(name)
    assert (card and card.name) == found


def test_more_memory_and_fewer_networks_give_more():
    def voxels(**asked):
        _, patch = view((192, 142, 88), (1.0,) * 3, device="cuda", spacing=1.0, **asked)
        return math.prod(patch.value)

    assert voxels(gb=4) < voxels(gb=8) < voxels(gb=24)
    assert voxels(networks=2) < voxels(networks=1.25) < voxels(networks=1)


@pytest.mark.parametrize(
    ("method", "networks"),
    [("supervised", 1), ("mean_teacher", 1.25), ("cps", 2), ("fixmatch", 1.25), ("mc_net", 1.25)],
)
def test_networks_of_a_method(method, networks):
    assert methods.memory(method) == networks


def test_plans_are_made_for_the_method(tmp_path):
    dataset = Dataset.open(make_dataset(tmp_path))

    def planned(**flags):
        config = resolve(flags=flags)
        return plan_for(dataset, dataset.split(), config, device="cpu", workers=0).memory_gb

    one, two = planned(**{"method.name": "supervised"}), planned(**{"method.name": "cps"})
    assert one["as planned"] == one["one network"] == two["one network"]
    assert two["as planned"] == two["two networks"]
    assert planned(**{"method.name": "cps", "plan.networks": 1})["as planned"] == one["as planned"]


def test_plans_are_made_for_the_network(tmp_path):
    dataset = Dataset.open(make_dataset(tmp_path, shape=(32, 32, 32)))

    def planned(name, **options):
        flags = {"network.name": name, "plan.patch": (32, 32, 32), "plan.features": (16, 32)}
        config = resolve(flags=flags | {f"network.options.{key}": value for key, value in options.items()})
        return plan_for(dataset, dataset.split(), config, device="cpu", workers=0)

    plain, shallow, deep = planned("unet"), planned("resenc", blocks=[2, 2]), planned("resenc", blocks=[6])
    assert planned("auto").memory_gb == plain.memory_gb
    assert plain.memory_gb["as planned"] < shallow.memory_gb["as planned"] < deep.memory_gb["as planned"]
    assert planned("unet").reasons["memory_gb"] == plain.reasons["memory_gb"]
    assert planned("unet3d").reasons["memory_gb"].endswith("of the default U-Net, not of unet3d")
    with pytest.raises(UsageError, match="blocks"):
        planned("resenc", blocks="many")


@pytest.mark.parametrize("recipe", ["la", "acdc", "pancreas", "brats2019", "isles2022", "promise12"])
def test_recipes_keep_voxels_and_patch(recipe):
    config: Config = resolve(recipe=recipe)
    shape = (128, 128, 96)
    case = CaseFacts("a", shape, (0.5, 0.5, 0.5), (0, 1, 2), None, WIDE)
    found = Fingerprint((case,), (ChannelFacts("MRI", None, None),))
    layout = lay_out_dataset(found, dim=config.plan.dim, spacing=config.plan.spacing)
    assert config.plan.spacing is not None
    assert layout.target == config.plan.spacing
    assert config.plan.patch is not None


def test_a_patch_alone_keeps_the_scans_voxels(tmp_path):
    dataset = Dataset.open(make_dataset(tmp_path, shape=(96, 96, 96), labeled=1, unlabeled=0, test=0))
    plan = make_plan(dataset, dataset.split(), patch=(16, 16, 16))
    assert (plan.spacing, plan.patch) == ((1, 1, 1), (16, 16, 16))
    assert plan.reasons["patch"] == "as asked; shows 0% of the median scan"
    free = make_plan(dataset, dataset.split())
    assert free.spacing[0] > 1
    assert np.prod(free.patch) > 16**3


def test_plans_of_earlier_versions_load(tmp_path):
    path = tmp_path / "plan.json"
    path.write_text(
        '{"version":1,"dim":3,"spacing":[1,1,1],"channels":[{"name":"MRI","scheme":"zscore"}],'
        '"labels":{"background":0,"a":1},"patch":[32,32,16],"network":{"features":[8,16],'
        '"strides":[[1,1,1],[2,2,2]],"kernels":[[3,3,3],[3,3,1]]},'
        '"memory_gb":{"one network":1.0,"two networks":1.5},"reasons":{"patch":"as asked"}}'
    )
    assert Plan.load(path).network.kernels == ((3, 3, 3), (3, 3, 1))
