"""Names are what one sees of them; keys are made from data and may hold more."""

from __future__ import annotations

import pytest

from holdfast.core.errors import BadOption
from holdfast.core.names import check_key, check_name, check_queue_name, check_words

UNSTORABLE = ["\0", "a\0b", "\ud800", "x" * 201, "", None, 7, b"bytes"]
UNSEEN = ["\x1b[31m", "two\nlines", "a\u202eb", "a\u200bb", " a", "a ", "a  b", "a\tb", "\x9b1m"]


@pytest.mark.parametrize(
    "name", ["a", "shop.send", "名前", "with space", "é", "x" * 200, "*", "a,b"]
)
def test_a_name_may_hold_all_that_one_sees(name):
    check_name(name, option="name")


@pytest.mark.parametrize("name", [*UNSTORABLE, *UNSEEN])
def test_a_name_that_shows_something_else_than_it_is_is_refused(name):
    with pytest.raises(BadOption, match=r"^name=") as refused:
        check_name(name, option="name")

    assert name is refused.value.value


@pytest.mark.parametrize("name", [*UNSTORABLE, *UNSEEN, "*", "a,b", ","])
def test_a_queue_that_no_worker_could_be_told_to_serve_is_refused(name):
    with pytest.raises(BadOption, match="without commas, and not"):
        check_queue_name(name, option="queue_name")


@pytest.mark.parametrize("key", UNSEEN)
def test_a_key_may_hold_what_databases_keep(key):
    check_key(key, option="dedupe_key")


@pytest.mark.parametrize("key", UNSTORABLE)
def test_a_key_that_no_database_keeps_is_refused(key):
    with pytest.raises(BadOption, match=r"^dedupe_key="):
        check_key(key, option="dedupe_key")


@pytest.mark.parametrize("words", ["\0", "\udcff", "x" * 51])
def test_words_that_no_database_keeps_are_refused(words):
    with pytest.raises(BadOption, match="at most 50 characters"):
        check_words(words, option="reason", longest=50)


@pytest.mark.parametrize("words", [None, "", "a\x1b[31m", "x" * 50])
def test_words_may_be_none_or_anything_else(words):
    check_words(words, option="reason", longest=50)
