"""The networks of a model: where each came from, which fit together, and how far they are trusted here.

From a run folder or a checkpoint file to a network with its plan.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from semiseg import networks
from semiseg.batches import augment
from semiseg.core import Average
from semiseg.errors import SemisegError, UsageError, near_path, on_one_line
from semiseg.inference.copies import TOLERANCE, prediction_copy
from semiseg.machine.files import read_json
from semiseg.machine.provenance import other_version
from semiseg.networks import checkpoint
from semiseg.prediction.packaged import ModelZip, is_zip
from semiseg.preparation.plan import Plan, problems
from semiseg.settings.config import InferenceConfig
from semiseg.settings.resolve import validate

log = logging.getLogger("semiseg.model")


class Member(NamedTuple):
    """One network of a model, and where it came from."""

    plan: Plan
    network: nn.Module
    source: Mapping[str, Any] = {}
    """``file``, ``sha256``, ``step``, ``score``, ``method``; empty for a network in training."""
    mirrored: tuple[int, ...] = ()
    """Patch axes that its training mirrored; prediction mirrors no others."""


def trusted(members: Sequence[Member], precision: str) -> tuple[str, dict[int, nn.Module]]:
    """``precision``, or float32 where the networks answer otherwise here; and their prediction copies."""
    copies: dict[int, nn.Module] = {}
    for member in members:
        plan = member.plan
        made, error = prediction_copy(member.network, len(plan.channels), plan.patch, precision)
        if precision != "32" and error > TOLERANCE[precision]:
            log.warning("%s is off by %.0f %% on this machine: predicting in float32", precision, 100 * error)
            return "32", {}
        copies[id(member.network)] = made
    return precision, copies


FREE = (
    "dataset", "batch", "foreground", "network", "memory_gb", "reasons", "version", "patch", "channels",
    "seen", "terminology",
)  # fmt: skip
"""Keys of a plan in which the members of an ensemble may differ."""


def require_same(first: Member, other: Member) -> None:
    """Members must have the same classes and lay a scan out on the same voxels."""
    mine, theirs = (member.plan.model_dump(exclude=set(FREE)) for member in (first, other))
    for told, member in ((mine, first), (theirs, other)):
        told["channels"] = len(member.plan.channels)
    wrong = [
        key for key in mine if mine[key] != theirs[key] or list(_keys(mine[key])) != list(_keys(theirs[key]))
    ]
    if wrong:
        names = [str(member.source.get("file", "a network")) for member in (first, other)]
        key = wrong[0]
        raise UsageError(
            f"{names[0]} and {names[1]} cannot form an ensemble: their plans differ in {', '.join(wrong)} "
            f"({mine[key]} and {theirs[key]})",
            hint="combine runs on the same dataset and plan only",
            code="ENSEMBLE",
        )


def tell_datasets(members: Sequence[Member]) -> None:
    """A line where the members of an ensemble were trained on several datasets."""
    names = sorted({member.plan.dataset for member in members} - {""})
    if len(names) > 1:
        log.warning("the networks were trained on several datasets: %s", ", ".join(names))


def _keys(value: Any) -> Sequence[Any]:
    return list(value) if isinstance(value, dict) else []


def digest(network: nn.Module) -> str:
    """Of the weights: the same for the same ``state_dict``."""
    found = hashlib.sha256()
    for key, value in network.state_dict().items():
        found.update(key.encode())
        found.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


ENSEMBLE = "cross_validation.json"
"""In the folder of a cross-validation: names the runs of its folds, which predict together."""


def members_of(path: Path) -> list[Path]:
    """The runs of the cross-validation at ``path``, or ``path`` itself (UsageError: a damaged list)."""
    file = path / ENSEMBLE
    if not file.is_file():
        return [path]
    try:
        return [path / str(fold["run"]) for fold in read_json(file)["folds"]]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UsageError(
            f"cannot read {file}: {on_one_line(error)}",
            hint="give the runs of its folds: -m RUN -m RUN; `train --fold all --resume` writes it again",
            code="BAD_RUN",
        ) from None


PREFERRED = ("final.ckpt", "best.ckpt", "last.ckpt")
"""Which checkpoint of a run is its model, best choice first."""

HEAD = re.compile(r"(\d+\.)?heads\.")
"""Keys of a training-only head, also in one of several networks that predict as one."""


OWN_CODE = ("semiseg", "monai")
"""Packages that a checkpoint may name networks of."""


def read_member(path: Path, allow_code: Collection[str] = ()) -> tuple[Member, InferenceConfig]:
    """The network in a checkpoint (on the CPU) and the inference settings of its run.

    Args:
        path: a run folder or a checkpoint.
        allow_code: modules or packages that may be imported because the checkpoint names a network of them.

    Raises:
        UsageError: nothing there, damaged, of another kind, made by an incompatible version, or of a network
            whose code is not allowed (code ``CODE_NOT_ALLOWED``).
    """
    file = checkpoint_file(path)
    content = read_checkpoint(file)
    try:
        for described in _described(content):
            _require_known_code(str(described["name"]), file, allow_code)
        plan = Plan.model_validate_json(content["plan"])
        config = json.loads(content["config"])
        method, inference = config["method"]["name"], config["inference"]
        mirrored = _mirrored(content, config, plan)
        network = _build(content, plan)
        _load_weights(network, predictor_weights(content))
    except ValidationError as error:
        raise _foreign(file, f"the plan has {problems(error)}") from None
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise _foreign(file, f"{type(error).__name__}: {on_one_line(error)}") from None
    written = checkpoint.sha256(file)
    if _recorded(file) not in (None, written):
        log.warning("%s is not the file that its run wrote: manifest.json has another hash", file)
    if changed := changed_plan(file, plan):
        log.warning(changed)
    source = {
        "file": str(file),
        "sha256": written,
        "step": content.get("step"),
        "score": content.get("score"),
        "method": method,
        "network": content["network"]["name"],
    }
    return Member(plan, network, source, mirrored), _settings(inference, file)


def read_members(path: Path, allow_code: Collection[str] = ()) -> list[tuple[Member, InferenceConfig]]:
    """As :func:`read_member`, also of a ``model.zip``, which may hold the networks of an ensemble."""
    if not is_zip(path):
        return [read_member(path, allow_code)]
    found = []
    with ModelZip(path) as opened:
        for folder in opened.folders:
            member, settings = read_member(folder, allow_code)
            found.append((member._replace(source={**member.source, "file": str(path)}), settings))
    return found


def checkpoint_file(path: Path) -> Path:
    """The checkpoint that a run folder, its ``checkpoints`` folder or a file name means.

    Raises:
        UsageError: there is none.
    """
    if path.is_file():
        return path
    if not path.exists():
        raise UsageError(
            f"no model at {path}" + (f".{near}" if (near := near_path(path)) else ""),
            hint="-m wants a run folder (with checkpoints/final.ckpt), a .ckpt file or a model.zip",
            code="NO_MODEL",
        )
    for folder in (path / "checkpoints", path):
        for name in PREFERRED:
            if (folder / name).is_file():
                if name == "last.ckpt":
                    log.warning("%s has not finished: using its last state", path)
                return folder / name
    runs = sorted(p.parent.parent for p in path.glob("**/checkpoints/*.ckpt"))
    runs += [path / "model.zip"] if (path / "model.zip").is_file() else []
    raise UsageError(
        f"{path} holds no checkpoint ({', '.join(PREFERRED)})",
        hint=f"did you mean {runs[0]}?" if runs else "give a run folder that `semiseg train` has written",
        code="NO_CHECKPOINT",
    )


def _recorded(file: Path) -> str | None:
    """The hash of a final model in the manifest of its run; None where nothing is known."""
    try:
        manifest = read_json(file.parent.parent / "manifest.json")
        found = manifest["checkpoints"][file.name] if file.name == PREFERRED[0] else None
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return None if found is None else str(found)


UNSEEN = ("dataset", "batch", "foreground", "memory_gb", "reasons", "version", "seen")
"""Keys of a plan that no prediction depends on."""


def changed_plan(file: Path, plan: Plan, free: Collection[str] = UNSEEN) -> str:
    """A sentence where ``plan.json`` of the run is not ``plan``, which the checkpoint ``file`` holds.

    ``free`` are keys that may differ.
    """
    beside = file.parent.parent / "plan.json"
    if file.parent.name != "checkpoints" or not beside.is_file():
        return ""
    try:
        theirs = Plan.load(beside).model_dump(exclude=set(free))
    except UsageError as error:
        return f"{error.message}; used is the plan in {file}"
    mine = plan.model_dump(exclude=set(free))
    wrong = next((key for key in mine if mine[key] != theirs[key]), None)
    if wrong is None:
        return ""
    values = f"{wrong}: {theirs[wrong]} there, {mine[wrong]} in training"
    return f"{beside} was changed after the training ({values}); used is the plan in {file}"


def trained_plan(folder: Path) -> Plan:
    """The plan that a run was trained with: that of its checkpoint, told where ``plan.json`` is another.

    Raises:
        UsageError: no checkpoint that can be read.
    """
    file = checkpoint_file(folder)
    plan = Plan.model_validate_json(read_checkpoint(file)["plan"])
    if changed := changed_plan(file, plan, free=("reasons",)):
        log.warning(changed)
    return plan


def read_checkpoint(file: Path) -> dict[str, Any]:
    """Either kind of checkpoint: a model, or the state of a run (UsageError: neither, or another version)."""
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


def predictor_weights(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """The exported network's tensors, without the training-only heads."""
    found = content.get("predictor") or content["average"]
    return {key: value for key, value in found.items() if not HEAD.match(key)}


