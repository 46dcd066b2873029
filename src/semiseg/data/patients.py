"""Which patient a case belongs to, so that no patient is cut in two by a split."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class PatientRule:
    """Case id -> patient: the first ``prefix`` characters, or the one group of ``pattern``."""

    text: str
    prefix: int = 0
    pattern: re.Pattern[str] | None = None

    @classmethod
    def parse(cls, given: object) -> PatientRule | str:
        """From ``group_by_patient``: a number, a regular expression with one group, or a sentence that says
        "first N characters". Returns what is wrong as a text when it is none of these.
        """
        if isinstance(given, int) and not isinstance(given, bool):
            return cls(str(given), prefix=given) if given > 0 else f"{given}"
        if not isinstance(given, str):
            return f"{given!r}"
        sentence = re.search(r"first\s+(\d+)\s+characters", given, re.IGNORECASE)
        if sentence and int(sentence[1]) > 0:
            return cls(given, prefix=int(sentence[1]))
        try:
            pattern = re.compile(given)
        except re.error as error:
            return f"{given!r} ({error})"
        return cls(given, pattern=pattern) if pattern.groups == 1 else f"{given!r}"

    def patient(self, case: str) -> str | None:
        """The patient of ``case``, or None when the rule does not fit its name."""
        if self.pattern is None:
            return case[: self.prefix] if len(case) >= self.prefix else None
        match = self.pattern.match(case)
        return match[1] if match else None
