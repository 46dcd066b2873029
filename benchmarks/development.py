"""A dataset for choosing settings: its test cases are training cases, and the real test cases are not in it.

    python benchmarks/development.py DATASET OUT --cases 40

The last cases of the published training order, which no run with few labels sees as labeled, become the test
cases of OUT; the others stay what they were. Files are linked, not copied. What is chosen on OUT has not been
chosen on the test cases of DATASET.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def development(dataset: Path, out: Path, cases: int) -> None:
    """Write OUT: the training part of ``dataset``, with its last ``cases`` cases as the test part."""
    content = json.loads((dataset / "dataset.json").read_text(encoding="utf-8"))
    order = json.loads((dataset / "splits.json").read_text(encoding="utf-8"))["order"]
    if not 0 < cases < len(order):
        raise SystemExit(f"--cases {cases}: {dataset.name} has {len(order)} training cases")
    for part, ids in (("Tr", order[:-cases]), ("Ts", order[-cases:])):
        for kind in ("images", "labels"):
            (out / f"{kind}{part}").mkdir(parents=True)
        for case in ids:
            for file in sorted((dataset / "imagesTr").glob(f"{case}_[0-9][0-9][0-9][0-9].*")):
                (out / f"images{part}" / file.name).symlink_to(file.resolve())
            label = dataset / "labelsTr" / f"{case}{content['file_ending']}"
            (out / f"labels{part}" / label.name).symlink_to(label.resolve())
    content |= {
        "numTraining": len(order) - cases,
        "name": f"{content.get('name', dataset.name)} (development)",
    }
    (out / "dataset.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    (out / "splits.json").write_text(json.dumps({"order": order[:-cases]}) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--cases", type=int, default=40)
    args = parser.parse_args()
    development(args.dataset, args.out, args.cases)


if __name__ == "__main__":
    main()
