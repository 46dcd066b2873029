"""Which patient a case belongs to, so that no patient is cut in two by a split."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class PatientRule:
    """Case id -> patient: the first ``prefix`` characters, the one group of ``pattern``, or ``table``.

    A table names cases that belong together; every other case is its own. It may name repeated acquisitions,
    which published lists of labeled cases cut, so that alone is allowed.
    """

    text: str
    prefix: int = 0
    pattern: re.Pattern[str] | None = None
    table: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, given: object) -> PatientRule | str:
        """From ``group_by_patient``: a number, a regular expression with one group, a sentence that says
        "first N characters", or an object case -> patient. Returns what is wrong as a text when it is none.
        """
        if isinstance(given, dict):
            fits = given and all(isinstance(name, str) and name for name in given.values())
            return cls(f"{len(given)} cases by name", table=given) if fits else f"{str(given)[:60]}"
        if isinstance(given, int) and not isinstance(given, bool):
            return cls(str(given), prefix=given) if given > 0 else f"{given}"
        if not isinstance(given, str):
            return f"{given!r}"
        sentence = re.search(r"first\s+(\d+)\s+characters", given, re.IGNORECASE)
        if sentence and int(sentence[1]) > 0:
            return cls(given, prefix=int(sentence[1]))
        try:
            pattern = re.compile(given)
        except (re.error, OverflowError, RecursionError) as error:
            return f"{given[:60]!r} ({error})"
        if ways(given) > MOST_WAYS:
            return f"{given[:60]!r}, which may take years to match: repeats in repeats, or too many in a row"
        return cls(given, pattern=pattern) if pattern.groups == 1 else f"{given[:60]!r}"

    @property
    def written(self) -> int | str | dict[str, str]:
        """As it stands under ``group_by_patient``."""
        return dict(self.table) or self.prefix or self.text

    def patient(self, case: str) -> str | None:
        """The patient of ``case``, or None when the rule does not fit its name."""
        if self.table:
            return self.table.get(case, case)
        if self.pattern is None:
            return case[: self.prefix] if len(case) >= self.prefix else None
        match = self.pattern.match(case)
        return match[1] if match else None


_NAMES = r"((?:patient|subject|sub|pat|video)[-_]?[A-Za-z]*\d+)"
"""``patient001_frame01``, ``sub-01_ses-2``: how names begin in ACDC, BIDS, CaDIS and their kin."""


def rule_from_names(cases: Iterable[str]) -> PatientRule | None:
    """The rule that names follow by themselves: each begins with a patient, who may have several cases."""
    pattern = re.compile(f"(?i:{_NAMES})")
    patients = [match and match[1] for match in map(pattern.match, cases)]
    if not patients or None in patients or len(set(patients)) == len(patients):
        return None
    return PatientRule(pattern.pattern, pattern=pattern)


LONG = 100
"""Characters of a long name."""
MOST_WAYS = 1e9
"""Of matching a long name: four repeats in a row, a third of a second; each further one takes 25 times it."""
_TOKEN = re.compile(
    r"(?P<one>\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?(?:\#[^)]*|[aiLmsux]+|P=\w+)\))"
    r"|(?P<open>\((?:\?(?:P?<\w+>|[aiLmsux-]*:|<?[=!]|>|\(\w+\)))?)"
    r"|(?P<times>[*+?]|\{\d*,?\d*\})[?+]?"
    r"|(?P<rest>.)",
    re.DOTALL,
)


def ways(pattern: str) -> float:
    """In how many ways a regular expression may try to match a name of :data:`LONG` characters, at most.

    Python's matching tries them all before it says no: a repeat inside of a repeat has more than a computer
    can try. What stands behind one another multiplies, branches add up, and a repeat does it each time anew.
    """
    levels: list[list[float]] = [[1.0]]  # of each open group its branches
    last = 1.0  # of what a repeat would repeat
    for token in _TOKEN.finditer(pattern):
        if token["open"]:
            levels.append([1.0])
        elif token["rest"] == "|":
            levels[-1].append(1.0)
        elif token["times"]:
            levels[-1][-1] *= _repeated(last, token["times"]) / last
        else:
            last = sum(levels.pop()) if token["rest"] == ")" and len(levels) > 1 else 1.0
            levels[-1][-1] *= last
        if levels[-1][-1] > MOST_WAYS:
            return levels[-1][-1]
    return sum(levels[0])


def _repeated(once: float, times: str) -> float:
    """The ways of a repeat of what has so many by itself."""
    bounds = {"?": (0, 1), "*": (0, LONG), "+": (1, LONG)}.get(times)
    if bounds is None:
        low, comma, high = times[1:-1].partition(",")
        if not low and not comma:  # {} are braces
            return once
        fewest = min(int(low or 0), LONG)
        bounds = fewest, min(int(high or LONG), LONG) if comma else fewest
    fewest, most = bounds
    return once ** min(most, 30) * (most - fewest + 1)  # what is too much after 30 times is so after 100
