#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# cross.sh ARCH TREE DIR: builds the packages in TREE, a clean copy of the source, for another architecture,
# and runs its unit tests there under qemu-user. As root: the build happens in a Debian of its own at
# DIR/root, by a user without privileges. The packages end in DIR.
#
# The root is made anew only when debian/control or this file changes. It takes packages from the main
# suite alone: the security suite's architectures are not always in step, and then nothing installs.
set -eu

suite=bookworm
[ $# = 3 ] || { echo "usage: cross.sh ARCH TREE DIR" >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo "cross.sh: a root file system with its owners takes root: run it with sudo" >&2; exit 1; }
arch=$1
self=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
tree=$(cd "$2" && pwd)
mkdir -p "$3"
cd "$3"
exec 9>lock
flock 9

case $arch in
arm64) emulator=qemu-aarch64-static ;;
armhf) emulator=qemu-arm-static ;;
*) echo "cross.sh: arm64 and armhf are known here, not $arch" >&2; exit 2 ;;
esac
native=$(dpkg --print-architecture)

make_root() {
	rm -rf root root.stamp
	mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' \
		'Origin: Debian' | awk -v suite=$suite '$2 == suite && $3 == "main" { print $1; exit }')
	[ -n "$mirror" ] || { echo "cross.sh: no Debian $suite among this machine's package sources" >&2; exit 1; }
	mmdebstrap --variant=apt --architectures="$native,$arch" --components=main \
		--include="build-essential,crossbuild-essential-$arch" \
		--aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' \
		--dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/man/*' \
		--customize-hook='mkdir -p "$1"/build/tree/debian' \
		--customize-hook="copy-in '$tree'/debian/control '$tree'/debian/changelog /build/tree/debian" \
		--customize-hook="chroot \"\$1\" apt-get build-dep -y --host-architecture $arch /build/tree" \
		$suite root "$mirror" >root.log 2>&1 || { tail -n 30 root.log >&2; exit 1; }
	# Not by a link to the host's: in the root there is no host.
	cp "$(command -v $emulator)" root/usr/bin/
	echo '127.0.0.1 localhost' >root/etc/hosts
	echo 'build:x:1000:1000::/build:/bin/sh' >>root/etc/passwd
	echo 'build:x:1000:' >>root/etc/group
	echo "$stamp" >root.stamp
}

stamp=$(cat "$self" "$tree/debian/control" | sha256sum)
if [ "$(cat root.stamp 2>/dev/null)" != "$stamp" ] || [ ! -d root ]; then
	make_root
fi

# A mount namespace of its own: what is mounted for the build goes with it.
rm -rf root/build && mkdir -p root/build
cp -a "$tree" root/build/tree
chown -R 1000:1000 root/build
began=$(date +%s)
unshare --mount sh -eu -c '
	mount -t proc proc root/proc
	mount --rbind /dev root/dev
	mount -t tmpfs tmpfs root/tmp
	exec chroot root setpriv --reuid=1000 --regid=1000 --clear-groups --no-new-privs \
		env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/build LC_ALL=C.UTF-8 LOCKBRIDGE_EMULATOR='"$emulator"' \
		sh -c "cd /build/tree && dpkg-buildpackage -us -uc -b -a$1"' sh "$arch" >build.log 2>&1 || {
	tail -n 25 build.log | cut -c1-240 >&2
	echo "cross.sh: the whole log is in $PWD/build.log" >&2
	exit 1
}
rm -f ./*.deb ./*.changes ./*.buildinfo
cp root/build/*.deb root/build/*.changes root/build/*.buildinfo .
rm -rf root/build
echo "$arch: $(grep -E '^[0-9]+ passed, 0 failed' build.log || echo 'unit tests not run'), built in $(($(date +%s) - began)) s"
