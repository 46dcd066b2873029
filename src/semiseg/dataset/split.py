"""The labeled, unlabeled, validation, test and held-out cases of a run: disjoint, and fixed beforehand.

The labeled list comes from the published order where there is one. Deleting the labels of unlabeled and test
cases changes nothing.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from semiseg.dataset.case import Case, LabeledCase, plain
from semiseg.dataset.patient import PatientRule
from semiseg.dataset.problem import Problem, raise_if_any
from semiseg.dataset.split_file import Fold, SplitFile
from semiseg.errors import DataError, UsageError, plural, some

FLAG_CODES = ("LABELED", "FOLD")
"""Problems of what was asked for (exit 2); others are of the data (exit 3)."""


@dataclass(frozen=True)
class Split:
    """The lists of one run. Only ``labeled``, ``val`` and ``held_out`` cases have a label to open.

    ``held_out`` cases, of a fold of a cross-validation, are not looked at before the weights are chosen.
    """

    labeled: tuple[LabeledCase, ...]
    unlabeled: tuple[Case, ...]
    val: tuple[LabeledCase, ...]
    test: tuple[Case, ...]
    source: str
    patients: Mapping[str, str] = field(default_factory=dict)
    """Case -> patient, where the split file says whose each case is."""
    held_out: tuple[LabeledCase, ...] = ()
    weights: Mapping[str, float] = field(default_factory=dict)
    """Labeled case -> how often it is learned from, in (0, 1); cases that are not named have 1."""

    @property
    def kept_apart(self) -> tuple[Case, ...]:
        """Cases that choose or are scored: nothing may be learned from them."""
        return (*self.val, *self.held_out, *self.test)

    def as_dict(self) -> dict[str, Any]:
        """Case ids per list, where the lists come from, and whose the cases are, if that is known."""
        told = {"patients": dict(self.patients)} if self.patients else {}
        return {**self._lists(), "source": self.source, **told}

    def sha256(self) -> str:
        """Hash of the lists of ids, in order, and of the weights."""
        return hashlib.sha256(json.dumps(self._lists(), sort_keys=True).encode()).hexdigest()

    def _lists(self) -> dict[str, Any]:
        lists = {"labeled": self.labeled, "unlabeled": self.unlabeled, "val": self.val, "test": self.test}
        lists |= {"held_out": self.held_out} if self.held_out else {}
        weights = {"weights": dict(self.weights)} if self.weights else {}
        return {**{name: [case.id for case in cases] for name, cases in lists.items()}, **weights}


@dataclass(frozen=True)
class LabelBudget:
    """How many labels a run may use: K cases, or all cases of N patients, or (neither) every label."""

    cases: int | None = None
    patients: int | None = None


def make_split(
    training: Mapping[str, Case],
    test: Mapping[str, Case],
    file: SplitFile | None,
    *,
    budget: LabelBudget = LabelBudget(),
    fold: int = 0,
    folds: int | None = None,
    seed: int = 0,
    weights: Mapping[str, float] | None = None,
) -> Split:
    """The lists of a run.

    Args:
        training: id -> case of imagesTr and imagesUn; annotated ones are :class:`LabeledCase`.
        test: id -> case of imagesTs.
        file: the published lists; without one, the annotated cases in an order drawn from ``seed``.
        budget: how many labels to use.
        fold: index into the published folds, or into those of a cross-validation where ``folds`` is given.
        folds: of the cross-validation.
        seed: used only without a published order.
        weights: annotated case -> weight of its label, in [0, 1], 1 by default; with 0 it is unlabeled.

    Raises:
        UsageError: the budget or fold does not fit (every reason at once).
        DataError: the split file contradicts itself or the folder (every reason at once).
    """
    file = file or SplitFile("")
    found = file.folds if folds is None else file.cross_validation
    weights = weights or {}
    without = {case for case, weight in weights.items() if weight == 0}
    draft = _draft(training, test, file, found, budget, fold, seed, without)
    only_flags = all(problem.code in FLAG_CODES for problem in draft.problems)
    raise_if_any(draft.problems, f"split ({draft.source})", UsageError if only_flags else DataError)
    known = {**test, **training}
    listed = (case for cases in draft.lists.values() for case in cases)
    of = file.patients.patient if file.patients else lambda _: None
    return Split(
        labeled=tuple(_labeled_only(known[case] for case in draft.labeled)),
        unlabeled=tuple(plain(known[case]) for case in draft.unlabeled),
        val=tuple(_labeled_only(known[case] for case in draft.val)),
        test=tuple(plain(known[case]) for case in draft.test),
        source=draft.source,
        patients={case: patient for case in listed if (patient := of(case))},
        held_out=tuple(_labeled_only(known[case] for case in draft.held_out)),
        weights={case: weights[case] for case in draft.labeled if weights.get(case, 1) < 1},
    )


def split_problems(training: Mapping[str, Case], test: Mapping[str, Case], file: SplitFile) -> list[Problem]:
    """Everything wrong with any fold of ``file``, for ``check``."""
    numbered = [(folds, fold) for folds in (file.folds, file.cross_validation) for fold in range(len(folds))]
    drafts = [_draft(training, test, file, folds, LabelBudget(), fold, 0) for folds, fold in numbered]
    return list(dict.fromkeys(problem for draft in drafts for problem in draft.problems))


def _draft(
    training: Mapping[str, Case],
    test: Mapping[str, Case],
    file: SplitFile,
    folds: Sequence[Fold],
    budget: LabelBudget,
    fold: int,
    seed: int,
    without: Collection[str] = (),
) -> SplitDraft:
    draft = SplitDraft()
    lists = _fold(folds, fold, draft)
    draft.val, draft.held_out = list(lists.val), list(lists.held_out)
    draft.test = sorted(test) if file.test is None else list(file.test)
    annotated = {name for name, case in {**test, **training}.items() if isinstance(case, LabeledCase)}
    draft.source = f"{file.source or 'no split file'}, seeded order (seed {seed})"
    if lists.labeled is not None:
        draft.order = list(lists.labeled)
        place = f"fold {fold}" if len(folds) > 1 else "published order"
        draft.source = f"{file.source}, {place}" + (f" of {len(folds)}" if lists.held_out else "")
    else:
        free = (annotated & training.keys()) - {*draft.val, *draft.test}
        draft.order = seeded_order(free, seed, file.patients)
    draft.drop_labels(without)
    named = {*draft.order, *draft.val, *draft.held_out, *draft.test}
    draft.others_listed = lists.unlabeled is not None
    draft.others = sorted(training.keys() - named) if lists.unlabeled is None else list(lists.unlabeled)
    draft.others += [case for case in draft.dropped if case not in draft.others]
    if lists.held_out and file.patients is not None:  # their other scans are not learned from either
        kept = {file.patients.patient(case) for case in (*draft.held_out, *draft.val)}
        draft.others = [case for case in draft.others if file.patients.patient(case) not in kept]
    _choose(draft, budget, annotated, file.patients)
    check_known(draft, {*training, *test})
    if any(problem.code == "UNKNOWN_CASE" for problem in draft.problems):  # then no label is missing
        draft.problems = [problem for problem in draft.problems if problem.code != "NO_LABELED"]
    check_disjoint(draft)
    check_labels(draft, annotated)
    if file.patients is not None:
        check_patients(draft, file.patients, budget.cases)
    return draft


def _fold(folds: Sequence[Fold], fold: int, draft: SplitDraft) -> Fold:
    if 0 <= fold < len(folds):
        return folds[fold]
    wanted = f"0 to {len(folds) - 1}" if len(folds) > 1 else "0, the only fold there is"
    fix = "choose one of the folds of the split file; `semiseg split` makes others"
    draft.report("FOLD", f"fold {fold}", wanted, fix)
    return folds[0]


def seeded_order(cases: Iterable[str], seed: int, patients: PatientRule | None) -> list[str]:
    """Shuffle by hash: a case keeps its place when others lose their labels; patients stay together."""

    def key(case: str) -> tuple[str, str, str]:
        patient = (patients.patient(case) if patients else None) or case
        one, other = (hashlib.sha256(f"{seed}:{text}".encode()).hexdigest() for text in (patient, case))
        return one, patient, other

    return sorted(cases, key=key)


def _choose(
    draft: SplitDraft, budget: LabelBudget, annotated: set[str], patients: PatientRule | None
) -> None:
    if budget.cases is not None and budget.patients is not None:
        draft.report("LABELED", "both a number of cases and of patients", "one of them", "give one of them")
    if (count := budget.cases) is not None:
        _require_within(draft, count, len(draft.order), f"labeled = {count}", "case")
        draft.labeled = draft.order[: max(count, 0)]
    elif budget.patients is not None:
        _choose_patients(draft, budget.patients, patients)
    else:
        draft.labeled = [case for case in draft.order if case in annotated]
        if not draft.labeled:
            fix = "put the label of at least one case into labelsTr"
            listed = f" among those that are listed ({some(draft.order)})" if draft.order else ""
            if draft.dropped:
                fix = "draw one, or let accepted predictions count: --set data.accepted=0.5"
                listed += f" but {len(draft.dropped)} of weight 0 ({some(draft.dropped)})"
            draft.report("NO_LABELED", f"no training case with a label{listed}", "at least one", fix)


def _require_within(draft: SplitDraft, count: int, most: int, got: str, unit: str) -> None:
    if not 1 <= count <= most:
        draft.report("LABELED", got, f"1 to {plural(most, unit)}", "choose a number in that range")


def _choose_patients(draft: SplitDraft, count: int, patients: PatientRule | None) -> None:
    if patients is None:
        fix = 'add e.g. "group_by_patient": 10 (leading characters of the case id) to splits.json'
        draft.report("LABELED", plural(count, "patient"), "a split file that says which case is whose", fix)
        return
    listed = list(dict.fromkeys(patients.patient(case) for case in draft.order))
    _require_within(draft, count, len(listed), plural(count, "labeled patient"), "patient")
    chosen = set(listed[: max(count, 0)])
    draft.labeled = [case for case in draft.order if patients.patient(case) in chosen]


def _labeled_only(cases: Iterable[Case]) -> Iterable[LabeledCase]:
    return (case for case in cases if isinstance(case, LabeledCase))


@dataclass
class SplitDraft:
    """The ids of each list while they are being chosen, and what is wrong so far."""

    order: list[str] = field(default_factory=list)
    labeled: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    others_listed: bool = False
    val: list[str] = field(default_factory=list)
    test: list[str] = field(default_factory=list)
    held_out: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    """In a list of labels, but of weight 0."""
    source: str = ""
    """Where the lists come from, for reports."""
    problems: list[Problem] = field(default_factory=list)

    @property
    def unlabeled(self) -> list[str]:
        """Sorted unless the file lists them: whether a case beyond the budget has a label changes nothing."""
        chosen = set(self.labeled)
        cases = [*self.others, *(case for case in self.order if case not in chosen)]
        return cases if self.others_listed else sorted(cases)

    @property
    def lists(self) -> dict[str, list[str]]:
        """The lists of a split."""
        lists = {"labeled": self.labeled, "unlabeled": self.unlabeled, "val": self.val, "test": self.test}
        return lists | ({"held_out": self.held_out} if self.held_out else {})

    def drop_labels(self, without: Collection[str]) -> None:
        """Take cases out of all lists of labels."""
        lists = (self.order, self.val, self.held_out)
        self.dropped = [case for cases in lists for case in cases if case in without]
        self.order, self.val, self.held_out = ([c for c in cases if c not in without] for cases in lists)

    def report(self, code: str, got: str, wanted: str, fix: str = "fix the split file") -> None:
        """Note a problem; all of them are told together."""
        self.problems.append(Problem(code, got, wanted, fix))


def check_known(draft: SplitDraft, known: set[str]) -> None:
    """Lists name cases whose images are there."""
    listed = {**draft.lists, "labeled": [], "order": draft.order, "unlabeled": draft.others}
    for name, cases in listed.items():
        strangers = [case for case in cases if case not in known]
        if strangers:
            got = f"{some(strangers)} in the list {name}"
            wanted = "ids of cases whose images are in the folder"
            fix = f"write them as in {min(known)}, without channel and ending" if known else "add the images"
            draft.report("UNKNOWN_CASE", got, wanted, fix)


def check_disjoint(draft: SplitDraft) -> None:
    """No case is in two lists, or twice in one."""
    alone = {"order": draft.order, "unlabeled": draft.others, "val": draft.val, "held_out": draft.held_out}
    for name, cases in alone.items():
        twice = [case for case, times in Counter(cases).items() if times > 1]
        if twice:
            draft.report("CASE_IN_TWO_LISTS", f"{some(twice)} twice in the list {name}", "each case once")
    for first, second, shared in _shared({name: set(cases) for name, cases in draft.lists.items()}):
        got = f"{some(shared)} in both {first} and {second}"
        draft.report("CASE_IN_TWO_LISTS", got, "each case in one list")


def check_labels(draft: SplitDraft, annotated: set[str]) -> None:
    """Labeled and validation cases have labels."""
    for name, cases in {"labeled": draft.labeled, "val": draft.val, "held_out": draft.held_out}.items():
        missing = [case for case in cases if case not in annotated]
        if missing:
            got, wanted = f"no label for {some(missing)}", f"a label for each {name} case"
            fix = "add the labels to labelsTr, or take the cases out of the list"
            draft.report("MISSING_LABEL", got, wanted, fix)


def check_patients(draft: SplitDraft, rule: PatientRule, count: int | None) -> None:
    """All cases of a patient are in one list, but for scans that never had a label (other phases of a heart).
    Where ``count`` cases cut a patient, the nearest numbers that do not are named.
    """
    of = {case: rule.patient(case) for cases in draft.lists.values() for case in cases}
    nameless = sorted(case for case, patient in of.items() if patient is None)
    if nameless:
        got = f"{some(nameless)}, which group_by_patient does not fit"
        draft.report("PATIENT", got, "ids that name their patient", "fix group_by_patient in splits.json")
    hidden = {of[case] for case in draft.unlabeled if draft.others_listed or case not in set(draft.others)}
    sets = {name: {p for c in cases if (p := of[c]) is not None} for name, cases in draft.lists.items()}
    for first, second, shared in _shared(sets):
        if (first, second) == ("labeled", "unlabeled"):
            shared = [] if rule.table else [patient for patient in shared if patient in hidden]
            if not shared:
                continue
        got = f"patient {some(shared)} in both {first} and {second}"
        wanted = "all cases of a patient in one list"
        if count is not None and (first, second) == ("labeled", "unlabeled"):
            near = _nearest_whole(draft, of, count)
            use = f"use {' or '.join(map(str, near))} labeled cases"
            fix = use if near else "fix the order in splits.json"
            draft.report("LABELED", f"labeled = {count} cuts {got}", wanted, fix)
        else:
            draft.report("PATIENT_IN_TWO_LISTS", got, wanted)


def _nearest_whole(draft: SplitDraft, of: Mapping[str, str | None], count: int) -> list[int]:
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
    for first, second in itertools.combinations(sets, 2):
        if shared := sorted(sets[first] & sets[second]):
            yield first, second, shared
