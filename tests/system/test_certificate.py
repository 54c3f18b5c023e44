# SPDX-License-Identifier: Apache-2.0
"""The gateway's own certificate over the real broker with mutual TLS: asked for, tried, kept or put back.

The city is the one of box.py with an authority of its own. What the broker lets in is decided by its
revocation list, so that each test says which of two certificates is good.
"""

import json
import os
import re
import signal
import subprocess
import time

import pki
import pytest
from box import Box
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from harness import HERE, Process, Recorder, free_port, program, wait_for

SHIPPED = os.path.join(HERE, "..", "..", "config", "mosquitto", "acl")
PROTOCOL = os.path.join(HERE, "..", "..", "docs", "protocol.md")
GW = "lockbridge/gw/gw-1/"
MORE = "backoff_min_ms = 50;\nbackoff_max_ms = 500;\nhealth_s = 1;\n"


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def public_bytes(key):
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


class Renewals(Box):
    """One gateway, whose certificate and broker every test chooses anew."""

    def start_broker(self, extra=""):
        self.authority = pki.Authority()
        self.key, server = pki.new_key(), pki.new_key()
        self.tls_port = free_port()
        for name, text in {"ca.pem": self.authority.pem, "server.key": pki.key_pem(server),
                           "server.pem": pki.pem(self.authority.server(server.public_key())),
                           "acl": read(SHIPPED), "crl.pem": self.authority.revocation_list(),
                           "gateway.key": pki.key_pem(self.key)}.items():
            self.write(name, text)
        self.write("mosquitto.conf", f"""per_listener_settings true
user root
log_type all
listener {self.port} 127.0.0.1
allow_anonymous true
listener {self.tls_port} 127.0.0.1
allow_anonymous false
cafile {self.path("ca.pem")}
certfile {self.path("server.pem")}
keyfile {self.path("server.key")}
crlfile {self.path("crl.pem")}
require_certificate true
use_identity_as_username true
use_username_as_clientid true
acl_file {self.path("acl")}
""")
        self.broker = Process("mosquitto", ["mosquitto", "-c", self.path("mosquitto.conf")],
                              self.path("mosquitto.log"), self.env)
        self.processes.append(self.broker)
        self.broker_up()

    def write(self, name, text):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), "w") as f:
            f.write(text)

    def read(self, name="gateway.pem"):
        try:
            return read(self.path("gw-1", name))
        except FileNotFoundError:
            return None

    # --- the broker -----------------------------------------------------------------------------------

    def revoke(self, *certificates):
        """From the next handshake on: connections that stand, stay."""
        self.write("crl.pem", self.authority.revocation_list(*certificates))
        seen = self.broker.output().count("Reloading config")
        self.broker.popen.send_signal(signal.SIGHUP)
        wait_for("the broker reloads", lambda: self.broker.output().count("Reloading config") > seen)

    def restart_broker(self):
        """Retained messages and sessions are gone, and so is every connection."""
        self.recorder.close()
        self.broker.kill()
        self.broker_up()
        self.recorder = Recorder(self.port)

    # --- the gateway ----------------------------------------------------------------------------------

    def tls(self, **change):
        files = {"ca": self.path("ca.pem"), "certificate": self.path("gw-1", "gateway.pem"),
                 "key": self.path("gateway.key"), **change}
        settings = "".join(f'{k} = "{v}"; ' for k, v in files.items())
        return f'{{ host = "127.0.0.1"; port = {self.tls_port}; {settings}}}'

    def start_gateway(self, gw, **change):
        os.makedirs(self.path(gw), mode=0o700, exist_ok=True)
        if not change:  # the first start of the world
            self.write(gw + "/gateway.pem", pki.pem(self.certificate(-1, 89)))
        return super().start_gateway(gw, brokers=[self.tls(**change)], more=MORE)

    def certificate(self, since, until, name="gw-1", key=None, authority=None, **more):
        return (authority or self.authority).client(name, (key or self.key).public_key(), since, until,
                                                    **more)

    def begin(self, certificate, old=None, new=None, wait=True, **files):
        """A gateway whose files are these; its process."""
        self.process("gw-1").stop()
        self.processes.remove(self.process("gw-1"))
        self.write("crl.pem", self.authority.revocation_list())
        for name, one in {"gateway.pem": certificate, "gateway.pem.old": old,
                          "gateway.pem.new": new}.items():
            if os.path.exists(self.path("gw-1", name)):
                os.unlink(self.path("gw-1", name))
            if one is not None:
                self.write("gw-1/" + name, one if isinstance(one, str) else pki.pem(one))
        self.restart_broker()
        for document in (self.city.keys(self.born), self.city.policy(self.born),
                         self.city.list(self.born, {1: 1, 2: 2})):
            self.say(document)
        with open(self.path("gw-1.conf"), "w") as f:
            f.write(self.gateway_config("gw-1", brokers=[self.tls(**files)], more=MORE))
        gateway = self.spawn("gw-1", [program("lockbridged"), "--config", self.path("gw-1.conf")])
        if wait:
            self.online()
        return gateway

    def online(self):
        wait_for("gw-1 is online", lambda: self.recorder.last(GW + "presence") == b"online"
                 and self.recorder.state("gw-1"))

    def present(self):
        """The serial that the gateway says it uses."""
        return ((self.recorder.state("gw-1") or {}).get("certificate") or {}).get("serial")

    def uses(self, certificate, timeout=20):
        wait_for(f"the gateway uses {pki.serial(certificate)}",
                 lambda: self.present() == pki.serial(certificate), timeout)

    def problem(self, code):
        for problem in (self.recorder.state("gw-1") or {"problems": []})["problems"]:
            if problem["code"] == code:
                return problem.get("detail", "-")
        return None

    def wait_problem(self, code, words, timeout=20):
        wait_for(f"{code}: {words}", lambda: words in (self.problem(code) or ""), timeout)

    def requests(self):
        return [m[2] for m in self.recorder.all(GW + "request")]

    def offer(self, *certificates):
        self.recorder.publish(GW + "certificate", "".join(
            c if isinstance(c, str) else pki.pem(c) for c in certificates))

    def counter(self, name):
        health = self.recorder.last(GW + "health")
        return json.loads(health)["counters"][name] if health else None

    def files(self):
        """How FILE, FILE.old and FILE.new stand: their serials."""
        return [pki.serial(x509.load_pem_x509_certificate(text.encode())) if text else None
                for text in (self.read(), self.read("gateway.pem.old"), self.read("gateway.pem.new"))]

    def was_always_online(self):
        return all(m[2] == b"online" for m in self.recorder.all(GW + "presence"))

    def tls_connects(self):
        return self.broker.output().count(" as gw-1 (p5")


