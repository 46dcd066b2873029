"""Fine-tuning: a training begins with the weights of a file, goes on without it, and says what it gained."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.factories import make_dataset
from tests.networks.test_transfer import as_nnunet

import semiseg
from semiseg.errors import UsageError
from semiseg.networks import checkpoint
from semiseg.runs.events import Notice, Stepped, Stop
from semiseg.runs.run import Run
from semiseg.training.start_from import read_origin

SMALL: dict[str, Any] = {
    "plan.patch": [16, 16, 16],
    "plan.features": [4, 8],
    "plan.batch": 2,
    "train.log_every": 1,
    "train.precision": "32",
}


def train(data: Path, run: Path, **more: Any) -> Run:
    settings = SMALL | more.pop("settings", {})
    options: dict[str, Any] = {"method": "supervised", "iterations": 2, "device": "cpu", "workers": 0, **more}
    return semiseg.train(data, run=run, settings=settings, **options)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_dataset(tmp_path_factory.mktemp("data"), labeled=4)
    lists = {"order": ["case_00", "case_01"], "val": ["case_02", "case_03"]}
    (folder / "splits.json").write_text(json.dumps(lists))
    return folder


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(data, tmp_path_factory.mktemp("runs") / "first", seed=7)


def weights(run: Run, name: str = "final.ckpt") -> dict[str, torch.Tensor]:
    return checkpoint.load(run.folder / "checkpoints" / name, checkpoint.MODEL)["predictor"]


class StopAt:
    """Ends a run as a full disk would: in the middle, with its state saved."""

    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self, event: object) -> None:
        if isinstance(event, Stepped) and event.step == self.step:
            raise Stop


def test_a_run_begins_with_the_weights_of_another_and_tells_so(
    data: Path, trained: Run, tmp_path: Path
) -> None:
    events: list[Any] = []
    still = {"optimizer.lr": 1e-12, "optimizer.weight_decay": 0}
    run = train(data, tmp_path / "run", start_from=trained.folder, settings=still, listeners=[events.append])
    before, after = weights(trained), weights(run)
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, atol=1e-6, rtol=0)
    about = run.manifest["start_from"]
    assert (about["kind"], about["share"], about["misfits"]) == ("semiseg", 1.0, [])
    assert about["sha256"] == trained.manifest["checkpoints"]["final.ckpt"]
    rates = [event.lr for event in events if isinstance(event, Stepped)]
    assert rates[0] == pytest.approx(0.3e-12 * 1.0, rel=0.5)
    assert any("100% of the parameters fit" in e.text for e in events if isinstance(e, Notice))


def test_warm_up_at_a_lower_rate(data: Path, trained: Run, tmp_path: Path) -> None:
    events: list[Any] = []
    more = {"start.warmup": 0.5, "start.lr": 0.1, "schedule.name": "constant", "schedule.warmup": 0}
    train(
        data,
        tmp_path / "run",
        start_from=trained.folder,
        iterations=4,
        settings=more,
        listeners=[events.append],
    )
    rates = [event.lr for event in events if isinstance(event, Stepped)]
    assert rates == pytest.approx([1e-4, 2e-4, 2e-4, 2e-4])


def test_two_networks_differ_in_their_last_layer(data: Path, trained: Run, tmp_path: Path) -> None:
    still = {"optimizer.lr": 1e-12, "optimizer.weight_decay": 0}
    run = train(data, tmp_path / "run", method="cps", start_from=trained.folder, settings=still)
    state = checkpoint.load(run.folder / "checkpoints" / "last.ckpt", checkpoint.STATE)["method"]
    torch.testing.assert_close(state["net.head.weight"], weights(trained)["head.weight"], atol=1e-6, rtol=0)
    assert not torch.allclose(state["net2.head.weight"], state["net.head.weight"], atol=1e-2)
    key = "encoder.0.first.conv.weight"
    torch.testing.assert_close(state[f"net2.{key}"], state[f"net.{key}"], atol=1e-6, rtol=0)


def test_a_resumed_run_needs_the_file_no_more(data: Path, trained: Run, tmp_path: Path) -> None:
    source = shutil.copytree(trained.folder, tmp_path / "source")
    options: dict[str, Any] = {"start_from": source, "iterations": 4, "method": "self_training"}
    whole = train(data, tmp_path / "whole", **options)
    with pytest.raises(Stop):
        train(data, tmp_path / "cut", listeners=[StopAt(1)], **options)
    shutil.rmtree(source)
    resumed = train(data, tmp_path / "cut", resume=True, **{**options, "start_from": None})
    for name, value in weights(whole).items():
        torch.testing.assert_close(weights(resumed)[name], value, atol=0, rtol=0)
    assert resumed.config.start.file == str(source)


def test_a_twin_says_what_it_gained(data: Path, trained: Run, tmp_path: Path, caplog: Any) -> None:
    caplog.set_level("INFO")
    run = train(data, tmp_path / "run", start_from=trained.folder, twin=True)
    found = run.manifest["twin"]
    assert found["run"] == "run-scratch"
    assert found["cases"] == 2
    scratch = semiseg.load_run(tmp_path / "run-scratch")
    assert scratch.config.start.file is None
    means = []
    for one in (run, scratch):
        summary = json.loads((one.folder / "validation" / "summary.json").read_text())
        means.append(summary["foreground_mean"]["Dice"])
    assert found["gain"] == pytest.approx(means[0] - means[1])
    assert "starting from a file: validation Dice" in caplog.text
    with pytest.raises(UsageError, match="a twin is trained beside"):
        train(data, tmp_path / "none", twin=True)


def test_a_zip_and_a_run_are_the_same_start(trained: Run, tmp_path: Path) -> None:
    semiseg.export(trained.folder, tmp_path / "out", to="zip")
    (packed,) = (tmp_path / "out").rglob("*.zip")
    one, other = read_origin(trained.folder), read_origin(packed)
    assert one.learned.classes == other.learned.classes == ("background", "structure 1")
    assert one.learned.weights.keys() == other.learned.weights.keys()


def nnunet(folder: Path, run: Run, **content: Any) -> Path:
    """A results folder of nnU-Net v2 with the weights of a run of ours, turned to its axes."""
    (folder / "fold_0").mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps({"transpose_forward": [0, 1, 2]}))
    labels = {"background": 0, "structure 1": 1}
    described = {"channel_names": {"0": "MRI"}, "labels": labels}
    (folder / "dataset.json").write_text(json.dumps(described))
    turned = {k: v.permute(0, 1, 4, 3, 2).contiguous() if v.ndim == 5 else v for k, v in weights(run).items()}
    logs = {"logging": {"dice": [np.float64(0.5)]}, "current_epoch": 3, "init_args": {"fold": 0}}
    torch.save(
        {"network_weights": as_nnunet(turned), **logs, **content}, folder / "fold_0" / "checkpoint_final.pth"
    )
    return folder


def test_a_results_folder_of_nnunet(data: Path, trained: Run, tmp_path: Path) -> None:
    source = nnunet(tmp_path / "nnUNetTrainer__nnUNetPlans__3d_fullres", trained)
    for place in (source, source / "fold_0", source / "fold_0" / "checkpoint_final.pth"):
        assert read_origin(place).about["kind"] == "nnU-Net"
    still = {"optimizer.lr": 1e-12, "optimizer.weight_decay": 0}
    run = train(data, tmp_path / "run", start_from=source, settings=still)
    axes = run.plan.axes
    assert run.manifest["start_from"]["share"] == pytest.approx(1)
    wanted, found = weights(trained), weights(run)
    assert trained.plan.axes == axes
    for name in ("encoder.1.first.conv.weight", "head.weight", "ups.0.conv.weight"):
        torch.testing.assert_close(found[name], wanted[name], atol=1e-6, rtol=0)


def test_what_cannot_be_started_from_is_told(data: Path, trained: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to start from"):
        train(data, tmp_path / "run", start_from=tmp_path / "nowhere")
    torch.save({"state_dict": {"layer.weight": torch.zeros(3)}}, tmp_path / "other.pth")
    with pytest.raises(UsageError, match=r"nothing in other\.pth fits the network unet"):
        train(data, tmp_path / "run", start_from=tmp_path / "other.pth")
    torch.save({"network_weights": {}, "trainer": Path("x")}, tmp_path / "objects.pth")
    with pytest.raises(UsageError, match="cannot be read as tensors") as caught:
        read_origin(tmp_path / "objects.pth")
    assert "save its state_dict alone" in caught.value.hint
    torch.save({"numbers": 3}, tmp_path / "numbers.pth")
    with pytest.raises(UsageError, match="holds no weights by name"):
        read_origin(tmp_path / "numbers.pth")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "plans.json").write_text("{}")
    with pytest.raises(UsageError, match="no fold_"):
        read_origin(tmp_path / "empty")
    assert not (tmp_path / "run").exists()


def test_a_published_checkpoint_of_nnssl(data: Path, trained: Run, tmp_path: Path) -> None:
    """The layout of the published residual encoders: aliases, one channel, a plan of the pre-training."""
    encoder = {k: v for k, v in as_nnunet(weights(trained)).items() if k.startswith("encoder.")}
    again = {k.replace(".conv.", ".all_modules.0."): v for k, v in encoder.items() if ".conv." in k}
    inside = {f"decoder.{k}": v for k, v in encoder.items()}
    adaptation = {
        "architecture_plans": {"arch_class_name": "ResEncL", "arch_kwargs": None},
        "pretrain_plan": {"configurations": {"onemmiso": {"spacing": [1.0] * 3, "patch_size": [160] * 3}}},
        "pretrain_num_input_channels": 1,
        "recommended_downstream_patchsize": [160, 160, 160],
        "key_to_encoder": "encoder.stages",
        "key_to_stem": "encoder.stem",
        "keys_to_in_proj": ["encoder.stem.convs.0.conv", "encoder.stem.convs.0.all_modules.0"],
        "key_to_lpe": None,
    }
    file = tmp_path / "checkpoint_final.pth"
    content = {"network_weights": encoder | again | inside, "nnssl_adaptation_plan": adaptation}
    torch.save({**content, "trainer_name": "BaseMAETrainer", "citations": [{"name": "x"}]}, file)
    still = {"optimizer.lr": 1e-12, "optimizer.weight_decay": 0}
    run = train(data, tmp_path / "run", start_from=file, settings=still)
    about = run.manifest["start_from"]
    assert about["kind"] == "nnssl"
    assert 0 < about["share"] < 1
    assert not any("of the file has no place" in text for text in about["misfits"])
    assert any(text.startswith("head starts fresh") for text in about["misfits"])
    for name, value in weights(trained).items():
        if name.startswith("encoder."):
            torch.testing.assert_close(weights(run)[name], value, atol=1e-6, rtol=0)
