#!/bin/busybox sh
# SPDX-License-Identifier: GPL-2.0
# Runs cases of the kernel's own vsock_test, each in a pair of processes of its
# own, so that one that fails leaves the others as they are. Prints KTAP.
#
#   vsock_test.sh loopback CASE...  both ends here
#   vsock_test.sh client CASE...    the client here, the server on the host
#   vsock_test.sh server CASE...    the server here, the client on the host
#
# A host that is a guest itself runs the other end (qemu/host-agent.sh), and the
# control connection goes over the network device that it gives to this guest.
cell=$1
shift
program=/tests/vsock_test
near=/tmp/vsock_test.near
far=/tmp/vsock_test.far

# with_network: the network device, once.
with_network() {
	[ -e /sys/class/net/eth0 ] && return
	for module in failover net_failover virtio_net; do
		[ -e /sys/module/$module ] || insmod /modules/$module.ko
	done
	ip address add 10.0.2.15/24 dev eth0
	ip link set eth0 up
}

# near MODE CASE CID OPTION...: an end of the case here.
near() {
	mode=$1 case=$2 cid=$3
	shift 3
	timeout -s KILL 30 $program --mode="$mode" --pick="$case" --peer-cid="$cid" \
		--control-port=1234 "$@" 2>&1
	echo "status $?"
}

# far MODE CASE OPTION...: an end of the case on the host.
far() {
	mode=$1 case=$2
	shift 2
	echo "$program --mode=$mode --pick=$case --peer-cid=3 $*" | nc 10.0.2.2 7000
}

# listens FILE: waits until the server that writes to FILE can be connected to.
listens() {
	tries=100
	until grep -q 'listening on' "$1" 2>/dev/null; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || return
		usleep 50000
	done
}

# run_case CASE: both ends; what each said is in $near and $far.
run_case() {
	: >$near
	: >$far
	case $cell in
	loopback)
		near server "$1" 1 >$far &
		listens $far
		near client "$1" 1 --control-host=127.0.0.1 >$near
		;;
	client)
		far server "$1" --control-port=1234 >$far &
		listens $far
		near client "$1" 2 --control-host=10.0.2.2 >$near
		;;
	server)
		near server "$1" 2 >$near &
		listens $near
		far client "$1" --control-host=127.0.0.1 --control-port=7100 >$far
		;;
	esac
	wait
}

# A case has passed when both ends ended well and neither left it out.
passed() {
	for file in $near $far; do
		grep -q '^status 0$' $file || return 1
		grep -q 'Test skipped' $file && return 1
	done
	return 0
}

case $cell in
client | server) with_network ;;
esac
$program --list >/tmp/vsock_test.list
echo "TAP version 13"
echo "1..$#"
number=0
for id; do
	number=$((number + 1))
	name=$(sed -n "s/^$id\t//p" /tmp/vsock_test.list)
	run_case "$id"
	if passed; then
		echo "ok $number $name"
	else
		# What stands after the name of a case that was picked.
		for file in $near $far; do
			echo "# ${file##*.}:"
			grep -v 'skipped$' $file | tail -n 8 | sed 's/^/#   /'
		done
		echo "not ok $number $name"
		failed=1
	fi
done
exit ${failed:-0}
