"""The networks that one training leaves, such as a large teacher and a small student, beside one another."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn

from semiseg.prediction.model import Model
from semiseg.preparation.prepare import Prepared
from semiseg.preparation.store import StoredCase
from semiseg.settings.config import Config
from semiseg.training.compiled import eager
from semiseg.training.validation import Validation

SCANS = 3
"""Predicted to take the time of."""


def side_by_side(
    networks: Mapping[str, nn.Module],
    prepared: Prepared,
    config: Config,
    precision: str,
    validation: Validation | None,
) -> dict[str, dict[str, Any]]:
    """Network -> parameters, Dice on the validation list (if there is one) and seconds of prediction per
    scan.

    The time is that of prepared scans of the training, without reading and writing.

    Args:
        networks: on their device.
        prepared: the run's data.
        config: sliding window and post-processing.
        precision: number format of the forward passes.
        validation: of the run.
    """
    cases = [*prepared.unlabeled, *prepared.labeled][:SCANS]
    found = {}
    for name, network in networks.items():
        model = Model.of(prepared.plan, [network], config.inference, precision=precision)
        found[name] = {
            "parameters": sum(p.numel() for p in network.parameters()),
            "dice": round(validation(network)["dice"], 4) if validation else None,
            "seconds_per_scan": round(_seconds(model, cases), 3),
        }
    return found


def in_words(name: str, values: Mapping[str, Any]) -> str:
    """One line on a network."""
    known = values["dice"] is not None
    dice = f"validation Dice {values['dice']:.3f}" if known else "no validation list for Dice"
    return f"{name}: {dice}, {values['seconds_per_scan']:g} s per scan, {values['parameters']:,} parameters"


def _seconds(model: Model, cases: Sequence[StoredCase]) -> float:
    """Mean over the scans; one more goes before, which makes the prediction copy."""
    first, *others = [(np.array(case.image), case.geometry) for case in cases]
    with eager():
        model.segment_prepared(*first)
        began = time.monotonic()
        for image, geometry in (first, *others):
            model.segment_prepared(image, geometry)
    return (time.monotonic() - began) / len(cases)
