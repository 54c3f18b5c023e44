# SPDX-License-Identifier: Apache-2.0
"""What a broker may do to its clients, from slow to malicious: one entry per kind of lie.

packet(c, up, p) is asked about each packet, and returns True if it dealt with it itself; tick(c) is
asked ten times a second per connection, and returns True if it did something. All chance comes from the
proxy's generator. The lies know no document from another: that is for who reads them.
"""

import collections

import mqtt5
from mqtt5 import Packet

Lie = collections.namedtuple("Lie", "words packet tick sticks", defaults=(None, None, False))
REASONS = (0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98,
           0x99, 0x9A, 0x9C, 0x9D, 0x9F, 0xA0)
CLOSES_S = 0.05  # a broker that said goodbye closes


def is_publish(p):
    return p.kind == mqtt5.PUBLISH


# --- time and order ---------------------------------------------------------------------------------


def delay(c, up, p):
    c.send(up, p, c.proxy.random.uniform(0, 1.5) if c.proxy.random.random() < 0.3 else 0)
    return True


def reorder(c, up, p):
    if not is_publish(p):
        return False
    c.send(up, p, c.proxy.random.uniform(0, 1.0), overtakes=True)
    return True


def silence(c, up, p):
    """Nothing in either direction for a while, then all of it, in order."""
    if c.notes.get("silent", 0) > c.loop.time():
        c.send(up, p)
        return True
    if c.proxy.random.random() < 0.9:
        return False
    seconds = c.proxy.random.uniform(0.5, 4)
    c.notes["silent"] = c.loop.time() + seconds
    for way in (c.up, c.down):
        way.due = max(way.due, c.notes["silent"])
    c.send(up, p)
    return True


# --- once more --------------------------------------------------------------------------------------


def duplicate(c, up, p):
    if not is_publish(p):
        return False
    c.send(up, p)
    how = c.proxy.random.randrange(4)
    if how == 0 and p.qos == 1:
        c.expect(up, p.mid)
        c.send(up, p.copy(dup=True), overtakes=True)
    elif how == 1:
        c.inject(up, p, qos=1, dup=False)
    elif how == 2:
        c.inject(up, p, qos=2, dup=False)
    else:
        c.inject(up, p, qos=0, dup=False)
    return True


def replay(c):
    """What went by before, in both directions; and what is older than anything that went by."""
    proxy = c.proxy
    if proxy.old and c.client_id.startswith("gw") and proxy.random.random() < 0.3:
        topic, payload = proxy.random.choice(proxy.old)
        c.inject(False, Packet(mqtt5.PUBLISH, topic=topic.replace("%", c.client_id), payload=payload,
                               qos=proxy.random.randrange(2), retain=bool(proxy.random.randrange(2))))
        return True
    up = proxy.random.random() < 0.4
    had = (proxy.told if up else proxy.past)[c.client_id]
    if not had:
        return False
    c.inject(up, proxy.random.choice(had), dup=bool(proxy.random.randrange(2)), qos=1)
    return True


def late_will(c):
    """The will of a connection that is long gone."""
    if not c.client_id.startswith("gw"):
        return False
    c.inject(True, Packet(mqtt5.PUBLISH, topic=f"lockbridge/gw/{c.client_id}/presence", payload=b"offline", qos=1,
                          retain=True))
    return True


# --- kept back --------------------------------------------------------------------------------------


def no_acks(c, up, p):
    """Publishes arrive, and their acknowledgements come when it is over."""
    if p.kind not in (mqtt5.PUBACK, mqtt5.PUBREC, mqtt5.PUBCOMP):
        return False
    c.held.append((up, p))
    return True


def lost_acks(c, up, p):
    """The broker has it, and never says so."""
    return p.kind == mqtt5.PUBACK and not up


def swallow(c, up, p):
    """Acknowledged, and not passed on, now or ever."""
    if not is_publish(p) or p.qos == 2:
        return False
    c.acknowledge(up, p)
    return True


