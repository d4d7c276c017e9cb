#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# shellcheck disable=SC2034 # what sources this uses it
# What the suites about the module as a whole share, to be sourced.
#   MODULES        directory of rvsock.ko and the C modules (default /modules)
#   RVSOCK_MODULE  rvsock.ko itself, when it is another one
#   RVSOCK_FAMILY  number with which rvsock is loaded (default 18)

modules=${MODULES:-/modules}
family=${RVSOCK_FAMILY:-18}
here=$(dirname "$0")
c_modules="vsock vmw_vsock_virtio_transport_common vmw_vsock_virtio_transport"

loaded() { grep -q "^$1 " /proc/modules; }

load() { insmod "${RVSOCK_MODULE:-$modules/rvsock.ko}" "$@" 2>/tmp/insmod.err; }

load_as() {
	if [ "$1" = 18 ]; then load; else load family="$1"; fi
}

# Closing sockets hold the module for up to 8 s; give it 12.
unload() {
	tries=0
	until rmmod rvsock 2>/dev/null; do
		tries=$((tries + 1))
		[ $tries -gt 120 ] && return 1
		sleep 0.1
	done
}

# The same of the C modules.
unload_c() {
	tries=0
	while loaded vsock; do
		tries=$((tries + 1))
		[ $tries -gt 120 ] && return 1
		[ $tries -gt 1 ] && sleep 0.1
		rmmod vmw_vsock_virtio_transport 2>/dev/null
		rmmod vmw_vsock_virtio_transport_common 2>/dev/null
		rmmod vsock 2>/dev/null
	done
}

load_c() {
	for name in $c_modules; do
		insmod "$modules/$name.ko" || return 1
	done
}

two_byte() { RVSOCK_FAMILY=$1 "$here/demo" two-byte >/tmp/demo.out 2>&1; }

# A line in the log, and what stands behind it: the log forgets its oldest lines, so
# that they cannot be counted.
mark_log() {
	log_mark=$(cut -d' ' -f1 /proc/uptime)
	echo "rvsock-test: mark $log_mark" >/dev/kmsg
}
new_log() { dmesg | sed "1,/rvsock-test: mark $log_mark\$/d"; }

complain() { echo "# $*"; return 1; }

# run_all SUITE TEST...: each test is a function, which may use any other variable;
# prints KTAP. Fails if one did.
run_all() {
	suite=$1
	shift
	failures=0
	number=0
	echo "TAP version 13"
	echo "1..$#"
	while [ $# -gt 0 ]; do
		number=$((number + 1))
		if "$1"; then
			echo "ok $number $suite.$1"
		else
			echo "not ok $number $suite.$1"
			failures=$((failures + 1))
		fi
		shift
	done
	[ $failures = 0 ]
}
