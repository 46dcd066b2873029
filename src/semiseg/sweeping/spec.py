"""The file that describes a sweep: ``SPEC.yaml``, read with all its problems at once.

The configuration of each variant on each dataset, and all that is wrong with a specification.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from semiseg import methods, networks
from semiseg.errors import SemisegError, UsageError
from semiseg.preparation.plan import NetworkPlan
from semiseg.settings.changes import flat
from semiseg.settings.config import Config
from semiseg.settings.flags import configured
from semiseg.settings.options import nearest_key, problems_of
from semiseg.settings.resolve import read_yaml, with_network

HINT = "docs/sweeps.md describes every key"


def _short(key: str) -> BeforeValidator:
    """A plain name (or number) stands for a section in which ``key`` alone is given."""

    def expand(value: Any) -> Any:
        return {key: str(value)} if isinstance(value, str | int) and not isinstance(value, bool) else value

    return BeforeValidator(expand)


def _one_folder(name: str) -> str:
    """A name that leads nowhere else: specifications come from others, too."""
    if name in (".", "..") or set(name) & set("/\\") or not name.isprintable():
        raise ValueError("wanted the name of one folder")
    return name


def _several(value: Any) -> Any:
    """``seeds: 0`` stands for ``seeds: [0]``."""
    return value if value is None or isinstance(value, list | tuple) else [value]


def _amount(value: Any) -> Any:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if value == "all" or (whole and value >= 1):
        return value
    raise ValueError("wanted a whole number above 0, or all")


Amount = Annotated[int | Literal["all"], BeforeValidator(_amount)]
Budgets = Annotated[tuple[Amount, ...] | None, BeforeValidator(_several)]
Numbers = Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(_several), Field(min_length=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _Settings(_Part):
    """What may be said for the whole sweep, for one dataset, and for one method; the last is strongest."""

    recipe: str | None = None
    network: str | None = None
    iterations: Annotated[int, Field(ge=1)] | None = None
    set: dict[str, Any] = Field(default_factory=dict)
    """Settings of ``semiseg train --set``, ``optimizer.lr: 0.001``."""


class Variant(_Settings):
    """A method as it is to be trained; ``name`` tells variants of one method apart."""

    method: str
    name: str = ""

    @model_validator(mode="after")
    def _check_name(self) -> Variant:
        if self.name and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", self.name):
            raise ValueError("a name has letters, digits and . _ + - only, since a folder is called so")
        return self

    @property
    def title(self) -> str:
        """The name, or else the method's."""
        return self.name or self.method.replace(":", "-")


class Data(_Settings):
    """A dataset, and what is different for it."""

    dataset: str
    labeled: Budgets = None
    labeled_patients: Budgets = None
    folds: Annotated[tuple[int, ...] | None, BeforeValidator(_several)] = None


class Spec(_Settings):
    """A whole sweep."""

    name: Annotated[str, AfterValidator(_one_folder)] = ""
    """Of the sweep folder; by default that of the file."""
    datasets: Annotated[
        tuple[Annotated[Data, _short("dataset")], ...], BeforeValidator(_several), Field(min_length=1)
    ]
    methods: Annotated[
        tuple[Annotated[Variant, _short("method")], ...], BeforeValidator(_several), Field(min_length=1)
    ]
    labeled: Budgets = None
    """Numbers of labeled cases; ``all`` for every label there is."""
    labeled_patients: Budgets = None
    """The same counted in patients."""
    seeds: Numbers = (0,)
    folds: Numbers = (0,)
    bounds: bool | Literal["lower", "upper"] = True
    """Add supervised training with the same few labels (lower) and with all (upper)."""
    score: Literal["test", "validation", "held_out"] = "test"
    """Which cases are scored; ``held_out`` are those of a fold of a cross-validation."""
    convention: str = "semiseg"
    """How distances and empty masks count, as in ``semiseg evaluate``."""
    nsd_tolerance: Annotated[float, Field(ge=0)] = 1.0
    """Of NSD, in mm."""
    retries: Annotated[int, Field(ge=0)] = 2
    """How often a cell whose process died is tried again."""
    slurm: dict[str, Any] = Field(default_factory=dict)
    """Parameters of submitit for ``--on slurm``."""
    ray: dict[str, Any] = Field(default_factory=dict)
    """Options of a Ray task for ``--on ray``, such as ``resources``."""


def read_spec(path: Path) -> Spec:
    """The specification of a file, or of a sweep folder.

    Raises:
        UsageError: not there, not YAML, or keys and values that do not fit; all of them at once.
    """
    file = path / "spec.yaml" if path.is_dir() else path
    if path.is_dir() and not file.exists():
        raise UsageError(
            f"{path} is no sweep folder: it has no spec.yaml", hint=HINT, code="CONFIG_UNREADABLE"
        )
    try:
        tree = read_yaml(file)
    except UsageError as error:
        raise UsageError(error.message, hint=HINT, code=error.code) from None
    return as_spec(tree, str(file), name=path.name if path.is_dir() else path.stem)


