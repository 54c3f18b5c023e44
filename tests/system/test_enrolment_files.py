# SPDX-License-Identifier: Apache-2.0
"""Enrolment at the box: what it refuses, that a refusal changes nothing, and what an interruption leaves."""

import errno
import os
import re
import shutil
import stat
import subprocess
import tempfile
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

import pki
from enrolment import LOCK_KEY, City, Folders, encode
from harness import program


@pytest.fixture(scope="module")
def city():
    return City()


@pytest.fixture(scope="module")
def other():
    return City("Other city")


@pytest.fixture
def box(tmp_path):
    return Folders(tmp_path)


def private(city):
    return city.root.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                   serialization.NoEncryption()).decode()


# --- the request ------------------------------------------------------------------------------------


def test_a_request_is_signed_by_a_key_that_is_made_once(box):
    first = box.request().ok()
    assert "Made this box's key" in first.err and "gateway add gw-17" in first.err
    assert stat.S_IMODE(os.stat(box.key()).st_mode) == 0o600
    assert sorted(os.listdir(box.etc)) == ["gateway.key"]
    request = x509.load_pem_x509_csr(first.out.encode())
    assert request.is_signature_valid
    assert request.subject == pki.name("gw-17")
    with open(box.key(), "rb") as f:
        key = f.read()
    again = box.run("request", "gw-18", "--etc", box.etc, "--out", box.path("r.csr")).ok()
    assert again.out == "" and "Made" not in again.err
    with open(box.key(), "rb") as f:
        assert f.read() == key
    with open(box.path("r.csr"), "rb") as f:
        later = x509.load_pem_x509_csr(f.read())
    assert later.subject == pki.name("gw-18")
    assert later.public_key().public_numbers() == request.public_key().public_numbers()
    assert b"PRIVATE" not in first.out.encode()


