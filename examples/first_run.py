"""Tutorial 1 as a script: make the demo, and look at what it wrote. `python examples/first_run.py`."""

from __future__ import annotations

import argparse
import sys

from semiseg.demo.demo import run


def main() -> None:
    """Run the demo and list its folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--iterations", type=int, help="of each method; the default takes minutes")
    parser.add_argument("-o", "--output", default="demo")
    given = parser.parse_args()
    result = run(given.output, iterations=given.iterations)
    for name, folder in result.runs.items():
        sys.stdout.write(f"{name}: {folder}\n")
    sys.stdout.write(f"report: {result.report}\n")


if __name__ == "__main__":
    main()
