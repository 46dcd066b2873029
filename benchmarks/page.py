"""Put the result tables together into docs/results.md: `python benchmarks/page.py`."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "results.md"
HEAD = """# Results

Every table here was written by the command named in it; `python benchmarks/page.py` collects them from
`benchmarks/results`, where the raw numbers are. Nothing was chosen on test cases: the default recipe was
settled on labels of hippocampus training cases that the runs below do not see as labeled.
"""
ORDER = ("hippocampus", "acdc", "left_atrium", "metrics", "training")


def page() -> str:
    """The whole page."""
    found = [ROOT / "benchmarks" / "results" / f"{name}.md" for name in ORDER]
    tables = [path.read_text(encoding="utf-8").replace("# ", "## ", 1) for path in found if path.is_file()]
    return "\n".join([HEAD, *tables])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
