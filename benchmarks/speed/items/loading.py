"""Samples of a protocol, ready to train on: our batches beside a file opened for each sample."""

from __future__ import annotations

import functools

import numpy as np
from benchmarks.speed.items.step import our_session, plain_data
from benchmarks.speed.plain import loader
from benchmarks.speed.setting import Call, Case, Setting

SAMPLES = 24
"""Of one call."""


def cases(setting: Setting) -> list[Case]:
    return [_case(setting, "3d"), _case(setting, "2d")]


def _case(setting: Setting, dim: str) -> Case:
    name = "left_atrium" if dim == "3d" else "acdc"
    size = "x".join(map(str, setting.patch if dim == "3d" else setting.slices))
    return Case(
        name=f"loader.{name}",
        title=f"a sample of {size} with its label, {name.replace('_', ' ')}",
        plain=functools.partial(plain, setting, dim),
        ours=functools.partial(ours, setting, dim),
        per=(SAMPLES, "sample"),
        target=30.0 if dim == "3d" else None,
        warm=2,
        repeats=9,
    )


def plain(setting: Setting, dim: str) -> Call:
    """Batches of 4 (24 in 2D) from h5 files, in one process."""
    data = plain_data(setting, dim)
    size = 4 if dim == "3d" else 24
    rng = np.random.default_rng(0)

    def load() -> None:
        for _ in range(SAMPLES // size):
            loader.batch(data, list(rng.choice(len(data), size, replace=size > len(data))))

    return load


def ours(setting: Setting, dim: str) -> Call:
    """Batches of a supervised run, of which every sample has a label."""
    size = 4 if dim == "3d" else 24
    batches = our_session(setting, dim, "supervised", ["train.precision=32"]).batches
    done = iter(range(10**9))

    def load() -> None:
        for _ in range(SAMPLES // size):
            batches(next(done))

    return load
