"""The file that describes a sweep: ``SPEC.yaml``, read with all its problems at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from semiseg.errors import UsageError
from semiseg.model_problems import problems_of
from semiseg.resolve import read_yaml

HINT = "docs/sweeps.md describes every key"


def _short(key: str) -> BeforeValidator:
    """A plain name (or number) stands for a section in which ``key`` alone is given."""

    def expand(value: Any) -> Any:
        return {key: str(value)} if isinstance(value, str | int) and not isinstance(value, bool) else value

    return BeforeValidator(expand)


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

    name: str = ""
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
    score: Literal["test", "validation"] = "test"
    """Which cases are scored."""
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
    try:
        tree = read_yaml(file)
    except UsageError as error:
        raise UsageError(error.message, hint=HINT, code=error.code) from None
    return as_spec(tree, str(file), name=path.name if path.is_dir() else path.stem)


def as_spec(tree: Mapping[str, Any], where: str = "sweep", *, name: str = "sweep") -> Spec:
    """A tree of plain values as a specification.

    Args:
        tree: as in the file.
        where: the file, for messages.
        name: where the tree gives none.

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
