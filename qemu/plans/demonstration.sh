# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# "make run": the C vsock's wake-ups for comparison, then rvsock on the same device.
rounds=5

load vsock
load vmw_vsock_virtio_transport_common
load vmw_vsock_virtio_transport
export RVSOCK_FAMILY=40
run c-waitall-16384 60 /tests/demo waitall 16384 $rounds
run c-waitall-204800 60 /tests/demo waitall 204800 $rounds
unload vmw_vsock_virtio_transport
unload vmw_vsock_virtio_transport_common
unload vsock
unset RVSOCK_FAMILY

load rvsock
run two-byte 20 /tests/demo two-byte
for variant in a b c; do
	run echo-$variant 60 /tests/demo echo $variant
done
run waitall-16384 60 /tests/demo waitall 16384 $rounds
run waitall-204800 60 /tests/demo waitall 204800 $rounds
run dialled 60 /tests/demo dialled
settle
unload rvsock
tell completed
