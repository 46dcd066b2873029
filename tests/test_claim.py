"""A claim is held by one process, and given up by the system when that dies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from semiseg.claim import Claim, taken

HOLD = """
import sys, time
from pathlib import Path
from semiseg.claim import Claim
with Claim(Path(sys.argv[1])) as claim:
    print(claim.mine, flush=True)
    time.sleep(300)
"""


def test_one_holder_at_a_time_and_none_after_its_death(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "lock"
    assert not taken(path)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        assert taken(path)
        with Claim(path) as claim:
            assert not claim.mine
        holder.kill()
    with Claim(path, patience=5.0) as claim:
        assert claim.mine
    assert not taken(path)
