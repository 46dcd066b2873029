"""ONNX and its runner, PyTorch programs and MONAI bundles: what leaves says what `semiseg predict` says."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image
from tests.delivery.ground import SECRETS, make_full_run
from tests.delivery.monai_schema import SCHEMA
from tests.factories import make_dataset
from tests.trained import Thresholds, make_plan

import semiseg
from semiseg.cli import main
from semiseg.delivery import run_onnx
from semiseg.delivery.bundle import inference
from semiseg.delivery.graph import predictor, program
from semiseg.errors import SemisegError, UsageError
from semiseg.images.grid import Grid
from semiseg.prediction.members import Member
from semiseg.prediction.model import Model
from semiseg.preparation.plan import ChannelPlan, NetworkPlan, Plan

pytest.importorskip("onnxscript", reason='needs `pip install "semiseg[onnx]"`')
pytest.importorskip("onnxruntime", reason='needs `pip install "semiseg[onnx]"`')

OBLIQUE = np.array([[0, -0.8, 0.1, 5], [0.9, 0, 0, -7], [0, 0.1, 3.0, 2], [0, 0, 0, 1.0]])
CT = ChannelPlan(name="CT", scheme="ct", mean=40.0, std=60.0, p005=-100.0, p995=300.0, clip=(-200.0, 250.0))


def scan(shape: tuple[int, ...], channels: int = 1, classes: int = 3, seed: int = 0) -> np.ndarray:
    """Smooth blobs whose gray values are class numbers, in noise, with an empty border."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.standard_normal(shape), 2)
    image = (classes - 1) * (smooth - smooth.min()) / np.ptp(smooth)
    image = np.stack([image + 0.05 * rng.standard_normal(shape) for _ in range(channels)])
    image[:, :2] = image[:, :, -3:] = 0
    return image.astype(np.float32)


def regions(**other: Any) -> Plan:
    return make_plan(
        labels={"background": 0, "edema": 1, "core": 2},
        regions={"whole": (1, 2), "inner": (2,)},
        regions_class_order=(1, 2),
        **other,
    )


FLAT = make_plan(dim=2, axes=(2, 0, 1))
CASES: dict[str, tuple[Plan, tuple[int, ...], np.ndarray, dict[str, Any]]] = {
    "as it is": (make_plan(classes=3), (21, 17, 19), OBLIQUE, {}),
    "resampled, turned, two channels": (
        make_plan(classes=3, channels=2, spacing=(1.0, 1.0, 2.0), label_map={7: 2}),
        (21, 17, 9),
        OBLIQUE,
        {"overlap": 0.25, "mirror": True},
    ),
    "far slices grow nearest": (
        make_plan(classes=3, spacing=(1.0, 1.0, 3.0)),
        (20, 22, 7),
        np.diag([0.9, -1.1, 5.0, 1]),
        {"largest_component": True, "fill_holes": ["structure 1"], "minimum_mm3": 4.0},
    ),
    "cropped z-scores, shrunk": (
        make_plan(
            classes=2,
            channels=(
                ChannelPlan(name="T1", scheme="zscore"),
                ChannelPlan(name="b", scheme="rescale_to_0_1"),
            ),
            crop="nonzero",
            spacing=(1.5, 1.5, 1.5),
        ),
        (30, 31, 29),
        np.diag([-1, 1, 1, 1.0]),
        {"weighting": "uniform", "stride": (7, 8, 9)},
    ),
    "CT": (make_plan(classes=3, channels=(CT,)), (18, 20, 17), np.diag([1, 1, 1.2, 1]), {}),
    "slices": (make_plan(dim=2, classes=3, axes=(2, 0, 1)), (21, 17, 5), OBLIQUE, {"fill_holes": True}),
    "whole slices, resized": (
        make_plan(dim=2, classes=3, axes=(2, 0, 1), patch=(24, 16)),
        (21, 17, 5),
        OBLIQUE,
        {"slice_size": (24, 16)},
    ),
    "flat": (
        make_plan(dim=2, classes=3, axes=(2, 0, 1), orientation="native", spacing=(None, 0.9, 0.9)),
        (33, 21),
        np.eye(4),
        {},
    ),
    "regions": (regions(), (19, 18, 17), np.eye(4), {"largest_component": True, "fill_holes": True}),
}


