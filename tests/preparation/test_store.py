import json
import os
import pickle

import nibabel as nib
import numpy as np
import pytest
from tests.factories import make_dataset

from semiseg.dataset.case import Case, LabeledCase
from semiseg.dataset.dataset import Dataset
from semiseg.errors import DataError
from semiseg.preparation.forward import sample_foreground
from semiseg.preparation.plan import ChannelPlan, Plan
from semiseg.preparation.store import StoredCase, StoredLabeledCase, build_store
from semiseg.preparation.workers import each


def plan_of(**values) -> Plan:
    fixed = {
        "dim": 3,
        "spacing": (1, 1, 1),
        "labels": {"background": 0, "structure 1": 1},
        "patch": (8, 8, 8),
    }
    return Plan(**(fixed | {"channels": (ChannelPlan(name="MRI", scheme="zscore"),)} | values))


@pytest.fixture
def cases(tmp_path):
    dataset = Dataset.open(make_dataset(tmp_path, labeled=2, unlabeled=2, test=0, shape=(10, 12, 9)))
    return [*dataset.annotated, *dataset.unannotated]


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def snapshot(cache):
    return {p: p.stat().st_mtime_ns for p in cache.rglob("*") if p.is_file()}


def age(cache):
    """Make every file old, so that any rewriting shows."""
    for path in cache.rglob("*"):
        os.utime(path, (1, 1))
    return snapshot(cache)


def test_stored_arrays(cases, cache):
    seen = []
    stored = build_store(
        cases, plan_of(), cache, workers=0, progress=lambda done, of: seen.append((done, of))
    )
    assert list(stored) == [case.id for case in cases]
    assert seen == [(k, 4) for k in range(5)]
    labeled, unlabeled = stored["case_00"], stored["un_00"]
    assert labeled.image.shape == (1, 10, 12, 9)
    assert labeled.image.dtype == np.float32
    assert labeled.image.mean() == pytest.approx(0, abs=1e-5)
    raw = np.asarray(nib.load(cases[0].label).dataobj)
    assert np.array_equal(labeled.label, raw)
    assert labeled.label.dtype == np.uint8
    assert labeled.foreground.dtype == np.int32
    assert (labeled.label[tuple(labeled.foreground.T)] == 1).all()
    assert type(unlabeled) is StoredCase
    assert not hasattr(unlabeled, "label")


def test_a_second_run_computes_nothing(cases, cache, monkeypatch):
    first = build_store(cases, plan_of(), cache, workers=0)
    before = age(cache)
    monkeypatch.setattr(
        "semiseg.preparation.store.load_case", lambda case: pytest.fail("image was read again")
    )
    monkeypatch.setattr(
        "semiseg.preparation.store.load_label", lambda *_: pytest.fail("label was read again")
    )
    other = plan_of(batch=2, patch=(4, 4, 4), foreground=0.5)  # nothing that shapes a stored array
    second = build_store(cases, other, cache, workers=0)
    assert snapshot(cache) == before
    assert np.array_equal(first["un_00"].image, second["un_00"].image)


@pytest.mark.parametrize(
    ("values", "images_new"),
    [({"spacing": (2, 2, 2)}, True), ({"crop": "nonzero"}, True), ({"label_map": {7: 1}}, False)],
)
def test_what_a_change_of_the_plan_rebuilds(cases, cache, values, images_new):
    first = build_store(cases, plan_of(), cache, workers=0)
    second = build_store(cases, plan_of(**values), cache, workers=0)
    assert (first["un_00"].image_path != second["un_00"].image_path) == images_new
    assert first["case_00"].label_path != second["case_00"].label_path


def test_a_changed_scan_is_prepared_again(cases, cache):
    before = build_store(cases, plan_of(), cache, workers=0)["un_00"]
    path = next(case for case in cases if case.id == "un_00").images[0]
    nib.save(nib.Nifti1Image(np.random.default_rng(9).random((10, 12, 9), np.float32), np.eye(4)), path)
    after = build_store(cases, plan_of(), cache, workers=0)["un_00"]
    assert not np.array_equal(before.image, after.image)


def test_a_moved_dataset_is_not_prepared_again(cases, cache, tmp_path):
    build_store(cases, plan_of(), cache, workers=0)
    before = age(cache)
    cases[0].images[0].parent.parent.rename(tmp_path / "elsewhere")
    moved = Dataset.open(tmp_path / "elsewhere")
    build_store([*moved.annotated, *moved.unannotated], plan_of(), cache, workers=0)
    assert snapshot(cache) == before


