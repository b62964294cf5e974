"""When a worker looks for runs: when somebody rings, and again for what was not rung for."""

from __future__ import annotations

from types import SimpleNamespace

from holdfast.worker.appetite import Appetite


def full(appetite, now):
    """It has looked, and there was nothing."""
    appetite.look(now)
    appetite.took([], now)
    return appetite


def an_appetite(poll_seconds=60.0):
    return Appetite(SimpleNamespace(has_grown=lambda: False), None, None, poll_seconds)


def test_a_ring_is_followed_by_a_second_look_and_no_third():
    appetite = full(an_appetite(), now=100.0)
    appetite.rung(101.0, again_after=0.5)
    appetite.rung(101.2, again_after=0.5)
    assert appetite.hungry

    full(appetite, now=101.3)
    appetite.look(101.4)
    assert not appetite.hungry
    assert 101.5 == appetite.again_at

    appetite.look(101.6)
    assert appetite.hungry
    full(appetite, now=101.6)
    appetite.look(140.0)
    assert not appetite.hungry


def test_a_bell_that_holds_nothing_back_is_followed_by_one_look():
    appetite = full(an_appetite(), now=100.0)
    appetite.rung(101.0, again_after=None)
    full(appetite, now=101.0)

    appetite.look(159.0)
    assert not appetite.hungry
    appetite.look(161.0)
    assert appetite.hungry
