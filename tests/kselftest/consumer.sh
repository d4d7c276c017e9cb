#!/bin/busybox sh
# SPDX-License-Identifier: GPL-2.0
# Sockets of the family in the kernel's own hands: loads tests/consumer, passes on
# the KTAP that it leaves in the kernel's log, and looks that afterwards nothing of
# it holds the family's module.
#
#   consumer.sh [-r TEST]...    only these of its tests
#
#   MODULES        directory of consumer.ko (default /modules)
#   RVSOCK_FAMILY  number of the family (default 18)
only=
while [ "$1" = -r ]; do
	only=$only${only:+,}$2
	shift 2
done

if ! insmod "${MODULES:-/modules}/consumer.ko" family="${RVSOCK_FAMILY:-18}" ${only:+only="$only"}; then
	echo "consumer.ko does not load"
	exit 1
fi
rmmod consumer
# What it said when it was loaded last.
tests=$(dmesg | sed -n 's/^\(.*\] \)\?consumer: //p' |
	awk '/^TAP version/ { text = "" } { text = text $0 "\n" } END { printf "%s", text }')
planned=$(echo "$tests" | sed -n 's/^1\.\.//p')

# Closing sockets hold it for up to 8 s.
tries=120
until [ "$(cat /sys/module/rvsock/refcnt)" = 0 ] || [ $tries = 0 ]; do
	tries=$((tries - 1))
	usleep 100000
done

echo "$tests" | sed "s/^1\.\..*/1..$((planned + 1))/"
holders=$(cat /sys/module/rvsock/refcnt)
if [ "$holders" = 0 ]; then
	echo "ok $((planned + 1)) consumer.module_is_let_go"
else
	echo "# Expected no holders of rvsock, and there are $holders"
	echo "not ok $((planned + 1)) consumer.module_is_let_go"
	failed=1
fi
! echo "$tests" | grep -q '^not ok' && exit ${failed:-0}
exit 1
