# SPDX-License-Identifier: Apache-2.0
"""A proxy between MQTT 5 clients and a real broker, that lies when told to.

Without a lie every byte goes on as it came. With one, what is done to which packet is in lies.py; here
is what a lie needs: to pass a packet on, later, changed, or not at all, and packets of its own, whose
acknowledgements the other side never sees. One thread, one asyncio loop; told what to do from outside.

on_publish hears what the clients really said, in their order, whatever becomes of it: the truth, for who
compares. `past` is what once went down to a client, `told` what it said, for replaying.
"""

import asyncio
import collections
import threading

import mqtt5
from lies import LIES
from mqtt5 import Malformed, Packet, Reader

ACKS = (mqtt5.PUBACK, mqtt5.PUBREC, mqtt5.PUBCOMP)
PAST = 400  # publishes kept per client, for replaying
OWN_IDS = 50000  # packet ids of the proxy's own publishes begin here; broker and agent begin at 1
TICK_S = 0.1


class Way:
    """One direction of a connection."""

    def __init__(self, writer):
        self.writer, self.due = writer, 0.0
        self.own = {}  # packet id -> how many acknowledgements are ours


class Connection:
    def __init__(self, proxy, reader, writer):
        self.proxy, self.loop = proxy, asyncio.get_running_loop()
        self.client_id, self.closed, self.broken = "", False, False
        self.down, self.up = Way(writer), Way(None)
        self.reader, self.next_id = reader, OWN_IDS
        self.held = []  # what a lie keeps back: (up, packet)
        self.notes = {}  # a lie's own memory of this connection

    async def run(self):
        try:
            upstream, self.up.writer = await asyncio.open_connection("127.0.0.1", self.proxy.broker)
        except OSError:
            self.close()
            return
        await asyncio.wait([asyncio.ensure_future(self.pump(self.reader, True)),
                            asyncio.ensure_future(self.pump(upstream, False))],
                           return_when=asyncio.FIRST_COMPLETED)
        self.close()

    async def pump(self, reader, up):
        packets = Reader()
        try:
            while not self.closed:
                data = await reader.read(1 << 16)
                if not data:
                    break
                try:
                    for packet in packets.feed(data):
                        self.take(up, packet)
                except Malformed as e:
                    self.proxy.faults.append((up, str(e), data[:64].hex()))
                    break
                writer = (self.up if up else self.down).writer
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        if not self.closed:
            self.loop.call_at(max((self.up if up else self.down).due, self.loop.time()), self.close)
            await asyncio.sleep(max(0, (self.up if up else self.down).due - self.loop.time()))

    def take(self, up, packet):
        """A whole packet came; up: from the client."""
        if packet.kind == mqtt5.CONNECT:
            self.client_id = packet.client_id
        if self.swallow_own(up, packet):
            return
        self.proxy.note(self, up, packet)
        lie = self.proxy.lying
        if lie and self.proxy.about(self) and lie.packet and self.proxy.random.random() < self.proxy.chance:
            if lie.packet(self, up, packet):
                self.proxy.lied += 1
                return
        self.send(up, packet)

    def swallow_own(self, up, packet):
        """An acknowledgement of something that only the proxy sent."""
        own = (self.down if up else self.up).own
        if packet.kind not in ACKS or packet.mid not in own:
            return False
        if packet.kind == mqtt5.PUBREC:
            self.send(not up, Packet(mqtt5.PUBREL, mid=packet.mid))
            return True
        own[packet.mid] -= 1
        if not own[packet.mid]:
            del own[packet.mid]
        return True

    # --- for lies -----------------------------------------------------------------------------------

    def send(self, up, packet, after=0.0, overtakes=False):
        """To the broker (up) or the client, in order behind what is delayed unless it overtakes."""
        way, now = self.up if up else self.down, self.loop.time()
        at = now + after
        if not overtakes:
            at = way.due = max(at, way.due)
        data = packet if isinstance(packet, (bytes, bytearray)) else packet.encode()
        if at <= now:
            self.write(way, data)
        else:
            self.loop.call_at(at, self.write, way, data)

    def write(self, way, data):
        if not self.closed and way.writer and not way.writer.is_closing():
            way.writer.write(data)

    def inject(self, up, packet, **change):
        """A publish of the proxy's own, made from another one; its acknowledgement comes to nobody."""
        packet = packet.copy(**change)
        if packet.qos:
            self.next_id = OWN_IDS + (self.next_id + 1 - OWN_IDS) % 15000
            packet = packet.copy(mid=self.next_id)
            self.expect(up, self.next_id)
        self.send(up, packet)

    def expect(self, up, mid, n=1):
        """n acknowledgements of this publish are not to be passed on."""
        own = (self.up if up else self.down).own
        own[mid] = own.get(mid, 0) + n

    def acknowledge(self, up, packet, reason=0):
        """Tells who sent this publish that it arrived."""
        if packet.qos == 1:
            self.send(not up, Packet(mqtt5.PUBACK, mid=packet.mid, reason=reason))
        elif packet.qos == 2:
            self.send(not up, Packet(mqtt5.PUBREC, mid=packet.mid, reason=reason))

    def release(self):
        held, self.held = self.held, []
        for up, packet in held:
            self.send(up, packet)

    def close(self):
        if self.closed:
            return
        self.closed = True
        self.proxy.connections.discard(self)
        for way in (self.up, self.down):
            if way.writer:
                way.writer.close()


