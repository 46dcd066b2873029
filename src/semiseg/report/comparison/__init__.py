"""A comparison for people: one self-contained HTML page, and its figures as files for a paper."""

from semiseg.report.comparison.write import write

__all__ = ["write"]
