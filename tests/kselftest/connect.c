// SPDX-License-Identifier: GPL-2.0
/*
 * connect(): blocking, non-blocking, failing, interrupted, and tried again.
 *
 * This host peer never answers for a port where nobody listens, so a refusal
 * cannot be seen with it: such a connect runs into its time limit.
 */
#include "vsock_harness.h"

#include <fcntl.h>

#define PORT		5100u
/* A connect that takes this long would have been given up otherwise. */
#define LIMIT_MS	400

static int error_of(int fd)
{
	int error = -1;
	socklen_t len = sizeof(error);

	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
	return error;
}

static unsigned int local_port(int fd)
{
	struct sockaddr_vm address;
	socklen_t len = sizeof(address);

	if (getsockname(fd, (struct sockaddr *)&address, &len))
		return VMADDR_PORT_ANY;
	return address.svm_port;
}

/* Does the host's reply come through? */
static bool works(int fd)
{
	char reply[2] = "";

	return !send_all(fd, "hello", 5) && !recv_all(fd, reply, 2) &&
	       !memcmp(reply, "OK", 2);
}

static int connect_reply(int fd)
{
	return vsock_connect(fd, VMADDR_CID_HOST, PORT_REPLY);
}

static int connect_nobody(int fd)
{
	return vsock_connect(fd, VMADDR_CID_HOST, PORT_NOBODY);
}

static ssize_t call_connect_nobody(struct caller *caller)
{
	return connect_nobody(caller->fd);
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
	EXPECT_TRUE(works(self->fd));
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
	expected = vsock_address(VMADDR_CID_HOST, PORT_REPLY);
	EXPECT_EQ(0, memcmp(&expected, &peer, sizeof(peer)));
	EXPECT_LT(1023, local_port(self->fd));
	EXPECT_NE(VMADDR_PORT_ANY, local_port(self->fd));
}

/* A bound socket connects from its own port. */
TEST_F(connect, from_a_bound_port)
{
	ASSERT_EQ(0, vsock_bind(self->fd, VMADDR_CID_ANY, PORT));
	ASSERT_EQ(0, connect_reply(self->fd));
	EXPECT_EQ(PORT, local_port(self->fd));
	EXPECT_TRUE(works(self->fd));
}

/* The guest's own CID can be bound to, and connected from. */
TEST_F(connect, from_the_own_cid)
{
	ASSERT_EQ(0, vsock_bind(self->fd, GUEST_CID, VMADDR_PORT_ANY));
	ASSERT_EQ(0, connect_reply(self->fd));
	EXPECT_TRUE(works(self->fd));
}

/* Two connections to one port of the host are two. */
TEST_F(connect, twice_to_one_port)
{
	int other = vsock_connected(PORT_ECHO);
	char byte = 0;

	ASSERT_LE(0, other);
	ASSERT_EQ(0, vsock_connect(self->fd, VMADDR_CID_HOST, PORT_ECHO));
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
	EXPECT_TRUE(works(self->fd));
}

/* Nobody answers: SO_VM_SOCKETS_CONNECT_TIMEOUT ends the wait. */
TEST_F(connect, times_out)
{
	long began = now_ms(), took;

	ASSERT_EQ(0, set_connect_timeout(self->fd, LIMIT_MS));
	EXPECT_EQ(-1, connect_nobody(self->fd));
	EXPECT_EQ(ETIMEDOUT, errno);
	took = now_ms() - began;
	EXPECT_LE(LIMIT_MS - 10, took);
	EXPECT_GE(LIMIT_MS + 1500, took);
}

/* Without an option the limit is 2 s. */
TEST_F(connect, times_out_by_default)
{
	long began = now_ms(), took;

	EXPECT_EQ(-1, connect_nobody(self->fd));
	EXPECT_EQ(ETIMEDOUT, errno);
	took = now_ms() - began;
	EXPECT_LE(1990, took);
	EXPECT_GE(5000, took);
}

