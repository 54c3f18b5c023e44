# SPDX-License-Identifier: Apache-2.0
"""A second city, written apart from the C code: Debian's cbor2, cryptography and zlib.

What it signs must be accepted, and what it reads must be what was meant: an independent check of the
encoders and decoders. With odd=True it writes as other encoders do: maps in reverse order, integers one
size longer than needed.
"""

import hashlib
import os
import struct
import zlib

import cbor2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (Encoding, NoEncryption, PrivateFormat,
                                                          PublicFormat)

ISS, SUB, AUD, EXP, NBF, IAT, CTI, CNF, SCOPE, CNONCE = 1, 2, 3, 4, 5, 6, 7, 8, 9, 39
STATUS, TTL, STATUS_LIST = 65535, 65534, 65533
POSTURE, KEYS, POLICY, RESULT, CHANGED, ROOT_KEY = -70001, -70002, -70003, -70004, -70005, -70006
ROLES = -70010
DEFAULT_POLICY = {"require_pin": True, "apps": [], "posture_max_age": 86400, "max_relay": 60,
                  "max_lifetime": 43200, "cut_off": {}, "report_manual": False}


def odd_encode(value):
    """Well-formed, definite, and as far from deterministic as the contract allows."""
    def head(major, n):
        if n < 24:
            return bytes([major << 5 | 24, n])
        if n < 1 << 8:
            return bytes([major << 5 | 25]) + struct.pack(">H", n)
        if n < 1 << 16:
            return bytes([major << 5 | 26]) + struct.pack(">I", n)
        return bytes([major << 5 | 27]) + struct.pack(">Q", n)

    if value is None:
        return b"\xf6"
    if isinstance(value, bool):
        return b"\xf5" if value else b"\xf4"
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    if isinstance(value, (list, tuple)):
        return head(4, len(value)) + b"".join(odd_encode(v) for v in value)
    pairs = sorted(((odd_encode(k), odd_encode(v)) for k, v in value.items()), reverse=True)
    return head(5, len(pairs)) + b"".join(k + v for k, v in pairs)


class Key:
    def __init__(self, private=None):
        self.private = private or Ed25519PrivateKey.generate()
        self.public = self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.kid = hashlib.sha256(self.public).digest()[:8]

    def public_pem(self):
        return self.private.public_key().public_bytes(
            Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def private_pem(self):
        return self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    def record(self, *roles):
        return {1: 1, 2: self.kid, 3: -19, -1: 6, -2: self.public, ROLES: list(roles)}

    def cnf(self):
        return {1: {1: 1, 2: self.kid, 3: -19, -1: 6, -2: self.public}}

    def sign(self, typ, claims, tag61=True, odd=False, alg=-19, kid=None):
        encode = odd_encode if odd else lambda v: cbor2.dumps(v, canonical=True)
        header = encode({1: alg, 4: kid or self.kid, 16: "application/" + typ})
        payload = encode(claims)
        to_sign = cbor2.dumps(["Signature1", header, b"", payload])
        message = b"\xd2" + encode([header, {}, payload, self.private.sign(to_sign)])
        return b"\xd8\x3d" + message if tag61 else message


def digest(document):
    """Of a signed document: first 8 bytes of SHA-256 of its payload."""
    return hashlib.sha256(payload(document)).digest()[:8]


def message(document):
    value = cbor2.loads(document)
    while isinstance(value, cbor2.CBORTag):
        value = value.value
    return value


def payload(document):
    return message(document)[2]


def claims(document):
    return cbor2.loads(payload(document))


def verify(document, public):
    """The claims; raises if the signature is not this key's."""
    header, _, body, signature = message(document)
    Ed25519PublicKey.from_public_bytes(public).verify(
        signature, cbor2.dumps(["Signature1", header, b"", body]))
    return cbor2.loads(body)


class City:
    """Issuer keys by role, and a document of each kind."""

    def __init__(self, odd=False):
        self.odd = odd
        self.root, self.policy_key, self.revoke, self.authorize = Key(), Key(), Key(), Key()
        self.uri = "https://city.example/lists/staff"

    def keys(self, iat, root=None, extra=()):
        root = root or self.root
        records = [root.record("root"), self.policy_key.record("policy"),
                   self.revoke.record("revoke"), self.authorize.record("authorize"), *extra]
        return self.root.sign("lockbridge-keys+cwt",
                              {IAT: iat, EXP: iat + 90 * 86400, KEYS: records}, odd=self.odd)

    def policy(self, iat, **change):
        return self.policy_key.sign(
            "lockbridge-policy+cwt",
            {IAT: iat, EXP: iat + 90 * 86400, POLICY: dict(DEFAULT_POLICY, **change)}, odd=self.odd)

    def list(self, iat, statuses=None, entries=4096, changed=None, lifetime=86400, uri=None, key=None):
        raw = bytearray(entries // 4)
        for idx, status in (statuses or {}).items():
            raw[idx // 4] |= status << 2 * (idx % 4)
        return (key or self.revoke).sign(
            "statuslist+cwt",
            {SUB: uri or self.uri, IAT: iat, EXP: iat + lifetime, TTL: lifetime // 2,
             CHANGED: changed or iat, STATUS_LIST: {"bits": 2, "lst": zlib.compress(bytes(raw), 9)}},
            tag61=False, odd=self.odd)

    def relayed(self, lock, challenge, idx, now, key=None, **change):
        body = {ISS: "city", SUB: os.urandom(8).hex(), AUD: lock, IAT: now, NBF: now, EXP: now + 30,
                CTI: os.urandom(16), SCOPE: "unlock", CNONCE: challenge,
                STATUS: {"status_list": {"idx": idx, "uri": self.uri}},
                POSTURE: {"pin": True, "app": "se.example.homecare", "platform": "any",
                          "checked": now}}
        return self._authorization(body, key, change)

    def at_door(self, lock, phone, idx, now, key=None, **change):
        body = {ISS: "city", AUD: lock, IAT: now, NBF: now, EXP: now + 8 * 3600,
                CTI: os.urandom(16), SCOPE: "unlock", CNF: phone.cnf(),
                STATUS: {"status_list": {"idx": idx, "uri": self.uri}}}
        return self._authorization(body, key, change)

    def reader(self, lock, reader, now, **change):
        body = {ISS: "city", AUD: lock, IAT: now, NBF: now, EXP: now + 86400, CTI: os.urandom(16),
                SCOPE: "read", CNF: {1: {1: 1, -1: 6, -2: reader}}}
        return self._authorization(body, None, change)

    def _authorization(self, body, key, change):
        """change: by claim name, e.g. exp=..., aud=...; None takes the claim away."""
        names = {"iss": ISS, "sub": SUB, "aud": AUD, "exp": EXP, "nbf": NBF, "iat": IAT, "cti": CTI,
                 "cnf": CNF, "scope": SCOPE, "cnonce": CNONCE, "status": STATUS, "posture": POSTURE}
        for name, value in change.items():
            if value is None:
                body.pop(names[name], None)
            else:
                body[names[name]] = value
        return (key or self.authorize).sign("lockbridge-authorization+cwt", body, odd=self.odd)
