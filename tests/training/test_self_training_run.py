"""Self-training as whole runs: rounds, pseudo-labels on disk, resuming, a student of another kind."""

from __future__ import annotations

import copy
import json
import os
import shutil
import signal
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from tests.factories import make_dataset
from tests.methods.tiny import TinyNet, batches, make

from semiseg.core import IGNORE, Clock, Stage
from semiseg.errors import DataError, Interrupted, UsageError
from semiseg.losses import dice_ce
from semiseg.methods.self_training import SelfTraining
from semiseg.networks import checkpoint
from semiseg.prediction.model import Model
from semiseg.preparation.prepare import prepare
from semiseg.preparation.resident import packed, unpacked
from semiseg.runs.events import Notice, Stepped
from semiseg.settings.resolve import resolve
from semiseg.training import train as experiment
from semiseg.training.pseudo_labels import PseudoLabeler
from semiseg.training.samples import without_fold
from semiseg.training.stages import leader

LENGTH = 4


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("data"), labeled=3, unlabeled=2, test=1, classes=3)


def config(method="self_training", iterations=2 * LENGTH, **options):
    flags = {
        "method.name": method,
        "data.labeled": 2,
        "train.iterations": iterations,
        "train.log_every": 1,
        "plan.patch": (16, 16, 16),
        "plan.features": (4, 8),
        "train.precision": "32",
    }
    flags |= {f"method.options.{key}": value for key, value in options.items()}
    return resolve(flags=flags, environment={})


def train(data, folder, *, resume=False, listeners=(), **options):
    return experiment.train(
        data,
        config(**options),
        run=folder,
        device="cpu",
        workers=0,
        resume=resume,
        listeners=listeners,
    )


def weights(run):
    return checkpoint.load(run.folder / "checkpoints" / "final.ckpt", checkpoint.MODEL)["predictor"]


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def pseudo_files(run):
    return {p.name: p.read_bytes() for p in (run.folder / "pseudo_labels").rglob("*.n*")}


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    """One round, every scan and voxel kept."""
    return train(data, tmp_path_factory.mktemp("run"), rounds=1, keep=1.0, voxels="none")


@pytest.fixture(scope="module")
def teacher(data, tmp_path_factory):
    """A supervised run as long as the first part."""
    return train(data, tmp_path_factory.mktemp("teacher"), method="supervised", iterations=LENGTH)


def test_no_round_is_supervised_training_bit_for_bit(data, tmp_path, teacher):
    assert equal(weights(train(data, tmp_path, iterations=LENGTH, rounds=0)), weights(teacher))


def test_the_first_part_is_supervised_training_and_labels_are_its_predictions(data, undisturbed, teacher):
    model = Model.load(teacher.folder, "cpu", precision="32")
    place = undisturbed.folder / "pseudo_labels"
    chosen = json.loads((place / "round1.json").read_text())
    of = Model.of(model.plan, model.networks).id
    assert chosen["network"] == of
    assert chosen["kept"] == list(chosen["values"])
    assert sorted(chosen["kept"]) == ["case_02", "un_00", "un_01"]
    stored = prepare(data, config(), device="cpu", workers=0, plan=model.plan).stored
    for case in chosen["kept"]:
        folder = data / ("imagesTr" if case.startswith("case") else "imagesUn")
        image = nib.load(folder / f"{case}_0000.nii.gz")
        found = model.segment_prepared(np.array(stored[case].image), stored[case].geometry).labels
        seen = nib.load(place / "round1" / f"{case}.nii.gz")
        np.testing.assert_array_equal(np.asarray(seen.dataobj), found)
        np.testing.assert_allclose(seen.affine, image.affine)
        taught = np.load(place / "round1" / f"{case}.taught.npy")
        assert taught.shape == stored[case].image.shape[1:]
        np.testing.assert_array_equal(np.bincount(taught.ravel()), np.bincount(found.ravel()))


