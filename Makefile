# SPDX-License-Identifier: Apache-2.0
# One Makefile, not recursive. `make` builds, `make help` lists the rest.
# The user's CFLAGS and LDFLAGS are appended; B=build/asan SAN=address,undefined gives a second tree.

B       ?= build
PREFIX  ?= /usr
PYTHON  ?= /usr/bin/python3
SECONDS ?= 30
# The packager's SOURCE_DATE_EPOCH is the build's time: a floor for the box's clock.
VERSION := $(shell awk -F'[()]' 'NR == 1 { print $$2 }' debian/changelog)

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:
.SECONDARY:

# --- dependencies: debian/control is the one list of them ------------------------------------------
# $(call need,PROFILES): install what debian/control names, unless a stamp newer than it says it is there.
# Asked first without privileges or network: where nothing lacks, neither is needed. The offline word
# keeps mosquitto's package from starting a broker of its own on a machine that runs systemd.
sudo := $(if $(filter-out 0,$(shell id -u)),sudo)
build-dep := apt-get build-dep -q --no-install-recommends
define need
	@lacks=$$(LC_ALL=C $(build-dep) -s $(1) ./ 2>/dev/null) && ! echo "$$lacks" | grep -q '^Inst ' || { set -x; \
		$(sudo) apt-get update -q && \
		$(sudo) env DEBIAN_FRONTEND=noninteractive SYSTEMD_OFFLINE=1 $(build-dep) -y $(1) ./; }
	@mkdir -p $(@D) && touch $@
endef
deps-check := build/.deps-check
deps-lint  := build/.deps-lint
deps-guest := build/.deps-guest
deps-bench := build/.deps-bench

.PHONY: deps all check lint sanitize fuzz demo clean help install bench
deps: $(deps-check)
$(deps-check): debian/control
	$(call need,)
$(deps-lint): debian/control
	$(call need,-P pkg.lockbridge.lint)
$(deps-guest): debian/control
	$(call need,-P pkg.lockbridge.guest)
$(deps-bench): debian/control
	$(call need,-P pkg.lockbridge.bench)

# Everything that compiles comes after the dependencies: the flags below are asked of pkg-config when
# a recipe runs, not when the file is read, so that a fresh machine works in one call.
LIBS := libmosquitto dbus-1 libsystemd sqlite3 libsodium libcrypto zlib jansson libconfig
PKG_CONFIG ?= pkg-config
pc    = $(shell $(PKG_CONFIG) $(1) $(LIBS))

warn := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla \
	-Wformat=2 -Wimplicit-fallthrough -Wwrite-strings -Wno-unused-parameter -Wno-missing-field-initializers
# 64 bits for times also on 32-bit boards: 2038. No library may then be given a time_t (tests/layers.sh).
ours  = -std=gnu17 -O2 -g $(warn) -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fPIE \
	'-ffile-prefix-map=$(CURDIR)=.' -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64 -Iagent -Itests -DLOCKBRIDGE_VERSION='"$(VERSION)"' \
	-DLOCKBRIDGE_BUILD_TIME=$(or $(SOURCE_DATE_EPOCH),1735689600)
ifneq ($(SAN),)
ours += -U_FORTIFY_SOURCE -fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=undefined
endif
# V=1 shows the whole commands
say     = $(if $(V),,@echo '  $(1)' $@;)
compile = $(call say,CC  )$(CC) $(ours) $(call pc,--cflags) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<
link    = $(call say,LINK)$(CC) $(if $(SAN),-fsanitize=$(SAN)) -pie -Wl,-z,relro,-z,now -Wl,--as-needed $(LDFLAGS) -o $@ \
	$(filter %.o,$^) $(filter %.a,$^) $(call pc,--libs) -pthread $(1)

