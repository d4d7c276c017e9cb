// SPDX-License-Identifier: GPL-2.0
/*
 * SOCK_SEQPACKET: a connection that keeps the boundaries of messages, with both
 * ends here.
 */
#define _GNU_SOURCE
#include "vsock_harness.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

/* Messages without a byte that a socket with this buffer takes: an eighth of it. */
#define SMALL_BUFFER	KIB(16)
#define EMPTY_LIMIT	(SMALL_BUFFER / 8)
/* A message of several packets. */
#define LONG_MESSAGE	100000

FIXTURE(message)
{
	/* The end that sends in most tests, and the other. */
	int from, to;
	uint8_t *data, *in;
};

FIXTURE_VARIANT(message)
{
	bool accepted_sends;
};

FIXTURE_VARIANT_ADD(message, connected_sends)
{
	.accepted_sends = false,
};

FIXTURE_VARIANT_ADD(message, accepted_sends)
{
	.accepted_sends = true,
};

FIXTURE_SETUP(message)
{
	int fds[2];

	ASSERT_EQ(0, vsock_pair_of(SOCK_SEQPACKET, vsock_peer_cid(), 0, fds));
	self->from = fds[variant->accepted_sends];
	self->to = fds[!variant->accepted_sends];
	self->data = malloc(DEFAULT_BUFFER + 1);
	self->in = malloc(DEFAULT_BUFFER + 1);
	ASSERT_TRUE(self->data && self->in);
	random_fill(self->data, DEFAULT_BUFFER + 1, 1);
}

