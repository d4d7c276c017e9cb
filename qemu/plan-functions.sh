# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# What plans are made of. A plan runs in the guest and tells the runner what it
# does in lines that start with "##rvsock"; what programs print stands between.

# tell WORD...: one line to the runner, never in the middle of another's line.
tell() {
	printf '\n##rvsock %s\n' "$*"
}

now() {
	cut -d' ' -f1 /proc/uptime
}

# load MODULE PARAMETER...: insmod, told.
load() {
	module=$1
	shift
	insmod "/modules/$module.ko" "$@"
	tell load "$module" $?
}

# unload MODULE: rmmod, told.
unload() {
	rmmod "$1"
	tell unload "$1" $?
}

# link ADDRESS: the network device, with this address.
link() {
	for module in failover net_failover virtio_net; do
		[ -e "/sys/module/$module" ] || insmod "/modules/$module.ko"
	done
	ip address add "$1/24" dev eth0
	ip link set eth0 up
}

# session PROCESS: the session of a process, from what /proc/PID/stat has behind its name.
session() {
	sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f4
}

# stacks SESSION: what each thread of each process of a session, each processor and
# each task that sleeps uninterruptibly is at, into the kernel's log.
stacks() {
	for process in /proc/[0-9]*; do
		process=${process##*/}
		[ "$(session "$process")" = "$1" ] || continue
		for thread in /proc/"$process"/task/*; do
			echo "rvsock-test: stack of thread ${thread##*/} of $process:" >/dev/kmsg
			cat "$thread/stack" >/dev/kmsg
		done
	done
	echo l >/proc/sysrq-trigger
	echo w >/proc/sysrq-trigger
}

# run NAME SECONDS PROGRAM ARGUMENT...: runs a program in a session of its own,
# and ends all of it when its time is over.
run() {
	name=$1 limit=$2
	shift 2
	tell begin "$name" "$(now)"
	echo "rvsock-test: begin $name" >/dev/kmsg
	setsid "$@" &
	program=$!
	(
		sleep "$limit"
		tell timeout "$name"
		stacks "$program"
		kill -KILL -"$program"
	) &
	watchdog=$!
	wait "$program"
	status=$?
	kill "$watchdog" 2>/dev/null
	tell end "$name" "$(now)" "$status"
}

# sockets: how many sockets of the family are left, from the protocol's row.
sockets() {
	row=RVSOCK
	[ "${RVSOCK_FAMILY:-18}" = 40 ] && row=AF_VSOCK
	awk -v row="$row" '$1 == row { print $3 }' /proc/net/protocols
}

# settle: waits for closing sockets (8 s at most, by the family's closing time)
# and tells how many are left after 12 s.
settle() {
	tries=60
	while [ "$(sockets)" != 0 ] && [ -n "$(sockets)" ] && [ "$tries" -gt 0 ]; do
		sleep 0.2
		tries=$((tries - 1))
	done
	tell sockets "$(sockets)"
}
