"""A MONAI bundle: the network as TorchScript, its weights, what it says of itself, and how it is run."""

from __future__ import annotations

import hashlib
import io
import json
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from semiseg.delivery.graph import script
from semiseg.delivery.monai_transforms import PICTURES, inferer, is_flat, postprocessing, preprocessing
from semiseg.delivery.zipped import add
from semiseg.errors import UsageError
from semiseg.machine.files import write_json, write_text
from semiseg.prediction.members import Member
from semiseg.prediction.model import Model
from semiseg.preparation.plan import Plan

SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
)
"""What ``monai.bundle verify_metadata`` compares with; it is fetched by MONAI, never here."""


WHERE = (
    "$next((p for p in sys.path[1:] if os.path.isfile(os.path.join(p, 'models', 'model.ts'))), os.getcwd())"
)
"""MONAI puts the folder of a bundle that it runs on Python's path; other commands look where they are."""


def write(
    folder: Path, members: Sequence[Member], mirror: Sequence[int], described: Mapping[str, Any]
) -> dict[str, Any]:
    """Write ``models/model.ts``, the network, and ``models/model.pt``, its weights; for ``model.json``.

    The network has the mean of its members' probabilities, and of views mirrored along the axes ``mirror`` of
    the patch. ``described`` is the content of ``metadata.json``, which MONAI also looks for inside of
    ``model.ts``.
    """
    models = folder / "models"
    models.mkdir()
    made = script(members, mirror)
    torch.save(made.state_dict(), models / "model.pt")
    with zipfile.ZipFile(models / "model.ts", "w") as archive:
        for name, content in _records(made, json.dumps(described)):
            add(archive, name, content)
    digests = [hashlib.sha256((models / name).read_bytes()).hexdigest() for name in ("model.ts", "model.pt")]
    return {
        "file": "models/model.ts",
        "sha256": digests[0],
        "weights": {"file": "models/model.pt", "sha256": digests[1]},
        "precision": "32",
        "torch": str(torch.__version__),
    }


def _records(made: Any, described: str) -> Iterator[tuple[str, bytes]]:
    """The records of a TorchScript archive, but for the example and for where code lies on this machine."""
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is old
        torch.jit.save(made, stream, _extra_files={"metadata.json": described})
    with zipfile.ZipFile(stream) as archive:
        for name in archive.namelist():
            if not name.endswith(".debug_pkl") and "traced_inputs" not in name:
                yield name, archive.read(name)


def require_possible(model: Model) -> None:
    """Refuse what MONAI's transforms cannot say: other inputs, other post-processing (UsageError)."""
    settings, what = model.settings, ""
    if len(model.groups()) > 1:
        what = "networks that see different inputs (normalization, patch or mirrored axes)"
    elif settings.minimum_mm3:
        what = "inference.minimum_mm3"
    elif settings.slice_size is not None:
        what = "inference.slice_size"
    elif model.plan.regions and (settings.fill_holes or settings.largest_component):
        what = "post-processing of overlapping regions"
    if what:
        raise UsageError(
            f"a MONAI bundle cannot have {what}",
            hint="use --to onnx, whose runner does it, or --to zip",
            code="NOT_IN_A_BUNDLE",
        )


def write_configs(
    folder: Path, described: Mapping[str, Any], document: Mapping[str, Any], card: str, plan: Plan
) -> None:
    """Write ``configs/metadata.json`` (``described``), ``configs/inference.json`` and ``docs``.

    ``document`` is the content of ``model.json``, ``card`` the model card.
    """
    write_json(folder / "configs" / "metadata.json", described)
    write_json(folder / "configs" / "inference.json", inference(document, plan, described["data_type"]))
    data: Mapping[str, Any] = document["about"][0].get("data") or {}
    write_text(folder / "docs" / "README.md", card)
    write_text(folder / "docs" / "data_license.txt", f"{data.get('license', 'not recorded')}\n")


def metadata(document: Mapping[str, Any]) -> dict[str, Any]:
    """What the bundle says of itself, by MONAI's bundle specification; of ``model.json``."""
    data: Mapping[str, Any] = document["about"][0].get("data") or {}
    (network,) = document["networks"]
    classes = ", ".join(document["structures"])
    modality = document["channels"][0] if len(document["channels"]) == 1 else "n/a"
    common = {"type": "image", "dtype": "float32", "spatial_shape": network["patch"], "is_patch_data": True}
    image = {
        **common,
        "format": "hounsfield" if network["normalization"][0]["scheme"] == "ct" else "magnitude",
        "modality": modality,
        "num_channels": len(document["channels"]),
        "value_range": [],
        "channel_def": {str(k): name for k, name in enumerate(document["channels"])},
    }
    prediction = {
        **common,
        "format": "classes" if document["painted"] else "labels",
        "num_channels": len(document["outputs"]),
        "value_range": [0, 1],
        "channel_def": {str(k): name for k, name in enumerate(document["outputs"])},
    }
    packages = {"nibabel": "5.2.0", "pytorch-ignite": "0.4.11", "scipy": "1.11.0"}
    return {
        "schema": SCHEMA,
        "version": "1.0.0",
        "changelog": {"1.0.0": "exported"},
        "monai_version": _installed("monai", "1.4.0"),
        "pytorch_version": str(torch.__version__).partition("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": packages,
        "name": f"Segmentation of {classes}",
        "task": f"Segmentation of {classes}",
        "description": f"{document['dim']}D network with the preparation of its training, see docs/README.md",
        "authors": "not recorded",
        "copyright": "not recorded",
        "data_source": str(data.get("reference") or "not recorded"),
        "data_type": str(data.get("file_ending") or ".nii.gz"),
        "intended_use": "research; not a medical device",
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": prediction}},
    }


def inference(document: Mapping[str, Any], plan: Plan, ending: str) -> dict[str, Any]:
    """``python -m monai.bundle run`` on a folder of scans."""
    network, flat = document["networks"][0], is_flat(plan, ending)
    separate = len(document["channels"]) > 1 and ending not in PICTURES
    pattern = f"/*_0000{ending}" if separate else f"/*{ending}"
    channels = [f"_{c:04d}{ending}" for c in range(len(plan.channels))]
    files = f"[f[:-{len(channels[0])}] + end for end in {channels}]" if separate else "f"
    return {
        "imports": [
            "$import functools",
            "$import glob",
            "$import monai",
            "$import numpy as np",
            "$import os",
            "$import sys",
            "$import torch",
        ],
        "bundle_root": WHERE,
        "ckpt_path": "$@bundle_root + '/models/model.pt'",
        "dataset_dir": "$@bundle_root + '/scans'",
        "output_dir": "$@bundle_root + '/labels'",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "data": f"$[{{'image': {files}}} for f in sorted(glob.glob(@dataset_dir + '{pattern}'))]",
        "network_def": {
            "_target_": "torch.jit.load",
            "f": "$@bundle_root + '/models/model.ts'",
            "map_location": "cpu",
        },
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": preprocessing(plan, ending, flat=flat)},
        "dataset": {"_target_": "Dataset", "data": "@data", "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "inferer": inferer(document, network, flat=flat),
        "postprocessing": {"_target_": "Compose", "transforms": postprocessing(document, ending)},
        "handlers": [
            {"_target_": "CheckpointLoader", "load_path": "@ckpt_path", "load_dict": {"model": "@network"}}
        ],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
        },
        "run": ["$@evaluator.run()"],
    }


def _installed(package: str, otherwise: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return otherwise
