#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# A guest with two virtio socket devices, of CID 3 and 4: rvsock takes one, and the
# C driver can have the other. For a guest's busybox shell, as root, with rvsock
# loaded; it leaves rvsock loaded as it was, with the first device.
# MODULES and RVSOCK_FAMILY are those of module_functions.sh.
# shellcheck disable=SC2317 # the functions are called by name

. "$(dirname "$0")/module_functions.sh"
driver=/sys/bus/virtio/drivers/rvsock

# The devices, in the order in which drivers are shown them.
devices() { grep -l 0x0013 /sys/bus/virtio/devices/*/device | cut -d/ -f6 | sort; }
first=$(devices | sed -n 1p)
second=$(devices | sed -n 2p)

# has DRIVER DEVICE
has() { [ -e "/sys/bus/virtio/drivers/$1/$2" ]; }

# The context identifier by which rvsock goes on the wire, from its log.
takes() {
	new_log | grep -q "rvsock: virtio device ready, guest CID $1" ||
		complain "not CID $1: $(new_log | grep rvsock:)"
}

the_first_is_taken() {
	[ -n "$second" ] || complain "devices: $(devices)" || return
	has rvsock "$first" || complain "not the first" || return
	two_byte "$family" || complain "$(cat /tmp/demo.out)"
}

the_second_is_left_alone() {
	has rvsock "$second" && { complain "it has both"; return; }
	mark_log
	echo "$second" 2>/tmp/bind.err >"$driver"/bind && { complain "it took both"; return; }
	grep -q "busy" /tmp/bind.err || complain "$(cat /tmp/bind.err)" || return
	new_log | grep -q "$second: there is a virtio device already" ||
		complain "no line says so in the log: $(new_log)" || return
	two_byte "$family" || complain "the first suffers: $(cat /tmp/demo.out)"
}

the_second_in_its_place() {
	mark_log
	echo "$first" >"$driver"/unbind || return
	echo "$second" >"$driver"/bind || complain "the second cannot be had" || return
	takes 4 || return
	two_byte "$family" || complain "$(cat /tmp/demo.out)" || return
	echo "$second" >"$driver"/unbind || return
	echo "$first" >"$driver"/bind || complain "the first cannot be had again" || return
	two_byte "$family" || complain "the first: $(cat /tmp/demo.out)"
}

# Both drivers in one guest.
the_second_beside_c() {
	unload || complain "still in use" || return
	load_c || complain "the C modules do not load" || return
	mark_log
	load || complain "$(cat /tmp/insmod.err)" || return
	takes 4 || return
	has rvsock "$second" || complain "not the second" || return
	for round in 1 2 3; do
		two_byte 18 || complain "rvsock, round $round: $(cat /tmp/demo.out)" || return
		two_byte 40 || complain "C, round $round: $(cat /tmp/demo.out)" || return
	done
	# What the one driver gives up the other does not lose.
	unload_c || complain "vsock does not unload" || return
	two_byte 18 || complain "without C: $(cat /tmp/demo.out)"
}

run_all two_devices the_first_is_taken the_second_is_left_alone \
	the_second_in_its_place the_second_beside_c
status=$?
# However the tests ended, the guest is to be left as it was found.
unload_c
loaded rvsock && unload
load_as "$family"
[ $status = 0 ]