def test_two_requests_at_once_make_one_key(box):
    said = []
    callers = [threading.Thread(target=lambda: said.append(box.request())) for _ in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    keys = {x509.load_pem_x509_csr(a.out.encode()).public_key().public_numbers() for a in said if a.status == 0}
    assert len(keys) == 1
    # who came too late to write failed aloud, and finds the key the next time
    assert all(a.status == 0 or "Next:" in a.err for a in said)
    assert box.request().status == 0


@pytest.mark.parametrize("gateway", ["", "GW-1", "a b", "../x", "a" * 33])
def test_an_id_that_is_none_is_refused(box, gateway):
    said = box.request(gateway)
    assert said.status == 2 and "1 to 32 of a-z" in said.err
    assert os.listdir(box.etc) == []


def spoil_mode(box):
    os.chmod(box.key(), 0o640)
    return "can be read by others", "chmod 600"


def spoil_owner(box):
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(box.key(), 12345, 12345)
    return "belongs to user 12345", "chown root:root"


def spoil_text(box):
    with open(box.key(), "w", encoding="ascii") as f:
        f.write("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    return "holds no private key", "remove it"


def spoil_link(box):
    os.rename(box.key(), box.path("elsewhere.key"))
    os.symlink(box.path("elsewhere.key"), box.key())
    return "symbolic link", "put the file itself there"


def spoil_kind(box):
    os.remove(box.key())
    os.mkfifo(box.key(), 0o600)
    return "no ordinary file", "take it away"


SPOILT_KEYS = [spoil_mode, spoil_owner, spoil_text, spoil_link, spoil_kind]


@pytest.mark.parametrize("spoil", SPOILT_KEYS, ids=lambda f: f.__name__)
def test_a_key_that_others_had_or_that_is_none_is_refused(box, city, spoil):
    told = city.answer(box.request().ok().out)
    words = spoil(box)
    before = box.snapshot()
    for said in (box.request(), box.enrol(told)):
        assert said.status == 1 and said.out == ""
        for word in words:
            assert word in said.err
        assert box.snapshot() == before


# --- what is refused --------------------------------------------------------------------------------


def flipped(text):
    at = text.index("mqtt.city") + 3
    return text[:at] + "x" + text[at + 1:]


# name: what to give, as (city, other, request) -> told; further words for enrol; what must be said
BAD = {
    "damaged": (lambda c, o, r: flipped(encode(c.answer(r))), [], ["damaged", "anew"]),
    "cut": (lambda c, o, r: encode(c.answer(r))[:-60], [], ["damaged in line", "cut off", "anew"]),
    "foreign": (lambda c, o, r: '{"gateway": "gw-17"}', [], ["no enrolment file", "city's desk"]),
    "no JSON": (lambda c, o, r: c.root_pem, [], ["no enrolment file"]),
    "empty": (lambda c, o, r: "", [], ["no enrolment file"]),
    "too large": (lambda c, o, r: " " * 200000, [], ["larger than"]),
    "later version": (lambda c, o, r: c.answer(r, **{"lockbridge-enrolment": 2}), [],
                      ["version 2", "install the newer lockbridge"]),
    "wrong shape": (lambda c, o, r: c.answer(r, brokers=[{"host": "b"}]), [], ["brokers[0].port"]),
    "other id": (lambda c, o, r: c.answer(r, name="gw-18"), [], ['is for "gw-18", not for "gw-17"', "anew"]),
    "authority's": (lambda c, o, r: c.answer(r, certificate=c.authority.pem), [], ["is an authority's"]),
    "no certificate": (lambda c, o, r: c.answer(r, certificate=c.root_pem), [], ["certificate cannot be read"]),
    "another box's": (lambda c, o, r: c.answer(stranger()), [],
                      ["another box's request", "lockbridgectl request on this box"]),
    "another root": (lambda c, o, r: c.answer(r), ["--root", "0123456789abcdef"],
                     ["not 0123456789abcdef", "do not use this file"]),
    "root is no key": (lambda c, o, r: c.answer(r, root_key=c.authority.pem), [], ["no Ed25519 public key"]),
    "root is private": (lambda c, o, r: c.answer(r, root_key=private(c)), [], ["destroy this file"]),
    "CA is none": (lambda c, o, r: c.answer(r, broker_ca=c.root_pem), [], ["broker's authority", "anew"]),
    "second CA is none": (lambda c, o, r: c.answer(r, broker_ca=c.authority.pem + c.authority.pem[:80]), [],
                          ["broker's authority", "anew"]),
    "CA expired": (lambda c, o, r: c.answer(r, broker_ca=past(c)), [], ["broker's authority ended"]),
    "expired": (lambda c, o, r: c.answer(r, since=-90, until=-1), [],
                ["the certificate ended at", "this box's clock says", "timedatectl"]),
    "clock behind": (lambda c, o, r: c.answer(r, issued=4000000000), [],
                     ["this box's clock says", "set the clock first: timedatectl"]),
    "not yet": (lambda c, o, r: c.answer(r, since=2.0), [],
                ["this box's clock says", "only begins", "timedatectl"]),
    "same lock twice": (lambda c, o, r: c.answer(r, locks=[{"id": "l", "key": LOCK_KEY}] * 2), [],
                        ["locks[1].id", "ask the desk for a new file"]),
    "root topic": (lambda c, o, r: c.answer(r, root_topic="a/#"), [], ["root_topic"]),
}


def stranger():
    made = subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                           "-keyout", "/dev/null", "-subj", "/CN=gw-17"], capture_output=True, check=True)
    return made.stdout.decode()


def past(city):
    a = city.authority
    return pki.pem(a._sign(a.name, a.key.public_key(), -400, -1, ca=True))  # pylint: disable=protected-access


@pytest.mark.parametrize("again", [False, True], ids=["new", "enrolled"])
@pytest.mark.parametrize("bad", sorted(BAD))
def test_what_is_wrong_is_said_and_changes_nothing(box, city, other, bad, again):
    make, words, wanted = BAD[bad]
    request = box.request().ok().out
    if again:
        box.enrolled(city)
    before = box.snapshot()
    said = box.enrol(make(city, other, request), *words, *(["--replace"] if again else []))
    assert said.status == 1, said.out
    for word in wanted:
        assert word in said.err
    assert re.search(r"^Next: .", said.err, re.M)
    assert box.snapshot() == before


def test_a_file_that_is_not_there_is_named(box):
    box.request().ok()
    before = box.snapshot()
    said = box.run("enrol", box.path("none"), *box.options)
    assert said.status == 1 and "none: No such file" in said.err and "Next: " in said.err
    assert box.snapshot() == before


def test_a_box_without_a_key_asks_for_a_request_first(box, city):
    said = box.enrol(city.answer(stranger()))
    assert said.status == 1
    assert "this box has no key" in said.err and "lockbridgectl request gw-17" in said.err
    assert os.listdir(box.etc) == [] and os.listdir(box.state) == []


