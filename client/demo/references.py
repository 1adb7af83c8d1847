"""The manufacturer submits releases, the laboratory and the regulator endorse them: each with a key of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from client.demo.cluster import Cluster
from client.demo.processes import wait_until
from client.demo.topology import LABORATORY, MANUFACTURER, MEMBERS, REGULATOR
from client.node import Signer, items, open_signer, require_ok, submit, wait_outcome
from client.releases import read_release
from kit.http import NodeClient
from kit.releasefolder import ensure_salt
from wire import cbor
from wire.release import Release
from wire.types import sha256

OUTCOME_WITHIN_S: Final = 30.0


def register(cluster: Cluster, names: Sequence[str]) -> list[str]:
    """Bring releases into the ledger and wait until all nodes say that they are effective.

    Args:
        cluster: Its nodes run.
        names: Release folders of the demo.

    Returns:
        The digests of the releases, hex.

    Raises:
        DataError: A contract refused a call.
        TryAgainError: The ledger does not move.
    """
    releases = submit_releases(cluster, names)
    stand_behind(cluster, releases)
    return [release.digest().hex() for release in releases]


def submit_releases(cluster: Cluster, names: Sequence[str]) -> list[Release]:
    """Submit release folders of the demo as their manufacturer, and return what they hold.

    Raises:
        DataError: The contract refused one.
        TryAgainError: The ledger does not move.
    """
    for name in names:
        ensure_salt(cluster.layout.release(name))
    releases = [read_release(cluster.layout.release(name), MANUFACTURER) for name in names]
    _send_all(cluster, MANUFACTURER, "submit", [{"release": release.encode()} for release in releases])
    return releases


def stand_behind(cluster: Cluster, releases: Sequence[Release]) -> None:
    """Test releases and endorse them, and wait until all nodes say that they are effective.

    Raises:
        DataError: The contract refused a call.
        TryAgainError: The ledger does not move.
    """
    tested: list[dict[str, cbor.Value]] = [
        {"release": release.digest(), "report": sha256(_report(release))} for release in releases
    ]
    _send_all(cluster, LABORATORY, "test", [{**entry, "verdict": "pass"} for entry in tested])
    _send_all(cluster, REGULATOR, "endorse", tested)
    digests = {release.digest().hex() for release in releases}
    wait_until(
        lambda: all(digests <= _effective(cluster, member) for member in MEMBERS),
        within_s=OUTCOME_WITHIN_S,
        what="all nodes to count the releases",
    )


def signer_of(cluster: Cluster, client: NodeClient, organisation: str) -> Signer:
    """Open the key of one of the demo's organisations."""
    return open_signer(client, cluster.layout.keys / f"{organisation}.key", None)


def _send_all(cluster: Cluster, organisation: str, method: str, calls: Sequence[dict[str, cbor.Value]]) -> None:
    """Send all calls, then wait for all outcomes; everybody asks another node."""
    member = MEMBERS[(LABORATORY, REGULATOR, MANUFACTURER).index(organisation)]
    with cluster.client(member) as client:
        signer = signer_of(cluster, client, organisation)
        sent = [submit(client, signer.sign("references", method, call)) for call in calls]
        for tx in sent:
            require_ok(wait_outcome(client, tx, OUTCOME_WITHIN_S))


def _report(release: Release) -> bytes:
    """Write what the laboratory found."""
    return f"release {release.release}, {len(release.artefacts)} files: passed\n".encode()


def _effective(cluster: Cluster, member: str) -> set[str]:
    with cluster.client(member) as client:
        return {str(item["digest"]) for item in items(client, "/v1/references", {}) if item["status"] == "effective"}
