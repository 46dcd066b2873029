"""Figures by method: what was published (``published.csv``) and what was measured here (``measured.csv``)."""

from __future__ import annotations

import csv
from pathlib import Path

FOLDER = Path(__file__).parent
METRICS = ("dice", "jaccard", "hd95", "asd")

Row = dict[str, str]


def published(method: str | None = None) -> list[Row]:
    """Rows of ``published.csv``, of one method or of all; Dice and Jaccard in percent.

    Columns: ``method`` (also of methods that semiseg does not have), ``dataset``, ``labeled``, ``unlabeled``
    (in ``unit``: scans, patients or percent of the training scans), one per metric (empty: not given),
    ``unchecked`` (the metrics that were not compared with their source), ``setting``, ``source``,
    ``comparable`` (``yes`` or ``no``: with an honest run of semiseg) and ``why``.
    """
    return _rows("published.csv", method)


def measured(method: str | None = None) -> list[Row]:
    """Rows of ``measured.csv``, which ``benchmarks/page.py`` writes; Dice in percent, distances in mm.

    A row is the mean of ``seeds`` runs of one ``table`` of docs/results.md, which has their settings;
    ``batch`` is how many images a network sees per step (empty: not recorded), ``*_sd`` the deviation over
    seeds (empty for one seed), ``*_gain`` the mean difference from the supervised runs of the same command,
    labels, iterations and seeds.
    """
    return _rows("measured.csv", method)


def _rows(name: str, method: str | None) -> list[Row]:
    path = FOLDER / name
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if method in (None, row["method"])]
