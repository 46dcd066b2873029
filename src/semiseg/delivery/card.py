"""``MODEL.md``: what a person should know before using a model, from what its run recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from semiseg.errors import plural
from semiseg.images.grid import times

NOT_A_DEVICE = (
    "This is not a medical device. It has not been cleared or approved for diagnosis or treatment anywhere; "
    "a person who can judge the scan must look at every result."
)


def card(document: Mapping[str, Any]) -> str:
    """The card as Markdown.

    Args:
        document: the content of ``model.json``.
    """
    about: Sequence[Mapping[str, Any]] = document["about"]
    labels = document["structures"]
    title = " and ".join(dict.fromkeys(str(one.get("method", "?")) for one in about))
    count = "" if len(about) == 1 else f", an ensemble of {len(about)} networks"
    parts = [
        f"# Segmentation model: {', '.join(labels)}",
        f"Trained with {title}{count}, by semiseg {document['semiseg']}.",
        f"**{NOT_A_DEVICE}**",
        "## What it does",
        _bullets(_task(document)),
    ]
    for number, one in enumerate(about, 1):
        head = "Network" if len(about) == 1 else f"Network {number}"
        parts += [f"## {head}", _bullets(_network(one)), *_scores(one)]
    parts += _smaller(document.get("measured"))
    parts += [
        "## Intended use",
        "Research on scans like those it was trained on: same kind of scanner and sequence, same part of "
        "the body, similar voxel sizes. Scores hold for the cases they were measured on, and say nothing "
        "of other hospitals, scanners or diseases. Look at results before using them.",
        "## What is in the files",
        "Weights, the way a scan is prepared, statistics of gray values and voxel sizes over the training "
        "scans. No image, no name of a case or a patient, no path of the machine it was trained on.",
    ]
    return "\n\n".join(parts) + "\n"


def _task(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    target = " x ".join("own" if mm is None else f"{mm:g}" for mm in document["spacing"])
    networks = document["networks"]
    patches = " and ".join(dict.fromkeys(times(one["patch"]) for one in networks))
    values = ", ".join(f"{name} = {value}" for name, value in document["labels"].items())
    return [
        ("Input", f"{document['dim']}D, channels in this order: {', '.join(document['channels'])}"),
        ("Values in label maps", values),
        ("Voxels that it sees", f"{target} mm, windows of {patches}"),
    ]


def _network(one: Mapping[str, Any]) -> list[tuple[str, str]]:
    data = one.get("data") or {}
    counts = [f"{data[key]} {key}" for key in ("labeled", "unlabeled", "validation", "test") if key in data]
    options = ", ".join(f"{key} {value}" for key, value in (one.get("method_options") or {}).items())
    lines = [
        ("Method", str(one.get("method", "not recorded"))),
        ("Options", options),
        ("Network", f"{one.get('network')}, {one.get('parameters') or '?'} trained parameters"),
        ("Training", f"{one.get('iterations')} iterations, ended {one.get('ended') or 'not at all'}"),
        ("Cases", ", ".join(counts) or "not recorded"),
        ("Weights chosen by", {"last": "the end of training", "best-val": "validation cases"}.get(
            str(one.get("selection")), str(one.get("selection"))
        )),
        ("Protocol", str(one.get("protocol", "not recorded"))),
        ("Deviations", "; ".join(one.get("deviations") or ()) or "none recorded"),
        ("Data", str(data.get("reference", ""))),
        ("License of the data", str(data.get("license", "not recorded in dataset.json"))),
    ]  # fmt: skip
    return [(name, text) for name, text in lines if text]


def _scores(one: Mapping[str, Any]) -> list[str]:
    rows: Sequence[Mapping[str, Any]] = one.get("scores") or []
    if not rows:
        return ["Scores: none were recorded with the run. `semiseg evaluate` scores it on your own cases."]
    lines = ["| On | Metric | Class | Mean | Interval | Cases |", "|---|---|---|---|---|---|"]
    for row in rows:
        low, high = row["interval"]
        interval = "too few cases" if low is None else f"{low:.4g} to {high:.4g} ({100 * row['level']:.0f} %)"
        mean = "not defined" if row["mean"] is None else f"{row['mean']:.4g}"
        name = row["class"] or "mean over classes"
        lines.append(f"| {row['on']} | {row['metric']} | {name} | {mean} | {interval} | {row['cases']} |")
    return [
        "\n".join(lines),
        "Intervals are bootstrapped over cases (distances in mm unless said otherwise).",
    ]


def _smaller(measured: Mapping[str, Any] | None) -> list[str]:
    if measured is None:
        return []
    lines = ["| Class | Dice as trained | Dice of these weights | Difference |", "|---|---|---|---|"]
    for name, before in measured["dice"].items():
        after, lost = measured["dice_smaller"][name], measured["difference"][name]
        lines.append(f"| {name} | {before:.4f} | {after:.4f} | {lost:+.4f} |")
    cases = plural(measured["cases"], f"{measured['on']} case")
    told = f"Measured on {cases} of the run, against PyTorch in 32 bits."
    return ["## Smaller weights", told, "\n".join(lines)]


def _bullets(pairs: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"- {name}: {text}" for name, text in pairs)
