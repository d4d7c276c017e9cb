// SPDX-License-Identifier: GPL-2.0
/*
 * SOCK_SEQPACKET with the services of loopback_peer.c behind it: on the host of
 * the nested topology, where they have the kernel's own vsock and vhost-vsock.
 * What one end alone decides is held by seqpacket.c.
 */
#define _GNU_SOURCE
#include "vsock_harness.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>

FIXTURE(remote)
{
	int fd;
	uint8_t *data, *in;
};

FIXTURE_SETUP(remote)
{
	self->fd = vsock_seqpacket(0);
	ASSERT_LE(0, self->fd);
	self->data = malloc(DEFAULT_BUFFER);
	self->in = malloc(DEFAULT_BUFFER);
	ASSERT_TRUE(self->data && self->in);
	random_fill(self->data, DEFAULT_BUFFER, 1);
}

FIXTURE_TEARDOWN(remote)
{
	close(self->fd);
	free(self->data);
	free(self->in);
}

/* Connect to the message service with a command. */
static int command(int fd, const char *line)
{
	if (vsock_connect(fd, vsock_peer_cid(), PORT_MESSAGES))
		return -1;
	return send(fd, line, strlen(line), 0) == (ssize_t)strlen(line) ? 0 : -1;
}

/* One message; its flags are stored. */
static ssize_t take(int fd, void *data, size_t len, int flags, int *told)
{
	struct iovec iov = { .iov_base = data, .iov_len = len };
	struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t got = recvmsg(fd, &header, flags);

	*told = header.msg_flags;
	return got;
}

/* Messages of all lengths go there and come back, each whole, with MSG_EOR. */
TEST_F_TIMEOUT(remote, echo, 120)
{
	static const size_t lengths[] = {
		1, 2, 1024, 1025, 4051, 4052, 4053, 8191, 32768, 32769, 65536,
		65537, 100000, 200000, 262143, 262144,
	};

	ASSERT_EQ(0, command(self->fd, "echo"));
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		ssize_t len = lengths[i];
		int told, record = i % 2 ? MSG_EOR : 0;

		ASSERT_EQ(len, send(self->fd, self->data, len, record));
		memset(self->in, 0, len);
		ASSERT_EQ(len, take(self->fd, self->in, DEFAULT_BUFFER, 0, &told))
			TH_LOG("a message of %zd bytes", len);
		ASSERT_EQ(0, memcmp(self->in, self->data, len));
		EXPECT_EQ(record, told & MSG_EOR);
		EXPECT_EQ(0, told & MSG_TRUNC);
	}
}

/* Many are under way at once. */
TEST_F_TIMEOUT(remote, many_under_way, 120)
{
	size_t next = 0;

	ASSERT_EQ(0, command(self->fd, "echo"));
	for (int round = 0; round < 20; round++) {
		size_t first = next, bytes = 0;

		for (;; next++) {
			ssize_t len = 1 + next * 7919 % (round % 3 ? 50 : 9000);

			/* What the peer has to queue as well, if it is slow. */
			if (bytes + len > KIB(64) || next - first == 100)
				break;
			random_fill(self->data, len, next);
			ASSERT_EQ(len, send(self->fd, self->data, len, 0));
			bytes += len;
		}
		for (size_t i = first; i < next; i++) {
			ssize_t len = 1 + i * 7919 % (round % 3 ? 50 : 9000);

			random_fill(self->data, len, i);
			ASSERT_EQ(len, recv(self->fd, self->in, DEFAULT_BUFFER, 0));
			ASSERT_EQ(0, memcmp(self->in, self->data, len));
		}
	}
}

/*
 * Large messages, of which the peer sends what the credit lets pass, and the rest
 * later: it is told of room when a part of one is all that there is.
 */
TEST_F_TIMEOUT(remote, large_ones_in_parts, 120)
{
	int told;

	ASSERT_EQ(0, command(self->fd, "send 12 200000"));
	for (int i = 0; i < 12; i++) {
		ASSERT_EQ(200000, take(self->fd, self->in, DEFAULT_BUFFER, 0, &told));
		ASSERT_EQ(200000, pattern_check(self->in, 200000, 0));
		EXPECT_EQ(i % 2 ? MSG_EOR : 0, told & MSG_EOR);
	}
}

/*
 * The same for a reader that polls and does not wait, and that has read too little
 * for the peer to be told on that account.
 */
TEST_F_TIMEOUT(remote, large_one_polled_for, 60)
{
	ASSERT_EQ(0, set_buffer(self->fd, SO_VM_SOCKETS_BUFFER_SIZE, 20000));
	ASSERT_EQ(0, command(self->fd, "two 20000"));
	ASSERT_EQ(POLLIN, poll_for(self->fd, POLLIN, PATIENCE_MS));
	/* A part of the second has come. */
	sleep_ms(SETTLE_MS);
	ASSERT_EQ(1000, recv(self->fd, self->in, DEFAULT_BUFFER, MSG_DONTWAIT));
	ASSERT_EQ(POLLIN, poll_for(self->fd, POLLIN, PATIENCE_MS));
	ASSERT_EQ(20000, recv(self->fd, self->in, DEFAULT_BUFFER, MSG_DONTWAIT));
	EXPECT_EQ(20000, pattern_check(self->in, 20000, 0));
}

