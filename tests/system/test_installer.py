# SPDX-License-Identifier: Apache-2.0
"""An installer at the door with a terminal at the box, a new lock, and a paper from the desk."""

import json
import os
import subprocess
import time

import pytest

import wire
from box import Box, unbase64url
from harness import Control, program, wait_for

# lock-1 obeys this city and is configured; new-* obey nobody; other-1 obeys another city.
LOCKS = ["lock-1", "new-1", "new-2", "new-3", "new-4", "new-5", "other-1"]
REMARK = "# the lock by the stairs; do not touch\n"


class Site(Box):
    """One gateway with one lock of its own among others on the air."""

    def __init__(self, **options):
        super().__init__({"gw-1": LOCKS}, **options)
        self.other_city = wire.City()
        self.controls = {}

    def start_locks(self):
        with open(self.path("other.pem"), "w") as f:
            f.write(self.other_city.root.public_pem())
        self.start_sim("ours", ["lock-1"], "root.pub.pem")
        self.start_sim("new", [lock for lock in LOCKS if lock.startswith("new")], None)
        self.start_sim("other", ["other-1"], "other.pem")
        self.lock_control = lambda line: self.controls[line.split()[0]](line)
        for lock in self.locks:
            self.addresses[lock] = self.bus_property(f"/org/bluez/{self.adapter(lock)}",
                                                     "org.bluez.Adapter1", "Address")

    def start_sim(self, name, locks, owner):
        argv = [program("lock-sim"), "--state", self.path("locks-" + name), "--control",
                self.path(name + ".sock"), "--motor", str(self.motor)]
        if self.lock_max:
            argv += ["--max", str(self.lock_max)]
        if owner:
            argv += ["--owner", self.path(owner)]
        for lock in locks:
            argv += ["--lock", f"{lock}={self.adapter(lock)}"]
        sim = self.spawn("locks-" + name, argv, "ready")
        for line in sim.output().splitlines():
            if line.startswith("{"):
                told = json.loads(line)
                self.keys[told["id"]] = told["key"]
        for lock in locks:
            self.controls[lock] = Control(self.path(name + ".sock"))

    def gateway_config(self, gw, **change):
        return REMARK + super().gateway_config(gw, locks=["lock-1"], **change)

    def settle(self, timeout=60):
        wait_for("lock-1 is current", lambda: (self.recorder.lock("gw-1", "lock-1") or {}).get("current"),
                 timeout)

    # --- papers -------------------------------------------------------------------------------------

    def claim(self, lock, city=None, iat=None):
        root = (city or self.city).root
        record = {1: 1, 2: root.kid, 3: -19, -1: 6, -2: root.public}
        return self.paper(lock + ".claim", root.sign(
            "lockbridge-claim+cwt",
            {wire.ISS: "city", wire.AUD: lock, wire.IAT: iat or int(time.time()), wire.ROOT_KEY: record}))

    def release(self, lock, city=None, iat=None):
        return self.paper(lock + ".release", (city or self.city).root.sign(
            "lockbridge-release+cwt",
            {wire.ISS: "city", wire.AUD: lock, wire.IAT: iat or int(time.time()) + 1}))

    def paper(self, name, document):
        path = self.path(name)
        with open(path, "wb") as f:
            f.write(document)
        return path

    # --- the installer ------------------------------------------------------------------------------

    def config(self):
        with open(self.path("gw-1.conf")) as f:
            return f.read()

    def lock(self, *words, timeout=150):
        return self.ctl("gw-1", "lock", *words, timeout=timeout)

    def scan(self):
        return {row["id"]: row for row in self.lock("scan", "--seconds", "3", "--json").ok().json if "id" in row}

    def obeys(self, lock):
        return self.lock_report(lock)["owned"]

    def claimed(self, lock, *words):
        """The button is pressed, and the claim goes through."""
        self.lock_control(lock + " button")
        return self.lock("claim", self.claim(lock), "--key", self.keys[lock], *words).ok()

    def wait_current(self, lock):
        wait_for(f"{lock} holds the city's documents",
                 lambda: (self.recorder.lock("gw-1", lock) or {}).get("current"), 40)

    def problems(self, lock):
        return [p["code"] for p in (self.recorder.lock("gw-1", lock) or {"problems": []})["problems"]]