/* After a failure the socket is as before, and can try again. */
TEST_F(connect, again_after_failure)
{
	struct sockaddr_vm address;
	socklen_t len = sizeof(address);

	ASSERT_EQ(0, set_connect_timeout(self->fd, LIMIT_MS));
	for (int i = 0; i < 2; i++) {
		EXPECT_EQ(-1, connect_nobody(self->fd));
		EXPECT_EQ(ETIMEDOUT, errno);
	}
	EXPECT_EQ(-1, getpeername(self->fd, (struct sockaddr *)&address, &len));
	EXPECT_EQ(ENOTCONN, errno);
	EXPECT_EQ(0, error_of(self->fd));
	ASSERT_EQ(0, connect_reply(self->fd));
	EXPECT_TRUE(works(self->fd));
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
	EXPECT_EQ(0, error_of(self->fd));
	EXPECT_EQ(-1, connect_reply(self->fd));
	EXPECT_EQ(EISCONN, errno);
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, 0));
	EXPECT_TRUE(works(self->fd));
}

/* O_NONBLOCK: while it is under way nothing else is possible. */
TEST_F(connect, while_it_is_under_way)
{
	char byte = 0;

	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_NONBLOCK));
	ASSERT_EQ(0, set_connect_timeout(self->fd, 5000));
	ASSERT_EQ(-1, connect_nobody(self->fd));
	ASSERT_EQ(EINPROGRESS, errno);
	EXPECT_EQ(-1, connect_nobody(self->fd));
	EXPECT_EQ(EALREADY, errno);
	EXPECT_EQ(0, poll_for(self->fd, POLLIN | POLLOUT, 50));
	EXPECT_EQ(-1, recv(self->fd, &byte, 1, 0));
	EXPECT_EQ(ENOTCONN, errno);
	EXPECT_EQ(-1, send(self->fd, &byte, 1, MSG_NOSIGNAL));
	EXPECT_EQ(ENOTCONN, errno);
	EXPECT_EQ(-1, listen(self->fd, 1));
	EXPECT_EQ(EINVAL, errno);
}

/* O_NONBLOCK: a failure shows in poll, once in SO_ERROR, and is then over. */
TEST_F(connect, nonblocking_failure)
{
	int mask;

	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_NONBLOCK));
	ASSERT_EQ(0, set_connect_timeout(self->fd, LIMIT_MS));
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(-1, connect_nobody(self->fd));
		ASSERT_EQ(EINPROGRESS, errno);
		mask = poll_for(self->fd, POLLOUT, PATIENCE_MS);
		EXPECT_EQ(POLLOUT | POLLERR, mask & (POLLOUT | POLLERR));
		EXPECT_EQ(ETIMEDOUT, error_of(self->fd));
		EXPECT_EQ(0, error_of(self->fd));
	}
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, 0));
	ASSERT_EQ(0, connect_reply(self->fd));
	EXPECT_TRUE(works(self->fd));
}

/*
 * A blocking connect joins one that is under way, and ends with it. Neither of
 * the two time limits may then end the attempt that comes after.
 */
TEST_F(connect, blocking_joins_nonblocking)
{
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_NONBLOCK));
	ASSERT_EQ(0, set_connect_timeout(self->fd, 1000));
	ASSERT_EQ(-1, connect_nobody(self->fd));
	ASSERT_EQ(EINPROGRESS, errno);
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, 0));
	EXPECT_EQ(-1, connect_nobody(self->fd));
	EXPECT_EQ(ETIMEDOUT, errno);
	ASSERT_EQ(0, connect_reply(self->fd));
	EXPECT_TRUE(works(self->fd));
}

/*
 * The timer of an attempt that was given up before its time: it does not end
 * the next attempt, which has a longer time limit.
 */
TEST_F(connect, timer_of_an_interrupted_attempt)
{
	struct caller caller = {
		.fd = self->fd, .call = call_connect_nobody,
	};

	ignore_with_handler(SIGUSR1, 0);
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_NONBLOCK));
	ASSERT_EQ(0, set_connect_timeout(self->fd, 1000));
	ASSERT_EQ(-1, connect_nobody(self->fd));
	ASSERT_EQ(EINPROGRESS, errno);
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, 0));
	ASSERT_TRUE(caller_start(&caller));
	ASSERT_FALSE(caller_is_done(&caller));
	pthread_kill(caller.thread, SIGUSR1);
	ASSERT_TRUE(caller_join(&caller));
	ASSERT_EQ(EINTR, caller.error);
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_NONBLOCK));
	ASSERT_EQ(0, set_connect_timeout(self->fd, PATIENCE_MS));
	ASSERT_EQ(-1, connect_nobody(self->fd));
	ASSERT_EQ(EINPROGRESS, errno);
	EXPECT_EQ(0, poll_for(self->fd, POLLOUT, 1300));
}

