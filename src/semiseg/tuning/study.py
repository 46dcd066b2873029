"""The study of a search: what was tried, what comes next, what is not worth going on with.

Only this file knows Optuna. The journal is a text file to which every change is appended. One process writes
it, so it needs no database, and no lock that a network drive would not keep.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semiseg.errors import UsageError, missing_extra
from semiseg.runs.log import drop_torn_line
from semiseg.tuning.axes import Axis, Choice
from semiseg.tuning.search import Search
from semiseg.tuning.trial import Scored, TrialRecord

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial, Trial

JOURNAL = "study.journal"
ATTEMPTS = 3
"""Times that a trial is begun; one that dies each time is given up."""
STARTUP = 10
"""Trials that are drawn at random before the sampler learns from them."""
STARTUP_OF_PRUNING = 4
"""Trials that are trained to the end before one is stopped early."""


def require_optuna() -> None:
    """Say what to install where Optuna is missing (UsageError)."""
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise missing_extra("hpo", "Optuna", "tuning") from None


class Study:
    """The study of one search in a tuning folder.

    Raises:
        UsageError: the journal was begun on other terms, or is no journal.
    """

    def __init__(
        self,
        folder: Path,
        search: Search,
        terms: Mapping[str, Any],
        *,
        seed: int,
        higher_is_better: bool,
        warm_up: int,
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        path = folder / JOURNAL
        drop_torn_line(path)  # a line that a kill broke off would spoil the next one
        path.with_name(f"{JOURNAL}.lock").unlink(missing_ok=True)
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

        try:
            backend = JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path)))
            self.optuna_study = optuna.create_study(
                storage=JournalStorage(backend),
                study_name="tune",
                direction="maximize" if higher_is_better else "minimize",
                pruner=optuna.pruners.MedianPruner(STARTUP_OF_PRUNING, warm_up),
                load_if_exists=True,
            )
        except (ValueError, KeyError) as error:
            raise UsageError(
                f"{path} is not a journal of trials ({error})",
                hint="restore the file, or start again with --overwrite",
                code="BAD_JOURNAL",
            ) from None
        self.search, self.seed = search, seed
        self._states = optuna.trial.TrialState
        self.space = {name: _distribution(axis) for name, axis in search.axes.items()}
        self.open: dict[int, Trial] = {}
        self._agree(terms)
        self._recover()

    def next(self, most: int) -> TrialRecord | None:
        """The trial to train now; None when ``most`` of them are finished or under way."""
        while sum(entry.state != "died" for entry in self.entries()) < most or self._waiting():
            trial = self._ask()
            number = trial.number
            entry = self.entry(number)
            twin = self._twin(entry)
            if twin is None:
                self.open[number] = trial
                return entry
            trial.set_user_attr("folds", list(twin.folds))
            trial.set_user_attr("repeats", twin.number)
            self.optuna_study.tell(number, twin.score)
        return None

    def report(self, number: int, place: int, score: float) -> bool:
        """Note a score on the way; whether the trial should be stopped there."""
        trial = self.open[number]
        trial.report(score, place)
        return bool(trial.should_prune())

    def finish(self, number: int, scored: Scored) -> None:
        """Every fold of the trial is scored."""
        trial = self.open.pop(number)
        trial.set_user_attr("folds", list(scored.folds))
        trial.set_user_attr("deviations", list(scored.deviations))
        self.optuna_study.tell(number, scored.mean)

    def prune(self, number: int) -> None:
        """The trial was stopped early."""
        self.open.pop(number)
        self.optuna_study.tell(number, state=self._states.PRUNED)

    def fail(self, number: int, note: str) -> None:
        """The trial cannot be trained; trying again would not help."""
        self.open.pop(number)
        self._close(number, note, again=False)

    def die(self, number: int, note: str, *, counts: bool = True) -> None:
        """The process of the trial is gone: mark it, and put it back in line."""
        self.open.pop(number, None)
        entry = self.entry(number)
        attempt = entry.attempt + counts
        if attempt <= ATTEMPTS and entry.home not in [w.user_attrs.get("home") for w in self._waiting()]:
            told = {"attempt": attempt, "home": entry.home, "start": entry.start}
            self.optuna_study.enqueue_trial(dict(entry.values), user_attrs=told)
        self._close(number, note, again=attempt <= ATTEMPTS)

    def _close(self, number: int, note: str, *, again: bool) -> None:
        self.optuna_study.set_user_attr(f"end of {number}", {"note": note, "again": again})
        self.optuna_study.tell(number, state=self._states.FAIL)

    def importance(self) -> dict[str, float]:
        """Name -> how much it decides whether a trial is among the best; they add up to 1, the largest first.

        PED-ANOVA (Watanabe et al., IJCAI 2023, arXiv:2304.10255). Empty for fewer than 10 scored trials.
        """
        import optuna

        scored = [entry for entry in self.entries() if entry.state == "done" and entry.values]
        if len(scored) < STARTUP or len({entry.score for entry in scored}) == 1:
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # few trials: the figure is shown with its number
            found = optuna.importance.get_param_importances(self.optuna_study, params=list(self.space))
        return {name: float(share) for name, share in found.items()}

    def entry(self, number: int) -> TrialRecord:
        """One trial."""
        return self._entry(self._trials()[number])

    def entries(self) -> list[TrialRecord]:
        """All trials that were begun."""
        return [self._entry(trial) for trial in self._trials() if trial.state != self._states.WAITING]

    def _entry(self, trial: FrozenTrial) -> TrialRecord:
        states, told = self._states, trial.user_attrs
        end = self.optuna_study.user_attrs.get(f"end of {trial.number}", {})
        failed = "died" if end.get("again") else "failed"
        names = {states.COMPLETE: "done", states.PRUNED: "pruned", states.FAIL: failed}
        ended = None if failed == "died" else trial.duration
        return TrialRecord(
            trial.number,
            names.get(trial.state, "running"),
            trial.params,
            trial.value if trial.state == states.COMPLETE else None,
            tuple(told.get("folds", ())),
            None if ended is None else ended.total_seconds(),
            end.get("note", ""),
            told.get("attempt", 1),
            told.get("home", trial.number),
            told.get("repeats"),
            tuple(told.get("deviations", ())),
            bool(told.get("start")),
        )

    def _ask(self) -> Trial:
        """The oldest trial in line, else a new one."""
        import optuna

        waiting = self._waiting()
        fresh = sum("attempt" not in trial.user_attrs for trial in self._trials())
        # A sampler of its own for each trial: nothing to rewind when the search is gone on with.
        seed = (self.seed * 1_000_003 + fresh) % 2**32
        self.optuna_study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP)
        if waiting and waiting[0].user_attrs.get("start") and not self.search.contains_start:
            return self.optuna_study.ask()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return self.optuna_study.ask(self.space)

    def _twin(self, entry: TrialRecord) -> TrialRecord | None:
        """An earlier trial with the very same values."""
        done = (other for other in self.entries() if other.state == "done" and other.values == entry.values)
        return None if entry.start or not entry.values else next(done, None)

    def _waiting(self) -> list[FrozenTrial]:
        return [trial for trial in self._trials() if trial.state == self._states.WAITING]

    def _trials(self) -> list[FrozenTrial]:
        return self.optuna_study.get_trials(deepcopy=False)

    def _agree(self, terms: Mapping[str, Any]) -> None:
        before = self.optuna_study.user_attrs.get("terms")
        if before is None:
            self.optuna_study.set_user_attr("terms", dict(terms))
            values = dict(self.search.start) if self.search.contains_start else {}
            self.optuna_study.enqueue_trial(values, user_attrs={"start": True})
            return
        names = sorted({*before, *terms})
        wrong = [
            f"{n}: {before.get(n)} before, {terms.get(n)} now" for n in names if before.get(n) != terms.get(n)
        ]
        if wrong:
            raise UsageError(
                f"the tuning was started with other settings: {'; '.join(wrong)}",
                hint="resume with the same flags, or start another one with -o FOLDER or --overwrite",
                code="RESUME_DIFFERS",
            )

    def _recover(self) -> None:
        """Trials that still run in the journal ended with the command that wrote it: no fault of theirs."""
        for trial in self._trials():
            if trial.state == self._states.RUNNING:
                self.die(trial.number, "interrupted", counts=False)


def _distribution(axis: Axis) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(axis, Choice):
        return CategoricalDistribution(axis.values)
    if axis.whole:
        return IntDistribution(int(axis.low), int(axis.high), log=axis.log)
    return FloatDistribution(axis.low, axis.high, log=axis.log)
