# SPDX-License-Identifier: Apache-2.0
"""Many gateways in one process, as far as a broker and a desk can tell: sessions that say their state.

Only the packets of MQTT 5 that this takes; what arrives is acknowledged and counted, not read. No locks, no
decisions: for what those cost, real ones are started (fleet.py).
"""

import asyncio
import base64
import json
import os
import struct
import time

import wire
from harness import Failure

KEEPALIVE_S = 900  # real ones say 60; more are added meanwhile, and that takes as long as it takes
SESSION_S, WINDOW, WAIT_S = 3 * 86400, 20, 120


def text(value):
    data = value.encode()
    return struct.pack(">H", len(data)) + data


def packet(first, body):
    head, n = bytearray([first]), len(body)
    while True:
        n, low = n >> 7, n & 127
        head.append(low | (128 if n else 0))
        if not n:
            return bytes(head) + body


class Member:
    """One gateway's session."""

    def __init__(self, name, port):
        self.name, self.port = name, port
        self.next_id, self.waiting, self.granted, self.lost = 1, {}, None, None
        self.stream, self.key = os.urandom(16).hex(), base64.b64encode(os.urandom(32)).decode()

    def topic(self, rest):
        return f"lockbridge/gw/{self.name}/{rest}"

    async def connect(self):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        will = b"\x00" + text(self.topic("presence")) + text("offline")
        properties = b"\x11" + struct.pack(">I", SESSION_S) + b"\x21" + struct.pack(">H", WINDOW)
        self.writer.write(packet(0x10, text("MQTT") + bytes([5, 0x2c]) + struct.pack(">H", KEEPALIVE_S)
                                 + bytes([len(properties)]) + properties + text(self.name) + will))
        first, body = await self.receive()
        if first != 0x20 or body[1]:
            raise ConnectionError(f"{self.name}: the broker refuses the connection: {body.hex()}")
        self.task = asyncio.create_task(self.listen())
        topics = ["lockbridge/city/#"] + [self.topic(rest) for rest in ("document", "replay", "authorize")]
        self.granted = asyncio.get_running_loop().create_future()
        self.writer.write(packet(0x82, struct.pack(">HB", self.take_id(), 0)
                                 + b"".join(text(t) + b"\x01" for t in topics)))
        await self.granted

    def take_id(self):
        self.next_id = self.next_id % 65535 + 1
        return self.next_id

    async def receive(self):
        first, length, shift = (await self.reader.readexactly(1))[0], 0, 0
        while True:
            byte = (await self.reader.readexactly(1))[0]
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return first, await self.reader.readexactly(length)

    async def listen(self):
        try:
            await self.hear()
        except (OSError, EOFError) as why:
            self.lost = Failure(f"{self.name}: the broker ended the connection: {why!r}")
            for future in self.waiting.values():
                future.set_exception(self.lost)

    async def hear(self):
        while True:
            first, body = await self.receive()
            if first >> 4 == 3 and first & 6:
                at = 2 + struct.unpack_from(">H", body)[0]
                self.writer.write(packet(0x40, body[at:at + 2]))
            elif first == 0x40:
                self.waiting.pop(struct.unpack_from(">H", body)[0]).set_result(None)
            elif first == 0x90:
                self.granted.set_result(None)

    async def say(self, rest, payload, retain=True):
        """QoS 1; until the PUBACK."""
        if self.lost:
            raise self.lost
        number = self.take_id()
        self.waiting[number] = asyncio.get_running_loop().create_future()
        self.writer.write(packet(0x32 | retain, text(self.topic(rest)) + struct.pack(">HB", number, 0) + payload))
        await asyncio.wait_for(self.waiting[number], WAIT_S)

    async def ping(self):
        while True:
            await asyncio.sleep(KEEPALIVE_S / 2)
            self.writer.write(b"\xc0\x00")

    def state(self, version, documents, root):
        now = int(time.time())
        return json.dumps({
            "version": version, "time": now, "boot": "00" * 16, "stream": self.stream, "seq": 0, "oldest": 0,
            "outbox": 0, "reader": self.key, "clock": {"now": now, "synchronised": True, "floor": 0},
            "root": root, "documents": documents, "radio": {"adapter": "hci0", "up": True, "recoveries": 0},
            "locks": [], "readers": [], "problems": []}).encode()


def held(messages):
    """What a gateway that took all documents of these retained messages says that it holds; and its root."""
    documents, root = {}, None
    for _, topic, document, _ in messages:
        if not document:
            continue
        claims, kind = wire.claims(document), topic.split("/")[2]
        name = topic.rpartition("/")[2] if kind == "list" else kind
        root = topic.rpartition("/")[2] if kind == "keys" else root
        documents[name] = {"name": name, "iat": claims[wire.IAT], "digest": wire.digest(document).hex(),
                           "exp": claims.get(wire.EXP, 0)}
        if wire.CHANGED in claims:
            documents[name]["changed"] = claims[wire.CHANGED]
    return list(documents.values()), root


class Crowd:
    """Runs in a loop of its own; grows, and says its state in chorus."""

    def __init__(self, port):
        self.port, self.members, self.tasks = port, [], []
        self.loop = asyncio.new_event_loop()

    def grow(self, names, each=50):
        async def join():
            fresh = [Member(name, self.port) for name in names]
            for i in range(0, len(fresh), each):
                await asyncio.gather(*(m.connect() for m in fresh[i:i + each]))
            await asyncio.gather(*(m.say("presence", b"online") for m in fresh))
            self.tasks += [asyncio.create_task(m.ping()) for m in fresh]
            self.members += fresh
        self.loop.run_until_complete(join())

    def chorus(self, version, documents, root):
        """Each says its state; the seconds until the broker has acknowledged all."""
        async def sing():
            await asyncio.gather(*(m.say("state", m.state(version, documents, root)) for m in self.members))
        begun = time.monotonic()
        self.loop.run_until_complete(sing())
        return time.monotonic() - begun

    def wait_for(self, what, condition, timeout=120):
        """As the harness does; answers the broker meanwhile."""
        end = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > end:
                raise Failure(f"not within {timeout} s: {what}")
            self.loop.run_until_complete(asyncio.sleep(0.2))

    def close(self):
        async def leave():
            for task in self.tasks + [m.task for m in self.members]:
                task.cancel()
            for m in self.members:
                m.writer.write(b"\xe0\x00")
                m.writer.close()
            await asyncio.sleep(0.1)
        self.loop.run_until_complete(leave())
        self.loop.close()
