"""``python -m semiseg`` is ``semiseg``."""

from __future__ import annotations

import sys

from semiseg.cli import main

if __name__ == "__main__":
    sys.exit(main())