def as_spec(tree: Mapping[str, Any], where: str = "sweep", *, name: str = "sweep") -> Spec:
    """A tree of plain values as a specification.

    Raises:
        UsageError: keys and values that do not fit; all of them at once.
    """
    try:
        spec = Spec.model_validate(dict(tree))
    except ValidationError as error:
        raise wrong(where, problems_of(error, Spec)) from None
    return spec if spec.name else spec.model_copy(update={"name": name})


def wrong(where: str, problems: list[str], hint: str = HINT) -> UsageError:
    """The error that tells every problem of a specification."""
    return UsageError(
        f"{where}: {'; '.join(problems)}", hint=hint, code="SPEC", details={"problems": problems}
    )


RESERVED = {
    "method.name": "`methods`",
    "network.name": "`network`",
    "recipe": "`recipe`",
    "data.labeled": "`labeled`",
    "data.labeled_patients": "`labeled_patients`",
    "data.fold": "`folds`",
    "data.folds": "`folds`, which are those of the split file",
    "train.seed": "`seeds`",
    "train.iterations": "`iterations`",
}
"""Settings that a specification says elsewhere."""


def config_of(spec: Spec, data: Data, variant: Variant) -> Config:
    """The configuration of a variant on a dataset; labels, fold and seed are still to be chosen.

    Patches are planned for the method that needs most memory, so that all are compared on the same.

    Raises:
        UsageError: settings that do not fit, or whose meaning depends on the machine.
    """
    layers = (spec, data, variant)
    settings = {key: value for layer in layers for key, value in flat(layer.set).items()}
    strongest = {
        name: next((value for layer in reversed(layers) if (value := getattr(layer, name)) is not None), None)
        for name in ("recipe", "network", "iterations")
    }
    config = configured(settings=settings, method=variant.method, **strongest)
    problems = []
    if config.train.iterations == "auto":
        problems.append("iterations: a sweep needs a number, since auto depends on the device")
    if config.train.max_time is not None:
        problems.append("set.train.max_time: cells of a sweep train to the end; give `iterations`")
    if problems:
        hint = "`semiseg methods NAME` and `semiseg networks` say what there is to set"
        raise UsageError("; ".join(problems), hint=hint, details={"problems": problems})
    if config.plan.networks is None and config.plan.patch is None:
        most = max(methods.memory(each.method) for each in spec.methods)
        config = config.changed("plan", networks=most)
    return with_network(config, NetworkPlan().name)


def name_problems(spec: Spec) -> Iterator[str]:
    """Names that do not exist, names given twice, and settings in the wrong place."""
    from semiseg.evaluation import conventions

    yield from _unknown(conventions.find, spec.convention)
    titles = [variant.title for variant in spec.methods]
    for title in sorted({title for title in titles if titles.count(title) > 1}):
        yield f"methods: {title!r} is given {titles.count(title)} times; tell variants apart by `name`"
    baselines = [v for v in spec.methods if v.title == "supervised" and v.method != "supervised"]
    if spec.bounds and baselines:
        yield f"methods: the name 'supervised' belongs to the bounds, {baselines[0].method} cannot have it"
    layers: list[tuple[str, Spec | Data | Variant]] = [("", spec)]
    layers += [(f"datasets.{i}.", layer) for i, layer in enumerate(spec.datasets)]
    layers += [(f"methods.{i}.", layer) for i, layer in enumerate(spec.methods)]
    for where, layer in layers:
        if layer.network and layer.network != "auto":
            yield from _unknown(networks.require, layer.network, where)
        for key in sorted(RESERVED.keys() & flat(layer.set).keys()):
            yield f"{where}set.{key}: belongs to {RESERVED[key]}"
    for i, variant in enumerate(spec.methods):
        yield from _method_problems(variant, f"methods.{i}.")


def _method_problems(variant: Variant, where: str) -> Iterator[str]:
    """A method that does not exist, and options that it does not have."""
    try:
        about = methods.description(variant.method)
    except SemisegError as error:
        yield f"{where}method: {error.message}"
        return
    known = [option.name for option in about.options]
    prefix = "method.options."
    for key in flat(variant.set):
        name = key.removeprefix(prefix).partition(".")[0]
        if key.startswith(prefix) and name not in known:
            yield nearest_key(name, known, [f"{where}set.method.options"])


def _unknown(find: Any, name: str, where: str = "") -> Iterator[str]:
    try:
        find(name)
    except SemisegError as error:
        yield f"{where}{error.message}"