def _described(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Name and options of each network that predicts."""
    described = content["network"]
    found: list[dict[str, Any]] = described.get("average_of") or [described] * described.get("averaged", 1)
    return found  # "averaged" is of older versions


def _require_known_code(name: str, file: Path, allow_code: Collection[str]) -> None:
    """A file may not choose what code runs: outside networks are named by the person who loads it.

    A module that this process has imported already is no choice of the file.
    """
    module, colon, _ = name.partition(":")
    trusted = (*OWN_CODE, *allow_code)
    if not colon or module in sys.modules or any(f"{module}.".startswith(f"{known}.") for known in trusted):
        return
    raise UsageError(
        f"{file} wants the network {name!r}: loading it would run code of the module {module!r}",
        hint=f"if you trust that code, add --allow-code {module} (in Python allow_code=[{module!r}])",
        code="CODE_NOT_ALLOWED",
        details={"network": name, "module": module},
    )


def _build(content: Mapping[str, Any], plan: Plan) -> nn.Module:
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
        for member in _described(content)
    ]
    return built[0] if len(built) == 1 else Average(built)


def _mirrored(content: Mapping[str, Any], config: Mapping[str, Any], plan: Plan) -> tuple[int, ...]:
    """The patch axes that training mirrored; of models without a record, what their configuration says."""
    if "mirrored" in content:
        axes = tuple(int(axis) for axis in content["mirrored"])
        if not set(axes) <= set(range(plan.dim)):
            raise ValueError(f"it mirrors axes {list(axes)} of a patch with {plan.dim}")
        return axes
    described = config.get("augment", {})
    try:
        return augment.build(described["name"], plan, described.get("options")).mirrored
    except (KeyError, SemisegError) as error:  # of another version: what it did is not known here
        log.debug("which axes the training mirrored is not known: %s", error)
        return ()


def _load_weights(network: nn.Module, weights: dict[str, Tensor]) -> None:
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"its weights do not fit its network ({on_one_line(error)})") from None


def _settings(inference: Mapping[str, Any], file: Path) -> InferenceConfig:
    try:
        return validate({"inference": inference}).inference
    except UsageError as error:
        raise _foreign(file, error.message) from None


def _foreign(file: Path, why: str) -> UsageError:
    return other_version(file, file.parent.parent, why) or UsageError(
        f"checkpoint {file} cannot be used: {why}",
        hint="this version of semiseg did not write it, or it is damaged; use another checkpoint of the run",
        code="BAD_CHECKPOINT",
    )