/*
 * The timer of an attempt that ends in the very moment in which it fires: what
 * it left to be done is not done to the next attempt. Both time limits of the
 * first are the same, so that its blocking half and its timer meet.
 */
TEST_F(connect, timer_that_fires_at_the_end)
{
	for (int round = 0; round < 20; round++) {
		long began;

		ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_NONBLOCK));
		ASSERT_EQ(0, set_connect_timeout(self->fd, 20));
		ASSERT_EQ(-1, connect_nobody(self->fd));
		ASSERT_EQ(EINPROGRESS, errno);
		if (round % 2) {
			ASSERT_EQ(0, fcntl(self->fd, F_SETFL, 0));
			ASSERT_EQ(-1, connect_nobody(self->fd));
			ASSERT_EQ(ETIMEDOUT, errno);
			ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_NONBLOCK));
		} else {
			ASSERT_NE(0, poll_for(self->fd, POLLOUT, PATIENCE_MS));
			ASSERT_EQ(ETIMEDOUT, error_of(self->fd));
		}
		ASSERT_EQ(0, set_connect_timeout(self->fd, 150));
		began = now_ms();
		ASSERT_EQ(-1, connect_nobody(self->fd));
		ASSERT_EQ(EINPROGRESS, errno);
		ASSERT_NE(0, poll_for(self->fd, POLLOUT, PATIENCE_MS));
		EXPECT_LE(140, now_ms() - began)
			TH_LOG("round %d", round);
		EXPECT_EQ(ETIMEDOUT, error_of(self->fd));
	}
}

/* A signal ends a blocking connect with EINTR; the socket can try again. */
TEST_F(connect, interrupted_and_tried_again)
{
	struct caller caller = {
		.fd = self->fd, .call = call_connect_nobody,
	};

	ignore_with_handler(SIGUSR1, 0);
	ASSERT_EQ(0, set_connect_timeout(self->fd, 15000));
	ASSERT_TRUE(caller_start(&caller));
	ASSERT_FALSE(caller_is_done(&caller));
	pthread_kill(caller.thread, SIGUSR1);
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ(-1, caller.result);
	EXPECT_EQ(EINTR, caller.error);
	EXPECT_GE(10000, caller.took);
	ASSERT_EQ(0, connect_reply(self->fd));
	EXPECT_TRUE(works(self->fd));
}

/* A socket that is closed while it connects leaves nothing behind. */
TEST_F(connect, closed_while_under_way)
{
	unsigned int port;

	ASSERT_EQ(0, vsock_bind(self->fd, VMADDR_CID_ANY, PORT));
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_NONBLOCK));
	ASSERT_EQ(-1, connect_nobody(self->fd));
	ASSERT_EQ(EINPROGRESS, errno);
	port = local_port(self->fd);
	EXPECT_EQ(PORT, port);
	ASSERT_EQ(0, close(self->fd));
	self->fd = vsock_stream(0);
	ASSERT_EQ(0, connect_reply(self->fd));
	EXPECT_TRUE(works(self->fd));
}

/* An address that cannot be read is EFAULT, and the socket goes on. */
TEST_F(connect, unreadable_address)
{
	EXPECT_EQ(-1, connect(self->fd, (void *)8, sizeof(struct sockaddr_vm)));
	EXPECT_EQ(EFAULT, errno);
	ASSERT_EQ(0, connect_reply(self->fd));
	EXPECT_TRUE(works(self->fd));
}

/* shutdown() in both directions: no more sending, and the end when reading. */
TEST_F(connect, shutdown_both)
{
	char byte = 0;

	ASSERT_EQ(0, vsock_connect(self->fd, VMADDR_CID_HOST, PORT_ECHO));
	ASSERT_EQ(0, shutdown(self->fd, SHUT_RDWR));
	EXPECT_EQ(-1, send(self->fd, &byte, 1, MSG_NOSIGNAL));
	EXPECT_EQ(EPIPE, errno);
	EXPECT_EQ(0, recv(self->fd, &byte, 1, 0));
}

/* A failed connect to a CID of no machine leaves a usable socket. */
TEST_F(connect, to_a_foreign_cid)
{
	ASSERT_EQ(0, set_connect_timeout(self->fd, LIMIT_MS));
	EXPECT_EQ(-1, vsock_connect(self->fd, 77, PORT_REPLY));
	ASSERT_EQ(0, connect_reply(self->fd));
	EXPECT_TRUE(works(self->fd));
}

TEST_HARNESS_MAIN
