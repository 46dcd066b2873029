"""Batches as a pure function of (seed, iteration), whatever the order of calls or the processes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.trained import make_plan

from semiseg.batches import augment
from semiseg.batches.augment import la
from semiseg.batches.augment.plain import gather
from semiseg.batches.batches import Batches, Stream
from semiseg.core import Batch
from semiseg.losses import dice_ce
from semiseg.preparation.forward import sample_foreground
from semiseg.preparation.resident import Resident, blank, make_resident, with_label

CPU = torch.device("cpu")


def case(number: int, shape: tuple[int, int, int], *, labeled: bool, channels: int = 1) -> SimpleNamespace:
    """A stored case whose voxels say where they come from: number, then position."""
    place = np.arange(np.prod(shape), dtype=np.float32).reshape(shape) / np.prod(shape) * 0.9
    image = np.stack([number + place + 100 * c for c in range(channels)])
    stored = SimpleNamespace(id=f"{'la' if labeled else 'un'}_{number}", image=image)
    if labeled:
        stored.label = np.zeros(shape, np.uint8)
        stored.label[tuple(slice(n // 2, n // 2 + 2) for n in shape)] = 1
        stored.foreground = sample_foreground(stored.label)
    return stored


def make(
    name: str = "crop", dim: int = 3, *, shape=(10, 12, 11), sizes=(2, 2), cases=(3, 5), channels=1, **more
) -> Batches:
    fields = {"patch": (6,) * dim, "foreground": 0.0, **more.pop("plan", {})}
    plan = make_plan(dim, channels=channels, **fields)
    labeled = [case(i, shape, labeled=True, channels=channels) for i in range(cases[0])]
    unlabeled = [case(50 + i, shape, labeled=False, channels=channels) for i in range(cases[1])]
    place = more.pop("place", lambda stored: make_resident(stored, CPU))
    return Batches(place(labeled), place(unlabeled), plan, augment.build(name, plan), sizes, **more)


def equal(a: Batch, b: Batch) -> bool:
    views = a.x_u.keys() == b.x_u.keys() and all(torch.equal(a.x_u[key], b.x_u[key]) for key in a.x_u)
    return views and torch.equal(a.x_l, b.x_l) and torch.equal(a.y_l, b.y_l)


def numbers(images: torch.Tensor) -> list[int]:
    """Which case each patch of a ``crop`` was cut from."""
    return [int(image.flatten()[0]) for image in images]


KINDS = [("crop", 2), ("crop", 3), ("default", 2), ("default", 3), ("la", 3), ("acdc", 2)]


@pytest.mark.parametrize(("name", "dim"), KINDS)
def test_an_iteration_is_the_same_in_any_order_of_calls(name, dim):
    forth, back = make(name, dim, seed=4), make(name, dim, seed=4)
    straight = [forth(k) for k in range(5)]
    assert all(equal(back(k), straight[k]) for k in (4, 0, 3, 3, 1, 2))
    assert not equal(straight[0], straight[1])
    assert not equal(straight[0], make(name, dim, seed=5)(0))


@pytest.mark.parametrize(("name", "dim"), KINDS)
def test_shapes_and_types(name, dim):
    batch = make(name, dim, sizes=(2, 3), channels=2, views=("weak", "strong"))(0)
    patch = (6,) * dim
    assert batch.x_l.shape == (2, 2, *patch)
    assert batch.x_l.dtype == torch.float32
    assert batch.y_l.shape == (2, *patch)
    assert batch.y_l.dtype == torch.int64
    assert set(batch.x_u) == {"weak", "strong"}
    assert all(view.shape == (3, 2, *patch) for view in batch.x_u.values())
    layout = torch.channels_last if dim == 2 else torch.channels_last_3d
    assert batch.x_l.is_contiguous(memory_format=layout)


@pytest.mark.parametrize(("name", "dim"), KINDS)
def test_two_processes_see_what_one_sees(name, dim):
    alone = make(name, dim, sizes=(2, 4), views=("weak", "strong"))
    ranks = [make(name, dim, sizes=(2, 4), views=("weak", "strong"), rank=r, world=2) for r in range(2)]
    for step in (0, 3):
        whole, halves = alone(step), [rank(step) for rank in ranks]
        assert torch.equal(whole.x_l, torch.cat([half.x_l for half in halves]))
        assert torch.equal(whole.y_l, torch.cat([half.y_l for half in halves]))
        for view in ("weak", "strong"):
            assert torch.equal(whole.x_u[view], torch.cat([half.x_u[view] for half in halves]))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_every_case_appears_once_per_pass(size):
    batches = make(sizes=(size, size), cases=(3, 6))
    labeled = [n for k in range(12) for n in numbers(batches(k).x_l)]
    unlabeled = [n for k in range(12) for n in numbers(batches(k).x_u["weak"])]
    for one_pass in range(len(labeled) // 3):
        assert sorted(labeled[3 * one_pass : 3 * one_pass + 3]) == [0, 1, 2]
    for one_pass in range(len(unlabeled) // 6):
        assert sorted(unlabeled[6 * one_pass : 6 * one_pass + 6]) == list(range(50, 56))
    assert len({tuple(labeled[i : i + 3]) for i in range(0, len(labeled) - 2, 3)}) > 1


def test_every_slice_appears_once_per_pass_in_2d():
    batches = make(dim=2, shape=(4, 8, 8), cases=(2, 1), sizes=(1, 1))
    whole = [(n, i) for n in (0, 1) for i in range(4)]
    seen = []
    for k in range(8):
        value = float(batches(k).x_l.flatten()[0])
        seen.append((int(value), int((value % 1) / 0.9 * 4 + 1e-4)))
    assert sorted(seen) == whole


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_share_of_patches_around_foreground(share, dim):
    batches = make(dim=dim, shape=(24, 24, 24), plan={"foreground": share, "patch": (4,) * dim}, sizes=(8, 1))
    middle = (slice(None), *[slice(2, 3)] * dim)
    around = torch.cat([batches(k).y_l[middle].flatten() for k in range(40)]).float().mean().item()
    assert around == pytest.approx(share, abs=0.1 if share == 0.5 else 0.01)


@pytest.mark.parametrize(("name", "dim"), [kind for kind in KINDS if kind[0] != "acdc"])
@pytest.mark.parametrize("shape", [(3, 4, 20), (6, 6, 6), (2, 2, 2), (1, 6, 5)])
def test_scans_smaller_than_the_patch_lie_among_zeros(shape, name, dim):
    batch = make(name, dim, shape=shape)(0)
    assert batch.x_l.shape[2:] == batch.y_l.shape[1:] == (6,) * dim
    assert torch.isfinite(batch.x_l).all()


def test_a_small_scan_lies_in_the_middle():
    batches = make(shape=(3, 4, 6), cases=(1, 1), sizes=(1, 1))
    image = batches(0).x_u["weak"][0, 0]
    expected = torch.zeros(6, 6, 6)
    expected[1:4, 1:5] = torch.from_numpy(case(50, (3, 4, 6), labeled=False).image[0])
    assert torch.equal(image, expected)


@pytest.mark.parametrize(("name", "dim"), KINDS)
def test_memory_mapped_and_resident_are_the_same(name, dim, tmp_path, recwarn):
    def mapped(stored: list[SimpleNamespace]) -> list[Resident]:
        residents = []
        for one in stored:
            arrays = {}
            for key in ("image", "label"):
                if hasattr(one, key):
                    np.save(tmp_path / f"{one.id}_{key}.npy", getattr(one, key))
                    arrays[key] = np.load(tmp_path / f"{one.id}_{key}.npy", mmap_mode="r")
            foreground = getattr(one, "foreground", np.zeros((0, 3), np.int32))
            residents.append(Resident(one.id, arrays["image"], arrays.get("label"), foreground, CPU))
        return residents

    more = {"plan": {"foreground": 0.5}, "views": ("weak", "strong")}
    one, other = make(name, dim, **more), make(name, dim, place=mapped, **more)
    assert all(equal(one(k), other(k)) for k in range(3))
    assert [str(w.message) for w in recwarn if "not writable" in str(w.message)] == []


@pytest.mark.parametrize(("name", "dim"), KINDS)
def test_making_batches_changes_no_stored_voxel(name, dim):
    batches = make(name, dim, shape=(6, 6, 6), views=("weak", "strong"))
    cases = [item.case for stream in (batches.labeled, batches.unlabeled) for item in stream.items]
    before = [one.image.clone() for one in cases]
    for k in range(4):
        batch = batches(k)
        batch.x_l.add_(1)
        batch.x_u["weak"].add_(1)
    assert all(torch.equal(a, one.image) for a, one in zip(before, cases, strict=True))


def test_nothing_of_a_label_is_asked_for_unlabeled_samples():
    batches = make(cases=(2, 0), sizes=(1, 2))  # no unlabeled case: the labeled images serve, without labels
    batch = batches(0)
    assert set(numbers(batch.x_u["weak"])) <= {0, 1}
    assert batch._fields == ("x_l", "y_l", "x_u", "targets", "views_l", "shifts", "pseudo", "confidence")
    assert batch.pseudo is None
    assert batch.x_u["weak"].shape[0] == 2
    assert all(item.case.label is None for item in make().unlabeled.items)


def test_no_views_no_unlabeled_samples():
    assert make(views=(), sizes=(2, 0))(0).x_u == {}


def test_residents_stay_on_disk_where_they_do_not_fit(monkeypatch):
    stored = [case(0, (4, 4, 4), labeled=True)]
    assert isinstance(make_resident(stored, CPU)[0].image, torch.Tensor)
    assert not make_resident(stored, CPU, memory_gb=1e-6)[0].on_disk
    assert make_resident(stored, CPU, memory_gb=1e-6, processes=4)[0].on_disk
    monkeypatch.setattr("semiseg.preparation.resident._free_gb", lambda device: 1e-8)
    assert make_resident(stored, CPU)[0].image is stored[0].image


@pytest.mark.parametrize("shape", [(9, 7, 8), (5, 9, 6), (7, 4, 4)])
@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("axis", [0, 1])
def test_a_box_of_the_turned_scan_is_found_in_the_scan(shape, turns, axis):
    patch = (6, 6, 5)
    resident = make_resident([case(0, shape, labeled=True)], CPU)[0]
    turned, turned_label = (
        gather([la.rotate_flip(scan, turns, axis)])[0] for scan in (resident.image.float(), resident.label)
    )
    padded, pads = la.padded_shape(turned.shape[1:], patch), la.padding(turned.shape[1:], patch)
    for start in ([0, 0, 0], [n - p for n, p in zip(padded, patch, strict=True)]):
        first = [s - p for s, p in zip(start, pads, strict=True)]
        image, label = resident.crop(*la.unturned_box(turned.shape[1:], first, patch, turns, axis))
        box = tuple(slice(s, s + n) for s, n in zip(start, patch, strict=True))
        around = [(p, p) for p in pads]
        wanted = np.pad(turned, [(0, 0), *around])[:, *box]
        np.testing.assert_array_equal(la.rotate_flip(image, turns, axis), wanted)
        np.testing.assert_array_equal(la.rotate_flip(label, turns, axis), np.pad(turned_label, around)[box])


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_gathering_patches_is_stacking_them(dtype):
    whole = (torch.rand(3, 2, 7, 8, 9) * 200).to(dtype)
    views = [whole[i, :, 1:6, 2:7, 3:7] for i in range(3)]
    wanted = torch.stack(views)
    assert torch.equal(gather(views), wanted)
    assert torch.equal(gather([views[0], *[view.numpy() for view in views[1:]]]), wanted)
    assert torch.equal(gather([view.numpy()[:, ::-1] for view in views]), wanted.flip(2))
    assert torch.equal(gather([view.numpy()[..., ::-1] for view in views]), wanted.flip(4))
    assert torch.equal(gather([view.mT.numpy() for view in views]), wanted.mT)
    gathered = gather(views)
    gathered.zero_()
    assert torch.equal(torch.stack(views), wanted), "a batch is never a view of a scan"


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory of mapped files is told by Linux")
@pytest.mark.parametrize("name", ["default", "la"])
def test_reading_from_disk_keeps_no_scan_in_memory(name, tmp_path):
    def of_files() -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssFile"))

    scans: dict[str | None, list[SimpleNamespace]] = {"r": [], None: []}
    for i in range(3):  # 17 MB each
        stored = case(i, (64, 256, 256), labeled=i < 2)
        np.save(tmp_path / f"{i}.npy", stored.image.astype(np.float32))
        for mode, found in scans.items():
            image = np.load(tmp_path / f"{i}.npy", mmap_mode=mode)
            found.append(SimpleNamespace(**{**vars(stored), "image": image}))
    plan = make_plan(3, patch=(48, 48, 48))
    cases = make_resident(scans["r"], CPU, memory_gb=0.01), make_resident(scans[None], CPU, memory_gb=10)
    disk, memory = (Batches(c[:2], c[2:], plan, augment.build(name, plan), (2, 2)) for c in cases)
    before, highest = of_files(), 0.0
    for k in range(8):
        assert equal(disk(k), memory(k))
        highest = max(highest, of_files() - before)
    assert highest < 12


def test_streams_of_another_name_have_another_order():
    streams = [Stream(list(range(20)), 0, name) for name in ("labeled", "unlabeled")]
    first, second = ([stream[i] for i in range(20)] for stream in streams)
    assert sorted(first) == sorted(second)
    assert first != second


@pytest.mark.parametrize("dim", [2, 3])
def test_the_loss_of_a_case_counts_as_much_as_its_weight(dim):
    """Over four passes the mean loss is the weighted mean over the cases, for weights of fourths."""
    shape, weights = (3, 6, 6) if dim == 2 else (6, 6, 6), {"la_1": 0.5, "la_3": 0.25}
    fixed = {"shape": shape, "sizes": (1, 0), "views": ()}
    batches = make(dim=dim, cases=(4, 0), weights=weights, **fixed)
    head = torch.nn.Sequential(getattr(torch.nn, f"Conv{dim}d")(1, 2, 1))

    def loss(batch: Batch) -> float:
        return float(dice_ce(head(batch.x_l / 4), batch.y_l).detach())

    samples = 3 if dim == 2 else 1
    total = round(4 * samples * (1 + 0.5 + 1 + 0.25))
    seen = [batches(k) for k in range(total)]
    counts = Counter(int(batch.x_l.min()) for batch in seen)
    assert counts == {0: 4 * samples, 1: 2 * samples, 2: 4 * samples, 3: samples}
    each = dict.fromkeys(range(4), 0.0)
    for number, stored in enumerate(batches.labeled.items[::samples]):
        one = Batches([stored.case], [], batches.plan, batches.augmentation, (1, 0), views=())
        each[number] = sum(loss(one(k)) for k in range(samples)) / samples
    wanted = sum(weights.get(f"la_{n}", 1.0) * value for n, value in each.items()) / 2.75
    assert len({round(value, 3) for value in each.values()}) == 4
    assert sum(map(loss, seen)) / total == pytest.approx(wanted, rel=1e-5)


def test_a_weighted_stream_is_a_pure_function_of_the_number():
    stream = Stream(list(range(50)), 0, "labeled", [0.1, 0.3, 1, 0.7, 0.01] * 10)
    forward = [stream[n] for n in range(1000)]
    there = [int(n) for n in torch.randperm(1000, generator=torch.Generator().manual_seed(1))[:100]]
    assert [stream[n] for n in there] == [forward[n] for n in there]
    often = Counter(forward)
    assert often[2] == pytest.approx(1000 * 1 / 21.1, abs=1)
    assert often[1] == pytest.approx(1000 * 0.3 / 21.1, abs=1)
    assert sum(often[k] for k in range(4, 50, 5)) == pytest.approx(1000 * 0.1 / 21.1, abs=2)
    ones = [Stream(list(range(7)), 3, "labeled", given) for given in ([], [1.0] * 7)]
    assert [ones[0][n] for n in range(30)] == [ones[1][n] for n in range(30)]


@pytest.mark.parametrize("name", ["crop", "default"])
def test_crops_drawn_alike_are_not_centered_on_foreground(name):
    batches = make(
        name, shape=(24, 24, 24), plan={"foreground": 1.0, "patch": (4,) * 3}, sizes=(8, 1), views=()
    )
    alike = batches.drawn_alike((8, 16))
    assert [(batches(k).y_l > 0).any() for k in range(4)] == [True] * 4
    assert sum(int((alike(k).y_l > 0).flatten(1).any(1).sum()) for k in range(4)) < 8
    assert (len(alike(0).x_l), alike(0).x_u.keys(), len(alike(0).x_u["weak"])) == (8, {"weak"}, 16)
    assert equal(alike(3), batches.drawn_alike((8, 16))(3))
    assert not equal(alike(3), alike(4))
    assert batches(0).x_u == {}
    assert batches.plan.foreground == 1.0


@pytest.mark.parametrize(("name", "dim"), KINDS)
def test_pseudo_labels_come_with_their_scans_and_center_patches(name, dim):
    images = make(name, dim, cases=(2, 3)).unlabeled.items
    taught = {}
    for resident in {item.case.id: item.case for item in images}.values():
        label = np.full(resident.shape, 255, np.uint8)
        label[4:6, 4:6, 4:6] = 2
        taught[resident.id] = with_label(resident, label)
    plain, other = (
        make(name, dim, cases=(2, 3)),
        make(name, dim, cases=(2, 3), plan={"foreground": 1.0}, pseudo=True),
    )
    other.unlabeled.items = [item._replace(case=taught[item.case.id]) for item in other.unlabeled.items]
    assert plain(0).pseudo is None
    batch = other(0)
    assert batch.pseudo.shape == (2, *batch.x_u["weak"].shape[2:])
    assert batch.pseudo.dtype == torch.int64
    if name != "la" and name != "acdc":  # protocols without a share of foreground
        assert (batch.pseudo == 2).flatten(1).any(1).all()


def test_blank_labels_take_no_memory():
    (item, *_) = make().unlabeled.items
    found = blank([item.case])[item.case.id]
    assert found.shape == item.case.shape
    assert not any(found.strides)
    assert with_label(item.case, found).label.shape == item.case.shape
