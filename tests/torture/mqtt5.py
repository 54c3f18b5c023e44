# SPDX-License-Identifier: Apache-2.0
"""MQTT 5 control packets, read and written (OASIS MQTT 5.0, chapters 2 and 3).

For a proxy: a packet that is not changed goes on as the bytes that came, so that only what a lie touches
is ever written anew. Malformed is raised for whatever the standard does not allow.
"""

import struct

(CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK,
 PINGREQ, PINGRESP, DISCONNECT, AUTH) = range(1, 16)
NAMES = ("", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBSCRIBE", "SUBACK",
         "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH")
FIXED_FLAGS = {PUBREL: 2, SUBSCRIBE: 2, UNSUBSCRIBE: 2}  # of all others 0, but PUBLISH's mean something

# Section 2.2.2.2: identifiers by type.
BYTE, TWO, FOUR, VARIABLE, BINARY, TEXT, PAIR = range(7)
TYPES = {0x01: BYTE, 0x02: FOUR, 0x03: TEXT, 0x08: TEXT, 0x09: BINARY, 0x0B: VARIABLE, 0x11: FOUR, 0x12: TEXT,
         0x13: TWO, 0x15: TEXT, 0x16: BINARY, 0x17: BYTE, 0x18: FOUR, 0x19: BYTE, 0x1A: TEXT, 0x1C: TEXT,
         0x1F: TEXT, 0x21: TWO, 0x22: TWO, 0x23: TWO, 0x24: BYTE, 0x25: BYTE, 0x26: PAIR, 0x27: FOUR, 0x28: BYTE,
         0x29: BYTE, 0x2A: BYTE}
(MESSAGE_EXPIRY, SESSION_EXPIRY, ASSIGNED_CLIENT_ID, SERVER_KEEP_ALIVE, RECEIVE_MAXIMUM, TOPIC_ALIAS_MAXIMUM,
 TOPIC_ALIAS, MAXIMUM_QOS, RETAIN_AVAILABLE, MAXIMUM_PACKET_SIZE) = (
     0x02, 0x11, 0x12, 0x13, 0x21, 0x22, 0x23, 0x24, 0x25, 0x27)


class Malformed(ValueError):
    """No MQTT 5 packet; says what is wrong with it."""


def variable(n):
    """A variable byte integer."""
    if not 0 <= n < 1 << 28:
        raise ValueError(n)
    out = bytearray()
    while True:
        n, low = n >> 7, n & 127
        out.append(low | (128 if n else 0))
        if not n:
            return bytes(out)


def read_variable(data, at):
    """(value, where it ends); None while bytes are missing."""
    n = 0
    for i in range(4):
        if at + i >= len(data):
            return None
        n |= (data[at + i] & 127) << 7 * i
        if data[at + i] < 128:
            if i and not data[at + i]:
                raise Malformed("a length longer than needed")
            return n, at + i + 1
    raise Malformed("a length of more than four bytes")


