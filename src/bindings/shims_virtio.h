/* SPDX-License-Identifier: GPL-2.0 */
/* Functions for what virtio has as inline functions or macros. */
#ifndef RVSOCK_SHIMS_VIRTIO_H
#define RVSOCK_SHIMS_VIRTIO_H

struct virtio_device;

void rvsock_virtio_device_ready(struct virtio_device *vdev);
void rvsock_virtio_synchronize_cbs(struct virtio_device *vdev);

#endif /* RVSOCK_SHIMS_VIRTIO_H */
