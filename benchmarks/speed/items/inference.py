"""Prediction of one left-atrium scan with the same windows: `Model.segment_prepared` beside a loop."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from benchmarks.speed import scans
from benchmarks.speed.items.step import our_session
from benchmarks.speed.limits import network_flops
from benchmarks.speed.plain import inference, networks
from benchmarks.speed.setting import Call, Case, Setting

from semiseg.inference.window import window_starts


def stride(setting: Setting) -> tuple[int, int, int]:
    """Half a window in plane, a quarter along the third axis: far fewer than the published 18 x 18 x 4."""
    a, b, c = setting.patch
    return a // 2, b // 2, c // 4


def cases(setting: Setting) -> list[Case]:
    image = scans.cases(setting, scans.LEFT_ATRIUM)[0][0]
    size = [max(n, p) for n, p in zip(image.shape, setting.patch, strict=True)]
    windows = len(window_starts(size, setting.patch, 0.5, stride(setting)))
    forward, _ = network_flops(networks.VNet(), (1, 1, *setting.patch))
    shape, patch = ("x".join(map(str, s)) for s in (image.shape, setting.patch))
    title = f"prediction of one scan of {shape}, {windows} windows of {patch}"
    plain_ones = {
        "left_atrium": ("", False),
        "with_graph": (", plain: with a graph, as three scripts have it", True),
    }
    return [
        Case(
            name=f"inference.{name}",
            title=title + more,
            plain=functools.partial(plain, setting, graph=graph),
            ours=functools.partial(ours, setting),
            agree=None if graph else functools.partial(agree, setting),
            flops=windows * forward,
            per=(1, "scan"),
            target=4.0,
            warm=0 if setting.device.type == "cpu" else 2,
            repeats=5,
        )
        for name, (more, graph) in plain_ones.items()
    ]


def plain(setting: Setting, *, graph: bool = False) -> Call:
    _, net = _both(setting, "auto")
    image = scans.cases(setting, scans.LEFT_ATRIUM)[0][0]
    return lambda: inference.predict(net, image, setting.patch, stride(setting), 2, graph=graph)


def ours(setting: Setting) -> Call:
    (model, case), _ = _both(setting, "auto")
    image = np.array(case.image)
    return lambda: model.segment_prepared(image, case.geometry)


def agree(setting: Setting) -> str:
    """Float32 labels must be the same but for ties; how many differ in the precision that is measured.

    A tie: the two largest probabilities are as near as the rounding of folded batch norms.
    """
    image = scans.cases(setting, scans.LEFT_ATRIUM)[0][0]
    _, net = _both(setting, "32")
    labels, scores = inference.predict(net, image, setting.patch, stride(setting), 2)
    second, first = np.sort(scores, axis=0)[-2:]
    clear = first - second > 1e-5
    said = []
    for precision, limit in (("32", 0.0), ("auto", 0.02)):
        (model, case), _ = _both(setting, precision)
        found = model.segment_prepared(np.array(case.image), case.geometry).labels
        share = float(((found != labels) & clear).mean())
        if share > limit:
            raise SystemExit(f"inference in {model.precision}: {share:.2%} of the labels differ")
        said.append(f"{model.precision}: {share:.4%}")
    return "labels that differ, with random weights, " + "; ".join(said)


def _both(setting: Setting, precision: str) -> tuple[tuple[Any, Any], torch.nn.Module]:
    """Our model as `semiseg predict` loads it, with a stored scan; and the plain network, same weights."""
    from semiseg.networks import checkpoint
    from semiseg.prediction.model import Model

    path = setting.work / "final.ckpt"
    session = our_session(setting, "3d", "supervised", ["train.precision=32"])
    if not path.is_file():
        checkpoint.save(path, session.loop().model())
    overrides = {"stride": list(stride(setting)), "weighting": "uniform"}
    model = Model.load(path, setting.device, overrides=overrides, precision=precision)
    net = networks.VNet()
    networks.copy_weights(net, session.method.net)
    net = net.to(setting.device).eval()
    return (model, session.prepared.labeled[0]), net
