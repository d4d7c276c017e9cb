// SPDX-License-Identifier: GPL-2.0
/*
 * A peer that answers for ports where nobody listens, as kernels do: connect() is
 * refused, and the socket is as before.
 */
#include "vsock_harness.h"

#include <poll.h>

FIXTURE(refused)
{
	int fd;
};

FIXTURE_SETUP(refused)
{
	self->fd = vsock_stream(0);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(refused)
{
	close(self->fd);
}

/* At once, and again; then the socket connects where somebody listens. */
TEST_F(refused, and_tried_again)
{
	long began = now_ms();

	for (int i = 0; i < 3; i++) {
		EXPECT_EQ(-1, vsock_connect(self->fd, vsock_peer_cid(), PORT_NOBODY));
		EXPECT_EQ(ECONNRESET, errno);
		EXPECT_EQ(0, socket_error(self->fd));
	}
	EXPECT_GE(1500 * vsock_patience(), now_ms() - began);
	ASSERT_EQ(0, vsock_connect(self->fd, vsock_peer_cid(), PORT_REPLY));
	EXPECT_TRUE(answers_two_bytes(self->fd));
}

/* Without waiting: told by poll() and SO_ERROR, once. */
TEST_F(refused, without_waiting)
{
	int fd = vsock_stream(SOCK_NONBLOCK);

	ASSERT_LE(0, fd);
	if (vsock_connect(fd, vsock_peer_cid(), PORT_NOBODY) && errno == EINPROGRESS) {
		EXPECT_EQ(POLLOUT | POLLERR, poll_for(fd, POLLOUT, PATIENCE_MS));
		EXPECT_EQ(ECONNRESET, socket_error(fd));
	} else {
		/* Over loopback it is known by then. */
		EXPECT_EQ(ECONNRESET, errno);
	}
	EXPECT_EQ(0, socket_error(fd));
	close(fd);
}

TEST_HARNESS_MAIN
