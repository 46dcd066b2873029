"""A plan as transforms of MONAI: the way of a scan to the network and of probabilities back to its voxels.

Transforms of MONAI resample with other filters and lay windows out otherwise than this package does: label
maps differ along surfaces (measured by benchmarks/export.py). The order of steps, orientation, normalization
and what is averaged are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from semiseg.images import picture
from semiseg.preparation.plan import ChannelPlan, Plan

PICTURES = picture.ENDINGS
LABELS = [["L", "R"], ["P", "A"], ["I", "S"]]


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
