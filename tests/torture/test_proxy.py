# SPDX-License-Identifier: Apache-2.0
"""The torture's proxy: what it reads is what paho and mosquitto write, and without a lie nothing is changed."""

import os
import random
import sys
import threading

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "system")]

import mqtt5  # noqa: E402
import proxy  # noqa: E402
from harness import World, wait_for  # noqa: E402
from mqtt5 import Malformed, Packet, Reader, parse  # noqa: E402

# Section 3 of the standard, written out by hand.
BY_HAND = [
    ("CONNACK", "200b010008210008270000ffff",
     dict(session_present=True, reason=0, properties=[(0x21, 8), (0x27, 0xffff)])),
    ("PUBLISH", "3b0e0003612f62000a05020000003c68",
     dict(dup=True, qos=1, retain=True, topic="a/b", mid=10, properties=[(2, 60)], payload=b"h")),
    ("PUBLISH", "30070003612f6200ff", dict(qos=0, topic="a/b", payload=b"\xff")),
    ("PUBACK", "4002000a", dict(mid=10, reason=0)),
    ("PUBACK", "4003000a97", dict(mid=10, reason=0x97)),
    ("PUBACK", "4004000a1000", dict(mid=10, reason=0x10)),
    ("PUBREL", "62020007", dict(mid=7)),
    ("SUBSCRIBE", "82090001000003612f2329", dict(mid=1, filters=[("a/#", 0x29)])),
    ("SUBACK", "90050001000187", dict(mid=1, codes=[1, 0x87])),
    ("PINGREQ", "c000", {}),
    ("PINGRESP", "d000", {}),
    ("DISCONNECT", "e000", dict(reason=0)),
    ("DISCONNECT", "e0018e", dict(reason=0x8e)),
    ("AUTH", "f000", dict(reason=0)),
]
BAD = ["00", "0000", "8000", "3602000100", "3100", "300200", "30050003ff2f6200", "4001000a", "c00100",
       "30ffffffff01", "3080", "4005000a0001ff", "3207000161000000ff", "90020001",
       "e0030001ff", "20020000ff", "308000"]


@pytest.mark.parametrize("name, raw, fields", BY_HAND, ids=lambda v: v if isinstance(v, str) else "")
def test_packets_written_by_hand_are_read_and_written(name, raw, fields):
    packet, = Reader().feed(bytes.fromhex(raw))
    assert mqtt5.NAMES[packet.kind] == name
    for field, value in fields.items():
        assert getattr(packet, field) == value, field
    again = parse(packet.copy().encode())  # not the bytes that came: written anew
    for field, value in fields.items():
        assert getattr(again, field) == value, field


@pytest.mark.parametrize("raw", BAD)
def test_what_is_no_packet_is_told(raw):
    data = bytes.fromhex(raw)
    try:
        whole = Reader(1 << 16).feed(data)
    except Malformed:
        return
    assert whole == [], "read as a packet"  # unfinished: then as a whole it is refused
    with pytest.raises(Malformed):
        parse(data)


def packets(chance, n):
    """Packets of all kinds with every property that may stand there."""
    def some():
        values = {mqtt5.BYTE: lambda: chance.randrange(256), mqtt5.TWO: lambda: chance.randrange(1 << 16),
                  mqtt5.FOUR: lambda: chance.randrange(1 << 32), mqtt5.VARIABLE: lambda: chance.randrange(1 << 28),
                  mqtt5.BINARY: lambda: chance.randbytes(chance.randrange(9)),
                  mqtt5.TEXT: lambda: "ü" * chance.randrange(4), mqtt5.PAIR: lambda: ("a", "b" * chance.randrange(3))}
        names = chance.sample(sorted(mqtt5.TYPES), chance.randrange(4))
        return [(name, values[mqtt5.TYPES[name]]()) for name in names]
    for _ in range(n):
        kind = chance.randrange(1, 16)
        p = Packet(kind, properties=some(), mid=chance.randrange(1, 1 << 16), reason=chance.randrange(256),
                   topic="a/" * chance.randrange(1, 9), payload=chance.randbytes(chance.choice([0, 1, 127, 128, 20000])),
                   qos=chance.randrange(3), dup=bool(chance.randrange(2)), retain=bool(chance.randrange(2)),
                   codes=[chance.randrange(256)], session_present=bool(chance.randrange(2)),
                   filters=[("a/#", chance.randrange(64) if kind == mqtt5.SUBSCRIBE else 0)], client_id="gw-1",
                   keep_alive=chance.randrange(1 << 16), rest=chance.randbytes(5))
        yield p


