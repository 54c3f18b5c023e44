#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The architecture, checked: each library has one home, the core is pure, and nobody includes upward.
# Run from the top folder; says what breaks a rule, and fails.
set -eu
bad=0

# only HEADER 'file patterns, as for case': no other file under agent/ may include HEADER.
only() {
	header=$1 homes=$2
	for f in $(grep -rlE "#include <$header>" agent --include='*.[ch]'); do
		ok=no
		for home in $homes; do
			# shellcheck disable=SC2254 # a pattern is meant
			case $f in agent/$home) ok=yes ;; esac
		done
		[ $ok = yes ] || { echo "layers: $f includes <$header>: only $homes may"; bad=1; }
	done
}

# not FOLDER PATTERN WHY: no file in FOLDER may include "PATTERN...".
not() {
	hits=$(grep -nE "#include \"($2)" agent/$1/*.[ch] 2>/dev/null || :)
	[ -z "$hits" ] || { echo "$hits"; echo "layers: agent/$1 includes upward or sideways: $3"; bad=1; }
}

only 'mosquitto\.h' 'link/mqtt*'
only 'sqlite3\.h' 'link/db.c link/db-query.c link/db-memory.c'
only 'dbus/dbus\.h' 'link/bus* link/bluez* link/control*'
only 'sodium\.h' 'core/crypto.c'
only 'zlib\.h' 'core/revocation.c'
only 'openssl/.*' 'link/x509*'
only 'libconfig\.h' 'link/config*'
only 'jansson\.h' 'message* ctl/* desk/* gateway*'
only 'systemd/sd-bus\.h' ''

# core: no I/O, no loop, no clock of its own
for f in agent/core/*.[ch]; do
	hits=$(grep -nE '#include <(systemd|sys|unistd|fcntl|time|pthread|dbus|mosquitto|jansson)' "$f" || :)
	[ -z "$hits" ] || { echo "$f: $hits"; echo "layers: the core is pure"; bad=1; }
done
not core '(link|driver|desk|ctl)/|message|lock\.h|gateway|problem' 'the core knows nobody'
not driver '(link|desk|ctl)/|message|lock\.h|gateway' 'drivers know the core only'
not link '(driver|desk|ctl)/|lock\.h|gateway' 'links report through ops'
not desk '(driver|ctl)/|lock\.h|gateway' 'the desk is another program'
not ctl '(driver|desk)/|lock\.h|gateway' 'the control program is another program'
hits=$(grep -nE '#include "(link|gateway|desk|ctl)' agent/lock*.[ch] | grep -v 'agent/lockbridged.c' || :)
[ -z "$hits" ] || { echo "$hits"; echo 'layers: a lock session knows no link'; bad=1; }

# time_t has 64 bits here, but on a 32-bit machine not in Debian's libraries: none is given one
hits=$(grep -nE '\b(ASN1_TIME_(set|adj|cmp_time_t)|ASN1_(UTCTIME|GENERALIZEDTIME)_(set|adj)|X509_(gmtime_adj|time_adj(_ex)?|cmp_time|cmp_timeframe|VERIFY_PARAM_set_time|STORE_CTX_set_time))\(|\bgz(seek|tell|offset)\(' agent/*.[ch] agent/*/*.[ch] || :)
[ -z "$hits" ] || { echo "$hits"; echo 'layers: a library is given a time_t or off_t'; bad=1; }

# one daemon-wide log: library code returns
hits=$(grep -nE '\b(printf|perror|syslog|sd_journal_[a-z]+)\(|fprintf\(std(err|out)' agent/core/*.c agent/driver/*.c agent/link/*.c agent/message*.c || :)
[ -z "$hits" ] || { echo "$hits"; echo 'layers: library code never logs'; bad=1; }

# every source says its licence
for f in $(git ls-files '*.c' '*.h' '*.py' '*.sh' Makefile 2>/dev/null); do
	head -2 "$f" | grep -q SPDX-License-Identifier || { echo "layers: $f has no SPDX line"; bad=1; }
done
[ $bad = 0 ] && echo "layers: ok"
exit $bad
