# SPDX-License-Identifier: Apache-2.0
"""The broker as shipped in config/mosquitto keeps gateways apart, and lets in nobody else.

The real mosquitto with the shipped files; only paths and the port are others. It answers a foreign
SUBSCRIBE with success, so what is proven here is that messages do not arrive: each time another one
that was sent later, and is allowed, has arrived.
"""

import datetime
import ipaddress
import os
import re
import signal
import socket
import ssl
import threading
import time

import paho.mqtt.client as mqtt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from harness import Failure, Process, free_port, wait_for
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from secure import SHIPPED, shipped_broker

OUTPUTS = ["presence", "state", "health", "lock/lock-1", "event", "request"]
counter = iter(range(1, 1 << 30))
INPUTS = ["document", "authorize", "replay", "certificate"]
CITY = ["city/keys/0011223344556677", "city/policy", "city/list/main"]


# --- certificates -----------------------------------------------------------------------------------

class Authority:
    """A city's own, or anybody's: issues certificates and says which are revoked."""

    def __init__(self, folder, name):
        self.folder, self.number = folder, 0
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self._sign(self.name, self.key, days=365, ca=True)
        self.file = self._write("ca.pem", self._pem(self.certificate))

    def _write(self, name, content):
        os.makedirs(self.folder, exist_ok=True)
        path = os.path.join(self.folder, name)
        with open(path, "wb") as f:
            f.write(content)
        return path

    @staticmethod
    def _pem(thing):
        return thing.public_bytes(serialization.Encoding.PEM)

    def _sign(self, subject, key, days, ca=False, use=None, names=()):
        now = datetime.datetime.utcnow()
        builder = (x509.CertificateBuilder().subject_name(subject).issuer_name(self.name)
                   .public_key(key.public_key()).serial_number(x509.random_serial_number())
                   .not_valid_before(now - datetime.timedelta(days=400))
                   .not_valid_after(now + datetime.timedelta(days=days))
                   .add_extension(x509.BasicConstraints(ca, 0 if ca else None), critical=True))
        if use:
            builder = builder.add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def issue(self, name, days=90, server=False):
        """(certificate file, key file, serial)"""
        key = ec.generate_private_key(ec.SECP256R1())
        use = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))] if server else []
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._sign(subject, key, days, use=use, names=names)
        secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                   serialization.NoEncryption())
        prefix = f"{name}-{certificate.serial_number:x}"
        return (self._write(prefix + ".pem", self._pem(certificate)), self._write(prefix + ".key", secret),
                certificate.serial_number)

    def revocation_list(self, *serials, days=30):
        """Each is newer than the one before: to the second, which is what such lists count in."""
        self.number += 1
        at = datetime.datetime.utcnow() - datetime.timedelta(days=40) + datetime.timedelta(seconds=self.number)
        builder = (x509.CertificateRevocationListBuilder().issuer_name(self.name).last_update(at)
                   .next_update(datetime.datetime.utcnow() + datetime.timedelta(days=days))
                   .add_extension(x509.CRLNumber(self.number), critical=False))
        for serial in serials:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(at).build())
        return self._pem(builder.sign(self.key, hashes.SHA256()))


