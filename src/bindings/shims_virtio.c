// SPDX-License-Identifier: GPL-2.0
/* Functions for what virtio has as inline functions or macros. */

#include <linux/virtio_config.h>

#include "shims_virtio.h"

void rvsock_virtio_device_ready(struct virtio_device *vdev)
{
	virtio_device_ready(vdev);
}

void rvsock_virtio_synchronize_cbs(struct virtio_device *vdev)
{
	virtio_synchronize_cbs(vdev);
}
