"""IEC 60870-5-104 with generated input: what is written is read again, and no bytes do harm."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.wire.iec104.stored import server_of, stored, transfer
from tests.unit.wire.iec104.test_asdu import examples
from wire.iec104.apci import FrameDecoder, IFrame, UFunction, encode_i, encode_s, encode_u
from wire.iec104.asdu import Asdu, decode_asdu
from wire.iec104.errors import ApciError, AsduError, FileTransferError, LinkTimeoutError, ParameterError
from wire.iec104.fileread import FileReader
from wire.iec104.link import ControlledLink, ControllingLink, Link, LinkParameters, LinkState, Received
from wire.iec104.points import POINT_TYPES, Point
from wire.iec104.requests import Interrogate
from wire.iec104.responses import encode_point_asdus
from wire.iec104.time56 import Time56, decode_time, encode_time, time_of_epoch_ms

TIMES = st.builds(
    Time56,
    st.integers(0, 65_535),
    st.integers(0, 63),
    st.integers(0, 31),
    st.integers(0, 31),
    st.integers(0, 7),
    st.integers(0, 15),
    st.integers(0, 127),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)


@st.composite
def points(draw: st.DrawFn, type_id: int) -> list[Point]:
    shape, has_time = POINT_TYPES[type_id]
    count = draw(st.integers(1, 300))
    first = draw(st.integers(0, 2**24 - count))
    value = st.integers(shape.values[0], shape.values[-1])
    examples = draw(
        st.lists(
            st.tuples(value, st.integers(0, 0x1FF), TIMES if has_time else st.none()),
            min_size=1,
            max_size=min(count, 8),
        )
    )
    return [
        Point(first + number, found, flags & shape.quality, time)
        for number in range(count)
        for found, flags, time in [examples[number % len(examples)]]
    ]


# holds IC-11 IC-12 IC-13 IC-16
@pytest.mark.parametrize("type_id", sorted(POINT_TYPES))
@settings(max_examples=30)
@given(data=st.data(), is_sequence=st.booleans())
def test_points_of_any_values_are_read_as_they_were_written(
    type_id: int,
    data: st.DataObject,
    is_sequence: bool,  # noqa: FBT001 generated
) -> None:
    written = data.draw(points(type_id))
    raws = list(encode_point_asdus(type_id, 20, 1, written, is_sequence=is_sequence))
    assert all(len(raw) <= 249 for raw in raws)
    assert [point for raw in raws for point in decode_asdu(raw).points] == written


# holds IC-14
@given(TIMES)
def test_time_of_any_fields_is_read_as_it_was_written(time: Time56) -> None:
    assert decode_time(encode_time(time)) == time


# holds IC-14
@given(st.integers(946_684_800_000, 4_102_444_799_999))
def test_time_of_any_instant_of_its_century_leads_back_to_it(epoch_ms: int) -> None:
    assert time_of_epoch_ms(epoch_ms).epoch_ms() == epoch_ms


# holds IC-11
@settings(max_examples=500)
@given(st.one_of(st.sampled_from(range(256)).map(lambda first: bytes((first,))), st.just(b"")), st.binary(max_size=260))
def test_asdu_of_any_octets_is_decoded_or_refused_in_the_documented_way(first: bytes, rest: bytes) -> None:
    sentence = ""
    try:
        decode_asdu(first + rest)
    except AsduError as error:
        sentence = str(error)
    assert len(sentence) < 200


# holds IC-1 IC-2
@settings(max_examples=300)
@given(
    st.lists(st.one_of(st.binary(max_size=300), st.binary(max_size=30).map(lambda body: b"\x68" + body)), max_size=8)
)
def test_stream_of_any_octets_holds_back_no_more_than_a_frame(pieces: list[bytes]) -> None:
    decoder, sentence = FrameDecoder(), ""
    try:
        for piece in pieces:
            decoder.receive(piece)
            assert decoder.held_bytes < 255
    except ApciError as error:
        sentence = str(error)
    assert len(sentence) < 200


FRAMES = st.one_of(
    st.sampled_from(UFunction).map(encode_u),
    st.integers(0, 3).map(encode_s),
    st.builds(encode_i, st.integers(0, 4), st.integers(0, 3), st.binary(max_size=9)),
    st.binary(max_size=8),
)


def act(link: Link, name: str, data: bytes, now_ms: int) -> None:
    """Let a link do one thing; what it does not allow now, it refuses."""
    try:
        if name == "tick":
            link.tick(now_ms)
        elif name == "test":
            link.test(now_ms)
        elif name == "receive":
            link.receive(data, now_ms)
        elif isinstance(link, ControlledLink):
            link.send(data, now_ms)
        elif isinstance(link, ControllingLink):
            {"start": link.start, "stop": link.stop}.get(name, lambda now: link.request(Interrogate(1), now))(now_ms)
    except ParameterError:
        return


# holds IC-3 IC-4 IC-5 IC-8
@pytest.mark.parametrize("make", [ControllingLink, ControlledLink])
@settings(max_examples=150)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["receive", "receive", "send", "tick", "test", "start", "stop"]),
            FRAMES,
            st.integers(0, 400),
        ),
        max_size=40,
    )
)
def test_link_under_any_traffic_keeps_its_windows_or_is_closed(
    make: type[Link], steps: list[tuple[str, bytes, int]]
) -> None:
    parameters = LinkParameters(k=3, w=2, t1_ms=500, t2_ms=100, t3_ms=700)
    link, now_ms = make(parameters, 0), 0
    for name, data, elapsed_ms in steps:
        now_ms += elapsed_ms
        try:
            act(link, name, data, now_ms)
        except (ApciError, LinkTimeoutError):
            assert link.state is LinkState.CLOSED
            return
        assert 0 <= link.outstanding <= parameters.k
        assert 0 <= link.send_room <= parameters.k
        assert link._unacknowledged < parameters.w
        assert name != "tick" or link.deadline_ms > now_ms
        FrameDecoder().receive(link.take_output())


# holds IC-3 IC-4 IC-5
@settings(max_examples=60)
@given(
    st.integers(1, 20).flatmap(lambda k: st.tuples(st.just(k), st.integers(1, k))),
    st.lists(st.integers(1, 600), max_size=40),
)
def test_stations_with_any_windows_lose_nothing_however_the_stream_is_cut(
    windows: tuple[int, int], cuts: list[int]
) -> None:
    k, w = windows
    parameters = LinkParameters(k=k, w=w, t1_ms=1000, t2_ms=500)
    here, there = ControllingLink(parameters, 0), ControlledLink(parameters, 0)
    here.start(0)
    there.receive(here.take_output(), 0)
    wire = there.take_output()
    taken: list[int] = []
    sent, now_ms = 0, 0
    cuts = [*cuts, 10_000]
    while len(taken) < 50:
        while there.send_room and sent < 50:
            there.send(bytes((sent,)), now_ms)
            sent += 1
        wire += there.take_output()
        size = cuts.pop(0) if len(cuts) > 1 else cuts[0]
        piece, wire = wire[:size], wire[size:]
        taken += [event.asdu[0] for event in here.receive(piece, now_ms) if isinstance(event, Received)]
        if not piece:
            now_ms = here.deadline_ms
            here.tick(now_ms)
        there.receive(here.take_output(), now_ms)
    assert taken == list(range(50))
    assert all(isinstance(frame, IFrame) for frame in FrameDecoder().receive(wire))


# holds IC-17
@settings(max_examples=60)
@given(st.binary(max_size=3000), st.integers(1, 3000))
def test_file_of_any_content_arrives_byte_by_byte(content: bytes, section_bytes: int) -> None:
    assert transfer(server_of(stored(content, section_bytes=section_bytes)))[1] == content


FILE_ASDUS = [decode_asdu(raw) for raw in examples() if raw[0] >= 120]


# holds IC-18 IC-19
@settings(max_examples=300)
@given(st.lists(st.sampled_from(FILE_ASDUS), max_size=12))
def test_reader_under_any_answers_holds_no_more_than_was_announced(answers: list[Asdu]) -> None:
    reader = FileReader(1, 0x10, 3)
    taken = 0
    try:
        for answer in answers:
            taken += len(reader.take(answer).data)
            assert len(reader._held) <= reader.length
    except FileTransferError:
        pass
    assert taken == reader.read_bytes
