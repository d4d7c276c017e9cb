/* SPDX-License-Identifier: GPL-2.0 */
/* What the suites on the kernel's test harness share. */
#ifndef VSOCK_HARNESS_H
#define VSOCK_HARNESS_H

#include "kselftest_harness.h"
#include "vsock_util.h"

/*
 * Connect @_fd to the host's service port with a command line (printf); the
 * test ends here if the host cannot be asked.
 */
#define ASSERT_ASK(_fd, ...) do {					\
	int *__fd = &(_fd);						\
									\
	*__fd = vsock_ask(__VA_ARGS__);					\
	ASSERT_LE(0, *__fd)						\
		TH_LOG("asking the host: %s", strerror(errno));		\
} while (0)

#endif /* VSOCK_HARNESS_H */
