"""What happens where a cell is worked at: claim it, run it, write down how it ended.

``python -m semiseg.sweeping.worker SWEEP CELL`` does so in a process of its own. It ends politely, with its
training saved, on SIGTERM; with ``--watch`` also when its standard input is closed, which is what happens
when whoever started it dies.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from semiseg.errors import DeviceError, Interrupted, SemisegError
from semiseg.sweeping.ledger import Entry, Ledger, told
from semiseg.sweeping.progress import share_done
from semiseg.unforeseen import is_out_of_memory, unforeseen

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def work(folder: Path, cell_id: str, *, device: str = "auto", workers: int = 0) -> None:
    """Run a cell and write down how it ended; nothing where another process has it or has finished it.

    Args:
        folder: of the sweep.
        cell_id: of the cell.
        device: auto, cpu, cuda, cuda:N or mps.
        workers: processes that preprocess, threads that compare.

    Raises:
        Interrupted: stopped; the cell can be gone on with.
    """
    ledger = Ledger(folder)
    entry = ledger.must_read(cell_id)
    with ledger.claim(entry.cell) as claim:
        if not claim.mine:
            return
        entry = ledger.must_read(cell_id)
        if entry.state == "done":
            return
        entry = entry.started(device)
        ledger.write(entry)
        began, share = time.monotonic(), share_done(folder, entry.cell)

        def end(state: Any, **more: Any) -> None:
            trained = max(share_done(folder, entry.cell) - share, 0.0)
            ledger.write(entry.ended(state, time.monotonic() - began, trained, **more))

        _guarded(entry, folder, end, device=device, workers=workers)


def _guarded(entry: Entry, folder: Path, end: Callable[..., None], *, device: str, workers: int) -> None:
    """Run a cell and call ``end`` with the state that it is in then."""
    try:
        from semiseg.sweeping.cell import run_cell

        result = run_cell(entry.cell, folder, device=device, workers=workers)
    except (Interrupted, KeyboardInterrupt):
        end("waiting")
        raise Interrupted(f"{entry.cell.title}: stopped") from None
    except Exception as error:
        logging.getLogger("semiseg.sweep").error("%s failed", entry.cell.title, exc_info=True)
        known = error if isinstance(error, SemisegError) else unforeseen(error)
        end("dead" if is_passing(error) else "failed", error=told(known))
    else:
        end("done", result=result)


def is_passing(error: BaseException) -> bool:
    """Whether trying again may help: memory ran out, a device or a disk failed, another command was there."""
    if isinstance(error, SemisegError) and error.code == "IN_USE":
        return True
    return isinstance(error, DeviceError | OSError) or is_out_of_memory(error)


def main(arguments: list[str] | None = None) -> int:
    """Run one cell in this process."""
    parser = argparse.ArgumentParser(prog="python -m semiseg.sweeping.worker", description="Run a cell.")
    parser.add_argument("sweep", type=Path)
    parser.add_argument("cell")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--watch", action="store_true", help="stop when standard input is closed")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    stop_politely(watch=given.watch)
    if given.threads:
        use_threads(given.threads)
    try:
        work(given.sweep, given.cell, device=given.device, workers=given.threads if given.threads > 1 else 0)
    except Interrupted as error:
        return error.exit_code
    except SemisegError as error:
        sys.stderr.write(f"error: {error.message}\nhint: {error.hint}\n")
        return error.exit_code
    return 0


def use_threads(count: int) -> None:
    """Compute with so many threads, here and in processes that this one starts."""
    os.environ.update(dict.fromkeys(THREADS, str(count)))
    import torch

    torch.set_num_threads(count)


def stop_politely(*, watch: bool) -> None:
    """End as after Ctrl-C on SIGTERM and, with ``watch``, on the end of standard input.

    Ctrl-C itself is left to whoever started this process.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if watch:
        threading.Thread(target=_wait_for_the_end_of_input, daemon=True, name="watch").start()


def _wait_for_the_end_of_input() -> None:
    while os.read(0, 1024):
        pass
    if sys.platform == "win32":
        signal.raise_signal(signal.SIGTERM)
    else:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
