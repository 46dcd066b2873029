"""Fine-tuning: where a training's first weights come from, if they are not random.

From a run or a ``model.zip`` of ours, a results folder of nnU-Net v2 or a checkpoint of nnssl or of others.
Files are read as tensors, numbers and texts; nothing in them is run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from semiseg.core import Average
from semiseg.dataset.split import Split
from semiseg.errors import SemisegError, UsageError
from semiseg.machine.files import read_json
from semiseg.networks import checkpoint
from semiseg.networks.registry import Factory
from semiseg.networks.transfer import Fitted, Learned, Target, fit
from semiseg.prediction.members import read_member
from semiseg.prediction.packaged import ModelZip, is_zip
from semiseg.preparation.plan import Plan
from semiseg.runs.run import Run
from semiseg.settings.config import OptimizerConfig, ScheduleConfig, StartConfig

START = "start.ckpt"
"""In the folder of a run's checkpoints: what it began with, so that it can be resumed without the file."""

_HINT = (
    "give a run folder, a .ckpt or model.zip of semiseg, a results folder of nnU-Net (plans.json and "
    "fold_0/checkpoint_final.pth), or a checkpoint of nnssl"
)
_TENSORS = ("network_weights", "state_dict", "model_state_dict", "model", "net", "predictor")
"""Where a checkpoint of others has its weights."""
_FINAL = ("checkpoint_final.pth", "checkpoint_best.pth", "checkpoint_latest.pth")


@dataclass(frozen=True)
class Origin:
    """Weights and what is known of them."""

    learned: Learned
    about: dict[str, Any] = field(default_factory=dict)
    """``kind``, ``file`` (its name alone), ``sha256``, ``classes``."""


@dataclass(frozen=True)
class Start:
    """What the networks of a training begin with."""

    fitted: Fitted
    about: dict[str, Any]

    def __call__(self, network: nn.Module) -> None:
        """Write into a fresh network."""
        self.fitted.apply(network)

    def save(self, path: Path) -> None:
        """Keep it for a resumed run."""
        rows = {
            name: {"rows": torch.tensor(rows), "values": values}
            for name, (rows, values) in self.fitted.rows.items()
        }
        content = {"kind": "semiseg-start", "weights": self.fitted.weights, "rows": rows, "about": self.about}
        checkpoint.save(path, content)

    @classmethod
    def load(cls, path: Path) -> Start:
        """What :meth:`save` wrote.

        Raises:
            UsageError: the file is gone or damaged.
        """
        content = checkpoint.load(path, "semiseg-start")
        rows = {
            name: ([int(row) for row in found["rows"]], found["values"])
            for name, found in content["rows"].items()
        }
        return cls(Fitted(content["weights"], rows), content["about"])


def start_of(origin: Origin, make_net: Factory, plan: Plan) -> Start:
    """What fits the run's network.

    Raises:
        UsageError: nothing does.
    """
    state = torch.get_rng_state()
    network = make_net()
    torch.set_rng_state(state)
    names = list(plan.regions or plan.labels)
    channels = [channel.name for channel in plan.channels]
    fitted = fit(origin.learned, Target(network, names, channels, plan.axes if plan.dim == 3 else ()))
    if not fitted.weights:
        raise UsageError(
            f"nothing in {origin.about['file']} fits the network {make_net.name}: {fitted.misfits[0]}",
            hint="choose the network and size it has, such as --network and --set plan.features=[…]",
            code="START_FROM",
            details={"misfits": list(fitted.misfits)},
        )
    about = {**origin.about, "share": round(fitted.share, 4), "misfits": list(fitted.misfits)}
    return Start(fitted, about)


def require_unseen(path: Path, split: Split) -> None:
    """Refuse a model that has learned from the labels of scans that are held out now.

    Raises:
        UsageError: it has; names the first.
    """
    try:
        labeled = set(Run(path).split.get("labeled") or [])
    except SemisegError:  # a checkpoint alone does not say
        return
    seen = sorted(labeled & {case.id for case in split.kept_apart})
    if seen:
        raise UsageError(
            f"{path} has learned from {seen[0]}, which is held out in this run",
            hint="begin from a run with the same validation and test lists, or without --start-from",
            code="START_SAW_HELD_OUT",
            details={"cases": seen},
        )


def told(start: Start) -> list[str]:
    """What a person should know: how much fits, and each layer that does not."""
    about = start.about
    first = f"starting from {about['file']} ({about['kind']}): {about['share']:.0%} of the parameters fit"
    return [first, *(f"start from: {text}" for text in about["misfits"])]


def freshen(start: Start, network: nn.Module, make_net: Factory) -> None:
    """Give a method's second network a last layer of its own: two equal ones teach each other nothing."""
    fresh = make_net().state_dict()
    own = network.state_dict()
    with torch.no_grad():
        for name in start.fitted.rows:
            if name in own and own[name].shape == fresh[name].shape:
                own[name].copy_(fresh[name])


