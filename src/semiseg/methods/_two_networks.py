"""Two networks, of one architecture and different first weights or of two, that teach each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn

from semiseg.core import Batch, Clock, Method, NetFactory, Update
from semiseg.methods._ramped import Ramped
from semiseg.parts.averaging import Average


class Pair(Method):
    """``net`` and ``net2``, each with its own updates and its own optimizer."""

    trainable: tuple[str, ...] = ("net", "net2")

    def take(
        self, net: nn.Module, net2: nn.Module, predict_with: Literal["first", "second", "average"]
    ) -> None:
        """Set both, and which is exported: one, or the mean of the probabilities of both."""
        self.net, self.net2 = net, net2
        self.predictor = {"first": "net", "second": "net2", "average": "both"}[predict_with]

    @property
    def both(self) -> Average:
        """The two as one network for prediction; it shares their weights."""
        return Average([self.net, self.net2])


class TwoNetworks(Ramped, Pair):
    """Two networks, each with its own supervised term.

    A method of this kind says in :meth:`lesson` what a network learns from the other one. Both losses are
    those of the weights before the step: the second one does not see the first network's update.

    It passes the options that it leaves as they are on to here, as ``**two``.

    Args:
        make_net: returns a fresh network, with other first weights each time.
        make_partner: the same for the second one; by default ``make_net``.
        predict_with: the exported network: the ``first`` (published), the ``second``, or the ``average`` of
            their probabilities, which takes as long as both.
    """

    def __init__(
        self,
        make_net: NetFactory,
        make_partner: Callable[[], nn.Module] | None = None,
        *,
        predict_with: Literal["first", "second", "average"] = "first",
        **ramped: Any,
    ) -> None:
        super().__init__(**ramped)
        self.take(make_net(), (make_partner or make_net)(), predict_with)

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        """Both networks on [x_l, x_u], then an update of each."""
        x, n = torch.cat([batch.x_l, batch.x_u["weak"]]), len(batch.x_l)
        answers = [self.net(x).logits, self.net2(x).logits]
        targets = [
            self.teach(z.detach(), batch, t, on=on) for z, on in zip(answers, self.trainable, strict=True)
        ]
        yield from [
            self.total(self.supervised(z[:n], batch.y_l), self.lesson(z[n:], target), t, on=on)
            for z, target, on in zip(answers, reversed(targets), self.trainable, strict=True)
        ]

    def teach(self, logits: Tensor, batch: Batch, t: Clock, *, on: str) -> Tensor:
        """What the other network learns from: unless a method says otherwise, the logits on x_u.

        Args:
            logits: (Bl + Bu, K, *S) of this network, without gradient.
            batch: the scans that they are of.
            t: where the run stands.
            on: this network's name.
        """
        return logits[len(batch.x_l) :]

    def lesson(self, logits: Tensor, other: Tensor) -> Tensor:
        """The consistency term of one network.

        Args:
            logits: (Bu, K, *S), its answer on unlabeled scans.
            other: what the other one teaches, without gradient.
        """
        raise NotImplementedError  # abstract
