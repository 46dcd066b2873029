"""From a run folder or a checkpoint file to a network with its plan."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor, nn

from semiseg import networks
from semiseg.config import InferenceConfig
from semiseg.data.plan import Plan
from semiseg.engine import checkpoint
from semiseg.errors import UsageError
from semiseg.model import Member
from semiseg.parts.averaging import Average
from semiseg.resolve import validate

log = logging.getLogger("semiseg.model")

PREFERRED = ("final.ckpt", "best.ckpt", "last.ckpt")
"""Which checkpoint of a run is its model, best choice first."""

HEAD = re.compile(r"(\d+\.)?heads\.")
"""Keys of a training-only head, also in one of several networks that predict as one."""


def read_member(path: Path) -> tuple[Member, InferenceConfig]:
    """The network in a checkpoint (on the CPU) and the inference settings of its run.

    Raises:
        UsageError: nothing there, damaged, of another kind, or made by an incompatible version.
    """
    file = checkpoint_file(path)
    content = _read(file)
    try:
        plan = Plan.model_validate_json(content["plan"])
        config = json.loads(content["config"])
        method, inference = config["method"]["name"], config["inference"]
        network = _build(content, plan)
        _load_weights(network, _weights(content))
    except (KeyError, TypeError, AttributeError, ValueError, ValidationError) as error:
        raise _foreign(file, f"{type(error).__name__}: {_one_line(error)}") from None
    written = checkpoint.sha256(file)
    if _recorded(file) not in (None, written):
        log.warning("%s is not the file that its run wrote: manifest.json has another hash", file)
    source = {
        "file": str(file),
        "sha256": written,
        "step": content.get("step"),
        "score": content.get("score"),
        "method": method,
        "network": content["network"]["name"],
    }
    return Member(plan, network, source), validate({"inference": inference}).inference


def checkpoint_file(path: Path) -> Path:
    """The checkpoint that a run folder, its ``checkpoints`` folder or a file name means.

    Raises:
        UsageError: there is none.
    """
    if path.is_file():
        return path
    if not path.exists():
        raise UsageError(
            f"no model at {path}",
            hint="-m wants a run folder (with checkpoints/final.ckpt) or a .ckpt file",
            code="NO_MODEL",
        )
    for folder in (path / "checkpoints", path):
        for name in PREFERRED:
            if (folder / name).is_file():
                if name == "last.ckpt":
                    log.warning("%s has not finished: using its last state", path)
                return folder / name
    runs = sorted(p.parent.parent for p in path.glob("**/checkpoints/*.ckpt"))
    raise UsageError(
        f"{path} holds no checkpoint ({', '.join(PREFERRED)})",
        hint=f"did you mean {runs[0]}?" if runs else "give a run folder that `semiseg train` has written",
        code="NO_CHECKPOINT",
    )


def _recorded(file: Path) -> str | None:
    """The hash of a final model in the manifest of its run; None where nothing is known."""
    try:
        manifest = json.loads((file.parent.parent / "manifest.json").read_text(encoding="utf-8"))
        found = manifest["checkpoints"][file.name] if file.name == PREFERRED[0] else None
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    return None if found is None else str(found)


def _read(file: Path) -> dict[str, Any]:
    """Either kind of checkpoint: a model, or the state of a run."""
    kinds = [checkpoint.MODEL, checkpoint.STATE]
    if file.name == "last.ckpt":
        kinds.reverse()
    try:
        content = checkpoint.load(file, kinds[0])
    except UsageError as first:
        try:
            content = checkpoint.load(file, kinds[1])
        except UsageError:
            raise first from None
    if content.get("format") != 1:
        raise _foreign(file, f"format {content.get('format')!r}, this version reads 1")
    return content


def _weights(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """The exported network's tensors, without the training-only heads."""
    found = content.get("predictor") or content["average"]
    return {key: value for key, value in found.items() if not HEAD.match(key)}


def _build(content: Mapping[str, Any], plan: Plan) -> nn.Module:
    described = content["network"]
    members = described.get("average_of") or [described] * described.get("averaged", 1)  # of older versions
    built = [
        networks.build(
            member["name"],
            dim=plan.dim,
            in_channels=content["in_channels"],
            classes=content["classes"],
            plan=plan.network,
            patch=plan.patch,
            **member["options"],
        )
        for member in members
    ]
    return built[0] if len(built) == 1 else Average(built)


def _load_weights(network: nn.Module, weights: dict[str, Tensor]) -> None:
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"its weights do not fit its network ({_one_line(error)})") from None


def _foreign(file: Path, why: str) -> UsageError:
    return UsageError(
        f"checkpoint {file} cannot be used: {why}",
        hint="it was not written by this version of semiseg; use another checkpoint of the run",
        code="BAD_CHECKPOINT",
    )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
