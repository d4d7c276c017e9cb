#!/bin/busybox sh
# SPDX-License-Identifier: GPL-2.0
# Programs that nobody here wrote, each of which swaps 10 MiB of random bytes over
# AF_VSOCK, both ways and mostly at once; the sums of what was sent and what came are
# compared. Prints KTAP.
#
#   programs.sh loopback PROGRAM...  both ends here
#   programs.sh client PROGRAM...    the client here, the server on the host
#   programs.sh server PROGRAM...    the server here, the client on the host
#   programs.sh end PROGRAM server|client CID PORT
#                                    one end, which tells what it sent and got
#
# A host that is a guest itself runs the other end (qemu/host-agent.sh).
kib=10240
# Seconds that a program may take.
limit=$((60 * ${RVSOCK_PATIENCE:-1}))
# Seconds of them that a client tries, since nobody says when the other end listens.
until_it_listens=$((50 * ${RVSOCK_PATIENCE:-1}))

# try COMMAND...: again and again while it fails, until the other end listens.
try() {
	tries=$((4 * until_it_listens))
	until "$@"; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || return 1
		usleep 250000
	done
}

within_limit() {
	timeout -s KILL $limit "$@"
}

sum() {
	md5sum "$1" | cut -d' ' -f1
}

# --- One end each. They have $role, $cid and $port, send $mine and get $theirs.

socat_end() {
	# The first end of a file ends one direction only, and not the other one after it.
	case $role in
	server) within_limit socat -t $limit - VSOCK-LISTEN:"$port" ;;
	client)
		within_limit socat -t $limit - \
			VSOCK-CONNECT:"$cid:$port",retry=$((10 * until_it_listens)),interval=0.1
		;;
	esac <"$mine" >"$theirs"
}

ncat_end() {
	case $role in
	# Without an address it takes the port for one.
	server) within_limit ncat --vsock -l "$cid" "$port" <"$mine" >"$theirs" ;;
	client) try ncat_client ;;
	esac
}

ncat_client() {
	within_limit ncat --vsock "$cid" "$port" <"$mine" >"$theirs"
}

# with_python HOW: see transfer.py.
with_python() {
	within_limit python3 /tests/transfer.py "$1" $role "$cid" "$port" "$mine" "$theirs"
}

tokio_end() {
	within_limit /tests/swap-with-tokio "$role" "$cid" "$port" "$mine" "$theirs"
}

# The service that systemd starts when somebody connects.
activated_end() {
	case $role in
	server)
		within_limit systemd-socket-activate --listen=vsock::"$port" \
			python3 /tests/transfer.py activated server "$cid" "$port" "$mine" "$theirs"
		;;
	client) with_python blocking ;;
	esac
}

# ssh_end COMMAND PROXY-OPTION...: an SSH server that socat starts for a connection, and
# a client that reaches it by a program of its own, and has the server run a command.
ssh_end() {
	if [ $role = server ]; then
		within_limit socat VSOCK-LISTEN:"$port" \
			EXEC:"/usr/sbin/sshd -i -E /tmp/sshd.log -f /etc/ssh/sshd_config"
		# The client's command has put it there.
		[ -s "$theirs" ] || cat /tmp/sshd.log
		return
	fi
	try ssh_client "$@"
}

ssh_client() {
	command=$1
	shift
	within_limit ssh -F none -T -i /tmp/ssh.user -o BatchMode=yes -o StrictHostKeyChecking=no \
		-o UserKnownHostsFile=/dev/null -o LogLevel=ERROR \
		-o KexAlgorithms=curve25519-sha256 "$@" root@guest \
		"$command" <"$mine" >"$theirs"
}

# The keys of both ends, once.
ssh_keys() {
	[ -e /tmp/ssh.user ] && return
	for name in host user; do
		ssh-keygen -q -t ed25519 -N '' -f /tmp/ssh.$name
	done
}

