"""Segment one scan with the model beside this file: `python run_onnx.py SCAN.nii.gz LABELS.nii.gz`.

Needs onnxruntime, numpy, nibabel, scipy; pillow for pictures. The reference of how model.json is read.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
import tempfile
from functools import lru_cache, reduce
from itertools import combinations, product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy import ndarray as Array
from scipy import ndimage, sparse


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("scan", type=Path, nargs="+", help="one file per channel, in the model's order")
    parser.add_argument("labels", type=Path, help="the label map to write")
    parser.add_argument("--model", type=Path, default=Path(__file__).parent, help="folder of model.json")
    parser.add_argument("--spacing", type=float, nargs=2, help="mm between rows, and columns, of a picture")
    given = parser.parse_args()
    document = json.loads((given.model / "model.json").read_text("utf-8"))
    if (document.get("schema"), document.get("version")) != ("semiseg-model", 1):
        sys.exit(f"error: {given.model}/model.json is not of the kind semiseg-model, version 1")
    runs = [session(given.model, one) for one in document["networks"]]
    image, affine, like = load(given.scan, len(document["channels"]), given.spacing)
    write(given.labels, segment(image, affine, document, runs), like)


def session(folder: Path, network: dict[str, Any]) -> Any:
    """A function from windows (B, C, *patch) to probabilities (B, K, *patch), both float32."""
    import onnxruntime

    content = (folder / network["file"]).read_bytes()
    if hashlib.sha256(content).hexdigest() != network["sha256"]:
        sys.exit(f"error: {folder / network['file']} is not the file that model.json describes")
    model = onnxruntime.InferenceSession(content, providers=onnxruntime.get_available_providers())
    return lambda x: model.run(["probabilities"], {"image": x})[0]


def load(paths: list[Path], channels: int, spacing: list[float] | None) -> tuple[Array, Array, Any]:
    """(C, *S), the affine (4, 4) to RAS+ mm, and what labels are written like, see `write`."""
    found: list[tuple[Array, Array, Any]] = []
    for path in paths:
        if path.suffix.lower() in (".png", ".bmp", ".jpg", ".jpeg", ".webp", ".gif", ".pgm", ".ppm"):
            import PIL.Image

            picture = PIL.Image.open(path)
            array = np.asarray(picture.convert("RGB") if picture.mode in ("P", "RGBA") else picture)
            found.append((np.atleast_3d(array), np.diag([*(spacing or (1.0, 1.0)), 1.0, 1.0]), PIL.Image))
            continue
        file: Any = nib.load(path)
        array = np.asanyarray(file.dataobj).reshape([*file.shape[:3], *(n for n in file.shape[3:] if n > 1)])
        colors = [array[name] for name in array.dtype.names or ()]
        array = np.stack(colors or [array], -1) if array.ndim < 4 else array
        unit = {"meter": 1000.0, "micron": 0.001}.get(file.header.get_xyzt_units()[0], 1.0)
        found.append((array, np.diag([unit, unit, unit, 1.0]) @ file.affine, file))
    for path, (array, affine, _) in zip(paths, found):
        if array.shape[:-1] != found[0][0].shape[:-1] or not np.allclose(affine, found[0][1], atol=1e-3):
            sys.exit(f"error: {path} does not lie on the grid of {paths[0]}")
    image = np.moveaxis(np.concatenate([array for array, _, _ in found], -1), -1, 0)
    if channels == 1 and len(image) == 3 and (image == image[:1]).all():  # gray saved in color
        image = image[:1]
    if len(image) != channels:
        sys.exit(f"error: {paths[0]}: channels: got {len(image)}, the model wants {channels}")
    if not np.isfinite(image).all():
        sys.exit(f"error: {paths[0]} holds NaN or infinite values")
    return image, *found[0][1:]


def segment(image: Array, affine: Array, document: dict[str, Any], runs: list[Any]) -> Array:
    """The label map (*S) of an image (C, *S); ``runs`` has a function for each of document["networks"]."""
    order, flip, spacing = lay_out(image.shape[1:], affine, document)
    turned = [channel.reshape((*channel.shape, 1)[:3]).transpose(order)[flip] for channel in image]
    box, counted = tuple([slice(None)] * 3), None
    if document["crop"] == "nonzero":
        counted = np.any([channel != 0 for channel in turned], axis=0)
        box = (ndimage.find_objects(counted.astype(np.uint8)) or [box])[0]
        counted = counted[box]
    cropped, target, slices = turned[0][box].shape, document["spacing"], document["prediction"]["slice_size"]
    stored = [n if t is None else int(n * mm / t + 0.5) or 1 for n, mm, t in zip(cropped, spacing, target)]
    if math.prod(stored) > 2**31:
        sys.exit(f"error: {stored} voxels at the model's spacing; is the scan's own, {spacing} mm, right?")
    total = np.zeros((len(document["outputs"]), *stored), np.float32)
    for network, run in zip(document["networks"], runs):
        pairs = zip(turned, network["normalization"])
        x = np.stack([prepare(channel[box], how, stored, spacing, counted) for channel, how in pairs])
        whole = [1, 1, *np.divide(network["patch"], x.shape[2:])] if slices else []  # resized by picking
        found = windows(run, ndimage.zoom(x, whole, None, 0, "nearest") if whole else x, network, document)
        found = ndimage.zoom(found, np.divide(1, whole), None, 0, "nearest") if whole else found
        total += found * np.float32(network["members"])
    total /= np.float32(sum(network["members"] for network in document["networks"]))
    scores = [resample(channel, cropped, ["linear"] * 3) for channel in total]
    values = list(document["labels"].values())
    labels = np.full(turned[0].shape, document["background"], np.min_scalar_type(max(values)))
    if document["painted"] is None:
        labels[box] = np.array(values, labels.dtype)[np.argmax(scores, 0)]
    for score, value in zip(scores, document["painted"] or []):
        labels[box][score > 0.5] = value
    labels = labels[flip].transpose(np.argsort(order)).reshape(image.shape[1:])
    return clean(np.ascontiguousarray(labels), document, float(np.prod(spacing)))


def lay_out(shape: tuple[int, ...], affine: Array, document: dict[str, Any]) -> tuple[Any, Any, list[float]]:
    """Axis of the file for each axis that the network sees, how they are flipped, and mm along them."""
    mm = [*np.linalg.norm(affine[:3, : len(shape)], axis=0).tolist(), 1.0]
    if not np.isfinite(affine).all() or min(mm) <= 0:
        sys.exit(f"error: no voxel size can be read from the affine {affine.tolist()}")
    if len(shape) == 2 and document["dim"] == 3:
        sys.exit(f"error: a 2D image of {shape[0]} x {shape[1]} pixels, the model is 3D")
    found, volume = nib.io_orientation(affine), len(shape) == 3
    ras = [int(a) for a in np.argsort(found[:, 0])] if volume else [0, 1]
    for what, real in (("size", shape), ("spacing", mm)):
        for axis, (low, high) in zip(ras, (document["usual"] or {}).get(what, [])):
            if not low <= real[axis] <= high:
                print(f"warning: {what} {real[axis]:.4g}, usual is {low:.4g} to {high:.4g}", file=sys.stderr)
    turns = document["orientation"] == "RAS" and volume
    order = [ras[a] if turns else a for a in (document["axes"] if volume else (2, 0, 1))]
    flip = tuple(slice(None, None, -1 if turns and found[a, 1] < 0 else 1) for a in order)
    return order, flip, [mm[a] for a in order]


def prepare(channel: Array, how: dict[str, Any], stored: Any, spacing: list[float], counted: Any) -> Array:
    """One channel normalized at its own resolution, then resampled; a cubic filter's overshoot is cut off."""
    x = np.clip(np.array(channel, np.float32), *(how["clip"] or (None, None)))
    mean, std = 0.0, {"rgb_to_0_1": 255.0}.get(how["scheme"], 1.0)
    if how["scheme"] == "zscore":
        seen = x[counted] if counted is not None and counted.any() else np.ascontiguousarray(x)
        mean, std = seen.mean(dtype=np.float64), seen.std(dtype=np.float64)
    elif how["scheme"] == "ct":
        x, mean, std = np.clip(x, how["p005"], how["p995"]), how["mean"], how["std"]
    elif how["scheme"] == "rescale_to_0_1":
        mean, std = float(x.min()), float(x.max()) - float(x.min())
    x = (x - np.float32(mean)) / np.float32(std if std > 1e-8 else 1)
    if how["scheme"] == "zscore" and counted is not None:
        x[~counted] = 0
    far = [mm > 3 * max(spacing[:a] + spacing[a + 1 :]) for a, mm in enumerate(spacing)]  # slices far apart
    kernels = ["nearest" if far[a] and stored[a] > x.shape[a] else "cubic" for a in range(3)]
    return np.asarray(np.clip(resample(x, stored, kernels), x.min(), x.max()))


