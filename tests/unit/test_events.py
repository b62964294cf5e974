"""Every event has its sentence, and is said once through logging."""

from __future__ import annotations

import logging
from dataclasses import fields

import pytest

from holdfast.core import events
from holdfast.core.events import AttemptEnded, Event, emit

KINDS = Event.__subclasses__()
SAMPLES = {"int": 7, "float": 1.5, "str": "text"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_sentence_of_an_event_tells_of_its_fields(kind):
    event = kind(**{field.name: SAMPLES[field.type] for field in fields(kind)})

    assert str(event)
    assert "{" not in str(event)
    assert kind.__doc__


def test_an_event_is_one_record_of_its_layer_with_the_event_itself(caplog):
    event = AttemptEnded(
        run_id="r1", attempt=2, task="shop.send", outcome="succeeded", duration_ms=12
    )

    with caplog.at_level(logging.INFO):
        emit(event)

    (record,) = caplog.records
    assert ("holdfast.worker", logging.INFO) == (record.name, record.levelno)
    assert "run r1 attempt 2: shop.send succeeded in 12 ms" == record.getMessage()
    assert event is record.event


def test_an_event_below_the_level_is_not_said(caplog):
    with caplog.at_level(logging.WARNING):
        emit(AttemptEnded("r1", 1, "shop.send", "succeeded", 12))

    assert [] == caplog.records


def test_the_library_attaches_no_handlers():
    assert [] == logging.getLogger(events.__name__.partition(".")[0]).handlers
