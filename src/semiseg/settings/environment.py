"""The environment of a user or a cluster: ``SEMISEG_HOME``, ``SEMISEG_DATA`` and friends, in one place.

Settings of a *run* (``SEMISEG__SECTION__KEY``) are configuration; see :mod:`semiseg.settings.resolve`.
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from semiseg.errors import UsageError, in_a_line

Folders = Annotated[tuple[Path, ...], NoDecode]


class Settings(BaseSettings):
    """What ``SEMISEG_NAME`` says, or the default. Build it with :func:`read`."""

    model_config = SettingsConfigDict(
        env_prefix="SEMISEG_",
        extra="ignore",
        frozen=True,
        env_ignore_empty=True,
        ignored_types=(cached_property,),
    )

    home: Path = Path("~/.semiseg")
    """Cache and models."""
    data: Folders = ()
    """Folders in which datasets are looked up by name (``:`` between them, ``;`` on Windows)."""
    runs: Folders = (Path("runs"),)
    """Folders in which runs are looked up; new runs go to the first."""
    device: str = "auto"
    workers: int | None = Field(None, ge=0)
    log_level: str = "INFO"
    no_progress: bool = False
    keep_memory: bool = True
    """Training on a CPU keeps freed memory instead of giving it back: :mod:`semiseg.machine.hardware`."""

    @field_validator("data", "runs", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(filter(None, value.split(os.pathsep))) if isinstance(value, str) else value

    @field_validator("home")
    @classmethod
    def _expand(cls, value: Path) -> Path:
        return value.expanduser()

    @property
    def cache(self) -> Path:
        """Where preprocessed cases are kept."""
        return self.home / "cache"


def read() -> Settings:
    """The settings of this process.

    Raises:
        UsageError: a variable whose value does not fit; all of them at once.
    """
    try:
        return Settings()
    except ValidationError as error:
        problems = [
            f"SEMISEG_{str(e['loc'][0]).upper()}: {in_a_line(e['msg'])}, got {e['input']!r}"
            for e in error.errors()
        ]
    raise UsageError(
        "environment: " + "; ".join(problems), hint="unset or correct the variable", code="ENVIRONMENT"
    )


def unknown_variables() -> list[str]:
    """``SEMISEG_*`` variables that nothing reads: most likely misspelled."""
    known = {f"SEMISEG_{name.upper()}" for name in Settings.model_fields}
    mine = (name for name in os.environ if name.startswith("SEMISEG_") and not name.startswith("SEMISEG__"))
    return sorted(name for name in mine if name not in known)
