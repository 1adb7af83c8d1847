from __future__ import annotations

from master.availability import Availability
from wire.blob import BlobRef

ONE, TWO = BlobRef(b"1" * 32, 1), BlobRef(b"2" * 32, 2)
BLOCK, OTHER = b"b" * 32, b"c" * 32


# holds BL-7
def test_block_whose_blobs_are_here_does_not_wait() -> None:
    held = Availability({ONE, TWO}.__contains__)
    assert held.holds_back(BLOCK, (ONE, TWO)) == ()
    assert held.holds_back(OTHER, ()) == ()
    assert held.released() == []


# holds BL-7
def test_block_waits_for_every_blob_and_is_released_once() -> None:
    here: set[BlobRef] = set()
    held = Availability(here.__contains__)
    assert held.holds_back(BLOCK, (ONE, TWO)) == (ONE, TWO)
    here.add(ONE)
    assert (held.released(), held.needs(TWO), held.needs(BlobRef(b"3" * 32, 3))) == ([], True, False)
    here.add(TWO)
    assert held.released() == [BLOCK]
    assert (held.released(), held.needs(TWO)) == ([], False)


# holds BL-7
def test_block_of_a_height_that_is_final_waits_no_more() -> None:
    here: set[BlobRef] = set()
    held = Availability(here.__contains__)
    held.holds_back(BLOCK, (ONE,))
    held.clear()
    here.add(ONE)
    assert held.released() == []
