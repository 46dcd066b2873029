"""The same work on many cases, in this process or in several; all faults are reported together."""

from __future__ import annotations

import ast
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

from semiseg.dataset.case import Case
from semiseg.errors import DeviceError, SemisegError, where_to_move
from semiseg.machine.hardware import free_memory_gb

log = logging.getLogger("semiseg.data")

PROCESS_BYTES = 200 * 2**20
"""What a process takes before its first scan."""

C = TypeVar("C")
T = TypeVar("T")
Work = Callable[[C], T | SemisegError]
"""Returns its error instead of raising it, so that one bad case does not stop the others."""


def each(work: Work[C, T], cases: Sequence[C], workers: int) -> Iterator[tuple[C, T | SemisegError]]:
    """Do ``work`` on every case; results come as they are done.

    Args:
        work: picklable, such as a ``functools.partial`` of a module's function.
        cases: what to work on.
        workers: processes (started with spawn); 0 works in this one.

    Raises:
        DeviceError: a process died.
    """
    if workers <= 0 or len(cases) <= 1 or not _starts_processes():
        for case in cases:
            yield case, work(case)
        return
    try:
        with ProcessPoolExecutor(min(workers, len(cases)), mp_context=get_context("spawn")) as pool:
            waiting: dict[Future[T | SemisegError], C] = {pool.submit(work, case): case for case in cases}
            try:
                while waiting:
                    for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                        yield waiting.pop(future), future.result()
            finally:  # an interrupt ends the work after the cases in hand
                pool.shutdown(wait=True, cancel_futures=True)
    except BrokenProcessPool:
        raise DeviceError(
            "a worker process died without a message; most often the system ended it because memory ran out",
            hint="use fewer workers (0 works in this process). What is cached so far is kept",
            code="WORKER_DIED",
        ) from None


@cache
def _starts_processes() -> bool:
    """Whether new processes can import the script that is running, which they do first.

    One without ``if __name__ == "__main__":`` would start itself over in each of them, and one that is read
    from a pipe is no file to import. Then the work is done in this process, and a line says so.
    """
    main = sys.modules["__main__"]
    file = getattr(main, "__file__", None)
    if file is None or getattr(main, "__spec__", None) is not None:  # a prompt, a notebook, python -m
        return True
    try:
        tree = ast.parse(Path(file).read_bytes())
    except (OSError, SyntaxError, ValueError):
        why = "other processes cannot import the script"
    else:
        tests = (node.test for node in tree.body if isinstance(node, ast.If))
        if any(isinstance(part, ast.Name) and part.id == "__name__" for t in tests for part in ast.walk(t)):
            return True
        why = f'{file} has no `if __name__ == "__main__":` around its calls'
    log.warning("%s: one process does all the work", why)
    return False


def affordable(workers: int, bytes_per_case: int) -> int:
    """At most ``workers``, and no more than the free memory carries, but at least one where any is asked."""
    free = free_memory_gb()
    if workers <= 1 or free is None:
        return workers
    fits = max(1, int(0.8 * free * 2**30 / (bytes_per_case + PROCESS_BYTES)))
    if fits < workers:
        log.info("%d processes instead of %d: each may need %.1f GB", fits, workers, bytes_per_case / 2**30)
    return min(workers, fits)


def attempt(case: Case, work: Callable[[], T], cache: Path | None = None) -> T | SemisegError:
    """``work()``, or its failure as an error that names the case."""
    details = {"case": case.id}
    try:
        return work()
    except SemisegError as error:
        if not error.message.startswith(f"{case.id}:"):
            error.message = f"{case.id}: {error.message}"
            error.args = (error.message,)
        error.details.setdefault("case", case.id)
        return error
    except OSError as error:
        room = f" and that {cache} has room and may be written" if cache else ""
        return SemisegError(
            f"{case.id}: {error.strerror or error} ({error.filename or 'no file named'})",
            hint=where_to_move(error) or f"see that the files can be read{room}",
            code="FILES",
            details=details,
        )
    except MemoryError:
        return DeviceError(
            f"{case.id}: out of memory",
            hint="use fewer workers, or a coarser spacing in the plan",
            code="MEMORY",
            details=details,
        )


def raise_faults(faults: Sequence[SemisegError], doing: str) -> None:
    """Raise one error for all faults, of the first one's kind; nothing when there are none."""
    if not faults:
        return
    if len(faults) == 1:
        raise faults[0]
    lines = "\n".join(f"  {fault.message}" for fault in faults[:20])
    more = f"\n  and {len(faults) - 20} more" if len(faults) > 20 else ""
    codes = {fault.code for fault in faults}
    raise type(faults[0])(
        f"{len(faults)} cases cannot be {doing}:\n{lines}{more}",
        hint=faults[0].hint,
        code=codes.pop() if len(codes) == 1 else "CASES",
        details={"cases": [fault.as_dict() for fault in faults]},
    )
