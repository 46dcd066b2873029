"""Requests to stop, one within another."""

from __future__ import annotations

import signal

import pytest

from semiseg.machine.stopping import StopRequest, ended_as_by_ctrl_c

pytestmark = pytest.mark.usefixtures("no_nohup")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_request_reaches_all_that_wait_for_one(number: signal.Signals) -> None:
    with StopRequest() as sweep, StopRequest() as cell:
        with StopRequest() as training:
            signal.raise_signal(number)
            assert training.raised
        assert cell.raised
        assert sweep.raised


def test_what_begins_after_the_request_begins_with_it() -> None:
    with StopRequest() as outer:
        with StopRequest() as first:
            assert not first.raised
            signal.raise_signal(signal.SIGTERM)
        with StopRequest() as second:
            assert second.raised
    with StopRequest() as later:
        assert not later.raised
    assert outer.raised


def test_a_second_ctrl_c_stops_at_once() -> None:
    with StopRequest(), StopRequest() as inner:
        signal.raise_signal(signal.SIGINT)
        assert inner.raised
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_the_handlers_of_before_come_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with StopRequest(), StopRequest():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_under_nohup_a_closed_terminal_is_nothing() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ended_as_by_ctrl_c(), StopRequest() as training:
            signal.raise_signal(signal.SIGHUP)
            assert not training.raised
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_has_no_loop_is_interrupted_once(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with ended_as_by_ctrl_c():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        signal.raise_signal(number)  # while it tidies up
    assert signal.getsignal(number) == before
