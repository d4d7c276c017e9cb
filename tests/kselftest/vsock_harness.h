/* SPDX-License-Identifier: GPL-2.0 */
/* What the suites on the kernel's test harness share. */
#ifndef VSOCK_HARNESS_H
#define VSOCK_HARNESS_H

#include "kselftest_harness.h"
#include "vsock_util.h"

/*
 * Gives each test its longer time. Runs after the constructors, which have
 * priorities, that list the tests.
 */
static void __attribute__((constructor)) vsock_be_patient(void)
{
	int patience = vsock_patience();
	struct __fixture_metadata *fixture;
	struct __test_metadata *test;

	for (fixture = __fixture_list; fixture; fixture = fixture->next)
		for (test = fixture->tests; test; test = test->next)
			test->timeout *= patience;
}

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