def test_filters_leave_out_scans_and_voxels(data, tmp_path):
    run = train(data, tmp_path, iterations=3 * LENGTH, rounds=2, keep=0.0, scans="round_change", quantile=0.5)
    first, second = (
        json.loads((run.folder / "pseudo_labels" / f"round{k}.json").read_text()) for k in (1, 2)
    )
    assert (first["scans_by"], second["scans_by"]) == ("mean_confidence", "round_change")
    assert len(first["kept"]) == 3  # at least four, so all
    assert any(value for value in second["values"].values())
    assert set(first["classes"]) == {"background", "structure 1", "structure 2"}
    taught = np.load(run.folder / "pseudo_labels" / "round1" / "un_00.taught.npy")
    labels = np.load(run.folder / "pseudo_labels" / "round1" / "un_00.label.npy")
    assert 0 < (taught == IGNORE).mean() < 0.8
    assert (taught[taught != IGNORE] == labels[taught != IGNORE]).all()


def stop_at(step):
    def listen(event):
        if isinstance(event, Stepped) and event.step == step:
            os.kill(os.getpid(), signal.SIGTERM)

    return listen


@pytest.mark.parametrize("step", [LENGTH, LENGTH + 2])
def test_a_run_goes_on_where_it_was_stopped(data, tmp_path, undisturbed, step):
    options = {"rounds": 1, "keep": 1.0, "voxels": "none"}
    with pytest.raises(Interrupted):
        train(data, tmp_path, listeners=[stop_at(step)], **options)
    run = train(data, tmp_path, resume=True, **options)
    assert equal(weights(run), weights(undisturbed))
    assert pseudo_files(run) == pseudo_files(undisturbed)


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_a_run_goes_on_between_two_scans(data, tmp_path, undisturbed, monkeypatch, how):
    options = {"rounds": 1, "keep": 1.0, "voxels": "none"}
    real, seen = PseudoLabeler._predict, []

    def predict(self, stage, case, *args):
        if how == "killed" and len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(case.id)
        real(self, stage, case, *args)
        if how == "stopped" and len(seen) == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(PseudoLabeler, "_predict", predict)
    with pytest.raises(Interrupted if how == "stopped" else KeyboardInterrupt):
        train(data, tmp_path, **options)
    place = tmp_path / "pseudo_labels" / "round1"
    before = {p.name: p.stat().st_mtime_ns for p in place.glob("*.npy")}
    assert len(before) == 4  # labels and confidences of two scans
    monkeypatch.setattr(PseudoLabeler, "_predict", real)
    run = train(data, tmp_path, resume=True, **options)
    assert equal(weights(run), weights(undisturbed))
    assert pseudo_files(run) == pseudo_files(undisturbed)
    assert {name: (place / name).stat().st_mtime_ns for name in before} == before  # not predicted again


FOLDS = {"iterations": 3 * LENGTH, "rounds": 1, "folds": 2, "scans": "fold_disagreement"}
WEIGHTED = {"keep": 1.0, "weight_by": "confidence", "weight": 0.5}


def test_networks_of_folds_teach_together(data, tmp_path):
    run = train(data, tmp_path / "whole", **FOLDS, **WEIGHTED)
    chosen = json.loads((run.folder / "pseudo_labels" / "round1.json").read_text())
    state = checkpoint.load(run.folder / "checkpoints" / "last.ckpt", checkpoint.STATE)["method"]
    (member,) = Model.load(run.folder, "cpu").members
    teachers = []
    for name in ("fold1", "fold2"):
        weights_of = {key.partition(".")[2]: v for key, v in state.items() if key.startswith(f"{name}.")}
        teachers.append(copy.deepcopy(member.network))
        teachers[-1].load_state_dict(weights_of)
    model = Model.of(member.plan, teachers)
    assert chosen["network"] == model.id
    assert chosen["scans_by"] == "fold_disagreement"
    assert all(0 < value <= 1 for value in chosen["values"].values())
    stored = prepare(data, config(), device="cpu", workers=0, plan=model.plan).stored["un_00"]
    found = model.segment_prepared(np.array(stored.image), stored.geometry).labels
    seen = nib.load(run.folder / "pseudo_labels" / "round1" / "un_00.nii.gz")
    np.testing.assert_array_equal(np.asarray(seen.dataobj), found)
    assert np.load(run.folder / "pseudo_labels" / "round1" / "un_00.taught.npy").dtype == np.int16
    with pytest.raises(Interrupted):
        train(data, tmp_path / "stopped", listeners=[stop_at(LENGTH)], **FOLDS, **WEIGHTED)
    again = train(data, tmp_path / "stopped", resume=True, **FOLDS, **WEIGHTED)
    assert equal(weights(again), weights(run))


