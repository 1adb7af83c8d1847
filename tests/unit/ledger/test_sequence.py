from __future__ import annotations

from collections.abc import Sequence

import pytest

from master.ledger.sequence import WINDOW, SequenceWindow, decode_window
from wire import cbor
from wire.errors import FormatError
from wire.types import INT_MAX


def used(*numbers: int) -> SequenceWindow:
    window = SequenceWindow()
    for number in numbers:
        window = window.use(number)
    return window


def test_window_of_an_unused_key_accepts_any_number() -> None:
    for number in (1, 4096, INT_MAX):
        assert not SequenceWindow().is_used(number)


def test_window_after_a_number_refuses_it() -> None:
    window = used(7)
    assert window.is_used(7)
    with pytest.raises(ValueError, match="used up"):
        window.use(7)


# holds EX-2
def test_window_after_a_gap_accepts_each_number_below_once() -> None:
    window = used(1, 5)
    assert not window.is_used(3)
    window = window.use(3)
    assert [number for number in range(1, 7) if window.is_used(number)] == [1, 3, 5]
    assert window.highest == 5


# holds EX-2
def test_window_refuses_what_lies_below_it_and_accepts_its_last_number() -> None:
    window = used(WINDOW + 10)
    assert not window.is_used(10)
    assert window.is_used(9)
    assert window.use(10).is_used(10)


@pytest.mark.parametrize(("step", "known"), [(WINDOW, True), (WINDOW + 1, True), (WINDOW - 1, True)])
def test_window_after_a_jump_still_refuses_the_number_before(step: int, known: bool) -> None:  # noqa: FBT001 - a table
    assert used(100, 100 + step).is_used(100) is known


def test_window_after_a_jump_past_it_is_empty() -> None:
    assert used(1, 2, 3, INT_MAX) == SequenceWindow(INT_MAX, 0)


@pytest.mark.parametrize(
    ("numbers", "size"),
    [
        (range(1, 9), 1),
        ((1, 2, 3, 9), 1),
        ((1, 2, 3, 11), 1),
        ((1, 2, 3, 12), 2),
        ((100, 100 + WINDOW), 512),
        ((100, 100 + WINDOW, 101 + WINDOW), 1),
        ((100, 101 + WINDOW), 1),
        ((7, 8, 9 + WINDOW), 1),
        ((7, 9, 9 + WINDOW), 512),
    ],
)
def test_window_round_trip_keeps_it_in_as_few_bytes_as_hold_it(numbers: Sequence[int], size: int) -> None:
    window = used(*numbers)
    seen = window.seen.to_bytes(size, "big", signed=True)
    assert window.encode() == cbor.encode({"highest": numbers[-1], "window": seen})
    assert decode_window(window.encode()) == window
    half = 1 << 8 * (size - 1) - 1 if size > 1 else 0
    assert not -half <= window.seen < half


def test_window_of_an_unused_key_is_none() -> None:
    assert decode_window(None) == SequenceWindow()


def test_window_of_a_key_that_leaves_no_number_out_takes_one_byte_for_ever() -> None:
    window = SequenceWindow()
    for number in range(1, WINDOW + 10):
        window = window.use(number)
    assert window == SequenceWindow(WINDOW + 9, -1)


def test_window_of_one_number_left_out_is_whole_again_once_that_lies_below() -> None:
    window = used(1, 3)
    for number in range(4, WINDOW + 3):
        window = window.use(number)
        assert window.seen != -1
        assert not window.is_used(2)
    window = window.use(WINDOW + 3)
    assert window == SequenceWindow(WINDOW + 3, -1)
    assert window.is_used(2)


def test_window_whose_last_number_comes_late_reaches_down_to_it() -> None:
    window = used(100, 100 + WINDOW + 50)
    assert window.seen == 0
    window = window.use(150)
    assert window == SequenceWindow(150 + WINDOW, -(1 << WINDOW - 1))
    assert not window.is_used(151)
    assert decode_window(window.encode()) == window
    assert len(window.encode()) == len(cbor.encode({"highest": 150 + WINDOW, "window": bytes(512)}))


@pytest.mark.parametrize(
    "value",
    [
        {"highest": 0, "window": bytes(1)},
        {"highest": 1, "window": b""},
        {"highest": 1, "window": bytes(513)},
        {"highest": 1},
        {"highest": 1, "window": bytes(1), "more": 1},
    ],
)
def test_window_of_a_wrong_state_value_is_refused(value: dict[str, cbor.Value]) -> None:
    with pytest.raises(FormatError):
        decode_window(cbor.encode(value))
