#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# autopkgtest.sh DEBS DIR: debian/tests against the packages in DEBS, by autopkgtest in a Debian of its own at
# DIR/root, made anew when debian/control or this file changes. As root. A chroot runs no systemd: the test
# that needs one is skipped here, and done in a container by tests/nspawn.
set -eu

suite=bookworm
[ $# = 2 ] || { echo "usage: autopkgtest.sh DEBS DIR" >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo "autopkgtest.sh: a chroot takes root: run it with sudo" >&2; exit 1; }
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
debs=$(cd "$1" && pwd)
mkdir -p "$2"
cd "$2"
exec 9>lock
flock 9

stamp=$(cat "$here/autopkgtest.sh" "$top/debian/control" | sha256sum)
if [ "$(cat root.stamp 2>/dev/null)" != "$stamp" ] || [ ! -d root ]; then
	rm -rf root root.stamp
	apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' |
		grep " $suite" | sort -u >root.list
	[ -s root.list ] || { echo "autopkgtest.sh: no Debian $suite among this machine's package sources" >&2; exit 1; }
	mmdebstrap --variant=apt --include=build-essential,bluez,polkitd,dbus,systemd \
		--aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' \
		--dpkgopt='path-exclude=/usr/share/locale/*' --skip=cleanup/apt \
		--customize-hook='mkdir -p "$1"/tmp/control/debian' \
		--customize-hook="copy-in '$top'/debian/control '$top'/debian/changelog /tmp/control/debian" \
		--customize-hook='chroot "$1" apt-get build-dep -y /tmp/control' \
		$suite root root.list >root.log 2>&1 || { tail -n 30 root.log >&2; exit 1; }
	echo '127.0.0.1 localhost' >root/etc/hosts
	chroot root useradd --create-home --uid 1000 tester
	printf '#!/bin/sh\nexit 101\n' >root/usr/sbin/policy-rc.d && chmod 755 root/usr/sbin/policy-rc.d
	echo "$stamp" >root.stamp
fi

# What the test installs is laid over the root, and gone with the mount namespace.
rm -rf out
exec unshare --mount sh -eu -c '
	mkdir -p scratch
	mount -t tmpfs tmpfs scratch
	mkdir scratch/upper scratch/work scratch/root
	mount -t overlay overlay -o "lowerdir=$PWD/root,upperdir=$PWD/scratch/upper,workdir=$PWD/scratch/work" scratch/root
	mount -t proc proc scratch/root/proc
	mount --rbind /dev scratch/root/dev
	r=0
	autopkgtest --output-dir=out --user=tester --no-auto-control '"$debs"'/lockbridge_*_*.deb '"$debs"'/lockbridge-desk_*_*.deb \
		'"$debs"'/lockbridge_*.dsc -- chroot "$PWD/scratch/root" || r=$?
	exit $r'
