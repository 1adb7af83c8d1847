"""Certificates and TLS contexts for two kinds of connection.

* To the broker: an ordinary small authority, client certificates, the client id as common name.
* Between full nodes: no authority at all. Both sides present a self-signed certificate and trust
  exactly the certificates that the ledger lists, whatever their dates say.

All certificates run from 1970-01-01 to 9999-12-31 ("no well-defined expiry", RFC 5280, 4.1.2.5):
who is valid is read from the ledger, so neither a date nor a gateway's wrong clock stops anything.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import ipaddress
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, NoReturn

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kit.exitcodes import DataError, StorageError
from kit.files import (
    MODE_PRIVATE,
    read_bounded,
    refuse_if_readable_by_others,
    write_new,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

PEM_BYTES_MAX: Final = 64 * 1024
AUTHORITY_NAME: Final = "authority"
"""Of the files of the consortium's authority."""
NOT_BEFORE: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
NOT_AFTER: Final = dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC)
NO_CHECK_TIME: Final = ssl.VerifyFlags(0x200000)
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which the ssl module does not name."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate and its P-256 key, both PEM."""

    certificate: bytes
    key: bytes = field(repr=False)

    def der(self) -> bytes:
        """Return the certificate as DER, the form that genesis and state hold."""
        return der_of(self.certificate)

    def save(self, certificate_path: Path, key_path: Path) -> None:
        """Write both files, the key with mode 0600; nothing is overwritten.

        Raises:
            StorageError: One of the files exists.
        """
        for path in (certificate_path, key_path):
            if path.exists():
                raise StorageError(f"{path} exists and is never overwritten; move it away first")
        write_new(key_path, self.key, mode=MODE_PRIVATE)
        write_new(certificate_path, self.certificate)


class Authority:
    """A small authority for the broker and its clients."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key

    @classmethod
    def create(cls, common_name: str) -> Authority:
        """Make a new authority with a self-signed certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(common_name)
        builder = (
            _builder(name, name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(authority=True), critical=True)
        )
        return cls(builder.sign(key, hashes.SHA256()), key)

    @classmethod
    def load(cls, certificate_path: Path, key_path: Path) -> Authority:
        """Read an authority that ``identity().save`` wrote.

        Raises:
            DataError: The files hold no certificate and P-256 key that belong together.
            PermissionDeniedError: Others may read the key.
            StorageError: A file is missing.
        """
        _require_private(key_path)
        certificate = _parse_certificate(_read(certificate_path), str(certificate_path))
        try:
            key = serialization.load_pem_private_key(_read(key_path), password=None)
        except (ValueError, TypeError) as error:
            raise DataError(f"{key_path} holds no unencrypted PEM key") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise DataError(f"{key_path} holds a key of another kind; expected P-256")
        if key.public_key() != certificate.public_key():
            raise DataError(f"{key_path} is not the key of {certificate_path}")
        return cls(certificate, key)

    @classmethod
    def in_folder(cls, folder: Path) -> Authority:
        """Read the authority whose files `AUTHORITY_NAME`.crt and .key are in a folder; raises as ``load``."""
        return cls.load(folder / f"{AUTHORITY_NAME}.crt", folder / f"{AUTHORITY_NAME}.key")

    def identity(self) -> Identity:
        """Return the authority's own certificate and key."""
        return _identity(self._certificate, self._key)

    def issue(self, common_name: str, hosts: Sequence[str] = ()) -> Identity:
        """Issue a certificate for a broker, a gateway or a node.

        Args:
            common_name: The MQTT client id, 1..64 characters.
            hosts: Names and IP addresses under which others connect to it; clients need none.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(common_name), self._certificate.subject, key.public_key())
        authority_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = _leaf(builder, hosts).add_extension(authority_key, critical=False)
        return _identity(builder.sign(self._key, hashes.SHA256()), key)

    def has_issued(self, der: bytes) -> bool:
        """Tell whether bytes are a certificate that this authority signed."""
        try:
            x509.load_der_x509_certificate(der).verify_directly_issued_by(self._certificate)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True

    def revocation_list(self, revoked: Mapping[bytes, bool]) -> bytes:
        """Return the list of certificates that count no more, as PEM; the same bytes for the same certificates.

        It has no date that ends or lies ahead of a wrong clock, and no number: which list is newer, the ledger says.

        Args:
            revoked: Certificates of this authority, DER; True when one is only held back, as long as its account is
                suspended.

        Source: RFC 5280, 5; RFC 6979 for the signature.
        """
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._certificate.subject)
            .last_update(NOT_BEFORE)
            .next_update(NOT_AFTER)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        held = {x509.load_der_x509_certificate(der).serial_number: is_held for der, is_held in revoked.items()}
        for serial, is_held in sorted(held.items()):
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(NOT_BEFORE)
            if is_held:
                entry = entry.add_extension(x509.CRLReason(x509.ReasonFlags.certificate_hold), critical=False)
            builder = builder.add_revoked_certificate(entry.build())
        signed = builder.sign(self._key, hashes.SHA256(), ecdsa_deterministic=True)
        return signed.public_bytes(serialization.Encoding.PEM)

    def certify(self, request_der: bytes, common_name: str) -> bytes:
        """Issue a certificate for a key that somebody else keeps; return it as PEM.

        Args:
            request_der: PKCS #10 request in DER, signed by the P-256 key that it is for; of its names nothing is taken.
            common_name: Of the certificate, 1..64 characters.

        Raises:
            DataError: It is no request, or not signed by its own P-256 key.
        """
        try:
            request = x509.load_der_x509_csr(request_der)
            is_proven = request.is_signature_valid
        except ValueError as error:
            raise DataError("what is to be certified is no PKCS #10 request") from error
        key = request.public_key()
        if not is_proven or not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise DataError("the request is not signed by the P-256 key that it is for")
        builder = _builder(_name(common_name), self._certificate.subject, key)
        authority_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = _leaf(builder, ()).add_extension(authority_key, critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def is_request(pem: bytes) -> bool:
    """Tell whether a PEM text asks for a certificate instead of being one."""
    return b"CERTIFICATE REQUEST-----" in pem


def request_of(pem: bytes) -> tuple[bytes, str]:
    """Return the PKCS #10 request of a PEM text as DER, and its one common name, "" when it has none or several.

    Raises:
        DataError: There is none.
    """
    try:
        request = x509.load_pem_x509_csr(pem)
    except ValueError as error:
        raise DataError("the text holds no PEM request for a certificate") from error
    return request.public_bytes(serialization.Encoding.DER), _common_name(request.subject)


def request_pem(der: bytes) -> bytes:
    """Return a PKCS #10 request in PEM."""
    return x509.load_der_x509_csr(der).public_bytes(serialization.Encoding.PEM)


