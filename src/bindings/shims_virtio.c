// SPDX-License-Identifier: GPL-2.0
/* Functions for what virtio has as inline functions or macros. */

#include <linux/virtio_config.h>

#include "shims_virtio.h"

bool rvsock_virtio_has_feature(const struct virtio_device *vdev,
			       unsigned int feature)
{
	return virtio_has_feature(vdev, feature);
}

int rvsock_virtio_find_vqs(struct virtio_device *vdev, unsigned int count,
			   struct virtqueue **queues,
			   struct virtqueue_info *infos)
{
	return virtio_find_vqs(vdev, count, queues, infos, NULL);
}

void rvsock_virtio_del_vqs(struct virtio_device *vdev)
{
	vdev->config->del_vqs(vdev);
}

void rvsock_virtio_device_ready(struct virtio_device *vdev)
{
	virtio_device_ready(vdev);
}

/*
 * Reads @count fields of @size bytes each, all from one generation of the
 * configuration space where the transport can tell. Bytes are as the device
 * gives them.
 */
void rvsock_virtio_read_config(struct virtio_device *vdev, unsigned int offset,
			       void *to, unsigned int size, size_t count)
{
	__virtio_cread_many(vdev, offset, to, count, size);
}
