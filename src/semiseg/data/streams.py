"""Endless streams of cases, as pure functions of a number: nothing to rewind, nothing to save."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

import torch

from semiseg.data.augment.draws import seed_from

T = TypeVar("T")


class Stream(Generic[T]):
    """Pass after pass over the items, each pass in a fresh order that depends only on (seed, name, pass)."""

    def __init__(self, items: Sequence[T], seed: int, name: str) -> None:
        self.items = items
        self._seed, self._name = seed, name
        self._pass, self._order = -1, [0]

    def __getitem__(self, n: int) -> T:
        number, place = divmod(n, len(self.items))
        if number != self._pass:
            generator = torch.Generator().manual_seed(seed_from(self._seed, self._name, number))
            order: list[int] = torch.randperm(len(self.items), generator=generator).tolist()
            self._pass, self._order = number, order
        return self.items[self._order[place]]