def test_each_fold_trains_without_its_share():
    cases = list("abcde")
    assert [without_fold(cases, k, 2) for k in (0, 1)] == [["b", "d"], ["a", "c", "e"]]
    assert without_fold(cases, 0, 0) == cases
    with pytest.raises(UsageError, match="6 folds of 5 labeled cases"):
        without_fold(cases, 0, 6)


@pytest.mark.parametrize(
    ("options", "says"),
    [({"folds": 2, "rounds": 0}, "teach nobody"), ({"scans": "fold_disagreement"}, "folds=1")],
)
def test_options_that_need_one_another(options, says):
    with pytest.raises(UsageError, match=says):
        make("self_training", 2, 3, **options)


def test_scans_of_an_unusual_volume_are_left_out(data, tmp_path):
    run = train(data, tmp_path, rounds=1, scans="volume_prior")
    chosen = json.loads((run.folder / "pseudo_labels" / "round1.json").read_text())
    assert chosen["scans_by"] == "volume_prior"
    assert all(value is None or value >= 0 for value in chosen["values"].values())


def test_pseudo_labels_that_are_gone_are_named(data, tmp_path):
    with pytest.raises(Interrupted):
        train(data, tmp_path, rounds=1, listeners=[stop_at(LENGTH + 1)])
    (tmp_path / "pseudo_labels" / "round1.json").unlink()
    with pytest.raises(DataError, match=r"pseudo-labels in .*round1 cannot be read"):
        train(data, tmp_path, rounds=1, resume=True)


def test_a_test_scan_among_the_unlabeled_ones_is_refused(tmp_path):
    data = make_dataset(tmp_path, labeled=2, unlabeled=2, test=1)
    shutil.copy(data / "imagesUn" / "un_01_0000.nii.gz", data / "imagesTs" / "ts_00_0000.nii.gz")
    with pytest.raises(DataError, match=r"un_01 \(unlabeled\) = ts_00"):
        train(data, tmp_path / "run", rounds=1)


def test_without_unlabeled_scans_every_round_is_supervised(tmp_path):
    data = make_dataset(tmp_path, labeled=2, unlabeled=0, test=1)
    notices = []
    run = train(data, tmp_path / "run", rounds=1, listeners=[notices.append])
    assert run.finished
    assert any("learns from labels alone" in e.text for e in notices if isinstance(e, Notice))


@pytest.mark.parametrize("dim", [2, 3])
def test_a_student_of_another_kind_and_both_are_told(tmp_path, dim):
    data = make_dataset(tmp_path, labeled=3, unlabeled=2, test=1)
    (data / "splits.json").write_text(json.dumps({"order": ["case_00", "case_01"], "val": ["case_02"]}))
    wanted = config(rounds=1, student="unet", student_options={"residual": True})
    plan = wanted.plan.model_copy(update={"dim": dim, "patch": (16,) * dim})
    wanted = wanted.model_copy(update={"plan": plan})
    notices = []
    run = experiment.train(
        data, wanted, run=tmp_path / "run", device="cpu", workers=0, listeners=[notices.append]
    )
    told = run.manifest["networks"]
    assert set(told) == {"net", "student"}
    assert all(0 <= found["dice"] <= 1 and found["seconds_per_scan"] > 0 for found in told.values())
    assert told["student"]["parameters"] > told["net"]["parameters"]  # residual
    assert sum("s per scan" in e.text for e in notices if isinstance(e, Notice)) == 2
    (member,) = Model.load(run.folder, "cpu").members
    assert sum(p.numel() for p in member.network.parameters()) == told["student"]["parameters"]


def test_a_dry_run_tries_every_part(data, tmp_path):
    experiment.train(data, config(rounds=2), runs=tmp_path, device="cpu", workers=0, dry_run=True)
    assert not any(tmp_path.iterdir())


def stepped(method, batch, t):
    (update,) = method.step(batch, t)
    return update.loss


@pytest.mark.parametrize("dim", [2, 3])
def test_right_pseudo_labels_are_full_supervision(dim):
    method = make("self_training", dim, 3)
    for drop in (m for m in method.modules() if "Dropout" in type(m).__name__):
        drop.p = 0.0
    batch = batches(dim, 3, edge=8)(0)
    t = Clock(0, 10, "round1")
    known = batch._replace(pseudo=batch.pseudo.where(batch.pseudo != IGNORE, 0))
    whole = known._replace(
        x_l=torch.cat([batch.x_l, batch.x_u["weak"]]), y_l=torch.cat([batch.y_l, known.pseudo]), pseudo=None
    )
    torch.testing.assert_close(stepped(method, known, t), stepped(method, whole, t))


