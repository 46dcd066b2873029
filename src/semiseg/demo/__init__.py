"""A small synthetic study from end to end: make data, train two ways, predict, evaluate, compare."""

from __future__ import annotations

from semiseg.demo.demo import DemoResult, run

__all__ = ["DemoResult", "run"]