# --- other documents --------------------------------------------------------------------------------


def spoken_of(c):
    """What this client was told under city/ so far."""
    return [p for p in c.proxy.past[c.client_id] if "/city/" in p.topic]


def older_retained(c, up, p):
    """A retained document is another than was asked for."""
    if up or not is_publish(p) or "/city/" not in p.topic:
        return False
    older = [o for t, o in c.proxy.old if t == p.topic] + [o.payload for o in spoken_of(c) if o.topic == p.topic]
    if not older:
        return False
    c.send(up, p.copy(payload=c.proxy.random.choice(older), retain=True))
    return True


def older_tick(c):
    older = [(t, o) for t, o in c.proxy.old if "/city/" in t] + [(p.topic, p.payload) for p in spoken_of(c)]
    if not older:
        return False
    topic, payload = c.proxy.random.choice(older)
    c.inject(False, Packet(mqtt5.PUBLISH, topic=topic, payload=payload, qos=1, retain=True))
    return True


def empty(c, up, p):
    if up or not is_publish(p):
        return False
    c.send(up, p.copy(payload=b"", retain=True))
    return True


def empty_tick(c):
    told = c.proxy.past[c.client_id]
    topic = c.proxy.random.choice(told).topic if told else "t/1"
    c.inject(False, Packet(mqtt5.PUBLISH, topic=topic, qos=1, retain=bool(c.proxy.random.randrange(2))))
    return True


def foreign(c):
    """Documents of another city, and what is no document at all."""
    told, chance = c.proxy.past[c.client_id], c.proxy.random
    if c.proxy.foreign and chance.random() < 0.6:
        topic, payload = chance.choice(c.proxy.foreign)
    else:
        topic = chance.choice(told).topic if told else "t/1"
        payload = chance.choice([chance.randbytes(chance.randrange(1, 2000)), b"{}", b"[1,2", b"\0" * 40, b"\xd2\x84"])
    c.inject(False, Packet(mqtt5.PUBLISH, topic=topic.replace("%", c.client_id), payload=payload, qos=1,
                           retain=bool(chance.randrange(2))))
    return True


def damaged(c, up, p):
    """A bit of the payload turns over."""
    if up or not is_publish(p) or not p.payload:
        return False
    payload = bytearray(p.payload)
    payload[c.proxy.random.randrange(len(payload))] ^= 1 << c.proxy.random.randrange(8)
    c.send(up, p.copy(payload=bytes(payload)))
    return True


def retain_flag(c, up, p):
    if up or not is_publish(p):
        return False
    c.send(up, p.copy(retain=not p.retain))
    return True


def wrong_gateway(c):
    """What another client was told: under its topic, or under this one's."""
    chance = c.proxy.random
    others = [who for who, told in c.proxy.past.items() if who != c.client_id and told]
    told = c.proxy.past[chance.choice(others)] if others else []
    if not told:
        c.inject(False, Packet(mqtt5.PUBLISH, topic="lockbridge/gw/nobody/authorize", payload=b"x", qos=1))
        return True
    p = chance.choice(told)
    parts = p.topic.split("/")
    if len(parts) > 3 and parts[1] == "gw" and chance.randrange(2):
        parts[2] = c.client_id
    c.inject(False, p, topic="/".join(parts), qos=1)
    return True


# --- the protocol itself ----------------------------------------------------------------------------


def cut(c, up, p):
    """The connection ends within a packet."""
    raw = p.encode()
    c.send(up, raw[:c.proxy.random.randrange(len(raw))])
    c.loop.call_later(CLOSES_S, c.close)
    return True


