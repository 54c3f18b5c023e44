#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# rootfs.sh DIR: one Debian root at DIR/root, for systemd-nspawn and for the virtual machine alike. As root.
#
# Made anew only when this file changes; DIR/root.stamp says from which. Whoever boots it lays something
# writable over it (systemd-nspawn --volatile=overlay, the machine's second disk): DIR/root stays as made.
# The packages come from where this machine's own come from.
set -eu

suite=bookworm
packages="
	systemd systemd-sysv udev dbus polkitd kmod iproute2 procps bash-completion
	bluez bluez-test-tools dropbear-bin faketime
	mosquitto mosquitto-clients openssl
	libconfig9 libdbus-1-3 libjansson4 libmosquitto1 libsodium23 libsqlite3-0 libssl3 libsystemd0 zlib1g
	python3 python3-cbor2 python3-cryptography python3-dbus python3-gi python3-paho-mqtt python3-pytest"

[ $# = 1 ] || { echo "usage: rootfs.sh DIR" >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo "rootfs.sh: a root file system with its owners takes root: run it with sudo" >&2; exit 1; }
self=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
mkdir -p "$1"
cd "$1"
exec 9>root.lock
flock 9

stamp=$(sha256sum <"$self")
[ "$(cat root.stamp 2>/dev/null)" = "$stamp" ] && [ -d root ] && exit 0
rm -rf root root.stamp
began=$(date +%s)

# Third parties' sources on this machine are none of ours.
if [ -z "$(apt-get indextargets --format '$(RELEASE)' 'Created-By: Packages' 'Origin: Debian')" ]; then
	apt-get update -q
fi
apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' \
	| grep " $suite" | sort -u >root.list
[ -s root.list ] || { echo "rootfs.sh: no Debian $suite among this machine's package sources" >&2; exit 1; }

# shellcheck disable=SC2086
mmdebstrap --variant=minbase --include="$(echo $packages | tr ' ' ,)" \
	--aptopt='Acquire::Languages "none"' \
	--dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/man/*' \
	--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
	"$suite" root root.list >root.log 2>&1 || { tail -20 root.log >&2; exit 1; }

# What dpkg leaves out was for making this root; what a test installs is to arrive whole.
rm -f root/etc/dpkg/dpkg.cfg.d/*mmdebstrap root/etc/apt/sources.list.d/*
# An id of its own at each boot, and no first boot's presets.
: >root/etc/machine-id
: >root/etc/resolv.conf
: >root/etc/fstab
echo guest >root/etc/hostname
echo '127.0.0.1 localhost guest' >root/etc/hosts
# A box as small as this one starts no broker and looks for no updates by itself.
for unit in mosquitto.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer \
	e2scrub_all.timer e2scrub_reap.service; do
	rm -f root/etc/systemd/system/*.wants/$unit
done
for unit in getty@tty1 console-getty getty-static systemd-pstore systemd-hwdb-update systemd-firstboot; do
	ln -sf /dev/null root/etc/systemd/system/$unit.service
done
mkdir -p root/etc/systemd/journald.conf.d
printf '[Journal]\nStorage=volatile\nRateLimitBurst=0\n' >root/etc/systemd/journald.conf.d/guest.conf

echo "$stamp" >root.stamp
echo "guest: root file system made in $(($(date +%s) - began)) s, $(du -sm root | cut -f1) MB"
