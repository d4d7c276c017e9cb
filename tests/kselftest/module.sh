#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The module as a whole: loading, unloading, and its refusals. For a guest's
# busybox shell, as root, with rvsock loaded; it leaves rvsock loaded as it was.
# MODULES and RVSOCK_FAMILY are those of module_functions.sh. Without a device
# (argument "bare") what needs the host is left out.
# shellcheck disable=SC2317 # the functions are called by name

. "$(dirname "$0")/module_functions.sh"
topology=${1:-peer}
holder=
said=/tmp/hold_socket.out

# Start a program that keeps a socket in a state; wait until it has it.
hold() {
	: >$said
	RVSOCK_FAMILY=${2:-$family} "$here/hold_socket" "$1" >$said 2>&1 &
	holder=$!
	tries=0
	until [ -s $said ]; do
		tries=$((tries + 1))
		[ $tries -gt 100 ] && return 1
		sleep 0.1
	done
	grep -q holding $said
}

release() {
	kill "$holder" 2>/dev/null
	wait "$holder" 2>/dev/null
	true
}

# Live sockets, as the kernel lists them.
sockets() {
	row=RVSOCK
	[ "$family" = 40 ] && row=AF_VSOCK
	awk -v row=$row '$1 == row { print $3 }' /proc/net/protocols
}

# Wait until there are so many; closed ones are listed for up to 8 s.
sockets_become() {
	tries=0
	until [ "$(sockets)" = "$1" ]; do
		tries=$((tries + 1))
		[ $tries -gt 120 ] && return 1
		sleep 0.1
	done
}

listed_in_protocols() {
	sockets_become 0 || complain "live sockets: '$(sockets)'" || return
	hold create || complain "no socket: $(cat $said)" || return
	[ "$(sockets)" = 1 ] || { complain "with one open: '$(sockets)'"; release; return 1; }
	release
	sockets_become 0 || complain "after closing it: '$(sockets)'"
}

counters_can_be_read() {
	file=/sys/kernel/debug/rvsock/counters
	[ -r $file ] || complain "there is no $file" || return
	for name in dropped_short_header dropped_credit dropped_shutdown stalled; do
		grep -q "^$name [0-9]*$" $file || complain "$name: $(grep $name $file)" || return
	done
}

refuses_to_unload_with() {
	hold "$1" || complain "no socket: $(cat $said)" || return
	if rmmod rvsock 2>/dev/null; then
		release
		load_as "$family"
		complain "unloaded under an open socket"
		return
	fi
	loaded rvsock || complain "the module is gone" || return
	release
}

unload_refused_with_a_socket() { refuses_to_unload_with create; }
unload_refused_with_a_listener() { refuses_to_unload_with listen; }
unload_refused_with_a_connection() { refuses_to_unload_with connect; }
unload_refused_with_a_pending_connect() { refuses_to_unload_with pending; }

# The character device of the family: an open file of it holds the module.
unload_refused_with_an_open_device() {
	device=/dev/rvsock
	[ "$family" = 40 ] && device=/dev/vsock
	exec 3<$device || complain "cannot open $device" || return
	if rmmod rvsock 2>/dev/null; then
		exec 3<&-
		load_as "$family"
		complain "unloaded under an open file"
		return
	fi
	exec 3<&-
	loaded rvsock || complain "the module is gone"
}

# Where the family shows itself, as number 18 and as number 40.
names_are() {
	for name in "/proc/sys/net/$1/ns_mode" "/proc/sys/net/$1/child_ns_mode" \
		"/proc/sys/net/$1/g2h_fallback" "/dev/$1"; do
		[ -e "$name" ] || complain "there is no $name" || return
	done
	grep -q "^$2 " /proc/net/protocols || complain "no $2 in /proc/net/protocols"
}

names_are_not() {
	for name in "/proc/sys/net/$1" "/dev/$1"; do
		[ ! -e "$name" ] || complain "there is $name" || return
	done
	! grep -q "^$2 " /proc/net/protocols || complain "$2 is in /proc/net/protocols"
}

names_are_of_its_own() {
	[ "$family" = 18 ] || return 0
	names_are rvsock RVSOCK || return
	names_are_not vsock AF_VSOCK
}

unloads_when_no_socket_is_left() {
	unload || complain "still in use: $(grep rvsock /proc/modules)" || return
	if hold create; then release; complain "the family is still there"; return; fi
	grep -q EAFNOSUPPORT $said || complain "socket(): $(cat $said)" || return
	[ -z "$(sockets)" ] || complain "still in /proc/net/protocols" || return
	names_are_not rvsock RVSOCK && names_are_not vsock AF_VSOCK
}

