"""Points by interrogation and one by one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.wire.iec104.times import TIME
from wire.iec104.asdu import Asdu, Directory, decode_asdu
from wire.iec104.errors import NOT_READY, REFUSED, WRONG_LENGTH, WRONG_ORDER, InterrogationError
from wire.iec104.pointread import InterrogationReader, PointReader
from wire.iec104.points import Point
from wire.iec104.requests import Interrogate, InterrogateCounters, ReadPoint, Request, encode_request
from wire.iec104.responses import encode_point_asdus, encode_response, mirror
from wire.iec104.types import Cause, TypeId

GENERAL = Interrogate(3)


def confirmed(request: Request, cause: Cause, *, is_negative: bool = False) -> Asdu:
    return decode_asdu(mirror(encode_request(request), cause, is_negative=is_negative))


def of_points(points: list[Point], cause: int, station: int = 3, type_id: int = TypeId.M_ME_NB_1) -> list[Asdu]:
    return [decode_asdu(raw) for raw in encode_point_asdus(type_id, cause, station, points)]


def begun(request: Interrogate | InterrogateCounters = GENERAL, **limits: int) -> InterrogationReader:
    reader = InterrogationReader(request, **limits)
    assert reader.begin() == request
    reader.take(confirmed(request, Cause.ACTIVATION_CON))
    return reader


# holds IC-21
@pytest.mark.parametrize(
    ("request_", "cause"),
    [
        (GENERAL, 20),
        (Interrogate(3, 21), 21),
        (Interrogate(3, 36), 36),
        (InterrogateCounters(3), 37),
        (InterrogateCounters(3, 1), 38),
        (InterrogateCounters(3, 4), 41),
    ],
)
def test_interrogation_gives_the_points_between_confirmation_and_termination(
    request_: Interrogate | InterrogateCounters, cause: int
) -> None:
    points = [Point(address, address % 100, 0) for address in range(1, 20_001)]
    reader = begun(request_)
    for asdu in of_points(points, cause):
        reader.take(asdu)
    counts = (reader.is_done, len(reader.points))
    reader.take(confirmed(request_, Cause.ACTIVATION_TERMINATION))
    assert counts == (False, 20_000)
    assert reader.is_done
    assert reader.points == {point.address: (TypeId.M_ME_NB_1, point) for point in points}
    assert reader.missing(range(20_003)) == [0, 20_001, 20_002]
    assert reader.answers == 2 + len(of_points(points, cause))


# holds IC-21
def test_interrogation_passes_over_what_does_not_belong_to_it() -> None:
    reader = begun()
    one = [Point(1, 1, 0)]
    for asdu in (*of_points(one, 3), *of_points(one, 21), *of_points(one, 20, station=4)):
        reader.take(asdu)
    reader.take(confirmed(Interrogate(4), Cause.ACTIVATION_TERMINATION))
    reader.take(decode_asdu(encode_response(Directory(()), 3)))
    assert (reader.points, reader.answers, reader.is_done) == ({}, 1, False)


# holds IC-21
def test_interrogation_takes_the_last_of_two_points_of_an_address() -> None:
    reader = begun()
    for value in (1, 2):
        reader.take(of_points([Point(7, value, 0)], 20)[0])
    assert reader.points == {7: (TypeId.M_ME_NB_1, Point(7, 2, 0))}


# holds IC-21
@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        (confirmed(GENERAL, Cause.ACTIVATION_CON, is_negative=True), NOT_READY),
        (confirmed(GENERAL, Cause.UNKNOWN_TYPE), REFUSED),
        (confirmed(GENERAL, Cause.UNKNOWN_COMMON_ADDRESS), REFUSED),
    ],
)
def test_interrogation_that_is_refused_ends(refusal: Asdu, code: str) -> None:
    with pytest.raises(InterrogationError, match="interrogation 20 is refused with cause") as caught:
        InterrogationReader(GENERAL).take(refusal)
    assert caught.value.code == code


# holds IC-21
@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (lambda: InterrogationReader(GENERAL), of_points([Point(1, 1, 0)], 20)[0]),
        (lambda: InterrogationReader(GENERAL), confirmed(GENERAL, Cause.ACTIVATION_TERMINATION)),
        (begun, confirmed(GENERAL, Cause.ACTIVATION_CON)),
        (begun, confirmed(GENERAL, Cause.DEACTIVATION_CON)),
        (begun, confirmed(Interrogate(3, 21), Cause.ACTIVATION_TERMINATION)),
        (begun, confirmed(InterrogateCounters(3), Cause.ACTIVATION_TERMINATION)),
        (begun, decode_asdu(encode_request(GENERAL))),
    ],
)
def test_interrogation_out_of_its_order_ends(make: Callable[[], InterrogationReader], wrong: Asdu) -> None:
    with pytest.raises(InterrogationError) as caught:
        make().take(wrong)
    assert caught.value.code == WRONG_ORDER


# holds IC-21
def test_interrogation_that_goes_on_behind_its_end_ends() -> None:
    for late in (of_points([Point(1, 1, 0)], 20)[0], confirmed(GENERAL, Cause.ACTIVATION_TERMINATION)):
        reader = begun()
        reader.take(confirmed(GENERAL, Cause.ACTIVATION_TERMINATION))
        with pytest.raises(InterrogationError):
            reader.take(late)


# holds IC-21
def test_interrogation_without_end_ends() -> None:
    reader = begun(points_max=3)
    reader.take(of_points([Point(address, 1, 0) for address in range(3)], 20)[0])
    with pytest.raises(InterrogationError, match="more than 3 points") as caught:
        reader.take(of_points([Point(3, 1, 0)], 20)[0])
    assert caught.value.code == WRONG_LENGTH


# holds IC-22
def test_points_are_asked_for_one_after_the_other() -> None:
    reader = PointReader(3, (5, 9))
    assert reader.begin() == ReadPoint(3, 5)
    for passed in (
        *of_points([Point(5, 1, 0)], 3),
        *of_points([Point(5, 1, 0)], 5, station=4),
        decode_asdu(encode_response(Directory(()), 3)),
    ):
        assert reader.take(passed) is None
    assert reader.take(of_points([Point(5, 1, 0)], 5)[0]) == ReadPoint(3, 9)
    assert (reader.is_done, reader.answers) == (False, 1)
    tagged = of_points([Point(9, 2, 0, TIME)], 5, type_id=TypeId.M_ME_TE_1)[0]
    assert reader.take(tagged) is None
    assert (reader.is_done, reader.answers) == (True, 2)
    assert reader.points == {5: (TypeId.M_ME_NB_1, Point(5, 1, 0)), 9: (TypeId.M_ME_TE_1, Point(9, 2, 0, TIME))}
    with pytest.raises(InterrogationError, match="point 9 comes, point -1 was asked for"):
        reader.take(tagged)


# holds IC-22
def test_point_that_is_refused_or_another_one_ends_the_read() -> None:
    reader = PointReader(3, (5, 9))
    with pytest.raises(InterrogationError, match="point 5 is refused with cause 47") as caught:
        reader.take(confirmed(reader.begin(), Cause.UNKNOWN_OBJECT_ADDRESS))
    assert caught.value.code == REFUSED
    for points in ([Point(9, 1, 0)], [Point(5, 1, 0), Point(9, 1, 0)]):
        with pytest.raises(InterrogationError, match="point 5 was asked for") as wrong:
            reader.take(of_points(points, 5)[0])
        assert wrong.value.code == WRONG_ORDER
