# SPDX-License-Identifier: Apache-2.0
"""A city whose broker wants client certificates: mosquitto as shipped, with the files that the desk writes.

Boxes here are an openssl program and a paho client: they know nothing of lockbridge but its enrolment
file, which is read and checked in Python.
"""

import base64
import hashlib
import json
import os
import re
import signal
import socket
import sqlite3
import ssl
import subprocess
import threading

import paho.mqtt.client as mqtt
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from harness import HERE, Failure, Process, World, free_port, program, wait_for

SHIPPED = os.path.join(HERE, "..", "..", "config", "mosquitto")


class MtlsCity(World):
    """Broker and desk; gateways are added by the tests."""

    def __init__(self, layout=None):
        super().__init__(layout or {})
        self.desk_port = free_port()
        self.boxes, self.clients = {}, []

    def start(self, *init):
        self.desk("init", "--broker", f"127.0.0.1:{self.desk_port}", "--public", f"localhost:{self.port}",
                  *init).ok()
        self.desk("broker", "files", "--out", self.path("broker-files"), "--host", "127.0.0.1",
                  "--host", "localhost").ok()
        self.start_broker()
        return self

    def start_broker(self, extra=""):
        os.makedirs(self.path("broker"), exist_ok=True)
        with open(os.path.join(SHIPPED, "lockbridge.conf"), encoding="ascii") as f:
            shipped = f.read()
        for port, ours in {8883: self.port, 8884: self.desk_port}.items():
            shipped, found = re.subn(rf"(?m)^listener {port}$", f"listener {ours} 127.0.0.1", shipped)
            assert found == 1
        with open(self.path("mosquitto.conf"), "w", encoding="ascii") as f:
            f.write(f"persistence_location {self.path('broker')}/\nlog_dest stderr\nuser root\n{extra}"
                    + shipped.replace("/etc/mosquitto/lockbridge", self.path("broker-files")))
        self.broker = Process("mosquitto", ["mosquitto", "-c", self.path("mosquitto.conf")],
                              self.path("mosquitto.log"), self.env)
        self.processes.append(self.broker)
        self.broker.start()

        def listens(port):
            if not self.broker.running():
                raise Failure("mosquitto ended:\n" + self.broker.output())
            with socket.socket() as s:
                return s.connect_ex(("127.0.0.1", port)) == 0
        wait_for("the broker listens", lambda: listens(self.port) and listens(self.desk_port))

    def reload(self):
        """What `systemctl reload mosquitto` does."""
        seen = self.broker.output().count("Reloading config")
        self.broker.popen.send_signal(signal.SIGHUP)
        wait_for("the broker reloads", lambda: self.broker.output().count("Reloading config") > seen)

    def start_serve(self):
        self.serve = self.spawn("serve", [program("lockbridge-desk"), "--dir", self.path("desk"), "serve"],
                                "on the broker")
        return self.serve

    def stop_serve(self):
        assert self.serve.stop() == 0
        self.processes.remove(self.serve)

    def query(self, sql, *args):
        with sqlite3.connect(self.path("desk", "desk.db"), timeout=20) as db:
            return db.execute(sql, args).fetchall()

    def alarms(self, kind):
        return [a for a in self.desk("alarms", "--json").ok().json if a["kind"] == kind]

    def authority(self):
        with open(self.path("broker-files", "ca.pem"), "rb") as f:
            return x509.load_pem_x509_certificate(f.read())

    def revoked(self):
        """Serials in the list that lies at the broker."""
        with open(self.path("broker-files", "crl.pem"), "rb") as f:
            crl = x509.load_pem_x509_crl(f.read())
        assert crl.is_signature_valid(self.authority().public_key())
        return {f"{entry.serial_number:x}" for entry in crl}

    def box(self, name, file=None):
        """A new one, with a key of its own."""
        box = Box(self, name, file or name)
        self.boxes[file or name] = box
        return box

    def enrolled(self, name, *words):
        return self.box(name).enrol(*words)

    def desk_client(self):
        return Client(self, self.desk_port, self.path("desk", "desk.pem"), self.path("desk", "keys", "desk.key"),
                      f"watcher-{len(self.clients)}").up()

    def close(self):
        for client in self.clients:
            client.close()
        super().close()