def test_who_is_not_root_is_sent_to_sudo(box, city):
    if os.geteuid() != 0:
        pytest.skip("needs root to become nobody")
    where = tempfile.mkdtemp(prefix="lockbridge-")
    copy, told = os.path.join(where, "lockbridgectl"), os.path.join(where, "file")
    shutil.copy(program("lockbridgectl"), copy)
    shutil.copy(box.put(city.answer(box.request().ok().out)), told)
    shutil.copytree(box.etc, os.path.join(where, "etc"))
    for path, mode in ((copy, 0o755), (told, 0o644), (where, 0o755)):
        os.chmod(path, mode)

    def as_nobody(*words):
        return subprocess.run([copy, *words], user=65534, group=65534, extra_groups=[], capture_output=True,
                              timeout=20, text=True, check=False)

    said = as_nobody("enrol", told)
    assert said.returncode == 1 and "sudo lockbridgectl enrol" in said.stderr
    said = as_nobody("request", "gw-17", "--etc", os.path.join(where, "etc"))
    assert said.returncode == 1 and "run it as root" in said.stderr and said.stdout == ""
    shutil.rmtree(where)


# --- what is installed ------------------------------------------------------------------------------


def test_everything_gets_its_place_and_mode(box, city):
    told = box.enrolled(city, "gw-17", "--root", city.kid.upper())
    modes = {os.path.relpath(path, box.dir): stat.S_IMODE(mode)
             for path, (_, mode, _, _, _) in box.snapshot().items() if stat.S_ISREG(mode)}
    assert modes == {"etc/gateway.key": 0o600, "etc/lockbridge.conf": 0o644, "etc/root.pub.pem": 0o644,
                     "etc/broker-ca.pem": 0o644, "state/gateway.pem": 0o600, "state/enrolment": 0o600}
    assert box.holds(told)
    with open(box.conf(), encoding="ascii") as f:
        conf = f.read()
    assert 'gateway = "gw-17";' in conf and 'key = "gateway.key";' in conf and LOCK_KEY in conf
    assert f"enrolled = {told['issued']};" in conf


def test_what_is_shown_is_what_is_to_be_compared(box, city):
    said = box.enrol(city.answer(box.request().ok().out)).ok()
    assert re.search(rf"^Root key +{city.kid} .*compare", said.out, re.M)
    assert "mqtt.city.example:8883" in said.out and "until 20" in said.out


def test_the_owner_is_the_states(box, city):
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(box.state, 12345, 12346)
    box.enrolled(city)
    for name in ("gateway.pem", "enrolment"):
        st = os.stat(os.path.join(box.state, name))
        assert (st.st_uid, st.st_gid) == (12345, 12346)
    assert os.stat(box.conf()).st_uid == 0


def test_the_same_file_again_is_no_error_and_changes_nothing(box, city):
    told = box.enrolled(city)
    before = box.snapshot()
    said = box.enrol(told).ok()
    assert "Enrolled already" in said.out
    assert box.snapshot() == before


def test_an_enrolled_box_is_not_enrolled_over(box, city, other):
    box.enrolled(city)
    before = box.snapshot()
    for told in (city.answer(box.request().out), other.answer(box.request("gw-3").out, "gw-3")):
        said = box.enrol(told)
        assert said.status == 1 and 'enrolled already, as "gw-17"' in said.err and "--replace" in said.err
        assert box.snapshot() == before


def read(*path):
    with open(os.path.join(*path), "rb") as f:
        return f.read()


def edit(box, old, new):
    with open(box.conf(), encoding="utf-8") as f:
        text = f.read()
    assert old in text
    with open(box.conf(), "w", encoding="utf-8") as f:
        f.write(text.replace(old, new))