@pytest.fixture(scope="module")
def site():
    with Site() as s:
        yield s.start()


def kid(city):
    return city.root.kid.hex()


# --- looking around ----------------------------------------------------------------------------------

def test_scan_shows_each_lock_its_key_and_whom_it_obeys(site):
    found = site.scan()
    assert set(found) == set(LOCKS)
    ours, new, other = found["lock-1"], found["new-1"], found["other-1"]
    assert (ours["configured"], ours["ours"], ours["owner"]) == (True, True, kid(site.city))
    assert (new["configured"], new["owner"], new["unowned"]) == (False, None, True)
    assert (other["configured"], other["ours"], other["owner"]) == (False, False, kid(site.other_city))
    for lock in LOCKS:
        assert found[lock]["key"] == site.keys[lock]
        assert found[lock]["address"] == site.addresses[lock]
        assert found[lock]["rssi"] == -60
    table = site.lock("scan", "--seconds", "2").ok().out
    assert "this city" in table and "nobody" in table and kid(site.other_city) in table


def test_a_scan_is_read_only(site):
    before = site.config()
    site.scan()
    assert site.config() == before
    assert not site.obeys("new-1")


# --- refusals: nothing is changed ---------------------------------------------------------------------

@pytest.fixture
def unchanged(site):
    before = site.config()
    yield
    assert site.config() == before
    assert [lock["id"] for lock in site.ctl("gw-1", "locks", "--json").json] == ["lock-1"]
    assert not site.obeys("new-1")


def test_another_key_than_the_printed_one_is_refused(site, unchanged):
    site.lock_control("new-1 button 100")
    said = site.lock("claim", site.claim("new-1"), "--key", site.keys["new-2"])
    assert said.status == 1
    assert "another key than the printed one" in said.err and site.keys["new-1"] in said.err
    assert "Nothing was changed" in said.err


def test_a_key_that_is_none_is_refused(site, unchanged):
    said = site.lock("claim", site.claim("new-1"), "--key", "abc")
    assert said.status == 1 and "44 characters" in said.err
    said = site.lock("claim", site.claim("new-1"))  # no terminal to ask at
    assert said.status == 2 and "--key" in said.err


def test_without_the_button_nothing_happens_and_it_says_so(site, unchanged):
    site.lock_control("new-1 button 100")  # long over
    said = site.lock("claim", site.claim("new-1"), "--key", site.keys["new-1"], "--seconds", "3")
    assert said.status == 1
    assert "Press the button of new-1" in said.err and "was not pressed in 3 seconds" in said.err


def test_a_lock_of_another_city_is_left_alone(site, unchanged):
    said = site.lock("claim", site.claim("other-1"), "--key", site.keys["other-1"])
    assert said.status == 1
    assert "another city" in said.err and kid(site.other_city) in said.err


def test_a_claim_of_another_root_is_refused_before_anything_is_asked(site, unchanged):
    said = site.lock("claim", site.claim("new-1", site.other_city), "--key", site.keys["new-1"])
    assert said.status == 1
    assert kid(site.other_city) in said.err and kid(site.city) in said.err


def test_a_lock_that_is_not_there_is_not_claimed(site, unchanged):
    site.radio_control(f"vanish {site.adapter('new-5')}")
    try:
        wait_for("it is forgotten", lambda: "new-5" not in site.scan(), 60)
        said = site.lock("claim", site.claim("new-5"), "--key", site.keys["new-5"])
    finally:
        site.radio_control(f"appear {site.adapter('new-5')}")
    assert said.status == 1 and "is not heard here" in said.err


@pytest.mark.parametrize("damage", ["cut", "flipped", "foreign", "empty", "missing"])
def test_a_paper_that_is_no_claim_is_refused(site, unchanged, damage):
    path = site.claim("new-1")
    with open(path, "rb") as f:
        paper = f.read()
    if damage == "missing":
        os.unlink(path)
    else:
        with open(path, "wb") as f:
            f.write({"cut": paper[:-1], "flipped": paper[:-1] + bytes([paper[-1] ^ 1]),
                     "foreign": site.city.keys(site.born), "empty": b""}[damage])
    said = site.lock("claim", path, "--key", site.keys["new-1"])
    assert said.status == 1 and path in said.err


