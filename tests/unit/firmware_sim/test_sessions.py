from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_sim.errors import SessionError
from firmware_sim.sessions import store
from firmware_sim.sessions.frames import RULES, Cutter
from firmware_sim.sessions.replay import KeyedPlan, OrderedPlan, describe, exchanges
from firmware_sim.sessions.store import FORMAT, Event, Session, SessionWriter, load_session

ASK_1 = bytes.fromhex("0001 0000 0006 01 04 0064 0001")
ASK_2 = bytes.fromhex("0002 0000 0006 01 04 0065 0001")
ANSWER_1 = bytes.fromhex("0001 0000 0005 01 04 02 0003")
ANSWER_2 = bytes.fromhex("0002 0000 0005 01 04 02 0007")
STARTDT, STARTDT_CON = bytes.fromhex("68 04 07 00 00 00"), bytes.fromhex("68 04 0b 00 00 00")
I_FRAME = bytes.fromhex("68 0e 00 00 00 00 64 01 06 00 01 00 00 00 00 14")
S_FRAME = bytes.fromhex("68 04 01 00 02 00")
TPKT = bytes.fromhex("03 00 00 07 02 f0 80")

STREAMS = {"modbus": [ASK_1, ANSWER_2], "iec104": [STARTDT, I_FRAME, S_FRAME], "mms": [TPKT, TPKT + b""]}


def session(*events: Event, protocol: str = "modbus") -> Session:
    return Session(protocol, "bench", events)


@given(st.sampled_from(sorted(STREAMS)), st.lists(st.integers(1, 40), max_size=8))
def test_stream_in_any_pieces_is_cut_into_its_frames(protocol: str, cuts: list[int]) -> None:
    frames = STREAMS[protocol] * 3
    cutter = Cutter(RULES[protocol])
    stream = b"".join(frames)
    found = []
    for size in cuts:
        found += cutter.feed(stream[:size])
        stream = stream[size:]
    found += cutter.feed(stream)
    assert found == frames
    assert (cutter.raw, cutter.rest()) == (False, b"")


@pytest.mark.parametrize(
    ("protocol", "broken"),
    [
        ("modbus", bytes.fromhex("0001 0001 0006 01")),
        ("modbus", bytes.fromhex("0001 0000 0001 01")),
        ("iec104", b"\x00\x04"),
        ("mms", b"\x04"),
        ("mms", b"\x03\x00\x00\x02"),
    ],
)
def test_stream_that_is_no_protocol_is_given_uncut(protocol: str, broken: bytes) -> None:
    cutter = Cutter(RULES[protocol])
    assert cutter.feed(STREAMS[protocol][0] + broken) == [STREAMS[protocol][0], broken]
    assert cutter.raw
    assert cutter.feed(b"more") == [b"more"]


def test_frame_that_never_ends_is_the_rest() -> None:
    cutter = Cutter(RULES["modbus"])
    assert cutter.feed(ASK_1[:9]) == []
    assert (cutter.rest(), cutter.rest()) == (ASK_1[:9], b"")


@given(st.sampled_from(sorted(STREAMS)), st.binary(max_size=300))
def test_arbitrary_bytes_are_given_back_whole(protocol: str, data: bytes) -> None:
    cutter = Cutter(RULES[protocol])
    assert b"".join(cutter.feed(data)) + cutter.rest() == data


def test_exchanges_pair_pipelined_answers_by_their_id() -> None:
    events = (
        Event(0, 1, "open"),
        Event(1, 1, "ask", ASK_1),
        Event(2, 1, "ask", ASK_2),
        Event(5, 1, "answer", ANSWER_1),
        Event(9, 1, "answer", ANSWER_2),
        Event(9, 1, "leave"),
    )
    ((_, first, second),) = exchanges(session(*events))
    assert (first.request, first.answers, first.closes) == (ASK_1, [(4, ANSWER_1)], False)
    assert (second.request, second.answers) == (ASK_2, [(7, ANSWER_2)])


def test_keyed_plan_fits_the_transaction_and_repeats_the_last_answer() -> None:
    events = (
        Event(0, 1, "ask", ASK_1),
        Event(5, 1, "answer", ANSWER_1),
        Event(6, 2, "ask", ASK_1),
        Event(9, 2, "answer", ANSWER_1[:-1] + b"\x09"),
    )
    plan = KeyedPlan(RULES["modbus"], exchanges(session(*events)))
    assert plan.greeting() is None
    again = b"\xff\xff" + ASK_1[2:]
    found = [plan.answer(again) for _ in range(3)]
    data = [item.answers for item in found if item is not None]
    assert data == [
        [(5, b"\xff\xff" + ANSWER_1[2:])],
        [(3, b"\xff\xff" + ANSWER_1[2:-1] + b"\x09")],
        [(3, b"\xff\xff" + ANSWER_1[2:-1] + b"\x09")],
    ]
    assert plan.answer(ASK_2) is None


