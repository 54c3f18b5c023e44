# SPDX-License-Identifier: Apache-2.0
"""A box on its way from the package to the city: waiting, requested, enrolled, online over mutual TLS;
and what diagnose says on that way, and when something is wrong later."""

import hashlib
import os
import shutil
import signal
import socket
import subprocess

import pytest
from cryptography.hazmat.primitives import serialization

import pki
from enrolment import City, Folders
from harness import Process, program, wait_for
from secure import SecureWorld


class EnrolledWorld(SecureWorld):
    """Each gateway is a box with folders of its own, enrolled by the commands that an installer types."""

    def start_gateway(self, gw, **change):
        box = self.boxes[gw] = Folders(self.path("box-" + gw))
        kid = self.root_kid()
        request = box.run("request", gw, "--etc", box.etc, "--out", box.path("request.csr")).ok()
        assert "PRIVATE" not in request.out
        self.desk("gateway", "add", gw, "--request", box.path("request.csr"), "--out", box.path("told")).ok()
        said = box.run("enrol", box.path("told"), "--root", kid, *box.options).ok()
        self.said[gw] = said.out
        with open(box.conf(), "a", encoding="ascii") as f:
            f.write(f'adapter = "{self.adapter(gw)}";\nbackoff_min_ms = 100;\nbackoff_max_ms = 1000;\n')
        return self.daemon(gw)

    def root_kid(self):
        with open(self.path("root.pub.pem"), "rb") as f:
            key = serialization.load_pem_public_key(f.read())
        raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return hashlib.sha256(raw).hexdigest()[:16]

    def daemon(self, gw):
        """As its unit runs it: the key is a credential, and nowhere else that it looks."""
        box = self.boxes[gw]
        credentials = self.path("credentials-" + gw)
        os.makedirs(credentials, exist_ok=True)
        shutil.copy(box.key(), credentials)
        argv = [program("lockbridged"), "--config", box.conf()]
        process = Process(gw, argv, self.path(gw + ".log"), dict(self.env, CREDENTIALS_DIRECTORY=credentials))
        self.processes.append(process)
        return process.start()

    def __init__(self, layout, **more):
        super().__init__(layout, **more)
        self.boxes, self.said = {}, {}


@pytest.fixture(scope="module")
def world():
    with EnrolledWorld({"gw-17": ["lock-1"]}) as w:
        yield w.start()


# --- the whole way ----------------------------------------------------------------------------------


def test_from_request_to_online_over_mutual_tls(world):
    assert world.recorder.last("lockbridge/gw/gw-17/presence") == b"online"
    status = world.ctl("gw-17", "status", "--json").json
    assert status["broker"]["connected"] is True
    # the broker knows it by its certificate alone
    wait_for("the broker's log names it", lambda: "u'gw-17'" in world.broker.output())
    state = world.recorder.state("gw-17")
    with open(os.path.join(world.boxes["gw-17"].state, "gateway.pem"), "rb") as f:
        installed = pki.x509.load_pem_x509_certificate(f.read())
    assert state["certificate"]["serial"] == pki.serial(installed)
    assert world.recorder.lock("gw-17", "lock-1")["current"] is True


def test_the_key_comes_from_the_service_alone(world):
    box = world.boxes["gw-17"]
    key, hidden = box.key(), box.path("hidden.key")
    world.process("gw-17").stop()
    world.processes.remove(world.process("gw-17"))
    wait_for("it is seen to be offline", lambda: world.recorder.last("lockbridge/gw/gw-17/presence") == b"offline")
    os.rename(key, hidden)
    shutil.copy(hidden, key)  # for daemon() to copy from
    process = world.daemon("gw-17")
    os.remove(key)
    wait_for("it is online again", lambda: world.recorder.last("lockbridge/gw/gw-17/presence") == b"online")
    os.rename(hidden, key)
    with open(f"/proc/{process.popen.pid}/environ", "rb") as f:
        assert b"CREDENTIALS_DIRECTORY=" in f.read()


def test_what_is_shown_is_the_desks_root(world):
    state = world.recorder.state("gw-17")
    assert state["root"] in world.said["gw-17"]