class Box:
    """Its folder has key.pem and request.pem, and what the enrolment file brought."""

    def __init__(self, city, name, file):
        self.city, self.name = city, name
        self.dir = city.path("box-" + file)
        os.makedirs(self.dir)
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", self.path("key.pem"))
        self.request_file = self.request()

    def path(self, name):
        return os.path.join(self.dir, name)

    def request(self, name=None, key=None, file="request.pem"):
        openssl("req", "-new", "-key", key or self.path("key.pem"), "-subj", f"/CN={name or self.name}",
                "-out", self.path(file))
        return self.path(file)

    def add(self, *words):
        return self.city.desk("gateway", "add", self.name, "--request", self.request_file, *words)

    def enrol(self, *words):
        self.add("--out", self.path("enrolment.json"), *words).ok()
        with open(self.path("enrolment.json"), encoding="ascii") as f:
            self.enrolment = read_enrolment(f.read())
        self.keep(self.enrolment["certificate"])
        with open(self.path("broker-ca.pem"), "w", encoding="ascii") as f:
            f.write(self.enrolment["broker_ca"])
        return self

    def keep(self, certificate):
        with open(self.path("gateway.pem"), "w", encoding="ascii") as f:
            f.write(certificate)
        return x509.load_pem_x509_certificate(certificate.encode())

    @property
    def certificate(self):
        with open(self.path("gateway.pem"), "rb") as f:
            return x509.load_pem_x509_certificate(f.read())

    @property
    def serial(self):
        return f"{self.certificate.serial_number:x}"

    def client(self):
        return Client(self.city, self.city.port, self.path("gateway.pem"), self.path("key.pem"), self.name,
                      ca=self.path("broker-ca.pem"))

    def topic(self, kind):
        return f"lockbridge/gw/{self.name}/{kind}"


class Client:
    """One connection to the broker, never made again by itself."""

    def __init__(self, city, port, certificate, key, client_id, ca=None):
        self.messages, self.outcome, self.port = [], None, port
        self.subscribed = threading.Event()
        self.mqtt = mqtt.Client(client_id=client_id, protocol=mqtt.MQTTv5)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(ca or city.path("broker-files", "ca.pem"))
        context.load_cert_chain(certificate, key)
        self.mqtt.tls_set_context(context)
        self.mqtt.on_connect = self._on_connect
        self.mqtt.on_message = lambda c, u, m: self.messages.append((m.topic, m.payload))
        self.mqtt.on_subscribe = lambda *_: self.subscribed.set()
        city.clients.append(self)

    def _on_connect(self, client, user, flags, reason, properties=None):
        self.outcome = self.outcome or ("connected" if reason.value == 0 else str(reason))

    def _run(self):
        """paho's own thread would die of an alert without a word."""
        try:
            while self.mqtt.loop(0.2) == mqtt.MQTT_ERR_SUCCESS:
                pass
        except (OSError, ValueError):
            pass
        self.outcome = "closed" if self.outcome in (None, "connected") else self.outcome

    def connect(self):
        """connected, closed (by the broker, without an answer), or its reason."""
        try:
            self.mqtt.connect("localhost", self.port)
        except (ssl.SSLError, ConnectionError):
            self.outcome = "closed"
            return self.outcome
        thread = threading.Thread(target=self._run, daemon=True)
        self.mqtt._thread = thread  # publish() leaves the writing to it
        thread.start()
        return wait_for("an answer to CONNECT", lambda: self.outcome)

    def up(self):
        outcome = self.connect()
        if outcome != "connected":
            raise Failure(f"not connected: {outcome}")
        return self

    def subscribe(self, *filters):
        self.subscribed.clear()
        self.mqtt.subscribe([(f, mqtt.SubscribeOptions(qos=1)) for f in filters])
        wait_for("SUBACK", self.subscribed.is_set)
        return self

    def publish(self, topic, payload, retain=False):
        self.mqtt.publish(topic, payload, qos=1, retain=retain)
        return self

    def of(self, topic):
        return [p for t, p in self.messages if t == topic]

    def close(self):
        if self.outcome == "connected":
            self.mqtt.disconnect()


def openssl(*words):
    done = subprocess.run(["openssl", *words], capture_output=True, check=False)
    if done.returncode != 0:
        raise Failure(f"openssl {' '.join(words)}: {done.stderr.decode()}")
    return done.stdout.decode()


def read_enrolment(text):
    """By the words of message-enrolment.h alone; every member is checked for its form."""
    e = json.loads(text)
    rest = {k: v for k, v in e.items() if k != "checksum"}
    compact = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(compact.encode()).hexdigest() == e["checksum"]
    assert e["lockbridge-enrolment"] == 1 and re.fullmatch("[a-z0-9-]{1,32}", e["gateway"])
    load_pem_public_key(e["root_key"].encode())
    x509.load_pem_x509_certificate(e["certificate"].encode())
    assert all(set(b) == {"host", "port"} and 0 < b["port"] < 65536 for b in e["brokers"]) and e["brokers"]
    assert all(len(base64.b64decode(lock["key"])) == 32 for lock in e["locks"])
    assert "PRIVATE" not in text
    return e