def test_keyed_plan_repeats_a_wrong_id_as_wrong_as_it_was() -> None:
    wrong = b"\0\x03" + ANSWER_1[2:]
    plan = KeyedPlan(RULES["modbus"], exchanges(session(Event(0, 1, "ask", ASK_1), Event(1, 1, "answer", wrong))))
    found = plan.answer(b"\0\x10" + ASK_1[2:])
    assert found is not None
    assert found.answers == [(1, b"\0\x12" + ANSWER_1[2:])]


def test_keyed_plan_closes_where_the_device_closed_and_is_silent_where_it_was() -> None:
    closed = exchanges(session(Event(0, 1, "ask", ASK_1), Event(1, 1, "close")))
    silent = exchanges(session(Event(0, 1, "ask", ASK_1), Event(1, 1, "leave")))
    for links, closes in ((closed, True), (silent, False)):
        found = KeyedPlan(RULES["modbus"], links).answer(ASK_1)
        assert found is not None
        assert (found.answers, found.closes) == ([], closes)


def test_ordered_plan_ignores_counters_and_refuses_another_order() -> None:
    events = (
        Event(0, 1, "open"),
        Event(0, 1, "answer", STARTDT_CON),
        Event(1, 1, "ask", STARTDT),
        Event(2, 1, "answer", STARTDT_CON),
        Event(3, 1, "ask", S_FRAME),
        Event(4, 1, "ask", I_FRAME),
        Event(6, 1, "answer", I_FRAME),
    )
    (link,) = exchanges(session(*events, protocol="iec104"))
    plan = OrderedPlan(RULES["iec104"], link)
    greeting = plan.greeting()
    assert greeting is not None
    assert greeting.answers == [(0, STARTDT_CON)]
    assert plan.answer(I_FRAME) is None
    assert plan.answer(STARTDT) is not None
    counted = I_FRAME[:4] + b"\x08\x00" + I_FRAME[6:]
    found = plan.answer(counted)
    assert found is not None
    assert found.answers == [(2, I_FRAME)]
    assert plan.answer(I_FRAME) is None


def test_unknown_modbus_request_gets_exception_11() -> None:
    assert RULES["modbus"].unknown(ASK_1) == bytes.fromhex("0001 0000 0003 01 84 0b")
    assert RULES["mms"].unknown(TPKT) == b""


def test_session_is_written_and_read_back(tmp_path: Path) -> None:
    events = (Event(0, 1, "open"), Event(3, 1, "ask", ASK_1), Event(4, 1, "answer", ANSWER_1), Event(5, 1, "close"))
    out = io.StringIO()
    writer = SessionWriter(out, "modbus", "bench")
    for event in events:
        writer.write(event)
    path = tmp_path / "s.jsonl"
    path.write_text(out.getvalue())
    found = load_session(path)
    assert found == session(*events)
    assert describe(found) == {
        "protocol": "modbus",
        "device": "bench",
        "connections": 1,
        "requests": 1,
        "answers": 1,
        "milliseconds": 5,
    }


def test_session_too_large_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "SESSION_BYTES_MAX", 200)
    writer = SessionWriter(io.StringIO(), "modbus", "bench")
    writer.write(Event(0, 1, "ask", ASK_1))
    with pytest.raises(SessionError, match="more than 200 bytes"):
        writer.write(Event(0, 1, "ask", ASK_1))


def test_session_file_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "SESSION_BYTES_MAX", 10)
    path = tmp_path / "s.jsonl"
    path.write_text("x" * 11)
    with pytest.raises(SessionError, match="more than 10 bytes"):
        load_session(path)


HEAD = json.dumps({"format": FORMAT, "protocol": "modbus", "device": "d"})


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([], ":1: no session"),
        (["[1]"], ":1: no JSON object"),
        (["{"], ":1: no JSON"),
        ([HEAD.replace("modbus", "smoke")], ":1: no session"),
        ([HEAD, '{"t_ms": 0, "link": 1, "what": "ask"}'], ":2: expected"),
        ([HEAD, '{"t_ms": 0, "link": 1, "what": "open", "hex": "00"}'], ":2: expected"),
        ([HEAD, '{"t_ms": -1, "link": 1, "what": "open"}'], ":2: expected"),
        ([HEAD, '{"t_ms": true, "link": 1, "what": "open"}'], ":2: expected"),
        ([HEAD, '{"t_ms": 0, "link": 0, "what": "open"}'], ":2: expected"),
        ([HEAD, '{"t_ms": 0, "link": 1, "what": "sing"}'], ":2: expected"),
        ([HEAD, '{"t_ms": 0, "link": 1, "what": "open", "why": 1}'], ":2: expected"),
        ([HEAD, '{"t_ms": 0, "link": 1, "what": "ask", "hex": "0g"}'], ":2: hex"),
        ([HEAD, '{"t_ms": 0, "link": 1, "what": "open", "x": "' + "0" * 140_000 + '"}'], ":2: no JSON object"),
    ],
)
def test_session_that_is_none_is_refused_with_its_line(tmp_path: Path, lines: list[str], reason: str) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text("".join(f"{line}\n" for line in lines))
    with pytest.raises(SessionError, match=reason):
        load_session(path)
