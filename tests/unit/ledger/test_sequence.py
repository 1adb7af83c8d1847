from __future__ import annotations

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


def test_window_round_trip_keeps_it_and_its_length() -> None:
    window = used(1, 2, 9, 4000)
    assert decode_window(window.encode()) == window
    assert window.encode() == cbor.encode({"highest": window.highest, "window": window.seen.to_bytes(512, "big")})
    assert len(window.encode()) == len(used(4000).encode())
    assert decode_window(None) == SequenceWindow()


@pytest.mark.parametrize(
    "value",
    [
        {"highest": 0, "window": bytes(512)},
        {"highest": 1, "window": bytes(511)},
        {"highest": 1},
        {"highest": 1, "window": bytes(512), "more": 1},
    ],
)
def test_window_of_a_wrong_state_value_is_refused(value: dict[str, cbor.Value]) -> None:
    with pytest.raises(FormatError):
        decode_window(cbor.encode(value))
