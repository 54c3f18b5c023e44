#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# vm.sh DIR: what qemu boots, under DIR, from the root that rootfs.sh made there. As root, because the root's
# files have owners. What did not change since the last time is not made again.
#
#   vmlinux, initrd   Debian's kernel as an ELF, which qemu enters without firmware or unpacking; its drivers
#   root.ext4         the root, read-only
#   extra.ext4        what makes it a machine of ours: kernel modules, tests/guest/vm, a key for ssh
#   key               the private half
#
# The machine's third disk, which a test makes and may cut the power of, is laid over both.
set -eu

[ $# = 1 ] || { echo "usage: vm.sh DIR" >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo "vm.sh: reading a root file system takes root: run it with sudo" >&2; exit 1; }
[ "$(uname -m)" = x86_64 ] || { echo "vm.sh: the guest is a PC, this machine is none" >&2; exit 1; }
src=$(cd "$(dirname "$0")" && pwd)
sh "$src/rootfs.sh" "$1"
cd "$1"
exec 9>vm.lock
flock 9
began=$(date +%s)

# changed NAME: whether what is on stdin is not what NAME's stamp says; same NAME: now it is
changed() { sha256sum >"$1.new"; ! cmp -s "$1.new" "$1.stamp"; }
same() { mv "$1.new" "$1.stamp"; made="${made:+$made, }$1"; }

# The cloud's kernel has no Bluetooth; this one is unpacked, not installed.
kernel=$(apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: linux-image-//p' | head -n 1)
[ -n "$kernel" ] || { echo "vm.sh: no linux-image-amd64 among this machine's package sources" >&2; exit 1; }
if echo "$kernel" | changed kernel; then
	rm -rf kernel debs
	mkdir kernel debs
	(cd debs && apt-get download -q "linux-image-$kernel" busybox-static >../kernel.log 2>&1) ||
		{ cat kernel.log >&2; exit 1; }
	for deb in debs/*.deb; do dpkg-deb -x "$deb" kernel; done
	rm -rf debs
	depmod -b kernel "$kernel"
	/usr/bin/python3 "$src/vmlinux.py" "kernel/boot/vmlinuz-$kernel" vmlinux
	same kernel
fi

# The early ones are loaded by the initrd, in this order; the later ones on demand. Without drbg and its kin
# pairing fails for no reason given.
early="virtio_pci virtio_blk ext4 overlay virtio_net 9p 9pnet_virtio autofs4 hci_vhci uhid
	algif_hash algif_skcipher cmac drbg"
later="bluetooth jitterentropy_rng ecdh_generic ecb sha512_generic seqiv sha256_generic crc16 af_packet rfkill loop"
drivers() {
	for module in "$@"; do
		modprobe -d kernel -S "$kernel" --show-depends "$module" | awk '$1 == "insmod" { print $2 }'
	done | awk '!seen[$0]++'
}

[ -f key ] || ssh-keygen -q -t ed25519 -N '' -C guest -f key
if (cat kernel.stamp key.pub "$src/vm.sh" "$src/init"; cd "$src/vm" && find . -type f | sort | xargs sha256sum) | changed extra
then
	rm -rf initrd.d extra extra.ext4
	mkdir -p initrd.d/bin initrd.d/dev initrd.d/proc initrd.d/sys initrd.d/root initrd.d/modules
	cp kernel/bin/busybox initrd.d/bin/
	ln -s busybox initrd.d/bin/sh
	install -m 755 "$src/init" initrd.d/init
	# shellcheck disable=SC2086
	for file in $(drivers $early); do
		cp "$file" initrd.d/modules/
		echo "${file##*/}" >>initrd.d/order
	done
	(cd initrd.d && find . | ./bin/busybox cpio -o -H newc -R 0:0 2>/dev/null) >initrd

	install -d -m 755 extra/usr
	# shellcheck disable=SC2086
	for file in $(drivers $early $later); do
		install -D -m 644 "$file" "extra/usr/lib/modules/${file#*/lib/modules/}"
	done
	install -m 644 "kernel/lib/modules/$kernel"/modules.order "kernel/lib/modules/$kernel"/modules.builtin* \
		"extra/usr/lib/modules/$kernel"
	(cd extra && ln -s usr/lib lib && depmod -b . "$kernel" && rm lib)
	cp -R "$src/vm/." extra/
	install -d -m 700 extra/root extra/root/.ssh
	install -m 600 key.pub extra/root/.ssh/authorized_keys
	chown -R 0:0 extra
	mke2fs -q -F -t ext4 -O ^has_journal -m 0 -d extra extra.ext4 "$(($(du -sm extra | cut -f1) * 2 + 16))M" >/dev/null
	rm -rf initrd.d extra
	same extra
fi

if changed root.ext4 <root.stamp; then
	rm -f root.ext4
	mke2fs -q -F -t ext4 -O ^has_journal -m 0 -d root root.ext4 "$(($(du -sm root | cut -f1) * 5 / 4 + 64))M" >/dev/null
	same root.ext4
fi
# qemu runs as whoever tests
if [ -n "${SUDO_UID:-}" ]; then chown "$SUDO_UID" key; fi
chmod 755 .
chmod 644 vmlinux initrd root.ext4 extra.ext4
if [ -n "${made:-}" ]; then echo "guest: $made made in $(($(date +%s) - began)) s"; fi
