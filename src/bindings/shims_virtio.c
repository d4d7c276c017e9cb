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

/* By this name programs see in the kernel's symbols that there is such a transport. */
static const char virtio_transport[] __used = "virtio";
