"""What can be wrong with the lists of a split, told all at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from semiseg.data.patients import PatientRule
from semiseg.data.split_draft import Draft, some


def check_known(draft: Draft, known: set[str]) -> None:
    """Lists name cases whose images are there."""
    listed = {"order": draft.order, "unlabeled": draft.others, "val": draft.val, "test": draft.test}
    for name, cases in listed.items():
        strangers = [case for case in cases if case not in known]
        if strangers:
            got = f"{some(strangers)} in the list {name}"
            draft.report("UNKNOWN_CASE", got, "ids of cases whose images are in the folder")


def check_disjoint(draft: Draft) -> None:
    """No case is in two lists, or twice in one."""
    for name, cases in {"order": draft.order, "unlabeled": draft.others, "val": draft.val}.items():
        twice = [case for case, times in Counter(cases).items() if times > 1]
        if twice:
            draft.report("CASE_IN_TWO_LISTS", f"{some(twice)} twice in the list {name}", "each case once")
    for first, second, shared in _shared({name: set(cases) for name, cases in draft.lists.items()}):
        got = f"{some(shared)} in both {first} and {second}"
        draft.report("CASE_IN_TWO_LISTS", got, "each case in one list")


def check_labels(draft: Draft, annotated: set[str]) -> None:
    """Labeled and validation cases have labels."""
    for name, cases in {"labeled": draft.labeled, "val": draft.val}.items():
        missing = [case for case in cases if case not in annotated]
        if missing:
            fix = "add the labels to labelsTr, or take the cases out of the list"
            draft.report(
                "MISSING_LABEL", f"no label for {some(missing)}", f"a label for each {name} case", fix
            )


def check_patients(draft: Draft, rule: PatientRule, count: int | None) -> None:
    """All cases of a patient are in one list; where ``count`` cases cut one, the nearest that do not."""
    of = {case: rule.patient(case) for cases in draft.lists.values() for case in cases}
    nameless = sorted(case for case, patient in of.items() if patient is None)
    if nameless:
        got = f"{some(nameless)}, which group_by_patient does not fit"
        draft.report("PATIENT", got, "ids that name their patient", "mend group_by_patient in splits.json")
    sets = {name: {p for c in cases if (p := of[c]) is not None} for name, cases in draft.lists.items()}
    for first, second, shared in _shared(sets):
        got = f"patient {some(shared)} in both {first} and {second}"
        wanted = "all cases of a patient in one list"
        if count is not None and (first, second) == ("labeled", "unlabeled"):
            near = _nearest_whole(draft, of, count)
            fix = (
                f"use {' or '.join(map(str, near))} labeled cases"
                if near
                else "mend the order in splits.json"
            )
            draft.report("LABELED", f"labeled = {count} cuts {got}", wanted, fix)
        else:
            draft.report("PATIENT_IN_TWO_LISTS", got, wanted)


def _nearest_whole(draft: Draft, of: Mapping[str, str | None], count: int) -> list[int]:
    """The nearest smaller and larger K that keep every patient whole."""
    others = {of[case] for case in draft.others}
    whole = [
        k
        for k in range(1, len(draft.order) + 1)
        if not {of[c] for c in draft.order[:k]} & ({of[c] for c in draft.order[k:]} | others)
    ]
    below, above = [k for k in whole if k < count], [k for k in whole if k > count]
    return below[-1:] + above[:1]


def _shared(sets: Mapping[str, set[str]]) -> Iterable[tuple[str, str, list[str]]]:
    names = list(sets)
    for index, first in enumerate(names):
        for second in names[index + 1 :]:
            shared = sorted(sets[first] & sets[second])
            if shared:
                yield first, second, shared
