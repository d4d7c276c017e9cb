# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# The other guest of the benchmark between siblings: each family has a device, and services.
load rvsock tx_descriptors=18
load vsock
load vmw_vsock_virtio_transport_common
load vmw_vsock_virtio_transport
/tests/bench serve
