from __future__ import annotations

import pytest
import torch

from semiseg.errors import DeviceError, UsageError
from semiseg.machine.hardware import forget_peak_memory, peak_memory, select_device


def test_names_that_are_there() -> None:
    assert select_device("cpu") == torch.device("cpu")
    assert select_device(torch.device("cpu")) == torch.device("cpu")
    assert select_device("auto").type in ("cpu", "cuda", "mps")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "", "meta"])
def test_names_that_mean_nothing(name: str) -> None:
    with pytest.raises(UsageError, match="unknown device") as caught:
        select_device(name)
    assert caught.value.code == "UNKNOWN_DEVICE"


def test_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert select_device("cuda") == torch.device("cuda")
    with pytest.raises(DeviceError, match="1 CUDA devices"):
        select_device("cuda:1")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_peak_memory_of_a_gpu_counts_from_where_it_was_forgotten() -> None:
    device = torch.device("cuda", 0)
    big = torch.empty(2**28, device=device)  # 1 GB
    del big
    forget_peak_memory(device)
    kept = torch.empty(2**27, device=device)
    found = peak_memory(device)["device_memory_gb"]
    assert found is not None
    assert kept.numel() * 4 / 2**30 <= found < 1.0
