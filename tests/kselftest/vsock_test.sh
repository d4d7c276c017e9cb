#!/bin/busybox sh
# SPDX-License-Identifier: GPL-2.0
# Runs cases of the kernel's own vsock_test. Both ends go through all of them in
# one pair of processes; after a case that fails, and where the arguments have a
# "--", the rest is run in a new pair. Prints KTAP.
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

# near MODE CID OPTION...: an end here.
near() {
	mode=$1 cid=$2
	shift 2
	timeout -s KILL "$limit" $program --mode="$mode" --peer-cid="$cid" \
		--control-port=1234 "$@" $picked 2>&1
}

# far MODE OPTION...: an end on the host.
far() {
	mode=$1
	shift
	echo "$limit $program --mode=$mode --peer-cid=3 $* $picked" | nc 10.0.2.2 7000
}

# listens FILE: waits until the server that writes to FILE can be connected to.
listens() {
	tries=100
	until grep -q 'listening on' "$1" || [ $tries = 0 ]; do
		tries=$((tries - 1))
		usleep 50000
	done
}

# run_pair CASE...: both ends; what they said is in $near and $far.
run_pair() {
	limit=$((60 + 3 * $#)) picked=
	for id; do
		[ "$id" = -- ] && break
		picked="$picked --pick=$id"
	done
	: >$near
	: >$far
	case $cell in
	loopback)
		near server 1 >$far &
		listens $far
		near client 1 --control-host=127.0.0.1 >$near
		;;
	client)
		far server --control-port=1234 >$far &
		listens $far
		near client 2 --control-host=10.0.2.2 >$near
		;;
	server)
		near server 2 >$near &
		listens $near
		far client --control-host=127.0.0.1 --control-port=7100 >$far
		;;
	esac
	wait
}

# said FILE CASE: what an end said of a case.
said() {
	awk -v id="$2" '/^[0-9]+ - |^All tests / { ours = $1 == id } ours' "$1"
}

# fared FILE CASE: "ok", "skipped" when the end left the case out by itself, or
# "" when it did not come to its end.
fared() {
	said "$1" "$2" | awk '/Test skipped/ { skipped = 1 } { ended = / *(\.\.\.)?ok$/ }
		END { if (ended) print skipped ? "skipped" : "ok" }'
}

# tell_case CASE: its line, and what was said of it when it has not passed.
tell_case() {
	number=$((number + 1))
	name=$($program --list | sed -n "s/^$1\t//p")
	if [ "$2" = okok ]; then
		echo "ok $number $name"
		return
	fi
	for file in $near $far; do
		echo "# ${file##*.} end:"
		said $file "$1" | sed 's/^/#   /'
	done
	echo "not ok $number $name"
	failed=1
}

case $cell in
client | server) with_network ;;
esac
echo "TAP version 13"
cases=0
for id; do
	[ "$id" = -- ] || cases=$((cases + 1))
done
echo "1..$cases"
number=0
while [ $# -gt 0 ]; do
	if [ "$1" = -- ]; then
		shift
		continue
	fi
	run_pair "$@"
	while [ $# -gt 0 ] && [ "$1" != -- ]; do
		ends=$(fared $near "$1")$(fared $far "$1")
		tell_case "$1" "$ends"
		shift
		case $ends in
		okok | *skipped*) ;;
		*) break ;;
		esac
	done
done
exit ${failed:-0}
