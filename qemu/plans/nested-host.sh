# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# The outer guest of a nested topology: brings up vhost-vsock, the services that
# the inner guest talks to, and the inner guest. Before this the runner sets
# guest_memory, guest_processors, guest_arguments, guest_limit, guest_interactive,
# guest_services and guest_devices.
# shellcheck disable=SC2154 # set by the runner

for module in irqbypass kvm ccp kvm-amd vhost_iotlb vhost vsock \
	vmw_vsock_virtio_transport_common vhost_vsock vsock_diag; do
	load $module
done >/load
# A person at the terminal has no use for it.
[ "$guest_interactive" = 1 ] || cat /load

if [ "$guest_services" = 1 ]; then
	# The services of tests/peer, on this host's AF_VSOCK.
	RVSOCK_FAMILY=40 RVSOCK_PEER_STATS=/tmp/peer.jsonl \
		/tests/loopback_peer 3 /bin/sleep 86400 &

	# The other end of "stress remote".
	RVSOCK_FAMILY=40 /tests/stress serve --seconds=86400 &
fi

# Runs programs here for tests in the inner guest, one connection each.
nc -ll -p 7000 -e /host-agent.sh &

# ask_guest_for_tasks: has the inner guest's kernel write down what its tasks are
# at, by the SysRq keys w and t on its serial console.
ask_guest_for_tasks() {
	for key in w t; do
		{
			echo '{"execute":"qmp_capabilities"}'
			echo '{"execute":"chardev-send-break","arguments":{"id":"console"}}'
			sleep 0.5
		} | nc 127.0.0.1 7002 >/dev/null
		{
			printf %s $key
			sleep 4
		} | nc 127.0.0.1 7001 >/dev/null
	done
}

# With its end told to KVM in memory an interrupt would be over without an exit, and the emulated
# processor could deliver it once more until the next one: docs/debugging.md.
set -- /usr/bin/qemu-system-x86_64 -accel kvm -cpu host,kvm-pv-eoi=off -smp "$guest_processors" \
	-m "$guest_memory" -nodefaults -display none -no-reboot -kernel /guest/vmlinuz \
	-initrd /guest/initramfs -append "$guest_arguments" \
	-netdev user,id=net,hostfwd=tcp:127.0.0.1:7100-:1234 \
	-device virtio-net-pci,netdev=net,romfile=
for number in $(seq "$guest_devices"); do
	set -- "$@" -device vhost-vsock-pci,guest-cid=$((number + 2))
done

if [ "$guest_interactive" = 1 ]; then
	"$@" -serial stdio
else
	tell begin guest "$(now)"
	"$@" -chardev socket,id=console,host=127.0.0.1,port=7001,server=on,wait=off,logfile=/dev/vport0p1 \
		-serial chardev:console -serial file:/dev/vport0p2 \
		-qmp tcp:127.0.0.1:7002,server=on,wait=off &
	guest=$!
	(
		sleep "$guest_limit"
		tell timeout guest
		ask_guest_for_tasks
		kill -KILL $guest
	) &
	watchdog=$!
	wait $guest
	status=$?
	kill $watchdog 2>/dev/null
	tell end guest "$(now)" $status
	[ "$guest_services" = 0 ] || run peer 10 cat /tmp/peer.jsonl
	tell completed
fi
