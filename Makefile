# SPDX-License-Identifier: GPL-2.0
# Every verb a person types. "make help" lists them.

.DEFAULT_GOAL := module
MAKEFLAGS += --no-print-directory
KERNEL ?= stock
export KDIR SUITE FLIP_BYTE KERNEL
# Other flavours of the stock kernel, and another series, as in scripts/common.sh.
flavours := cloud rt 7.3
ifeq ($(filter $(KERNEL),stock debug $(flavours)),)
$(error KERNEL=$(KERNEL) is not known; say KERNEL=debug, $(flavours:%=KERNEL=%,) or leave it out)
endif

.PHONY: help
help: ## This list
	@echo 'make VERB [VARIABLE=value ...]'
	@echo
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | while IFS='	' read -r verb text; do \
		printf '  %-12s %s\n' "$$verb" "$$text"; done
	@echo
	@echo 'Variables:'
	@echo '  KDIR=DIR      build against your own built kernel tree, with the tools of this machine'
	@echo '  SUITE=NAME    test: run only this suite of tests/suites.toml, or those of a topology (or: ONE,ANOTHER)'
	@echo '  KERNEL=debug  test, test-all, test-quick, stress, fuzz, boot, shell: on a kernel with all detectors'
	@echo '  KERNEL=cloud  the same verbs, on that flavour of the stock kernel (or rt; or 7.3, the next series); test: a part of the suites'
	@echo '  JOBS=1        test: one guest at a time, on a machine that has room for two'
	@echo '  PLAN=FILE     boot: the script to run in the guest'
	@echo '  TOPOLOGY=NAME run, boot, shell, stress: one of qemu/topologies.toml; default: peer'
	@echo '  STRESS_SECONDS=N, SEED=N  stress: how long each row takes, and its choices again'
	@echo '  FUZZ_SECONDS=N, SEED=N  fuzz: how long (60), or one run once more'
	@echo '  ROUNDS=N, CASE=NAME  bench: how often each case is measured (7), or only one; wake-timing: ROUNDS (3)'
	@echo '  CASE=CALL, FAMILY=NAME  profile: send/stream/64 or another call, and the family beside rvsock (unix; sibling_to/4096: vsock)'
	@echo '  FLIP_BYTE=N   run: the host corrupts its Nth echoed byte, so the run must fail'
	@echo '  RVSOCK_CACHE=DIR  where build root, kernel and tools are kept; default: ~/.cache/rvsock'
	@echo '  RVSOCK_MIRROR=URL the package mirror that the build root is made from'

.PHONY: setup
setup: ## Make the build root, the kernel's tree and the tools (the other verbs do it when needed)
ifeq ($(KDIR),)
	@scripts/setup
endif

.PHONY: module
module: setup ## Build build/rvsock.ko for the stock kernel (the default verb)
	@scripts/module

.PHONY: programs
programs: setup ## Build the guest's and the host's test programs
	@scripts/programs

.PHONY: run
run: guest ## Boot a guest, show the module at work against this host, power off
	@scripts/in-root qemu/demonstration $(TOPOLOGY)

.PHONY: test
test: guest $(if $(SUITE),,debugging) ## All tests; ends with "N passed, N failed"
	@tests/run --check

.PHONY: test-quick
test-quick: guest ## All tests but what takes long: the checks of the tree and of the set-up among it
	@tests/run

.PHONY: test-all
test-all: guest $(if $(SUITE),,debugging flavours) ## All tests, also on other flavours, and then make stress; with KERNEL=debug all of it on that kernel
	@status=0; tests/run --check --flavours || status=$$?; $(stress) || status=$$?; exit $$status

.PHONY: seed
seed: guest ## Break each behaviour of docs/behaviour.md, and see its tests fail
	@tests/seed

.PHONY: check
check: setup ## Format, lints and documentation of all languages, and the floors' rules
	@scripts/check

