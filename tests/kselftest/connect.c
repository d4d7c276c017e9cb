// SPDX-License-Identifier: GPL-2.0
/*
 * connect() to a peer that answers: what it gives, and what can be done after it.
 * A peer that does not answer is in connect_silence.c.
 */
#include "vsock_harness.h"

#include <fcntl.h>

#define PORT		5100u

static int connect_reply(int fd)
{
	return vsock_connect(fd, vsock_peer_cid(), PORT_REPLY);
}

FIXTURE(connect)
{
	int fd;
};

FIXTURE_SETUP(connect)
{
	self->fd = vsock_stream(0);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(connect)
{
	close(self->fd);
}

/* A blocking connect returns when the connection works. */
TEST_F(connect, blocking)
{
	ASSERT_EQ(0, connect_reply(self->fd));
	EXPECT_TRUE(answers_two_bytes(self->fd));
}

/* Both ends have names; the port was chosen above the reserved ones. */
TEST_F(connect, names)
{
	struct sockaddr_vm peer, expected;
	socklen_t len = sizeof(peer);

	ASSERT_EQ(0, connect_reply(self->fd));
	memset(&peer, 0xa5, sizeof(peer));
	ASSERT_EQ(0, getpeername(self->fd, (struct sockaddr *)&peer, &len));
	EXPECT_EQ(sizeof(peer), len);
	expected = vsock_address(vsock_peer_cid(), PORT_REPLY);
	EXPECT_EQ(0, memcmp(&expected, &peer, sizeof(peer)));
	EXPECT_LT(1023, local_port(self->fd));
	EXPECT_NE(VMADDR_PORT_ANY, local_port(self->fd));
}

/* VMADDR_FLAG_TO_HOST asks for what happens anyway, and is part of no name. */
TEST_F(connect, to_host_flag)
{
	struct sockaddr_vm address = vsock_address(vsock_peer_cid(), PORT_REPLY);
	struct sockaddr_vm peer;
	socklen_t len = sizeof(peer);

	address.svm_flags = VMADDR_FLAG_TO_HOST;
	ASSERT_EQ(0, connect(self->fd, (struct sockaddr *)&address, sizeof(address)));
	ASSERT_EQ(0, getpeername(self->fd, (struct sockaddr *)&peer, &len));
	EXPECT_EQ(0, peer.svm_flags);
	EXPECT_TRUE(answers_two_bytes(self->fd));
}

/* A bound socket connects from its own port. */
TEST_F(connect, from_a_bound_port)
{
	ASSERT_EQ(0, vsock_bind(self->fd, VMADDR_CID_ANY, PORT));
	ASSERT_EQ(0, connect_reply(self->fd));
	EXPECT_EQ(PORT, local_port(self->fd));
	EXPECT_TRUE(answers_two_bytes(self->fd));
}

/* The guest's own CID can be bound to, and connected from. */
TEST_F(connect, from_the_own_cid)
{
	ASSERT_EQ(0, vsock_bind(self->fd, vsock_own_cid(), VMADDR_PORT_ANY));
	ASSERT_EQ(0, connect_reply(self->fd));
	EXPECT_TRUE(answers_two_bytes(self->fd));
}

/* Two connections to one port of the host are two. */
TEST_F(connect, twice_to_one_port)
{
	int other = vsock_connected(PORT_ECHO);
	char byte = 0;

	ASSERT_LE(0, other);
	ASSERT_EQ(0, vsock_connect(self->fd, vsock_peer_cid(), PORT_ECHO));
	EXPECT_NE(local_port(self->fd), local_port(other));
	ASSERT_EQ(0, send_all(self->fd, "1", 1));
	ASSERT_EQ(0, send_all(other, "2", 1));
	ASSERT_EQ(0, recv_all(self->fd, &byte, 1));
	EXPECT_EQ('1', byte);
	ASSERT_EQ(0, recv_all(other, &byte, 1));
	EXPECT_EQ('2', byte);
	close(other);
}

/* A connected socket does not connect, listen, accept or bind. */
TEST_F(connect, what_a_connected_socket_refuses)
{
	ASSERT_EQ(0, connect_reply(self->fd));
	EXPECT_EQ(-1, connect_reply(self->fd));
	EXPECT_EQ(EISCONN, errno);
	EXPECT_EQ(-1, listen(self->fd, 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, accept(self->fd, NULL, NULL));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, vsock_bind(self->fd, VMADDR_CID_ANY, PORT));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_TRUE(answers_two_bytes(self->fd));
}

/* O_NONBLOCK: EINPROGRESS, then poll says writable and SO_ERROR is 0. */
TEST_F(connect, nonblocking)
{
	int result;

	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_NONBLOCK));
	result = connect_reply(self->fd);
	if (result) {
		ASSERT_EQ(-1, result);
		ASSERT_EQ(EINPROGRESS, errno);
	}
	ASSERT_EQ(POLLOUT, poll_for(self->fd, POLLOUT, PATIENCE_MS));
	EXPECT_EQ(0, socket_error(self->fd));
	EXPECT_EQ(-1, connect_reply(self->fd));
	EXPECT_EQ(EISCONN, errno);
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, 0));
	EXPECT_TRUE(answers_two_bytes(self->fd));
}

/* An address that cannot be read is EFAULT, and the socket goes on. */
TEST_F(connect, unreadable_address)
{
	EXPECT_EQ(-1, connect(self->fd, (void *)8, sizeof(struct sockaddr_vm)));
	EXPECT_EQ(EFAULT, errno);
	ASSERT_EQ(0, connect_reply(self->fd));
	EXPECT_TRUE(answers_two_bytes(self->fd));
}

/* shutdown() in both directions: no more sending, and the end when reading. */
TEST_F(connect, shutdown_both)
{
	char byte = 0;

	ASSERT_EQ(0, vsock_connect(self->fd, vsock_peer_cid(), PORT_ECHO));
	ASSERT_EQ(0, shutdown(self->fd, SHUT_RDWR));
	EXPECT_EQ(-1, send(self->fd, &byte, 1, MSG_NOSIGNAL));
	EXPECT_EQ(EPIPE, errno);
	EXPECT_EQ(0, recv(self->fd, &byte, 1, 0));
}

/* A failed connect to a CID of no machine leaves a usable socket. */
TEST_F(connect, to_a_foreign_cid)
{
	ASSERT_EQ(0, set_connect_timeout(self->fd, 400));
	EXPECT_EQ(-1, vsock_connect(self->fd, 77, PORT_REPLY));
	ASSERT_EQ(0, connect_reply(self->fd));
	EXPECT_TRUE(answers_two_bytes(self->fd));
}

TEST_HARNESS_MAIN
