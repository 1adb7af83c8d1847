from __future__ import annotations

import datetime as dt
import hashlib
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from kit import tls
from kit.exitcodes import DataError, PermissionDeniedError, StorageError
from kit.tls import Authority, Identity, mqtt_context, peer_context, peer_digest, self_signed


def saved(folder: Path, name: str, identity: Identity) -> tuple[Path, Path]:
    paths = folder / f"{name}.crt", folder / f"{name}.pem"
    identity.save(*paths)
    return paths


def shake_hands(
    client: ssl.SSLContext, server: ssl.SSLContext, *, host: str | None = None
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Run a handshake in memory, then send a byte each way: a refusal may come with the first."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    a = client.wrap_bio(to_client, to_server, server_hostname=host)
    b = server.wrap_bio(to_server, to_client, server_side=True)
    waiting = [a, b]
    for _ in range(10):
        for side in list(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                continue
    assert not waiting
    a.write(b"x")
    b.write(b"y")
    assert (a.read(1), b.read(1)) == (b"y", b"x")
    return a, b


def expired(common_name: str) -> Identity:
    key = ec.generate_private_key(ec.SECP256R1())
    name = tls._name(common_name)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(dt.datetime(2001, 1, 1, tzinfo=dt.UTC))
        .not_valid_after(dt.datetime(2002, 1, 1, tzinfo=dt.UTC))
    )
    return tls._identity(tls._leaf(builder, ["node"]).sign(key, hashes.SHA256()), key)


def peers(
    folder: Path, dials: Identity, listens: Identity, trusted: list[bytes]
) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    return (
        peer_context("client", *saved(folder, "dials", dials), trusted),
        peer_context("server", *saved(folder, "listens", listens), trusted),
    )


def test_self_signed_certificate_has_the_dates_names_and_curve() -> None:
    certificate = x509.load_der_x509_certificate(self_signed("node-a", ["h", "10.0.0.1"]).der())
    assert certificate.not_valid_after_utc == dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC)
    assert certificate.not_valid_before_utc.year == 1970
    assert certificate.subject.rfc4514_string() == "CN=node-a"
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in names] == ["h", "10.0.0.1"]


@pytest.mark.parametrize("name", ["", "x" * 65])
def test_common_name_of_wrong_length_is_refused(name: str) -> None:
    with pytest.raises(DataError, match="no common name"):
        self_signed(name)


def test_identity_is_saved_privately_and_never_overwritten(tmp_path: Path) -> None:
    identity = self_signed("a")
    certificate, key = saved(tmp_path, "a", identity)
    assert key.stat().st_mode & 0o777 == 0o600
    assert certificate.read_bytes() == identity.certificate
    assert "PRIVATE" not in repr(identity)
    with pytest.raises(StorageError, match="never overwritten"):
        saved(tmp_path, "a", self_signed("a"))
    assert key.read_bytes() == identity.key


def test_peers_that_know_each_other_connect_with_tls_1_3(tmp_path: Path) -> None:
    a, b = self_signed("a"), self_signed("b")
    client, server = shake_hands(*peers(tmp_path, a, b, [a.der(), b.der()]))
    assert client.version() == "TLSv1.3"
    assert peer_digest(client) == hashlib.sha256(b.der()).digest()
    assert peer_digest(server) == hashlib.sha256(a.der()).digest()


def test_unknown_client_is_refused_by_the_server(tmp_path: Path) -> None:
    a, b = self_signed("a"), self_signed("b")
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(*peers(tmp_path, a, b, [b.der()]))


def test_unknown_server_is_refused_by_the_client(tmp_path: Path) -> None:
    a, b = self_signed("a"), self_signed("b")
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(*peers(tmp_path, a, b, [a.der()]))


def test_another_certificate_under_a_known_name_is_refused(tmp_path: Path) -> None:
    a, b = self_signed("a"), self_signed("b")
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(*peers(tmp_path, self_signed("a"), b, [a.der(), b.der()]))


def test_certificate_issued_with_a_member_key_is_refused(tmp_path: Path) -> None:
    a, b = self_signed("a"), self_signed("b")
    _, key = saved(tmp_path, "a", a)
    child = Authority.load(tmp_path / "a.crt", key).issue("c")
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(*peers(tmp_path, child, b, [a.der(), b.der()]))


def test_peers_that_trust_nobody_refuse(tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(*peers(tmp_path, self_signed("a"), self_signed("b"), []))


def test_client_without_certificate_is_refused_by_a_peer(tmp_path: Path) -> None:
    b = self_signed("b")
    server = peer_context("server", *saved(tmp_path, "b", b), [b.der()])
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.load_verify_locations(cadata=b.der())
    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        shake_hands(client, server)


def test_peer_with_tls_1_2_is_refused(tmp_path: Path) -> None:
    a, b = self_signed("a"), self_signed("b")
    client, server = peers(tmp_path, a, b, [a.der(), b.der()])
    client.minimum_version = ssl.TLSVersion.TLSv1_2
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        shake_hands(client, server)


def test_peer_with_an_expired_certificate_is_accepted(tmp_path: Path) -> None:
    a, b = expired("a"), self_signed("b")
    _, server = shake_hands(*peers(tmp_path, a, b, [a.der(), b.der()]))
    assert peer_digest(server) == hashlib.sha256(a.der()).digest()


def test_peer_certificate_as_trusted_that_is_no_der_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no DER certificate"):
        peer_context("client", *saved(tmp_path, "a", self_signed("a")), [b"nonsense"])


def test_peer_digest_without_certificate_is_refused(tmp_path: Path) -> None:
    b = self_signed("b", ["b.local"])
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*saved(tmp_path, "b", b))
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(cadata=b.der())
    _, accepted = shake_hands(client, server, host="b.local")
    with pytest.raises(DataError, match="presented no certificate"):
        peer_digest(accepted)