def gently(
    optimizer: OptimizerConfig, schedule: ScheduleConfig, start: StartConfig, total: int
) -> tuple[OptimizerConfig, ScheduleConfig]:
    """A lower learning rate that is reached slowly, so that what was learned is not overwritten at once."""
    warmup = max(schedule.warmup, round(start.warmup * total))
    return (
        optimizer.model_copy(update={"lr": optimizer.lr * start.lr}),
        schedule.model_copy(update={"warmup": warmup}),
    )


def read_origin(path: Path) -> Origin:
    """The weights at ``path``.

    Args:
        path: a run folder, a checkpoint or a ``model.zip`` of semiseg; a results folder of nnU-Net v2, one of
            its folds or checkpoints; a checkpoint of nnssl, or any file of tensors by name.

    Raises:
        UsageError: nothing there, or a file that holds more than tensors, numbers and texts.
    """
    if not path.exists():
        raise UsageError(f"nothing to start from at {path}", hint=_HINT, code="START_FROM")
    if is_zip(path):
        with ModelZip(path) as opened:
            return _of_ours(opened.folders[0], path)
    if path.is_dir() and not _nnunet_root(path):
        return _of_ours(path, path)
    if path.suffix == ".ckpt":
        return _of_ours(path, path)
    return _of_others(path)


def _of_ours(path: Path, shown: Path) -> Origin:
    member, _ = read_member(path)
    plan, network = member.plan, member.network
    if isinstance(network, Average):
        network = next(iter(network))
    classes = tuple(plan.regions or plan.labels)
    channels = tuple(channel.name for channel in plan.channels)
    weights = {name: value.detach().clone() for name, value in network.state_dict().items()}
    axes = plan.axes if plan.dim == 3 else ()
    about = {
        "kind": "semiseg",
        "file": shown.name,
        "sha256": member.source["sha256"],
        "classes": list(classes),
    }
    return Origin(Learned(weights, classes, channels, axes), about)


def _nnunet_root(folder: Path) -> Path | None:
    """The folder with ``plans.json`` of a results folder or one of its folds."""
    for place in (folder, folder.parent):
        if (place / "plans.json").is_file():
            return place
    return None


def _of_others(path: Path) -> Origin:
    root = _nnunet_root(path if path.is_dir() else path.parent)
    file = _checkpoint(path) if path.is_dir() else path
    try:
        content = checkpoint.load_tensors(file)
    except UsageError as error:
        raise UsageError(error.message, hint=f"{error.hint}. {_HINT}", code="START_FROM") from None
    weights = _weights(content, file)
    about: dict[str, Any] = {"file": path.name, "sha256": checkpoint.sha256(file)}
    if isinstance(content, Mapping) and "nnssl_adaptation_plan" in content:
        return Origin(Learned(weights), {"kind": "nnssl", **about})
    if root is None:
        return Origin(Learned(weights), {"kind": "tensors", **about})
    plans, described = (_json(root / name) for name in ("plans.json", "dataset.json"))
    found = described.get("labels")
    labels: dict[str, Any] = found if isinstance(found, dict) else {}
    regions = any(isinstance(value, list) and len(value) > 1 for value in labels.values())
    single = {n: v[0] if isinstance(v, list) else v for n, v in labels.items() if n != "ignore"}
    names = [n for n, v in labels.items() if n != "ignore" and v not in (0, [0])] if regions else None
    classes = tuple(names or sorted(single, key=lambda name: single[name]))
    channels = tuple(str(name) for name in (described.get("channel_names") or {}).values())
    order = plans.get("transpose_forward")
    three = next((t.ndim for t in weights.values() if t.ndim >= 4), 0) == 5
    axes = tuple(2 - int(axis) for axis in order) if order and three else ()  # it counts slices first
    told = {"kind": "nnU-Net", **about, "classes": list(classes)}
    return Origin(Learned(weights, classes, channels, axes), told)


def _checkpoint(folder: Path) -> Path:
    """The checkpoint of a results folder (the first fold that has one) or of a fold."""
    for place in (folder, *sorted(folder.glob("fold_*"))):
        for name in _FINAL:
            if (place / name).is_file():
                return place / name
    raise UsageError(
        f"{folder} has plans.json and no fold_*/{_FINAL[0]}",
        hint="give the trained model's folder",
        code="START_FROM",
    )


def _weights(content: Any, file: Path) -> dict[str, Tensor]:
    for place in (*(content.get(key) for key in _TENSORS if isinstance(content, Mapping)), content):
        if isinstance(place, Mapping):
            found = {str(k): v for k, v in place.items() if isinstance(v, Tensor)}
            if found:
                return found
    raise UsageError(f"{file} holds no weights by name", hint=_HINT, code="START_FROM")


def _json(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path}: {error}", hint=_HINT, code="START_FROM") from None
    return content if isinstance(content, dict) else {}