FIELDS = {mqtt5.CONNECT: "client_id keep_alive rest properties", mqtt5.CONNACK: "session_present reason properties",
          mqtt5.PUBLISH: "topic payload qos dup retain properties", mqtt5.PUBACK: "mid reason properties",
          mqtt5.SUBSCRIBE: "mid filters properties", mqtt5.SUBACK: "mid codes properties",
          mqtt5.DISCONNECT: "reason properties", mqtt5.PINGREQ: ""}


def test_random_packets_survive_the_way_there_and_back_in_pieces():
    chance = random.Random(5)
    sent = list(packets(chance, 2000))
    stream, reader, got = b"".join(p.encode() for p in sent), Reader(), []
    while stream:
        n = chance.randrange(1, 4000)
        got += reader.feed(stream[:n])
        stream = stream[n:]
    assert len(got) == len(sent)
    for a, b in zip(sent, got):
        assert a.kind == b.kind
        for field in FIELDS.get(a.kind, "").split():
            assert getattr(a, field) == getattr(b, field), (a, field)
        assert b.copy().encode() == a.encode()


def test_random_bytes_never_do_more_than_be_refused():
    chance = random.Random(6)
    for _ in range(5000):
        data = bytearray(chance.randbytes(chance.randrange(2, 60)))
        if chance.randrange(2):
            data[1] = len(data) - 2
        try:
            Reader(1 << 16).feed(bytes(data))
        except Malformed:
            pass


class Listener:
    """paho through the proxy."""

    def __init__(self, port, name, clean):
        self.heard, self.there = [], threading.Event()
        self.client = mqtt.Client(client_id=name, protocol=mqtt.MQTTv5)
        self.client.on_message = lambda c, u, m: self.heard.append((m.topic, m.payload, m.qos, m.retain))
        self.client.on_subscribe = lambda *_: self.there.set()
        self.client.on_connect = lambda c, u, flags, *_: self.on_connect(flags)
        self.clean, self.session_present = clean, None
        connect = Properties(PacketTypes.CONNECT)
        connect.SessionExpiryInterval = 100
        self.client.connect("127.0.0.1", port, clean_start=clean, properties=connect)
        self.client.loop_start()

    def on_connect(self, flags):
        self.session_present = flags["session present"]
        self.client.subscribe([("t/#", SubscribeOptions(qos=2))])

    def close(self):
        self.client.loop_stop()
        self.client.disconnect()


@pytest.fixture
def through():
    with World({}) as w:
        w.start_broker()
        p = proxy.Proxy(w.port, random.Random(1))
        yield w, p
        p.close()


def test_without_a_lie_the_proxy_is_not_to_be_seen(through):
    _, p = through
    a, b = Listener(p.port, "a", True), Listener(p.port, "b", False)
    assert a.there.wait(20) and b.there.wait(20)
    chance, sent = random.Random(2), []
    for i in range(60):
        message = (f"t/{i}", chance.randbytes(chance.choice([0, 5, 300, 150000])), i % 3, False)
        sent.append(message)
        a.client.publish(message[0], message[1], qos=message[2])
    wait_for("all is heard by both", lambda: len(a.heard) == len(b.heard) == 60)
    assert sorted(a.heard) == sorted(b.heard) == sorted(sent)
    assert b.session_present == 0
    b.close()
    c = Listener(p.port, "b", False)
    assert c.there.wait(20) and c.session_present == 1
    a.close()
    c.close()
    assert {packet.kind for packet in list(p.seen)} >= {mqtt5.CONNECT, mqtt5.CONNACK, mqtt5.PUBLISH, mqtt5.PUBACK,
                                                  mqtt5.PUBREC, mqtt5.PUBREL, mqtt5.PUBCOMP, mqtt5.SUBSCRIBE,
                                                  mqtt5.SUBACK}
    for packet in list(p.seen):
        assert packet.kind in (mqtt5.PUBACK, mqtt5.PUBREC, mqtt5.PUBREL, mqtt5.PUBCOMP, mqtt5.DISCONNECT) \
            or packet.copy().encode() == packet.raw, packet


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # paho believes its broker
def test_each_lie_shows(through):
    """A proxy whose lies change nothing would let everything pass."""
    _, p = through
    p.old.append(("lockbridge/city/policy", b"old"))
    for kind in proxy.LIES:
        before = p.lied
        p.lie(kind, chance=1.0)
        a = Listener(p.port, f"gw-{kind}", True)

        def provoked():
            if p.lied > before:
                return True
            if a.client.is_connected():
                a.client.publish("t/1", b"x", qos=1)
            return False
        wait_for(f"{kind} shows", provoked, 30, 0.05)
        p.honest(cut=True)
        a.close()
