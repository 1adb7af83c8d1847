"""The link of both stations: numbers, windows, timers, starting and stopping."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from wire.iec104.apci import FrameDecoder, IFrame, SFrame, UFunction, encode_i, encode_s, encode_u
from wire.iec104.errors import (
    CLOSED,
    NOT_STARTED,
    UNASKED,
    WRONG_RECEIVE_NUMBER,
    WRONG_SEND_NUMBER,
    ApciError,
    LinkTimeoutError,
    ParameterError,
)
from wire.iec104.link import (
    ControlledLink,
    ControllingLink,
    Link,
    LinkParameters,
    LinkState,
    Received,
    Started,
    Stopped,
)
from wire.iec104.requests import Interrogate, encode_request

ASKED = Interrogate(1)
ASDU = encode_request(ASKED)
SMALL = LinkParameters(k=3, w=2, t1_ms=150, t2_ms=100, t3_ms=200)


def controlled(parameters: LinkParameters = SMALL) -> ControlledLink:
    """Return a started controlled station whose output is taken."""
    link = ControlledLink(parameters, 0)
    assert link.receive(encode_u(UFunction.STARTDT_ACT), 0) == [Started()]
    assert link.take_output() == encode_u(UFunction.STARTDT_CON)
    return link


def controlling(parameters: LinkParameters = SMALL) -> ControllingLink:
    """Return a started controlling station whose output is taken."""
    link = ControllingLink(parameters, 0)
    link.start(0)
    assert link.take_output() == encode_u(UFunction.STARTDT_ACT)
    assert link.receive(encode_u(UFunction.STARTDT_CON), 0) == [Started()]
    return link


def frames(link: Link) -> list[object]:
    return list(FrameDecoder().receive(link.take_output()))


def state(link: Link) -> LinkState:
    return link.state


def refused(link: Link, data: bytes, code: str) -> None:
    with pytest.raises(ApciError) as caught:
        link.receive(data, 0)
    assert caught.value.code == code
    assert state(link) is LinkState.CLOSED
    for again in (lambda: link.receive(b"", 0), lambda: link.tick(0), lambda: link.test(0)):
        with pytest.raises(ApciError) as closed:
            again()
        assert closed.value.code == CLOSED


# holds IC-3
def test_link_numbers_what_it_sends_and_acknowledges_what_came_on_the_way() -> None:
    link = controlled()
    link.send(ASDU, 0)
    assert frames(link) == [IFrame(0, 0, ASDU)]
    assert link.receive(encode_i(0, 1, ASDU), 0) == [Received(ASDU)]
    link.send(ASDU, 0)
    assert frames(link) == [IFrame(1, 1, ASDU)]
    assert link.outstanding == 1


# holds IC-3
@pytest.mark.parametrize("send_number", [1, 2, 32_767])
def test_link_that_gets_another_send_number_than_the_next_is_closed(send_number: int) -> None:
    refused(controlled(), encode_i(send_number, 0, ASDU), WRONG_SEND_NUMBER)


# holds IC-3
def test_link_that_gets_a_frame_twice_is_closed() -> None:
    link = controlled()
    link.receive(encode_i(0, 0, ASDU), 0)
    refused(link, encode_i(0, 0, ASDU), WRONG_SEND_NUMBER)


# holds IC-3
@pytest.mark.parametrize("receive_number", [0, 3, 32_767])
def test_link_that_gets_an_acknowledgement_of_what_was_not_sent_is_closed(receive_number: int) -> None:
    link = controlled()
    link.send(ASDU, 0)
    link.send(ASDU, 0)
    link.receive(encode_s(1), 0)
    refused(link, encode_s(receive_number), WRONG_RECEIVE_NUMBER)


# holds IC-3
def test_link_acknowledged_once_more_stays_as_it_is() -> None:
    link = controlled()
    link.send(ASDU, 0)
    for _ in range(2):
        link.receive(encode_s(1), 0)
        assert link.outstanding == 0


# holds IC-3
def test_link_numbers_go_round_at_32768() -> None:
    link = controlled()
    for number in range(32_770):
        link.receive(encode_i(number % 32_768, number % 32_768, ASDU), 0)
        link.send(ASDU, 0)
        assert frames(link)[-1] == IFrame(number % 32_768, (number + 1) % 32_768, ASDU)


# holds IC-4
def test_link_sends_no_more_than_k_frames_before_the_oldest_is_acknowledged() -> None:
    link = controlled()
    for left in (3, 2, 1):
        assert link.send_room == left
        link.send(ASDU, 0)
    assert link.send_room == 0
    with pytest.raises(ParameterError, match="3 wait to be acknowledged"):
        link.send(ASDU, 0)
    assert len(frames(link)) == 3
    link.receive(encode_s(2), 0)
    assert link.send_room == 2


# holds IC-4
def test_link_refuses_an_asdu_that_fits_into_no_frame() -> None:
    link = controlled()
    link.send(bytes(249), 0)
    with pytest.raises(ParameterError, match="at most 249 octets, found 250"):
        link.send(bytes(250), 0)
    assert link.outstanding == 1


# holds IC-5
def test_link_acknowledges_after_w_frames() -> None:
    link = controlled()
    link.receive(encode_i(0, 0, ASDU), 0)
    assert frames(link) == []
    link.receive(encode_i(1, 0, ASDU), 0)
    assert frames(link) == [SFrame(2)]


# holds IC-5
def test_link_that_gets_many_frames_at_once_acknowledges_them_with_one() -> None:
    link = controlled()
    assert len(link.receive(b"".join(encode_i(number, 0, ASDU) for number in range(3)), 0)) == 3
    assert frames(link) == [SFrame(3)]


# holds IC-5
def test_link_acknowledges_t2_after_the_first_of_fewer_frames() -> None:
    link = controlled()
    link.receive(encode_i(0, 0, ASDU), 7)
    assert link.deadline_ms == 107
    link.tick(106)
    assert frames(link) == []
    link.tick(107)
    assert frames(link) == [SFrame(1)]
    assert link.deadline_ms == 207


# holds IC-6
@pytest.mark.parametrize("what", ["STARTDT", "STOPDT", "TESTFR", "an I frame"])
def test_link_without_a_confirmation_within_t1_is_closed(what: str) -> None:
    link = ControllingLink(SMALL, 0) if what == "STARTDT" else controlling()
    acts: dict[str, Callable[[int], None]] = {
        "STARTDT": link.start,
        "STOPDT": link.stop,
        "TESTFR": link.test,
        "an I frame": lambda now_ms: link.request(ASKED, now_ms),
    }
    acts[what](10)
    assert link.deadline_ms == 160
    link.tick(159)
    with pytest.raises(LinkTimeoutError, match=f"{what}.* within t1 of 150 ms") as caught:
        link.tick(160)
    assert caught.value.code == "timeout"
    assert state(link) is LinkState.CLOSED


# holds IC-6
def test_link_whose_frames_are_confirmed_in_time_goes_on() -> None:
    link = controlling()
    link.request(ASKED, 0)
    link.request(ASKED, 100)
    link.receive(encode_s(1), 149)
    link.tick(249)
    assert link.deadline_ms == 250
    link.receive(encode_s(2), 249)
    link.tick(250)
    link.stop(250)
    assert link.receive(encode_u(UFunction.STOPDT_CON), 300) == [Stopped()]
    link.tick(400)


# holds IC-7
def test_link_that_hears_nothing_for_t3_is_tested_and_lives_on_when_it_answers() -> None:
    link = controlled()
    assert link.deadline_ms == 200
    link.tick(199)
    assert frames(link) == []
    link.tick(200)
    link.tick(201)
    link.test(202)
    assert frames(link) == [UFunction.TESTFR_ACT]
    assert link.deadline_ms == 350
    link.receive(encode_u(UFunction.TESTFR_CON), 349)
    assert link.deadline_ms == 549
    link.tick(500)


# holds IC-7
@pytest.mark.parametrize("make", [ControlledLink, ControllingLink])
def test_link_answers_a_test_in_any_state(make: type[Link]) -> None:
    link = make(SMALL, 0)
    assert link.receive(encode_u(UFunction.TESTFR_ACT), 5) == []
    assert frames(link) == [UFunction.TESTFR_CON]
    assert link.deadline_ms == 205


# holds IC-8
def test_controlling_station_asks_only_once_transfer_has_started() -> None:
    link = ControllingLink(SMALL, 0)
    with pytest.raises(ParameterError, match="the link is stopped"):
        link.request(ASKED, 0)
    link.start(0)
    assert link.send_room == 0
    with pytest.raises(ParameterError, match="the link is pending started"):
        link.request(ASKED, 0)
    with pytest.raises(ParameterError, match="it has to be stopped"):
        link.start(0)
    link.receive(encode_u(UFunction.STARTDT_CON), 0)
    link.request(ASKED, 0)
    assert frames(link) == [UFunction.STARTDT_ACT, IFrame(0, 0, ASDU)]


# holds IC-8
@pytest.mark.parametrize("make", [ControlledLink, ControllingLink])
def test_link_that_gets_data_before_it_is_started_is_closed(make: type[Link]) -> None:
    refused(make(SMALL, 0), encode_i(0, 0, ASDU), NOT_STARTED)


# holds IC-8
@pytest.mark.parametrize(
    ("link", "function"),
    [
        (controlled(), UFunction.STARTDT_CON),
        (controlled(), UFunction.STOPDT_CON),
        (controlling(), UFunction.STARTDT_CON),
        (controlling(), UFunction.STOPDT_CON),
        (controlling(), UFunction.STARTDT_ACT),
        (controlling(), UFunction.STOPDT_ACT),
        (ControllingLink(SMALL, 0), UFunction.STARTDT_CON),
    ],
)
def test_link_that_gets_a_function_that_is_not_due_is_closed(link: Link, function: UFunction) -> None:
    refused(link, encode_u(function), UNASKED)


# holds IC-8
def test_controlled_station_confirms_start_and_stop_again_when_asked_again() -> None:
    link = controlled()
    assert link.receive(encode_u(UFunction.STARTDT_ACT), 0) == []
    assert link.receive(encode_u(UFunction.STOPDT_ACT), 0) == [Stopped()]
    assert link.receive(encode_u(UFunction.STOPDT_ACT), 0) == []
    assert frames(link) == [UFunction.STARTDT_CON, UFunction.STOPDT_CON, UFunction.STOPDT_CON]
    assert link.receive(encode_u(UFunction.STARTDT_ACT), 0) == [Started()]


# holds IC-9
def test_controlled_station_confirms_stop_once_its_frames_are_acknowledged() -> None:
    link = controlled()
    link.receive(encode_i(0, 0, ASDU), 0)
    link.send(ASDU, 0)
    link.send(ASDU, 0)
    link.take_output()
    link.receive(encode_i(1, 0, ASDU), 0)
    assert link.receive(encode_u(UFunction.STOPDT_ACT), 0) == [Stopped()]
    assert state(link) is LinkState.PENDING_UNCONFIRMED
    assert link.send_room == 0
    assert frames(link) == [SFrame(2)]
    link.receive(encode_s(1), 0)
    assert frames(link) == []
    link.receive(encode_s(2), 0)
    assert frames(link) == [UFunction.STOPDT_CON]
    assert state(link) is LinkState.STOPPED


# holds IC-9
def test_controlled_station_that_gets_data_after_stop_is_closed() -> None:
    link = controlled()
    link.send(ASDU, 0)
    link.receive(encode_u(UFunction.STOPDT_ACT), 0)
    refused(link, encode_i(0, 0, ASDU), NOT_STARTED)


# holds IC-9
def test_controlling_station_that_stops_acknowledges_at_once_what_still_comes() -> None:
    link = controlling()
    link.receive(encode_i(0, 0, ASDU), 0)
    link.stop(0)
    assert frames(link) == [SFrame(1), UFunction.STOPDT_ACT]
    assert link.receive(encode_i(1, 0, ASDU), 0) == [Received(ASDU)]
    assert frames(link) == [SFrame(2)]
    assert link.receive(encode_u(UFunction.STOPDT_CON), 0) == [Stopped()]
    assert link.send_room == 0
    with pytest.raises(ParameterError, match="it has to be started"):
        link.stop(0)
    link.start(0)
    link.receive(encode_u(UFunction.STARTDT_CON), 0)
    link.request(ASKED, 0)
    assert frames(link)[-1] == IFrame(0, 2, ASDU)


# holds IC-8
def test_both_stations_carry_ten_thousand_asdus_through_their_windows() -> None:
    here, there = controlling(LinkParameters()), controlled(LinkParameters())
    sent, taken = 0, 0
    while taken < 10_000:
        while there.send_room and sent < 10_000:
            there.send(sent.to_bytes(4, "big"), taken)
            sent += 1
        for event in here.receive(there.take_output(), taken):
            assert event == Received(taken.to_bytes(4, "big"))
            taken += 1
        if sent == 10_000 and not (back := here.take_output()):
            here.tick(here.deadline_ms)
            back = here.take_output()
        else:
            back = back if sent == 10_000 else here.take_output()
        there.receive(back, taken)
    assert there.outstanding == 0


# holds IC-4 IC-5 IC-6 IC-7
def test_parameters_have_the_defaults_of_the_standard() -> None:
    assert LinkParameters() == LinkParameters(k=12, w=8, t1_ms=15_000, t2_ms=10_000, t3_ms=20_000)
    LinkParameters(k=32_767, w=32_767, t1_ms=255_000, t2_ms=254_999, t3_ms=172_800_000)


# holds IC-4 IC-5 IC-6 IC-7
@pytest.mark.parametrize(
    "change",
    [
        {"k": 0, "w": 0},
        {"w": 0},
        {"w": 13},
        {"k": 32_768},
        {"t1_ms": 10_000},
        {"t1_ms": 255_001},
        {"t2_ms": 0},
        {"t3_ms": 0},
        {"t3_ms": 172_800_001},
    ],
)
def test_parameters_that_do_not_fit_together_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(ParameterError, match=r"due|t3 is"):
        LinkParameters(**change)