stress = scripts/in-root tests/run_stress.py $(and $(STRESS_SECONDS),--seconds=$(STRESS_SECONDS)) \
	$(and $(SEED),--seed=$(SEED)) $(and $(TOPOLOGY),--topology=$(TOPOLOGY))

.PHONY: stress
stress: guest ## Random calls by many threads, long, and a million exchanges (STRESS_SECONDS, SEED, TOPOLOGY)
	@$(stress)

.PHONY: fuzz
fuzz: guest ## Packets, events and rings by ever new seeds, against live connections (FUZZ_SECONDS, SEED)
	@scripts/in-root tests/run_fuzz.py $(and $(FUZZ_SECONDS),--seconds=$(FUZZ_SECONDS)) $(and $(SEED),--seed=$(SEED))

.PHONY: bench
bench: guest ## Measure rvsock beside C vsock, AF_UNIX and TCP: loopback, host, sibling; and draw it (ROUNDS, CASE)
	@scripts/in-root tests/bench/run_bench.py $(and $(ROUNDS),--rounds=$(ROUNDS)) $(and $(CASE),--case=$(CASE))

.PHONY: wake-timing
wake-timing: guest ## Measure and draw when recv wakes, in each family of sockets (ROUNDS)
	@scripts/in-root tests/bench/run_wake.py $(and $(ROUNDS),--rounds=$(ROUNDS))

.PHONY: bench-exact
bench-exact: guest ## Count the instructions of rvsock's calls beside those of the others (N=BOOTS)
	@scripts/in-root tests/bench/run_exact.py $(and $(N),--boots=$(N))

.PHONY: path-lengths
path-lengths: guest ## Count rvsock's instructions anew into tests/path_lengths.toml, to which "make test" holds them
	@scripts/in-root tests/run_path_lengths.py

.PHONY: profile
profile: guest ## The functions that a call's instructions are in, rvsock's beside another's (CASE, FAMILY)
	@scripts/cargo tests/bench/instructions build --release -q
	@scripts/in-root tests/bench/run_profile.py --case=$(or $(CASE),$(error say which: make profile CASE=send/stream/64)) \
		$(and $(FAMILY),--beside=$(FAMILY))

.PHONY: boots
boots: guest ## Boot, exchange two bytes, power off, 20 times (N=NUMBER): all the same
	@scripts/in-root qemu/boots $(N)

.PHONY: shell
shell: guest ## A guest to play in, with the module loaded
	@scripts/in-root qemu/boot --shell --topology $(or $(TOPOLOGY),peer)

.PHONY: boot
boot: guest ## Boot a guest with a plan of your own: make boot PLAN=FILE
	@scripts/in-root qemu/boot --topology $(or $(TOPOLOGY),peer) "$(or $(PLAN),$(error say which: make boot PLAN=FILE))"

# What each verb that boots a guest needs.
.PHONY: guest
guest: setup
ifneq ($(KDIR),)
	@echo 'error: guests run the stock kernel; leave KDIR out' >&2; exit 1
endif
	@scripts/module
	@scripts/programs
ifeq ($(KERNEL),debug)
	@scripts/setup --debug
	@scripts/module-debug
endif
ifneq ($(filter $(KERNEL),$(flavours)),)
	@scripts/setup $(KERNEL)
	@scripts/module-flavour $(KERNEL)
endif

# The debugging kernel and the modules for it, of which "make test" has a short run.
.PHONY: debugging
debugging: guest
ifeq ($(KERNEL),stock)
	@scripts/setup --debug
	@scripts/module-debug
endif

# The same for the other flavours, of which "make test-all" has a short run.
.PHONY: flavours
flavours: guest
ifeq ($(KERNEL),stock)
	@scripts/setup $(flavours)
	@for flavour in $(flavours); do scripts/module-flavour $$flavour || exit; done
endif

.PHONY: clean
clean: ## Remove build/: the module, the programs and the logs of runs
	@scripts/remove-build

.PHONY: distclean
distclean: clean ## Remove build/ and the cache, which the next verb makes anew (minutes)
	@scripts/remove-cache