@pytest.fixture
def edited(site):
    """The configuration as somebody edits it; put back afterwards."""
    before = site.config()

    def edit(old, new):
        assert old in before
        with open(site.path("gw-1.conf"), "w") as f:
            f.write(before.replace(old, new))
    yield edit
    with open(site.path("gw-1.conf"), "w") as f:
        f.write(before)


def test_a_configuration_with_a_mistake_is_told_and_left_as_it_is(site, edited):
    edited("backoff_min_ms", "backof_min_ms")
    before = site.config()
    said = site.lock("claim", site.claim("new-1"), "--key", site.keys["new-1"])
    assert said.status == 1
    assert "gw-1.conf:" in said.err and "backof_min_ms" in said.err
    assert site.config() == before and not site.obeys("new-1")


def test_a_configuration_that_the_agent_refuses_is_put_back(site, edited):
    """It can be read, but not without a restart: the lock that was added goes again."""
    edited(f'adapter = "{site.adapter("gw-1")}"', 'adapter = "hci99"')
    before = site.config()
    site.lock_control("new-5 button")
    said = site.lock("claim", site.claim("new-5"), "--key", site.keys["new-5"])
    assert said.status == 1 and "adapter" in said.err and "restart" in said.err
    assert site.config() == before and not site.obeys("new-5")
    assert os.stat(site.path("gw-1.conf")).st_mode & 0o777 == 0o644


def test_the_city_cannot_claim_over_the_network_for_another_root(site, unchanged):
    with open(site.claim("lock-1", site.other_city), "rb") as f:
        claim = f.read()
    site.recorder.publish("lockbridge/gw/gw-1/document", claim)
    event = wait_for("it is refused", lambda: [
        e for e in site.recorder.events("gw-1", "document.refused")
        if e["document"]["digest"] == wire.digest(claim).hex()], 20)[-1]
    assert (event["reason"], event["document"]["kind"]) == ("unknown-key", "claim")


def test_who_may_not_write_the_configuration_is_told_before_anything_happens(site, unchanged):
    if os.getuid() != 0:
        pytest.skip("needs root, to become somebody else")
    os.chmod(site.dir, 0o755)
    said = site.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", program("lockbridgectl"),
                     "--gateway", "gw-1", "lock", "claim", site.claim("new-1"), "--key", site.keys["new-1"]])
    assert said.status == 1
    assert "sudo" in said.err or "Cannot reach the system bus" in said.err


# --- the whole story ----------------------------------------------------------------------------------

def test_a_new_lock_is_claimed_and_works(site):
    paper = site.claim("new-2")
    claim = subprocess.Popen([program("lockbridgectl"), "--gateway", "gw-1", "lock", "claim", paper, "--key",
                              site.keys["new-2"]], env=site.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             text=True)
    said = ""
    for line in claim.stderr:
        said += line
        if "Press the button" in line:
            site.lock_control("new-2 button")
    out = claim.stdout.read()
    assert claim.wait(60) == 0, said + out
    assert f"new-2 now obeys root {kid(site.city)}" in out
    assert site.keys["new-2"] in out and "within 10 minutes" in out
    assert site.config().startswith(REMARK) and '"new-2"' in site.config()
    site.wait_current("new-2")
    assert site.unlock(lock="new-2")["outcome"] == "done"
    receipts = [wire.verify(unbase64url(e["receipt"]), wire_key(site, "new-2"))
                for e in site.recorder.events("gw-1", "lock.receipt") if e["lock"] == "new-2"]
    assert receipts[0][wire.RESULT]["outcome"] == "claimed"

    # again: there is nothing to do
    before, n = site.config(), site.lock_report("new-2")["n"]
    said = site.lock("claim", paper, "--key", site.keys["new-2"]).ok()
    assert "already" in said.out
    assert (site.config(), site.lock_report("new-2")["n"]) == (before, n)


