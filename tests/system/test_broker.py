# SPDX-License-Identifier: Apache-2.0
"""Brokers that refuse, hang, are not there or have forgotten; the loop goes on meanwhile."""

import json
import os
import signal
import socket
import subprocess
import threading
import time

import pytest

from box import Box
from harness import free_port, wait_for


class Silent:
    """Takes TCP connections and never says a word: a broker that hangs, in MQTT or in TLS."""

    def __init__(self):
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.socket.listen(16)
        self.port = self.socket.getsockname()[1]
        self.taken = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                self.taken.append(self.socket.accept()[0])
            except OSError:
                return

    def close(self):
        self.socket.close()
        for s in self.taken:
            s.close()


def certificate(box):
    """A CA file that could verify somebody."""
    path = box.path("ca.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-keyout", box.path("ca.key"),
                    "-out", path, "-days", "2", "-subj", "/CN=nobody"], check=True, capture_output=True)
    return path


def local_status(box):
    return box.ctl("gw-1", "status", "--json").json


@pytest.fixture
def silent():
    s = Silent()
    yield s
    s.close()


@pytest.mark.parametrize("kind", ["refuses", "hangs", "hangs in TLS", "has no name"])
def test_a_bad_first_broker_costs_the_loop_nothing_and_the_second_serves(kind, silent):
    """While the first is tried, the agent answers on the bus within moments: the largest gap is shown."""
    with Box() as b:
        first = {"refuses": f'{{ host = "127.0.0.1"; port = {free_port()}; }}',
                 "hangs": f'{{ host = "127.0.0.1"; port = {silent.port}; }}',
                 "hangs in TLS": f'{{ host = "127.0.0.1"; port = {silent.port}; ca = "{certificate(b)}"; }}',
                 "has no name": '{ host = "no-such-host.invalid"; port = 8883; }'}[kind]
        good = f'{{ host = "127.0.0.1"; port = {b.port}; }}'
        b.gateway_config = (lambda make: lambda gw, **k: make(gw, brokers=[first, good], **k))(b.gateway_config)
        b.start(documents=False)
        for document in (b.city.keys(b.born), b.city.policy(b.born), b.city.list(b.born, {1: 1})):
            b.say(document)
        wait_for("the agent answers", lambda: b.ctl("gw-1", "status", "--json").out.startswith("{"))
        gaps, end = [], time.monotonic() + 60
        while time.monotonic() < end and not b.recorder.state("gw-1"):
            start = time.monotonic()
            assert local_status(b)
            gaps.append(time.monotonic() - start)
        b.settle()
        assert b.unlock()["outcome"] == "done"
        gap = max(gaps) if gaps else 0
        print(f"{kind}: asked {len(gaps)} times while it tried; longest answer {gap * 1000:.0f} ms")
        assert gap < 2, "the loop stood still"


def test_a_broker_that_forgot_everything_is_told_again():
    with Box() as b:
        b.start()
        b.broker.kill()
        for f in os.listdir(b.path("broker")):
            os.unlink(b.path("broker", f))
        b.recorder.messages.clear()
        b.broker_up()
        wait_for("presence, state and each lock anew",
                 lambda: b.recorder.last("lockbridge/gw/gw-1/presence") == b"online"
                 and b.recorder.state("gw-1") and b.recorder.lock("gw-1", "lock-1"), 40)
        assert len(b.held()) == 3
        assert b.refused(1) == "revoked"


def test_an_older_retained_list_takes_nothing_back():
    """Debian's mosquitto does this when it is killed right after a PUBACK."""
    with Box() as b:
        b.start()
        newer = b.city.list(b.born + 1, {1: 1, 60: 1})
        b.hold(newer)
        b.say(b.city.list(b.born, {1: 1, 2: 2}))
        gw = b.process("gw-1")
        gw.kill()
        b.respawn(gw)
        wait_for("the old one was offered and refused",
                 lambda: [e for e in b.recorder.events("gw-1", "document.refused") if e["reason"] == "older"], 30)
        b.wait_held(newer)
        assert b.refused(60) == "revoked"


def test_duplicates_and_reordering_of_documents_end_with_the_newest():
    with Box() as b:
        b.start()
        lists = [b.city.list(b.born + n, {1: 1, 70 + n: 1}) for n in range(1, 6)]
        for n in (3, 1, 1, 4, 0, 2, 4, 3):
            b.say(lists[n])
        b.wait_held(lists[4])
        assert b.refused(75) == "revoked"
        assert b.unlock(71)["outcome"] == "done"


def test_an_oversized_message_is_dropped_and_reported():
    with Box() as b:
        b.start()
        b.recorder.publish("lockbridge/gw/gw-1/authorize", os.urandom(300000))
        b.recorder.publish("lockbridge/city/list/staff", os.urandom(200000))
        assert b.unlock()["outcome"] == "done"
        assert b.refused(1) == "revoked"


