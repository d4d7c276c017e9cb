#!/bin/busybox sh
# SPDX-License-Identifier: GPL-2.0
# Has the right driver in the other guest of a topology with siblings, with family 40:
#
#   sibling.sh DRIVER [serve]   there, where qemu/host-agent.sh runs it
#   sibling.sh DRIVER [serve] -- PROGRAM ARGUMENT...
#                               here: sees to that, and runs a suite
#
#   sibling.sh unbind, bind     there: rvsock gives its device up, and has it again
#
# DRIVER is "rvsock" or "c"; "serve" adds the services of loopback_peer.c, and the suite has
# them as its peer. There its last line is "DRIVER is in place".
export PATH=/bin
driver=$1 services=
shift
if [ "$1" = serve ]; then
	services=serve
	shift
fi

if [ "$1" = -- ]; then
	shift
	# It may be booting.
	tries=$((60 * ${RVSOCK_PATIENCE:-1}))
	until answer=$(echo "60 /tests/sibling.sh $driver $services" | nc 10.0.3.4 7000 2>&1) &&
		[ "${answer##*
}" = "$driver is in place" ]; do
		tries=$((tries - 1))
		if [ $tries = 0 ]; then
			echo "Bail out! the sibling has no driver: $answer"
			exit 1
		fi
		sleep 1
	done
	export RVSOCK_PEER_CID=4
	exec "$@"
fi

bound=/sys/bus/virtio/drivers/rvsock
case $driver in
unbind)
	for device in $bound/virtio*; do
		echo "${device##*/}" >/tmp/device
	done
	cat /tmp/device >$bound/unbind && echo unbound
	exit
	;;
bind)
	cat /tmp/device >$bound/bind && echo bound
	exit
	;;
esac

export RVSOCK_FAMILY=40
loaded=none
[ ! -e /sys/module/rvsock ] || loaded=rvsock
[ ! -e /sys/module/vmw_vsock_virtio_transport ] || loaded=c
if [ -e /tmp/services ]; then
	kill -KILL -"$(cat /tmp/services)"
	rm /tmp/services
	# Its ports are free when it is gone.
	while pidof loopback_peer sleep >/dev/null; do
		usleep 20000
	done
fi
if [ $loaded != "$driver" ]; then
	# Closing sockets hold it for up to 8 s.
	[ $loaded = none ] || /tests/no_sockets 12
	case $loaded in
	rvsock) rmmod rvsock ;;
	c) rmmod vsock_diag vmw_vsock_virtio_transport vsock_loopback \
		vmw_vsock_virtio_transport_common vsock ;;
	esac || exit 1
	case $driver in
	rvsock) insmod /modules/rvsock.ko family=40 || exit 1 ;;
	c)
		for module in vsock vmw_vsock_virtio_transport_common vsock_loopback \
			vmw_vsock_virtio_transport vsock_diag; do
			insmod /modules/$module.ko || exit 1
		done
		;;
	esac
fi
if [ -n "$services" ]; then
	setsid /tests/loopback_peer 3 /bin/sleep 86400 >/dev/kmsg 2>&1 &
	echo $! >/tmp/services
	# Its listeners are there before it runs anything.
	tries=100
	until pidof sleep >/dev/null || [ $tries = 0 ]; do
		tries=$((tries - 1))
		usleep 50000
	done
fi
echo "$driver is in place"