def test_ignored_voxels_get_no_gradient_and_the_last_part_sees_labels_alone():
    method = make("self_training", 2, 3, finetune=0.1)
    batch = batches(2, 3)(0)
    logits = []
    method.net.register_forward_hook(lambda net, x, y: (y.logits.retain_grad(), logits.append(y.logits))[1])
    stepped(method, batch, Clock(0, 10, "round1")).backward()
    ignored = (batch.pseudo == IGNORE)[:, None].expand(-1, 3, -1, -1)
    assert ignored.any()
    assert not logits[0].grad[2:][ignored].any()
    for t in (Clock(9, 10, "round1"), Clock(0, 10, "teacher")):
        stepped(method, batch, t)
    assert [len(z) for z in logits] == [5, 2, 2]


@pytest.mark.parametrize(("dim", "regions"), [(2, False), (3, False), (2, True)])
def test_voxels_count_by_their_confidence(dim, regions):
    logits = torch.randn((2, 3, *[5] * dim), generator=torch.Generator().manual_seed(0))
    y = torch.randint(0, 2 if regions else 3, logits.shape if regions else logits[:, 0].shape)
    ones = torch.ones_like(logits[:, 0])
    torch.testing.assert_close(dice_ce(logits, y, voxels=ones), dice_ce(logits, y))
    doubted, unknown = ones.clone(), y.clone()
    doubted[..., 0], unknown[..., 0] = 0.0, IGNORE
    torch.testing.assert_close(dice_ce(logits, y, voxels=doubted), dice_ce(logits, unknown))
    assert dice_ce(logits, y, voxels=0 * ones).item() == pytest.approx(0, abs=1e-6)
    assert not torch.isclose(dice_ce(logits, y, voxels=ones.where(doubted > 0, 0.5)), dice_ce(logits, y))


def test_a_confidence_travels_with_its_class():
    label, confidence = np.array([0, 2, 254, IGNORE], np.uint8), np.array([255, 128, 0, 200], np.uint8)
    classes, shares = unpacked(torch.from_numpy(packed(label, confidence)))
    np.testing.assert_array_equal(classes, label)
    np.testing.assert_allclose(shares, confidence / 255, atol=1 / 127)
    classes, shares = unpacked(torch.zeros(2, dtype=torch.int16))  # outside of a scan
    assert classes.tolist() == [0, 0]
    assert shares.tolist() == [1, 1]


def test_nothing_known_costs_nothing():
    method = make("self_training", 2, 3)
    batch = batches(2, 3)(0)
    nothing = batch._replace(
        y_l=torch.full_like(batch.y_l, IGNORE), pseudo=torch.full_like(batch.pseudo, IGNORE)
    )
    loss = stepped(method, nothing, Clock(0, 10, "round1"))
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert not any(p.grad.any() for p in method.net.parameters() if p.grad is not None)


def test_a_round_begins_anew_or_goes_on():
    for start, same in (("scratch", False), ("continue", True)):
        method = make("self_training", 2, 3, start=start)
        before = {key: value.clone() for key, value in method.net.state_dict().items()}
        method.on_stage_start("teacher")
        assert equal(before, method.net.state_dict())
        torch.manual_seed(7)
        method.on_stage_start("round1")
        assert equal(before, method.net.state_dict()) == same


def test_rounds_compete_and_a_student_does_not():
    method = make("self_training", 2, 3)
    assert [stage.name for stage in method.stages] == ["teacher", "round1", "round2"]
    assert {leader(method.stages, stage).name for stage in method.stages} == {"teacher"}
    torch.manual_seed(0)
    method = SelfTraining(lambda network=None, **options: TinyNet(2, 3), student="small")
    assert method.predictor == "student"
    assert leader(method.stages, method.stages[-1]).name == "round2"
    assert [stage.network for stage in method.stages] == ["net", "net", "student"]
    assert make("self_training", 2, 3, rounds=0).stages == (Stage(),)
