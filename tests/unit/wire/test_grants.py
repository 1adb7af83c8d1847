from __future__ import annotations

from dataclasses import replace

import pytest

from wire.cbor import Value
from wire.errors import FormatError
from wire.grants import (
    PAGE_GRANTS,
    Grant,
    PastGrant,
    check_class,
    decode_page,
    decode_past,
    page_key,
    past_count_key,
    past_key,
    split_reader,
    split_subject,
)

GRANT = Grant(bytes(32), "role/auditor", "grid", 5, None, None, None, None)
ENDED = replace(GRANT, reader="account/op-1", from_ms=10, until_ms=20, ended_height=9, ended_by="grid")


def page(*grants: Grant) -> Value:
    return {"grants": [grant.to_value() for grant in grants]}


# holds AC-3
def test_page_round_trips() -> None:
    assert decode_page(page(GRANT, ENDED)) == (GRANT, ENDED)
    assert page_key("settings", "device/dev-1", 7) == b"grants/settings/device/dev-1/00000007"


# holds AC-3
@pytest.mark.parametrize(
    "value",
    [
        None,
        {"grants": []},
        {"grants": [GRANT.to_value()] * (PAGE_GRANTS + 1)},
        {"grants": [GRANT.to_value() | {"id": b""}]},
        {"grants": [GRANT.to_value() | {"reader": "auditor"}]},
        {"grants": [GRANT.to_value() | {"by": None}]},
        {"grants": [GRANT.to_value() | {"from_height": 0}]},
        {"grants": [GRANT.to_value() | {"from_ms": -1}]},
        {"grants": [GRANT.to_value() | {"ended_by": 7}]},
    ],
)
def test_page_of_another_form_is_refused(value: Value) -> None:
    with pytest.raises(FormatError):
        decode_page(value)


def test_grant_counts_between_its_heights_and_times() -> None:
    assert [GRANT.holds(height, 0) for height in (4, 5, 1000)] == [False, True, True]
    assert [ENDED.holds(height, 15) for height in (4, 5, 8, 9)] == [False, True, True, False]
    assert [ENDED.holds(5, time_ms) for time_ms in (9, 10, 19, 20)] == [False, True, True, False]


def test_subjects_readers_and_classes_have_one_form() -> None:
    assert (split_subject("all"), split_subject("station/st-1")) == (("all", ""), ("station", "st-1"))
    assert split_reader("role/auditor") == ("role", "auditor")
    assert check_class("settings") == "settings"
    for subject in (None, "", "all/", "role/auditor", "device/", "device/a/b"):
        with pytest.raises(FormatError):
            split_subject(subject)
    for reader in (None, "all", "device/dev-1", "role/wizard", "account/", "account/A"):
        with pytest.raises(FormatError):
            split_reader(reader)
    for name in (None, "public", "Settings"):
        with pytest.raises(FormatError):
            check_class(name)


# holds AC-3
def test_page_of_the_past_round_trips_and_another_form_is_refused() -> None:
    left = (PastGrant(7, ENDED), PastGrant(9, GRANT))
    value: Value = {"grants": [entry.to_value() for entry in left]}
    assert decode_past(value) == left
    assert past_key("settings", "device/dev-1", 7) == b"past/settings/device/dev-1/00000007"
    assert past_count_key("settings", "device/dev-1") == b"past/settings/device/dev-1"
    empty: Value = {"left_height": 0, "grant": {}}
    cases: tuple[Value, ...] = (None, {"grants": []}, {"grants": [GRANT.to_value()]}, {"grants": [empty]})
    for wrong in cases:
        with pytest.raises(FormatError):
            decode_past(wrong)


# holds AC-3
@pytest.mark.parametrize(
    ("ended_height", "until_ms", "is_over"),
    [
        (None, None, False),
        (8, None, True),
        (9, None, False),
        (None, 99, True),
        (None, 100, True),
        (None, 101, False),
    ],
)
def test_grant_is_over_when_it_never_counts_again(
    ended_height: int | None,
    until_ms: int | None,
    is_over: bool,  # noqa: FBT001
) -> None:
    made = replace(GRANT, ended_height=ended_height, until_ms=until_ms)
    assert made.is_over(8, 100) is is_over
    assert not (is_over and made.holds(8, 100))