def resample(array: Array, shape: Any, kernels: list[str]) -> Array:
    """Separable resampling; the corners of both grids agree, and filters widen where voxels grow."""
    grows = np.divide(shape, array.shape)
    for a in sorted(np.flatnonzero(grows != 1), key=lambda axis: grows[axis]):
        rows = np.ascontiguousarray(np.moveaxis(array, a, 0), np.float32)
        mixed = axis_weights(len(rows), shape[a], kernels[a]) @ rows.reshape(len(rows), -1)
        array = np.moveaxis(mixed.reshape(-1, *rows.shape[1:]), 0, a)
    return np.ascontiguousarray(array, np.float32)


@lru_cache
def axis_weights(before: int, after: int, kernel: str) -> Any:
    """(after, before); each row sums to one, edges are repeated."""
    centers = (np.arange(after) + 0.5) * (before / after) - 0.5
    index, weight = np.floor(centers + 0.5)[:, None], np.ones((after, 1))
    if kernel != "nearest":
        stretch = max(before / after, 1.0)
        radius = stretch * (1 if kernel == "linear" else 2)
        index = np.floor(centers - radius)[:, None] + np.arange(1.0, np.ceil(2 * radius) + 2)
        x = np.abs(index - centers[:, None]) / stretch
        near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2  # Catmull-Rom
        weight = np.clip(1 - x, 0, None) if kernel == "linear" else np.where(x < 1, near, far * (x < 2))
        weight = weight / weight.sum(1, keepdims=True)
    columns = np.clip(index, 0, before - 1).ravel().astype(np.int64)
    rows = np.repeat(np.arange(after), index.shape[1])
    return sparse.coo_matrix((weight.ravel().astype(np.float32), (rows, columns)), (after, before)).tocsr()


