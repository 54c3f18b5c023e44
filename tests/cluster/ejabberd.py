# SPDX-License-Identifier: Apache-2.0
"""Two nodes of ejabberd (mod_mqtt), clustered on loopback, in place of mosquitto.

With LOCKBRIDGE_BROKER=ejabberd tests/system/harness.py takes this World: the
gateways prefer node a and fall back to b, recorder and tests speak to b, the desk has both in its set.

ejabberdctl wants to be root or the packaged user, so the Erlang machine is started here as it would
start it, with a port mapper of its own: nothing is shared with a node that runs on this machine.
"""

import os
import secrets
import shutil
import subprocess
import tempfile

import paho.mqtt.client as mqtt

LIBRARIES = "/usr/lib/" + os.uname().machine + "-linux-gnu"
STARTED = "Start accepting TCP connections at 127.0.0.1:"

CONFIG = """hosts: [localhost]
loglevel: info
listen:
  - port: {port}
    ip: "127.0.0.1"
    module: mod_mqtt
    backlog: 1024
auth_method: [anonymous]
anonymous_protocol: login_anon
allow_multiple_connections: true
modules:
  mod_mqtt:
    db_type: mnesia
    access_publish: {{"#": [{{allow: all}}]}}
    access_subscribe: {{"#": [{{allow: all}}]}}
    max_queue: 100000
    session_expiry: 14 days
"""


class Named(mqtt.Client):
    """ejabberd lets nobody in without a name and a password; which ones is all the same here."""

    def __init__(self, *args, **more):
        super().__init__(*args, **more)
        self.username_pw_set("test", "any")


class Cluster:
    """Both nodes, with the methods of one Process: broker.kill() is the end of both."""

    name = "ejabberd"

    def __init__(self, harness, folder, ports, env):
        self.harness, self.folder, self.ports = harness, folder, ports
        self.argv = ["ejabberd"]
        self.epmd_port = harness.free_port()
        self.env = dict(env, ERL_LIBS=LIBRARIES, ERL_EPMD_PORT=str(self.epmd_port), HOME=folder,
                        ERL_EPMD_ADDRESS="127.0.0.1", ERL_MAX_PORTS="32000")
        self.cookie = secrets.token_hex(8)
        os.makedirs(folder, exist_ok=True)
        self.epmd = harness.Process("epmd", ["epmd", "-port", str(self.epmd_port), "-address", "127.0.0.1"],
                                    os.path.join(folder, "epmd.log"), self.env)
        self.nodes = {name: self._node(name, port) for name, port in zip("ab", ports)}

    def _node(self, name, port):
        place = os.path.join(self.folder, name)
        os.makedirs(place, exist_ok=True)
        with open(os.path.join(place, "ejabberd.yml"), "w", encoding="ascii") as f:
            f.write(CONFIG.format(port=port))
        env = dict(self.env, EJABBERD_CONFIG_PATH=os.path.join(place, "ejabberd.yml"),
                   EJABBERD_LOG_PATH=os.path.join(place, "ejabberd.log"))
        argv = ["erl", "-sname", f"{name}@localhost", "-setcookie", self.cookie, "-start_epmd", "false",
                "+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none", "-kernel", "inet_dist_use_interface", "{127,0,0,1}", "-mnesia", "dir", f'"{place}/db"',
                "-s", "ejabberd", "-noinput"]
        return self.harness.Process("node " + name, argv, os.path.join(place, "out.log"), env)

    def ctl(self, node, *words):
        argv = ["erl", "-sname", "ctl-" + secrets.token_hex(4) + "@localhost", "-setcookie", self.cookie,
                "-start_epmd", "false", "-hidden", "-noinput", "-s", "ejabberd_ctl", "-extra",
                f"{node}@localhost", *words]
        done = subprocess.run(argv, env=self.env, capture_output=True, timeout=60, check=False)
        if done.returncode:
            raise self.harness.Failure(f"{words}: {done.stdout.decode()}{done.stderr.decode()}")
        return done.stdout.decode()

    # --- one node ---------------------------------------------------------------------------------------

    def begin(self, *names):
        """Starts them, without waiting."""
        if not self.epmd.running():
            self.epmd.start()
            self.harness.wait_for("the port mapper", self._mapper_answers)
        skip = {name: len(self.nodes[name].output()) for name in names}
        for name in names:
            self.nodes[name].start()
        return skip

    def _mapper_answers(self):
        return subprocess.run(["epmd", "-port", str(self.epmd_port), "-names"], env=self.env, check=False,
                              capture_output=True).returncode == 0

    def up(self, *names):
        for name, skip in self.begin(*names).items():
            self.nodes[name].wait_output(STARTED, 180, skip)
        return self

    # --- as one process ---------------------------------------------------------------------------------

    def start(self):
        return self.up(*self.nodes)

    def running(self):
        return any(n.running() for n in self.nodes.values())

    def output(self):
        return "".join(n.output() for n in self.nodes.values())

    def kill(self):
        for n in self.nodes.values():
            n.kill()

    def stop(self):
        for n in self.nodes.values():
            n.stop()
        self.epmd.kill()
        return 0


MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None  # a hundred tables each: none is to outlive us


def joined(harness):
    """The database of two nodes that have joined, made once in the build folder, to be copied: to make it
    takes ten times as long as to start with it."""
    template = os.path.join(harness.BUILD, "cluster")
    if os.path.isdir(template):
        return template
    folder = tempfile.mkdtemp(prefix="lockbridge-cluster-", dir=MEMORY)
    cluster = Cluster(harness, folder, (harness.free_port(), harness.free_port()), dict(os.environ))
    try:
        cluster.start()
        cluster.ctl("b", "join_cluster", "a@localhost")
        harness.wait_for("two nodes", lambda: len(cluster.ctl("a", "list_cluster").split()) == 2)
        for name in "ba":
            cluster.ctl(name, "stop")
            harness.wait_for(name + " ends", lambda: not cluster.nodes[name].running(), 60)
        shutil.copytree(folder, template + ".new", dirs_exist_ok=True)
        os.rename(template + ".new", template)
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return template


def over_cluster(World):
    import harness  # half loaded when this file was: it is that which loads this

    mqtt.Client = Named

    class BothNodes(harness.Recorder):
        """What it says under city/ goes out by both nodes, as the desk does it: a retained message is not seen
        by who subscribes at the other node for the first time."""

        def __init__(self, port, tls=None):
            super().__init__(port, tls)
            self.other = None

        def also_by(self, port):
            self.other = mqtt.Client(protocol=mqtt.MQTTv5)
            self.other.connect("127.0.0.1", port)
            self.other.loop_start()

        def publish(self, topic, payload, retain=False, qos=1, properties=None):
            super().publish(topic, payload, retain, qos, properties)
            if self.other and topic.startswith("lockbridge/city/"):
                self.other.publish(topic, payload, qos, retain, properties)

        def close(self):
            super().close()
            if self.other:
                self.other.loop_stop()
                self.other.disconnect()

    class ClusterWorld(World):
        def __init__(self, *args, **more):
            super().__init__(*args, **more)
            self.node_ports = {"a": harness.free_port(), "b": self.port}

        def start_broker(self, extra=""):
            assert not extra, "that is a setting of mosquitto"
            template = joined(harness)
            self.nodes = tempfile.mkdtemp(prefix="lockbridge-nodes-", dir=MEMORY)
            for name in "ab":
                shutil.copytree(os.path.join(template, name, "db"), os.path.join(self.nodes, name, "db"))
            self.broker = Cluster(harness, self.nodes, list(self.node_ports.values()), self.env)
            self.processes.append(self.broker)
            self.broker_up()

        @property
        def recorder(self):
            return self._recorder

        @recorder.setter
        def recorder(self, recorder):
            self._recorder = recorder
            if recorder:
                recorder.also_by(self.node_ports["a"])

        def close(self):
            super().close()
            if hasattr(self, "nodes") and not self.keep:
                shutil.rmtree(self.nodes, ignore_errors=True)

        def broker_up(self):
            self.broker.up(*(n for n, p in self.broker.nodes.items() if not p.running()))

        def password(self):
            with open(self.path("password"), "w", encoding="ascii") as f:
                f.write("any\n")
            os.chmod(self.path("password"), 0o600)
            return self.path("password")

        def brokers(self, *names):
            return [f'{{ host = "127.0.0.1"; port = {self.node_ports[n]}; username = "box"; '
                    f'password_file = "{self.password()}"; }}' for n in names]

        def gateway_config(self, gw, **change):
            change.setdefault("brokers", self.brokers("a", "b"))
            return super().gateway_config(gw, **change)

        desk_on = "ba"

        def desk(self, *words, timeout=90):
            """`init` names the nodes instead of the one broker that the caller knows."""
            if words[0] == "init" and "--broker" in words:
                at = words.index("--broker")
                both = [w for n in self.desk_on for w in ("--broker", f"127.0.0.1:{self.node_ports[n]}", "--user", "desk",
                                                  "--password-file", self.password())]
                words = (*words[:at], *both, *words[at + 2:])
            return super().desk(*words, timeout=timeout)

    return ClusterWorld, BothNodes