class Surer(Thresholds):
    """Logits above 0 near the center of a region, as sigmoids want them."""

    def forward(self, x: torch.Tensor) -> Any:
        output = super().forward(x)
        return output._replace(logits=output.logits + 4)


def torch_run(model: Model) -> list[Callable[[np.ndarray], np.ndarray]]:
    """What the runner calls, without an exported file: the runner itself is on trial."""

    def of(members: list[Member]) -> Callable[[np.ndarray], np.ndarray]:
        def run(x: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                found = [
                    model.plan.head.probabilities(m.network(torch.from_numpy(x)).logits) for m in members
                ]
            return torch.stack(found).mean(0).numpy()

        return run

    return [of(group) for group in model.groups()]


@pytest.mark.parametrize("name", CASES)
def test_the_runner_says_what_the_model_says(name: str, tmp_path: Path) -> None:
    from semiseg.delivery.document import document

    plan, shape, affine, settings = CASES[name]
    network = (Surer if plan.regions else Thresholds)(plan.dim, len(plan.channels), plan.classes)
    member = Member(plan, network, mirrored=(0,))
    model = Model((member,)).with_settings(**settings)
    image = scan(shape, len(plan.channels), plan.classes)
    if name == "CT":
        image = image * 90 - 60
    wanted = model.segment(image, Grid(shape, affine)).labels
    told = json.loads(json.dumps(document("onnx", model, [], [{"file": "model.onnx"}])))
    found = run_onnx.segment(image, affine, told, torch_run(model))
    assert len(np.unique(wanted)) > 1
    assert found.dtype == wanted.dtype
    assert np.mean(found != wanted) <= 1e-4


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A dataset and a run of the default network, just begun."""
    folder = tmp_path_factory.mktemp("trained")
    data = make_dataset(folder, labeled=3, unlabeled=2, test=1, shape=(20, 22, 18), name="Dataset777_Clinic")
    settings = {"plan.patch": [16, 16, 16], "plan.features": [4, 8], "plan.batch": 2}
    where = {"run": folder / "run", "device": "cpu", "workers": 0}
    run = semiseg.train(data, method="mean_teacher", labeled=2, iterations=4, settings=settings, **where)
    return data, run.folder


def test_onnx_and_its_runner_as_programs(trained: tuple[Path, Path], tmp_path: Path) -> None:
    data, run = trained
    out = tmp_path / "out"
    assert main(["export", str(run), "-o", str(out), "--to", "onnx"]) == 0
    assert sorted(p.name for p in out.iterdir()) == ["MODEL.md", "model.json", "model.onnx", "run_onnx.py"]
    told = json.loads((out / "model.json").read_text())
    (network,) = told["networks"]
    assert (network["opset"], network["precision"], network["members"]) == (18, "32", 1)
    assert network["largest_difference"] < 1e-3
    assert_no_names(out, data)
    source = next((data / "imagesTs").iterdir())
    words = [sys.executable, str(out / "run_onnx.py"), str(source), str(tmp_path / "labels.nii.gz")]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    semiseg.predict(source, tmp_path / "wanted.nii.gz", run, device="cpu", precision="32")
    found, wanted = (nib.load(tmp_path / f"{name}.nii.gz") for name in ("labels", "wanted"))
    assert np.mean(np.asarray(found.dataobj) != np.asarray(wanted.dataobj)) <= 1e-4
    assert np.array_equal(found.affine, wanted.affine)
    (out / "model.onnx").write_bytes(b"x" + (out / "model.onnx").read_bytes()[1:])
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "is not the file that model.json describes" in done.stderr


def test_8_bits_are_calibrated_on_unlabeled_scans_and_measured(
    trained: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from semiseg.delivery import measured

    data, run = trained
    read: list[str] = []
    real = measured.load_case

    def load_case(case: Any, *more: Any) -> Any:
        read.append(case.id)
        return real(case, *more)

    monkeypatch.setattr(measured, "load_case", load_case)
    made = semiseg.export(run, tmp_path / "int8", int8=True, data=data)
    split = semiseg.load_run(run).split
    calibrated = read[: len(read) - 2 * len(split["labeled"])]
    assert set(calibrated) <= set(split["unlabeled"])
    assert calibrated
    told = made.document["measured"]
    assert (told["on"], told["cases"]) == ("labeled", 2)
    assert set(told["difference"]) == {"structure 1"}
    assert made.document["networks"][0]["precision"] == "int8"
    assert "Measured on 2 labeled cases" in (made.folder / "MODEL.md").read_text()
    others = {
        "has no case": make_dataset(tmp_path, labeled=1, name="Dataset002_Other"),
        "the model wants": make_dataset(tmp_path, labeled=1, name="Dataset003_Two", channels=2),
    }
    for said, other in others.items():
        with pytest.raises(SemisegError, match=said):
            semiseg.export(run, tmp_path / "other", int8=True, data=other)
        assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_16_bits_cost_next_to_nothing(trained: tuple[Path, Path], tmp_path: Path) -> None:
    data, run = trained
    whole = semiseg.export(run, tmp_path / "whole")
    half = semiseg.export(run, tmp_path / "half", half=True, data=data)
    assert abs(half.document["measured"]["difference"]["structure 1"]) < 0.02
    assert half.files["model.onnx"] < 0.7 * whole.files["model.onnx"]


def test_a_pytorch_program_and_a_bundle_hold_the_mean_of_all_networks(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    data, run = trained
    again = semiseg.export(run, tmp_path / "zip", to="zip").folder / "model.zip"
    made = semiseg.export([run, again], tmp_path / "torch", to="torch")
    (network,) = made.document["networks"]
    assert network["members"] == 2
    x = torch.randn(3, 1, 16, 16, 16)
    found = torch.export.load(made.folder / "model.pt2").module()(x)
    member = Model.load(run, "cpu", precision="32").members[0]
    with torch.inference_mode():
        wanted = member.network.eval()(x).logits.softmax(1)
    assert torch.allclose(found, wanted, atol=1e-4)
    bundle = semiseg.export(run, tmp_path / "bundle", to="monai", overrides={"mirror": True}).folder
    script = torch.jit.load(bundle / "models" / "model.ts")
    mirrored = script(x)
    both = predictor([member], member.mirrored)(x)
    assert torch.allclose(mirrored, both, atol=1e-5)
    assert member.mirrored == () or not torch.allclose(mirrored, wanted, atol=1e-6)
    stored = torch.load(bundle / "models" / "model.pt", weights_only=True)
    assert all(torch.equal(value, stored[key]) for key, value in script.state_dict().items())
    assert_no_names(bundle, data)
    with zipfile.ZipFile(bundle / "models" / "model.ts") as archive:  # packed or not
        texts = b"".join(archive.read(name) for name in archive.namelist())
    assert [
        place for place in (str(data.parent), str(Path(semiseg.__file__).parent)) if place.encode() in texts
    ] == []


def test_the_commands_of_monai_take_a_bundle(
    trained: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, monai: None
) -> None:
    from monai import bundle as commands

    pytest.importorskip("jsonschema")
    folder = semiseg.export(trained[1], tmp_path / "heart", to="monai").folder
    configs = {name: str(folder / "configs" / f"{name}.json") for name in ("metadata", "inference")}
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps(SCHEMA))
    commands.verify_metadata(configs["metadata"], filepath=schema)
    where = {"bundle_dir": tmp_path, "source": "github", "device": "cpu"}
    monkeypatch.chdir(folder)
    network = commands.load("heart", workflow_type="inference", **where)
    monkeypatch.undo()
    script, described, _ = commands.load("heart", load_ts_module=True, **where)
    assert described == json.loads((folder / "configs" / "metadata.json").read_text())
    made = tmp_path / "made.ts"
    root = {"bundle_root": str(folder), "meta_file": configs["metadata"], "config_file": configs["inference"]}
    commands.ckpt_export("network_def", filepath=str(made), **root)
    commands.verify_net_in_out("network_def", device="cpu", **root)
    x = torch.randn(2, 1, 16, 16, 16)
    wanted = Model.load(trained[1], "cpu", precision="32").members[0].network.eval()(x).logits.softmax(1)
    for one in (network, script, torch.jit.load(made)):
        assert torch.allclose(one(x), wanted, atol=1e-4)


def assert_no_names(folder: Path, data: Path) -> None:
    """Nothing in any file tells of a case, of the dataset or of where it lies."""
    secrets = [text.encode() for text in (*SECRETS, "case_0", "un_0", str(data.parent))]
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert [(f.name, s) for f in files for s in secrets if s in f.read_bytes()] == []


def test_a_bundle_has_the_plan_as_transforms_of_monai(monai: None) -> None:
    """Every target exists, and takes the arguments that it is given."""
    from monai.bundle import ConfigParser

    from semiseg.delivery.document import document

    for name, (plan, *_, settings) in CASES.items():
        model = Model((Member(plan, Thresholds(plan.dim)),)).with_settings(**settings)
        told = document("monai", model, [], [{"file": "models/model.ts"}])
        if model.settings.slice_size is not None:
            continue  # refused
        for ending in (".nii.gz", ".png") if name == "flat" else (".nii.gz",):
            parser = ConfigParser(inference(told, plan, ending))
            for key in ("preprocessing", "inferer", "postprocessing"):
                assert parser.get_parsed_content(key) is not None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"half": True, "int8": True}, "exclude each other"),
        ({"int8": True}, "needs data"),
        ({"data": "x"}, "data is for half and int8"),
        ({"half": True, "to": "torch"}, "half is for onnx, not for torch"),
        ({"overrides": {"slice_size": None, "stride": [99, 1, 1]}}, "leaves gaps"),
        ({"to": "monai", "overrides": {"minimum_mm3": 3.0}}, "cannot have inference.minimum_mm3"),
        ({"overrides": {"overlaps": 1}}, "overlaps"),
        ({"plan": FLAT, "overrides": {"slice_size": [32, 32]}}, "is not the network's patch"),
        ({"plan": FLAT, "to": "monai", "overrides": {"slice_size": [16, 16]}}, "cannot have inference"),
    ],
)
def test_what_cannot_be_exported_is_told_before_anything_is_written(
    options: dict[str, Any], said: str, tmp_path: Path
) -> None:
    run = make_full_run(tmp_path / "run", options.get("plan"))
    given = {key: value for key, value in options.items() if key != "plan"}
    with pytest.raises(UsageError, match=said):
        semiseg.export(run, tmp_path / "out", **given)
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_a_missing_extra_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="export --to onnx needs onnx") as found:
        semiseg.export(make_full_run(tmp_path / "run"), tmp_path / "out")
    assert found.value.hint == 'pip install "semiseg[onnx]"'


def test_a_network_that_cannot_be_exported_is_told(tmp_path: Path) -> None:
    class Odd(Thresholds):
        def forward(self, x: torch.Tensor) -> Any:
            return super().forward(x + float(x.sum()))  # a number of Python, which no graph has

    plan = make_plan(network=NetworkPlan(name="odd"))
    with pytest.raises(UsageError, match="cannot be exported"):
        program([Member(plan, Odd(), {"network": "odd"})])


BAD = {
    "channels": (
        lambda p: [nifti(p / "a.nii.gz", np.zeros((9, 9, 9, 2), np.float32))],
        "channels: got 2, the model wants 1",
    ),
    "spacing": (
        lambda p: [nifti(p / "a.nii.gz", np.zeros((9, 9, 9), np.float32), np.diag([1, 0, 1, 1.0]))],
        "no voxel size can be read",
    ),
    "not finite": (
        lambda p: [nifti(p / "a.nii.gz", np.full((9, 9, 9), np.nan, np.float32))],
        "NaN or infinite",
    ),
    "grids": (
        lambda p: [nifti(p / f"{k}.nii.gz", np.zeros((9, 9, 9 + k), np.float32)) for k in (0, 1)],
        "does not lie on the grid",
    ),
    "flat": (lambda p: [picture(p / "a.png")], "a 2D image of 9 x 8 pixels, the model is 3D"),
    "huge": (
        lambda p: [nifti(p / "a.nii.gz", np.zeros((9, 9, 9), np.float32), np.diag([300, 300, 300, 1.0]))],
        r"\[2700, 2700, 2700\] voxels at the model's spacing",
    ),
}


def nifti(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
    image = nib.Nifti1Image(array, np.eye(4))
    if affine is not None:
        image.header.set_sform(affine, 1)
        image = nib.Nifti1Image(array, None, image.header)
    nib.save(image, path)
    return path


def picture(path: Path) -> Path:
    Image.fromarray(np.zeros((9, 8), np.uint8)).save(path)
    return path


@pytest.mark.parametrize("name", BAD)
def test_the_runner_refuses_bad_scans_in_a_line(name: str, tmp_path: Path) -> None:
    from semiseg.delivery.document import document

    make, said = BAD[name]
    plan = make_plan(spacing=(1.0, 1.0, 1.0))
    told = document("onnx", Model((Member(plan, Thresholds()),)), [], [{"file": "model.onnx"}])
    paths = make(tmp_path)

    def run() -> None:
        image, affine, _ = run_onnx.load(paths, 1, None)
        run_onnx.segment(image, affine, told, [lambda x: x])

    with pytest.raises(SystemExit, match=said) as found:
        run()
    assert str(found.value.code).startswith("error: ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing.nii.gz", "out.nii.gz"], "FileNotFoundError"),
        (["notes.txt", "out.nii.gz"], "ImageFileError"),
        (["cut.nii.gz", "out.nii.gz"], "EOFError"),
        (["notes.txt", "out.nii.gz", "--model", "nowhere"], "FileNotFoundError"),
    ],
)
def test_the_runner_as_a_program_ends_in_one_line(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from semiseg.delivery.document import document

    told = document("onnx", Model((Member(make_plan(), Thresholds()),)), [], [{"file": "model.onnx"}])
    (tmp_path / "model.json").write_text(json.dumps(told | {"networks": []}))
    (tmp_path / "notes.txt").write_text("x")
    whole = nifti(tmp_path / "whole.nii.gz", scan((9, 9, 9))[0]).read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        sys, "argv", ["run_onnx.py", *words, *([] if "--model" in words else ["--model", "."])]
    )
    with pytest.raises(SystemExit, match=f"error: {said}: ") as found:
        runpy.run_path(run_onnx.__file__, run_name="__main__")
    assert "\n" not in str(found.value.code)
    assert not list(tmp_path.glob("*out*"))


def test_the_runner_warns_of_unusual_spacing_and_is_one_short_file(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = {
        "usual": {"size": [[8, 10]] * 3, "spacing": [[0.8, 1.2]] * 3},
        "dim": 3,
        "orientation": "RAS",
        "axes": [0, 1, 2],
    }
    run_onnx.lay_out((9, 9, 9), np.diag([1, 1, 5.0, 1]), told)
    assert capsys.readouterr().err == "warning: spacing 5, usual is 0.8 to 1.2\n"
    text = Path(run_onnx.__file__).read_text()
    assert text.count("\n") < 250
    assert not any(f"import {name}" in text for name in ("torch", "semiseg"))


def test_the_runner_reads_and_writes_colors(tmp_path: Path) -> None:
    colors = np.random.default_rng(0).integers(0, 255, (12, 10, 3)).astype(np.uint8)
    Image.fromarray(colors).save(tmp_path / "a.png")
    image, affine, source = run_onnx.load([tmp_path / "a.png"], 3, [0.5, 0.25])
    assert np.array_equal(image, np.moveaxis(colors, -1, 0))
    assert np.linalg.norm(affine, axis=0)[:2].tolist() == [0.5, 0.25]
    run_onnx.write(tmp_path / "out.png", colors[..., 0] % 3, source)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out.png")), colors[..., 0] % 3)
    kind = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(colors.view(kind).reshape(12, 10, 1), np.eye(4)), tmp_path / "a.nii.gz")
    assert np.array_equal(run_onnx.load([tmp_path / "a.nii.gz"], 3, None)[0][..., 0], image)
