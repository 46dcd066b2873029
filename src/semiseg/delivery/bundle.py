"""A MONAI bundle: the network as a PyTorch program, and the plan as MONAI's transforms.

Transforms of MONAI resample with other filters and lay windows out otherwise than this package does: label
maps differ along surfaces (measured by benchmarks/export.py). The graph, the order of steps, orientation,
normalization and what is averaged are the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from semiseg.delivery.graph import program
from semiseg.delivery.source import Source
from semiseg.errors import UsageError
from semiseg.images import picture
from semiseg.machine.files import write_json, write_text
from semiseg.prediction.members import Member
from semiseg.prediction.model import Model
from semiseg.preparation.plan import ChannelPlan, Plan

SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
)
"""What ``monai.bundle verify_metadata`` compares with; it is fetched by MONAI, never here."""

PICTURES = picture.ENDINGS
LABELS = [["L", "R"], ["P", "A"], ["I", "S"]]


def write(folder: Path, members: Sequence[Member], mirror: Sequence[int]) -> dict[str, Any]:
    """Write the network into ``models``.

    Args:
        folder: of the bundle.
        members: networks that see the same input; the program has the mean of their probabilities.
        mirror: axes of the patch along which views are averaged; the program does that, too.

    Returns:
        What ``model.json`` tells of the file.
    """
    path = folder / "models" / "model.pt2"
    path.parent.mkdir()
    torch.export.save(program(members, mirror), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"file": "models/model.pt2", "sha256": digest, "precision": "32", "torch": str(torch.__version__)}


def require_possible(model: Model) -> None:
    """Refuse what MONAI's transforms cannot say.

    Raises:
        UsageError: networks with different inputs, or post-processing of another kind.
    """
    settings, what = model.settings, ""
    if len(model.groups()) > 1:
        what = "networks that see different inputs (normalization, patch or mirrored axes)"
    elif settings.minimum_mm3:
        what = "inference.minimum_mm3"
    elif model.plan.regions and (settings.fill_holes or settings.largest_component):
        what = "post-processing of overlapping regions"
    if what:
        raise UsageError(
            f"a MONAI bundle cannot have {what}",
            hint="use --to onnx, whose runner does it, or --to zip",
            code="NOT_IN_A_BUNDLE",
        )


def write_configs(
    folder: Path, sources: Sequence[Source], document: Mapping[str, Any], card: str, plan: Plan
) -> None:
    """Write ``configs/metadata.json``, ``configs/inference.json`` and ``docs``.

    Args:
        folder: of the bundle.
        sources: where its networks came from.
        document: the content of ``model.json``.
        card: the model card.
        plan: of the networks.
    """
    data: Mapping[str, Any] = sources[0].about.get("data") or {}
    write_json(folder / "configs" / "metadata.json", metadata(document, data))
    ending = str(data.get("file_ending") or ".nii.gz")
    write_json(folder / "configs" / "inference.json", inference(document, plan, ending))
    write_text(folder / "docs" / "README.md", card)
    write_text(folder / "docs" / "data_license.txt", f"{data.get('license', 'not recorded')}\n")


def metadata(document: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """What the bundle says of itself, by MONAI's bundle specification."""
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
        "optional_packages_version": {},
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
            "$import torch",
        ],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/scans'",
        "output_dir": "$@bundle_root + '/labels'",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "data": f"$[{{'image': {files}}} for f in sorted(glob.glob(@dataset_dir + '{pattern}'))]",
        "network_def": "$torch.export.unflatten(torch.export.load(@bundle_root + '/models/model.pt2'))",
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": preprocessing(plan, ending, flat=flat)},
        "dataset": {"_target_": "Dataset", "data": "@data", "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "inferer": inferer(document, network, flat=flat),
        "postprocessing": {"_target_": "Compose", "transforms": postprocessing(document, ending)},
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
        },
        "run": ["$@evaluator.run()"],
    }


def is_flat(plan: Plan, ending: str) -> bool:
    """Whether scans are single pictures, which have two axes."""
    if plan.seen is not None:
        return len(plan.seen.size) == 2
    return ending in PICTURES


def preprocessing(plan: Plan, ending: str, *, flat: bool) -> list[dict[str, Any]]:
    """The way of a scan to the network: turn, crop, normalize at its own resolution, resample."""
    load: dict[str, Any] = {"_target_": "LoadImaged", "keys": "image"}
    if ending in PICTURES:  # rows first, as the network saw them
        load["reader"] = "$monai.data.PILReader(reverse_indexing=False)"
    channel = {"channel_dim": -1 if len(plan.channels) > 1 else "no_channel"} if ending in PICTURES else {}
    steps = [load, {"_target_": "EnsureChannelFirstd", "keys": "image", **channel}]
    if not flat and plan.orientation == "RAS":
        codes = "".join("RAS"[axis] for axis in plan.axes)
        steps.append({"_target_": "Orientationd", "keys": "image", "axcodes": codes, "labels": LABELS})
    if plan.crop == "nonzero":
        inside = "$lambda x: x != 0"
        steps.append(
            {"_target_": "CropForegroundd", "keys": "image", "source_key": "image", "select_fn": inside}
        )
    steps.append({"_target_": "CastToTyped", "keys": "image", "dtype": "$np.float32"})
    steps += normalization(plan)
    spacing = [-1 if mm is None else mm for mm in plan.spacing[1 if flat else 0 :]]
    if any(mm > 0 for mm in spacing):
        steps.append(
            {
                "_target_": "Spacingd",
                "keys": "image",
                "pixdim": spacing,
                "mode": 3,
                "padding_mode": "nearest",
                "scale_extent": True,
            }
        )
    steps.append({"_target_": "CastToTyped", "keys": "image", "dtype": "$np.float32"})
    return steps