def windows(run: Any, x: Array, network: dict[str, Any], document: dict[str, Any]) -> Array:
    """Probabilities (K, T0, T1, T2) of an input (C, T0, T1, T2): overlapping windows, averaged by weight."""
    how, flat = document["prediction"], [1] * (3 - document["dim"])
    patch = flat + network["patch"]
    missing = [max(p - n, 0) for p, n in zip(patch, x.shape[1:])]
    inside = [slice(m // 2, m // 2 + n) for m, n in zip(missing, x.shape[1:])]
    x = np.pad(x, [(0, 0), *((m // 2, m - m // 2) for m in missing)])
    axes = []
    for n, p, step in zip(x.shape[1:], patch, flat + network["step"]):
        last, count = n - p, math.ceil((n - p) / step)
        spread = [round(last * i / max(count, 1)) for i in range(count + 1)]
        axes.append(spread if how["spread"] else [min(step * i, last) for i in range(count + 1)])
    weights = [np.exp(-0.5 * ((np.arange(p) - (p - 1) / 2) / (p / 8)) ** 2) for p in patch]
    weights = [np.ones(p) for p in patch] if how["weighting"] == "uniform" else weights
    weight = reduce(np.multiply.outer, weights).astype(np.float32)
    mirrored = [a + 2 for a in network["mirrored"] if how["mirror"]]
    views = [v for n in range(len(mirrored) + 1) for v in combinations(mirrored, n)]
    total, received = (np.zeros((n, *x.shape[1:]), np.float32) for n in (len(document["outputs"]), 1))
    for start in product(*axes):
        place = (slice(None), *(slice(s, s + p) for s, p in zip(start, patch)))
        cut = x[place].reshape(1, len(x), *patch[len(flat) :])
        found = [np.flip(run(np.ascontiguousarray(np.flip(cut, view))), view) for view in views]
        total[place] += np.mean(found, 0).reshape(-1, *patch) * weight
        received[place] += weight
    return np.asarray((total / received)[(slice(None), *inside)])


def clean(labels: Array, document: dict[str, Any], voxel_mm3: float) -> Array:
    """Fill holes, keep the largest component, drop specks, where model.json asks for it."""
    how, painted, background = document["prediction"], document["painted"], document["background"]
    minimum = math.ceil(how["minimum_mm3"] / voxel_mm3 - 1e-9)
    if not how["fill_holes"] and not how["largest_component"] and minimum <= 1:
        return labels
    structures, parts, out = document["structures"], {}, np.full_like(labels, background)
    if not painted:
        out, boxes = labels.copy(), ndimage.find_objects(labels.astype(int) + 1)
        values = [structures[name]["value"] for name in how["fill_holes"]]
        for v in sorted((v for v in values if (out == v).any()), key=lambda v: -out[boxes[v]].size):
            out[ndimage.binary_fill_holes(labels == v) & (labels == background)] = v  # inner ones last
    for name, one in structures.items():
        mask = np.isin(labels, one["members"]) if painted else out == one["value"]
        for outer in one["within"]:  # a region loses what those around it have lost
            mask &= parts[outer]
        mask = ndimage.binary_fill_holes(mask) if painted and name in how["fill_holes"] else mask
        numbered, count = ndimage.label(mask, np.ones((3,) * mask.ndim))
        sizes = np.bincount(numbered[mask], minlength=count + 1)
        keep = sizes >= max(minimum, 1)
        if name in how["largest_component"]:
            keep &= np.arange(count + 1) == sizes.argmax()  # of equals the first
        parts[name] = keep[numbered]
        out[parts[name] if painted else mask & ~parts[name]] = one["value"] if painted else background
    return out


def write(path: Path, labels: Array, like: Any) -> None:
    """With the grid of the volume `like`, or as a picture by PIL.Image; whole or not at all."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / path.name
        if hasattr(like, "affine"):
            nib.Nifti1Image(labels, like.affine, like.header, dtype=labels.dtype).to_filename(made)
        else:
            like.fromarray(labels).save(made)
        made.replace(path)


if __name__ == "__main__":
    try:
        main()
    except (Exception, KeyboardInterrupt) as error:  # a file may be anything
        sys.exit(f"error: {type(error).__name__}: {error}")
