#!/bin/busybox sh
# SPDX-License-Identifier: GPL-2.0
# What ss(8) of the distribution shows of sockets of AF_VSOCK. Prints KTAP.
export RVSOCK_FAMILY=40 PATH=/usr/sbin:/usr/bin:/bin
port=7100
number=0
failures=0

# seen PATTERN...: whether ss shows a line with all of these, in this order.
seen() {
	pattern=$1
	shift
	for word; do
		pattern="$pattern.*$word"
	done
	ss -H --vsock -a -n -p | tr -s ' ' >/tmp/ss.out
	grep -q "^$pattern" /tmp/ss.out
}

# eventually COMMAND...: again and again while it fails, for some seconds.
eventually() {
	tries=20
	until "$@"; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || return 1
		usleep 100000
	done
}

nothing() {
	ss -H --vsock -a -n >/tmp/ss.out && [ ! -s /tmp/ss.out ]
}

shows_nothing() { eventually nothing; }
shows_a_socket_without_a_name() {
	eventually seen 'v_str UNCONN 0 0 \*:\* \*:\*' '"hold_socket",pid='"$unbound,"
}
shows_a_listener() {
	eventually seen "v_str LISTEN 0 0 \*:$port \*:\*" '"socat",pid='"$server,"
}
shows_the_end_that_connected() {
	eventually seen "v_str ESTAB 0 0 1:[0-9]* 1:$port" '"socat",pid='"$client,"
}
shows_the_end_that_was_accepted() {
	eventually seen "v_str ESTAB 0 0 1:$port 1:[0-9]*" '"socat",pid='
}
shows_those_in_a_state() {
	ss -H --vsock -n state established | tr -s ' ' >/tmp/ss.out
	[ "$(grep -c "1:$port" /tmp/ss.out)" = 2 ] && [ "$(wc -l </tmp/ss.out)" = 2 ]
}
shows_nothing_of_what_was_closed() {
	kill "$unbound" "$client" "$server"
	wait "$unbound" "$client" "$server" 2>/dev/null
	eventually nothing
}

run() {
	number=$((number + 1))
	if "$1"; then
		echo "ok $number ss.$1"
	else
		sed 's/^/# /' /tmp/ss.out
		echo "not ok $number ss.$1"
		failures=$((failures + 1))
	fi
}

echo "TAP version 13"
echo "1..7"
: >/tmp/ss.out
run shows_nothing
/tests/hold_socket create >/dev/null &
unbound=$!
socat -u "VSOCK-LISTEN:$port,fork" OPEN:/dev/null &
server=$!
run shows_a_socket_without_a_name
run shows_a_listener
# It is told nothing and does not end.
socat -u "VSOCK-CONNECT:1:$port" OPEN:/dev/null &
client=$!
run shows_the_end_that_connected
run shows_the_end_that_was_accepted
run shows_those_in_a_state
run shows_nothing_of_what_was_closed
[ $failures = 0 ]