class Bench:
    """An authority with a broker's context and one gateway's files."""

    def __init__(self, folder: Path, broker: Identity | None = None) -> None:
        authority = Authority.create("bench-ca")
        self.ca, self.ca_key = saved(folder, "ca", authority.identity())
        self.gateway = saved(folder, "gw", authority.issue("gw-1"))
        broker = broker or authority.issue("broker", ["broker.local", "127.0.0.1"])
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.verify_mode = ssl.CERT_REQUIRED
        self.server.load_verify_locations(cafile=self.ca)
        self.server.load_cert_chain(*saved(folder, "broker", broker))


@pytest.mark.parametrize("host", ["broker.local", "127.0.0.1"])
def test_mqtt_client_and_broker_of_one_authority_connect(tmp_path: Path, host: str) -> None:
    bench = Bench(tmp_path)
    _, server = shake_hands(mqtt_context(bench.ca, *bench.gateway), bench.server, host=host)
    subject = server.getpeercert()
    assert subject is not None
    assert subject["subject"] == ((("commonName", "gw-1"),),)


@pytest.mark.parametrize("host", ["other.local", "127.0.0.2"])
def test_mqtt_broker_under_another_name_is_refused(tmp_path: Path, host: str) -> None:
    bench = Bench(tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(mqtt_context(bench.ca, *bench.gateway), bench.server, host=host)


def test_mqtt_broker_under_another_name_is_accepted_when_told(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    context = mqtt_context(bench.ca, *bench.gateway, check_hostname=False)
    client, _ = shake_hands(context, bench.server, host="other.local")
    assert client.version() == "TLSv1.3"


def test_mqtt_broker_of_another_authority_is_refused(tmp_path: Path) -> None:
    stranger = Authority.create("bench-ca").issue("broker", ["broker.local"])
    bench = Bench(tmp_path, broker=stranger)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(mqtt_context(bench.ca, *bench.gateway), bench.server, host="broker.local")


def test_mqtt_broker_with_an_expired_certificate_is_refused(tmp_path: Path) -> None:
    old = expired("broker")
    bench = Bench(tmp_path, broker=old)
    context = mqtt_context(bench.ca, *bench.gateway)
    context.load_verify_locations(cadata=old.der())
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        shake_hands(context, bench.server, host="node")


def test_authority_is_loaded_again_and_issues_what_is_accepted(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    again = Authority.load(bench.ca, bench.ca_key)
    files = saved(tmp_path, "gw-2", again.issue("gw-2"))
    _, server = shake_hands(mqtt_context(bench.ca, *files), bench.server, host="broker.local")
    assert peer_digest(server) == hashlib.sha256(tls.der_of(files[0].read_bytes())).digest()


def test_authority_with_another_key_is_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    with pytest.raises(DataError, match="is not the key of"):
        Authority.load(bench.ca, bench.gateway[1])


def test_authority_with_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    pem = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    bench.ca_key.write_bytes(pem)
    with pytest.raises(DataError, match="expected P-256"):
        Authority.load(bench.ca, bench.ca_key)
    bench.ca_key.write_bytes(b"nonsense")
    with pytest.raises(DataError, match="no unencrypted PEM key"):
        Authority.load(bench.ca, bench.ca_key)


def test_key_readable_by_others_is_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.gateway[1].chmod(0o644)
    with pytest.raises(PermissionDeniedError, match="chmod 600"):
        mqtt_context(bench.ca, *bench.gateway)


def test_encrypted_key_is_refused_without_asking(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    key = serialization.load_pem_private_key(bench.gateway[1].read_bytes(), password=None)
    bench.gateway[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"word"),
        )
    )
    with pytest.raises(DataError, match="no unencrypted PEM key"):
        mqtt_context(bench.ca, *bench.gateway)


def test_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    with pytest.raises(DataError, match="belongs to"):
        mqtt_context(bench.ca, bench.gateway[0], bench.ca_key)


def test_missing_files_are_named(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    with pytest.raises(StorageError, match="no certificate file"):
        mqtt_context(tmp_path / "none", *bench.gateway)
    with pytest.raises(StorageError, match="no key file"):
        mqtt_context(bench.ca, bench.gateway[0], tmp_path / "none")


def test_certificate_file_with_other_text_is_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.gateway[0].write_bytes(b"nonsense")
    with pytest.raises(DataError, match="holds no PEM certificate"):
        mqtt_context(bench.ca, *bench.gateway)