def itself(folder, name):
    """A client certificate that signed itself: (certificate file, key file)."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.utcnow()
    certificate = (x509.CertificateBuilder().subject_name(subject).issuer_name(subject)
                   .public_key(key.public_key()).serial_number(x509.random_serial_number())
                   .not_valid_before(now - datetime.timedelta(days=1))
                   .not_valid_after(now + datetime.timedelta(days=365))
                   .add_extension(x509.BasicConstraints(False, None), critical=True)
                   .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
                   .sign(key, hashes.SHA256()))
    os.makedirs(folder, exist_ok=True)
    files = os.path.join(folder, name + ".pem"), os.path.join(folder, name + ".key")
    with open(files[0], "wb") as f:
        f.write(certificate.public_bytes(serialization.Encoding.PEM))
    with open(files[1], "wb") as f:
        f.write(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                  serialization.NoEncryption()))
    return files


# --- the broker -------------------------------------------------------------------------------------

class Broker:
    """mosquitto with the shipped configuration, included by a file like the package's own."""

    def __init__(self, folder):
        self.folder, self.port, self.desk_port = folder, free_port(), free_port()
        os.makedirs(self.path("lockbridge"))
        os.makedirs(self.path("data"))
        self.city = Authority(self.path("city"), "city")
        server = self.city.issue("broker", server=True)
        self.server = server
        self.put("ca.pem", open(self.city.file, "rb").read())
        self.put("server.pem", open(server[0], "rb").read())
        self.put("server.key", open(server[1], "rb").read())
        self.put("crl.pem", self.city.revocation_list())
        self.desk = itself(self.path("desk"), "desk")
        self.put("desk-ca.pem", open(self.desk[0], "rb").read())
        with open(os.path.join(SHIPPED, "acl"), encoding="ascii") as f:
            self.rules = f.read()
        self.put("acl", self.rules.encode())
        with open(self.path("mosquitto.conf"), "w", encoding="ascii") as f:
            f.write(shipped_broker(self.path("lockbridge"), self.path("data"), self.port, self.desk_port))
        self.process = Process("mosquitto", ["mosquitto", "-c", self.path("mosquitto.conf")],
                               self.path("mosquitto.log")).start()
        self.process.wait_output("running")
        wait_for("the broker listens", lambda: self.listens(self.port) and self.listens(self.desk_port))
        self.clients = []

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def put(self, name, content):
        """As whole as a reader may ever see it."""
        with open(self.path("lockbridge", name + ".new"), "wb") as f:
            f.write(content)
        os.rename(self.path("lockbridge", name + ".new"), self.path("lockbridge", name))

    def listens(self, port):
        if not self.process.running():
            raise Failure(self.process.output())
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", port)) == 0

    def reload(self):
        seen = self.process.output().count("Reloading config")
        self.process.popen.send_signal(signal.SIGHUP)
        wait_for("the broker reloads", lambda: self.process.output().count("Reloading config") > seen)

    def client(self, name, **how):
        """A connected one, with a certificate of this name; the desk at its own port."""
        client = Client(self, self.city.issue(name), name, **how)
        return self._connected(client, name)

    def new_desk(self):
        name = f"desk-{next(counter)}"
        return self._connected(Client(self, self.desk, name, port=self.desk_port), name)

    def _connected(self, client, name):
        outcome = client.connect()
        if outcome != "connected":
            raise Failure(f"{name}: {outcome}\n{self.process.output()[-2000:]}")
        return client

    def close(self):
        for client in self.clients:
            client.close()
        self.process.stop()


class Client:
    """One connection, never made again by itself."""

    def __init__(self, broker, identity, client_id, will=None, session=0, port=None):
        self.broker, self.messages, self.port = broker, [], port or broker.port
        self.settled, self.gone = threading.Event(), threading.Event()
        self.outcome = None
        self.mqtt = mqtt.Client(client_id=client_id, protocol=mqtt.MQTTv5)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(broker.city.file)
        if identity:
            context.load_cert_chain(identity[0], identity[1])
        self.mqtt.tls_set_context(context)
        if will:
            self.mqtt.will_set(*will, qos=1)
        self.mqtt.on_connect = self._on_connect
        self.mqtt.on_message = lambda c, u, m: self.messages.append((m.topic, m.payload))
        self.mqtt.on_subscribe = lambda *_: self.settled.set()
        self.session = session
        broker.clients.append(self)

    def _run(self):
        """paho's own thread would die of an alert without a word."""
        try:
            while self.mqtt.loop(0.2) == mqtt.MQTT_ERR_SUCCESS:
                pass
        except (OSError, ValueError):
            pass
        self.outcome = self.outcome or "closed"
        self.gone.set()

    def _on_connect(self, client, user, flags, reason, properties=None):
        self.outcome = self.outcome or ("connected" if reason.value == 0 else f"refused: {reason}")

    def connect(self):
        """connected, refused: REASON, or closed: by the broker without an answer."""
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = self.session
        try:
            self.mqtt.connect("127.0.0.1", self.port, clean_start=not self.session,
                              properties=properties)
        except (ssl.SSLError, ConnectionError):
            return "closed"
        thread = threading.Thread(target=self._run, daemon=True)
        self.mqtt._thread = thread  # publish() leaves the writing to it
        thread.start()
        return wait_for("an answer to CONNECT", lambda: self.outcome)

    def subscribe(self, *filters):
        self.settled.clear()
        self.mqtt.subscribe([(f, mqtt.SubscribeOptions(qos=1)) for f in filters])
        wait_for("SUBACK", self.settled.is_set)
        return self

    def publish(self, topic, payload=b"x", retain=False):
        self.mqtt.publish(topic, payload, qos=1, retain=retain)
        return self

    def has(self, topic, payload):
        return (topic, payload) in self.messages

    def cut(self):
        """The network is gone: no DISCONNECT is sent."""
        self.mqtt._sock.shutdown(socket.SHUT_RDWR)

    def close(self):
        if self.outcome and not self.gone.is_set():
            self.mqtt.disconnect()
            self.gone.wait(5)


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    broker = Broker(str(tmp_path_factory.mktemp("broker")))
    yield broker
    broker.close()


