"""Bad transactions over HTTP and over the broker: a clear answer, a counter, and nothing else disturbed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import requests
from nacl.signing import SigningKey

from client.demo.cluster import Cluster
from client.demo.processes import wait_until
from client.demo.references import signer_of
from client.demo.topology import LABORATORY, MANUFACTURER, MEMBERS
from client.node import Signer, submit, wait_outcome
from kit.keystore import next_seq
from tests.e2e.harness import node_metric, publish
from wire.tx import Transaction
from wire.types import TX_BYTES_MAX, sha256

MEMBER = MEMBERS[1]
REFUSED = "transactions_refused_total"


@dataclass(frozen=True)
class Bench:
    """What a bad transaction is made from."""

    signer: Signer

    def call(self, **changes: object) -> Transaction:
        fields = {
            "chain": self.signer.chain,
            "sender": self.signer.sender,
            "contract": "references",
            "version": 1,
            "method": "endorse",
            "args": {"release": bytes(32), "report": None},
            "seq": next_seq(self.signer.key_path),
            "valid_until_ms": time.time_ns() // 1_000_000 + 60_000,
        }
        return Transaction(**{**fields, **changes})  # type: ignore[arg-type]

    def sign(self, **changes: object) -> bytes:
        return self.call(**changes).sign(self.signer.key.signing_key)


def non_canonical(bench: Bench) -> bytes:
    # the signature's length in two bytes where one will do
    good = bench.sign()
    return good[:-66] + b"\x59\x00\x40" + good[-64:]


def oversized(bench: Bench) -> bytes:
    return bench.sign() + bytes(TX_BYTES_MAX)


def unsigned(bench: Bench) -> bytes:
    return bench.call().encode()


def wrongly_signed(bench: Bench) -> bytes:
    good = bench.sign()
    return good[:-1] + bytes((good[-1] ^ 1,))


def expired(bench: Bench) -> bytes:
    return bench.sign(valid_until_ms=time.time_ns() // 1_000_000 - 60_000)


def unknown_sender(bench: Bench) -> bytes:
    return bench.call().sign(SigningKey.generate())


def wrong_sender(bench: Bench) -> bytes:
    return bench.sign(sender=MANUFACTURER)


def other_ledger(bench: Bench) -> bytes:
    return bench.sign(chain="demo-00000000")


# what is bad, how HTTP answers, and the reason in answer and metric
CASES: tuple[tuple[Callable[[Bench], bytes], int, str], ...] = (
    (non_canonical, 400, "malformed"),
    (oversized, 413, "malformed"),
    (unsigned, 400, "malformed"),
    (wrongly_signed, 403, "bad-signature"),
    (expired, 409, "expired"),
    (unknown_sender, 403, "unknown-key"),
    (wrong_sender, 403, "wrong-sender"),
    (other_ledger, 400, "wrong-chain"),
)
IDS = [case[0].__name__ for case in CASES]


@pytest.fixture
def bench(cluster: Cluster) -> Bench:
    with cluster.client(MEMBER) as client:
        return Bench(signer_of(cluster, client, LABORATORY))


def refused(cluster: Cluster, member: str, way: str, reason: str) -> float:
    return node_metric(cluster, member, REFUSED, {"way": way, "reason": reason})


def too_large(cluster: Cluster) -> float:
    return node_metric(cluster, MEMBER, "http_transactions_total", {"result": "refused", "code": "body-too-large"})


def undisturbed(cluster: Cluster, bench: Bench, height: int) -> None:
    """Make sure that no block held the bad one, and that a good transaction still gets through."""
    cluster.check()
    assert cluster.wait_same_height() == height
    with cluster.client(MEMBER) as client:
        outcome = wait_outcome(client, submit(client, bench.sign()), 20)
    assert outcome.code not in {None, "ok"}  # there is no release of that digest; the ledger says so
    assert not any(alarm["present"] for alarm in cluster.alarms(MEMBER))


@pytest.mark.parametrize(("make", "status", "reason"), CASES, ids=IDS)
def test_bad_transaction_over_http_is_refused_and_counted(
    cluster: Cluster, bench: Bench, make: Callable[[Bench], bytes], status: int, reason: str
) -> None:
    height = cluster.wait_same_height()
    is_body_refused = make is oversized  # before it becomes a transaction
    counted = refused(cluster, MEMBER, "http", reason)
    turned_away = too_large(cluster)
    answer = requests.post(
        f"{cluster.layout.api_url(MEMBER)}/v1/tx",
        data=make(bench),
        headers={"Content-Type": "application/cose"},
        timeout=30,
    )
    assert answer.status_code == status
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    problem = answer.json()
    assert problem["status"] == status
    assert problem["detail"]
    if is_body_refused:
        assert problem["type"].endswith(":body-too-large")
        assert too_large(cluster) == turned_away + 1
    else:
        assert problem["type"].endswith(f":{reason}")
        assert refused(cluster, MEMBER, "http", reason) == counted + 1
    undisturbed(cluster, bench, height)


@pytest.mark.parametrize(("make", "reason"), [(case[0], case[2]) for case in CASES], ids=IDS)
def test_bad_transaction_over_mqtt_is_refused_and_counted_by_every_node(
    cluster: Cluster, bench: Bench, make: Callable[[Bench], bytes], reason: str
) -> None:
    height = cluster.wait_same_height()
    counted = {member: refused(cluster, member, "mqtt", reason) for member in MEMBERS}
    publish(cluster, cluster.layout.topology.substations[0], make(bench))
    wait_until(
        lambda: all(refused(cluster, member, "mqtt", reason) == counted[member] + 1 for member in MEMBERS),
        within_s=60,
        what="every node to count the refusal",
    )
    undisturbed(cluster, bench, height)


def test_good_transaction_over_mqtt_is_committed(cluster: Cluster, bench: Bench) -> None:
    raw = bench.sign()
    publish(cluster, cluster.layout.topology.substations[0], raw)
    with cluster.client(MEMBER) as client:
        wait_until(
            lambda: (
                requests.get(f"{client.node}/v1/tx/{sha256(raw).hex()}", timeout=30).json().get("status") == "committed"
            ),
            within_s=60,
            what="the transaction to be committed",
        )


def test_repeated_transaction_over_http_is_a_duplicate_and_no_error(cluster: Cluster, bench: Bench) -> None:
    raw = bench.sign()
    with cluster.client(MEMBER) as client:
        tx = submit(client, raw)
        wait_outcome(client, tx, 20)
    height = cluster.wait_same_height()
    for member in MEMBERS:
        answer = requests.post(
            f"{cluster.layout.api_url(member)}/v1/tx",
            data=raw,
            headers={"Content-Type": "application/cose"},
            timeout=30,
        )
        assert (answer.status_code, answer.json()["results"]) == (200, [{"id": tx, "status": "duplicate"}])
    publish(cluster, cluster.layout.topology.substations[0], raw)
    undisturbed(cluster, bench, height)


@pytest.mark.parametrize("way", ["http", "mqtt"])
def test_other_transaction_with_a_used_seq_is_refused_as_replayed(cluster: Cluster, bench: Bench, way: str) -> None:
    first = bench.call()
    with cluster.client(MEMBER) as client:
        wait_outcome(client, submit(client, first.sign(bench.signer.key.signing_key)), 20)
    height = cluster.wait_same_height()
    again = bench.sign(seq=first.seq, valid_until_ms=first.valid_until_ms + 1)
    counted = refused(cluster, MEMBER, way, "replayed")
    if way == "http":
        answer = requests.post(
            f"{cluster.layout.api_url(MEMBER)}/v1/tx",
            data=again,
            headers={"Content-Type": "application/cose"},
            timeout=30,
        )
        assert answer.status_code == 409
        assert answer.json()["type"].endswith(":replayed")
    else:
        publish(cluster, cluster.layout.topology.substations[0], again)
    wait_until(
        lambda: refused(cluster, MEMBER, way, "replayed") == counted + 1, within_s=60, what="the refusal to be counted"
    )
    undisturbed(cluster, bench, height)
