"""Run by benchmarks/export.py in an environment without semiseg: predicts scans with an exported model.

    python export_drive.py ONNX_FOLDER JOBS.json [TORCH_FOLDER]

With the third argument the PyTorch program takes the place of the ONNX file; all else is run_onnx.py.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from pathlib import Path


def sessions(folder: Path, document, torch_folder: Path | None):
    if torch_folder is None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        for one in document["networks"]:
            model = onnxruntime.InferenceSession(
                folder / one["file"], options, providers=["CPUExecutionProvider"]
            )
            yield lambda x, model=model: model.run(["probabilities"], {"image": x})[0]
        return
    import torch

    for one in json.loads((torch_folder / "model.json").read_text())["networks"]:
        program = torch.export.load(torch_folder / one["file"]).module()

        def run(x, program=program):
            with torch.inference_mode():
                return program(torch.from_numpy(x)).numpy()

        yield run


def main() -> None:
    folder, jobs = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())
    torch_folder = Path(sys.argv[3]) if len(sys.argv) > 3 else None
    spec = importlib.util.spec_from_file_location("run_onnx", folder / "run_onnx.py")
    runner = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(runner)
    document = json.loads((folder / "model.json").read_text())
    runs = list(sessions(folder, document, torch_folder))
    began = time.process_time()
    for files, output in jobs:
        image, affine, source = runner.load([Path(f) for f in files], len(document["channels"]), None)
        runner.write(Path(output), runner.segment(image, affine, document, runs), source)
    absent = [name for name in ("semiseg", "torch", "monai") if importlib.util.find_spec(name) is None]
    seconds = (time.process_time() - began) / len(jobs)
    print(json.dumps({"cpu_seconds": seconds, "absent": absent, "threads": 1}))


if __name__ == "__main__":
    main()