def test_another_gateways_messages_are_not_ours():
    with Box({"gw-1": ["lock-1"], "gw-2": ["lock-2"]}) as b:
        b.start()
        before = b.lock_report("lock-2")["movements"]
        document = b.city.relayed("lock-2", b.challenge("lock-2"), 10, int(time.time()))
        assert b.authorize(document, gw="gw-1")[-1]["reason"] == "wrong-lock"
        assert b.lock_report("lock-2")["movements"] == before
        assert b.unlock(lock="lock-2")["outcome"] == "done"


def test_an_idle_gateway_does_not_poll():
    """Ten seconds without work: the process is woken by adverts and little else."""
    with Box() as b:
        b.start()
        wait_for("links are down", lambda: not b.lock_report("lock-1")["connected"], 30)
        pid = b.process("gw-1").popen.pid

        def woken():
            with open(f"/proc/{pid}/status") as f:
                return sum(int(line.split()[1]) for line in f if "ctxt_switches" in line)
        adverts, start, at = b.stats("lock-1")["adverts"], woken(), time.monotonic()
        wait_for("ten seconds pass", lambda: time.monotonic() - at > 10, 12, 0.5)
        wakeups, adverts = woken() - start, b.stats("lock-1")["adverts"] - adverts
        print(f"idle: {wakeups} wake-ups in 10 s, {adverts} adverts sent")
        assert wakeups < 3 * adverts + 60


# --- what a broker lost on its way is found out without a reconnect -------------------------------------


def said_again(box, topic, since):
    return [m for m in box.recorder.all(topic) if m[0] > since and m[1] == topic]


def test_a_document_that_changes_nothing_is_answered_by_state():
    """The city would not send it had it heard the last state: a broker may acknowledge that, and lose it."""
    with Box() as b:
        b.start()
        held = b.city.list(b.born + 1, {1: 1})
        b.hold(held)
        wait_for("all is said", lambda: b.lock_report("lock-1")["applied"].get("staff") == b.born + 1, 30)
        b.recorder.barrier()
        for document in (held, b.city.list(b.born, {1: 1, 2: 2})):
            since = time.monotonic()
            b.recorder.publish("lockbridge/gw/gw-1/document", document)
            wait_for("state again", lambda: said_again(b, "lockbridge/gw/gw-1/state", since), 10)
            assert len(b.held()) == 3


def test_a_replay_for_another_stream_is_answered_by_state():
    with Box() as b:
        b.start()
        b.recorder.barrier()
        since = time.monotonic()
        other = "0" * len(b.recorder.state("gw-1")["stream"])
        b.recorder.publish("lockbridge/gw/gw-1/replay", json.dumps({"stream": other, "from": 1}))
        wait_for("state again", lambda: said_again(b, "lockbridge/gw/gw-1/state", since), 10)


def test_the_will_of_an_earlier_connection_does_not_stay():
    with Box() as b:
        b.gateway_config = (lambda make: lambda gw, **k: make(gw, more="health_s = 1;\n", **k))(b.gateway_config)
        b.start()
        topic = "lockbridge/gw/gw-1/presence"
        b.recorder.publish(topic, b"offline", retain=True)
        wait_for("the will came late", lambda: b"offline" in [m[2] for m in b.recorder.all(topic)])
        wait_for("it is told online again", lambda: b.recorder.last(topic) == b"online", 15)


def test_a_refused_event_is_sent_again_on_the_same_connection():
    """A quota, or rules that were mended: the next connection may be weeks away."""
    with Box() as b:
        rules = b.path("rules.acl")

        def write(*lines):
            with open(rules, "w", encoding="ascii") as f:
                f.write("\n".join(lines + ("topic readwrite #", "")))
        write()
        b.gateway_config = (lambda make: lambda gw, **k: make(gw, more="health_s = 1;\n", **k))(b.gateway_config)
        b.start_broker = (lambda start: lambda: start(f"acl_file {rules}\n"))(b.start_broker)
        b.start()
        write("topic deny lockbridge/gw/gw-1/event")
        b.broker.popen.send_signal(signal.SIGHUP)
        b.broker.wait_output("Reloading config")
        b.recorder.publish("lockbridge/gw/gw-1/authorize", b"rubbish")
        wait_for("an event is refused", lambda: "the broker refused an event" in b.process("gw-1").output(), 20)
        write()
        b.broker.popen.send_signal(signal.SIGHUP)
        wait_for("it is heard", lambda: b.recorder.events("gw-1", "authorization.refused"), 40)
        wait_for("nothing waits", lambda: b.ctl("gw-1", "status", "--json").json["state"]["outbox"] == 0, 20)
        assert b.process("gw-1").output().count("broker connected") == 1
