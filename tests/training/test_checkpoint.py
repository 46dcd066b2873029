"""Checkpoints: whole or not at all, and nothing but tensors, numbers and strings."""

from __future__ import annotations

import os
import pickle
import random
from pathlib import Path

import pytest
import torch
from torch import nn

from semiseg.errors import UsageError
from semiseg.machine.files import remove_leftovers
from semiseg.networks import checkpoint

CONTENT = {"kind": checkpoint.STATE, "step": 3, "weights": torch.arange(40.0), "score": None}


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "last.ckpt"
    checkpoint.save(path, CONTENT)
    return path


def test_round_trip(saved):
    content = checkpoint.load(saved, checkpoint.STATE)
    assert content.keys() == CONTENT.keys()
    assert torch.equal(content["weights"], CONTENT["weights"])
    assert list(saved.parent.iterdir()) == [saved]


@pytest.mark.parametrize("moment", ["while writing", "before the rename"])
def test_a_crash_while_saving_leaves_the_old_checkpoint(moment, saved, monkeypatch):
    def crash(*_: object) -> None:
        raise OSError("no space left on device")

    target, name = (os, "fsync") if moment == "while writing" else (Path, "replace")
    monkeypatch.setattr(target, name, crash)
    with pytest.raises(OSError, match="no space"):
        checkpoint.save(saved, CONTENT | {"step": 4})
    monkeypatch.undo()
    assert checkpoint.load(saved, checkpoint.STATE)["step"] == 3
    assert list(saved.parent.iterdir()) == [saved]


def test_what_a_killed_save_leaves_is_removed_and_nothing_else(saved):
    leftover = saved.parent / ".0123456789abcdef.tmp"
    leftover.write_bytes(saved.read_bytes()[:100])
    os.utime(leftover, (0, 0))
    other = saved.parent / "notes.tmp"
    other.touch()
    remove_leftovers(saved.parent)
    assert sorted(saved.parent.iterdir()) == sorted([saved, other])


def refused(path: Path, content: bytes) -> UsageError:
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        checkpoint.load(path, checkpoint.STATE)
    assert str(path) in caught.value.message
    return caught.value


def test_every_truncation_is_refused(saved):
    whole = saved.read_bytes()
    for length in range(0, len(whole), 29):
        assert refused(saved, whole[:length]).code == "BAD_CHECKPOINT"


def test_damage_is_refused_or_harmless(saved):
    whole, chance = saved.read_bytes(), random.Random(0)
    errors = 0
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        saved.write_bytes(damaged)
        try:
            found = checkpoint.load(saved, checkpoint.STATE)
        except UsageError:
            errors += 1
        else:  # in what no part of the content depends on
            assert torch.equal(found.pop("weights"), CONTENT["weights"])
            assert found == {key: value for key, value in CONTENT.items() if key != "weights"}
    assert errors > 20


def test_one_flipped_bit_in_a_weight_is_found_and_said(saved):
    whole = bytearray(saved.read_bytes())
    weights = CONTENT["weights"].numpy().tobytes()
    whole[whole.index(weights) + 9] ^= 4
    assert "damaged" in refused(saved, bytes(whole)).message


class Evil:
    """Would create a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("wrapped", [False, True], ids=["plain pickle", "torch file"])
def test_a_foreign_pickle_is_refused_and_not_run(wrapped, saved, tmp_path):
    marker = tmp_path / "executed"
    evil = {"kind": checkpoint.STATE, "x": Evil(marker)}
    if wrapped:
        torch.save(evil, saved)
    else:
        saved.write_bytes(pickle.dumps(evil))
    refused(saved, saved.read_bytes())
    assert not marker.exists()


def test_a_whole_network_is_refused(saved):
    torch.save(nn.Linear(2, 2), saved)
    refused(saved, saved.read_bytes())


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": {}}, torch.zeros(2), {"kind": checkpoint.MODEL}])
def test_something_else_is_named(content, saved):
    torch.save(content, saved)
    with pytest.raises(UsageError, match="wanted semiseg-state"):
        checkpoint.load(saved, checkpoint.STATE)


def test_no_file_and_a_folder(tmp_path):
    with pytest.raises(UsageError, match="no checkpoint"):
        checkpoint.load(tmp_path / "absent.ckpt", checkpoint.STATE)
    with pytest.raises(UsageError, match="cannot be read"):
        checkpoint.load(tmp_path, checkpoint.STATE)
