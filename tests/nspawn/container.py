# SPDX-License-Identifier: Apache-2.0
"""A Debian with systemd as PID 1 in a container, from the root that tests/guest makes.

Each has its own writable layer in memory, so that nothing of a test stays; a network of its own with
nothing but a loopback; no Bluetooth. Mounts are in a namespace of the test's process and end with it.
"""

import ctypes
import glob
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.abspath(os.path.join(HERE, "..", ".."))
sys.path.insert(0, os.path.join(HERE, "..", "system"))

from harness import Answer, Failure, wait_for  # noqa: E402

GUEST = os.environ.get("LOCKBRIDGE_GUEST") or os.path.join(TOP, "build", "guest")
PACKAGES = os.environ.get("LOCKBRIDGE_DEB") or os.path.join(TOP, "build", "deb")
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root",
               "DEBIAN_FRONTEND": "noninteractive"}

libc = ctypes.CDLL(None, use_errno=True)
MS_REC, MS_PRIVATE, CLONE_NEWNS, PR_SET_PDEATHSIG = 0x4000, 1 << 18, 0x20000, 1


def private_mounts():
    """Once per process: what it mounts is seen by it and its children, and gone when they are."""
    if libc.unshare(CLONE_NEWNS) != 0 or libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) != 0:
        raise Failure(f"no mount namespace of our own: {os.strerror(ctypes.get_errno())}; this takes root")


def mount(kind, target, *options):
    subprocess.run(["mount", "-t", kind, *(("-o", ",".join(options)) if options else ()), kind, target], check=True)


def own_cgroups(name):
    """A new cgroup for one container in systemd's hierarchies, below the one we are in.

    With --keep-unit nspawn puts its own below that of its caller, under a fixed name: two containers
    would share it, and each init would take the other's services for its own.
    """
    mounts = {}
    with open("/proc/self/mountinfo", encoding="ascii") as f:
        for line in f:
            place, _, what = line.partition(" - ")
            kind, _, options = what.split(" ", 2)
            if kind == "cgroup2":
                mounts[""] = place.split()[4]
            elif kind == "cgroup" and "name=systemd" in options:
                mounts["name=systemd"] = place.split()[4]
    made = []
    with open("/proc/self/cgroup", encoding="ascii") as f:
        for line in f:
            _, hierarchy, path = line.rstrip("\n").split(":", 2)
            if hierarchy in mounts:
                made.append(os.path.join(mounts[hierarchy], path.lstrip("/"), name))
                os.makedirs(made[-1], exist_ok=True)
    return made


def package(name):
    """The one .deb of this name that `make deb` built."""
    found = glob.glob(os.path.join(PACKAGES, f"{name}_*.deb"))
    if len(found) != 1:
        raise Failure(f"{len(found)} packages {name}_*.deb in {PACKAGES}: run make deb")
    return found[0]


