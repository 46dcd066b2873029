"""The commands of the benchmarks at tiny sizes: what they write, and the arithmetic in it."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
import torch

pytest.importorskip("h5py", reason="the plain loader reads h5 files")

from benchmarks.speed import clock, growth, limits, methods, protocol, report
from benchmarks.speed.items.step import step_flops

from tests.conftest import REPOSITORY
from tests.factories import make_dataset

CPU = torch.device("cpu")


def row(case="loader.x", malloc="default", plain=4.0, ours=2.0, **more):
    times = {
        "plain": {"wall": [plain] * 3, "cpu": [plain] * 3},
        "ours": {"wall": [ours] * 3, "cpu": [ours] * 3},
    }
    ratios = {kind: clock.ratio(times, kind) for kind in ("cpu", "wall")}
    return {
        "case": case,
        "title": case,
        "malloc": malloc,
        "place": 0,
        "seconds": times,
        "ratio": ratios,
    } | more


def test_sides_take_turns_and_warm_rounds_do_not_count():
    order = []
    sides = {"plain": lambda: order.append("p"), "ours": lambda: (order.append("o"), time.sleep(0.01))}
    times = clock.alternate(sides, 2, 1, CPU, units=2)
    assert order == ["p", "o"] * 3
    assert len(times["ours"]["wall"]) == 2
    assert 0.005 <= min(times["ours"]["wall"]) < 0.1
    assert max(times["ours"]["cpu"]) < 0.005


def test_the_ratio_is_of_medians_and_its_range_of_neighbors():
    times = {"plain": {"cpu": [4.0, 6.0, 9.0]}, "ours": {"cpu": [2.0, 2.0, 1.0]}}
    assert clock.ratio(times, "cpu") == {"median": 3.0, "lowest": 2.0, "highest": 9.0}


def test_operations_of_a_step_are_those_of_its_passes():
    supervised, teacher, uamt = (step_flops("3d", m, (112, 112, 80)) for m in methods_of_the_table())
    one = (teacher - supervised) / 2
    assert one == pytest.approx(80.2e9, rel=0.01)
    assert uamt - supervised == pytest.approx(18 * one)
    assert uamt == pytest.approx(2.40e12, rel=0.01)


def methods_of_the_table():
    return "supervised", "mean_teacher", "ua_mt"


def test_a_row_replaces_the_same_case_and_leaves_the_others(tmp_path):
    path = tmp_path / "speed.json"
    report.write(path, row(), ["--only", "loader", "--work", "/somewhere"])
    report.write(path, row("metrics.x", place=4), [])
    report.write(path, row(plain=8.0), ["--data=/x", "--repeats", "3"])
    report.write(path, row(malloc="tuned", ours=1.0), [])
    found = json.loads(path.read_text())["rows"]
    assert [(r["case"], r["malloc"]) for r in found] == [
        ("loader.x", "default"),
        ("loader.x", "tuned"),
        ("metrics.x", "default"),
    ]
    assert found[0]["ratio"]["cpu"]["median"] == 4.0
    assert found[0]["made_by"]["seconds"]["command"] == "python benchmarks/speed/run.py --repeats 3"
    page = path.with_suffix(".md").read_text()
    assert "**4.0x** [4.0-4.0]" in page
    assert "8 / 1 = **8.0x**" in page  # as they come
    assert "/somewhere" not in page + path.read_text()


def test_memory_measured_later_joins_the_times(tmp_path):
    path = tmp_path / "speed.json"
    memory = {"plain": {"rss": 100.0}, "ours": {"rss": 50.0}}
    only = {"case": "loader.x", "malloc": "default", "place": 0, "memory_mb": memory}
    report.write(path, only, [])
    assert "| loader.x | default |" in path.with_suffix(".md").read_text()
    report.write(path, row(), [])
    report.write(path, only, ["--memory", "only"])
    (found,) = json.loads(path.read_text())["rows"]
    commands = {part: mark["command"].rpartition(" ")[2] for part, mark in found["made_by"].items()}
    assert commands == {"seconds": "benchmarks/speed/run.py", "memory_mb": "only"}
    assert "100 / 50 = 0.50" in path.with_suffix(".md").read_text()
    assert "**2.0x**" in path.with_suffix(".md").read_text()


@pytest.mark.slow
def test_the_command_measures_times_and_memory(tmp_path):
    command = [sys.executable, "benchmarks/speed/run.py", "--quick", "--only", "step2d", "distance"]
    command += ["--repeats", "2", "--results", str(tmp_path), "--malloc", "default", "tuned"]
    subprocess.run(command, cwd=REPOSITORY, check=True, timeout=300, capture_output=True)
    found = json.loads((tmp_path / "speed.json").read_text())["rows"]
    assert len(found) == 4
    assert all(r["memory_mb"]["ours"]["rss"] > 0 for r in found)
    assert 0 < min(found[0]["of_limit"]["ours"].values()) < 2


def test_exponents_are_slopes_and_only_the_end_is_judged():
    points = [{"arguments": [n], "size": float(n), "cpu": n**1.5, "wall": 0.0} for n in (1, 4, 16)]
    (curve,) = growth.curves("start", points)
    assert curve["what"] == "cpu"
    assert curve["exponents"] == pytest.approx([1.5, 1.5])
    assert "**super-linear**" in growth.verdict(curve)
    curve["exponents"] = [1.5, 1.05]
    assert "no more than linear" in growth.verdict(curve)


def test_near_and_far_surfaces_are_two_curves():
    points = [{"arguments": [r, s], "size": r, "cpu": r, "wall": 1.0} for s in (2, 40) for r in (10, 20)]
    found = growth.curves("metric", points)
    assert [curve["what"] for curve in found] == ["cpu, 2 voxels apart", "cpu, 40 voxels apart"]
    assert all(len(curve["sizes"]) == 2 for curve in found)


def test_the_plot_has_a_panel_for_each_item(tmp_path):
    curve = {"what": "cpu", "sizes": [1.0, 2.0], "values": [1.0, 3.0], "exponents": [1.6]}
    growth.plot({"step": [curve], "start": [curve]}, tmp_path / "growth.svg")
    text = (tmp_path / "growth.svg").read_text()
    assert text.lstrip().startswith("<?xml")


def test_methods_are_measured_beside_their_limit(tmp_path, monkeypatch):
    monkeypatch.setenv("SEMISEG_HOME", str(tmp_path / "home"))
    root = make_dataset(tmp_path)
    words = [
        "methods.py",
        str(root),
        "--labeled",
        "2",
        "--methods",
        "mean_teacher",
        "--rounds",
        "2",
        "--warm",
        "1",
    ]
    words += ["--iterations", "10", "--set", "train.precision=32", "--set", "plan.patch=[16,16,16]"]
    monkeypatch.setattr(sys, "argv", [*words, "--name", "steps", "--results", str(tmp_path)])
    monkeypatch.setattr(
        limits, "measured", lambda device: {"gemm_bf16": 1e12, "gemm_fp32": 1e12, "copy": 1e9}
    )
    methods.main()
    content = json.loads((tmp_path / "steps.json").read_text())
    base, teacher = content["rows"]
    assert base["method"] == "supervised"
    assert base["ratio"]["wall"] == 1.0
    assert teacher["of_limit"] == pytest.approx(
        sorted(content["seconds"]["mean_teacher"]["cpu"])[0] * 1e12 / teacher["flops"], rel=0.5
    )
    assert teacher["of_limit"] > 1
    text = (tmp_path / "steps.md").read_text()
    assert f"benchmarks/speed/methods.py {root.name} --labeled 2 --rounds 2" in text
    assert str(tmp_path) not in text


def test_operations_are_counted_forward_and_backward():
    net = torch.nn.Conv2d(2, 4, 3, padding=1)
    forward, both = limits.network_flops(net, (1, 2, 8, 8))
    assert forward == 2 * 64 * 2 * 4 * 9
    assert both == 2 * forward  # the image needs no gradient


def test_a_whole_run_is_timed(tmp_path, monkeypatch):
    monkeypatch.setenv("SEMISEG_HOME", str(tmp_path / "home"))
    root = make_dataset(tmp_path)
    words = ["protocol.py", str(root), "--recipe", "la", "--methods", "mean_teacher", "--labeled", "2"]
    words += [
        "--iterations",
        "2",
        "--device",
        "cpu",
        "--results",
        str(tmp_path),
        "--set",
        "plan.patch=[16,16,16]",
    ]
    monkeypatch.setattr(
        sys, "argv", [*words, "--set", "train.precision=32", "--set", "inference.stride=[8,8,8]"]
    )
    protocol.main()
    (found,) = json.loads((tmp_path / "protocol_la.json").read_text())["rows"]
    assert found["iterations"] == 2
    assert 0 < found["minutes"] < found["minutes_with_preparation"] < 2
    assert found["gpu_percent"] is None or found["gpu_percent"] >= 0
    assert "| mean_teacher | 2 |" in (tmp_path / "protocol_la.md").read_text()


def test_the_use_of_a_device_is_the_mean_of_what_it_says():
    answers = iter([50.0, 100.0, None])
    with protocol.Busy(lambda: next(answers), every=0.001) as busy:
        time.sleep(0.1)
    assert busy.mean == 75.0
    with protocol.Busy(lambda: None, every=0.001) as silent:
        time.sleep(0.01)
    assert silent.mean is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_times_on_a_gpu_are_those_of_its_stream():
    x = torch.randn(2048, 2048, device="cuda")
    wall, _ = clock.timed(lambda: [x @ x for _ in range(20)], x.device)
    assert wall > 20 * 2 * 2048**3 / 2e15
    assert limits.peak_of(lambda: x @ x, x.device) > 16
