from __future__ import annotations

import pytest

from kit.exitcodes import Answers, DataError, describe
from kit.sse import EVENT_BYTES_MAX, MissingFieldError, ServerEvent, SseParser, json_object

STREAM = (
    b": hello\n\n"
    b'id: 1-0\nevent: alarm_raised\ndata: {"a": 1}\n\n'
    b"data:two\r\ndata: lines\r\n\r\n"
    b"retry: 5\nunknown: x\nevent: lonely\n\n"
    b"id: 2-0\ndata\n\n"
)
EVENTS = [
    ServerEvent("1-0", "alarm_raised", '{"a": 1}'),
    ServerEvent("1-0", "message", "two\nlines"),
    ServerEvent("2-0", "message", ""),
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_parser_gives_the_same_events_however_the_bytes_are_cut(size: int) -> None:
    parser = SseParser()
    pieces = [STREAM[i : i + size] for i in range(0, len(STREAM), size)]
    assert [event for piece in pieces for event in parser.feed(piece)] == EVENTS
    assert parser.last_id == "2-0"


def test_parser_drops_an_event_that_was_cut_off() -> None:
    parser = SseParser("0-9")
    assert parser.feed(b"data: half\n") == []
    assert parser.feed(b"data: whole\n\nid: 5\ndata: ha") == [ServerEvent("0-9", "message", "half\nwhole")]


def test_parser_ignores_an_id_with_nul() -> None:
    assert SseParser("1").feed(b"id: a\0b\ndata: x\n\n") == [ServerEvent("1", "message", "x")]


def test_parser_refuses_an_endless_line() -> None:
    with pytest.raises(DataError, match="line of more than"):
        SseParser().feed(b"x" * (EVENT_BYTES_MAX + 1))


def test_parser_refuses_an_endless_event() -> None:
    parser = SseParser()
    with pytest.raises(DataError, match="event of over"):
        parser.feed((b"data: " + b"x" * 1000 + b"\n") * 1100)


def test_parser_refuses_bytes_that_are_no_utf8() -> None:
    with pytest.raises(DataError, match="no UTF-8"):
        SseParser().feed(b"data: \xff\n")


def test_event_data_is_given_as_json() -> None:
    assert EVENTS[0].json() == {"a": 1}


@pytest.mark.parametrize("data", [b"", b"[1]", b"{", b"\xff", b"[" * 100_000])
def test_other_data_as_json_object_is_refused(data: bytes) -> None:
    with pytest.raises(DataError, match=r"the answer is (no JSON|JSON, but no object)"):
        json_object(data, "the answer")


def test_field_that_an_object_lacks_at_any_depth_is_an_error_of_who_sent_it() -> None:
    found = json_object(b'{"items": [{"a": 1}]}', "the answer to /v1/x")
    assert found["items"][0]["a"] == 1
    assert found.get("none") is None
    for lacking in (found, found["items"][0]):
        with pytest.raises(MissingFieldError) as caught:
            lacking["digest"]
        assert isinstance(caught.value, KeyError)
        assert str(caught.value) == "the answer to /v1/x has no 'digest'; is it from a full node of this version?"
        assert describe(caught.value)[1] == 65


def test_field_of_another_kind_is_an_error_of_who_sent_it_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Answers, "what", "")
    monkeypatch.setattr(Answers, "field", "")
    found = json_object(b'{"items": 7, "name": {"first": 1}}', "the answer of http://node to /v1/x")

    def told(field: str) -> None:
        with pytest.raises((TypeError, AttributeError)) as caught:
            _ = [*found["items"]] if field == "items" else found["name"].get("first").upper()
        said, code = describe(caught.value)
        assert code == 65
        assert said.startswith("the answer of http://node to /v1/x holds something that this program does not under")
        assert f"(field {field!r})" in said

    told("items")
    told("first")
    assert describe(ZeroDivisionError())[1] == 74


def test_mistake_of_ours_before_any_answer_is_no_error_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Answers, "what", "")
    assert describe(TypeError("x"))[1] == 74