def test_diagnose_adds_what_is_wrong_with_the_files(world):
    box = world.boxes["gw-17"]
    words = ["diagnose", "--json", "--gateway", "gw-17", *box.options]
    wait_for("no problem", lambda: world.run([program("lockbridgectl"), *words]).status == 0)
    os.chmod(box.key(), 0o644)
    said = world.run([program("lockbridgectl"), *words])
    os.chmod(box.key(), 0o600)
    assert said.status == 1
    assert [p["code"] for p in said.json] == ["key-mode"]
    assert "chmod 600" in said.json[0]["next"]


# --- before it is enrolled --------------------------------------------------------------------------


class Manager:
    """What systemd hears of a service."""

    def __init__(self, where):
        self.path = os.path.join(where, "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(0.1)
        self.heard = []

    def hear(self):
        try:
            while True:
                self.heard += self.socket.recv(4096).decode().splitlines()
        except TimeoutError:
            return self.heard

    def wait(self, line, count=1):
        wait_for(f"systemd hears {line}", lambda: sum(h.startswith(line) for h in self.hear()) >= count)

    def start(self, config, **env):
        log = os.path.join(os.path.dirname(self.path), "daemon.log")
        return Process("daemon", [program("lockbridged"), "--config", config], log,
                       dict(os.environ, NOTIFY_SOCKET=self.path, **env)).start()


@pytest.fixture
def manager(tmp_path):
    m = Manager(str(tmp_path))
    yield m
    m.socket.close()


NOT_ENROLLED = ("STATUS=not enrolled: run lockbridgectl request GATEWAY, take it to the desk, then "
                "lockbridgectl enrol FILE")


def test_without_a_configuration_it_waits_and_says_for_what(manager, tmp_path):
    daemon = manager.start(str(tmp_path / "none.conf"), WATCHDOG_USEC="200000")
    manager.wait("READY=1")
    assert NOT_ENROLLED in manager.hear()
    manager.wait("WATCHDOG=1", 3)
    # a reload that finds nothing new goes on waiting
    daemon.popen.send_signal(signal.SIGHUP)
    manager.wait("RELOADING=1")
    manager.wait("READY=1", 2)
    assert daemon.running()
    daemon.popen.send_signal(signal.SIGTERM)
    assert daemon.popen.wait(10) == 0
    assert "STOPPING=1" in manager.hear()
    assert "not enrolled" in daemon.output()


def test_a_reload_after_the_enrolment_starts_it_for_real(manager, tmp_path):
    conf = tmp_path / "lockbridge.conf"
    daemon = manager.start(str(conf))
    manager.wait("READY=1")
    conf.write_text("nonsense = 1;\n")
    daemon.popen.send_signal(signal.SIGHUP)
    assert daemon.popen.wait(10) == 1
    manager.wait(f"STATUS={conf}:1: nonsense: is no setting")


def test_where_the_key_is_a_credential_a_reload_ends_it_to_be_started_again(manager, tmp_path):
    conf = tmp_path / "lockbridge.conf"
    daemon = manager.start(str(conf), CREDENTIALS_DIRECTORY=str(tmp_path))
    manager.wait("READY=1")
    conf.write_text("nonsense = 1;\n")
    daemon.popen.send_signal(signal.SIGHUP)
    assert daemon.popen.wait(10) == 0


def test_a_configuration_that_is_refused_fails_and_says_why_to_systemd(manager, tmp_path):
    conf = tmp_path / "lockbridge.conf"
    conf.write_text('gateway = "GW";\n')
    daemon = manager.start(str(conf))
    assert daemon.popen.wait(10) == 1
    manager.wait(f"STATUS={conf}:1: gateway: is no id")
    assert "READY=1" not in manager.hear()
    assert ":1: gateway: is no id" in daemon.output()


# --- diagnose ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def city():
    return City()


@pytest.fixture(scope="module")
def bus(tmp_path_factory):
    """A bus with nobody on it."""
    w = SecureWorld({})
    w.start_bus()
    yield w.env["DBUS_SYSTEM_BUS_ADDRESS"]
    w.close()


@pytest.fixture
def box(tmp_path):
    return Folders(tmp_path)


def diagnose(box, bus):
    said = box.run("--bus", bus, "diagnose", "--json", *box.options)
    assert said.status == 1
    for problem in said.json:
        assert problem["code"] and problem["cause"] and problem["next"]
    human = box.run("--bus", bus, "diagnose", *box.options)
    assert human.status == 1
    for problem in said.json:
        assert problem["cause"] in human.out and problem["next"] in human.out
    return {problem["code"]: problem for problem in said.json}


def test_a_box_that_is_not_enrolled_is_called_so(box, bus):
    said = diagnose(box, bus)
    assert set(said) == {"not-enrolled"}
    assert said["not-enrolled"]["next"].startswith("lockbridgectl request GATEWAY")
    box.request().ok()
    said = diagnose(box, bus)
    assert set(said) == {"not-enrolled"} and "prints it again" in said["not-enrolled"]["next"]


def test_an_enrolled_box_without_its_agent_names_only_that(box, bus, city):
    box.enrolled(city)
    said = diagnose(box, bus)
    assert set(said) == {"agent-absent"} and "systemctl" in said["agent-absent"]["next"]


def put(path, text, mode=None):
    with open(path, "w", encoding="ascii") as f:
        f.write(text)
    if mode is not None:
        os.chmod(path, mode)


def certificate(box, city, gateway="gw-17", **more):
    csr = pki.x509.load_pem_x509_csr(box.request().ok().out.encode())
    return pki.pem(city.authority.client(gateway, csr.public_key(), **more))


# code: what is done to the box, and words of the cause
WRONG = {
    "key-mode": (lambda b, c: os.chmod(b.key(), 0o604), "mode 0604"),
    "key-missing": (lambda b, c: os.remove(b.key()), "is missing"),
    "key-damaged": (lambda b, c: put(b.key(), "x"), "no private key"),
    "certificate-missing": (lambda b, c: os.remove(b.state + "/gateway.pem"), "No such file"),
    "certificate-damaged": (lambda b, c: put(b.state + "/gateway.pem", "x"), "cannot be read"),
    "certificate-foreign": (lambda b, c: (os.remove(b.key()), b.request()), "does not fit this box's key"),
    "certificate-wrong": (lambda b, c: put(b.state + "/gateway.pem", certificate(b, c, "gw-18")),
                          'for "gw-18", not for "gw-17"'),
    "certificate-expired": (lambda b, c: put(b.state + "/gateway.pem", certificate(b, c, since=-9, until=-1)),
                            "ended at"),
    "clock-wrong": (lambda b, c: put(b.state + "/gateway.pem", certificate(b, c, since=3.0)), "only begins"),
    "root-missing": (lambda b, c: os.remove(b.etc + "/root.pub.pem"), "No such file"),
    "root-damaged": (lambda b, c: put(b.etc + "/root.pub.pem", "x"), "no Ed25519 public key"),
    "ca-missing": (lambda b, c: os.remove(b.etc + "/broker-ca.pem"), "No such file"),
    "ca-damaged": (lambda b, c: put(b.etc + "/broker-ca.pem", "x"), "no list of certificates"),
    "configuration-refused": (lambda b, c: put(b.conf(), "gateway = 1;\n"), "lockbridge.conf:1: gateway: "),
    "state-missing": (lambda b, c: os.rename(b.state, b.state + "-away"), "No such file"),
}


@pytest.mark.parametrize("code", sorted(WRONG))
def test_what_is_wrong_with_the_files_is_found(box, bus, city, code):
    spoil, words = WRONG[code]
    box.enrolled(city)
    spoil(box, city)
    said = diagnose(box, bus)
    assert words in said[code]["cause"]
    # one thing is wrong; with its folder a file goes, too
    assert set(said) - {code, "agent-absent"} <= ({"certificate-missing"} if code == "state-missing" else set())


def test_other_commands_say_the_same_of_an_agent_that_is_not_there(box, bus):
    for words in (["status"], ["locks"], ["test", "lock-1"], ["events", "--follow"]):
        said = box.run("--bus", bus, *words)
        assert said.status == 1 and said.out == ""
        assert "does not run" in said.err and "Next: systemctl" in said.err


def test_help_of_each_command(box):
    for word in ("request", "enrol", "diagnose"):
        said = subprocess.run([program("lockbridgectl"), word, "--help"], capture_output=True, text=True, timeout=20,
                              check=True)
        assert said.stdout.startswith(f"Usage: lockbridgectl {word}")
        assert box.run(word, "a", "b", "c").status == 2