# --- what is built ---------------------------------------------------------------------------------
core   := $(sort $(wildcard agent/core/*.c))
agent  := $(core) $(sort $(wildcard agent/link/*.c agent/driver/*.c)) $(filter-out agent/lockbridged.c,$(sort $(wildcard agent/*.c)))
ctl    := $(sort $(wildcard agent/ctl/*.c))
desk   := $(filter-out agent/desk/main.c,$(sort $(wildcard agent/desk/*.c)))
units  := $(sort $(wildcard tests/unit/test-*.c))
sims   := lock-sim phone-sim radio-sim clock-sim
# tests/sim/radio*.c make radio-sim, and so on; tests/sim/sim-*.c are common to them.
simcommon := $(sort $(wildcard tests/sim/sim-*.c))
simsrc  = $(sort $(wildcard tests/sim/$(1).c tests/sim/$(1)-*.c))

obj = $(patsubst %.c,$(B)/%.o,$(1))
programs := $(B)/lockbridged $(B)/lockbridgectl $(B)/lockbridge-desk

all: $(programs) $(addprefix $(B)/,$(sims))

$(B)/agent.a: $(call obj,$(agent))
$(B)/desk.a: $(call obj,$(desk))
$(B)/sim.a: $(call obj,$(simcommon))
$(B)/%.a:
	@mkdir -p $(@D)
	@rm -f $@
	$(call say,AR  )$(AR) rcsD $@ $^

$(B)/lockbridged: $(call obj,agent/lockbridged.c) $(B)/agent.a
	$(call link)
$(B)/lockbridgectl: $(call obj,$(ctl)) $(B)/agent.a
	$(call link)
$(B)/lockbridge-desk: $(call obj,agent/desk/main.c) $(B)/desk.a $(B)/agent.a
	$(call link)
$(B)/lock-sim: $(call obj,$(call simsrc,lock)) $(B)/sim.a $(B)/agent.a
	$(call link)
$(B)/phone-sim: $(call obj,$(call simsrc,phone)) $(B)/sim.a $(B)/agent.a
	$(call link)
$(B)/radio-sim: $(call obj,$(call simsrc,radio)) $(B)/sim.a $(B)/agent.a
	$(call link)

$(B)/clock-sim: $(call obj,$(call simsrc,clock)) $(B)/sim.a $(B)/agent.a
	$(call link)

$(B)/%.o: %.c | $(deps-check)
	@mkdir -p $(@D)
	$(compile)

# --- tests -----------------------------------------------------------------------------------------
unitbin := $(patsubst tests/unit/%.c,$(B)/unit/%,$(units))
$(B)/unit/%: $(B)/tests/unit/%.o $(B)/desk.a $(B)/sim.a $(B)/agent.a
	@mkdir -p $(@D)
	$(call link,-lcmocka)

.PHONY: unit system
# Tests wait more than they work: four at a time on two cores.
unit: $(unitbin) $(addprefix $(B)/,$(sims))
	@printf '%s\n' $(unitbin) | LOCKBRIDGE_BUILD='$(abspath $(B))' ASAN_OPTIONS=allow_user_segv_handler=0 \
		xargs -P $(if $(LOCKBRIDGE_EMULATOR),1,4) -I{} sh -c '$(LOCKBRIDGE_EMULATOR) {} >{}.log 2>&1 \
		&& sed -n "s|^.*PASSED *] *\([0-9]* test.*\)|$$(basename {}): \1|p" {}.log \
		|| { cat {}.log; echo "FAILED: {}"; exit 1; }'
	@cat $(addsuffix .log,$(unitbin)) | awk '/PASSED/ { n += $$4 } END { print n " passed, 0 failed" }'
system: all
	@LOCKBRIDGE_BUILD='$(abspath $(B))' $(PYTHON) -B -m pytest -q -p no:cacheprovider --basetemp=$(B)/pytest -n 4 --dist loadscope tests/system tests/torture $(PYTEST)
check: all
	sh tests/layers.sh
	$(MAKE) --no-print-directory unit
	$(MAKE) --no-print-directory system
	$(MAKE) --no-print-directory torture QUICK=1
	$(MAKE) --no-print-directory nspawn-if-possible

demo: all
	@LOCKBRIDGE_BUILD='$(abspath $(B))' $(PYTHON) -B tests/system/demo.py $(if $(STAY),--stay)

# --- lint: each tool's whole output is the report; none may have anything to say -------------------
.PHONY: lint-format lint-tidy lint-cppcheck lint-analyze
sources := $(sort $(shell git ls-files '*.c' '*.h' 2>/dev/null))
lint: lint-format lint-cppcheck lint-analyze lint-tidy
lint-format: | $(deps-lint)
	@clang-format --dry-run -Werror $(sources)
lint-cppcheck: | $(deps-check) $(deps-lint)
	cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
		--suppressions-list=.cppcheck --library=.cppcheck.xml -Iagent -Itests agent tests/sim
lint-analyze: | $(deps-check)
	@$(MAKE) --no-print-directory B=build/analyze CFLAGS="-fanalyzer -O1 -Werror $(analyze-off)" \
		build/analyze/agent.a build/analyze/desk.a build/analyze/sim.a $(analyze-more)
# too many paths for the analyzer to follow is no finding
analyze-off  := -Wno-analyzer-too-complex
analyze-more  = $(patsubst %.c,build/analyze/%.o,agent/lockbridged.c agent/desk/main.c $(ctl))
lint-tidy: | $(deps-check) $(deps-lint)
	@printf '%s\n' $(filter-out tests/%,$(filter %.c,$(sources))) | xargs -P 2 -n 8 sh -c \
		'exec clang-tidy --quiet "$$@" -- -std=gnu17 -D_GNU_SOURCE -Iagent -DLOCKBRIDGE_VERSION=\"0\" -DLOCKBRIDGE_BUILD_TIME=0 $(call pc,--cflags) 2>/dev/null' tidy

# --- sanitizers: the same tests in trees of their own --------------------------------------------
threaded := $(patsubst tests/unit/%.c,build/tsan/unit/%,$(sort $(wildcard tests/unit/test-mqtt*.c)))
sanitize:
	$(MAKE) --no-print-directory B=build/asan SAN=address,undefined unit system
	$(MAKE) --no-print-directory B=build/tsan SAN=thread $(threaded)
	@for t in $(threaded); do TSAN_OPTIONS=halt_on_error=1:suppressions=tests/tsan.supp $$t >$$t.log 2>&1 \
		&& echo "$$t: no race" || { cat $$t.log; exit 1; }; done
	@echo 'sanitize: ok'

# --- fuzzing: SECONDS per target, from the corpus kept in tests/fuzz/corpus ------------------------
fuzzers := $(patsubst tests/fuzz/%.c,%,$(sort $(wildcard tests/fuzz/fuzz-*.c)))
FB      := build/fuzz
$(FB)/fuzz-%: $(FB)/tests/fuzz/fuzz-%.o $(FB)/desk.a $(FB)/agent.a
	clang -fsanitize=fuzzer,address,undefined $(LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(call pc,--libs) -pthread
# The lock's firmware without its flash: the fuzzer is that.
$(FB)/fuzz-lock: $(patsubst %,$(FB)/tests/sim/lock-%.o,firmware execute answer)
fuzz: | $(deps-check) $(deps-lint)
	@$(MAKE) --no-print-directory B=$(FB) CC=clang SAN=address,undefined,fuzzer-no-link \
		$(addprefix $(FB)/,$(fuzzers))
	@for f in $(fuzzers); do mkdir -p $(FB)/found/$$f; \
		echo "$$f: $(SECONDS) s"; \
		$(FB)/$$f -max_total_time=$(SECONDS) -rss_limit_mb=1024 -timeout=5 -print_final_stats=1 \
			-artifact_prefix=$(FB)/found/$$f- $(FB)/found/$$f $(wildcard tests/fuzz/corpus/)/$${f#fuzz-} \
			>$(FB)/$$f.log 2>&1 || { tail -40 $(FB)/$$f.log; exit 1; }; \
		sed -n 's/^stat::number_of_executed_units: */  executions: /p' $(FB)/$$f.log; done

# --- torture: faults on purpose; SEED=n, MINUTES=m at most, FAULT="names", QUICK=1 as `make check` does ----
# tests/torture/shim-*.c are preloaded into the programs under test, the other .c are programs.
shims    := $(patsubst tests/torture/%.c,$(B)/torture/%.so,$(sort $(wildcard tests/torture/shim-*.c)))
torturers := $(patsubst tests/torture/%.c,$(B)/torture/%,$(filter-out tests/torture/shim-%,$(sort $(wildcard tests/torture/*.c))))
$(B)/torture/shim-%.so: tests/torture/shim-%.c | $(deps-check)
	@mkdir -p $(@D)
	$(call say,LINK)$(CC) $(ours) $(CPPFLAGS) $(CFLAGS) -fPIC -shared $(LDFLAGS) -o $@ $< -ldl
$(torturers): $(B)/torture/%: $(B)/tests/torture/%.o $(B)/desk.a $(B)/agent.a
	@mkdir -p $(@D)
	$(call link)
.PHONY: torture torture-tools torture-guest
torture-tools: $(shims) $(torturers)
torture-guest: build/deb/.built | $(deps-guest)
	@$(sudo) sh tests/guest/vm.sh build/guest
# All of it wants root (other owners of files, a small disk, a guest), and the guest whose power is cut.
torture: all torture-tools $(if $(QUICK)$(filter-out power_vm,$(FAULT)),,torture-guest)
	@$(if $(QUICK),,$(sudo)) env LOCKBRIDGE_BUILD='$(abspath $(B))' $(PYTHON) -B tests/torture/torture.py $(if $(QUICK),--quick) $(if $(SEED),--seed $(SEED)) \
		$(if $(MINUTES),--minutes $(MINUTES)) $(FAULT)

# --- benchmarks: figures, never verdicts -------------------------------------------------------------
benches := $(patsubst tests/bench/%.c,$(B)/bench/%,$(sort $(wildcard tests/bench/*.c)))
$(benches): $(B)/bench/%: $(B)/tests/bench/%.o $(B)/desk.a $(B)/agent.a
	@mkdir -p $(@D)
	$(call link)
.PHONY: bench-tools
bench-tools: $(benches)
# Alone on the machine; QUICK=1: all of it, smaller; PART="door size": these only.
bench: all torture-tools bench-tools | $(deps-bench)
	@env LOCKBRIDGE_BUILD='$(abspath $(B))' $(PYTHON) -B tests/bench/bench.py $(if $(QUICK),--quick) $(PART)

# --- installing, and packages ------------------------------------------------------------------------
INSTALL ?= install
UNITDIR ?= $(PREFIX)/lib/systemd/system
define eol


endef
# $(call into,FOLDER,MODE,FILES) installs FILES; $(call as,FOLDER/NAME,FILE) one under another name, in
# which the programs' place is put right.
into = $(if $(strip $(3)),$(INSTALL) -d '$(DESTDIR)$(1)' && $(INSTALL) -m $(2) $(3) '$(DESTDIR)$(1)')$(eol)
as   = $(INSTALL) -d '$(DESTDIR)$(dir $(1))' && sed 's|/usr/\(s\?bin\)/|$(PREFIX)/\1/|g' $(2) >'$(DESTDIR)$(1)'$(eol)
units-of = $(call as,$(UNITDIR)/$(1).service,systemd/$(1).service) \
	$(call as,$(PREFIX)/lib/sysusers.d/$(1).conf,systemd/$(1).sysusers) \
	$(call as,$(PREFIX)/lib/tmpfiles.d/$(1).conf,systemd/$(1).tmpfiles)

.PHONY: programs simulators
programs: $(programs)
simulators: $(addprefix $(B)/,$(sims))
install: $(programs)
	$(call into,$(PREFIX)/sbin,755,$(B)/lockbridged)
	$(call into,$(PREFIX)/bin,755,$(B)/lockbridgectl $(B)/lockbridge-desk)
	$(foreach u,lockbridge lockbridge-desk,$(call units-of,$(u)))
	$(call as,$(UNITDIR)/bluetooth.service.d/lockbridge.conf,systemd/bluetooth-restart.conf)
	$(call into,$(PREFIX)/share/dbus-1/system.d,644,config/dbus/org.lockbridge.Gateway1.conf)
	$(call into,$(PREFIX)/share/dbus-1/interfaces,644,config/dbus/org.lockbridge.Gateway1.xml)
	$(call into,$(PREFIX)/share/polkit-1/rules.d,644,$(wildcard config/polkit/*.rules))
	$(call into,$(PREFIX)/share/bash-completion/completions,644,$(wildcard config/bash-completion/*))
	$(foreach n,1 5 8,$(call into,$(PREFIX)/share/man/man$(n),644,$(wildcard docs/man/*.$(n))))

# The packages, built from a copy of this tree as it stands (what git ignores left out): dpkg-buildpackage
# writes beside its tree. They are made anew when a file of the tree is newer.
debarch  := $(shell dpkg --print-architecture 2>/dev/null)
debs      = $(patsubst %,build/deb/%_$(VERSION)_$(debarch).deb,lockbridge lockbridge-desk)
treelist  = if git ls-files -z >/dev/null 2>&1 && [ -e .git ]; then git ls-files -coz --exclude-standard; \
	else find . -path ./build -prune -o -type f -print0; fi | sort -zu | xargs -0 ls -d 2>/dev/null
treefiles = $(shell $(treelist) | grep -v ' ')
# $(call copytree,FOLDER)
copytree  = rm -rf $(1) && mkdir -p $(1) && $(treelist) | \
	tar c --mode=u=rwX,go=rX --mtime="$$(dpkg-parsechangelog -SDate)" -T - | tar x -C $(1)
.PHONY: deb
deb: build/deb/.built
	@ls -l $(debs)
build/deb/.built: $(treefiles) | $(deps-check)
	@rm -rf build/deb
	@$(call copytree,build/deb/tree)
	@cd build/deb/tree && { env -u MAKEFLAGS -u MAKELEVEL LC_ALL=C.UTF-8 dpkg-buildpackage -us -uc >../build.log 2>&1 || \
		{ tail -n 60 ../build.log; echo 'deb: the whole log is in build/deb/build.log'; exit 1; }; }
	@rm -rf build/deb/tree && touch $@

# Fit to be given out? lintian, blhc, bills of materials; a second build must give the same bytes.
deps-package := build/.deps-package
$(deps-package): debian/control
	$(call need,-P pkg.lockbridge.package)
.PHONY: deb-check cross
deb-check: build/deb/.built | $(deps-package)
	@$(call copytree,build/deb/tree)
	@sh tests/deb/check.sh build/deb/tree build/deb; r=$$?; rm -rf build/deb/tree; exit $$r

# debian/tests, by autopkgtest in a Debian of its own.
.PHONY: autopkgtest
autopkgtest: build/deb/.built | $(deps-package)
	@$(sudo) sh tests/deb/autopkgtest.sh build/deb build/autopkgtest

# For the usual boards, in a Debian of its own, with the unit tests under qemu-user.
deps-cross := build/.deps-cross
$(deps-cross): debian/control
	$(call need,-P pkg.lockbridge.cross)
cross: cross-arm64 cross-armhf
cross-%: | $(deps-cross)
	@$(call copytree,build/cross/$*/tree)
	@$(sudo) sh tests/deb/cross.sh $* build/cross/$*/tree build/cross/$*
	@ls -l build/cross/$*/*.deb

# --- a Debian of its own: tests/guest makes the root, systemd-nspawn or qemu boots it ----------------
# Both install the packages of build/deb. `make check` boots containers where it may, `make nspawn` insists.
guest-tests = $(sudo) env LOCKBRIDGE_BUILD='$(abspath $(B))' $(PYTHON) -B -m pytest -q -p no:cacheprovider
.PHONY: nspawn vm nspawn-if-possible
nspawn: build/deb/.built all | $(deps-guest)
	@$(sudo) sh tests/guest/rootfs.sh build/guest
	@$(guest-tests) -n 3 --dist loadscope tests/nspawn $(PYTEST)
nspawn-if-possible:
	@if [ "$$(id -u)" != 0 ] && ! sudo -n true 2>/dev/null; then \
		echo 'nspawn: skipped: a container takes root, or sudo without a password'; \
	elif ! $(sudo) unshare --mount --pid --fork --net true 2>/dev/null; then \
		echo 'nspawn: skipped: this machine lets nobody make a container'; \
	else $(MAKE) --no-print-directory nspawn PYTEST=; fi
# The real kernel, systemd and bluetoothd, under qemu; what was measured stands at the end.
vm: build/deb/.built all | $(deps-guest)
	@$(sudo) sh tests/guest/vm.sh build/guest
	@$(guest-tests) tests/vm $(PYTEST)

help:
	@echo 'make          build lockbridged, lockbridgectl, lockbridge-desk and the simulators'
	@echo 'make demo     the main job as a story, on this machine; STAY=1 keeps it running'
	@echo 'make check    unit tests, system tests, some torture, packages in a container; make unit, make system PYTEST="-k word"'
	@echo 'make nspawn   the packages under systemd: install, enrol, upgrade, purge (as root)'
	@echo 'make vm       the packages on a real kernel with the real bluetoothd, under qemu (as root)'
	@echo 'make lint     clang-format, clang-tidy, cppcheck, gcc -fanalyzer'
	@echo 'make sanitize the tests under ASan and UBSan, the connector thread under TSan'
	@echo 'make fuzz     SECONDS=30 per target'
	@echo 'make torture  crashes, power cuts, lying brokers and more, and what they broke; SEED=n, MINUTES=m, FAULT="names"'
	@echo 'make bench    what it costs here, beside limits and peers: one table; QUICK=1, PART="door size"'
	@echo 'make install  DESTDIR=, PREFIX=/usr'
	@echo 'make deb      the Debian packages, into build/deb; make deb-check: are they fit to be given out?'
	@echo 'make autopkgtest  the system tests against the installed packages, in a chroot (as root)'
	@echo 'make cross    packages for arm64 and armhf, unit tests under qemu-user (as root)'
	@echo 'make clean'

# The guest's root file system belongs to root.
clean:
	$(if $(wildcard build/guest build/autopkgtest build/cross),$(sudo) rm -rf build/guest build/autopkgtest build/cross)
	rm -rf $(if $(filter build,$(B)),$(filter-out build/.deps-%,$(wildcard build/*)),$(B))

-include $(shell find $(B)/agent $(B)/tests -name '*.d' -type f 2>/dev/null)