def wire_key(site, lock):
    import base64
    return base64.b64decode(site.keys[lock])


def test_a_claim_that_comes_over_the_network_without_the_button_is_told_once(site):
    site.claimed("new-3")
    site.wait_current("new-3")
    with open(site.claim("new-3"), "rb") as f:
        claim = f.read()
    connections = site.lock_report("new-3")["connections"]
    site.recorder.publish("lockbridge/gw/gw-1/document", claim)
    wait_for("the lock's no is told", lambda: [
        e for e in site.recorder.events("gw-1", "document.refused")
        if e["document"]["digest"] == wire.digest(claim).hex() and e["reason"] == "try-later"], 20)
    time.sleep(4)  # where it was tried again every second before
    assert site.lock_report("new-3")["connections"] <= connections + 1


def test_the_button_again_undoes_the_claim_and_the_gateway_shows_it(site):
    site.claimed("new-1")
    site.wait_current("new-1")
    early = site.city.relayed("new-1", site.challenge("new-1"), 10, int(time.time()))
    site.lock_control("new-1 button")
    assert not site.obeys("new-1")
    wait_for("the gateway shows it", lambda: "lock-unowned" in site.problems("new-1"), 30)
    assert site.authorize(early, "new-1")[-1].get("outcome") != "done"
    # its button was pressed a moment ago, so the next claim needs no more
    said = site.lock("claim", site.claim("new-1"), "--key", site.keys["new-1"]).ok()
    assert "now obeys" in said.out
    site.wait_current("new-1")
    assert site.config().count('"new-1"') == 1


def test_a_released_lock_is_free_for_another_city_and_old_promises_are_dead(site):
    site.claimed("new-4")
    site.wait_current("new-4")
    assert site.unlock(lock="new-4")["outcome"] == "done"
    phone = wire.Key()
    promise = site.city.at_door("new-4", phone, 10, int(time.time()))
    said = site.lock("release", site.release("new-4")).ok()
    assert "new-4 is free" in said.out
    assert not site.obeys("new-4") and '"new-4"' not in site.config()
    assert site.config().startswith(REMARK)
    assert [e for e in site.recorder.events("gw-1", "lock.receipt") if e["lock"] == "new-4" and
            wire.claims(unbase64url(e["receipt"]))[wire.RESULT]["outcome"] == "released"]
    found = site.scan()["new-4"]
    assert (found["owner"], found["configured"]) == (None, False)

    # once more: it is not ours any more
    said = site.lock("release", site.release("new-4"))
    assert said.status == 1 and "none of the locks" in said.err

    # and ours again, under a new claim: what was promised before it opens nothing
    before = site.lock_report("new-4")["movements"]
    said = site.claimed("new-4", "--address", site.addresses["new-4"])
    assert f'address = "{site.addresses["new-4"]}"' in site.config()
    site.wait_current("new-4")
    time.sleep(1.1)  # the claim's second is over
    assert site.door(phone, promise, "new-4")["reason"] == "cut-off"
    assert site.lock_report("new-4")["movements"] == before


def test_a_release_that_is_not_the_owners_changes_nothing(site):
    before = site.config()
    said = site.lock("release", site.release("lock-1", site.other_city))
    assert said.status == 1 and "not by the root" in said.err
    said = site.lock("release", site.claim("lock-1"))
    assert said.status == 1 and "no release" in said.err
    assert site.config() == before and site.obeys("lock-1")


def test_a_lock_out_of_reach_is_not_released(site):
    before = site.config()
    site.radio_control(f"vanish {site.adapter('new-3')}")
    try:
        agent = site.process("gw-1")
        agent.stop()
        site.respawn(agent)
        wait_for("the agent answers", lambda: site.ctl("gw-1", "status").status in (0, 1)
                 and "not run" not in site.ctl("gw-1", "status").err)
        wait_for("it has heard lock-1", lambda: site.scan().get("lock-1"))
        said = site.lock("release", site.release("new-3"))
    finally:
        site.radio_control(f"appear {site.adapter('new-3')}")
    assert said.status == 1 and "out of reach" in said.err
    assert site.config() == before and site.obeys("new-3")