@pytest.mark.parametrize("name", ["image.npy", "label.npy", "foreground.npy", "json"])
@pytest.mark.parametrize("how", ["missing", "truncated", "altered", "empty"])
def test_broken_entries_are_rebuilt(cases, cache, name, how):
    good = {
        i: [np.array(a) for a in (c.image, c.label, c.foreground)]
        for i, c in build_store(cases[:2], plan_of(), cache, workers=0).items()
    }
    for path in cache.rglob(f"*.{name}"):
        content = path.read_bytes()
        path.unlink()
        if how == "truncated":
            path.write_bytes(content[: len(content) // 2])
        elif how == "altered":
            path.write_bytes(content[:-40] + bytes(40))
        elif how == "empty":
            path.write_bytes(b"")
    again = build_store(cases[:2], plan_of(), cache, workers=0)
    for i, arrays in good.items():
        now = again[i].image, again[i].label, again[i].foreground
        assert all(np.array_equal(a, b) for a, b in zip(arrays, now, strict=True))


def test_a_killed_writer_leaves_no_entry(cases, cache, monkeypatch):
    """Killed between the array and its sidecar, with a half-written temporary file beside them."""

    def die(*_args, **_kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("semiseg.preparation.cache._describe", die)
        with pytest.raises(KeyboardInterrupt):
            build_store(cases, plan_of(), cache, workers=0)
    assert list(cache.rglob("*.image.npy"))
    assert not list(cache.rglob("*.json"))
    array = next(cache.rglob("*.image.npy"))
    torn, fresh = array.with_name(".0123.tmp"), array.with_name(".4567.tmp")
    torn.write_bytes(array.read_bytes()[:100])
    fresh.write_bytes(b"in use by another process")
    os.utime(torn, (1, 1))
    stored = build_store(cases, plan_of(), cache, workers=0)
    assert stored["case_00"].image.shape == (1, 10, 12, 9)
    assert not torn.exists()
    assert fresh.exists()


def test_hidden_labels_are_never_opened(tmp_path, cases, cache):
    """The same store whether the label of a plain Case is there, is garbage or is gone."""
    hidden = [case.without_label() if isinstance(case, LabeledCase) else case for case in cases]
    first = build_store(hidden, plan_of(), tmp_path / "a", workers=0)
    for case in cases[:2]:
        case.label.write_bytes(b"garbage")
    second = build_store(hidden, plan_of(), tmp_path / "b", workers=0)
    for case in cases[:2]:
        case.label.unlink()
    third = build_store(hidden, plan_of(), tmp_path / "c", workers=0)
    for i in first:
        assert np.array_equal(first[i].image, second[i].image)
        assert np.array_equal(first[i].image, third[i].image)
        assert not isinstance(third[i], StoredLabeledCase)
    assert not list(tmp_path.rglob("*.label.npy"))


def test_processes_give_the_same_bytes(cases, tmp_path):
    plan = plan_of(spacing=(1.3, 0.8, 1.1))
    alone = build_store(cases, plan, tmp_path / "a", workers=0)
    many = build_store(cases, plan, tmp_path / "b", workers=2)
    for i in alone:
        assert alone[i].image_path.read_bytes() == many[i].image_path.read_bytes()
    assert isinstance(many["case_00"], StoredLabeledCase)


def test_short_memory_means_fewer_processes(cases, cache, monkeypatch):
    asked = []

    def watch(work, cases, workers):
        asked.append(workers)
        return each(work, cases, 0)

    monkeypatch.setattr("semiseg.preparation.store.each", watch)
    for free in (0.6, 64.0, None):
        monkeypatch.setattr("semiseg.preparation.workers.free_memory_gb", lambda free=free: free)
        build_store(cases, plan_of(), cache / str(free), workers=8)
    assert asked == [2, 8, 8]


@pytest.mark.parametrize("workers", [0, 2])
def test_every_bad_case_is_named_at_once(cases, cache, workers):
    cases[0].images[0].write_bytes(b"no scan")
    cases[3].images[0].unlink()
    with pytest.raises(DataError) as caught:
        build_store(cases, plan_of(), cache, workers=workers)
    assert cases[0].id in caught.value.message
    assert cases[3].id in caught.value.message
    assert [c["details"]["case"] for c in caught.value.details["cases"]] == [cases[0].id, cases[3].id]


def test_undeclared_label_value_names_the_case(cases, cache):
    label = np.zeros((10, 12, 9), np.uint8)
    label[2, 2, 2] = 255
    nib.save(nib.Nifti1Image(label, np.eye(4)), cases[0].label)
    with pytest.raises(DataError, match="case_00: the label holds 255") as caught:
        build_store(cases, plan_of(), cache, workers=0)
    assert caught.value.code == "LABEL_VALUES"
    stored = build_store(cases, plan_of(label_map={255: 1}), cache, workers=0)
    assert stored["case_00"].foreground.tolist() == [[2, 2, 2]]


def test_a_label_without_foreground(cases, cache):
    nib.save(nib.Nifti1Image(np.zeros((10, 12, 9), np.uint8), np.eye(4)), cases[0].label)
    for _ in range(2):
        assert build_store(cases[:1], plan_of(), cache, workers=0)["case_00"].foreground.shape == (0, 3)


def test_ids_must_differ(cases, cache):
    with pytest.raises(DataError, match="case_00"):
        build_store([cases[0], Case("case_00", cases[1].images)], plan_of(), cache, workers=0)


def test_pickling_sends_paths_not_voxels(cases, cache):
    case = build_store(cases, plan_of(), cache, workers=0)["case_00"]
    assert case.image.flags.writeable is False
    copy = pickle.loads(pickle.dumps(case))
    assert len(pickle.dumps(case)) < 2500
    assert np.array_equal(copy.label, case.label)
    assert json.dumps(copy.geometry.as_dict()) == json.dumps(case.geometry.as_dict())


def test_foreground_sample_is_balanced_and_repeatable():
    label = np.zeros((30, 30, 30), np.uint8)
    label[:20] = 1
    label[25, 5:10, :10] = 2
    label[29] = 255
    sample = sample_foreground(label, most=300)
    assert np.array_equal(sample, sample_foreground(label, most=300))
    counts = np.bincount(label[tuple(sample.T)], minlength=3)
    assert counts.tolist() == [0, 250, 50]  # the small class whole, the rest to the large one
    assert len({tuple(p) for p in sample.tolist()}) == 300