def normalization(plan: Plan) -> list[dict[str, Any]]:
    """One list of transforms for all channels where they are alike, else one for each."""
    cropped = plan.crop == "nonzero"
    kinds = {tuple(channel.model_dump(exclude={"name"}).items()) for channel in plan.channels}
    if len(kinds) == 1:
        return _of_channel(plan.channels[0], "image", cropped)
    keys = [f"image_{k}" for k in range(len(plan.channels))]
    postfixes = [str(k) for k in range(len(plan.channels))]
    split = {"_target_": "SplitDimd", "keys": "image", "dim": 0, "output_postfixes": postfixes}
    each = [step for key, c in zip(keys, plan.channels, strict=True) for step in _of_channel(c, key, cropped)]
    return [split, *each, {"_target_": "ConcatItemsd", "keys": keys, "name": "image"}]


def _of_channel(channel: ChannelPlan, key: str, cropped: bool) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = []

    def ranged(low: float, high: float, to: tuple[float, float], *, clip: bool) -> None:
        ends = {"a_min": low, "a_max": high, "b_min": to[0], "b_max": to[1]}
        steps.append({"_target_": "ScaleIntensityRanged", "keys": key, **ends, "clip": clip})

    if channel.clip is not None:
        ranged(*channel.clip, channel.clip, clip=True)
    if channel.scheme == "zscore":
        how = {"nonzero": cropped, "channel_wise": True}
        steps.append({"_target_": "NormalizeIntensityd", "keys": key, **how})
    elif channel.scheme == "ct":
        std = max(channel.std, 1e-8)
        ends = ((channel.p005 - channel.mean) / std, (channel.p995 - channel.mean) / std)
        ranged(channel.p005, channel.p995, ends, clip=True)
    elif channel.scheme == "rescale_to_0_1":
        steps.append(
            {"_target_": "ScaleIntensityd", "keys": key, "minv": 0.0, "maxv": 1.0, "channel_wise": True}
        )
    elif channel.scheme == "rgb_to_0_1":
        ranged(0.0, 255.0, (0.0, 1.0), clip=False)
    return steps


def inferer(document: Mapping[str, Any], network: Mapping[str, Any], *, flat: bool) -> dict[str, Any]:
    """Windows of the patch; of volumes under a 2D plan slice by slice along the first axis."""
    pairs = zip(network["step"], network["patch"], strict=True)
    overlap = [max(0.0, 1 - (step + 1e-6) / edge) for step, edge in pairs]
    sliced = document["dim"] == 2 and not flat
    mode = "gaussian" if document["prediction"]["weighting"] == "gaussian" else "constant"
    return {
        "_target_": "SliceInferer" if sliced else "SlidingWindowInferer",
        "roi_size": network["patch"],
        "overlap": [0.0, *overlap] if sliced else overlap,
        "mode": mode,
        "sw_batch_size": 1,
        **({"spatial_dim": 0} if sliced else {}),
    }


def postprocessing(document: Mapping[str, Any], ending: str) -> list[dict[str, Any]]:
    """Probabilities back on the scan's voxels, then the values of a label map, cleaned and written."""
    how, values = document["prediction"], list(document["labels"].values())
    if document["painted"]:
        pairs = list(enumerate(document["painted"]))
        paint = (
            "lambda done, one: torch.where(p[one[0]:one[0] + 1] > 0.5, torch.full_like(done, one[1]), done)"
        )
        start = f"torch.full_like(p[:1], {document['background']})"
        decide = f"$lambda p: functools.reduce({paint}, {pairs}, {start})"
    else:
        decide = f"$lambda p: torch.tensor({values}, device=p.device)[p.argmax(0, keepdim=True)]"
    back = {"transform": "@preprocessing", "orig_keys": "image", "nearest_interp": False, "to_tensor": True}
    steps: list[dict[str, Any]] = [
        {"_target_": "Invertd", "keys": "pred", **back},
        {"_target_": "Lambdad", "keys": "pred", "func": decide},
    ]
    for names, target in (
        (how["fill_holes"], "FillHolesd"),
        (how["largest_component"], "KeepLargestConnectedComponentd"),
    ):
        if names:
            chosen = [document["structures"][name]["value"] for name in names]
            steps.append({"_target_": target, "keys": "pred", "applied_labels": chosen})
    return [*steps, _save(f"np.{np.min_scalar_type(max(values)).name}", ending)]


def _save(kind: str, ending: str) -> dict[str, Any]:
    """Write ``CASE_0000_seg`` in the scan's own format; pictures with the axes that they were read with."""
    if ending not in PICTURES:
        where = {"output_dir": "@output_dir", "output_postfix": "seg", "separate_folder": False}
        return {
            "_target_": "SaveImaged",
            "keys": "pred",
            **where,
            "resample": False,
            "output_dtype": f"${kind}",
        }
    writer = (
        "monai.transforms.SaveImage(output_dir=@output_dir, output_postfix='seg', output_ext='.png', "
        f"writer='PILWriter', separate_folder=False, resample=False, output_dtype={kind})"
    )
    chosen = "set_options(write_kwargs={'reverse_indexing': False})"
    return {"_target_": "Lambdad", "keys": "pred", "func": f"${writer}.{chosen}"}


def _installed(package: str, otherwise: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return otherwise