FIXTURE_TEARDOWN(message)
{
	close(self->from);
	close(self->to);
	free(self->data);
	free(self->in);
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

/* Wait until there is a message, and look at its length. */
static ssize_t next_length(int fd)
{
	return recv(fd, NULL, 0, MSG_PEEK | MSG_TRUNC);
}

/* The end of what was sent so far: nothing else is there. */
static bool is_drained(int fd)
{
	char byte;

	return recv(fd, &byte, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN;
}

TEST_F(message, type)
{
	socklen_t len = sizeof(int);
	int type = 0;

	ASSERT_EQ(0, getsockopt(self->from, SOL_SOCKET, SO_TYPE, &type, &len));
	EXPECT_EQ(SOCK_SEQPACKET, type);
	ASSERT_EQ(0, getsockopt(self->to, SOL_SOCKET, SO_TYPE, &type, &len));
	EXPECT_EQ(SOCK_SEQPACKET, type);
}

/* Lengths about which something may change: copies, pages, packets, the buffer. */
static const size_t lengths[] = {
	1, 2, 1023, 1024, 1025, 2047, 2048, 2049, 3500, 3582, 3583, 3584, 3585,
	4052, 4095, 4096, 4097, 8191, 32767, 32768, 32769, 65536, 65537, 100000,
	262143, 262144,
};

/* Each recv gives one message, whatever its length and the room. */
TEST_F(message, boundaries)
{
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		ssize_t len = lengths[i];
		int told;

		ASSERT_EQ(len, send(self->from, self->data, len, 0));
		ASSERT_EQ(len, take(self->to, self->in, DEFAULT_BUFFER + 1, 0, &told))
			TH_LOG("a message of %zd bytes", len);
		ASSERT_EQ(0, memcmp(self->in, self->data, len));
		EXPECT_EQ(0, told & (MSG_TRUNC | MSG_EOR));
	}
	EXPECT_TRUE(is_drained(self->to));
}

/* Several wait at once, small and large, and none of them gets mixed up. */
TEST_F(message, many_wait)
{
	for (int round = 0; round < 12; round++) {
		size_t sent = 0, got = 0;
		int count = 0, seed = round * 1000;

		for (;; count++) {
			size_t len = (seed + count) * 7919u % (round % 4 ? 60 : 9000);

			random_fill(self->data, len, seed + count);
			if (sent + len > DEFAULT_BUFFER || count == 1000)
				break;
			ASSERT_EQ((ssize_t)len,
				  send(self->from, self->data, len, MSG_DONTWAIT));
			sent += len;
		}
		for (int i = 0; i < count; i++) {
			size_t len = (seed + i) * 7919u % (round % 4 ? 60 : 9000);

			random_fill(self->data, len, seed + i);
			ASSERT_EQ((ssize_t)len,
				  recv(self->to, self->in, DEFAULT_BUFFER, 0))
				TH_LOG("message %d of %d, round %d", i, count,
				       round);
			ASSERT_EQ(0, memcmp(self->in, self->data, len));
			got += len;
		}
		ASSERT_EQ(sent, got);
		ASSERT_TRUE(is_drained(self->to));
	}
}

/* What there is no room for is gone, and the next message follows. */
TEST_F(message, excess_is_discarded)
{
	int told;

	ASSERT_EQ(LONG_MESSAGE, send(self->from, self->data, LONG_MESSAGE, 0));
	ASSERT_EQ(300, send(self->from, self->data, 300, 0));
	ASSERT_EQ(5, send(self->from, "after", 5, 0));
	EXPECT_EQ(1000, take(self->to, self->in, 1000, 0, &told));
	EXPECT_EQ(MSG_TRUNC, told & MSG_TRUNC);
	EXPECT_EQ(0, memcmp(self->in, self->data, 1000));
	EXPECT_EQ(299, take(self->to, self->in, 299, 0, &told));
	EXPECT_EQ(MSG_TRUNC, told & MSG_TRUNC);
	EXPECT_EQ(5, take(self->to, self->in, 5, 0, &told));
	EXPECT_EQ(0, told & MSG_TRUNC);
	EXPECT_EQ(0, memcmp(self->in, "after", 5));
}

/* MSG_TRUNC as a flag asks for the real length. */
TEST_F(message, real_length)
{
	int told;

	ASSERT_EQ(LONG_MESSAGE, send(self->from, self->data, LONG_MESSAGE, 0));
	ASSERT_EQ(7, send(self->from, self->data, 7, 0));
	EXPECT_EQ(LONG_MESSAGE,
		  take(self->to, self->in, 10, MSG_TRUNC | MSG_PEEK, &told));
	EXPECT_EQ(MSG_TRUNC, told & MSG_TRUNC);
	EXPECT_EQ(LONG_MESSAGE, take(self->to, self->in, 10, MSG_TRUNC, &told));
	EXPECT_EQ(MSG_TRUNC, told & MSG_TRUNC);
	EXPECT_EQ(7, take(self->to, self->in, 10, MSG_TRUNC, &told));
	EXPECT_EQ(0, told & MSG_TRUNC);
}

TEST_F(message, end_of_record)
{
	int told;

	ASSERT_EQ(3, send(self->from, "one", 3, 0));
	ASSERT_EQ(3, send(self->from, "two", 3, MSG_EOR));
	ASSERT_EQ(LONG_MESSAGE,
		  send(self->from, self->data, LONG_MESSAGE, MSG_EOR));
	ASSERT_EQ(0, send(self->from, "", 0, MSG_EOR));
	ASSERT_EQ(5, send(self->from, "three", 5, 0));
	EXPECT_EQ(3, take(self->to, self->in, 10, 0, &told));
	EXPECT_EQ(0, told & MSG_EOR);
	EXPECT_EQ(3, take(self->to, self->in, 10, MSG_PEEK, &told));
	EXPECT_EQ(MSG_EOR, told & MSG_EOR);
	EXPECT_EQ(3, take(self->to, self->in, 10, 0, &told));
	EXPECT_EQ(MSG_EOR, told & MSG_EOR);
	EXPECT_EQ(10, take(self->to, self->in, 10, 0, &told));
	EXPECT_EQ(MSG_EOR | MSG_TRUNC, told & (MSG_EOR | MSG_TRUNC));
	EXPECT_EQ(0, take(self->to, self->in, 10, 0, &told));
	EXPECT_EQ(MSG_EOR, told & MSG_EOR);
	EXPECT_EQ(5, take(self->to, self->in, 10, 0, &told));
	EXPECT_EQ(0, told & MSG_EOR);
}

/* A message without a byte is one. */
TEST_F(message, empty)
{
	struct caller caller = {
		.fd = self->to, .call = call_recv, .data = self->in, .len = 10,
	};

	ASSERT_EQ(0, send(self->from, NULL, 0, 0));
	ASSERT_EQ(1, send(self->from, "a", 1, 0));
	ASSERT_EQ(0, send(self->from, NULL, 0, 0));
	ASSERT_EQ(0, send(self->from, NULL, 0, 0));
	EXPECT_EQ(POLLIN, poll_for(self->to, POLLIN, 0));
	EXPECT_EQ(0, recv(self->to, self->in, 10, 0));
	EXPECT_EQ(1, recv(self->to, self->in, 10, 0));
	EXPECT_EQ(0, recv(self->to, self->in, 10, 0));
	EXPECT_EQ(0, recv(self->to, self->in, 10, 0));
	EXPECT_TRUE(is_drained(self->to));
	/* One that somebody waits for. */
	ASSERT_TRUE(caller_start(&caller));
	EXPECT_FALSE(caller_is_done(&caller));
	ASSERT_EQ(0, send(self->from, NULL, 0, 0));
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ(0, caller.result);
}

/* Room for nothing takes a message, too. */
TEST_F(message, length_of_zero)
{
	int told;

	ASSERT_EQ(3, send(self->from, "one", 3, 0));
	ASSERT_EQ(3, send(self->from, "two", 3, 0));
	EXPECT_EQ(0, take(self->to, self->in, 0, 0, &told));
	EXPECT_EQ(MSG_TRUNC, told & MSG_TRUNC);
	EXPECT_EQ(3, recv(self->to, self->in, 10, 0));
	EXPECT_EQ(0, memcmp(self->in, "two", 3));
	EXPECT_EQ(-1, recv(self->to, self->in, 0, MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
}

TEST_F(message, peek)
{
	ASSERT_EQ(LONG_MESSAGE, send(self->from, self->data, LONG_MESSAGE, 0));
	ASSERT_EQ(3, send(self->from, "two", 3, 0));
	for (int i = 0; i < 2; i++) {
		EXPECT_EQ(LONG_MESSAGE, recv(self->to, self->in, DEFAULT_BUFFER,
					     MSG_PEEK));
		EXPECT_EQ(0, memcmp(self->in, self->data, LONG_MESSAGE));
	}
	EXPECT_EQ(LONG_MESSAGE, recv(self->to, self->in, DEFAULT_BUFFER, 0));
	EXPECT_EQ(3, recv(self->to, self->in, DEFAULT_BUFFER, MSG_PEEK));
	EXPECT_EQ(3, recv(self->to, self->in, DEFAULT_BUFFER, 0));
	EXPECT_EQ(-1, recv(self->to, self->in, 1, MSG_PEEK | MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
}

/* Neither MSG_WAITALL nor SO_RCVLOWAT waits for more than one message. */
TEST_F(message, waits_for_one)
{
	ASSERT_EQ(0, set_int(self->to, SOL_SOCKET, SO_RCVLOWAT, 1000));
	ASSERT_EQ(3, send(self->from, "one", 3, 0));
	ASSERT_EQ(3, send(self->from, "two", 3, 0));
	EXPECT_EQ(POLLIN, poll_for(self->to, POLLIN, 0));
	EXPECT_EQ(3, recv(self->to, self->in, 100, MSG_WAITALL));
	EXPECT_EQ(3, recv(self->to, self->in, 100, 0));
	EXPECT_EQ(0, poll_for(self->to, POLLIN, 0));
}

/* Memory of which the second of three pages is missing. */
static uint8_t *with_a_hole(void)
{
	long page = sysconf(_SC_PAGESIZE);
	uint8_t *map = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (map != MAP_FAILED)
		munmap(map + page, page);
	return map;
}

/* A copy that faults consumes the message, and no more than that. */
TEST_F(message, fault_consumes)
{
	long page = sysconf(_SC_PAGESIZE);
	uint8_t *map = with_a_hole();
	int told;

	ASSERT_NE(MAP_FAILED, map);
	ASSERT_EQ(3 * page, send(self->from, self->data, 3 * page, 0));
	ASSERT_EQ(50, send(self->from, self->data, 50, 0));
	ASSERT_EQ(3, send(self->from, "two", 3, 0));
	EXPECT_EQ(-1, recv(self->to, map, 3 * page, MSG_PEEK));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(3 * page, next_length(self->to));
	EXPECT_EQ(-1, recv(self->to, map, 3 * page, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(50, next_length(self->to));
	EXPECT_EQ(-1, recv(self->to, map + page, 50, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(3, take(self->to, self->in, 10, 0, &told));
	EXPECT_EQ(0, memcmp(self->in, "two", 3));
	munmap(map, 3 * page);
}

/* A message as large as the smaller of the buffers, and not a byte more. */
TEST_F(message, too_long)
{
	uint64_t size = 20000;

	EXPECT_EQ(-1, send(self->from, self->data, DEFAULT_BUFFER + 1, 0));
	EXPECT_EQ(EMSGSIZE, errno);
	ASSERT_EQ(0, set_buffer(self->to, SO_VM_SOCKETS_BUFFER_SIZE, size));
	EXPECT_EQ(-1, send(self->from, self->data, size + 1, 0));
	EXPECT_EQ(EMSGSIZE, errno);
	EXPECT_EQ((ssize_t)size, send(self->from, self->data, size, 0));
	EXPECT_EQ((ssize_t)size, recv(self->to, self->in, DEFAULT_BUFFER, 0));
	/* And by the sender's own. */
	EXPECT_EQ(-1, send(self->to, self->data, size + 1, MSG_DONTWAIT));
	EXPECT_EQ(EMSGSIZE, errno);
	EXPECT_TRUE(is_drained(self->to));
	EXPECT_TRUE(is_drained(self->from));
}

/* Memory that cannot be read from: nothing is sent. */
TEST_F(message, unreadable)
{
	long page = sysconf(_SC_PAGESIZE);
	uint8_t *map = with_a_hole();

	ASSERT_NE(MAP_FAILED, map);
	EXPECT_EQ(-1, send(self->from, map, 3 * page, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, send(self->from, map + page, 1, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_TRUE(is_drained(self->to));
	ASSERT_EQ(3, send(self->from, "two", 3, 0));
	EXPECT_EQ(3, recv(self->to, self->in, 10, 0));
	munmap(map, 3 * page);
}

/* Without room for all of it nothing is sent, and POLLOUT means all of it. */
TEST_F(message, all_or_nothing)
{
	ASSERT_EQ(LONG_MESSAGE, send(self->from, self->data, LONG_MESSAGE, 0));
	ASSERT_EQ(LONG_MESSAGE, send(self->from, self->data, LONG_MESSAGE, 0));
	EXPECT_EQ(-1, send(self->from, self->data, LONG_MESSAGE, MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(0, poll_for(self->from, POLLOUT, SETTLE_MS));
	EXPECT_EQ(LONG_MESSAGE, recv(self->to, self->in, DEFAULT_BUFFER, 0));
	EXPECT_EQ(POLLOUT, poll_for(self->from, POLLOUT, PATIENCE_MS));
	EXPECT_EQ(LONG_MESSAGE,
		  send(self->from, self->data, LONG_MESSAGE, MSG_DONTWAIT));
	EXPECT_EQ(LONG_MESSAGE, recv(self->to, self->in, DEFAULT_BUFFER, 0));
	EXPECT_EQ(LONG_MESSAGE, recv(self->to, self->in, DEFAULT_BUFFER, 0));
	EXPECT_TRUE(is_drained(self->to));
}

/*
 * What is left of the window is too little for the message, and what is read frees
 * too little for the peer to be told on its own account.
 */
TEST_F(message, room_that_is_little_by_little)
{
	struct caller caller = {
		.fd = self->from, .call = call_send, .data = self->data,
		.len = DEFAULT_BUFFER,
	};

	for (int i = 0; i < 3; i++)
		ASSERT_EQ(100, send(self->from, self->data, 100, 0));
	ASSERT_TRUE(caller_start(&caller));
	EXPECT_FALSE(caller_is_done(&caller));
	for (int i = 0; i < 3; i++) {
		EXPECT_FALSE(caller_is_done(&caller));
		ASSERT_EQ(100, recv(self->to, self->in, 100, 0));
	}
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ((ssize_t)DEFAULT_BUFFER, caller.result);
	EXPECT_GE(1000, caller.took);
	EXPECT_EQ((ssize_t)DEFAULT_BUFFER,
		  recv(self->to, self->in, DEFAULT_BUFFER, 0));
	EXPECT_EQ(0, memcmp(self->in, self->data, DEFAULT_BUFFER));
}

/* The same for one that polls. */
TEST_F(message, poll_for_little_by_little)
{
	for (int round = 0; round < 5; round++) {
		for (int i = 0; i < 3; i++)
			ASSERT_EQ(100, send(self->from, self->data, 100, 0));
		EXPECT_EQ(-1, send(self->from, self->data, DEFAULT_BUFFER,
				   MSG_DONTWAIT));
		EXPECT_EQ(EAGAIN, errno);
		for (int i = 0; i < 3; i++) {
			EXPECT_EQ(0, poll_for(self->from, POLLOUT, 0));
			ASSERT_EQ(100, recv(self->to, self->in, 100, 0));
		}
		EXPECT_EQ(POLLOUT, poll_for(self->from, POLLOUT, PATIENCE_MS));
		EXPECT_EQ((ssize_t)DEFAULT_BUFFER,
			  send(self->from, self->data, DEFAULT_BUFFER,
			       MSG_DONTWAIT));
		EXPECT_EQ((ssize_t)DEFAULT_BUFFER,
			  recv(self->to, self->in, DEFAULT_BUFFER, 0));
	}
}

/* A signal or a timeout leaves no part of a message behind. */
TEST_F(message, given_up)
{
	struct caller caller = {
		.fd = self->from, .call = call_send, .data = self->data,
		.len = DEFAULT_BUFFER,
	};

	ignore_with_handler(SIGUSR1, 0);
	ASSERT_EQ(1, send(self->from, "x", 1, 0));
	EXPECT_TRUE(caller_is_interrupted(&caller));
	ASSERT_EQ(0, set_timeout(self->from, SO_SNDTIMEO, 200));
	EXPECT_EQ(-1, send(self->from, self->data, DEFAULT_BUFFER, 0));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(1, recv(self->to, self->in, 10, 0));
	EXPECT_TRUE(is_drained(self->to));
	EXPECT_EQ((ssize_t)DEFAULT_BUFFER,
		  send(self->from, self->data, DEFAULT_BUFFER, 0));
}

/*
 * Messages without a byte cost no credit, so their number is limited: an eighth
 * of the buffer's bytes. The sender waits, or is told so.
 */
TEST_F(message, as_many_empty_ones_as_it_takes)
{
	struct caller caller = { .fd = self->from, .call = call_send };
	size_t count = 0, got = 0;

	ASSERT_EQ(0, set_buffer(self->to, SO_VM_SOCKETS_BUFFER_SIZE,
				SMALL_BUFFER));
	while (!send(self->from, NULL, 0, MSG_DONTWAIT))
		count++;
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(EMPTY_LIMIT, count);
	EXPECT_EQ(0, poll_for(self->from, POLLOUT, 0));
	ASSERT_TRUE(caller_start(&caller));
	EXPECT_FALSE(caller_is_done(&caller));
	while (got < EMPTY_LIMIT + 1) {
		ASSERT_EQ(0, recv(self->to, self->in, 1, 0));
		got++;
	}
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ(0, caller.result);
	EXPECT_TRUE(is_drained(self->to));
	EXPECT_EQ(POLLOUT, poll_for(self->from, POLLOUT, PATIENCE_MS));
}

/* One that waits is woken before all of them are read. */
TEST_F(message, room_for_another_empty_one)
{
	ASSERT_EQ(0, set_buffer(self->to, SO_VM_SOCKETS_BUFFER_SIZE,
				SMALL_BUFFER));
	while (!send(self->from, NULL, 0, MSG_DONTWAIT))
		;
	EXPECT_EQ(EAGAIN, errno);
	for (size_t i = 0; i < EMPTY_LIMIT / 2; i++)
		ASSERT_EQ(0, recv(self->to, self->in, 1, 0));
	EXPECT_EQ(POLLOUT, poll_for(self->from, POLLOUT, PATIENCE_MS));
	EXPECT_EQ(0, send(self->from, NULL, 0, MSG_DONTWAIT));
}

/* What was sent before a close is there, then the end. */
TEST_F(message, close)
{
	ASSERT_EQ(3, send(self->from, "one", 3, 0));
	ASSERT_EQ(0, send(self->from, NULL, 0, 0));
	ASSERT_EQ(3, send(self->from, "two", 3, 0));
	ASSERT_EQ(0, close(self->from));
	EXPECT_EQ(3, recv(self->to, self->in, 10, 0));
	EXPECT_EQ(0, recv(self->to, self->in, 10, 0));
	EXPECT_EQ(3, recv(self->to, self->in, 10, 0));
	EXPECT_EQ(0, recv(self->to, self->in, 10, 0));
	EXPECT_EQ(0, recv(self->to, self->in, 10, 0));
	self->from = -1;
}

/* An error that comes later does not lose a message. */
TEST_F(message, reset)
{
	ASSERT_EQ(1, send(self->to, "x", 1, 0));
	ASSERT_EQ(LONG_MESSAGE, send(self->from, self->data, LONG_MESSAGE, 0));
	ASSERT_EQ(3, send(self->from, "two", 3, 0));
	/* With a message unread, even an empty one, that is a reset. */
	ASSERT_EQ(0, close(self->from));
	EXPECT_EQ(POLLERR, poll_for(self->to, POLLOUT, PATIENCE_MS) & POLLERR);
	EXPECT_EQ(LONG_MESSAGE, recv(self->to, self->in, DEFAULT_BUFFER, 0));
	EXPECT_EQ(0, memcmp(self->in, self->data, LONG_MESSAGE));
	EXPECT_EQ(3, recv(self->to, self->in, 10, 0));
	EXPECT_EQ(-1, recv(self->to, self->in, 10, 0));
	EXPECT_EQ(ECONNRESET, errno);
	EXPECT_EQ(0, recv(self->to, self->in, 10, 0));
	self->from = -1;
}

TEST_F(message, reset_for_an_empty_one)
{
	ASSERT_EQ(0, send(self->to, NULL, 0, 0));
	ASSERT_EQ(0, close(self->from));
	EXPECT_EQ(-1, recv(self->to, self->in, 10, 0));
	EXPECT_EQ(ECONNRESET, errno);
	self->from = -1;
}

TEST_F(message, poll)
{
	EXPECT_EQ(POLLOUT, poll_for(self->to, POLLIN | POLLOUT, 0));
	ASSERT_EQ(LONG_MESSAGE, send(self->from, self->data, LONG_MESSAGE, 0));
	EXPECT_EQ(POLLIN, poll_for(self->to, POLLIN, PATIENCE_MS));
	ASSERT_EQ(1, recv(self->to, self->in, 1, 0));
	EXPECT_EQ(0, poll_for(self->to, POLLIN, 0));
	ASSERT_EQ(0, shutdown(self->from, SHUT_WR));
	EXPECT_EQ(POLLIN | POLLRDHUP,
		  poll_for(self->to, POLLIN | POLLRDHUP, PATIENCE_MS));
}

/* One wake-up for one message, however many packets it comes in. */
TEST_F(message, one_wake_up)
{
	struct caller caller = {
		.fd = self->to, .call = call_recv, .data = self->in,
		.len = DEFAULT_BUFFER,
	};

	for (int round = 0; round < 5; round++) {
		ASSERT_TRUE(caller_start(&caller));
		ASSERT_EQ(LONG_MESSAGE,
			  send(self->from, self->data, LONG_MESSAGE, 0));
		ASSERT_TRUE(caller_join(&caller));
		EXPECT_EQ(LONG_MESSAGE, caller.result);
		EXPECT_EQ(1, caller.switches);
	}
}

/* SIOCINQ counts the bytes of all that is queued. */
TEST_F(message, queued_bytes)
{
	int queued = -1;

	ASSERT_EQ(0, ioctl(self->to, SIOCINQ, &queued));
	EXPECT_EQ(0, queued);
	ASSERT_EQ(LONG_MESSAGE, send(self->from, self->data, LONG_MESSAGE, 0));
	ASSERT_EQ(0, send(self->from, NULL, 0, 0));
	ASSERT_EQ(64, send(self->from, self->data, 64, 0));
	ASSERT_EQ(0, ioctl(self->to, SIOCINQ, &queued));
	EXPECT_EQ(LONG_MESSAGE + 64, queued);
	ASSERT_EQ(1, recv(self->to, self->in, 1, 0));
	ASSERT_EQ(0, ioctl(self->to, SIOCINQ, &queued));
	EXPECT_EQ(64, queued);
	ASSERT_EQ(0, ioctl(self->from, SIOCOUTQ, &queued));
	EXPECT_EQ(0, queued);
}

/* The failure of a send that nobody will read: EPIPE, and no signal, as in C. */
TEST_F(message, shutdown_of_sending)
{
	ignore_with_handler(SIGPIPE, 0);
	ASSERT_EQ(3, send(self->from, "one", 3, 0));
	ASSERT_EQ(0, shutdown(self->from, SHUT_WR));
	EXPECT_EQ(-1, send(self->from, "two", 3, 0));
	EXPECT_EQ(EPIPE, errno);
	EXPECT_EQ(-1, send(self->from, NULL, 0, 0));
	EXPECT_EQ(EPIPE, errno);
	EXPECT_EQ(0, handled_signals());
	EXPECT_EQ(3, recv(self->to, self->in, 10, 0));
	EXPECT_EQ(0, recv(self->to, self->in, 10, 0));
	ASSERT_EQ(4, send(self->to, "back", 4, 0));
	EXPECT_EQ(4, recv(self->from, self->in, 10, 0));
}

TEST_F(message, shutdown_of_receiving)
{
	ASSERT_EQ(3, send(self->from, "one", 3, 0));
	ASSERT_EQ(0, shutdown(self->to, SHUT_RD));
	EXPECT_EQ(3, recv(self->to, self->in, 10, 0));
	EXPECT_EQ(0, recv(self->to, self->in, 10, 0));
	EXPECT_EQ(-1, send(self->from, "two", 3, MSG_NOSIGNAL));
	EXPECT_EQ(EPIPE, errno);
}

/* recv ends with EINTR, and with EAGAIN after its timeout. */
TEST_F(message, recv_given_up)
{
	struct caller caller = {
		.fd = self->to, .call = call_recv, .data = self->in, .len = 10,
	};

	ignore_with_handler(SIGUSR1, 0);
	ASSERT_TRUE(caller_start(&caller));
	ASSERT_EQ(0, pthread_kill(caller.thread, SIGUSR1));
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ(EINTR, caller.error);
	ASSERT_EQ(0, set_timeout(self->to, SO_RCVTIMEO, 200));
	caller.began = now_ms();
	EXPECT_EQ(-1, recv(self->to, self->in, 10, 0));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_LE(190, now_ms() - caller.began);
}

/* What is accepted elsewhere and has no sense here. */
TEST_F(message, refused)
{
	struct sockaddr_vm address = vsock_address(VMADDR_CID_LOCAL, 1);

	EXPECT_EQ(-1, recv(self->to, self->in, 1, MSG_OOB));
	EXPECT_EQ(EOPNOTSUPP, errno);
	EXPECT_EQ(-1, send(self->from, self->in, 1, MSG_OOB));
	EXPECT_EQ(EOPNOTSUPP, errno);
	EXPECT_EQ(-1, sendto(self->from, self->in, 1, 0,
			     (struct sockaddr *)&address, sizeof(address)));
	EXPECT_EQ(EISCONN, errno);
}

/*
 * A reader that waits for a page of its memory owns its socket meanwhile. What the
 * other end sends, whole messages and a reset, is there for it afterwards.
 */
TEST_F(message, reader_owns_its_socket)
{
	struct caller caller = {
		.fd = self->to, .call = call_recv_untouched, .len = 100,
	};
	uint8_t *page, source[4096] = { 0 };
	int fault = faulting_page(&page), told;

	ASSERT_LE(0, fault);
	ASSERT_EQ(100, send(self->from, self->data, 100, 0));
	ASSERT_EQ(20, send(self->from, self->data, 20, 0));
	caller.data = page;
	ASSERT_TRUE(caller_start(&caller));
	ASSERT_FALSE(caller_is_done(&caller));
	for (int i = 0; i < 500; i++) {
		ASSERT_EQ(i % 9, send(self->from, self->data + i, i % 9,
				      i % 2 ? MSG_EOR : 0));
		if (i % 50 == 0)
			ASSERT_EQ(5000, send(self->from, self->data, 5000, 0));
	}
	ASSERT_EQ(0, provide_page(fault, page, source));
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ(100, caller.result);
	EXPECT_EQ(20, take(self->to, self->in, 100, 0, &told));
	for (int i = 0; i < 500; i++) {
		ASSERT_EQ(i % 9, take(self->to, self->in, 100, 0, &told));
		ASSERT_EQ(0, memcmp(self->in, self->data + i, i % 9));
		ASSERT_EQ(i % 2 ? MSG_EOR : 0, told & MSG_EOR);
		if (i % 50 == 0) {
			ASSERT_EQ(5000, take(self->to, self->in, 5000, 0, &told));
			ASSERT_EQ(0, memcmp(self->in, self->data, 5000));
		}
	}
	EXPECT_TRUE(is_drained(self->to));
	close(fault);
}

/* Threads that send one kind of message each. */
struct sender {
	pthread_t thread;
	int fd, count;
	size_t len;
	uint8_t byte;
	bool good;
};

static void *send_messages(void *argument)
{
	struct sender *sender = argument;
	uint8_t *data = malloc(sender->len);

	memset(data, sender->byte, sender->len);
	sender->good = true;
	for (int i = 0; i < sender->count; i++)
		if (send(sender->fd, data, sender->len, 0) !=
		    (ssize_t)sender->len)
			sender->good = false;
	free(data);
	return NULL;
}

/* Messages of several senders, large and small: none is mixed up, nobody starves. */
TEST_F(message, several_senders)
{
	static const size_t len[] = { 200000, 1, 33000, 0, 262144, 500 };
	struct sender senders[ARRAY_SIZE(len)];
	int total = 0;

	for (size_t i = 0; i < ARRAY_SIZE(len); i++) {
		senders[i] = (struct sender) {
			.fd = self->from, .len = len[i], .byte = 'a' + i,
			.count = 50,
		};
		total += senders[i].count;
		ASSERT_EQ(0, pthread_create(&senders[i].thread, NULL,
					    send_messages, &senders[i]));
	}
	for (int i = 0; i < total; i++) {
		ssize_t got = recv(self->to, self->in, DEFAULT_BUFFER, 0);
		bool known = got == 0;

		for (size_t j = 0; j < ARRAY_SIZE(len); j++)
			if (got > 0 && self->in[0] == 'a' + j)
				known = (size_t)got == len[j];
		ASSERT_TRUE(known)
			TH_LOG("%zd bytes of '%c'", got, self->in[0]);
		for (ssize_t j = 1; j < got; j++)
			ASSERT_EQ(self->in[0], self->in[j]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(len); i++) {
		ASSERT_EQ(0, pthread_join(senders[i].thread, NULL));
		EXPECT_TRUE(senders[i].good);
	}
	EXPECT_TRUE(is_drained(self->to));
}

/* Each message goes to one reader, in whom it is whole. */
TEST_F(message, several_readers)
{
	struct caller callers[4];
	uint8_t in[4][64];
	int seen = 0;

	for (int i = 0; i < 4; i++) {
		callers[i] = (struct caller) {
			.fd = self->to, .call = call_recv, .data = in[i],
			.len = sizeof(in[i]),
		};
		ASSERT_TRUE(caller_start(&callers[i]));
	}
	for (int i = 0; i < 4; i++)
		ASSERT_EQ(i + 1, send(self->from, self->data, i + 1, 0));
	for (int i = 0; i < 4; i++) {
		ASSERT_TRUE(caller_join(&callers[i]));
		/* In the order in which they came. */
		EXPECT_EQ(i + 1, callers[i].result);
		seen += callers[i].result;
	}
	EXPECT_EQ(10, seen);
}

/* A stream and a message socket do not go together. */
TEST(other_type_is_refused)
{
	int kinds[] = { SOCK_STREAM, SOCK_SEQPACKET };

	for (int i = 0; i < 2; i++) {
		unsigned int port;
		int listener = vsock_listener_of(kinds[i], &port, 1);
		int fd = socket(vsock_family(), kinds[!i], 0);

		ASSERT_LE(0, listener);
		ASSERT_LE(0, fd);
		EXPECT_EQ(-1, vsock_connect(fd, vsock_peer_cid(), port));
		EXPECT_EQ(ECONNRESET, errno);
		EXPECT_EQ(0, poll_for(listener, POLLIN, 0));
		close(fd);
		close(listener);
	}
}

TEST(not_connected)
{
	int fd = vsock_seqpacket(0);
	char byte;

	ASSERT_LE(0, fd);
	EXPECT_EQ(-1, recv(fd, &byte, 1, 0));
	EXPECT_EQ(ENOTCONN, errno);
	EXPECT_EQ(-1, send(fd, "x", 1, 0));
	EXPECT_EQ(ENOTCONN, errno);
	EXPECT_EQ(-1, shutdown(fd, SHUT_RDWR));
	EXPECT_EQ(ENOTCONN, errno);
	close(fd);
}

TEST_HARNESS_MAIN
