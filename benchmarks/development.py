"""A dataset for choosing settings: its test cases are training cases, and the real test cases are not in it.

    python benchmarks/development.py DATASET OUT --cases 40 [--validation]

The last cases of the published training order, which no run with few labels sees as labeled, become the
test cases of OUT, or its validation list, for curves over the run; the others stay what they were. Cases
are found as training finds them, through the `dataset` key of dataset.json too. Files are linked, not
copied. What is chosen on OUT has not been chosen on the test cases of DATASET.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from semiseg.dataset.case import Case, LabeledCase
from semiseg.dataset.dataset import Dataset


def development(folder: Path, out: Path, cases: int, *, validation: bool = False) -> None:
    """Write OUT: the training part of the dataset, its last ``cases`` cases as test or validation."""
    dataset = Dataset.open(folder)
    annotated = {case.id: case for case in dataset.annotated}  # in the published order
    order = (dataset.splits.order if dataset.splits else None) or tuple(annotated)
    if lost := [name for name in order if name not in annotated]:
        raise SystemExit(f"{len(lost)} cases of the order have no scan with a label: {', '.join(lost[:5])}")
    if not 0 < cases < len(order):
        raise SystemExit(f"--cases {cases}: {dataset.name} has {len(order)} training cases")
    held_out = [annotated.pop(name) for name in order[-cases:]]
    write(
        dataset, out, list(annotated.values()), held_out, order[:-cases], "development", validation=validation
    )


def write(
    dataset: Dataset,
    out: Path,
    training: Sequence[Case],
    held_out: Sequence[Case],
    order: Sequence[str],
    what_for: str,
    *,
    validation: bool,
) -> None:
    """Write OUT: the cases of ``training`` in ``order``, and those held out as test or validation list."""
    training = [*training, *(held_out if validation else ())]
    _link(out, "Tr", training, dataset.file_ending)
    _link(out, "Un", dataset.unannotated, dataset.file_ending)
    _link(out, "Ts", () if validation else held_out, dataset.file_ending)
    content = json.loads((dataset.root / "dataset.json").read_text(encoding="utf-8-sig"))
    content.pop("dataset", None)  # every file has its place in the folders now
    content |= {
        "numTraining": len(training),
        "name": f"{content.get('name', dataset.name)} ({what_for})",
    }
    (out / "dataset.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    lists: dict[str, object] = {"order": list(order)}
    if validation:
        lists["val"] = [case.id for case in held_out]
    if dataset.splits and (rule := dataset.splits.patients):
        lists["group_by_patient"] = rule.prefix or rule.text
    (out / "splits.json").write_text(json.dumps(lists) + "\n", encoding="utf-8")


def _link(out: Path, part: str, cases: Iterable[Case], ending: str) -> None:
    for case in cases:
        links = {f"images{part}/{case.id}_{i:04d}{ending}": file for i, file in enumerate(case.images)}
        if isinstance(case, LabeledCase):
            links[f"labels{part}/{case.id}{ending}"] = case.label
        for name, file in links.items():
            if not file.name.endswith(ending):
                raise SystemExit(f"{case.id}: {file} does not end in {ending}, as dataset.json says")
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).symlink_to(file.resolve())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--cases", type=int, default=40)
    parser.add_argument("--validation", action="store_true", help="a validation list instead of test cases")
    args = parser.parse_args()
    development(args.dataset, args.out, args.cases, validation=args.validation)


if __name__ == "__main__":
    main()
