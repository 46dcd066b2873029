"""The command line. One command is one file in ``commands``, imported when it is called."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``semiseg ARGV`` and return its exit code.

    0 success, 1 failure, 2 wrong usage or configuration, 3 invalid dataset, 4 out of memory or no such
    device, 5 finished with failed cases, 130 interrupted.
    """
    from semiseg.cli.app import run

    if argv is None:  # the process is ours
        from semiseg.cli.streams import secure
        from semiseg.machine.scratch import sweep

        secure()
        sweep()
    return run(argv)
