/* SPDX-License-Identifier: GPL-2.0 */
/* What tests share whose host is the scripted device (tests/scripted). */
#ifndef SCRIPTED_H
#define SCRIPTED_H

#include "vsock_harness.h"
#include "driver.h"

/* The device that the driver has. */
#define DEVICE		"virtio0"

/* Does the host's echo bring back what it is sent? */
static inline bool echoes(int fd)
{
	char data[1000], back[sizeof(data)];

	pattern_fill(data, sizeof(data), now_ms());
	return !send_all(fd, data, sizeof(data)) && !recv_all(fd, back, sizeof(back)) &&
		!memcmp(data, back, sizeof(data));
}

#endif /* SCRIPTED_H */
