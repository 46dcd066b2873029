from __future__ import annotations

import pytest
import torch

from semiseg.devices import select_device
from semiseg.errors import DeviceError, UsageError


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