# end PROGRAM ROLE CID PORT
end() {
	role=$2 cid=$3 port=$4
	mine=/tmp/$role.mine theirs=/tmp/$role.theirs
	[ -e $mine ] || dd if=/dev/urandom of=$mine bs=64k count=$((kib / 64)) 2>/dev/null
	# There, also where the program does not come to it.
	: >$theirs
	case $1 in
	socat) socat_end ;;
	ncat) ncat_end ;;
	python-*) with_python "${1#python-}" ;;
	tokio-vsock) tokio_end ;;
	systemd-socket-activate) activated_end ;;
	ssh-by-socat)
		# One after the other: where two of socat, which waits in write(2) without
		# reading meanwhile, pass on as much as they can both ways, each may wait for
		# the other one, and does so on the C vsock as well.
		ssh_end "cat >/tmp/server.theirs; cat /tmp/server.mine" \
			-o ProxyCommand="socat -t $limit - VSOCK-CONNECT:$cid:$port"
		;;
	ssh-by-systemd)
		ssh_end "cat /tmp/server.mine & cat >/tmp/server.theirs; wait" \
			-o ProxyUseFdpass=yes \
			-o ProxyCommand="/usr/lib/systemd/systemd-ssh-proxy vsock/$cid $port"
		;;
	esac
	echo "end $? sent $(sum $mine) got $(sum $theirs) $(($(stat -c %s $theirs) / 1024)) KiB"
}

# --- Both ends.

# with_network: the network device, over which the host is asked to do something.
with_network() {
	[ -e /sys/class/net/eth0 ] && return
	for module in failover net_failover virtio_net; do
		[ -e /sys/module/$module ] || insmod /modules/$module.ko
	done
	ip address add 10.0.2.15/24 dev eth0
	ip link set eth0 up
}

here() {
	/tests/programs.sh end "$@" 2>&1
}

on_host() {
	echo "$((2 * limit)) busybox env RVSOCK_PATIENCE=${RVSOCK_PATIENCE:-1} /tests/programs.sh end $*" |
		nc 10.0.2.2 7000
}

# word FILE NAME: the word behind this one in what an end told last.
word() {
	sed -n "s/^end .*\<$2 \([^ ]*\).*/\1/p" "$1"
}

# swap PROGRAM PORT
swap() {
	from=$(cut -d' ' -f1 /proc/uptime)
	case $cell in
	loopback)
		here "$1" server 1 "$2" >/tmp/server &
		here "$1" client 1 "$2" >/tmp/client
		;;
	client)
		on_host "$1" server 3 "$2" >/tmp/server &
		here "$1" client 2 "$2" >/tmp/client
		;;
	server)
		here "$1" server 2 "$2" >/tmp/server &
		on_host "$1" client 3 "$2" >/tmp/client
		;;
	esac
	wait
	number=$((number + 1))
	for end in client server; do
		sed "s/^/# $end: /" /tmp/$end
	done
	echo "# from $from to $(cut -d' ' -f1 /proc/uptime) s"
	sent=$(word /tmp/client sent) came=$(word /tmp/server sent)
	if [ -n "$sent" ] && [ -n "$came" ] && [ "$sent" != "$came" ] &&
		[ "$(word /tmp/server got)" = "$sent" ] && [ "$(word /tmp/client got)" = "$came" ] &&
		grep -q "^end 0 .* $kib KiB" /tmp/client && grep -q "^end 0 .* $kib KiB" /tmp/server; then
		echo "ok $number programs.$1"
	else
		echo "not ok $number programs.$1"
		failed=1
	fi
}

export PATH=/usr/bin:/usr/sbin:/bin
cell=$1
shift
if [ "$cell" = end ]; then
	end "$@"
	exit
fi
[ "$cell" = loopback ] || with_network
ssh_keys
echo "TAP version 13"
echo "1..$#"
number=0
for program; do
	swap "$program" $((5300 + number))
done
exit ${failed:-0}
