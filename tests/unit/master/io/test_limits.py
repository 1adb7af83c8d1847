"""Token buckets of the peer port."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from master.io import limits
from master.io.inbound import network_of
from master.io.limits import AddressBook, Allowance, PeerLimits, TokenBucket


# holds TP-5
@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 100)), max_size=40))
def test_bucket_whoever_pauses_as_told_stays_within_burst_and_rate(steps: list[tuple[int, int]]) -> None:
    bucket, now_s, taken = TokenBucket(10, 20, 0), 0.0, 0
    for tokens, idle_ms in steps:
        now_s += idle_ms / 1000
        taken += tokens
        now_s += bucket.take(tokens, now_s)
        assert taken <= 20 + 10 * now_s + 1e-6


def test_bucket_never_holds_more_than_its_burst() -> None:
    bucket = TokenBucket(10, 20, 0)
    assert bucket.try_take(20, 1000)
    assert not bucket.try_take(1, 1000)
    assert bucket.try_take(1, 1001)


# holds TP-5
def test_allowance_counts_messages_bytes_and_refusals() -> None:
    bounds = PeerLimits(messages_per_s=10, messages_burst=10, bytes_per_s=100, bytes_burst=100, refused_cost=10)
    allowance = Allowance(bounds, 0)
    assert allowance.pause_s(10, 0, 1) == 0
    assert allowance.pause_s(0, 0, 0) == 0.1
    assert allowance.pause_s(190, 0, 1) == 1.0
    assert allowance.pause_s(0, 0, 18) == 2.0


def test_address_book_forgets_who_was_not_heard_of_for_longest() -> None:
    book = AddressBook(0.0, 1)
    assert book.admits("first", 0)
    assert not book.admits("first", 0)
    for number in range(limits._ADDRESSES_MAX):
        assert book.admits(str(number), 0)
    assert book.admits("first", 0)


def test_addresses_of_one_ipv6_network_count_as_one() -> None:
    assert network_of("192.0.2.7") == "192.0.2.7"
    assert network_of("::ffff:192.0.2.7") == "::ffff:192.0.2.7"
    assert network_of("2001:db8:0:1::7") == network_of("2001:db8:0:1:ffff::9") == "2001:db8:0:1::/64"
    assert network_of("fe80::1%lo") == "fe80::/64"
    assert network_of("2001:db8:0:2::7") != network_of("2001:db8:0:1::7")
