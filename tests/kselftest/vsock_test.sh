#!/bin/busybox sh
# SPDX-License-Identifier: GPL-2.0
# Runs cases of the kernel's own tests of vsock. Both ends go through the cases of a
# program in one pair of processes; after a case that fails, and where the arguments
# have a "--", the rest is run in a new pair. Prints KTAP, where a case is called
# PROGRAM: NAME; before the line of a case stands what an end said beside "ok".
#
#   vsock_test.sh CELL {PROGRAM {NUMBER:NAME | --}...}...
#
# CELL is where the ends are:
#   loopback  both here
#   client    the client here, the server on the host
#   server    the server here, the client on the host
#   sibling_client, sibling_server
#             the same with another guest in place of the host
#
# A host that is a guest itself, and another guest, run the other end
# (qemu/host-agent.sh); the control connection goes over the network device.
cell=$1
shift
# The other end's CID and address; where that finds a server of this end's.
far_cid=2 far_address=10.0.2.2 near_server="--control-host=127.0.0.1 --control-port=7100"
case $cell in
sibling_*)
	cell=${cell#sibling_}
	far_cid=4 far_address=10.0.3.4 near_server="--control-host=10.0.3.3 --control-port=1234"
	;;
esac
near=/tmp/vsock_test.near
far=/tmp/vsock_test.far

# with_network: the network device, once.
with_network() {
	[ -e /sys/class/net/eth0 ] && return
	. /plan-functions.sh
	link 10.0.2.15
}

# here PROGRAM OPTION...: runs a program here, for $limit seconds at most.
here() {
	timeout -s KILL "$limit" "$@" 2>&1
}

# there PROGRAM OPTION...: the same at the other end.
there() {
	echo "$limit $*" | nc $far_address 7000
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
	limit=$(((60 + 3 * $#) * ${RVSOCK_PATIENCE:-1})) options=
	# The other one has no choice of cases.
	if [ "$program" != vsock_uring_test ]; then
		options=$(pick "$@")
	fi
	: >$near
	: >$far
	server="/tests/$program --mode=server --control-port=1234 $options"
	client="/tests/$program --mode=client $options"
	case $cell in
	loopback)
		here $server --peer-cid=1 >$far &
		listens $far
		here $client --peer-cid=1 --control-host=127.0.0.1 --control-port=1234 >$near
		;;
	client)
		there $server --peer-cid=3 >$far &
		listens $far
		here $client --peer-cid=$far_cid --control-host=$far_address --control-port=1234 >$near
		;;
	server)
		here $server --peer-cid=$far_cid >$near &
		listens $near
		there $client --peer-cid=3 $near_server >$far
		;;
	esac
	wait
}

# pick CASE...: the options that make a program run the cases up to the next "--", or
# leave out all others.
pick() {
	picked=
	for word; do
		is_case "$word" || break
		picked="$picked ${word%%:*}"
	done
	if [ "$program" = vsock_test ]; then
		for id in $picked; do
			echo "--pick=$id"
		done
		return
	fi
	/tests/$program --list | sed -n 's/^\([0-9]*\)\t.*/\1/p' | while read -r id; do
		case " $picked " in
		*" $id "*) ;;
		*) echo "--skip=$id" ;;
		esac
	done
}

is_case() {
	case $1 in
	[0-9]*:*) ;;
	*) return 1 ;;
	esac
}

# said FILE CASE: what an end said of a case.
said() {
	awk -v id="${2%%:*}" '/^[0-9]+ - |^All tests / { ours = $1 == id } ours' "$1"
}

# fared FILE CASE: "ok" when an end came to the end of the case.
fared() {
	said "$1" "$2" | grep -qE '(\.\.\.| |^)ok$' && echo ok
}

# tell_case CASE RESULT: its line, and what was said of it.
tell_case() {
	number=$((number + 1))
	for file in $near $far; do
		said $file "$1" | grep -v '^[0-9]* - .*\.\.\.ok$' | sed "s/^/# ${file##*.} end: /"
	done
	if [ "$2" = okok ]; then
		echo "ok $number $program: ${1#*:}"
		return
	fi
	echo "not ok $number $program: ${1#*:}"
	failed=1
}

# transfer CASE: vsock_perf, whose sender connects and is the client. Nobody says
# when its receiver listens, so the sender is started until it is let in.
transfer() {
	limit=$((60 * ${RVSOCK_PATIENCE:-1}))
	options="--bytes 8M --buf-size 64K"
	case $1 in
	*--zerocopy*) options="$options --zerocopy" ;;
	esac
	receiver="/tests/vsock_perf --vsk-size 256K"
	sender="/tests/vsock_perf --sender"
	case $cell in
	loopback)
		here $receiver >$far &
		send_until_let_in $near here $sender 1 $options
		;;
	client)
		there $receiver >$far &
		send_until_let_in $near here $sender $far_cid $options
		;;
	server)
		here $receiver >$near &
		send_until_let_in $far there $sender 3 $options
		;;
	esac
	wait
	ends=
	grep -q '^time in .send' $near $far && ends=ok
	grep -q '^POLLIN wakeups' $near $far && ends=${ends}ok
	number=$((number + 1))
	for file in $near $far; do
		sed "s/^/# ${file##*.} end: /" $file
	done
	if [ "$ends" = okok ]; then
		echo "ok $number $program: ${1#*:}"
	else
		echo "not ok $number $program: ${1#*:}"
		failed=1
	fi
}

# send_until_let_in FILE COMMAND...: what the last try said is in FILE.
send_until_let_in() {
	into=$1 tries=50
	shift
	until "$@" >"$into" && ! grep -q '^connect: ' "$into" || [ $tries = 0 ]; do
		tries=$((tries - 1))
		usleep 100000
	done
}

# alone: waits until neither end's machine has a socket of the family left.
alone() {
	limit=15
	here /tests/no_sockets 12
	[ "$cell" = loopback ] || there /tests/no_sockets 12
}

case $cell in
client | server) with_network ;;
esac
cases=0
for word; do
	is_case "$word" && cases=$((cases + 1))
done
echo "TAP version 13"
echo "1..$cases"
number=0
while [ $# -gt 0 ]; do
	if ! is_case "$1"; then
		[ "$1" = -- ] || program=$1
		[ "$1" != vsock_diag_test ] || alone
		shift
		continue
	fi
	if [ $program = vsock_perf ]; then
		transfer "$1"
		shift
		continue
	fi
	run_pair "$@"
	while [ $# -gt 0 ] && is_case "$1"; do
		ends=$(fared $near "$1")$(fared $far "$1")
		tell_case "$1" "$ends"
		shift
		[ "$ends" = okok ] || break
	done
done
exit ${failed:-0}