def request_certificate(common_name: str) -> tuple[bytes, bytes]:
    """Make a P-256 key and ask for a certificate for it; return the PKCS #10 request in DER and the key in PEM.

    Args:
        common_name: 1..64 characters.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(_name(common_name)).sign(key, hashes.SHA256())
    pem_key = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return request.public_bytes(serialization.Encoding.DER), pem_key


def self_signed(common_name: str, hosts: Sequence[str] = ()) -> Identity:
    """Make a validator's certificate, signed by its own key.

    Args:
        common_name: The member's id, 1..64 characters.
        hosts: Names and IP addresses; informative, peers compare whole certificates.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(common_name)
    builder = _leaf(_builder(name, name, key.public_key()), hosts)
    return _identity(builder.sign(key, hashes.SHA256()), key)


def der_of(pem: bytes) -> bytes:
    """Return the first certificate of a PEM text as DER.

    Raises:
        DataError: There is none.
    """
    certificate = _parse_certificate(pem, "the text")
    return certificate.public_bytes(serialization.Encoding.DER)


def common_name_of(pem: bytes) -> str:
    """Return the one common name of the first certificate of a PEM text, "" when it has none or several.

    Raises:
        DataError: There is no certificate.
    """
    return _common_name(_parse_certificate(pem, "the text").subject)


