# SPDX-License-Identifier: Apache-2.0
"""A small Debian box under qemu: real kernel, systemd, bluetoothd; two virtual radios on one air.

tests/guest/vm.sh makes what it boots. Root and packages are the same at each boot; all that was written
since is on a disk of its own, an ext4 file system with its journal, and is there again after a reboot or a
power cut. The guest reaches this machine's loopback as 10.0.2.2, and nothing else. It ends with whoever
made it.
"""

import ctypes
import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
KIT = os.environ.get("LOCKBRIDGE_GUEST") or os.path.join(HERE, "..", "..", "build", "guest")
SHARE = "/srv/share"
HOST = "10.0.2.2"
# What an emulated processor need not do, and what an ordinary box does not have.
KERNEL = ("console=ttyS0 quiet loglevel=3 mitigations=off random.trust_cpu=on net.ifnames=0 cryptomgr.notests "
          "nokaslr no_timer_check tsc=reliable audit=0 selinux=0 apparmor=0 panic=-1")

libc = ctypes.CDLL(None, use_errno=True)


class Failure(AssertionError):
    """What was expected did not happen."""


def end_with_parent():
    libc.prctl(1, signal.SIGKILL)


def wait_for(what, condition, timeout=30.0, every=0.05):
    """Waits until condition() is true and returns what it gave; raises Failure with `what`."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failure(f"not within {timeout:g} s: {what() if callable(what) else what}")
        time.sleep(every)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def accelerator():
    """Emulated unless told otherwise: there are machines whose /dev/kvm is there and boots nothing."""
    if os.environ.get("LOCKBRIDGE_ACCEL") == "kvm":
        return ["-accel", "kvm", "-cpu", "host"]
    return ["-accel", "tcg,thread=multi,tb-size=512", "-cpu", "qemu64,+rdrand,+x2apic"]


class Ran:
    """What a command in the guest said: exit status, output, errors."""

    def __init__(self, command, done):
        self.command, self.status = command, done.returncode
        self.out, self.err = done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")

    def ok(self):
        if self.status != 0:
            raise Failure(f"{self.command}: exit {self.status}\n{self.out[-4000:]}{self.err[-4000:]}")
        return self


class Guest:
    """memory in MB; rtc: the clock at boot, as qemu's -rtc base; append: words for the kernel's line."""

    def __init__(self, folder=None, memory=768, rtc="utc", append=""):
        self.folder = folder or tempfile.mkdtemp(prefix="lockbridge-vm-")
        self.mine = folder is None
        self.memory, self.rtc, self.append = memory, rtc, append
        self.boots, self.boot_times = 0, []
        self.patience = 1.0  # what waits are multiplied by: a machine with much else to do boots slowly, and so on
        self.qemu = self.master = self.port = None
        os.makedirs(self.share(), exist_ok=True)
        self.disk = self.path("state.ext4")
        if not os.path.exists(self.disk):
            subprocess.run(["mke2fs", "-q", "-t", "ext4", self.disk, "2G"], check=True, stdout=subprocess.DEVNULL,
                           env=dict(os.environ, PATH=os.environ["PATH"] + ":/sbin:/usr/sbin"))

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def share(self, *parts):
        """A place in the folder that the guest has at SHARE."""
        return self.path("share", *parts)

    # --- power ------------------------------------------------------------------------------------------

    def command(self):
        kit = os.path.abspath(KIT)
        argv = ["qemu-system-x86_64", "-name", "lockbridge-guest",
                "-machine", "q35,usb=off,vmport=off,smbus=off,sata=off,i8042=off", *accelerator(),
                "-smp", "2", "-m", str(self.memory), "-nodefaults", "-no-user-config", "-display", "none",
                "-no-reboot", "-rtc", f"base={self.rtc},clock=host",
                "-kernel", f"{kit}/vmlinux", "-initrd", f"{kit}/initrd",
                "-append", f"{KERNEL} {self.append}".strip()]
        disks = ((f"{kit}/root.ext4", "on"), (f"{kit}/extra.ext4", "on"), (self.disk, "off"))
        for n, (path, readonly) in enumerate(disks):
            argv += ["-drive", f"if=none,id=d{n},file={path},format=raw,readonly={readonly}",
                     "-device", f"virtio-blk-pci,drive=d{n}"]
        return argv + [
            "-netdev", f"user,id=n0,ipv6=off,hostfwd=tcp:127.0.0.1:{self.port}-10.0.2.15:22",
            "-device", "virtio-net-pci,netdev=n0,romfile=",
            "-virtfs", f"local,path={self.share()},mount_tag=share,security_model=none,id=fs0",
            "-serial", f"file:{self.console_path()}"]

    def console_path(self):
        return self.path(f"console.{self.boots}")

    def console(self):
        try:
            with open(self.console_path(), "rb") as f:
                return f.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return ""

    def power_on(self):
        """Returns at once."""
        self.boots += 1
        self.port = free_port()
        with open(self.path("qemu.log"), "ab") as log:
            self.qemu = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                         preexec_fn=end_with_parent, start_new_session=True)

    def boot(self, timeout=180):
        """Power on; returns once multi-user.target is reached and commands are taken."""
        began = time.monotonic()
        self.power_on()

        def ready():
            if self.qemu.poll() is not None:
                raise Failure(f"qemu ended:\n{self.tail('qemu.log')}{self.console()[-2000:]}")
            return "GUEST-READY" in self.console()
        wait_for(lambda: f"the guest is up\n{self.console()[-3000:]}", ready, timeout)
        self.boot_times.append(time.monotonic() - began)
        self.patience = min(max(1.0, self.boot_times[-1] / 20), 5.0)
        self.connect(120 * self.patience)
        return self

    def connect(self, timeout=120):
        """One connection; each command is a channel of it."""
        self.disconnect()

        def connected():
            if os.path.exists(self.path("ssh")):
                return True
            if self.master is None or self.master.poll() is not None:
                with open(self.path("ssh.log"), "ab") as log:
                    self.master = subprocess.Popen(
                        [*self.ssh_argv(), "-M", "-N", "root@127.0.0.1"], stdin=subprocess.DEVNULL,
                        stdout=log, stderr=log, preexec_fn=end_with_parent, start_new_session=True)
            return False
        wait_for(lambda: "ssh connects: " + self.tail("ssh.log"), connected, timeout)

    def tail(self, name):
        with open(self.path(name), encoding="utf-8", errors="replace") as f:
            return f.read()[-1000:]

    def running(self):
        return self.qemu is not None and self.qemu.poll() is None

    def disconnect(self):
        if self.master:
            self.master.terminate()
            self.master.wait(10)
            self.master = None
        if os.path.exists(self.path("ssh")):
            os.unlink(self.path("ssh"))

    def shut_down(self, timeout=90):
        """In order: services stop, file systems are synchronised."""
        self.ssh("systemctl start --no-block poweroff.target")  # may take ssh along before it has answered
        self.qemu.wait(timeout)
        self.disconnect()

    def power_cut(self):
        """What the guest did not yet write to its disk is lost."""
        self.qemu.kill()
        self.qemu.wait(20)
        self.disconnect()

    def reboot(self):
        self.shut_down()
        return self.boot()

    def close(self):
        """Without ceremony: nothing of it is wanted any more."""
        if self.running():
            self.power_cut()
        self.disconnect()
        if self.mine:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # --- commands ---------------------------------------------------------------------------------------

    def ssh_argv(self):
        return ["ssh", "-F", "none", "-S", self.path("ssh"), "-i", os.path.join(KIT, "key"),
                "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes",
                "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=60", "-p", str(self.port)]

    def ssh(self, command, timeout=120, stdin=b""):
        """command: a line for the guest's shell, or its words. Ran, with the command's own exit status."""
        if not isinstance(command, str):
            command = shlex.join(command)
        done = subprocess.run([*self.ssh_argv(), "root@127.0.0.1", command], input=stdin,
                              capture_output=True, timeout=timeout * self.patience)
        return Ran(command, done)

    def sh(self, command, timeout=120, stdin=b""):
        """Must succeed; its output."""
        return self.ssh(command, timeout, stdin).ok().out

    def put(self, source, target=None, mode=None):
        """Copies a file into the shared folder, and from there to target; where it is in the guest."""
        name = os.path.basename(source)
        shutil.copy(source, self.share(name))
        if target is None:
            return f"{SHARE}/{name}"
        self.sh(["install", "-D", "-m", mode or "755", f"{SHARE}/{name}", target])
        return target

    def write(self, path, text, mode="644"):
        """A file in the guest with this text."""
        self.sh(f"mkdir -p {shlex.quote(os.path.dirname(path))} && umask 077 && cat >{shlex.quote(path)} "
                f"&& chmod {mode} {shlex.quote(path)}", stdin=text.encode())

    def wait(self, what, command, timeout=60):
        """Until a command in the guest succeeds; its output."""
        last = []

        def succeeds():
            last[:] = [self.ssh(command)]
            return last[0].status == 0
        wait_for(lambda: f"{what}: {command}\n{last[0].out[-2000:]}{last[0].err[-2000:]}", succeeds,
                 timeout * self.patience, 0.2)
        return last[0].out

    def radios(self):
        """Until bluetoothd has both radios. One whose first command timed out is pulled and put in again."""
        there = ("busctl call org.bluez / org.freedesktop.DBus.ObjectManager GetManagedObjects | grep -q /hci0 && "
                 "busctl call org.bluez / org.freedesktop.DBus.ObjectManager GetManagedObjects | grep -q /hci1")
        try:
            self.wait("both radios", there, 20)
        except Failure:
            self.sh("systemctl restart btvirt.service bluetooth.service")
            self.wait("both radios", there, 40)
