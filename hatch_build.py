"""Build hook: the wheel has the pages of semiseg studio, editable installs too where npm can be reached."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Pages(BuildHookInterface[Any]):
    """Runs ``web/build.py``."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the pages before the files of the wheel are collected."""
        pages = runpy.run_path(str(Path(self.root) / "web" / "build.py"))
        try:
            pages["build"]()
        except pages["PagesError"] as error:
            if version == "editable":
                self.app.display_warning(f"no pages for semiseg studio, later: make web; {error}")
            else:
                self.app.abort(f"{error}; HATCH_BUILD_NO_HOOKS=true builds without the pages of the studio")
