# SPDX-License-Identifier: Apache-2.0
"""A box's folders, and enrolment files for it by a city in Python: right ones, and wrong in any way."""

import hashlib
import json
import os
import subprocess
import time

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

import pki
from harness import Answer, program

LOCK_KEY = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="


def encode(told):
    """The file, as agent/message-enrolment.h words it."""
    told = {name: value for name, value in told.items() if name != "checksum"}
    compact = json.dumps(told, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    told["checksum"] = hashlib.sha256(compact.encode()).hexdigest()
    return json.dumps(told, indent=1) + "\n"


class City:
    def __init__(self, name="City"):
        self.authority = pki.Authority(name)
        self.root = ed25519.Ed25519PrivateKey.generate()
        raw = self.root.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        self.kid = hashlib.sha256(raw).hexdigest()[:16]
        self.root_pem = self.root.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()

    def answer(self, request, gateway="gw-17", since=-0.01, until=90.0, name=None, **change):
        """What the desk would say to a request (PEM), with members changed; None: left out."""
        public = x509.load_pem_x509_csr(request.encode()).public_key()
        told = {
            "lockbridge-enrolment": 1, "gateway": gateway, "issued": int(time.time()),
            "root_topic": "lockbridge", "root_key": self.root_pem, "broker_ca": self.authority.pem,
            "certificate": pki.pem(self.authority.client(name or gateway, public, since, until)),
            "brokers": [{"host": "mqtt.city.example", "port": 8883}],
            "locks": [{"id": "lock-1", "key": LOCK_KEY}],
        }
        told.update(change)
        return {name: value for name, value in told.items() if value is not None}


class Folders:
    """/etc/lockbridge and /var/lib/lockbridge of a box, elsewhere."""

    def __init__(self, where):
        self.dir = str(where)
        self.etc, self.state = os.path.join(self.dir, "etc"), os.path.join(self.dir, "state")
        os.makedirs(self.etc)
        os.makedirs(self.state, mode=0o700)
        self.options = ["--etc", self.etc, "--state", self.state]
        self.env = dict(os.environ)

    def conf(self):
        return os.path.join(self.etc, "lockbridge.conf")

    def key(self):
        return os.path.join(self.etc, "gateway.key")

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def run(self, *words, **more):
        argv = [program("lockbridgectl"), *words]
        return Answer(argv, subprocess.run(argv, capture_output=True, timeout=90, env=self.env, **more))

    def request(self, gateway="gw-17"):
        return self.run("request", gateway, "--etc", self.etc)

    def put(self, told, name="file.enrolment"):
        """told: a text, or members for encode()."""
        with open(self.path(name), "w", encoding="utf-8") as f:
            f.write(told if isinstance(told, str) else encode(told))
        return self.path(name)

    def enrol(self, told, *words):
        return self.run("enrol", self.put(told), *words, *self.options)

    def enrolled(self, city, gateway="gw-17", *words, **change):
        """Enrolled, and what with."""
        told = city.answer(self.request(gateway).ok().out, gateway, **change)
        self.enrol(told, *words).ok()
        return told

    def snapshot(self):
        """Every byte, mode and owner."""
        found = {}
        for top in (self.etc, self.state):
            for folder, folders, files in os.walk(top):
                for path in [os.path.join(folder, name) for name in folders + files] + [folder]:
                    st = os.lstat(path)
                    content = None
                    if os.path.isfile(path) and not os.path.islink(path):
                        with open(path, "rb") as f:
                            content = f.read()
                    found[path] = (content, st.st_mode, st.st_uid, st.st_gid, st.st_nlink)
        return found

    def holds(self, told):
        """Is everything in its place, and nothing left over?"""
        want = {os.path.join(self.etc, "root.pub.pem"): told["root_key"],
                os.path.join(self.etc, "broker-ca.pem"): told["broker_ca"],
                os.path.join(self.state, "gateway.pem"): told["certificate"]}
        for path, text in want.items():
            with open(path, encoding="ascii") as f:
                assert f.read() == text, path
        left = [path for path in self.snapshot() if path.endswith((".tmp", ".keep"))]
        assert left == []
        checked = self.run("check-config", self.conf())
        assert checked.status == 0, checked.err
        return True