@pytest.fixture(scope="module")
def world():
    with Renewals() as w:
        yield w.start()


def ending():
    """Days of a certificate that has less than a third of its life left."""
    return -61, 29


# --- the way of a renewal ---------------------------------------------------------------------------

def test_with_a_third_of_its_life_left_another_one_is_asked_for_and_used(world):
    old = world.certificate(*ending())
    gateway = world.begin(old)
    world.uses(old)
    assert world.recorder.state("gw-1")["certificate"]["days"] in (28, 29)
    asked = wait_for("a request", world.requests)[0]
    request = x509.load_pem_x509_csr(asked)
    assert request.is_signature_valid
    assert request.subject == pki.name("gw-1")
    assert public_bytes(request.public_key()) == public_bytes(world.key.public_key())
    assert b"PRIVATE" not in asked

    new = world.authority.client("gw-1", request.public_key(), 0, 90)
    world.offer(new)
    world.uses(new)
    certificate = world.recorder.state("gw-1")["certificate"]
    assert certificate["days"] in (89, 90)
    assert certificate["not_after"] == int(new.not_valid_after.timestamp()) - time.timezone
    wait_for("what was on trial is settled", lambda: world.files() == [pki.serial(new), None, None])
    assert world.was_always_online()
    wait_for("it is counted", lambda: world.counter("certificate-renewals") == 1)
    assert world.counter("certificate-requests") == 1
    assert len(world.requests()) == 1

    # The broker takes the new one alone: it is the new one that the gateway shows.
    world.revoke(old)
    world.restart_broker()
    world.online()
    world.uses(new)
    # and what unlocks still does
    assert world.unlock()["outcome"] == "done"
    assert pki.serial(new) in gateway.output()
    assert "PRIVATE KEY" not in gateway.output() and "BEGIN" not in gateway.output()


def test_before_that_none_is_asked_for_but_one_that_comes_is_taken(world):
    old = world.certificate(-45, 45)
    world.begin(old)
    world.uses(old)
    # The timer that would ask has its second; two health messages are two of them.
    seen = len(world.recorder.all(GW + "health"))
    wait_for("time passes", lambda: len(world.recorder.all(GW + "health")) > seen + 2)
    assert world.requests() == []
    new = world.certificate(0, 90)
    world.offer(new)
    world.uses(new)