def test_enrolled_again_it_keeps_what_is_the_boxs_own(box, city):
    box.enrolled(city)
    with open(os.path.join(box.state, "store.db"), "wb") as f:
        f.write(b"what must not be forgotten")
    edit(box, f'key = "{LOCK_KEY}"; }}', f'key = "{LOCK_KEY}"; address = "C0:FF:EE:00:00:01"; }},\n'
         '  { id = "claimed-here"; key = "PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw="; }')
    edit(box, "state_dir", 'adapter = "hci1"; log_level = "debug"; links_max = 3; # mine\nstate_dir')
    former = read(box.conf())
    told = city.answer(box.request().out, brokers=[{"host": "new.example", "port": 1}])
    box.enrol(told, "--replace").ok()
    assert box.holds(told)
    conf = read(box.conf()).decode()
    for word in ('adapter = "hci1"', 'log_level = "debug"', "links_max = 3", "C0:FF:EE:00:00:01", "claimed-here",
                 "new.example"):
        assert word in conf
    assert read(box.etc, "lockbridge.conf.old") == former
    assert read(box.state, "store.db") == b"what must not be forgotten"
    assert os.path.exists(os.path.join(box.state, "gateway.pem.replaced"))


@pytest.mark.parametrize("who", ["another gateway", "another city"])
def test_another_enrolment_begins_with_an_empty_store(box, city, other, who):
    box.enrolled(city)
    for name in ("store.db", "store.db-wal"):
        with open(os.path.join(box.state, name), "w", encoding="ascii") as f:
            f.write(name)
    edit(box, "state_dir", 'adapter = "hci1";\nstate_dir')
    edit(box, "locks = (", 'locks = ( { id = "theirs"; key = "PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw="; },')
    told = (city.answer(box.request("gw-3").out, "gw-3") if who == "another gateway"
            else other.answer(box.request().out))
    said = box.enrol(told, "--replace").ok()
    aside = [name for name in os.listdir(box.state) if name.startswith("store.db")]
    kept = next(name for name in aside if not name.endswith("-wal"))
    assert re.fullmatch(r"store\.db\.replaced-\d+", kept) and sorted(aside) == [kept, kept + "-wal"]
    assert kept in said.out
    assert read(box.state, kept) == b"store.db" and read(box.state, kept + "-wal") == b"store.db-wal"
    conf = read(box.conf()).decode()
    assert "hci1" in conf and "theirs" not in conf
    assert box.holds(told)
    # and again as the same: now it is this one's
    with open(os.path.join(box.state, "store.db"), "w", encoding="ascii") as f:
        f.write("mine")
    again = (city if who == "another gateway" else other).answer(box.request(told["gateway"]).out, told["gateway"])
    box.enrol(again, "--replace").ok()
    assert read(box.state, "store.db") == b"mine"


def test_a_store_that_nobody_vouches_for_is_not_taken_over(box, city):
    with open(os.path.join(box.state, "store.db"), "w", encoding="ascii") as f:
        f.write("whose?")
    box.enrolled(city)
    assert not os.path.exists(os.path.join(box.state, "store.db"))
    assert len([n for n in os.listdir(box.state) if n.startswith("store.db.replaced-")]) == 1


def test_a_configuration_that_cannot_be_read_is_kept_and_said(box, city):
    box.enrolled(city)
    with open(box.conf(), "a", encoding="ascii") as f:
        f.write("nonsense")
    former = read(box.conf())
    said = box.enrol(city.answer(box.request().out), "--replace").ok()
    assert "Nothing of the former configuration is taken over" in said.out
    assert read(box.etc, "lockbridge.conf.old") == former


def test_a_renewal_under_way_ends_with_an_enrolment(box, city):
    box.enrolled(city)
    for name in ("gateway.pem.old", "gateway.pem.new"):
        with open(os.path.join(box.state, name), "w", encoding="ascii") as f:
            f.write("renewal")
    box.enrol(city.answer(box.request().out), "--replace").ok()
    assert not [n for n in os.listdir(box.state) if n in ("gateway.pem.old", "gateway.pem.new")]


# --- disk and power ---------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path):
    """A small file system of its own."""
    where = tmp_path / "disk"
    where.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,nr_inodes=64", "none", str(where)],
                                           capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system can be mounted here")
    yield str(where)
    subprocess.run(["umount", "-l", str(where)], check=True)


