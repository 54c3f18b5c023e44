# SPDX-License-Identifier: Apache-2.0
"""What is wrong with an enrolment leaves the box as it was; what is right has its owners and modes.

What a file says is tried in tests/system; here is what takes root, real users and full disks.
"""

import pytest
from city import City, wait_connected
from container import Container, wait_for

ETC, STATE = "/etc/lockbridge", "/var/lib/lockbridge"


def everything(container):
    """All that enrolment may touch: owners, modes and contents, and whether the service is the same."""
    return (container.sh(f"find {ETC} {STATE} -not -name 'store.db*' -printf '%p %M %u %g\\n' | sort; "
                         f"find {ETC} {STATE} -type f -not -name 'store.db*' | sort | xargs -r sha256sum").out,
            container.main_pid(), container.run("systemctl", "is-enabled", "lockbridge").out)


@pytest.fixture(scope="module")
def asked(box, city):
    """The box has made its key, and the desk its enrolment file."""
    return city.enrolment("gw-17")


def refused(box, *words, **how):
    """Enrolment says no, and nothing has changed; what it said."""
    before = everything(box)
    answer = box.run("lockbridgectl", "enrol", *words, **how)
    assert answer.status == 1, answer.out + answer.err
    assert everything(box) == before
    assert "not enrolled" in box.status()
    return answer.err


def test_the_key_is_made_on_the_box_for_root_alone(box, asked):
    assert box.sh(f"stat -c '%a %U:%G' {ETC}/gateway.key").out == "600 root:root\n"
    assert box.read(f"{ETC}/gateway.key").startswith("-----BEGIN PRIVATE KEY-----")
    assert "PRIVATE" not in box.read("/root/request.pem") + box.read(asked)
    first = box.read(f"{ETC}/gateway.key")
    box.run("lockbridgectl", "request", "gw-17").ok()
    assert box.read(f"{ETC}/gateway.key") == first


def test_nobody_but_root_enrols(box, asked):
    box.run("useradd", "anna").ok()
    box.sh(f"install -m 644 {asked} /tmp/enrolment.json").ok()
    assert "sudo" in refused(box, "/tmp/enrolment.json", user="anna")


def test_a_damaged_file_is_refused(box, asked):
    text = box.read(asked)
    box.write("/root/damaged.json", text.replace("localhost", "localhast", 1))
    said = refused(box, "/root/damaged.json")
    assert "checksum" in said or "damaged" in said
    box.write("/root/half.json", text[:len(text) // 2])
    refused(box, "/root/half.json")
    assert "/root/absent.json" in refused(box, "/root/absent.json")


def test_a_file_for_another_box_is_refused(box, city, asked):
    """Its certificate is for another key."""
    box.sh("cd /root && openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout other.key "
           "-subj /CN=gw-99 -out other.pem").ok()
    city.desk("gateway", "add", "gw-99", "--request", "/root/other.pem", "--out", "/root/other.json").ok()
    assert "key" in refused(box, "/root/other.json")


def test_a_key_that_others_can_read_is_refused(box, asked):
    box.run("chmod", "644", f"{ETC}/gateway.key").ok()
    try:
        said = refused(box, asked)
    finally:
        box.run("chmod", "600", f"{ETC}/gateway.key").ok()
    assert "gateway.key" in said and ("chmod" in said or "mode" in said)


def test_a_clock_before_the_file_is_refused(box, asked):
    before = everything(box)
    answer = box.run("faketime", "2024-01-01 00:00:00", "lockbridgectl", "enrol", asked)
    assert answer.status == 1 and "clock" in answer.err and "2024" in answer.err
    assert everything(box) == before


@pytest.mark.parametrize("folder,left", [(ETC, 0), (ETC, 1), (STATE, 0)])
def test_on_a_full_disk_nothing_is_half_installed(installed, folder, left):
    """A file system of its own for one of the two folders, with as many pages left."""
    with Container([installed]) as box:
        box.boot()
        file = City(box).enrolment("gw-17")
        box.run("systemctl", "stop", "lockbridge").ok()
        box.sh(f"mkdir /root/aside && cp -a {folder}/. /root/aside/ && mount -t tmpfs -o size=256k tmpfs {folder} && "
               f"cp -a /root/aside/. {folder}/").ok()
        box.run("systemctl", "start", "lockbridge").ok()
        # full to the last page, then as many given back
        box.sh(f"cat /dev/zero >{folder}/ballast; truncate -s -{left * 4096} {folder}/ballast")
        said = refused(box, file)
        assert folder in said and "No space left" in said
        box.run("rm", f"{folder}/ballast").ok()
        box.run("lockbridgectl", "enrol", file).ok()
        wait_connected(box)


def test_accepted_everything_has_its_owner_and_mode(box, asked):
    box.run("lockbridgectl", "enrol", asked).ok()
    wait_connected(box)
    now = {line.split()[0]: " ".join(line.split()[1:]) for line in
           box.sh(f"find {ETC} {STATE} -printf '%p %m %u:%g\\n'").out.splitlines()}
    stores = {path: facts for path, facts in now.items() if path.startswith(f"{STATE}/store.db")}
    assert f"{STATE}/store.db" in stores and set(stores.values()) == {"600 lockbridge:lockbridge"}
    assert {path: facts for path, facts in now.items() if path not in stores} == {
        ETC: "755 root:root",
        f"{ETC}/gateway.key": "600 root:root",
        f"{ETC}/lockbridge.conf": "644 root:root",
        f"{ETC}/root.pub.pem": "644 root:root",
        f"{ETC}/broker-ca.pem": "644 root:root",
        STATE: "700 lockbridge:lockbridge",
        f"{STATE}/enrolment": "600 lockbridge:lockbridge",
        f"{STATE}/gateway.pem": "600 lockbridge:lockbridge",
    }
    assert "as gw-17 (p5, c0, k30, u'gw-17')" in box.read("/var/log/mosquitto/mosquitto.log")


def test_revoked_it_is_out_and_says_so(box, city):
    city.desk("gateway", "revoke", "gw-17").ok()
    box.run("systemctl", "reload", "mosquitto").ok()
    box.run("systemctl", "restart", "lockbridge").ok()
    wait_for("it says that the broker does not let it in", lambda: "broker connected" not in box.status()
             and "broker-unreachable" in box.run("lockbridgectl", "diagnose").out)
    assert "as gw-17" not in box.read("/var/log/mosquitto/mosquitto.log").split("Reloading config")[-1]
