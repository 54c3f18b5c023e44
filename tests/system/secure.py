# SPDX-License-Identifier: Apache-2.0
"""The world behind the broker that config/mosquitto shows, and enrolled in it by the desk."""

import json
import os
import re
import socket
import subprocess

from harness import HERE, Process, Recorder, World, free_port, wait_for

SHIPPED = os.path.join(HERE, "..", "..", "config", "mosquitto")


def shipped_broker(files, data, port, desk_port):
    """The shipped lockbridge.conf, included in one like the package's own; paths and ports are others."""
    with open(os.path.join(SHIPPED, "lockbridge.conf"), encoding="ascii") as f:
        text = f.read()
    for theirs, ours in {8883: port, 8884: desk_port}.items():
        text, found = re.subn(rf"(?m)^listener {theirs}$", f"listener {ours} 127.0.0.1", text)
        assert found == 1
    return (f"persistence_location {data}/\nlog_dest stderr\nuser root\n"
            + text.replace("/etc/mosquitto/lockbridge", files))


class SecureWorld(World):
    """As World; its recorder listens with the desk's certificate. public: where gateways reach the broker."""

    public = "127.0.0.1"

    def start_city(self, *init):
        self.desk_port = free_port()
        files, data = self.path("broker-files"), self.path("broker")
        self.desk("init", "--broker", f"127.0.0.1:{self.desk_port}", "--public",
                  f"{self.public}:{self.port}", *init).ok()
        hosts = [word for host in sorted({"127.0.0.1", self.public}) for word in ("--host", host)]
        self.desk("broker", "files", "--out", files, *hosts).ok()
        os.makedirs(data)
        with open(self.path("mosquitto.conf"), "w", encoding="ascii") as f:
            f.write(shipped_broker(files, data, self.port, self.desk_port))
        self.broker = Process("mosquitto", ["mosquitto", "-c", self.path("mosquitto.conf")],
                              self.path("mosquitto.log"), self.env)
        self.processes.append(self.broker)
        self.broker_up()
        wait_for("the desk's port listens", self.desk_port_answers)
        self.recorder = Recorder(self.desk_port, (os.path.join(files, "ca.pem"), self.path("desk", "desk.pem"),
                                                  self.path("desk", "keys", "desk.key")))
        self.desk("publish").ok()
        with open(self.path("root.pub.pem"), "w", encoding="ascii") as f:
            f.write(self.desk("keys", "show", "root").ok().out)

    def start_gateway(self, gw, **change):
        """Enrolled first, as a box is: by a request that its own key signs."""
        key, request, enrolment = (self.path(f"{gw}.{end}") for end in ("key", "request", "enrolment"))
        subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-keyout", key, "-subj", f"/CN={gw}", "-out", request], check=True, capture_output=True)
        self.desk("gateway", "add", gw, "--request", request, "--out", enrolment).ok()
        with open(enrolment, encoding="ascii") as f:
            told = json.load(f)
        for name in ("certificate", "broker_ca"):
            with open(self.path(f"{gw}.{name}"), "w", encoding="ascii") as f:
                f.write(told[name])
        assert told["brokers"] == [{"host": "127.0.0.1", "port": self.port}]
        broker = (f'{{ host = "127.0.0.1"; port = {self.port}; ca = "{self.path(gw)}.broker_ca"; '
                  f'certificate = "{self.path(gw)}.certificate"; key = "{key}"; }}')
        return super().start_gateway(gw, brokers=[broker], **change)

    def desk_port_answers(self):
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.desk_port)) == 0

    def broker_reload(self):
        seen = self.broker.output().count("Reloading config")
        self.broker.popen.send_signal(1)
        wait_for("the broker reloads", lambda: self.broker.output().count("Reloading config") > seen)
