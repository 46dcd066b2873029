"""Runs as one zip that ``predict -m`` and ``semiseg.load_run`` read: no logs, no optimizer, no names."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from semiseg.delivery.card import card
from semiseg.delivery.document import document
from semiseg.delivery.source import Source
from semiseg.machine.files import atomic_file
from semiseg.prediction.model import Model

LONG_AGO = (1980, 1, 1, 0, 0, 0)
"""The time of every member: the same model makes the same zip."""


CHECKPOINT = "checkpoints/final.ckpt"


def pack(path: Path, sources: Sequence[Source], model: Model) -> dict[str, Any]:
    """Write the zip, whole or not at all; the content of its ``model.json``.

    One run lies at the top, several in folders of their own.
    """
    folders = [""] if len(sources) == 1 else [f"network_{k + 1}/" for k in range(len(sources))]
    checkpoints = [_bytes(source.checkpoint()) for source in sources]
    files = [
        {"file": folder + CHECKPOINT, "sha256": hashlib.sha256(content).hexdigest()}
        for folder, content in zip(folders, checkpoints, strict=True)
    ]
    written = document("zip", model, sources, files)
    with atomic_file(path) as stream, zipfile.ZipFile(stream, "w") as archive:
        add(archive, "model.json", json.dumps(written, indent=1) + "\n")
        add(archive, "MODEL.md", card(written))
        for folder, source, file, content in zip(folders, sources, files, checkpoints, strict=True):
            add(archive, f"{folder}plan.json", source.plan.model_dump_json(indent=1) + "\n")
            add(archive, f"{folder}config.yaml", yaml.safe_dump(source.config, sort_keys=False))
            manifest = {**source.about, "checkpoints": {Path(CHECKPOINT).name: file["sha256"]}}
            add(archive, f"{folder}manifest.json", json.dumps(manifest, indent=1) + "\n")
            add(archive, folder + CHECKPOINT, content)
    return written


def _bytes(checkpoint: Mapping[str, Any]) -> bytes:
    """The checkpoint as the file that it becomes."""
    stream = io.BytesIO()
    torch.save(checkpoint, stream)
    return stream.getvalue()


def add(archive: zipfile.ZipFile, name: str, content: str | bytes) -> None:
    """Add a member of no date: texts are packed, bytes are not."""
    member = zipfile.ZipInfo(name, LONG_AGO)
    member.external_attr = 0o644 << 16
    member.compress_type = zipfile.ZIP_DEFLATED if isinstance(content, str) else zipfile.ZIP_STORED
    archive.writestr(member, content)
