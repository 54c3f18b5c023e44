# SPDX-License-Identifier: Apache-2.0
"""The whole over the broker as shipped: the real agent needs nothing that its rules refuse."""

import json
import re
import sqlite3

import pytest
from cryptography import x509
from harness import wait_for
from secure import SecureWorld


class City(SecureWorld):
    """Certificates that are to be renewed at once, health every second."""

    def start_city(self, *init):
        super().start_city("--certificate-lifetime", "20m", *init)

    def start_gateway(self, gw, **change):
        return super().start_gateway(gw, more="backoff_min_ms = 100;\nbackoff_max_ms = 1000;\nhealth_s = 1;\n")


@pytest.fixture(scope="module")
def city():
    with City({"gw-17": ["lock-17a"], "gw-18": ["lock-18a"]}) as w:
        yield w.start()


def test_a_door_is_opened_over_it(city):
    city.desk("staff", "add", "--person", "811218-9876", "--phone", "0701740605", "--pin").ok()
    opened = city.desk("--json", "unlock", "--phone", "0701740605", "--lock", "lock-17a").ok()
    assert opened.json["outcome"] == "done"
    assert city.lock_report("lock-17a")["bolt"] == "unlocked"


def test_each_topic_of_the_agent_passes_the_rules(city):
    """What a gateway says comes to the desk; what it is told comes to it."""
    for topic in ("presence", "state", "health", "lock/lock-17a", "event"):
        wait_for(topic, lambda: city.recorder.last(f"lockbridge/gw/gw-17/{topic}"))
    assert city.recorder.last("lockbridge/gw/gw-17/presence") == b"online"

    first = city.recorder.events("gw-17")[0]
    asked = len(city.recorder.events("gw-17"))
    city.recorder.publish("lockbridge/gw/gw-17/replay",
                          json.dumps({"stream": first["stream"], "from": first["seq"]}))
    wait_for("the events again", lambda: len(city.recorder.events("gw-17")) >= 2 * asked)

    city.recorder.publish("lockbridge/gw/gw-17/document", b"no document")
    wait_for("its refusal", lambda: city.recorder.events("gw-17", "document.refused"))
    held = json.dumps(city.recorder.state("gw-17")["documents"])
    assert "keys" in held and "policy" in held and "phones" in held, held


def test_the_certificate_is_renewed_over_it(city):
    """The desk's `serve` answers a request with a new one when half of the life of the old one is over."""
    wait_for("a request", lambda: city.recorder.last("lockbridge/gw/gw-17/request"))
    wait_for("its answer", lambda: city.recorder.last("lockbridge/gw/gw-17/certificate"))
    with sqlite3.connect(city.path("desk", "desk.db"), timeout=20) as registry:
        registry.execute("UPDATE certificate SET issued = issued - 86400")
    city.process("gw-17").kill()
    city.respawn(city.process("gw-17"), "ready")
    with open(city.path("gw-17.enrolment"), encoding="ascii") as f:
        enrolled = x509.load_pem_x509_certificate(json.load(f)["certificate"].encode())
    wait_for("another in use", lambda: int(city.recorder.state("gw-17")["certificate"]["serial"], 16)
             != enrolled.serial_number)


def test_a_revoked_gateway_is_cut_off_and_its_neighbour_is_not(city):
    city.desk("gateway", "revoke", "gw-18").ok()
    city.broker_reload()
    city.recorder.barrier()
    before = len(city.recorder.all("lockbridge/gw/gw-18/"))
    refused = len(city.recorder.events("gw-17", "document.refused"))
    for gw in ("gw-18", "gw-17"):
        city.recorder.publish(f"lockbridge/gw/{gw}/document", b"no document, either")
    wait_for("the neighbour's answer", lambda: len(city.recorder.events("gw-17", "document.refused")) > refused)
    assert "document refused" not in city.process("gw-18").output()
    assert "document refused" in city.process("gw-17").output()
    city.desk("unlock", "--phone", "0701740605", "--lock", "lock-17a").ok()

    # nor does it come back, and its will is not sent
    said = len(city.broker.output())
    city.process("gw-18").kill()
    city.respawn(city.process("gw-18"), "ready")
    wait_for("it is refused", lambda: re.search(r"certificate (revoked|verify failed)", city.broker.output()[said:]))
    city.recorder.barrier()
    told_it = ("/authorize", "/document", "/replay")
    assert [m[1] for m in city.recorder.all("lockbridge/gw/gw-18/")[before:] if not m[1].endswith(told_it)] == []
