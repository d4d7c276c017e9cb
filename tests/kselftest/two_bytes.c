// SPDX-License-Identifier: GPL-2.0
/*
 * The two-byte reply, again and again in one guest: each a connection of its
 * own, and nothing of it left at the end.
 */
#include "vsock_harness.h"

#define TIMES	2000

FIXTURE(two_bytes)
{
	int sockets_before;
};

FIXTURE_SETUP(two_bytes)
{
	self->sockets_before = sockets_at_rest();
}

FIXTURE_TEARDOWN(two_bytes)
{
}

TEST_F_TIMEOUT(two_bytes, two_thousand_times, 170)
{
	for (int i = 0; i < TIMES; i++) {
		int fd = vsock_connected(PORT_REPLY);

		ASSERT_LE(0, fd)
			TH_LOG("connection %d: %s", i, strerror(errno));
		ASSERT_TRUE(answers_two_bytes(fd))
			TH_LOG("connection %d: %s", i, strerror(errno));
		ASSERT_EQ(0, close(fd));
	}
	EXPECT_EQ(self->sockets_before, sockets_become(self->sockets_before));
}

/* What has just been closed does not count as what was there before. */
TEST_F_TIMEOUT(two_bytes, closed_before_it_begins, 60)
{
	for (int i = 0; i < 100; i++)
		ASSERT_EQ(0, close(vsock_connected(PORT_REPLY)));
	EXPECT_EQ(self->sockets_before, sockets_at_rest());
}

TEST_HARNESS_MAIN