def some_malformed(chance):
    publish = Packet(mqtt5.PUBLISH, topic="lockbridge/city/policy", qos=1, mid=7, payload=b"x").encode()
    return chance.choice([
        b"\x00\x00", b"\x30\xff\xff\xff\xff\x7f", bytes([publish[0] | 6]) + publish[1:],
        publish.replace(b"lock", b"\xff\xfe\xc0\x80"), publish.replace(b"policy", b"po\0icy"),
        publish.replace(b"city/policy", b"city/+/#aaa"), b"\x30\x02\xff\xff", b"\x32\x03\x00\x01a", b"\x40\x01\x00",
        b"\x62\x00", b"\x60\x02\x00\x07", b"\x90\x01\x00", b"\x20\x01\x00", b"\x10\x02\x00\x00", b"\x82\x02\x00\x01",
        b"\xc0\x00", b"\x20\x03\x00\x00\x00", b"\xf0\x02\x18\x00", b"\xe0\x03\x00\x01\x26",
        b"\x32\x0d\x00\x03t/1\x00\x09\x03\x02\x00\x00\x00x", b"\x32\x09\x00\x03t/1\x00\x00\x00x",
        chance.randbytes(chance.randrange(2, 200))])


def malformed(c):
    if c.proxy.random.random() > 0.2:
        return False
    c.send(False, some_malformed(c.proxy.random))
    return True


def huge(c):
    """Up to 2 MB under a header that promises 256, or a publish that is merely too large."""
    chance = c.proxy.random
    if chance.random() > 0.1:
        return False
    told = c.proxy.past[c.client_id]
    topic = chance.choice(told).topic if told else "t/1"
    if chance.randrange(2):
        c.inject(False, Packet(mqtt5.PUBLISH, topic=topic, qos=1, payload=bytes(170 * 1024)))
        return True
    c.send(False, b"\x30\xff\xff\xff\x7f" + mqtt5.text(topic) + b"\0")
    for _ in range(32):
        c.send(False, bytes(1 << 16))
    return True


def connack(c, up, p):
    """Promises and limits that the broker did not mean."""
    if p.kind != mqtt5.CONNACK:
        return False
    chance = c.proxy.random
    name, value = chance.choice([
        (None, None), (mqtt5.RECEIVE_MAXIMUM, 1), (mqtt5.TOPIC_ALIAS_MAXIMUM, 65535), (mqtt5.SERVER_KEEP_ALIVE, 1),
        (mqtt5.SERVER_KEEP_ALIVE, 0), (mqtt5.MAXIMUM_PACKET_SIZE, chance.choice([1, 20, 60, 200, 700])),
        (mqtt5.ASSIGNED_CLIENT_ID, "somebody"), (mqtt5.RETAIN_AVAILABLE, 0), (mqtt5.MAXIMUM_QOS, 0),
        (mqtt5.SESSION_EXPIRY, 0), (0x2A, 0), (0x28, 0), (0x29, 0), (0x1C, "elsewhere:1")])
    if name is None and chance.randrange(2):
        p = p.copy(reason=chance.choice(REASONS))
    if chance.randrange(2):
        p = p.copy(session_present=not p.session_present)
    c.send(up, p.copy() if name is None else p.with_property(name, value))
    if p.reason:
        c.loop.call_later(CLOSES_S, c.close)
    return True


def suback(c, up, p):
    if p.kind != mqtt5.SUBACK:
        return False
    chance = c.proxy.random
    how = chance.randrange(5)
    if how == 0:
        c.send(up, p.copy(codes=[chance.choice([0x80, 0x83, 0x87, 0x97, 0xA2]) for _ in p.codes]))
    elif how == 1:
        c.send(up, p.copy(mid=p.mid + 1000))
    elif how == 2:
        c.send(up, p.copy(codes=p.codes * 3))
    elif how == 3:
        c.send(up, p.copy(codes=[0]))
    return True  # how 4: never


def deaf(c, up, p):
    """The broker has forgotten the session, and of new subscriptions it hears nothing; they are said to be refused, or
    nothing is said."""
    if p.kind == mqtt5.CONNECT:
        c.send(up, p.copy(connect_flags=p.connect_flags | 2))
        return True
    if p.kind != mqtt5.SUBSCRIBE or not up:
        return False
    if c.proxy.random.randrange(2):
        c.send(False, Packet(mqtt5.SUBACK, mid=p.mid, codes=[0x87] * len(p.filters)))
    return True


