#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# check.sh TREE DIR: are the packages that `make deb` left in DIR fit to be given out? Builds them a second
# time from TREE, a clean copy of the source, in another folder, time zone and language, and compares
# every byte; then lintian, blhc on the build's log, and each bill of materials.
set -eu

[ $# = 2 ] || { echo "usage: check.sh TREE DIR" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
tree=$(cd "$1" && pwd)
cd "$2"
bad=0

again=$PWD/again/somewhere/else
rm -rf again && mkdir -p "$again"
cp -a "$tree" "$again/tree"
(cd "$again/tree" && env -u MAKEFLAGS -u MAKELEVEL TZ=Asia/Kathmandu LC_ALL=C LANGUAGE=sv HOME=/nonexistent \
	DEB_BUILD_OPTIONS="nocheck parallel=1" dpkg-buildpackage -us -uc >../build.log 2>&1) ||
	{ tail -n 30 "$again/build.log" >&2; exit 1; }
for f in *.deb *.dsc *.tar.xz; do
	if ! cmp -s "$f" "$again/$f"; then
		echo "check: the second build of $f differs:"
		diffoscope --max-report-size 20000 "$f" "$again/$f" | head -n 60 || :
		bad=1
	fi
done
[ $bad = 1 ] || echo "check: built twice, $(ls ./*.deb ./*.dsc ./*.tar.xz | wc -l) files the same"
rm -rf again

# Every tag, down to those that only inform, is mended or overridden with a reason.
lintian --allow-root --pedantic --display-info --tag-display-limit 0 \
	--fail-on error,warning,info,pedantic ./*.changes && echo 'check: lintian has nothing to say' || bad=1
blhc --all --debian build.log && grep -q -- '-D_FORTIFY_SOURCE' build.log && echo 'check: blhc has nothing to say' || bad=1
for f in ./*.deb; do
	case $f in *-dbgsym_*) continue ;; esac
	python3 "$here/spdx.py" "$f" || bad=1
done
exit $bad