class Proxy:
    """Listens on `port`, in a thread of its own, for a broker on loopback."""

    def __init__(self, broker, chance_source):
        self.broker, self.random = broker, chance_source
        self.lying, self.kind, self.chance, self.whom = None, None, 0.0, None
        self.lied, self.faults, self.connections = 0, [], set()
        self.seen = collections.deque(maxlen=4000)
        self.past, self.told = collections.defaultdict(list), collections.defaultdict(list)
        self.old, self.foreign = [], []  # (topic, payload) that a lie may bring up: older, or nobody's
        # called in the proxy's thread: before the broker's PUBACK of a publish goes on; with each publish
        self.on_ack, self.on_publish, self.acked = None, None, {}
        self.loop, started = asyncio.new_event_loop(), threading.Event()
        self.thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self.thread.start()
        started.wait(10)

    def _run(self, started):
        asyncio.set_event_loop(self.loop)
        self.loop.set_exception_handler(self._on_exception)
        server = self.loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 20))
        self.port = server.sockets[0].getsockname()[1]
        self.loop.call_soon(self._tick)
        started.set()
        self.loop.run_forever()
        server.close()
        self.loop.run_until_complete(asyncio.sleep(0))

    def _on_exception(self, loop, context):
        error = context.get("exception")
        if not isinstance(error, (OSError, asyncio.CancelledError)):
            self.faults.append((None, repr(error or context.get("message")), ""))

    async def _serve(self, reader, writer):
        connection = Connection(self, reader, writer)
        self.connections.add(connection)
        await connection.run()

    def _tick(self):
        self.loop.call_later(TICK_S, self._tick)
        if not self.lying or not self.lying.tick:
            return
        for connection in list(self.connections):
            if connection.client_id and not connection.closed and self.about(connection) \
                    and connection.notes.get("up") and self.random.random() < self.chance:
                self.lied += bool(self.lying.tick(connection))

    def about(self, connection):
        return self.whom is None or self.whom(connection.client_id)

    def note(self, connection, up, packet):
        """Remembers what went by."""
        self.seen.append(packet)
        if packet.kind == mqtt5.CONNACK and not up:
            connection.notes["up"] = packet.reason == 0
        if packet.kind == mqtt5.PUBLISH:
            if self.on_publish:
                self.on_publish(up, packet.topic, packet.payload, packet.retain)
            kept = (self.told if up else self.past)[connection.client_id]
            kept.append(packet.copy())
            del kept[:-PAST]
            if up and packet.qos:
                self.acked[connection, packet.mid] = packet.topic
        if packet.kind == mqtt5.PUBACK and not up:
            topic = self.acked.pop((connection, packet.mid), None)
            if self.on_ack and topic:
                self.on_ack(topic)

    # --- from outside -------------------------------------------------------------------------------

    def call(self, function, *words):
        """Runs it in the proxy's thread and waits."""
        done = threading.Event()

        def run():
            try:
                function(*words)
            finally:
                done.set()
        self.loop.call_soon_threadsafe(run)
        done.wait(10)

    def lie(self, kind, chance=0.5, whom=None):
        """From now on, to clients whose id whom() likes; for what each kind does see lies.py."""
        def begin():
            self.kind, self.lying, self.chance, self.whom = kind, LIES[kind], chance, whom
        self.call(begin)

    def honest(self, cut=False):
        """Again as if it were not there; what was kept back goes on. cut: all connections begin anew."""
        def end():
            self.lying = self.kind = None
            for connection in list(self.connections):
                connection.release()
                if cut:
                    connection.close()
        self.call(end)

    def cut(self):
        self.call(lambda: [c.close() for c in list(self.connections)])

    def close(self):
        self.cut()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