def test_a_chain_comes_and_goes_along(world):
    old = world.certificate(*ending())
    world.begin(old)
    new = world.certificate(0, 90)
    world.offer(new, world.authority.certificate)
    world.uses(new)
    assert world.read() == pki.pem(new) + world.authority.pem


def test_a_request_that_nobody_answers_is_made_again_after_a_restart(world):
    world.begin(world.certificate(*ending()))
    wait_for("a request", world.requests)
    gateway = world.process("gw-1")
    gateway.stop()
    world.respawn(gateway)
    wait_for("a second request", lambda: len(world.requests()) == 2)


def test_after_a_reconnect_within_the_hour_nothing_is_asked_again(world):
    world.begin(world.certificate(*ending()))
    wait_for("a request", world.requests)
    world.restart_broker()
    world.online()
    seen = len(world.recorder.all(GW + "health"))
    wait_for("time passes", lambda: len(world.recorder.all(GW + "health")) > seen + 2)
    assert world.requests() == []  # of the new recorder
    assert world.counter("certificate-requests") == 1


# --- what is refused --------------------------------------------------------------------------------

def test_what_does_not_fit_is_refused_by_name_and_changes_nothing(world):
    old = world.certificate(*ending())
    world.begin(old)
    foreign, twin = pki.Authority("Other"), pki.Authority()
    cut = pki.pem(world.certificate(0, 90))
    cases = [
        (world.certificate(0, 90, key=pki.new_key()), "another key"),
        (world.certificate(0, 90, name="gw-2"), "another id"),
        (world.certificate(0, 90, authority=foreign), "another authority"),
        ("dust", "no certificate"),
        (world.certificate(0, 90, authority=twin), "another authority"),
        (world.certificate(-2, 28), "ends no later"),
        (world.certificate(1, 90), "not valid yet"),
        (world.authority.certificate, "an authority's"),
        (cut[:len(cut) // 2], "no certificate"),
        (world.certificate(-90, -1), "ends no later"),
        (cut + "\n" * 20000, "no certificate"),
    ]
    counted = 0
    for offered, words in cases:
        world.offer(offered)
        world.wait_problem("certificate-refused", words)
        counted += 1
    world.offer("x" * 300000)  # more than the agent takes of anything
    counted += 1
    wait_for("all are counted", lambda: world.counter("certificate-refusals") == counted)
    assert world.files() == [pki.serial(old), None, None]
    assert world.present() == pki.serial(old)
    assert world.was_always_online()
    told = [e for e in world.recorder.events("gw-1") if e["type"] == "document.refused"]
    assert told == []  # it is no document of the city's

    new = world.certificate(0, 90)
    world.offer(new)
    world.uses(new)
    wait_for("the problem is over", lambda: world.problem("certificate-refused") is None)


def test_the_one_in_use_once_more_is_no_refusal(world):
    old = world.certificate(-1, 89)
    world.begin(old)
    world.offer(old)
    world.offer("dust")
    world.wait_problem("certificate-refused", "no certificate")
    wait_for("one is counted", lambda: world.counter("certificate-refusals") == 1)


# --- the trial --------------------------------------------------------------------------------------

def test_one_that_the_broker_does_not_take_costs_no_connection_and_is_put_back(world):
    old, new = world.certificate(*ending()), world.certificate(0, 90)
    world.begin(old)
    world.revoke(new)
    before = world.tls_connects()
    world.offer(new)
    world.wait_problem("certificate-refused", "was not taken by the broker")
    assert pki.serial(new) in world.problem("certificate-refused")
    assert world.was_always_online()
    assert world.tls_connects() == before
    assert world.present() == pki.serial(old)
    assert world.files() == [pki.serial(old), pki.serial(old), pki.serial(new)]
    assert world.unlock()["outcome"] == "done"
    # the next connect decides for good
    world.restart_broker()
    world.online()
    wait_for("settled", lambda: world.files() == [pki.serial(old), None, None])
    # and another one is taken
    newer = world.certificate(0, 91)
    world.offer(newer)
    world.uses(newer)


def test_a_broker_that_stumbled_and_now_takes_the_new_one_alone_gets_it(world):
    """Put back too early, and the former one is revoked since: the new one has its turn again."""
    old, new = world.certificate(*ending()), world.certificate(0, 90)
    world.begin(old)
    world.revoke(new)
    world.offer(new)
    world.wait_problem("certificate-refused", "was not taken by the broker")
    world.revoke(old)
    world.restart_broker()
    world.online()
    world.uses(new)
    wait_for("settled", lambda: world.files() == [pki.serial(new), None, None])


@pytest.mark.parametrize("good", ["the former one", "the new one"])
def test_a_restart_amid_the_trial_finds_the_one_that_is_good(world, good):
    old, new = world.certificate(*ending()), world.certificate(0, 90)
    bad = new if good == "the former one" else old
    world.begin(new, old=old, wait=False)
    world.revoke(bad)
    world.restart_broker()
    world.online()
    kept = old if bad is new else new
    world.uses(kept)
    wait_for("settled", lambda: world.files() == [pki.serial(kept), None, None])


def test_killed_after_the_writing_it_goes_on_where_it_was(world):
    old, new = world.certificate(*ending()), world.certificate(0, 90)
    gateway = world.begin(old)
    world.broker.popen.send_signal(signal.SIGSTOP)  # no trial comes to an end now
    try:
        world.process("gw-1").kill()
        world.write("gw-1/gateway.pem.abcdef", pki.pem(new)[:100])  # a temporary file cut short
    finally:
        world.broker.popen.send_signal(signal.SIGCONT)
    world.respawn(gateway)
    world.uses(old)
    world.offer(new)
    wait_for("it is written", lambda: world.files()[0] == pki.serial(new))
    gateway.kill()
    world.respawn(gateway)
    world.uses(new)
    wait_for("settled", lambda: world.files() == [pki.serial(new), None, None])


def test_a_damaged_file_beside_a_former_one_is_got_over(world):
    old = world.certificate(*ending())
    world.begin("dust\n", old=old)
    world.uses(old)
    wait_for("settled", lambda: world.files() == [pki.serial(old), None, None])


def test_without_a_broker_for_a_while_nothing_is_decided(world):
    """Nobody there is no refusal: only who answers can refuse."""
    old, new = world.certificate(*ending()), world.certificate(0, 90)
    gateway = world.begin(new, old=old, wait=False)
    world.online()
    world.uses(new)
    gateway.stop()
    world.write("gw-1/gateway.pem.old", pki.pem(old))
    world.broker.kill()
    world.respawn(gateway)
    wait_for("ten attempts", lambda: gateway.output().count("cannot connect to broker") > 10)
    assert world.files() == [pki.serial(new), pki.serial(old), None]
    world.broker_up()
    wait_for("settled", lambda: world.files() == [pki.serial(new), None, None])
    world.restart_broker()
    world.online()


# --- what a person sees -----------------------------------------------------------------------------

def test_an_end_that_is_near_is_a_problem(world):
    world.begin(world.certificate(-85, 5))
    world.wait_problem("certificate-expiring", "4 days left")
    shown = world.ctl("gw-1", "status")
    assert "Certificate valid until" in shown.out and "4 days left" in shown.out


def test_an_end_that_has_come_is_a_problem_and_the_connection_goes_on(world):
    soon = world.certificate(-1, 6 / 86400)
    world.begin(soon)
    assert world.problem("certificate-expired") is None
    wait_for("it ends", lambda: "certificate-expired" in world.ctl("gw-1", "diagnose").out)
    assert world.unlock()["outcome"] == "done"
    new = world.certificate(0, 90)
    world.offer(new)
    world.uses(new)
    assert "certificate-expired" not in world.ctl("gw-1", "diagnose").out


def test_with_a_clock_that_lags_nothing_is_asked_for_until_it_is_set(world):
    world.clock_control("synchronised no")
    born, world.born = world.born, int(time.time()) - 2 * 86400
    for name in os.listdir(world.path("gw-1")):
        if name.startswith("store.db"):
            os.rename(world.path("gw-1", name), world.path("kept-" + name))
    try:
        old = world.certificate(*ending())
        world.begin(old)
        world.wait_problem("clock-not-synchronised", "")
        if world.recorder.state("gw-1")["clock"]["floor"] > world.born:
            pytest.skip("built less than two days ago: the build's time is the clock's floor")
        wait_for("the time of the documents",
                 lambda: world.recorder.state("gw-1")["certificate"]["days"] in (30, 31))
        seen = len(world.recorder.all(GW + "health"))
        wait_for("time passes", lambda: len(world.recorder.all(GW + "health")) > seen + 2)
        assert world.requests() == []
        # a reckoned time only lags: it does not call a certificate too young
        new = world.certificate(-0.01, 60)
        world.offer(new)
        world.uses(new)
        world.begin(old)
        assert world.requests() == []
        world.clock_control("synchronised yes")
        wait_for("a request", world.requests)
    finally:
        world.clock_control("synchronised yes")
        world.born = born


def test_where_it_cannot_write_it_does_not_ask(world):
    mount = ["unshare", "--mount", "sh", "-c"]
    if subprocess.run([*mount, "mount -t tmpfs none /mnt"], capture_output=True).returncode != 0:
        pytest.skip("nobody may mount here")
    old = world.certificate(*ending())
    gateway = world.begin(old)
    gateway.stop()
    world.write("fixed/gateway.pem", pki.pem(old))
    with open(world.path("gw-1.conf"), "w") as f:
        f.write(world.gateway_config("gw-1", brokers=[world.tls(
            certificate=world.path("fixed", "gateway.pem"))], more=MORE))
    argv, folder = gateway.argv, world.path("fixed")
    gateway.argv = [*mount, f"mount --bind {folder} {folder} && mount -o remount,bind,ro {folder} && "
                            f"exec {' '.join(argv)}"]
    world.recorder.close()
    world.recorder = Recorder(world.port)
    try:
        world.respawn(gateway)
        world.online()
        world.wait_problem("certificate-not-writable", "Read-only file system")
        assert world.requests() == []
        world.offer(world.certificate(0, 90))
        world.offer("dust")
        world.wait_problem("certificate-refused", "no certificate")
        assert world.present() == pki.serial(old)
    finally:
        gateway.stop()
        gateway.argv = argv


# --- the configuration ------------------------------------------------------------------------------

def reload(world, gateway, **files):
    with open(world.path("gw-1.conf"), "w") as f:
        f.write(world.gateway_config("gw-1", brokers=[world.tls(**files)], more=MORE))
    gateway.popen.send_signal(signal.SIGHUP)


def test_a_reload_takes_other_files_and_a_key_by_its_name(world):
    first, second = world.certificate(-1, 80), world.certificate(-1, 85)
    world.write("credentials/gateway.key", pki.key_pem(world.key))
    world.write("elsewhere/gateway.pem", pki.pem(second))
    world.env["CREDENTIALS_DIRECTORY"] = world.path("credentials")
    try:
        gateway = world.begin(first, key="gateway.key")
        world.uses(first)
        reload(world, gateway, key="gateway.key", certificate=world.path("elsewhere", "gateway.pem"))
        world.uses(second)
        # and a renewal goes where the configuration now points
        third = world.certificate(-1, 90)
        world.offer(third)
        world.uses(third)
        assert read(world.path("elsewhere", "gateway.pem")) == pki.pem(third)
        assert world.read() == pki.pem(first)
        # one that is not there: the old configuration stays
        reload(world, gateway, key="none.key", certificate=world.path("elsewhere", "gateway.pem"))
        gateway.wait_output("none.key")
        assert world.recorder.last(GW + "presence") == b"online"
    finally:
        del world.env["CREDENTIALS_DIRECTORY"]


# --- the document -----------------------------------------------------------------------------------

def test_the_documented_request_and_its_answer_belong_together():
    text = read(PROTOCOL)
    request, answer = (re.search(rf"<!-- pem: {name} -->\n```text\n(.*?\n)```\n", text, re.S)[1].encode()
                       for name in ("request", "certificate"))
    request, certificate = x509.load_pem_x509_csr(request), x509.load_pem_x509_certificate(answer)
    assert request.is_signature_valid
    assert request.subject == certificate.subject == pki.name("gw-1")
    assert public_bytes(request.public_key()) == public_bytes(certificate.public_key())
    state = json.loads(re.search(r"<!-- example state -->\n```json\n(.*)\n```", text)[1])
    shown = state["certificate"]
    assert shown["serial"] == pki.serial(certificate)
    assert shown["not_after"] == int(certificate.not_valid_after.timestamp()) - time.timezone
    assert shown["days"] == (shown["not_after"] - state["clock"]["now"]) // 86400


def test_the_documented_rules_are_those_that_are_shipped():
    table = re.search(r"<!-- table: rules -->\n.*\n\|---\|---\|\n((?:\|.*\n)+)", read(PROTOCOL))[1]
    documented = re.findall(r"^\| (write|read) \| `(.*)` \|$", table, re.M)
    shipped = re.findall(r"^pattern (\w+) lockbridge/(.*)$", read(SHIPPED), re.M)
    assert len(shipped) > 10
    assert documented == [(act, topic.replace("%u", "<gw>")) for act, topic in shipped]
