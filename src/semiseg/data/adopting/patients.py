"""Several scans of one patient: said in ``splits.json``, so that no split cuts the patient in two."""

from __future__ import annotations

import re
from collections import defaultdict

from semiseg.data.adopting.draft import Draft, some

_PATTERN = r"((?:patient|subject|sub|pat)[-_]?[A-Za-z]*\d+)"
"""``patient001_frame01``, ``sub-01_ses-2``: the words that ACDC, BIDS and their kin begin names with."""


def patient_rule(draft: Draft) -> str | None:
    """The regular expression for ``group_by_patient``, when names tell patients and some have several scans.

    Where a patient already has scans with and without a mask, or in training and test, nothing is written
    (every split would be refused) and a notice names them.
    """
    lists: dict[str, set[str]] = defaultdict(set)
    scans: dict[str, int] = defaultdict(int)
    for item in draft.items:
        match = re.match(_PATTERN, item.id, re.IGNORECASE)
        if match is None:
            return None
        lists[match[1]].add(item.part)
        scans[match[1]] += 1
    if all(count == 1 for count in scans.values()):
        return None
    torn = sorted(patient for patient, parts in lists.items() if len(parts) > 1)
    if torn:
        draft.notices.append(f"{len(torn)} patients have scans in more than one list: {some(torn)}")
        return None
    draft.decisions.append("cases of one patient, told by the beginning of their names, are kept together")
    return f"(?i:{_PATTERN})"