loads_again() {
	mark_log
	load_as "$family" || complain "$(cat /tmp/insmod.err)" || return
	new_log | grep -q "rvsock: family $family registered" ||
		complain "no line about the family in the log" || return
	hold create || complain "no socket: $(cat $said)" || return
	release
}

works_again() {
	two_byte "$family" || complain "$(cat /tmp/demo.out)"
}

loads_and_unloads_many_times() {
	for i in 1 2 3 4 5 6 7 8 9 10; do
		unload || complain "round $i: still in use" || return
		load_as "$family" || complain "round $i: $(cat /tmp/insmod.err)" || return
		if [ "$topology" = peer ]; then
			two_byte "$family" || complain "round $i: $(cat /tmp/demo.out)" || return
		fi
	done
}

takes_the_number_of_vsock() {
	unload || complain "still in use" || return
	load family=40 || complain "$(cat /tmp/insmod.err)" || return
	hold create 40 || complain "no socket of family 40: $(cat $said)" || return
	release
	if hold create 18; then release; complain "family 18 is there as well"; return; fi
	names_are vsock AF_VSOCK || return
	names_are_not rvsock RVSOCK || return
	if [ "$topology" = peer ]; then
		two_byte 40 || complain "$(cat /tmp/demo.out)" || return
	fi
	unload || complain "still in use"
}

refuses_a_number_that_is_taken() {
	insmod "$modules/vsock.ko" || complain "vsock.ko does not load" || return
	mark_log
	if load family=40; then unload; unload_c; complain "took 40 from vsock"; return; fi
	grep -Eq "File exists|resource busy" /tmp/insmod.err || { unload_c; complain "$(cat /tmp/insmod.err)"; return; }
	new_log | grep -q "rvsock: family 40 is taken" ||
		{ unload_c; complain "no line says so in the log"; return; }
	loaded rvsock && { unload_c; complain "it stays loaded"; return; }
	unload_c || complain "vsock does not unload"
}

refuses_numbers_that_cannot_be() {
	for number_asked in 0 2 46 255 65535; do
		if load family=$number_asked; then
			unload
			complain "loaded with family=$number_asked"
			return
		fi
		loaded rvsock && complain "it stays loaded" && return 1
	done
	true
}

refuses_descriptors_that_cannot_be() {
	for number_asked in 0 1 19 255; do
		mark_log
		if load tx_descriptors=$number_asked; then
			unload
			complain "loaded with tx_descriptors=$number_asked"
			return
		fi
		grep -q "Invalid argument\|invalid parameter" /tmp/insmod.err ||
			complain "$(cat /tmp/insmod.err)" || return
		new_log | grep -q "rvsock: a packet cannot have $number_asked descriptors" ||
			complain "no line says so in the log" || return
	done
}

works_beside_vsock_without_its_device() {
	load_c || { unload_c; complain "the C modules do not load"; return; }
	mark_log
	load_as 18 || { unload_c; complain "$(cat /tmp/insmod.err)"; return; }
	two_byte 18
	grep -q '"ENODEV"' /tmp/demo.out || { unload; unload_c; complain "$(cat /tmp/demo.out)"; return; }
	new_log | grep -q "rvsock: no virtio socket device is free" ||
		{ unload; unload_c; complain "no line says so in the log"; return; }
	two_byte 40 || { unload; unload_c; complain "the C vsock suffers: $(cat /tmp/demo.out)"; return; }
	unload || { unload_c; complain "still in use"; return; }
	unload_c || complain "vsock does not unload"
}

gets_the_device_after_vsock() {
	load_as "$family" || complain "$(cat /tmp/insmod.err)" || return
	two_byte "$family" || complain "$(cat /tmp/demo.out)"
}

tests="listed_in_protocols counters_can_be_read names_are_of_its_own
	unload_refused_with_a_socket unload_refused_with_a_listener
	unload_refused_with_an_open_device"
[ "$topology" = peer ] && tests="$tests
	unload_refused_with_a_connection unload_refused_with_a_pending_connect"
tests="$tests unloads_when_no_socket_is_left loads_again"
[ "$topology" = peer ] && tests="$tests works_again"
tests="$tests loads_and_unloads_many_times takes_the_number_of_vsock
	refuses_a_number_that_is_taken refuses_numbers_that_cannot_be
	refuses_descriptors_that_cannot_be"
[ "$topology" = peer ] && tests="$tests
	works_beside_vsock_without_its_device gets_the_device_after_vsock"

# shellcheck disable=SC2086 # one word each
run_all module $tests
status=$?
# However the tests ended, the guest is to be left as it was found.
unload_c
loaded rvsock || load_as "$family"
[ $status = 0 ]
