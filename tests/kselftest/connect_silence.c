// SPDX-License-Identifier: GPL-2.0
/*
 * connect() to a peer that does not answer: it runs into its time limit, is
 * interrupted, and tries again. For a host that says nothing when nobody listens
 * on a port of it; loopback always answers.
 */
#define _GNU_SOURCE
#include "vsock_harness.h"

#include <fcntl.h>
#include <liburing.h>

#define PORT		5100u
/* A connect that takes this long would have been given up otherwise. */
#define LIMIT_MS	400

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

FIXTURE(silence)
{
	int fd;
};

FIXTURE_SETUP(silence)
{
	self->fd = vsock_stream(0);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(silence)
{
	close(self->fd);
}

/* Nobody answers: SO_VM_SOCKETS_CONNECT_TIMEOUT ends the wait. */
TEST_F(silence, times_out)
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
TEST_F(silence, times_out_by_default)
{
	long began = now_ms(), took;

	EXPECT_EQ(-1, connect_nobody(self->fd));
	EXPECT_EQ(ETIMEDOUT, errno);
	took = now_ms() - began;
	EXPECT_LE(1990, took);
	EXPECT_GE(5000, took);
}

/* After a failure the socket is as before, and can try again. */
TEST_F(silence, again_after_failure)
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
	EXPECT_EQ(0, socket_error(self->fd));
	ASSERT_EQ(0, connect_reply(self->fd));
	EXPECT_TRUE(answers_two_bytes(self->fd));
}

/* O_NONBLOCK: while it is under way nothing else is possible. */
TEST_F(silence, while_it_is_under_way)
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
TEST_F(silence, nonblocking_failure)
{
	int mask;

	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_NONBLOCK));
	ASSERT_EQ(0, set_connect_timeout(self->fd, LIMIT_MS));
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(-1, connect_nobody(self->fd));
		ASSERT_EQ(EINPROGRESS, errno);
		mask = poll_for(self->fd, POLLOUT, PATIENCE_MS);
		EXPECT_EQ(POLLOUT | POLLERR, mask & (POLLOUT | POLLERR));
		EXPECT_EQ(ETIMEDOUT, socket_error(self->fd));
		EXPECT_EQ(0, socket_error(self->fd));
	}
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, 0));
	ASSERT_EQ(0, connect_reply(self->fd));
	EXPECT_TRUE(answers_two_bytes(self->fd));
}

/*
 * A blocking connect joins one that is under way, and ends with it. Neither of
 * the two time limits may then end the attempt that comes after.
 */
TEST_F(silence, blocking_joins_nonblocking)
{
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_NONBLOCK));
	ASSERT_EQ(0, set_connect_timeout(self->fd, 1000));
	ASSERT_EQ(-1, connect_nobody(self->fd));
	ASSERT_EQ(EINPROGRESS, errno);
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, 0));
	EXPECT_EQ(-1, connect_nobody(self->fd));
	EXPECT_EQ(ETIMEDOUT, errno);
	ASSERT_EQ(0, connect_reply(self->fd));
	EXPECT_TRUE(answers_two_bytes(self->fd));
}

/*
 * The timer of an attempt that was given up before its time: it does not end
 * the next attempt, which has a longer time limit.
 */
TEST_F(silence, timer_of_an_interrupted_attempt)
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
TEST_F(silence, timer_that_fires_at_the_end)
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
			ASSERT_EQ(ETIMEDOUT, socket_error(self->fd));
		}
		ASSERT_EQ(0, set_connect_timeout(self->fd, 150));
		began = now_ms();
		ASSERT_EQ(-1, connect_nobody(self->fd));
		ASSERT_EQ(EINPROGRESS, errno);
		ASSERT_NE(0, poll_for(self->fd, POLLOUT, PATIENCE_MS));
		EXPECT_LE(140, now_ms() - began)
			TH_LOG("round %d", round);
		EXPECT_EQ(ETIMEDOUT, socket_error(self->fd));
	}
}

/* A signal ends a blocking connect with EINTR; the socket can try again. */
TEST_F(silence, interrupted_and_tried_again)
{
	struct caller caller = {
		.fd = self->fd, .call = call_connect_nobody,
	};

	ignore_with_handler(SIGUSR1, 0);
	ASSERT_EQ(0, set_connect_timeout(self->fd, 15000));
	EXPECT_TRUE(caller_is_interrupted(&caller));
	EXPECT_GE(10000, caller.took);
	ASSERT_EQ(0, connect_reply(self->fd));
	EXPECT_TRUE(answers_two_bytes(self->fd));
}

/*
 * The same for a thread that has polled the pipe in caller->data by io_uring: when
 * that is written to, this thread has work of its own to do.
 */
static ssize_t call_connect_beside_poll(struct caller *caller)
{
	int *pipe = caller->data;
	struct io_uring_cqe *done;
	struct io_uring ring;
	int error;

	errno = -io_uring_queue_init(1, &ring, 0);
	if (errno)
		return -2;
	io_uring_prep_poll_add(io_uring_get_sqe(&ring), pipe[0], POLLIN);
	if (io_uring_submit(&ring) != 1)
		return -2;
	connect_nobody(caller->fd);
	error = errno;
	/* It was done meanwhile. */
	if (io_uring_peek_cqe(&ring, &done) || !(done->res & POLLIN))
		return -3;
	io_uring_queue_exit(&ring);
	errno = error;
	return -1;
}

/* Nobody has sent a signal to a thread that has work of its own: the attempt goes on. */
TEST_F(silence, own_work_is_no_signal)
{
	int fds[2];
	struct caller caller = {
		.fd = self->fd, .call = call_connect_beside_poll, .data = fds,
	};

	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(0, set_connect_timeout(self->fd, 1500));
	ASSERT_TRUE(caller_start(&caller));
	ASSERT_FALSE(caller_is_done(&caller));
	ASSERT_EQ(1, write(fds[1], "x", 1));
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ(-1, caller.result);
	EXPECT_EQ(ETIMEDOUT, caller.error);
	EXPECT_LE(1400, caller.took);
	/* It is as before. */
	ASSERT_EQ(0, connect_reply(self->fd));
	EXPECT_TRUE(answers_two_bytes(self->fd));
	close(fds[0]);
	close(fds[1]);
}

/* A socket that is closed while it connects leaves nothing behind. */
TEST_F(silence, closed_while_under_way)
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
	EXPECT_TRUE(answers_two_bytes(self->fd));
}

TEST_HARNESS_MAIN
