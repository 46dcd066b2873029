"""What networks there are, read from their source without importing torch; a network by name and options."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semiseg.errors import missing_extra, unknown_name
from semiseg.settings.options import MONAI, check_options

if TYPE_CHECKING:
    from torch import nn

_FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Our own networks: the files with a class of the file's name (but for case and underscores) and a paper.

    ``monai:Class`` and ``package.module:Class`` can be built, too.
    """
    found = {path.stem: class_of(path.stem) for path in _FOLDER.glob("[!_]*.py")}
    return sorted(
        name for name, node in found.items() if node and "Paper:" in (ast.get_docstring(node) or "")
    )


def require(name: str) -> None:
    """Refuse a name that none of our networks has; those of other packages are found when they are built.

    Raises:
        UsageError: no such network (names the nearest), or one of MONAI where MONAI is not installed.
    """
    if name.startswith(MONAI) and importlib.util.find_spec("monai") is None:
        raise missing_extra("monai", "MONAI", f"network {name!r}")
    if ":" not in name and name not in names():
        raise unknown_name(
            "network",
            name,
            names(),
            hint=f"known: {', '.join(names())}, or monai:CLASS (any MONAI network), or package.module:CLASS",
        )


def describe() -> list[dict[str, Any]]:
    """One entry per network: ``name``, ``summary``, ``dims``, ``paper``, ``options`` (name -> default).

    The text is the class's docstring: its first line, and its paragraph that starts with ``Paper:``.
    """
    found = []
    for name in names():
        if node := class_of(name):
            text = ast.get_docstring(node) or ""
            paper = re.search(r"^Paper:((?:.+\n?)+)", text, re.MULTILINE)
            about: dict[str, Any] = {"name": name, "summary": text.splitlines()[0], "dims": _dims(node)}
            about |= {"paper": " ".join(paper[1].split()) if paper else "", "options": _options(node)}
            found.append(about)
    return found


@functools.cache
def class_of(name: str) -> ast.ClassDef | None:
    """The network's class in the file ``name``: called as the file is, but for case and underscores."""
    tree, wanted = ast.parse((_FOLDER / f"{name}.py").read_text(encoding="utf-8")), name.replace("_", "")
    return next((n for n in tree.body if isinstance(n, ast.ClassDef) and n.name.lower() == wanted), None)


def _dims(node: ast.ClassDef) -> list[int]:
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and ast.unparse(item.target) == "dims" and item.value:
            return list(ast.literal_eval(item.value))
    return [2, 3]


def _options(node: ast.ClassDef) -> dict[str, str]:
    init = next(n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__")
    pairs = zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True)
    return {arg.arg: ast.unparse(default) for arg, default in pairs if default and arg.arg != "heads"}


_COMMON = ("dim", "in_channels", "classes", "heads")
_PLANNED = ("features", "strides", "kernels")


def build(
    name: str,
    *,
    dim: int,
    in_channels: int,
    classes: int,
    heads: Mapping[str, int] | None,
    plan: Any,
    patch: Sequence[int],
    options: Mapping[str, Any],
) -> nn.Module:
    """See :func:`semiseg.networks.build`."""
    from semiseg.settings.options import checked  # needs pydantic, which the list of networks does not

    require(name)
    if ":" in name:
        from semiseg.networks.build_outside import build_outside

        return build_outside(
            name,
            dim=dim,
            in_channels=in_channels,
            classes=classes,
            heads=heads,
            plan={**planned(plan), "patch": tuple(patch)},
            options=options,
        )
    node, module = class_of(name), importlib.import_module(f"semiseg.networks.{name}")
    network: type[nn.Module] = getattr(module, node.name if node else name)
    allowed = [p for p in inspect.signature(network).parameters if p not in _COMMON]
    check_options(name, options, allowed, network)
    sized = {key: value for key, value in planned(plan).items() if key in allowed}
    given = sized | checked(f"network {name!r}", network, options)
    return network(dim=dim, in_channels=in_channels, classes=classes, heads=heads, **given)


def blocks(name: str, options: Mapping[str, Any]) -> tuple[int, ...] | None:
    """Residual blocks of each stage of a network with a residual encoder; None of any other network.

    Raises:
        UsageError: an option that it does not have, or a value that it cannot be.
    """
    if name != "resenc":
        return None
    from semiseg.networks.resenc import BLOCKS, ResEnc
    from semiseg.settings.options import checked

    given = checked(f"network {name!r}", ResEnc, options)
    return tuple(given.get("blocks", BLOCKS))


def planned(plan: Any) -> dict[str, Any]:
    """What a plan says of a network's size; empty entries are left to the network's defaults."""
    found = {key: getattr(plan, key, None) for key in _PLANNED}
    return {key: value for key, value in found.items() if value}


@dataclass(frozen=True)
class Factory:
    """What a method makes its networks with; see :data:`semiseg.core.NetFactory`.

    Each network remembers in ``described`` how to build it again: ``{"name": ..., "options": ...}``, without
    its extra heads, which serve training only.
    """

    name: str
    """Of the run's network."""
    dim: int
    in_channels: int
    classes: int
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the run's network."""
    plan: Any = None
    """As in :func:`semiseg.networks.build`, of this network and of others."""
    patch: Sequence[int] = ()
    """As there."""
    checkpointing: bool = False
    """See :mod:`semiseg.networks.checkpointing`; it is of the training, so no network remembers it."""
    start: Callable[[nn.Module], None] | None = None
    """Writes the first weights into each network of the run's kind, instead of random ones."""

    def __call__(
        self, heads: Mapping[str, int] | None = None, *, network: str | None = None, **options: Any
    ) -> nn.Module:
        """A fresh network.

        Args:
            heads: extra outputs, name -> channels.
            network: another one than the run's, by name; it has only the options given here.
            options: to be changed in the run's network.
        """
        chosen: dict[str, Any] = self.description if network is None else {"name": network, "options": {}}
        chosen["options"].update(options)
        net = build(
            chosen["name"],
            dim=self.dim,
            in_channels=self.in_channels,
            classes=self.classes,
            heads=heads,
            plan=self.plan,
            patch=self.patch,
            options=chosen["options"],
        )
        if self.start is not None and chosen["name"] == self.name:
            self.start(net)
        if self.checkpointing:
            from semiseg.networks.checkpointing import checkpoint_blocks

            checkpoint_blocks(net)
        object.__setattr__(net, "described", chosen)  # no part of its state
        return net

    @property
    def description(self) -> dict[str, Any]:
        """Of the run's network."""
        return {"name": self.name, "options": dict(self.options)}