def goodbye(c):
    if c.proxy.random.random() > 0.15:
        return False
    c.send(False, Packet(mqtt5.DISCONNECT, reason=c.proxy.random.choice(REASONS)))
    c.loop.call_later(CLOSES_S, c.close)
    return True


def taken_over(c):
    if c.proxy.random.random() > 0.15:
        return False
    c.send(False, Packet(mqtt5.DISCONNECT, reason=0x8E))
    c.loop.call_later(CLOSES_S, c.close)
    return True


def alias(c, up, p):
    """Topic aliases that nobody allowed."""
    if up or not is_publish(p):
        return False
    chance = c.proxy.random
    named = p.with_property(mqtt5.TOPIC_ALIAS, chance.choice([0, 1, 1, 65535]))
    c.send(up, named.copy(topic="") if chance.randrange(2) else named)
    return True


def bad_acks(c, up, p):
    """Acknowledgements of another kind, of nothing, twice, or refusals of what was taken."""
    if up or p.kind != mqtt5.PUBACK:
        return False
    how = c.proxy.random.randrange(5)
    if how == 0:
        c.send(up, p.copy(reason=c.proxy.random.choice([0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99])))
        return True
    if how == 1:
        c.send(up, p)
    elif how == 2:
        c.send(up, p.copy(mid=p.mid % 65535 + 1))
    elif how == 3:
        c.send(up, Packet(c.proxy.random.choice([mqtt5.PUBREC, mqtt5.PUBCOMP]), mid=p.mid))
    else:
        c.send(up, b"\xd0\x00")
        c.send(up, Packet(mqtt5.SUBACK, mid=p.mid, codes=[0x87]))
        c.send(up, Packet(mqtt5.PUBREL, mid=p.mid))
    c.send(up, p)
    return True


# sticks: what the lie said belongs to the connection's life, so that honesty begins with a new one.
LIES = {
    "delay": Lie("packets come late", delay),
    "reorder": Lie("publishes overtake one another", reorder),
    "silence": Lie("nothing comes or goes for seconds, then all of it", silence),
    "duplicate": Lie("publishes twice: DUP, as a new one, with QoS 0 and 2", duplicate),
    "replay": Lie("old publishes again, hours old ones too, in both directions", None, replay),
    "late will": Lie("the will of a connection long gone", None, late_will),
    "acks late": Lie("acknowledgements are withheld", no_acks),
    "acks lost": Lie("acknowledgements never come", lost_acks),
    "swallow": Lie("acknowledged and not passed on", swallow),
    "older retained": Lie("an older retained list, policy, keys", older_retained, older_tick),
    "empty retained": Lie("empty retained messages", empty, empty_tick),
    "foreign": Lie("documents of another city, and rubbish", None, foreign),
    "damaged": Lie("payloads with a flipped bit", damaged),
    "retain flag": Lie("the retain flag set and cleared", retain_flag),
    "wrong gateway": Lie("packets of another gateway", None, wrong_gateway),
    "cut": Lie("the connection ends within a packet", cut),
    "malformed": Lie("malformed packets", None, malformed),
    "huge": Lie("huge packets", None, huge),
    "connack": Lie("CONNACK: session, limits, aliases, keep alive, client id, refusals", connack, sticks=True),
    "suback": Lie("SUBACK: refused, of another, too long, never", suback),
    "deaf": Lie("a session forgotten, and subscriptions that the broker never saw", deaf),
    "disconnect": Lie("DISCONNECT with all reasons", None, goodbye),
    "taken over": Lie("session taken over", None, taken_over),
    "alias": Lie("topic aliases that nobody allowed", alias),
    "bad acks": Lie("acknowledgements of nothing, twice, and refusals", bad_acks),
}
