"""Every refusal has a code of a closed set."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.unit.wire.samples import RAW_TX
from wire import cbor, errors, lightclient
from wire.errors import CODES, FormatError, WireError
from wire.header import decode_header
from wire.tx import open_tx


def classes(kind: type[WireError]) -> Iterator[type[WireError]]:
    yield kind
    for heir in kind.__subclasses__():
        yield from classes(heir)


# holds TP-9
def test_error_of_every_class_has_a_code_of_the_closed_set() -> None:
    found = list(classes(WireError))
    assert lightclient.ConflictError in found
    assert {kind.default_code for kind in found} <= set(CODES)
    assert len(set(CODES)) == len(CODES)


# holds TP-9
@pytest.mark.parametrize(
    ("refused", "code"),
    [
        (lambda: cbor.decode(b"\x18\x00"), errors.NOT_CANONICAL),
        (lambda: cbor.decode(bytes(9), bytes_max=8), errors.TOO_LARGE),
        (lambda: cbor.decode(b"\x82\x00\x00", values_max=2), errors.TOO_MANY_VALUES),
        (lambda: decode_header(b"\xa0"), errors.MALFORMED),
        (lambda: open_tx(b"\xd2"), errors.MALFORMED),
        (lambda: open_tx(bytes(65_537)), errors.TOO_LARGE),
        (lambda: open_tx(RAW_TX).verify(bytes(32)), errors.BAD_SIGNATURE),
    ],
)
def test_error_says_by_its_code_what_was_wrong(refused: Callable[[], object], code: str) -> None:
    with pytest.raises(WireError) as caught:
        refused()
    assert caught.value.code == code


def test_error_code_of_one_case_goes_before_that_of_its_class() -> None:
    assert FormatError("x").code == errors.MALFORMED
    assert FormatError("x", code=errors.TOO_LARGE).code == errors.TOO_LARGE
    assert WireError("x").code == errors.REFUSED
