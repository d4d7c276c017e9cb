# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# What plans have in addition on the debugging kernel: whether its detectors are
# still on, and what the leak detector found.

# detector NAME ON DETAIL: one line to the runner. ON is 1 for one that is on.
detector() {
	if [ "$2" = 1 ]; then state=on; else state=off; fi
	tell detector "$1" $state "$3"
}

# value FILE: the first word of a file of the kernel's, or nothing. Not by the
# shell's read, which takes one byte at a time: a sysctl has only the first.
value() {
	[ -r "$1" ] && awk 'NR == 1 { print $1 }' "$1"
}

# is A OP B: 1 when the comparison of two numbers holds.
is() {
	if test "$@" 2>/dev/null; then echo 1; else echo 0; fi
}

# configured OPTION: 1 when the kernel was built with it.
configured() {
	if zcat /proc/config.gz | grep -qx "$1=y"; then echo 1; else echo 0; fi
}

# detectors: tells of each detector whether it is on; and where the module is, for
# a backtrace that is printed when it is there no more.
detectors() {
	awk '$1 == "rvsock" { print "rvsock is at " $6 }' /proc/modules
	locks=$(awk '$1 == "debug_locks:" { print $2 }' /proc/lockdep_stats)
	detector lockdep "$(is "$locks" = 1)" "debug_locks ${locks:-is not there}"
	proving=$(value /proc/sys/kernel/prove_locking)
	detector lock-order "$(is "$proving" = 1)" "kernel.prove_locking is ${proving:-not there}"
	# One that is off, or gave up, takes no orders.
	if echo stack=on 2>/dev/null >/sys/kernel/debug/kmemleak; then obeys=1; else obeys=0; fi
	detector kmemleak $obeys "orders taken: $obeys"
	for flag in sanity_checks red_zone poison store_user; do
		set_=$(value /sys/kernel/slab/kmalloc-256/$flag)
		detector "slub-$flag" "$(is "$set_" = 1)" "kmalloc-256/$flag is ${set_:-not there}"
	done
	# One that ran out of memory has let go of all its objects.
	objects=$(awk '$1 == "pool_used" { sub(".*:", ""); print $1 }' /sys/kernel/debug/debug_objects/stats)
	detector debug-objects "$(is "$objects" -gt 0)" "objects tracked: ${objects:-none}"
	off=$(value /sys/kernel/debug/dma-api/disabled)
	detector dma-api "$(is "$off" = N)" "dma-api/disabled is ${off:-not there}"
	seconds=$(value /proc/sys/kernel/hung_task_timeout_secs)
	detector hung-task "$(is "$seconds" -gt 0)" "hung_task_timeout_secs is ${seconds:-not there}"
	warnings=$(value /proc/sys/kernel/hung_task_warnings)
	detector hung-task-warnings "$(is "$warnings" -ne 0)" "hung_task_warnings is ${warnings:-not there}"
	watchdog=$(value /proc/sys/kernel/soft_watchdog)
	detector soft-lockup "$(is "$watchdog" = 1)" "soft_watchdog is ${watchdog:-not there}"
	suppressed=$(value /sys/module/rcupdate/parameters/rcu_cpu_stall_suppress)
	detector rcu-stall "$(is "$suppressed" = 0)" "rcu_cpu_stall_suppress is ${suppressed:-not there}"
	level=$(value /proc/sys/kernel/printk)
	detector console "$(is "$level" -ge 7)" "its log level is ${level:-not there}"
	for option in KASAN KASAN_VMALLOC DEBUG_ATOMIC_SLEEP PROVE_RCU; do
		detector "$option" "$(configured CONFIG_$option)" "by /proc/config.gz"
	done
}

# fault NAME: makes a fault on purpose, with the module that has them.
fault() {
	case $1 in
	use_after_free) number=1 ;;
	leak) number=2 ;;
	lock_inversion) number=3 ;;
	sleep_in_atomic) number=4 ;;
	esac
	insmod /modules/detectors.ko fault="$number"
}

# prove: that the detectors that have no state to read still report. It makes two
# of their faults; from the mark in the log on, the runner expects them. The last
# thing of a plan.
prove() {
	echo "rvsock-test: faults on purpose" >/dev/kmsg
	fault sleep_in_atomic
	rmmod detectors
	fault use_after_free
}

# leaks WHEN: how many objects nothing refers to. A pointer that was left in an
# allocator's cache hides one, so the caches are turned over first; an object is
# looked at from its sixth second on, and told of when two scans agree.
leaks() {
	if [ "$1" = loaded ]; then
		/tests/turn_over 800 >/dev/null
		/tests/turn_over 800 >/dev/null
		settle >/dev/null
	else
		for _ in $(seq 200); do
			cat /proc/modules /proc/net/protocols /proc/self/status
		done >/dev/null
	fi
	sleep 6
	echo scan >/sys/kernel/debug/kmemleak
	echo scan >/sys/kernel/debug/kmemleak
	tell leaks "$1" "$(grep -c '^unreferenced' /sys/kernel/debug/kmemleak)"
	head -c 20000 /sys/kernel/debug/kmemleak
	# Told once: the next scan tells of what came after this one.
	echo clear >/sys/kernel/debug/kmemleak
}
