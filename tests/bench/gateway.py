#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What people write today: a gateway of Debian's python3-bleak and python3-paho-mqtt, for one lock.

    gateway.py PORT GW ADAPTER ADDRESS [CA]

No check, no signature, no disk: what comes on gw/GW/authorize is cut into frames and written to the lock's
inbox, each frame of its outbox is published as it came. Says "ready" when the lock is connected, "gone" when
it is not any more.
"""

import asyncio
import struct
import sys

import paho.mqtt.client as mqtt
from bleak import BleakClient, BleakScanner
from bleak.exc import BleakError

INBOX, OUTBOX = (f"2ff9000{n}-f488-4501-a0b4-1a1753dee155" for n in (3, 4))
FIRST, LAST, FRAME = 0x80, 0x40, 510


def frames(document):
    parts, rest = [struct.pack("<I", len(document)) + document[:FRAME - 5]], document[FRAME - 5:]
    while rest:
        parts.append(rest[:FRAME - 1])
        rest = rest[FRAME - 1:]
    for i, part in enumerate(parts):
        yield bytes([(FIRST if i == 0 else 0) | (LAST if i + 1 == len(parts) else 0) | i % 64]) + part


def say(word):
    print(word, flush=True)


class Gateway:
    def __init__(self, port, name, adapter, address, ca):
        self.adapter, self.address = adapter, address
        self.topic_in, self.topic_out = (f"lockbridge/gw/{name}/{what}" for what in ("authorize", "event"))
        self.subscribed = asyncio.Event()
        self.loop, self.queue = asyncio.get_running_loop(), asyncio.Queue()
        self.mqtt = mqtt.Client(client_id=name, protocol=mqtt.MQTTv5)
        if ca:
            self.mqtt.tls_set(ca)
        self.mqtt.on_connect = lambda client, *_: client.subscribe(self.topic_in, qos=1)
        self.mqtt.on_message = lambda client, user, m: self.loop.call_soon_threadsafe(
            self.queue.put_nowait, m.payload)
        self.mqtt.on_subscribe = lambda *_: self.loop.call_soon_threadsafe(self.subscribed.set)
        self.mqtt.connect("127.0.0.1", port, clean_start=True)
        self.mqtt.loop_start()

    def on_notification(self, _, data):
        self.mqtt.publish(self.topic_out, bytes(data), qos=1)

    async def serve(self):
        """One connection to the lock, from its beginning to its end."""
        await self.subscribed.wait()
        device = await BleakScanner.find_device_by_address(self.address, timeout=20, adapter=self.adapter)
        if device is None:
            return
        gone = asyncio.Event()

        def on_gone(_):
            gone.set()
            self.loop.call_soon(self.queue.put_nowait, None)
        async with BleakClient(device, disconnected_callback=on_gone, adapter=self.adapter) as client:
            await client.start_notify(OUTBOX, self.on_notification)
            say("ready")
            while not gone.is_set():
                document = await self.queue.get()
                if document is None:
                    continue
                for frame in frames(document):
                    await client.write_gatt_char(INBOX, frame, response=False)
        say("gone")


async def main(port, name, adapter, address, ca=None):
    gateway = Gateway(int(port), name, adapter, address, ca)
    while True:
        try:
            await gateway.serve()
        except (BleakError, asyncio.TimeoutError) as why:
            print(f"gone: {why}", file=sys.stderr, flush=True)
            await asyncio.sleep(0.2)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