class Container:
    """below: folders that lie over the root as it was made, the lowest first."""

    def __init__(self, below=()):
        self.dir = tempfile.mkdtemp(prefix="lockbridge-nspawn-")
        mount("tmpfs", self.dir, "mode=755,size=512m")
        for name in ("upper", "work", "root"):
            os.mkdir(self.path(name))
        lower = [os.path.join(GUEST, "root"), *below]
        mount("overlay", self.path("root"), "lowerdir=" + ":".join(reversed(lower)),
              "upperdir=" + self.path("upper"), "workdir=" + self.path("work"))
        self.machine = "lb-" + os.path.basename(self.dir).replace("_", "-")[-8:].strip("-")
        self.nspawn = self.init = None
        self.cgroups = []
        self.boot_s = None

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def inside(self, path):
        """Where a file of the container is, seen from here: of what is on its root, no /run, no /tmp."""
        return self.path("root", path.lstrip("/"))

    # --- up and down --------------------------------------------------------------------------------

    def _prepare(self):
        """In the child, before nspawn. SIGTERM, because a nspawn that is killed leaves its init behind."""
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        for cgroup in self.cgroups:
            with open(os.path.join(cgroup, "cgroup.procs"), "w", encoding="ascii") as f:
                f.write("0")

    def boot(self):
        began = time.monotonic()
        self.cgroups = own_cgroups(self.machine)
        with open(self.path("console.log"), "ab") as log:
            self.nspawn = subprocess.Popen(
                ["systemd-nspawn", "-q", "-b", "-D", self.path("root"), "-M", self.machine, "--private-network",
                 "--register=no", "--keep-unit", "--console=pipe"], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=self._prepare)
        self.init = wait_for("nspawn starts an init", self._child)
        wait_for("the container is up", lambda: self._child() and self.run("systemctl", "is-system-running").out.strip()
                 in ("running", "degraded"), 60)
        self.boot_s = time.monotonic() - began
        return self

    def _child(self):
        if self.nspawn.poll() is not None:
            with open(self.path("console.log"), encoding="utf-8", errors="replace") as log:
                raise Failure("systemd-nspawn ended (too many containers for fs.inotify.max_user_instances?): "
                              + log.read()[-2000:])
        with open(f"/proc/{self.nspawn.pid}/task/{self.nspawn.pid}/children", encoding="ascii") as f:
            children = f.read().split()
        for child in children:  # nspawn's own helpers come and go before it
            try:
                with open(f"/proc/{child}/cmdline", "rb") as f:
                    if f.read().startswith((b"/usr/lib/systemd/systemd", b"/lib/systemd/systemd", b"/sbin/init")):
                        return int(child)
            except (FileNotFoundError, ProcessLookupError):
                pass
        return None

    def shut_down(self):
        """As `poweroff` would; what is on the root's layer stays."""
        if self.nspawn and self.nspawn.poll() is None:
            os.kill(self.init, signal.SIGRTMIN + 4)
            try:
                self.nspawn.wait(20)
            except subprocess.TimeoutExpired:
                os.kill(self.init, signal.SIGKILL)
                self.nspawn.wait(20)
            self.init = None

    def close(self):
        if self.nspawn and self.nspawn.poll() is None:
            init = self.init or self._child()
            if init:
                os.kill(init, signal.SIGKILL)  # and with it all of the container, nspawn at last
            else:
                self.nspawn.terminate()
            self.nspawn.wait(20)
        subprocess.run(["umount", "--lazy", self.path("root")], check=False)
        subprocess.run(["umount", "--lazy", self.dir], check=False)
        shutil.rmtree(self.dir, ignore_errors=True)
        for cgroup in self.cgroups:
            for folder, _, _ in os.walk(cgroup, topdown=False):
                try:
                    os.rmdir(folder)
                except OSError:  # a last process is on its way out
                    pass
        for left in glob.glob(f"/run/systemd/nspawn/*/{self.machine}"):  # of one that was killed
            subprocess.run(["umount", "--lazy", left], check=False, capture_output=True)
            subprocess.run(["rmdir", left], check=False, capture_output=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # --- in it --------------------------------------------------------------------------------------

    def _enter(self, argv):
        return ["nsenter", "-t", str(self.init), "-m", "-u", "-i", "-n", "-p", "-r", "-w", "--", *argv]

    def run(self, *argv, stdin=b"", timeout=60, user=None):
        """As root, or as a user without anything that a login brings."""
        if user:
            argv = ("setpriv", "--reuid", user, "--regid", user, "--init-groups", "--", *argv)
        if isinstance(stdin, str):
            stdin = stdin.encode()
        return Answer(list(argv), subprocess.run(self._enter(argv), input=stdin, capture_output=True,
                                                 timeout=timeout, env=ENVIRONMENT))

    def sh(self, script, **how):
        return self.run("sh", "-c", script, **how)

    def start(self, *argv, **how):
        """A program that goes on; ends with the container."""
        return subprocess.Popen(self._enter(argv), env=ENVIRONMENT, **how)

    def write(self, path, text, mode="644", owner="root:root"):
        self.sh(f"install -D -m {mode} -o {owner.split(':')[0]} -g {owner.split(':')[1]} /dev/stdin {shlex.quote(path)}",
                stdin=text).ok()

    def read(self, path):
        return self.run("cat", path).ok().out

    def push(self, source, path):
        """A file from here to there."""
        with open(source, "rb") as f:
            self.sh(f"cat >{shlex.quote(path)}", stdin=f.read()).ok()

    def dpkg(self, *argv):
        return self.run("dpkg", "--force-unsafe-io", *argv, timeout=120)

    def install(self, *names):
        """Packages as `make deb` built them."""
        for name in names:
            self.push(package(name), f"/tmp/{name}.deb")
        return self.dpkg("--install", *(f"/tmp/{name}.deb" for name in names)).ok()

    def show(self, unit, *names):
        """Properties of a unit."""
        out = self.run("systemctl", "show", unit, "--property", ",".join(names)).ok().out
        return dict(line.split("=", 1) for line in out.splitlines())

    def status(self, unit="lockbridge"):
        return self.show(unit, "StatusText")["StatusText"]

    def main_pid(self, unit="lockbridge"):
        return int(self.show(unit, "MainPID")["MainPID"])

    def restarts(self, unit="lockbridge"):
        return int(self.show(unit, "NRestarts")["NRestarts"])

    def wait_active(self, unit="lockbridge", other_than=0, timeout=20):
        def active():
            now = self.show(unit, "ActiveState", "MainPID")
            return now["ActiveState"] == "active" and int(now["MainPID"]) not in (0, other_than)
        try:
            wait_for(f"{unit} is active", active, timeout)
        except Failure as failure:
            raise Failure(f"{failure}\n{self.journal(unit)[-3000:]}") from None
        return self.main_pid(unit)

    def journal(self, unit="lockbridge"):
        self.run("journalctl", "--sync")
        return self.run("journalctl", "--no-pager", "--output=cat", "--unit", unit).out

    def files(self):
        """path -> (kind and mode, owner, group) of all that is on the root's own file system."""
        out = self.sh("find / -xdev -printf '%p\\t%M\\t%u\\t%g\\n'").out
        return {path: tuple(rest) for path, *rest in (line.split("\t") for line in out.splitlines())}
