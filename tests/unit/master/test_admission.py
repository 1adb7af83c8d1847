"""Who may connect follows the ledger; what fails is tried again until it is done."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any, cast

import pytest

from kit.config import HostPort
from kit.exitcodes import DataError
from master.admission import Admission
from master.contracts.validator_records import Admitted
from master.io.inbound import Trust

FIRST, SECOND = (Admitted("a", b"first", ""),), (Admitted("b", b"second", ""),)


class Ledger:
    peers: tuple[Admitted, ...] = FIRST


class Book:
    def __init__(self) -> None:
        self.error: Exception | None = None
        self.asked = 0

    def trust(self, peers: tuple[Admitted, ...]) -> Trust:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return Trust({entry.tls_certificate: entry.member for entry in peers}, *cast("Any", (None, None)))

    def addresses(self, peers: tuple[Admitted, ...]) -> dict[str, HostPort]:
        return {entry.member: HostPort("127.0.0.1", 1) for entry in peers}


class Network:
    def __init__(self) -> None:
        self.renewed: list[tuple[Mapping[bytes, str], list[str]]] = []

    def renew(self, trust: Trust, addresses: Mapping[str, HostPort]) -> None:
        self.renewed.append((trust.members, list(addresses)))


class Site:
    def __init__(self) -> None:
        self.book, self.network, self.ledger = Book(), Network(), Ledger()
        self.admission = Admission(*cast("Any", (self.book, self.network, self.ledger, FIRST)))


# holds VM-11
def test_admission_renews_the_network_once_when_the_ledger_admits_others() -> None:
    site = Site()
    site.admission.follow()
    assert site.book.asked == 0
    site.ledger.peers = SECOND
    site.admission.follow()
    site.admission.follow()
    assert site.network.renewed == [({b"second": "b"}, ["b"])]
    assert site.admission.failure is None


# holds VM-11
@pytest.mark.parametrize(
    "error", [DataError("peer.crt holds no certificate"), ssl.SSLError("no"), PermissionError("no")]
)
def test_admission_that_fails_says_so_and_is_tried_again(error: Exception) -> None:
    site = Site()
    site.ledger.peers, site.book.error = SECOND, error
    for _ in range(2):
        site.admission.follow()
        assert site.admission.failure is not None
        assert str(error) in site.admission.failure
    assert (site.book.asked, site.network.renewed) == (2, [])
    site.book.error = None
    site.admission.follow()
    assert site.network.renewed == [({b"second": "b"}, ["b"])]
    assert site.admission.failure is None


def test_admission_of_a_ledger_that_is_back_where_it_was_lacks_nothing() -> None:
    site = Site()
    site.ledger.peers, site.book.error = SECOND, DataError("no")
    site.admission.follow()
    site.ledger.peers = FIRST
    site.admission.follow()
    assert site.admission.failure is None
    assert site.network.renewed == []