class Cursor:
    """What is left of a packet's body."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        if n > len(self.data) - self.at:
            raise Malformed("it ends too early")
        self.at += n
        return self.data[self.at - n:self.at]

    def left(self):
        return len(self.data) - self.at

    def byte(self):
        return self.take(1)[0]

    def two(self):
        return struct.unpack(">H", self.take(2))[0]

    def binary(self):
        return self.take(self.two())

    def text(self):
        try:
            return self.binary().decode()
        except UnicodeDecodeError:
            raise Malformed("a text that is no UTF-8") from None

    def variable(self):
        got = read_variable(self.data, self.at)
        if got is None:
            raise Malformed("it ends within a number")
        self.at = got[1]
        return got[0]

    def properties(self):
        n, out = self.variable(), []
        body = Cursor(self.take(n))
        while body.left():
            name = body.variable()
            kind = TYPES.get(name)
            if kind is None:
                raise Malformed(f"no property has the number {name:#x}")
            if kind == PAIR:
                out.append((name, (body.text(), body.text())))
            else:
                out.append((name, {BYTE: body.byte, TWO: body.two, VARIABLE: body.variable, BINARY: body.binary,
                                   FOUR: lambda: struct.unpack(">I", body.take(4))[0], TEXT: body.text}[kind]()))
        return out


def two(n):
    return struct.pack(">H", n)


def binary(data):
    return two(len(data)) + data


def text(words):
    return binary(words.encode())


def properties(pairs):
    out = bytearray()
    for name, value in pairs:
        kind = TYPES[name]
        out += variable(name)
        if kind == PAIR:
            out += text(value[0]) + text(value[1])
        else:
            out += {BYTE: lambda v: bytes([v]), TWO: two, FOUR: lambda v: struct.pack(">I", v),
                    VARIABLE: variable, BINARY: binary, TEXT: text}[kind](value)
    return variable(len(out)) + bytes(out)


class Packet:
    """One packet. Which of the fields have a meaning depends on the kind; raw: as it came, if it did."""

    def __init__(self, kind, **fields):
        self.kind, self.raw = kind, None
        self.flags = FIXED_FLAGS.get(kind, 0)
        self.mid, self.reason, self.properties = 0, 0, []
        self.topic, self.payload, self.dup, self.qos, self.retain = "", b"", False, 0, False
        self.session_present, self.codes, self.filters = False, [], []
        self.client_id, self.connect_flags, self.keep_alive, self.rest = "", 0, 0, b""
        self.__dict__.update(fields)

    def __repr__(self):
        what = f" {self.topic} qos {self.qos} mid {self.mid} retain {self.retain} {len(self.payload)} bytes" \
            if self.kind == PUBLISH else f" mid {self.mid} reason {self.reason:#x}"
        return NAMES[self.kind] + what

    def copy(self, **change):
        """The same with something changed: no longer the bytes that came."""
        twin = Packet(self.kind)
        twin.__dict__.update(self.__dict__, raw=None, properties=list(self.properties))
        twin.__dict__.update(change)
        return twin

    def property(self, name):
        return next((value for number, value in self.properties if number == name), None)

    def with_property(self, name, value):
        """The same with this property set, or without it (None)."""
        kept = [p for p in self.properties if p[0] != name]
        return self.copy(properties=kept + ([] if value is None else [(name, value)]))

    def encode(self):
        if self.raw is not None:
            return self.raw
        flags = self.flags
        if self.kind == PUBLISH:
            flags = self.dup << 3 | self.qos << 1 | self.retain
        body = self._body()
        return bytes([self.kind << 4 | flags]) + variable(len(body)) + body

    def _body(self):
        if self.kind == CONNECT:
            return (text("MQTT") + bytes([5, self.connect_flags]) + two(self.keep_alive) +
                    properties(self.properties) + text(self.client_id) + self.rest)
        if self.kind == CONNACK:
            return bytes([self.session_present, self.reason]) + properties(self.properties)
        if self.kind == PUBLISH:
            return (text(self.topic) + (two(self.mid) if self.qos else b"") + properties(self.properties) +
                    self.payload)
        if self.kind in (PUBACK, PUBREC, PUBREL, PUBCOMP):
            if not self.properties:
                return two(self.mid) + (bytes([self.reason]) if self.reason else b"")
            return two(self.mid) + bytes([self.reason]) + properties(self.properties)
        if self.kind == SUBSCRIBE:
            return two(self.mid) + properties(self.properties) + b"".join(
                text(topic) + bytes([options]) for topic, options in self.filters)
        if self.kind == UNSUBSCRIBE:
            return two(self.mid) + properties(self.properties) + b"".join(text(t) for t, _ in self.filters)
        if self.kind in (SUBACK, UNSUBACK):
            return two(self.mid) + properties(self.properties) + bytes(self.codes)
        if self.kind in (DISCONNECT, AUTH):
            if not self.properties:
                return bytes([self.reason]) if self.reason else b""
            return bytes([self.reason]) + properties(self.properties)
        return b""


def parse(raw):
    """One whole packet."""
    kind, flags = raw[0] >> 4, raw[0] & 15
    if not kind:
        raise Malformed("a packet of type 0")
    if kind != PUBLISH and flags != FIXED_FLAGS.get(kind, 0):
        raise Malformed(f"{NAMES[kind]} with the flags {flags:#x}")
    got = read_variable(raw, 1)
    if got is None or len(raw) - got[1] != got[0]:
        raise Malformed("its length is not what it says")
    p, c = Packet(kind, raw=bytes(raw), flags=flags), Cursor(bytes(raw[got[1]:]))
    if kind == CONNECT:
        _parse_connect(p, c)
    elif kind == CONNACK:
        p.session_present, p.reason, p.properties = bool(c.byte() & 1), c.byte(), c.properties()
    elif kind == PUBLISH:
        _parse_publish(p, c)
    elif kind in (PUBACK, PUBREC, PUBREL, PUBCOMP):
        p.mid = c.two()
        _parse_reason(p, c)
    elif kind in (SUBSCRIBE, UNSUBSCRIBE):
        p.mid, p.properties = c.two(), c.properties()
        while c.left():
            p.filters.append((c.text(), c.byte() if kind == SUBSCRIBE else 0))
    elif kind in (SUBACK, UNSUBACK):
        p.mid, p.properties, p.codes = c.two(), c.properties(), list(c.take(c.left()))
    elif kind in (DISCONNECT, AUTH):
        _parse_reason(p, c)
    if c.left():
        raise Malformed(f"{c.left()} bytes behind the end of a {NAMES[kind]}")
    return p


def _parse_reason(p, c):
    p.reason = c.byte() if c.left() else 0
    p.properties = c.properties() if c.left() else []


def _parse_connect(p, c):
    name, version = c.text(), c.byte()
    if (name, version) != ("MQTT", 5):
        raise Malformed(f"{name} version {version}")
    p.connect_flags, p.keep_alive, p.properties = c.byte(), c.two(), c.properties()
    p.client_id = c.text()
    p.rest = c.take(c.left())  # will, user name, password: passed on as they are


def _parse_publish(p, c):
    p.dup, p.qos, p.retain = bool(p.flags & 8), p.flags >> 1 & 3, bool(p.flags & 1)
    if p.qos == 3:
        raise Malformed("QoS 3")
    p.topic = c.text()
    if p.qos:
        p.mid = c.two()
        if not p.mid:
            raise Malformed("a PUBLISH with the number 0")
    p.properties, p.payload = c.properties(), c.take(c.left())


class Reader:
    """Bytes as they come in, packets out."""

    def __init__(self, largest=1 << 20):
        self.data, self.largest = bytearray(), largest

    def feed(self, data):
        """The packets that are whole now."""
        self.data += data
        out = []
        while len(self.data) > 1:
            got = read_variable(self.data, 1)
            if got is None:
                break
            if got[0] > self.largest:
                raise Malformed(f"a packet of {got[0]} bytes")
            end = got[0] + got[1]
            if end > len(self.data):
                break
            out.append(parse(self.data[:end]))
            del self.data[:end]
        return out
