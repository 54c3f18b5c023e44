# SPDX-License-Identifier: Apache-2.0
"""Enrolment under the real systemd: users, modes, credentials, the service's start, and what diagnose says
of a service that does not run."""

import re

import pytest
from city import wait_connected

DROP_IN = "/run/systemd/system/lockbridge.service.d/test.conf"


def said(answer):
    return answer.out + answer.err


def problems(container, **how):
    return {p["code"]: p for p in container.run("lockbridgectl", "--json", "diagnose", **how).json}


def test_before_it_everybody_is_told_what_to_do(box):
    box.wait_active()
    told = box.run("lockbridgectl", "diagnose")
    assert told.status == 1 and "This box is not enrolled" in told.out and "lockbridgectl request" in told.out
    assert set(problems(box)) == {"not-enrolled"}
    told = box.run("lockbridgectl", "status")
    assert told.status == 1 and "This box is not enrolled" in told.err and "Next: lockbridgectl request" in told.err
    # without rights the next step is the same
    told = box.run("lockbridgectl", "status", user="daemon")
    assert told.status == 1 and "This box is not enrolled" in told.err


def test_a_user_is_sent_to_sudo(box):
    told = box.run("lockbridgectl", "request", "gw-17", user="daemon")
    assert told.status == 1 and told.out == "" and "run it as root" in told.err
    told = box.run("lockbridgectl", "enrol", "/etc/hostname", user="daemon")
    assert told.status == 1 and "sudo lockbridgectl enrol" in told.err


def test_three_commands_make_a_gateway(box, city):
    told = city.enrol("gw-17")
    assert told.status == 0, said(told)
    assert "Online: connected to localhost." in told.out
    kid = re.search(r"^Root key +([0-9a-f]{16})", told.out, re.M)[1]
    assert kid in city.desk("keys", "show").ok().out
    assert box.run("systemctl", "is-enabled", "lockbridge").out == "enabled\n"
    facts = box.files()
    for name in ("gateway.pem", "enrolment", "store.db"):
        assert facts["/var/lib/lockbridge/" + name] == ("-rw-------", "lockbridge", "lockbridge")
    assert facts["/etc/lockbridge/gateway.key"] == ("-rw-------", "root", "root")
    for name in ("lockbridge.conf", "root.pub.pem", "broker-ca.pem"):
        assert facts["/etc/lockbridge/" + name] == ("-rw-r--r--", "root", "root")


def test_the_same_file_again_is_no_error(box, city):
    pid = box.main_pid()
    told = box.run("lockbridgectl", "enrol", "/root/enrolment.json").ok()
    assert "Enrolled already" in told.out and "Online:" in told.out
    assert box.main_pid() != pid


def test_a_start_that_fails_is_told_in_the_services_own_words(box, city):
    box.write(DROP_IN, "[Service]\nLoadCredential=\n")
    box.run("systemctl", "daemon-reload").ok()
    told = box.run("lockbridgectl", "enrol", "/root/enrolment.json")
    assert told.status == 1
    assert "The box is enrolled, but:" in told.err
    assert "lockbridge.conf:" in told.err and "brokers[0].key" in told.err
    assert re.search("^Next: ", told.err, re.M)
    found = problems(box)
    assert set(found) == {"agent-absent"} and "brokers[0].key" in found["agent-absent"]["cause"]
    box.run("rm", DROP_IN)
    box.run("systemctl", "daemon-reload").ok()
    box.run("lockbridgectl", "enrol", "/root/enrolment.json").ok()
    wait_connected(box)


def test_without_a_broker_it_is_enrolled_and_says_what_lacks(box, city):
    box.run("systemctl", "stop", "mosquitto").ok()
    told = box.run("lockbridgectl", "enrol", "/root/enrolment.json")
    box.run("systemctl", "start", "mosquitto").ok()
    assert told.status == 1
    assert "it is not connected to the broker: " in told.err and "lockbridgectl diagnose" in told.err
    wait_connected(box)


STATES = {
    "stopped": ("systemctl stop lockbridge", "agent-absent", "somebody stopped it", "systemctl start lockbridge"),
    "disabled": ("systemctl disable --now lockbridge", "agent-absent", "not started at boot",
                 "systemctl enable --now lockbridge"),
    "masked": ("systemctl mask --now --runtime lockbridge", "agent-absent", "is masked", "systemctl unmask"),
    "refused": ("echo nonsense >>/etc/lockbridge/lockbridge.conf; systemctl restart lockbridge", "agent-absent",
                "lockbridge.conf:", "mend that"),
    "killed": ("mkdir -p /run/systemd/system/lockbridge.service.d; printf '[Service]\\nRestart=no\\n' >" + DROP_IN
               + "; systemctl daemon-reload; systemctl kill -s KILL lockbridge; sleep 0.5", "agent-absent",
               "it was started, and ended (signal)", "journalctl -u lockbridge"),
}


@pytest.mark.parametrize("state", sorted(STATES))
def test_a_service_that_does_not_run_is_explained(box, city, state):
    do, code, cause, step = STATES[state]
    wait_connected(box)
    conf = box.read("/etc/lockbridge/lockbridge.conf")
    box.sh(do)
    told = problems(box)[code], box.run("lockbridgectl", "status").err, problems(box, user="daemon")[code]
    box.write("/etc/lockbridge/lockbridge.conf", conf)
    box.sh(f"rm -f {DROP_IN}; systemctl unmask --runtime lockbridge; systemctl daemon-reload; "
           "systemctl enable lockbridge; systemctl restart lockbridge").ok()
    for problem in (told[0], told[2]):
        assert cause in problem["cause"] and step in problem["next"]
    assert cause in told[1] and step in told[1]


def test_what_is_wrong_with_the_files_is_found_by_root(box, city):
    wait_connected(box)
    box.run("chmod", "644", "/etc/lockbridge/gateway.key").ok()
    found = problems(box)
    assert "chmod 600 /etc/lockbridge/gateway.key" in found["key-mode"]["next"]
    told = box.run("lockbridgectl", "request", "gw-17")
    assert told.status == 1 and "chmod 600 /etc/lockbridge/gateway.key" in told.err
    box.run("chmod", "600", "/etc/lockbridge/gateway.key").ok()
    assert "key-mode" not in problems(box)


def test_enrolled_as_another_gateway_it_begins_anew(box, city):
    stream = box.run("lockbridgectl", "--json", "status").json["state"]["stream"]
    box.run("mv", "/etc/lockbridge/gateway.key", "/root/gw-17.key").ok()  # a key is one gateway's
    path = city.enrolment("gw-18", "/root/gw-18.json")
    refused = box.run("lockbridgectl", "enrol", path)
    assert refused.status == 1 and 'enrolled already, as "gw-17"' in refused.err
    told = box.run("lockbridgectl", "enrol", path, "--replace").ok()
    assert "store.db.replaced-" in told.out and "Online:" in told.out
    status = box.run("lockbridgectl", "--json", "status").json
    assert status["gateway"] == "gw-18" and status["state"]["stream"] != stream
    assert box.sh("ls /var/lib/lockbridge/store.db.replaced-*").status == 0
