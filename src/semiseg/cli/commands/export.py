"""``semiseg export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from semiseg.cli import options
from semiseg.cli.options import argument, flag
from semiseg.cli.output import Output, columns

EXAMPLES = (
    "semiseg export RUN -o heart --to zip",
    "semiseg export RUN -o heart_onnx --to onnx --int8 --data Dataset104_Heart",
    "semiseg export RUN_1 RUN_2 RUN_3 -o ensemble --to torch",
)


def run(
    out: Output,
    runs: Annotated[
        list[Path],
        argument("RUN...", "Run folders, or a model.zip; several make an ensemble."),
    ],
    output: Annotated[Path, flag("-o --output DIR", "Folder to make for the export.")],
    to: Annotated[str, flag("--to KIND", "Format: onnx, torch, monai or zip.")] = "onnx",
    half: Annotated[bool, flag("--half", "Store ONNX weights in 16 bits: half the size.")] = False,
    int8: Annotated[bool, flag("--int8", "Store ONNX weights in 8 bits: a third of the size.")] = False,
    data: Annotated[
        str | None,
        flag("--data DATASET", "Dataset of the run; --int8 needs it, --half can use it."),
    ] = None,
    allow_code: options.AllowCode = None,
    config: options.Config = None,
    settings: options.Set = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Export a trained model: weights, preparation and post-processing, a runner and a model card.

    No name of a case, patient, path or dataset leaves, and nothing that is written is a pickled object.
    """
    from semiseg.cli.commands.predict import inference_overrides
    from semiseg.delivery.export import export

    made = export(
        [options.find_run(path) for path in runs],
        output,
        to=to,
        half=half,
        int8=int8,
        data=data,
        allow_code=allow_code or (),
        overrides=inference_overrides(config, settings or []),
        overwrite=overwrite,
    )
    lines = columns((name, f"{size / 1e6:.2f} MB") for name, size in made.files.items())
    out.result(made.as_dict(), f"{lines}\nwritten: {made.folder}, to read first: MODEL.md")
