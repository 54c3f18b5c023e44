# SPDX-License-Identifier: Apache-2.0
"""A city in a container: the desk, and mosquitto as config/mosquitto shows it, on their usual ports."""

import json
import os

from container import TOP, Failure, wait_for

DIR = "/root/city"
FILES = "/etc/mosquitto/lockbridge"


class City:
    """In the same container as the box, which has but a loopback."""

    def __init__(self, container, broker="localhost"):
        self.container = container
        shipped = os.path.join(TOP, "config", "mosquitto")
        container.sh(f"install -d -m 750 -o root -g mosquitto {FILES}").ok()
        self.desk("init", "--broker", f"{broker}:8884", "--public", f"{broker}:8883").ok()
        self.desk("broker", "files", "--out", FILES, "--host", broker).ok()
        container.sh("mkdir -p /etc/systemd/system/mosquitto.service.d").ok()
        container.push(os.path.join(shipped, "lockbridge.conf"), "/etc/mosquitto/conf.d/lockbridge.conf")
        container.push(os.path.join(shipped, "limits.conf"), "/etc/systemd/system/mosquitto.service.d/lockbridge.conf")
        container.run("systemctl", "daemon-reload").ok()
        started = container.run("systemctl", "start", "mosquitto")
        if started.status:
            raise Failure(started.err + container.sh("cat /var/log/mosquitto/mosquitto.log").out)
        self.desk("publish").ok()

    def desk(self, *words, **how):
        return self.container.run("lockbridge-desk", "--dir", DIR, *words, **how)

    def request(self, gateway, path="/root/request.pem"):
        """At the box: its key, if it has none, and what the desk is to sign."""
        answer = self.container.run("lockbridgectl", "request", gateway).ok()
        self.container.write(path, answer.out)
        return path

    def enrolment(self, gateway, path="/root/enrolment.json", *words):
        """The file that the box is enrolled with."""
        self.desk("gateway", "add", gateway, "--request", self.request(gateway), "--out", path, *words).ok()
        return path

    def enrol(self, gateway):
        """The three commands."""
        return self.container.run("lockbridgectl", "enrol", self.enrolment(gateway))

    def gateway(self, gateway):
        """What the desk's list says of it; None before it has said anything."""
        listed = self.desk("--json", "gateway", "list").json
        rows = listed if isinstance(listed, list) else listed["gateways"]
        return next((row for row in rows if row["id"] == gateway), None)

    def events(self, gateway):
        return json.loads(self.container.run("lockbridgectl", "--json", "events").out)


def wait_connected(container, timeout=120):
    # An agent that has missed its broker for half a minute may wait another whole one (backoff_max_ms).
    try:
        wait_for("the agent is connected", lambda: "broker connected" in container.status(), timeout)
    except Failure as failure:
        log = container.sh("tail -n 30 /var/log/mosquitto/mosquitto.log").out
        raise Failure(f"{failure}: {container.status()}\n{container.journal()[-3000:]}\n{log}") from None
