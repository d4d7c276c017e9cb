// SPDX-License-Identifier: GPL-2.0
/*
 * A guest without a socket device: the family is there, and says clearly that
 * nobody can be reached.
 */
#include "vsock_harness.h"

#include <fcntl.h>

#define PORT 5200u

FIXTURE(bare)
{
	int fd;
};

FIXTURE_SETUP(bare)
{
	self->fd = vsock_stream(0);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(bare)
{
	close(self->fd);
}

/* connect() to the host fails at once, blocking or not. */
TEST_F(bare, connect_to_the_host)
{
	long began = now_ms();

	EXPECT_EQ(-1, vsock_connect(self->fd, VMADDR_CID_HOST, PORT));
	EXPECT_EQ(ENODEV, errno);
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_NONBLOCK));
	EXPECT_EQ(-1, vsock_connect(self->fd, VMADDR_CID_HOST, PORT));
	EXPECT_EQ(ENODEV, errno);
	EXPECT_GE(1500, now_ms() - began);
}

/* Nothing was left of the failed connect: the socket can be bound. */
TEST_F(bare, bind_after_the_failure)
{
	EXPECT_EQ(-1, vsock_connect(self->fd, VMADDR_CID_HOST, PORT));
	EXPECT_EQ(0, vsock_bind(self->fd, VMADDR_CID_ANY, PORT));
}

/* No device, no CID of one's own. */
TEST_F(bare, bind_to_a_device_cid)
{
	EXPECT_EQ(-1, vsock_bind(self->fd, GUEST_CID, PORT));
	EXPECT_EQ(EADDRNOTAVAIL, errno);
}

/* Listening needs no device. */
TEST_F(bare, listen)
{
	ASSERT_EQ(0, vsock_bind(self->fd, VMADDR_CID_ANY, PORT));
	EXPECT_EQ(0, listen(self->fd, 1));
	EXPECT_EQ(0, poll_for(self->fd, POLLIN, 50));
}

TEST_HARNESS_MAIN