def mqtt_context(ca: Path, certificate: Path, key: Path, *, check_hostname: bool = True) -> ssl.SSLContext:
    """Build the context of a broker's client: authority, client certificate, TLS 1.2 or newer.

    Args:
        ca: PEM of the broker's authority.
        certificate: PEM of this client.
        key: PEM of its key, readable by the owner alone.
        check_hostname: The address dialled must stand in the broker's certificate, as a name or,
            for an IP address, as an IP entry. Without it any certificate of the authority passes.

    Raises:
        DataError: A file holds something else, or key and certificate do not belong together.
        PermissionDeniedError: Others may read the key.
        StorageError: A file is missing.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = check_hostname
    _parse_certificate(_read(ca), str(ca))
    context.load_verify_locations(cafile=ca)
    _load_identity(context, certificate, key)
    return context


def client_context(ca: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    """Build the context of a field protocol's client, such as Modbus/TCP Security: TLS 1.2 or newer, both sides known.

    Args:
        ca: PEM of the authority of the devices' certificates.
        certificate: PEM of this gateway.
        key: PEM of its key, readable by the owner alone.

    Raises:
        DataError: A file holds something else, or key and certificate do not belong together.
        PermissionDeniedError: Others may read the key.
        StorageError: A file is missing.
    """
    return mqtt_context(ca, certificate, key)


def peer_context(
    side: Literal["client", "server"],
    certificate: Path,
    key: Path,
    trusted: Sequence[bytes],
) -> ssl.SSLContext:
    """Build one side of a connection between full nodes: TLS 1.3, both sides authenticated.

    Args:
        side: Who dials is the client.
        certificate: PEM of this node.
        key: PEM of its key, readable by the owner alone.
        trusted: DER certificates of all members of the epoch; exactly these are accepted. Build a
            new context when the epoch changes.

    In TLS 1.3 the client's handshake ends before the server has judged the client's certificate:
    a refusal shows at the client's first read.

    Raises:
        DataError: Something is no certificate, or key and certificate do not belong together.
        PermissionDeniedError: Others may read the key.
        StorageError: A file is missing.
    """
    server = side == "server"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # the certificate itself is compared, not a name in it
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | NO_CHECK_TIME
    if server:
        context.num_tickets = 0  # a resumed session would skip the certificates
    if trusted:
        try:
            context.load_verify_locations(cadata=b"".join(trusted))
        except ssl.SSLError as error:
            raise DataError(f"a trusted peer certificate is no DER certificate: {error}") from error
    _load_identity(context, certificate, key)
    return context


def is_trustable(der: bytes) -> bool:
    """Tell whether the bytes are one certificate that a context can be told to trust."""
    try:
        x509.load_der_x509_certificate(der)
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=der)
    except (ValueError, ssl.SSLError):
        return False
    return True


def peer_digest(connection: ssl.SSLObject | ssl.SSLSocket) -> bytes:
    """Return SHA-256 of the DER certificate that the other side presented.

    Compare it with the validator records: it tells which member this is, and a member that put an
    authority's certificate into its record gains nothing by it.

    Raises:
        DataError: It presented none.
    """
    der = connection.getpeercert(binary_form=True)
    if not der:
        raise DataError("the other side presented no certificate")
    return hashlib.sha256(der).digest()


def _builder(subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOT_BEFORE)
        .not_valid_after(NOT_AFTER)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _leaf(builder: x509.CertificateBuilder, hosts: Sequence[str]) -> x509.CertificateBuilder:
    usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH])
    builder = (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(authority=False), critical=True)
        .add_extension(usages, critical=False)
    )
    if not hosts:
        return builder
    return builder.add_extension(x509.SubjectAlternativeName([_host_name(host) for host in hosts]), critical=False)


def _host_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    try:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    except ValueError as error:
        raise DataError(f"{common_name!r} is no common name; expected 1..64 characters") from error


def _common_name(subject: x509.Name) -> str:
    names = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if len(names) == 1 else ""


def _identity(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Identity:
    pem_key = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return Identity(certificate=certificate.public_bytes(serialization.Encoding.PEM), key=pem_key)


def _parse_certificate(pem: bytes, what: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise DataError(f"{what} holds no PEM certificate") from error


def _load_identity(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    _require_private(key)
    _parse_certificate(_read(certificate), str(certificate))
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        raise DataError(f"{key} is no unencrypted PEM key that belongs to {certificate}") from error


def _no_password() -> NoReturn:
    """Refuse an encrypted key instead of asking a terminal that a service does not have."""
    raise ValueError("the key is encrypted")


def _require_private(key: Path) -> None:
    if not key.is_file():
        raise StorageError(f"there is no key file {key}")
    refuse_if_readable_by_others(key)


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise StorageError(f"there is no certificate file {path}")
    return read_bounded(path, bytes_max=PEM_BYTES_MAX)