def fill(path, free):
    """All but so many bytes of the file system that path is to be in."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        while True:
            os.write(fd, bytes(4096))
    except OSError as full:
        assert full.errno == errno.ENOSPC
    os.ftruncate(fd, max(0, os.fstat(fd).st_size - free))
    os.close(fd)


@pytest.mark.parametrize("again", [False, True], ids=["new", "enrolled"])
def test_a_full_disk_leaves_everything_as_it_was(disk, tmp_path, city, other, again):
    box = Folders(os.path.join(disk, "box"))
    told = box.enrolled(city) if again else None
    request = box.request("gw-3").ok().out
    box.dir = str(tmp_path)  # the file itself lies elsewhere
    new = other.answer(request, "gw-3", broker_ca=other.authority.pem * 8)
    full = os.path.join(disk, "full")
    refused = 0
    for free in range(0, 64 * 1024, 4096):
        fill(full, free)
        before = box.snapshot()
        said = box.enrol(new, "--replace")
        if said.status == 0:
            break
        refused += 1
        assert "No space left on device" in said.err and "make room" in said.err
        assert box.snapshot() == before
    assert refused >= 3 and said.status == 0
    assert box.holds(new)
    assert told is None or read(box.etc, "lockbridge.conf.old")


KILLER = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/types.h>
#include <sys/stat.h>
static void step(void)
{
	static int n;
	const char *at = getenv("KILL_AT");
	if (at && ++n == atoi(at))
		kill(getpid(), SIGKILL);
}
#define WRAP(type, name, params, args) \
	type name params { static type (*real) params; if (!real) real = dlsym(RTLD_NEXT, #name); step(); return real args; }
WRAP(int, rename, (const char *a, const char *b), (a, b))
WRAP(int, link, (const char *a, const char *b), (a, b))
WRAP(int, unlink, (const char *a), (a))
WRAP(int, fsync, (int fd), (fd))
WRAP(int, fchown, (int fd, uid_t u, gid_t g), (fd, u, g))
WRAP(int, fchmod, (int fd, mode_t m), (fd, m))
WRAP(ssize_t, write, (int fd, const void *p, size_t n), (fd, p, n))
"""


@pytest.fixture(scope="module")
def killer(tmp_path_factory):
    where = tmp_path_factory.mktemp("killer")
    (where / "killer.c").write_text(KILLER)
    library = str(where / "killer.so")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, str(where / "killer.c"), "-ldl"], check=True)
    return library


def killed_at(box, killer, at, *words):
    box.env = dict(os.environ, LD_PRELOAD=killer, KILL_AT=str(at),
                   ASAN_OPTIONS="verify_asan_link_order=0:" + os.environ.get("ASAN_OPTIONS", ""))
    said = box.run(*words)
    box.env = dict(os.environ)
    return said


@pytest.mark.parametrize("case", ["new", "the same", "another"])
def test_killed_at_any_step_it_goes_on_from_there(tmp_path, city, other, killer, case):
    kills = 0
    for at in range(1, 200):
        box = Folders(tmp_path / str(at))
        gateway = "gw-3" if case == "another" else "gw-17"
        if case != "new":
            box.enrolled(city)
            edit(box, "state_dir", 'adapter = "hci1";\nstate_dir')
            with open(os.path.join(box.state, "store.db"), "w", encoding="ascii") as f:
                f.write("store")
        former = read(box.conf()) if case != "new" else b""
        told = (other if case == "another" else city).answer(box.request(gateway).ok().out, gateway)
        file = box.put(told)
        words = ["enrol", file, *([] if case == "new" else ["--replace"]), *box.options]
        said = killed_at(box, killer, at, *words)
        if said.status == 0:
            break
        assert said.status == -9, said.err
        kills += 1
        # the former configuration with what it names, the new one with all of its own, or none
        now = read(box.conf()) if os.path.exists(box.conf()) else b""
        assert now in (b"", former) or box.holds(told)
        if now == former and case == "another":
            assert read(box.state, "store.db") == b"store"
            assert box.run("check-config", box.conf()).status == 0
        box.run(*words).ok()
        assert box.holds(told)
        kept = [n for n in os.listdir(box.state) if n.startswith("store.db")]
        if case == "the same":
            assert kept == ["store.db"]
        elif case == "another":
            assert len(kept) == 1 and kept[0].startswith("store.db.replaced-")
        assert case == "new" or b"hci1" in read(box.conf())
    assert kills > 20


def test_killed_while_it_makes_the_key_it_has_one_or_none(tmp_path, killer):
    kills = 0
    for at in range(1, 40):
        box = Folders(tmp_path / str(at))
        said = killed_at(box, killer, at, "request", "gw-17", "--etc", box.etc)
        if said.status == 0:
            break
        kills += 1
        key = read(box.key()) if os.path.exists(box.key()) else None
        box.request().ok()
        assert key is None or read(box.key()) == key
        assert box.request().ok().out
    assert kills >= 4
