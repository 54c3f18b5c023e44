# SPDX-License-Identifier: Apache-2.0
"""A city's certificate authority in Python, apart from the C code: any certificate, however wrong."""

import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH


def name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def new_key():
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                             serialization.NoEncryption()).decode()


def key_of(pem):
    return serialization.load_pem_private_key(pem, None)


def pem(thing):
    return thing.public_bytes(serialization.Encoding.PEM).decode()


def serial(certificate):
    """As `state` says it: whole bytes of lower-case hex."""
    text = f"{certificate.serial_number:x}"
    return text.zfill(len(text) + len(text) % 2)


def from_now(days):
    return datetime.datetime.utcnow() + datetime.timedelta(days=days)


class Authority:
    def __init__(self, common_name="Test city", key=None, certificate=None):
        self.key, self.name = key or new_key(), name(common_name)
        self.certificate = certificate or self._sign(self.name, self.key.public_key(), -400, 3650, ca=True)
        if certificate:
            self.name = certificate.subject
        self.number = 0

    @property
    def pem(self):
        return pem(self.certificate)

    def _sign(self, subject, public, since, until, ca=False, use=None, names=()):
        builder = (x509.CertificateBuilder().subject_name(subject).issuer_name(self.name)
                   .public_key(public).serial_number(x509.random_serial_number())
                   .not_valid_before(from_now(since)).not_valid_after(from_now(until))
                   .add_extension(x509.BasicConstraints(ca, 0 if ca else None), critical=True)
                   .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
                   .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(
                       self.key.public_key()), critical=False))
        if use:
            builder = builder.add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def client(self, common_name, public, since=0.0, until=90.0, **more):
        """A certificate valid from so many days from now until so many."""
        return self._sign(name(common_name), public, since, until, use=CLIENT, **more)

    def server(self, public):
        names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
        return self._sign(name("broker"), public, -400, 365, use=SERVER, names=names)

    def revocation_list(self, *certificates):
        self.number += 1
        since = from_now(-300) + datetime.timedelta(seconds=self.number)
        builder = (x509.CertificateRevocationListBuilder().issuer_name(self.name).last_update(since)
                   .next_update(from_now(300))
                   .add_extension(x509.CRLNumber(self.number), critical=False))
        for certificate in certificates:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder().serial_number(certificate.serial_number)
                .revocation_date(since).build())
        return pem(builder.sign(self.key, hashes.SHA256()))
