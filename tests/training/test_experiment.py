"""Training end to end on tiny datasets: what is in a run folder, and which mistakes are caught before it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests.factories import make_dataset

from semiseg.dataset.dataset import Dataset
from semiseg.errors import DeviceError, UsageError
from semiseg.methods.mean_teacher import MeanTeacher
from semiseg.networks import checkpoint
from semiseg.runs.run import Run, load_run
from semiseg.settings.config import AUTO_ITERATIONS
from semiseg.settings.options import declared
from semiseg.settings.resolve import resolve
from semiseg.training import length, single
from semiseg.training import train as experiment

FILES = (
    *("config.yaml", "plan.json", "dataset.json", "splits.json", "manifest.json", "metrics.csv"),
    *("events.jsonl", "train.log", "progress.png", "checkpoints/last.ckpt", "checkpoints/final.ckpt"),
)
MANIFEST = (
    *("semiseg", "packages", "command", "hardware", "started", "ended", "data_sha256", "split_sha256"),
    *("selection", "protocol", "deviations", "dataset", "method", "precision", "sessions"),
)
SMALL = {
    "plan.patch": (16, 16, 16),
    "plan.features": (4, 8),
    "plan.batch": 2,
    "train.iterations": 3,
    "train.log_every": 2,
    "train.precision": "32",
}


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data"))


def with_validation(folder: Path) -> Path:
    lists = {"order": ["case_00", "case_01"], "val": ["case_02"]}
    (folder / "splits.json").write_text(json.dumps(lists))
    return folder


def train(data: Path, run: Path, flags: dict[str, object] | None = None, **options: object) -> Run:
    recipe = options.pop("recipe", None)
    config = resolve(recipe=recipe, flags=SMALL | (flags or {}), environment={})
    return experiment.train(data, config, run=run, device="cpu", workers=0, **options)


def weights(run: Run, name: str = "final.ckpt") -> dict[str, torch.Tensor]:
    return checkpoint.load(run.folder / "checkpoints" / name, checkpoint.MODEL)["predictor"]


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_a_run_folder_holds_everything(data, tmp_path):
    config = resolve(flags=SMALL | {"data.labeled": 2}, environment={})
    run = experiment.train(data, config, runs=tmp_path / "runs", device="cpu", workers=0)
    parts = run.folder.relative_to(tmp_path / "runs").parts
    assert parts == (data.name, "fixmatch__unet__default", "labeled-2_fold-0_seed-0")
    assert [name for name in FILES if not (run.folder / name).is_file()] == []
    assert any((run.folder / "tb").iterdir())
    assert [key for key in MANIFEST if key not in run.manifest] == []
    assert run.manifest["selection"] == "last"
    assert run.manifest["protocol"] == "strict"
    assert run.manifest["sessions"][-1]["reason"] == "finished"
    assert run.split["labeled"] == ["case_00", "case_01"]
    assert "case_02" in run.split["unlabeled"]
    assert [row["step"] for row in run.metrics] == ["2", "3"]
    assert "rank 0" in (run.folder / "train.log").read_text() or run.finished
    assert load_run(run.folder).config == run.config
    assert not (run.folder / "checkpoints" / "best.ckpt").exists()
    assert not (run.folder / "validation").exists()


def test_the_manifest_has_every_option_of_the_method(data, tmp_path):
    flags = {"method.name": "mean_teacher", "method.options": {"weight": 0.25}}
    options = train(data, tmp_path / "run", flags).manifest["method_options"]
    assert options["weight"] == 0.25
    assert options["decay"] == declared(MeanTeacher)["decay"].default
    assert options.keys() == declared(MeanTeacher).keys()


OUTSIDE = """
from semiseg.methods.supervised import Supervised

class Rule:
    pass

class Mine(Supervised):
    def __init__(self, make_net, *, rule=Rule()):
        super().__init__(make_net)
