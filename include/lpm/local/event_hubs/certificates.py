"""A certificate for loopback and the authority that signed it, made afresh at each start."""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lpm.local.files import write_atomically

LIFE = timedelta(days=365)


@dataclass(frozen=True)
class Certificates:
    """Where they are: ``authority`` is what clients must trust, ``server`` the certificate with its private key."""

    folder: Path

    @property
    def authority(self) -> Path:
        """The authority's certificate."""
        return self.folder / "authority.pem"

    @property
    def server(self) -> Path:
        """The server's certificate and private key."""
        return self.folder / "server.pem"

    def make(self) -> None:
        """Write both. The authority's own key is kept nowhere."""
        # Slow to import, and the server itself does not need it.
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        now = datetime.now(UTC)
        authority_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        authority_name, server_name = (
            x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
            for name in ("local Event Hubs authority", "local Event Hubs")
        )

        def certificate(subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
            return (
                x509.CertificateBuilder()
                .subject_name(subject)
                .issuer_name(authority_name)
                .public_key(key)
                .serial_number(x509.random_serial_number())
                .not_valid_before(now - timedelta(minutes=5))
                .not_valid_after(now + LIFE)
                .add_extension(
                    x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
                )
            )

        signs_certificates = x509.KeyUsage(
            key_cert_sign=True,
            crl_sign=True,
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        authority = (
            certificate(authority_name, authority_key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(signs_certificates, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False)
            .sign(authority_key, hashes.SHA256())
        )
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        server = (
            certificate(server_name, server_key.public_key())
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(authority_key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        private = server_key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )  # like all of the local cloud's secrets: in a file that only its owner may read
        write_atomically(self.authority, authority.public_bytes(pem))
        write_atomically(self.server, server.public_bytes(pem) + private, mode=0o600)
