"""Cases: the list and one case."""

from __future__ import annotations

import bisect
from collections import Counter
from functools import partial
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse

from semiseg.dataset.case import Case, LabeledCase, case_header
from semiseg.errors import SemisegError, UsageError, unknown_name
from semiseg.prediction.record import unlike_in
from semiseg.studio.api.common import Json, TheDesk, User, missing
from semiseg.studio.desk import Desk
from semiseg.studio.index import SORTS, STATES, selected, structures
from semiseg.studio.part import is_big
from semiseg.studio.scans import agreement, coarse, prediction_path, sampled
from semiseg.studio.served import is_picture
from semiseg.studio.thumbnails import class_colors, thumbnail

router = APIRouter(prefix="/api")

MOST_ROWS = 500
CT_WINDOWS = (
    ("soft tissue", -160.0, 240.0),
    ("lung", -1350.0, 150.0),
    ("bone", -450.0, 1050.0),
    ("brain", 0.0, 80.0),
    ("liver", -45.0, 105.0),
)
"""Hounsfield units."""


@router.get("/session")
def session(desk: TheDesk, user: User) -> Json:
    """What the pages need to know before anything else."""
    from semiseg.__about__ import __version__

    dataset, rows = desk.labels.dataset, desk.index.rows()
    values = structures(desk.labels)
    colors = class_colors(values, dataset.colors)
    shape = next((row["shape"] for row in rows.values() if row["shape"]), None)
    painted = dict(zip(dataset.regions, dataset.regions_class_order, strict=False))
    classes = [
        {"name": name, "value": painted.get(name, numbers[0]), "color": colors[numbers[0]]}
        for name, numbers in values.items()
    ]
    return {
        "version": __version__,
        "dataset": {
            "name": dataset.name,
            "root": str(desk.root),
            "channels": list(dataset.channel_names),
            "dimension": len(shape) if shape else _dimension(desk),
            "labels": classes,
            "regions": {name: list(numbers) for name, numbers in dataset.regions.items()},
            "ignore": dataset.ignore_value,
            "file_ending": dataset.file_ending,
        },
        "counts": counts(desk),
        "user": user,
        "blind": desk.blind,
        "run": desk.index.run,
        "offline": "nothing leaves this machine",
    }


@router.get("/cases")
def cases(
    desk: TheDesk,
    user: User,
    page: int = 1,
    size: int = 60,
    state: str = "",
    group: str = "",
    search: str = "",
    sort: str = "id",
    order: str = "asc",
) -> Json:
    """A page of the list."""
    if sort not in SORTS:
        raise unknown_name("sort", sort, SORTS)
    if wrong := set(filter(None, state.split(","))) - set(STATES):
        raise unknown_name("state", sorted(wrong)[0], STATES)
    if page < 1 or not 1 <= size <= MOST_ROWS:
        raise UsageError(
            f"page {page} of {size} rows", hint=f"pages count from 1, with up to {MOST_ROWS} rows"
        )
    rows = desk.index.rows()
    found = selected(rows.values(), state=state, group=group, search=search, sort=sort, order=order)
    shown = found[(page - 1) * size : page * size]
    groups = sorted({row["group"] for row in rows.values() if row["group"]})
    return {
        "total": len(found),
        "page": page,
        "size": size,
        "counts": counts(desk),
        "groups": groups[:MOST_ROWS],
        "cases": [desk.complete(row, user) for row in shown],
    }