def test_a_lock_that_is_gone_is_taken_out(site):
    said = site.lock("remove", "new-2", "--json").ok().json
    assert said == {"lock": "new-2", "outcome": "removed"}
    assert '"new-2"' not in site.config() and site.obeys("new-2")
    said = site.lock("remove", "new-2")
    assert said.status == 1 and "new-2" in said.err


# --- rule 5 -------------------------------------------------------------------------------------------

def test_an_unlock_goes_first_while_somebody_looks_around(site):
    """The scan has nothing in its memory: it must connect to each lock that is not configured."""
    for lock in ("other-1", "new-5"):
        site.lock_control(f"{lock} hand unlock")
    scan = subprocess.Popen([program("lockbridgectl"), "--gateway", "gw-1", "lock", "scan", "--seconds", "8",
                             "--json"], env=site.env, stdout=subprocess.PIPE, text=True)
    for _ in range(3):
        started = time.monotonic()
        assert site.unlock()["outcome"] == "done"
        assert time.monotonic() - started < 8
    out, _ = scan.communicate(timeout=60)
    assert scan.returncode == 0
    assert {"lock-1", "other-1"} <= {row.get("id") for row in json.loads(out)}


def test_two_scans_at_once_are_one_too_many(site):
    scans = [subprocess.Popen([program("lockbridgectl"), "--gateway", "gw-1", "lock", "scan", "--seconds", "60",
                               "--json"], env=site.env, stdout=subprocess.PIPE, text=True) for _ in "12"]
    try:
        turned_away = wait_for("one is turned away", lambda: [s for s in scans if s.poll() is not None])[0]
        assert turned_away.returncode == 1 and "busy" in json.loads(turned_away.stdout.read())["error"]
    finally:
        for scan in scans:
            scan.kill()
            scan.wait()
    # who left takes the question along
    wait_for("the next is served", lambda: site.lock("scan", "--seconds", "1").status == 0, 10)


def test_an_interrupted_claim_leaves_nothing_behind(site):
    before = site.config()
    site.lock_control("new-5 button 100")  # long over
    claim = subprocess.Popen([program("lockbridgectl"), "--gateway", "gw-1", "lock", "claim", site.claim("new-5"),
                              "--key", site.keys["new-5"]], env=site.env, stderr=subprocess.PIPE, text=True)
    for line in claim.stderr:
        if "Press the button" in line:
            claim.terminate()
            break
    assert "Interrupted" in claim.stderr.read()
    assert claim.wait(20) == 1
    assert site.config() == before and not site.obeys("new-5")
    assert site.scan()["new-5"]["owner"] is None


@pytest.mark.parametrize("moment", ["Looking for", "The button was pressed", "Claiming"])
def test_a_claim_that_was_killed_is_finished_by_the_next(site, moment):
    """A terminal that was closed, at each step: there is no state that the same command does not mend."""
    site.lock_control("new-5 button")
    claim = subprocess.Popen([program("lockbridgectl"), "--gateway", "gw-1", "lock", "claim", site.claim("new-5"),
                              "--key", site.keys["new-5"]], env=site.env, stderr=subprocess.PIPE, text=True)
    for line in claim.stderr:
        if moment in line:
            claim.kill()
    claim.wait(20)
    if not site.obeys("new-5"):
        site.lock_control("new-5 button")
    site.lock("claim", site.claim("new-5"), "--key", site.keys["new-5"]).ok()
    assert site.obeys("new-5") and site.config().count('"new-5"') == 1
    site.wait_current("new-5")
    site.lock("release", site.release("new-5")).ok()


def test_without_an_agent_it_says_so():
    with Site() as s:
        s.start_bus()
        said = s.lock("scan")
        assert said.status == 1 and "does not run" in said.err
        assert s.lock("scan", "--json").json["error"].startswith("The lockbridge agent does not run")


@pytest.mark.parametrize("words", [[], ["frobnicate"], ["scan", "x"], ["claim"], ["scan", "--seconds", "0"],
                                   ["scan", "--seconds", "61"], ["release", "f", "--key", "k"]])
def test_wrong_usage_is_2(site, words):
    assert site.lock(*words).status == 2
