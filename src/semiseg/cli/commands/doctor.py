"""``semiseg doctor``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from semiseg.cli.output import Output, columns
from semiseg.errors import SemisegError

EXAMPLES = ("semiseg doctor", "semiseg doctor --json > doctor.json")


def run(out: Output) -> None:
    """Show versions, devices, memory and optional packages; exit 1 when something needed is missing."""
    from semiseg.machine.doctor import examine

    report = examine()
    problems = report["problems"]
    if problems:
        out.text(columns(rows(report)))
        raise SemisegError(
            f"{len(problems)} problem{'s' * (len(problems) > 1)}: {'; '.join(problems)}",
            hint="install semiseg again from where it came: pip installs what is missing",
            code="DOCTOR",
            details=report,
        )
    out.result(report, columns(rows(report)))


def rows(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The report as (what, finding) lines."""
    yield "semiseg", f"{report['semiseg']}, Python {report['python']} ({report['executable']})"
    yield "platform", report["platform"]
    cpu = report["cpu"]
    bf16 = {True: "bf16 in hardware", False: "no bf16 in hardware", None: "bf16: unknown"}[cpu["bf16"]]
    flags = " ".join(cpu["flags"] or ())
    yield "cpu", f"{cpu['name']}, {cpu['cores']} cores, {bf16}" + (f" ({flags})" if flags else "")
    yield from _devices(report["devices"])
    memory = report["memory_gb"]
    yield "memory", f"{_gb(memory['free'])} free of {_gb(memory['total'])}"
    kept = report["keeps_freed_memory"]
    yield (
        "freed memory",
        "kept while training on a CPU: faster, 1 to 2 GB more (SEMISEG_KEEP_MEMORY=0 turns it off)"
        if kept["on_a_cpu"]
        else f"goes back to the system ({kept['why_not']})",
    )
    for name in ("cache", "runs"):
        folder = report["folders"][name]
        yield f"{name} folder", f"{folder['path']} ({_gb(folder['free_gb'])} free)"
    yield "data folders", ", ".join(report["folders"]["data"]) or "none set (SEMISEG_DATA)"
    yield (
        "packages",
        ", ".join(f"{name} {version or 'MISSING'}" for name, version in report["packages"].items()),
    )
    for extra, packages in report["extras"].items():
        found = ", ".join(f"{name} {version or 'absent'}" for name, version in packages.items())
        yield f"extra {extra}", found
    yield "network use", report["network use"]
    yield "telemetry", report["telemetry"]


def _devices(devices: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if "error" in devices:
        return
    for index, gpu in enumerate(devices["cuda"]):
        yield (
            f"cuda:{index}",
            f"{gpu['name']}, {_gb(gpu['memory_gb'])}, bf16 {'yes' if gpu['bf16'] else 'no'}",
        )
    if not devices["cuda"]:
        yield (
            "cuda",
            "no device"
            + (f" (torch built for CUDA {devices['cuda_build']})" if devices["cuda_build"] else ""),
        )
    if devices["mps"]:
        yield "mps", "available"
    yield "--device auto", devices["default"]


def _gb(amount: float | None) -> str:
    return "unknown" if amount is None else f"{amount:g} GB"
