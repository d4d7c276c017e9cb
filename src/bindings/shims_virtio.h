/* SPDX-License-Identifier: GPL-2.0 */
/* Functions for what virtio has as inline functions or macros. */
#ifndef RVSOCK_SHIMS_VIRTIO_H
#define RVSOCK_SHIMS_VIRTIO_H

#include <linux/types.h>

struct virtio_device;
struct virtqueue;
struct virtqueue_info;

bool rvsock_virtio_has_feature(const struct virtio_device *vdev,
			       unsigned int feature);
int rvsock_virtio_find_vqs(struct virtio_device *vdev, unsigned int count,
			   struct virtqueue **queues,
			   struct virtqueue_info *infos);
void rvsock_virtio_del_vqs(struct virtio_device *vdev);
void rvsock_virtio_device_ready(struct virtio_device *vdev);
void rvsock_virtio_read_config(struct virtio_device *vdev, unsigned int offset,
			       void *to, unsigned int size, size_t count);

#endif /* RVSOCK_SHIMS_VIRTIO_H */