def barrier(sender, topic, receiver):
    """Until what the sender said before has been through the broker, to this receiver."""
    token = f"barrier {next(counter)}".encode()
    sender.publish(topic, token)
    wait_for(f"the allowed message on {topic}", lambda: receiver.has(topic, token))
    return (topic, token)


def own(name, *ends):
    return [f"lockbridge/gw/{name}/{end}" for end in ends]


# --- who gets in ------------------------------------------------------------------------------------

def test_only_the_citys_living_certificates_get_in(broker, tmp_path):
    foreign = Authority(str(tmp_path / "foreign"), "city")  # same name, another key
    revoked = broker.city.issue("gw-31")
    broker.put("crl.pem", broker.city.revocation_list(revoked[2]))
    broker.reload()

    def outcome(identity):
        return Client(broker, identity, "gw-31").connect()

    assert outcome(broker.city.issue("gw-31")) == "connected"
    assert outcome(None) == "closed"
    assert outcome(foreign.issue("gw-31")) == "closed"
    assert outcome(revoked) == "closed"
    assert outcome(broker.city.issue("gw-31", days=-1)) == "closed"
    assert outcome(broker.server) == "closed", "the broker's own certificate is for no client"
    assert outcome(broker.city.issue("gw-31")) == "connected"


def test_what_is_older_than_tls_1_3_is_refused(broker):
    """Up to 1.2 a client's certificate, and with it the gateway's id, is for everybody to read."""
    def hello(version):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(broker.city.file)
        context.load_cert_chain(*broker.city.issue("gw-32")[:2])
        context.minimum_version = context.maximum_version = version
        with socket.create_connection(("127.0.0.1", broker.port), 10) as plain:
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as s:
                return s.version()

    assert hello(ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
    with pytest.raises(ssl.SSLError):
        hello(ssl.TLSVersion.TLSv1_2)


def test_another_client_id_cannot_be_taken_over(broker):
    victim = broker.client("gw-18").subscribe("lockbridge/gw/gw-18/replay")
    desk = broker.new_desk()
    thief = Client(broker, broker.city.issue("gw-17"), "gw-18", session=3600)
    assert thief.connect() == "connected"
    thief.subscribe("lockbridge/gw/gw-17/replay")
    assert re.search(r"New client connected from \S+ as gw-17 ", broker.process.output())
    barrier(desk, "lockbridge/gw/gw-18/replay", victim)
    barrier(desk, "lockbridge/gw/gw-17/replay", thief)
    assert not victim.gone.is_set()
    assert not [m for m in thief.messages if "gw-18" in m[0]]


def test_no_gateway_gets_in_where_the_desk_does(broker):
    """There client ids are free, so that the desk's commands disturb neither it nor one another."""
    intruder = Client(broker, broker.city.issue("gw-17"), "desk-1", port=broker.desk_port)
    assert intruder.connect() == "closed"
    assert Client(broker, broker.city.issue("desk"), "desk-1", port=broker.desk_port).connect() == "closed"
    assert Client(broker, None, "desk-1", port=broker.desk_port).connect() == "closed"
    assert Client(broker, broker.desk, "desk-1").connect() == "closed", "nor the desk where gateways do"
    first, second = broker.new_desk().subscribe("lockbridge/city/#"), broker.new_desk()
    barrier(second, "lockbridge/city/policy", first)
    barrier(first, "lockbridge/city/policy", first)


# --- what one may -----------------------------------------------------------------------------------

def test_desk_may_all(broker):
    desk = broker.new_desk().subscribe("lockbridge/#")
    for topic in own("gw-17", *OUTPUTS, *INPUTS) + ["lockbridge/" + c for c in CITY]:
        barrier(desk, topic, desk)


def test_a_gateway_writes_its_outputs_and_reads_its_inputs(broker):
    desk = broker.new_desk().subscribe("lockbridge/#")
    gateway = broker.client("gw-17")
    gateway.subscribe(*own("gw-17", *INPUTS), *["lockbridge/" + c for c in CITY])
    for topic in own("gw-17", *OUTPUTS):
        barrier(gateway, topic, desk)
    for topic in own("gw-17", *INPUTS) + ["lockbridge/" + c for c in CITY]:
        barrier(desk, topic, gateway)


def test_a_gateway_writes_nowhere_else(broker):
    """Nothing that is another's, nothing that it is told itself, nothing of the city's, nothing else."""
    desk = broker.new_desk().subscribe("lockbridge/#")
    other = broker.client("gw-18").subscribe("lockbridge/gw/gw-18/#", "lockbridge/city/#", "#")
    gateway = broker.client("gw-17")
    first = barrier(desk, "lockbridge/gw/gw-18/replay", other)
    wait_for("the desk hears itself", lambda: first in desk.messages)
    desk_had, other_had = len(desk.messages), len(other.messages)
    forbidden = (own("gw-18", *OUTPUTS, *INPUTS) + own("gw-17", *INPUTS)
                 + ["lockbridge/" + c for c in CITY]
                 + own("gw-17", "lock/a/b", "lock", "other", "") + own("desk", "event")
                 + ["lockbridge/gw/gw-17", "lockbridge", "other/gw/gw-17/event", "barrier"])
    for topic in forbidden:
        gateway.publish(topic, b"forbidden").publish(topic, b"forbidden, kept", retain=True)
    allowed = barrier(gateway, "lockbridge/gw/gw-17/event", desk)
    told = barrier(desk, "lockbridge/gw/gw-18/replay", other)
    wait_for("the desk hears itself", lambda: told in desk.messages)
    assert desk.messages[desk_had:] == [allowed, told]
    # once per subscription that it came by, the first one perhaps a moment late
    assert set(other.messages[other_had:]) - {first} == {told}
    # nor was any kept: a newcomer is told what is kept before what is new
    late = broker.new_desk().subscribe("lockbridge/#")
    barrier(gateway, "lockbridge/gw/gw-17/event", late)
    assert not [m for m in late.messages if b"forbidden" in m[1]]


def test_a_gateway_reads_nothing_else(broker):
    """Live or kept, by name or by wildcard: neither another's topics nor its own outputs come back."""
    desk = broker.new_desk().subscribe("lockbridge/#")
    other = broker.client("gw-18")
    barrier(other, "lockbridge/gw/gw-18/event", desk)
    other.publish("lockbridge/gw/gw-18/presence", b"kept", retain=True)
    other.publish("lockbridge/gw/gw-18/lock/lock-1", b"kept", retain=True)
    desk.publish("lockbridge/gw/gw-18/document", b"kept", retain=True)
    barrier(other, "lockbridge/gw/gw-18/event", desk)
    barrier(desk, "lockbridge/gw/gw-18/state", desk)

    gateway = broker.client("gw-17")
    gateway.subscribe("#", "+/#", "lockbridge/#", "lockbridge/gw/#", "lockbridge/gw/+/+", "lockbridge/gw/gw-18/#",
                      "lockbridge/+/gw-18/authorize", "$SYS/#", "$share/mine/lockbridge/gw/gw-18/#",
                      *own("gw-18", *OUTPUTS, *INPUTS))
    for topic in own("gw-18", *OUTPUTS, *INPUTS) + own("gw-17", *OUTPUTS) + own("desk", "event"):
        desk.publish(topic, b"not for gw-17")
    other.publish("lockbridge/gw/gw-18/event", b"not for gw-17")
    barrier(other, "lockbridge/gw/gw-18/event", desk)
    told = barrier(desk, "lockbridge/gw/gw-17/replay", gateway)
    # once per subscription that it came by
    assert {m for m in gateway.messages if not m[0].startswith("lockbridge/city/")} == {told}


def test_a_will_on_anothers_topic_is_never_sent(broker):
    desk = broker.new_desk().subscribe("lockbridge/gw/gw-33/#", "lockbridge/gw/gw-34/#")

    def ends():
        return len(re.findall(r"Client gw-33 (closed|disconnected)", broker.process.output()))

    def dies(topic):
        client = Client(broker, broker.city.issue("gw-33"), "gw-33", will=(topic, b"will"))
        if client.connect() == "connected":
            gone = ends()
            client.cut()
            wait_for("the broker notices", lambda: ends() > gone)
        barrier(broker.client("gw-33"), "lockbridge/gw/gw-33/event", desk)

    dies("lockbridge/gw/gw-34/presence")
    dies("lockbridge/city/policy")
    assert not [m for m in desk.messages if m[1] == b"will"]
    dies("lockbridge/gw/gw-33/presence")
    wait_for("its own will", lambda: desk.has("lockbridge/gw/gw-33/presence", b"will"))


def test_a_name_with_wildcards_is_nobody(broker):
    desk = broker.new_desk().subscribe("lockbridge/gw/#")
    crafty = Client(broker, broker.city.issue("+"), "+")
    if crafty.connect() == "connected":
        crafty.subscribe("lockbridge/gw/+/replay")
        crafty.publish("lockbridge/gw/gw-17/event", b"crafty")
        desk.publish("lockbridge/gw/gw-17/replay", b"secret")
    honest = broker.client("gw-17")
    barrier(honest, "lockbridge/gw/gw-17/event", desk)
    assert not crafty.messages
    assert not [m for m in desk.messages if m[1] == b"crafty"]


# --- limits -----------------------------------------------------------------------------------------

def test_a_packet_that_is_too_large_is_refused(broker):
    desk = broker.new_desk().subscribe("lockbridge/gw/gw-35/event")
    gateway = broker.client("gw-35")
    gateway.publish("lockbridge/gw/gw-35/event", b"L" * (256 * 1024))
    wait_for("the largest event there is", lambda: desk.messages)
    gateway.publish("lockbridge/gw/gw-35/event", b"M" * (272 * 1024))
    wait_for("the broker ends it", gateway.gone.is_set)
    barrier(broker.client("gw-35"), "lockbridge/gw/gw-35/event", desk)
    assert [len(m[1]) for m in desk.messages if m[1][:1] in b"LM"] == [256 * 1024]


def test_what_the_agent_asks_of_the_broker_is_within_its_limits(broker):
    """keep-alive 30 s and one session: what the answer to CONNECT says."""
    told = {}
    client = Client(broker, broker.city.issue("gw-36"), "gw-36", session=7 * 86400)
    inner = client.mqtt.on_connect

    def on_connect(c, user, flags, reason, properties=None):
        told.update(properties.json())
        inner(c, user, flags, reason, properties)

    client.mqtt.on_connect = on_connect
    assert client.connect() == "connected"
    assert told.get("MaximumPacketSize", 1 << 30) >= 256 * 1024 + 1024
    assert told.get("ServerKeepAlive", 60) >= 30
    assert told.get("SessionExpiryInterval", 7 * 86400) == 7 * 86400


# --- revoked ----------------------------------------------------------------------------------------

def test_a_revoked_gateways_connection_is_cut_off_from_all_topics(broker):
    """The revocation list alone leaves it what it has; the rule takes it away, at the reload."""
    desk = broker.new_desk().subscribe("lockbridge/gw/gw-41/#", "lockbridge/gw/gw-42/#")
    identity = broker.city.issue("gw-41")
    stolen = Client(broker, identity, "gw-41")
    assert stolen.connect() == "connected"
    stolen.subscribe("lockbridge/gw/gw-41/document", "lockbridge/city/#")
    living = broker.client("gw-42").subscribe("lockbridge/city/#")

    broker.put("crl.pem", broker.city.revocation_list(identity[2]))
    broker.reload()
    barrier(stolen, "lockbridge/gw/gw-41/event", desk)
    barrier(desk, "lockbridge/gw/gw-41/document", stolen)

    broker.put("acl", broker.rules.encode() + b"\nuser gw-41\ntopic deny #\n")
    broker.reload()
    stolen.messages.clear()
    for topic in own("gw-41", *OUTPUTS):
        stolen.publish(topic, b"from the grave")
    desk.publish("lockbridge/gw/gw-41/document", b"for the living")
    token = barrier(desk, "lockbridge/city/policy", living)
    barrier(living, "lockbridge/gw/gw-42/event", desk)
    # its own connection has been worked off too: it is answered, or gone
    acked = threading.Event()
    stolen.mqtt.on_publish = lambda *_: acked.set()
    stolen.publish("lockbridge/gw/gw-41/event", b"from the grave")
    wait_for("an answer", lambda: acked.is_set() or stolen.gone.is_set())
    barrier(living, "lockbridge/gw/gw-42/event", desk)
    assert not [m for m in desk.messages if m[1] == b"from the grave"]
    assert not stolen.messages, token
    assert Client(broker, identity, "gw-41").connect() == "closed"
    # a new certificate by the same name comes too early: the rule names the gateway
    again = broker.client("gw-41").subscribe("lockbridge/city/#")
    again.publish("lockbridge/gw/gw-41/event", b"from the grave")
    barrier(desk, "lockbridge/city/policy", living)
    assert not again.messages
    broker.put("acl", broker.rules.encode())
    broker.reload()
    barrier(again, "lockbridge/gw/gw-41/event", desk)


def test_an_expired_revocation_list_lets_nobody_in(broker):
    """So a desk that does not write a new one in time cuts everybody off: better known than met."""
    broker.put("crl.pem", broker.city.revocation_list(days=-1))
    broker.reload()
    assert Client(broker, broker.city.issue("gw-43"), "gw-43").connect() == "closed"
    broker.put("crl.pem", broker.city.revocation_list())
    broker.reload()
    broker.client("gw-43")