"""


def test_the_manifest_names_options_that_are_objects(data, tmp_path, monkeypatch):
    (tmp_path / "outside_method.py").write_text(OUTSIDE)
    monkeypatch.syspath_prepend(tmp_path)
    run = train(data, tmp_path / "run", {"method.name": "outside_method:Mine"})
    assert run.manifest["method_options"] == {"rule": "Rule"}


def test_the_manifest_has_the_batch(data, tmp_path):
    sizes = {
        name: train(data, tmp_path / name, {"method.name": name}).manifest["batch"] for name in ("bcp", "upc")
    }
    assert sizes == {"bcp": {"labeled": 2, "unlabeled": 2}, "upc": {"labeled": 1, "unlabeled": 1}}


def test_the_manifest_has_the_weights_of_accepted_labels(tmp_path):
    data = make_dataset(tmp_path, labeled=3)
    told = [
        {"case": case, "event": "label", "version": n, "source": source}
        for case, n, source in (
            ("case_00", 1, "accepted"),
            ("case_01", 1, "accepted"),
            ("case_01", 2, "drawn"),
        )
    ]
    (data / "labels.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in told))
    run = train(data, tmp_path / "run", {"data.accepted": 0.5})
    assert run.manifest["weights"] == {"case_00": 0.5}
    assert run.split["weights"] == {"case_00": 0.5}
    assert run.manifest["split_sha256"] != Dataset.open(data).split().sha256()


@pytest.mark.parametrize("channels", [1, 2])
def test_validation_list_chooses_the_best(channels, tmp_path):
    folder = with_validation(make_dataset(tmp_path, channels=channels, classes=3, unlabeled=1, test=0))
    flags = {"train.iterations": 4, "validation.every": 1, "train.ema": 0.5, "inference.mirror": True}
    flags["augment.options.mirror"] = [1]
    run = train(folder, tmp_path / "run", flags)
    assert run.manifest["selection"] == "best-val"
    assert run.config.select == "best-val"
    scores = [float(row["val/dice"]) for row in run.metrics if row["event"] == "validated"]
    assert len(scores) == 4
    best = checkpoint.load(run.folder / "checkpoints" / "best.ckpt", checkpoint.MODEL)
    assert best["score"] == max(scores)
    assert best["step"] == scores.index(max(scores)) + 1
    assert best["in_channels"] == channels
    assert best["mirrored"] == list(run.model("cpu").members[0].mirrored) == [1]
    assert equal(best["predictor"], weights(run))
    for name in ("case_02.nii.gz", "summary.json", "metrics.csv"):
        assert (run.folder / "validation" / name).is_file()
    summary = json.loads((run.folder / "validation" / "summary.json").read_text())
    assert summary["foreground_mean"]["Dice"] == pytest.approx(max(scores), abs=1e-6)


def test_last_is_exported_when_asked_for_or_when_nothing_else_can_be(tmp_path):
    folder = with_validation(make_dataset(tmp_path, unlabeled=1, test=0))
    run = train(folder, tmp_path / "run", {"select": "last", "validation.every": 1})
    assert equal(
        weights(run), checkpoint.load(run.folder / "checkpoints/last.ckpt", checkpoint.STATE)["predictor"]
    )
    (folder / "splits.json").unlink()
    run = train(folder, tmp_path / "none", {"select": "best-val"})
    assert run.manifest["selection"] == "last"
    assert "no validation list" in (run.folder / "events.jsonl").read_text()


@pytest.mark.parametrize("network", [{}, {"network.name": "unet2d"}], ids=["planned", "unet2d"])
def test_two_dimensions(network, tmp_path):
    folder = make_dataset(tmp_path, shape=(40, 36), labeled=2, unlabeled=2, test=0)
    run = train(folder, tmp_path / "run", {"plan.patch": (32, 32), "plan.dim": 2, **network})
    assert run.plan.dim == 2
    assert run.finished
    assert all(torch.isfinite(value.float()).all() for value in weights(run).values())


@pytest.mark.usefixtures("monai")
def test_a_network_of_monai(data, tmp_path):
    flags = {"network.name": "monai:SegResNet", "network.options": {"init_filters": 8, "blocks_down": [1, 1]}}
    flags["network.options"]["blocks_up"] = [1]
    run = train(data, tmp_path / "run", {"method.name": "supervised", "train.iterations": 1, **flags})
    assert run.finished


def test_the_left_atrium_protocol_on_small_patches(data, tmp_path):
    flags = {"plan.features": None, "train.iterations": 2, "inference.stride": (8, 8, 4)}
    run = train(data, tmp_path / "run", flags, recipe="la")
    assert run.manifest["protocol"] == "paper"
    _, form, split, changed = run.manifest["deviations"]
    assert form.startswith("the published scans are cropped around the ground truth")
    assert split.startswith("split is not the published one")
    assert changed.startswith("set otherwise than in recipe la: ")
    assert "train.iterations 2 (6000)" in changed
    assert run.config.augment.name == "la"
    assert run.config.schedule.name == "step"
    assert run.folder.name == "run"


def test_the_manifest_lists_what_recipe_and_method_do_otherwise(data, tmp_path, caplog):
    flags = {"method.name": "ua_mt", "method.options.multiclass": "released", "train.iterations": 1}
    run = train(data, tmp_path / "run", flags | {"deviations": ["scans are cropped"]})
    ours, its = run.manifest["deviations"]
    assert ours == "scans are cropped"
    assert its.startswith("ua_mt: ")
    assert [record.message for record in caplog.records].count(its) == 1
    assert train(data, tmp_path / "plain", {"train.iterations": 1}).manifest["deviations"] == []


def test_another_network_than_the_recipe_s_does_not_get_its_options():
    assert resolve(recipe="la", environment={}).network.options
    assert resolve(recipe="la", flags={"network.name": "unet3d"}, environment={}).network.options == {}
    kept = resolve(
        recipe="la", flags={"network.name": "vnet", "network.options.norm": "group"}, environment={}
    )
    assert len(kept.network.options) == 2


def test_same_seed_is_bit_equal_and_another_is_not(data, tmp_path):
    runs = [train(data, tmp_path / f"run{i}", {"train.seed": seed}) for i, seed in enumerate((3, 3, 4))]
    assert equal(weights(runs[0]), weights(runs[1]))
    assert not equal(weights(runs[0]), weights(runs[2]))


def test_bf16_trains(data, tmp_path):
    run = train(data, tmp_path / "run", {"train.precision": "bf16"})
    assert run.manifest["precision"] == "bf16"
    assert all(value.dtype != torch.bfloat16 for value in weights(run).values())
    assert all(torch.isfinite(value.float()).all() for value in weights(run).values())


def test_averaged_weights_are_exported(data, tmp_path):
    run = train(data, tmp_path / "run", {"method.name": "supervised", "train.ema": 0.9})
    state = checkpoint.load(run.folder / "checkpoints" / "last.ckpt", checkpoint.STATE)
    assert equal(weights(run), state["average"])
    student = {k.removeprefix("net."): v for k, v in state["method"].items() if k.startswith("net.")}
    assert not equal(weights(run), student)


def test_dry_run_writes_no_run(data, tmp_path):
    run = train(data, tmp_path / "run", dry_run=True)
    assert run.folder == tmp_path / "run"
    assert not run.folder.exists()


def test_an_option_that_is_wrong_is_told_before_any_scan_is_opened(data, tmp_path, monkeypatch):
    run = train(data, tmp_path / "run")
    before = weights(run)
    monkeypatch.setattr(single, "prepare", lambda *_, **__: pytest.fail("scans were opened"))
    for wrong, says in (
        ({"network.name": "unett"}, "'unet'"),
        ({"method.options": {"wieght": 1.0}}, "'weight'"),
        ({"augment.options": {"rotat": 1.0}}, "'rotate'"),
        ({"augment.name": "acdcc"}, "'acdc'"),
    ):
        with pytest.raises(UsageError, match=says):
            train(data, run.folder, wrong, overwrite=True)
    assert equal(before, weights(run))


@pytest.mark.parametrize("place", ["training.single.Session", "training.loop.Loop.run"])
def test_out_of_memory_is_one_line_from_python_too(place, data, tmp_path, monkeypatch):
    def full(*_, **__):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes")

    monkeypatch.setattr(f"semiseg.{place}", full)
    with pytest.raises(DeviceError, match=r"^out of memory on cpu (before the first|at) iteration") as caught:
        train(data, tmp_path / "run")
    assert "plan.patch" in caught.value.hint


def test_a_run_that_ran_out_of_time_has_a_model_and_trains_on(data, tmp_path):
    whole = train(data, tmp_path / "whole")
    short = train(data, tmp_path / "short", {"train.max_time": 1e-9})
    assert [s["step"] for s in short.manifest["sessions"]] == [1]
    assert weights(short)
    assert not short.finished
    longer = train(data, tmp_path / "short", resume=True)
    assert longer.finished
    assert equal(weights(longer), weights(whole))


def test_a_run_that_is_given_minutes_is_planned_for_them_and_resumed_as_planned(data, tmp_path):
    minutes = {"train.iterations": "auto", "train.max_time": 0.05}
    run = train(data, tmp_path / "run", minutes)
    planned = run.manifest["length"]
    assert planned["iterations"] == run.config.train.iterations
    expected = 60 * 0.05 * length.SHARE / planned["seconds_per_iteration"]
    assert planned["iterations"] == pytest.approx(expected, abs=1)
    assert "are planned for 0.05 min" in (run.folder / "events.jsonl").read_text()
    whole = train(data, tmp_path / "whole", {"train.iterations": planned["iterations"]})
    if run.finished:  # timing the first iterations leaves no trace in the weights
        assert equal(weights(run), weights(whole))
    resumed = train(data, run.folder, {"train.iterations": "auto"}, resume=True)
    assert resumed.finished
    assert resumed.config.train.iterations == planned["iterations"]
    assert equal(weights(resumed), weights(whole))


def test_time_for_validation_is_kept_free(tmp_path):
    folder = with_validation(make_dataset(tmp_path, unlabeled=1, test=0))
    run = train(folder, tmp_path / "run", {"train.iterations": "auto", "train.max_time": 0.05})
    assert run.manifest["length"]["other_seconds"] > 0


@pytest.mark.parametrize(("dim", "iterations"), [(2, 2), (3, 1)])
def test_the_length_that_nobody_names_is_that_of_the_plan(data, tmp_path, monkeypatch, dim, iterations):
    monkeypatch.setitem(AUTO_ITERATIONS, "cpu", {2: 2, 3: 1})
    flags = {"train.iterations": "auto", "plan.dim": dim, "plan.patch": (16,) * dim}
    run = train(data, tmp_path / "run", flags)
    assert run.plan.dim == dim
    assert run.config.train.iterations == iterations
    resumed = train(data, tmp_path / "run", flags, resume=True)
    assert resumed.config.train.iterations == iterations


def test_no_length_is_told_before_the_plan_says_which_one_it_is(data, tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(AUTO_ITERATIONS, "cpu", {2: 2, 3: 1})
    flags = {"train.iterations": "auto", "plan.dim": 2, "plan.patch": (16, 16), "plan.spacing": None}
    run = train(data, tmp_path / "run", {"plan.features": None, **flags}, recipe="acdc")
    assert run.config.train.iterations == 2
    assert any("train.iterations auto (30000)" in text for text in run.manifest["deviations"])
    assert "train.iterations 1 " not in caplog.text
