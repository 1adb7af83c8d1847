"""The pipe's frames, the settings' text and SCL files: bytes in, values out."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.drivers import mms_pipe
from agent.drivers.mms_answers import as_ieds
from agent.drivers.mms_pipe import ANSWER_BYTES_MAX, HEAD, REQUEST_BYTES_MAX, Answer, Request
from agent.drivers.mms_settings import Setting, setting, setting_text
from agent.drivers.scl import DEPTH_MAX, IEDS_MAX, SCL_BYTES_MAX, SclError, SclIed, parse_scl
from tests.unit.agent.iedbench import scl
from wire import cbor
from wire.cbor import Value
from wire.errors import FormatError, WireError

# --- frames -------------------------------------------------------------------------------------------------------


# holds MM-2
def test_frames_come_back_as_they_went() -> None:
    request = Request(7, "value", {"domain": "BAY1LD0", "item": "LLN0$DC$NamPlt$d"})
    frame = mms_pipe.pack_request(request)
    assert mms_pipe.body_bytes(frame[:4], REQUEST_BYTES_MAX) == len(frame) - HEAD.size
    assert mms_pipe.unpack_request(frame[4:]) == request
    for answer in (Answer(7, None, "", ["text", b"x"]), Answer(7, "odd", "was wrong", None)):
        assert mms_pipe.unpack_answer(mms_pipe.pack_answer(answer)[4:]) == answer


# holds MM-2
def test_frame_above_its_bound_is_neither_written_nor_read() -> None:
    with pytest.raises(FormatError, match="at most 16384 are allowed"):
        mms_pipe.pack_request(Request(1, "fetch", {"path": "x" * REQUEST_BYTES_MAX}))
    with pytest.raises(FormatError, match="at most 4194304 are allowed"):
        mms_pipe.pack_answer(Answer(1, None, "", bytes(ANSWER_BYTES_MAX)))
    with pytest.raises(FormatError, match="4294967295 bytes are announced"):
        mms_pipe.body_bytes(b"\xff" * 4, ANSWER_BYTES_MAX)


# holds MM-2
@pytest.mark.parametrize(
    "value",
    [
        [],
        {"number": 1, "fault": None, "detail": ""},
        {"number": -1, "fault": None, "detail": "", "value": None},
        {"number": 1, "fault": "sick", "detail": "", "value": None},
        {"number": 1, "fault": 3, "detail": "", "value": None},
        {"number": 1, "fault": None, "detail": "x" * 257, "value": None},
        {"number": 1, "fault": None, "detail": "a\nb", "value": None},
        {"number": 1, "fault": None, "detail": "", "value": None, "more": 1},
    ],
)
def test_answer_of_another_form_is_no_answer(value: Value) -> None:
    with pytest.raises(FormatError):
        mms_pipe.unpack_answer(cbor.encode(value))


# holds MM-2
@given(st.binary(max_size=200))
def test_bytes_that_are_no_answer_end_in_an_error_of_ours(raw: bytes) -> None:
    try:
        answer = mms_pipe.unpack_answer(raw)
    except WireError:
        return
    assert mms_pipe.pack_answer(answer)[4:] == raw


# --- settings -----------------------------------------------------------------------------------------------------


# holds MM-8
@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        ("float", struct.pack(">f", 48.5), ("48.5", "float32")),
        ("float", struct.pack(">f", 0.1), ("0.1", "float32")),
        ("float", struct.pack(">d", 0.1), ("0.1", "float64")),
        ("float", struct.pack(">f", 1e-7), ("0.0000001", "float32")),
        ("float", struct.pack(">f", 16777216.0), ("16777216", "float32")),
        ("float", struct.pack(">f", 1e10), ("10000000000", "float32")),
        ("float", struct.pack(">f", -0.0), ("-0", "float32")),
        ("float", bytes.fromhex("7fc00001"), ("float32:7fc00001", "float32")),
        ("float", struct.pack(">f", float("-inf")), ("float32:ff800000", "float32")),
        ("integer", -3, ("-3", "integer")),
        ("time", 5, ("5", "time")),
        ("boolean", False, ("false", "boolean")),
        ("text", b"a\xff", ("a\\xff", "text")),
        ("bits", "0110", ("0110", "bits")),
        ("octets", b"\x01\xfe", ("01fe", "octets")),
    ],
)
def test_value_has_one_text(kind: str, value: Value, shown: tuple[str, str]) -> None:
    assert setting("LD0/X1.A.b", kind, value) == Setting("LD0/X1.A.b", *shown)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("float", b"abc"),
        ("float", 1),
        ("integer", True),
        ("integer", "1"),
        ("boolean", 1),
        ("text", "x"),
        ("bits", "012"),
        ("octets", "00"),
        ("array", []),
        (7, 7),
    ],
)
def test_value_of_another_kind_has_no_text(kind: Value, value: Value) -> None:
    with pytest.raises(FormatError, match=r"LD0/X1\.A\.b"):
        setting("LD0/X1.A.b", kind, value)


# holds MM-8
@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
@example(3.4025001647762064e38)
def test_decimal_text_of_a_float32_gives_the_same_bytes_again(number: float) -> None:
    raw = struct.pack(">f", number)
    text = setting("x", "float", raw).value
    assert struct.pack(">f", float(text)) == raw
    assert "e" not in text


def test_setting_text_quotes_what_csv_must() -> None:
    assert setting_text([Setting("a", 'x,"y', "text")]) == b'number,name,value,type\n1,a,"x,""y",text\n'


# --- SCL ----------------------------------------------------------------------------------------------------------


# holds MM-9
def test_scl_gives_names_versions_and_revisions() -> None:
    assert parse_scl(scl(version="3")) == (SclIed("BAY1", "3", (("LD0", "17"),)),)
    assert parse_scl(scl(revision=None)) == (SclIed("BAY1", "", ()),)
    assert parse_scl(b'<SCL><IED name="A"/><IED name="B"/></SCL>') == (SclIed("A", "", ()), SclIed("B", "", ()))


def test_scl_revision_elsewhere_than_in_the_name_plate_is_not_taken() -> None:
    assert parse_scl(scl().replace(b'"NamPlt"', b'"Mod"')) == (SclIed("BAY1", "", ()),)
    assert parse_scl(scl().replace(b'"configRev"', b'"swRev"')) == (SclIed("BAY1", "", ()),)


# holds MM-9
@pytest.mark.parametrize(
    ("raw", "match"),
    [
        (b"", "no XML"),
        (b"<SCL>", "no XML"),
        (b"<SCL/>", "no IED"),
        (b"<html/>", "the outermost element is 'html'"),
        (b'<!DOCTYPE SCL [<!ENTITY a "b">]><SCL/>', "a document type"),
        (b'<?xml version="1.0" encoding="no-such"?><SCL/>', "no XML"),
        (b"\xff\xfe\x00", "no XML"),
        (b"<SCL>" + b"<a>" * DEPTH_MAX, f"more than {DEPTH_MAX} deep"),
        (b"<SCL>" + b'<IED name="a"/>' * (IEDS_MAX + 1), f"more than {IEDS_MAX} IEDs"),
        (b'<SCL><IED name="' + b"a" * 257 + b'"/></SCL>', "the attribute name"),
        (b'<SCL><IED name="a&#10;b"/></SCL>', "the attribute name"),
        (scl(revision="7" * 300), "a configRev has more than 256 characters"),
        (bytes(SCL_BYTES_MAX + 1), "longer than"),
    ],
)
def test_scl_that_is_none_or_too_much_is_refused(raw: bytes, match: str) -> None:
    with pytest.raises(SclError, match=match):
        parse_scl(raw)


def test_scl_with_more_revisions_than_allowed_is_refused() -> None:
    device = b'<LDevice inst="L"><LN0><DOI name="NamPlt"><DAI name="configRev"><Val>1</Val></DAI></DOI></LN0></LDevice>'
    body = b'<SCL><IED name="a"><AccessPoint><Server>' + device * 1001
    with pytest.raises(SclError, match="more than 1000 revisions"):
        parse_scl(body)


@pytest.mark.parametrize("value", [None, [7], [["a", "b"]], [["a", "b", [["c"]]]], [["a", "b", [7]]]])
def test_scl_answer_of_another_form_is_refused(value: Value) -> None:
    with pytest.raises(FormatError, match="scl: "):
        as_ieds(value)