/* A part of a message is not readable, and nothing of it is left at the end. */
TEST_F(remote, abandoned)
{
	int queued = -1;

	ASSERT_EQ(0, set_buffer(self->fd, SO_VM_SOCKETS_BUFFER_SIZE, 20000));
	ASSERT_EQ(0, command(self->fd, "abandon 20000"));
	ASSERT_EQ(POLLRDHUP,
		  poll_for(self->fd, POLLRDHUP, PATIENCE_MS) & POLLRDHUP);
	EXPECT_EQ(1000, recv(self->fd, self->in, DEFAULT_BUFFER, 0));
	EXPECT_EQ(1000, pattern_check(self->in, 1000, 0));
	ASSERT_EQ(0, ioctl(self->fd, SIOCINQ, &queued));
	EXPECT_EQ(0, queued);
	EXPECT_EQ(0, recv(self->fd, self->in, DEFAULT_BUFFER, 0));
}

/* One wake-up for a message in many packets. */
TEST_F_TIMEOUT(remote, one_wake_up, 60)
{
	ASSERT_EQ(0, command(self->fd, "echo"));
	for (int round = 0; round < 5; round++) {
		long before = voluntary_switches();

		ASSERT_EQ(60000, send(self->fd, self->data, 60000, 0));
		/* Sending may have slept. */
		before = voluntary_switches();
		ASSERT_EQ(60000, recv(self->fd, self->in, 60000, 0));
		EXPECT_GE(1, voluntary_switches() - before);
	}
}

/* What the peer has not read keeps a message from being sent, as a whole. */
TEST_F_TIMEOUT(remote, all_arrive, 120)
{
	char line[64] = "";

	ASSERT_EQ(0, command(self->fd, "count"));
	for (int i = 0; i < 40; i++)
		ASSERT_EQ(100000, send(self->fd, self->data, 100000, 0));
	ASSERT_EQ(0, shutdown(self->fd, SHUT_WR));
	ASSERT_LT(0, recv(self->fd, line, sizeof(line) - 1, 0));
	EXPECT_STREQ("40 4000000", line);
}

/* The host connects to a message listener here. */
TEST_F_TIMEOUT(remote, dialled, 60)
{
	unsigned int port;
	int listener = vsock_listener_of(SOCK_SEQPACKET, &port, 1), fd, told;
	char line[64];

	ASSERT_LE(0, listener);
	snprintf(line, sizeof(line), "dial %u", port);
	ASSERT_EQ(0, command(self->fd, line));
	ASSERT_EQ(POLLIN, poll_for(listener, POLLIN, PATIENCE_MS));
	fd = accept(listener, NULL, NULL);
	ASSERT_LE(0, fd);
	ASSERT_EQ(3, send(fd, "one", 3, MSG_EOR));
	ASSERT_EQ(70000, send(fd, self->data, 70000, 0));
	EXPECT_EQ(3, take(fd, self->in, DEFAULT_BUFFER, 0, &told));
	EXPECT_EQ(MSG_EOR, told & MSG_EOR);
	EXPECT_EQ(70000, take(fd, self->in, DEFAULT_BUFFER, 0, &told));
	EXPECT_EQ(0, memcmp(self->in, self->data, 70000));
	close(fd);
	EXPECT_EQ(2, recv(self->fd, line, sizeof(line), 0));
	close(listener);
}

/* A listener of the other type refuses, here and there, and that is counted. */
TEST_F_TIMEOUT(remote, other_type_is_refused, 60)
{
	struct dial_result result;
	unsigned int port;
	int listener, asking;
	long before;
	char line[64];

	/* Messages to the host's stream. */
	EXPECT_EQ(-1, vsock_connect(self->fd, vsock_peer_cid(), PORT_ECHO));
	EXPECT_EQ(ECONNRESET, errno);
	/* The host's stream to messages. */
	listener = vsock_listener_of(SOCK_SEQPACKET, &port, 1);
	ASSERT_LE(0, listener);
	before = module_counter("dropped_type");
	asking = vsock_dial(port, "echo");
	ASSERT_LE(0, asking);
	ASSERT_EQ(0, vsock_dial_result(asking, &result));
	EXPECT_FALSE(result.ok);
	EXPECT_EQ(before + 1, module_counter("dropped_type"));
	EXPECT_EQ(0, poll_for(listener, POLLIN, 0));
	close(asking);
	close(listener);
	/* And the host's messages to a stream. */
	listener = vsock_listener(&port, 1);
	ASSERT_LE(0, listener);
	snprintf(line, sizeof(line), "dial %u", port);
	ASSERT_EQ(0, command(self->fd, line));
	EXPECT_LT(2, recv(self->fd, line, sizeof(line), 0));
	EXPECT_EQ(before + 2, module_counter("dropped_type"));
	EXPECT_EQ(0, poll_for(listener, POLLIN, 0));
	close(listener);
}

TEST_HARNESS_MAIN