@router.get("/cases/{name}")
def case(desk: TheDesk, user: User, name: str) -> Json:
    """All that the page of one case shows."""
    row = desk.row(name, user)
    found = desk.index.find(name)
    names = list(desk.index.rows())
    place = bisect.bisect_left(names, name)
    runs = [run for run in desk.places.predicted_runs() if prediction_path(desk, name, run)]
    run = row["run"] if row["run"] in runs else (runs[-1] if runs else None)
    url = f"/api/cases/{quote(name)}"
    labeled = isinstance(found, LabeledCase) and not (desk.blind and row["state"] == "test")
    record = (desk.index.record(run, name) if run else None) or {}
    draft = desk.drafts.file(name, user).is_file()
    return {
        **row,
        "images": _images(desk, found, url),
        "label_url": f"{url}/label.nii?version={row['version']}" if labeled else None,
        "prediction_url": f"{url}/prediction.nii?run={run}" if run else None,
        "uncertainty_url": f"{url}/uncertainty.nii?run={run}"
        if "entropy" in record.get("outputs", {})
        else None,
        "draft_url": f"{url}/draft.nii" if draft else None,
        "draft_box": desk.drafts.box(name, user) if draft else None,
        "draft_version": desk.drafts.version(name, user) if draft else None,
        "versions": [
            {
                "version": entry.version,
                "source": entry.source,
                "by": entry.by,
                "time": entry.time,
                "run": entry.run,
                "agreement": entry.agreement,
                "kept_as": "conflict" if entry.event == "conflict" else None,
            }
            for entry in desk.labels.ledger.history(name)
            if entry.version
        ],
        "runs": runs,
        "dice": agreement(desk, name, run) if labeled and run and not _big(found) else None,
        "dice_url": f"{url}/dice?run={run}" if labeled and run else None,
        "previous": names[place - 1] if place else None,
        "next": names[place + 1] if place + 1 < len(names) else None,
        "unlike": [one["text"] for one in unlike_in(record)],
    }


@router.get("/cases/{name}/dice")
def dice(desk: TheDesk, name: str, run: str | None = None) -> Json:
    """Dice of a run's prediction with the label; of a big scan it takes a moment."""
    found, chosen = desk.index.find(name), desk.run_named(run)
    if desk.blind and found.id in desk.labels.test:
        raise UsageError(f"{name}: test labels are hidden", hint="start without --blind", code="BLIND")
    told = agreement(desk, name, chosen)
    if told is None:
        raise missing(f"label and prediction of {name}")
    return told


@router.get("/cases/{name}/thumbnail.png")
def picture(desk: TheDesk, name: str) -> Response:
    """A small picture with the outline of the label, or else of the prediction."""
    found, row = desk.index.find(name), desk.index.rows()[name]
    label = found.label if isinstance(found, LabeledCase) and row["state"] != "test" else None
    if label is None and row["run"]:
        label = prediction_path(desk, name, row["run"])
    colors = class_colors(structures(desk.labels), desk.labels.dataset.colors)
    smaller = partial(coarse, desk, name, label) if _big(found) else None
    path = thumbnail(desk.places.thumbnails, found, label, colors, smaller)
    return FileResponse(path, media_type="image/png", headers={"Cache-Control": "private, max-age=86400"})


def counts(desk: Desk) -> dict[str, int]:
    """State -> cases."""
    found = Counter(row["state"] for row in desk.index.rows().values())
    return {state: found[state] for state in STATES}


def _dimension(desk: Desk) -> int:
    for found in (*desk.labels.cases.values(), *desk.labels.test.values()):
        try:
            return len(case_header(found).grid.shape)
        except SemisegError:
            continue
    return 3


def _images(desk: Desk, found: Case, url: str) -> list[dict[str, Any]]:
    header = case_header(found)
    big = _big(found)
    listed = []
    for channel in range(len(found.images)):
        low, high = sampled(desk, found, channel)
        address = f"{url}/image/{channel}.nii"
        listed.append(
            {
                "channel": channel,
                "name": desk.labels.dataset.channel_names[channel],
                "url": address,
                "preview_url": f"{address}?size=preview" if big else None,
                "rgb": header.channels >= 3 and len(found.images) == 1,
                "picture": is_picture(found.images[channel], header.grid),
                "window": {"low": low, "high": high},
                "windows": _windows(desk, found, channel),
            }
        )
    return listed


def _big(found: Case) -> bool:
    """Whether the scan is shown with every second voxel first."""
    return is_big(case_header(found).grid)


def _windows(desk: Desk, found: Case, channel: int) -> list[dict[str, Any]]:
    """Presets of CT for a channel that is named so, else percentiles of the channel."""
    if desk.labels.dataset.channel_names[channel].casefold().startswith("ct"):
        return [{"name": name, "low": low, "high": high} for name, low, high in CT_WINDOWS]
    percentiles = {"usual": (0.5, 99.5), "all": (0.0, 100.0), "strong": (5.0, 95.0)}
    ranges = {name: sampled(desk, found, channel, both) for name, both in percentiles.items()}
    return [{"name": name, "low": low, "high": high} for name, (low, high) in ranges.items()]
