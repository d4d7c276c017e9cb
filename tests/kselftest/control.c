// SPDX-License-Identifier: GPL-2.0
/*
 * What comes with the bytes of a stream: control messages in both directions, and
 * the options of the socket layer that recv() observes.
 */
#define _GNU_SOURCE
#include "vsock_harness.h"

#include <linux/errqueue.h>
#include <linux/net_tstamp.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <time.h>

#ifndef SO_INQ
#define SO_INQ		84
#define SCM_INQ		SO_INQ
#endif
#ifndef SO_PEEK_OFF
#define SO_PEEK_OFF	42
#endif

/* What one recvmsg() gave. */
struct received {
	ssize_t got;
	int flags;
	/* Room for control messages, and what of it was used. */
	size_t room;
	union {
		char space[256];
		struct cmsghdr align;
	} control;
	struct msghdr message;
};

static void receive(int fd, void *data, size_t len, struct received *received)
{
	struct iovec part = { data, len };

	received->message = (struct msghdr) {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = &received->control,
		.msg_controllen = received->room ?: sizeof(received->control),
	};
	memset(&received->control, 0xee, sizeof(received->control));
	received->got = recvmsg(fd, &received->message, received->flags);
}

/* The data of the control message of the type @type, or NULL. */
static void *control_of(struct received *received, int type, size_t len)
{
	struct cmsghdr *header = CMSG_FIRSTHDR(&received->message);

	for (; header; header = CMSG_NXTHDR(&received->message, header))
		if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == type &&
		    header->cmsg_len == CMSG_LEN(len))
			return CMSG_DATA(header);
	return NULL;
}

/* Nanoseconds of CLOCK_REALTIME. */
static long long realtime(void)
{
	struct timespec time;

	clock_gettime(CLOCK_REALTIME, &time);
	return time.tv_sec * 1000000000ll + time.tv_nsec;
}

FIXTURE(arrival)
{
	int fds[2];
	long long before, after;
	uint8_t data[4096];
};

FIXTURE_VARIANT(arrival)
{
	/* Small packets are gathered, large ones are not. */
	size_t len;
};

FIXTURE_VARIANT_ADD(arrival, small) { .len = 10, };
FIXTURE_VARIANT_ADD(arrival, large) { .len = 2000, };

FIXTURE_SETUP(arrival)
{
	ASSERT_EQ(0, vsock_pair(vsock_own_cid(), 0, self->fds));
}

FIXTURE_TEARDOWN(arrival)
{
	close(self->fds[0]);
	close(self->fds[1]);
}

/* SO_TIMESTAMP: when the last of the bytes arrived, not when they were read. */
TEST_F(arrival, timestamp)
{
	struct received received = {};
	struct timeval *time;
	long long then;

	ASSERT_EQ(0, set_int(self->fds[1], SOL_SOCKET, SO_TIMESTAMP, 1));
	ASSERT_EQ((ssize_t)variant->len, send(self->fds[0], self->data, variant->len, 0));
	sleep_ms(50);
	self->before = realtime();
	ASSERT_EQ((ssize_t)variant->len, send(self->fds[0], self->data, variant->len, 0));
	self->after = realtime();
	sleep_ms(50);
	receive(self->fds[1], self->data, sizeof(self->data), &received);
	ASSERT_EQ(2 * (ssize_t)variant->len, received.got);
	time = control_of(&received, SCM_TIMESTAMP, sizeof(*time));
	ASSERT_NE(NULL, time);
	then = time->tv_sec * 1000000000ll + time->tv_usec * 1000ll;
	EXPECT_LE(self->before / 1000 * 1000, then);
	EXPECT_GE(self->after, then);
}

/* SO_TIMESTAMPNS: the same in nanoseconds; a look shows it, too. */
TEST_F(arrival, timestampns)
{
	struct received received = { .flags = MSG_PEEK };
	struct timespec *time;
	long long then;

	ASSERT_EQ(0, set_int(self->fds[1], SOL_SOCKET, SO_TIMESTAMPNS, 1));
	self->before = realtime();
	ASSERT_EQ((ssize_t)variant->len, send(self->fds[0], self->data, variant->len, 0));
	self->after = realtime();
	sleep_ms(50);
	for (int round = 0; round < 2; round++) {
		receive(self->fds[1], self->data, sizeof(self->data), &received);
		ASSERT_EQ((ssize_t)variant->len, received.got);
		time = control_of(&received, SCM_TIMESTAMPNS, sizeof(*time));
		ASSERT_NE(NULL, time);
		then = time->tv_sec * 1000000000ll + time->tv_nsec;
		EXPECT_LE(self->before, then);
		EXPECT_GE(self->after, then);
		received.flags = 0;
	}
}

/* SO_TIMESTAMPING: the software's time of receiving. */
TEST_F(arrival, timestamping)
{
	struct received received = {};
	struct scm_timestamping *times;
	long long then;

	ASSERT_EQ(0, set_int(self->fds[1], SOL_SOCKET, SO_TIMESTAMPING,
			     SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE));
	self->before = realtime();
	ASSERT_EQ((ssize_t)variant->len, send(self->fds[0], self->data, variant->len, 0));
	self->after = realtime();
	sleep_ms(50);
	receive(self->fds[1], self->data, sizeof(self->data), &received);
	ASSERT_EQ((ssize_t)variant->len, received.got);
	times = control_of(&received, SCM_TIMESTAMPING, sizeof(*times));
	ASSERT_NE(NULL, times);
	then = times->ts[0].tv_sec * 1000000000ll + times->ts[0].tv_nsec;
	EXPECT_LE(self->before, then);
	EXPECT_GE(self->after, then);
	EXPECT_EQ(0, times->ts[2].tv_sec);
}

/* What arrives while a reader owns the socket, or sleeps, has its time, too. */
TEST_F(arrival, reader_that_sleeps)
{
	struct received received = {};
	struct timespec *time;
	struct caller caller = {
		.fd = self->fds[1], .call = call_recv, .data = self->data, .len = 1,
	};
	long long then;

	ASSERT_EQ(0, set_int(self->fds[1], SOL_SOCKET, SO_TIMESTAMPNS, 1));
	ASSERT_TRUE(caller_start(&caller));
	self->before = realtime();
	ASSERT_EQ((ssize_t)variant->len, send(self->fds[0], self->data, variant->len, 0));
	self->after = realtime();
	ASSERT_TRUE(caller_join(&caller));
	receive(self->fds[1], self->data, sizeof(self->data), &received);
	ASSERT_EQ((ssize_t)variant->len - 1, received.got);
	time = control_of(&received, SCM_TIMESTAMPNS, sizeof(*time));
	ASSERT_NE(NULL, time);
	then = time->tv_sec * 1000000000ll + time->tv_nsec;
	EXPECT_LE(self->before, then);
	EXPECT_GE(self->after, then);
}

/* From the peer, SO_TIMESTAMP as well. */
TEST(timestamp_from_the_peer)
{
	struct received received = {};
	struct timespec *time;
	long long before = realtime(), after, then;
	uint8_t data[3000];
	int fd = vsock_stream(0);

	ASSERT_EQ(0, set_int(fd, SOL_SOCKET, SO_TIMESTAMPNS, 1));
	ASSERT_EQ(0, vsock_ask_on(fd, "send 3000 1500 0"));
	ASSERT_TRUE(wait_queued(fd, sizeof(data)));
	after = realtime();
	sleep_ms(50);
	receive(fd, data, sizeof(data), &received);
	ASSERT_EQ(3000, received.got);
	time = control_of(&received, SCM_TIMESTAMPNS, sizeof(*time));
	ASSERT_NE(NULL, time);
	then = time->tv_sec * 1000000000ll + time->tv_nsec;
	EXPECT_LE(before, then);
	EXPECT_GE(after, then);
	close(fd);
}

FIXTURE(kilobyte)
{
	/* 1,000 bytes of the pattern are there. */
	int fd;
	uint8_t data[1000];
};

FIXTURE_SETUP(kilobyte)
{
	ASSERT_ASK(self->fd, "send 1000 100 0");
	ASSERT_TRUE(wait_queued(self->fd, 1000));
}

FIXTURE_TEARDOWN(kilobyte)
{
	close(self->fd);
}

/* Nothing that was not asked for. */
TEST_F(kilobyte, no_control_messages)
{
	struct received received = {};

	receive(self->fd, self->data, 100, &received);
	EXPECT_EQ(100, received.got);
	EXPECT_EQ(0, received.message.msg_controllen);
	EXPECT_EQ(0, received.message.msg_flags);
}

/* SO_INQ: how much is left. */
TEST_F(kilobyte, inq)
{
	struct received received = {};
	int *left;

	ASSERT_EQ(0, set_int(self->fd, SOL_SOCKET, SO_INQ, 1));
	receive(self->fd, self->data, 300, &received);
	ASSERT_EQ(300, received.got);
	left = control_of(&received, SCM_INQ, sizeof(*left));
	ASSERT_NE(NULL, left);
	EXPECT_EQ(700, *left);
	received.flags = MSG_PEEK;
	receive(self->fd, self->data, 100, &received);
	ASSERT_EQ(100, received.got);
	left = control_of(&received, SCM_INQ, sizeof(*left));
	ASSERT_NE(NULL, left);
	EXPECT_EQ(700, *left);
	received.flags = 0;
	receive(self->fd, self->data, 1000, &received);
	ASSERT_EQ(700, received.got);
	left = control_of(&received, SCM_INQ, sizeof(*left));
	ASSERT_NE(NULL, left);
	EXPECT_EQ(0, *left);
	ASSERT_EQ(0, set_int(self->fd, SOL_SOCKET, SO_INQ, 0));
}

/* SO_INQ is 0 or 1. */
TEST_F(kilobyte, inq_option)
{
	EXPECT_EQ(-1, set_int(self->fd, SOL_SOCKET, SO_INQ, 2));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, setsockopt(self->fd, SOL_SOCKET, SO_INQ, "", 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, setsockopt(self->fd, SOL_SOCKET, SO_INQ, (void *)8, 4));
	EXPECT_EQ(EFAULT, errno);
}

/* What does not fit is cut off, and said so; the bytes are there. */
TEST_F(kilobyte, control_that_does_not_fit)
{
	struct received received = { .room = sizeof(struct cmsghdr) - 1 };

	ASSERT_EQ(0, set_int(self->fd, SOL_SOCKET, SO_INQ, 1));
	receive(self->fd, self->data, 100, &received);
	EXPECT_EQ(100, received.got);
	EXPECT_EQ(100, pattern_check(self->data, 100, 0));
	EXPECT_EQ(MSG_CTRUNC, received.message.msg_flags);
	EXPECT_EQ(0, received.message.msg_controllen);
	/* Part of a message, with its true length before it. */
	received.room = sizeof(struct cmsghdr) + 2;
	receive(self->fd, self->data, 100, &received);
	EXPECT_EQ(100, received.got);
	EXPECT_EQ(MSG_CTRUNC, received.message.msg_flags);
	EXPECT_EQ(sizeof(struct cmsghdr) + 2, received.message.msg_controllen);
}

/* SO_PEEK_OFF: each look goes on from the last one. */
TEST_F(kilobyte, peek_offset)
{
	int value = 0;
	socklen_t len = sizeof(value);

	ASSERT_EQ(0, getsockopt(self->fd, SOL_SOCKET, SO_PEEK_OFF, &value, &len));
	EXPECT_EQ(-1, value);
	ASSERT_EQ(0, set_int(self->fd, SOL_SOCKET, SO_PEEK_OFF, 0));
	for (int at = 0; at < 300; at += 150) {
		ASSERT_EQ(150, recv(self->fd, self->data, 150, MSG_PEEK));
		EXPECT_EQ(150, pattern_check(self->data, 150, at));
	}
	ASSERT_EQ(0, getsockopt(self->fd, SOL_SOCKET, SO_PEEK_OFF, &value, &len));
	EXPECT_EQ(300, value);
	/* Reading takes off what lies before the place. */
	ASSERT_EQ(100, recv(self->fd, self->data, 100, 0));
	EXPECT_EQ(100, pattern_check(self->data, 100, 0));
	ASSERT_EQ(0, getsockopt(self->fd, SOL_SOCKET, SO_PEEK_OFF, &value, &len));
	EXPECT_EQ(200, value);
	ASSERT_EQ(50, recv(self->fd, self->data, 50, MSG_PEEK));
	EXPECT_EQ(50, pattern_check(self->data, 50, 300));
	/* A look with MSG_TRUNC, which has no meaning then. */
	ASSERT_EQ(50, recv(self->fd, self->data, 50, MSG_PEEK | MSG_TRUNC));
	EXPECT_EQ(50, pattern_check(self->data, 50, 350));
	/* Discarding counts as reading. */
	ASSERT_EQ(200, recv(self->fd, NULL, 200, MSG_TRUNC));
	ASSERT_EQ(50, recv(self->fd, self->data, 50, MSG_PEEK));
	EXPECT_EQ(50, pattern_check(self->data, 50, 400));
	/* Beyond the place, it begins at what comes next. */
	ASSERT_EQ(500, recv(self->fd, self->data, 500, 0));
	EXPECT_EQ(500, pattern_check(self->data, 500, 300));
	ASSERT_EQ(50, recv(self->fd, self->data, 50, MSG_PEEK));
	EXPECT_EQ(50, pattern_check(self->data, 50, 800));
	/* Off again. */
	ASSERT_EQ(0, set_int(self->fd, SOL_SOCKET, SO_PEEK_OFF, -1));
	for (int round = 0; round < 2; round++) {
		ASSERT_EQ(50, recv(self->fd, self->data, 50, MSG_PEEK));
		EXPECT_EQ(50, pattern_check(self->data, 50, 800));
	}
}

/* Beyond what is there, a look finds nothing. */
TEST_F(kilobyte, peek_offset_at_the_end)
{
	ASSERT_EQ(0, set_int(self->fd, SOL_SOCKET, SO_PEEK_OFF, 900));
	ASSERT_EQ(100, recv(self->fd, self->data, 1000, MSG_PEEK));
	EXPECT_EQ(100, pattern_check(self->data, 100, 900));
	EXPECT_EQ(-1, recv(self->fd, self->data, 1000, MSG_PEEK | MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
	ASSERT_EQ(0, set_int(self->fd, SOL_SOCKET, SO_PEEK_OFF, 5000));
	EXPECT_EQ(-1, recv(self->fd, self->data, 1000, MSG_PEEK | MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(1000, recv(self->fd, self->data, 1000, 0));
}

/* And waits for more; the end ends it. */
TEST(peek_offset_waits)
{
	uint8_t more[69] = { 'a' };
	uint8_t data[100];
	struct caller caller = { .call = call_recv, .data = data, .len = 100,
				 .flags = MSG_PEEK | MSG_WAITALL };
	int fds[2];

	ASSERT_EQ(0, vsock_pair(vsock_own_cid(), 0, fds));
	caller.fd = fds[1];
	ASSERT_EQ(0, set_int(fds[1], SOL_SOCKET, SO_PEEK_OFF, 0));
	ASSERT_EQ(50, send(fds[0], "12345678901234567890123456789012345678901234567890",
			   50, 0));
	ASSERT_EQ(20, recv(fds[1], data, 20, MSG_PEEK));
	ASSERT_TRUE(caller_start(&caller));
	EXPECT_FALSE(caller_is_done(&caller));
	ASSERT_EQ(69, send(fds[0], more, sizeof(more), 0));
	sleep_ms(SETTLE_MS);
	EXPECT_FALSE(caller_is_done(&caller));
	ASSERT_EQ(1, send(fds[0], "z", 1, 0));
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ(100, caller.result);
	EXPECT_EQ('1', data[0]);
	EXPECT_EQ('a', data[30]);
	EXPECT_EQ('z', data[99]);
	/* One that is past the end, until there is one. */
	ASSERT_TRUE(caller_start(&caller));
	EXPECT_FALSE(caller_is_done(&caller));
	ASSERT_EQ(0, shutdown(fds[0], SHUT_WR));
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ(0, caller.result);
	/* What was looked at is all there. */
	EXPECT_EQ(0, recv_all(fds[1], data, 100));
	EXPECT_EQ(0, recv_all(fds[1], data, 20));
	close(fds[0]);
	close(fds[1]);
}

/* Control data on send are ignored, as with vsock. */
TEST(control_on_send)
{
	union {
		char space[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {};
	struct iovec part = { "hello", 5 };
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	char data[8];
	int fds[2];

	ASSERT_EQ(0, vsock_pair(vsock_own_cid(), 0, fds));
	control.align = (struct cmsghdr) {
		.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET,
		.cmsg_type = SCM_RIGHTS,
	};
	EXPECT_EQ(5, sendmsg(fds[0], &message, 0));
	control.align.cmsg_level = 12345;
	EXPECT_EQ(5, sendmsg(fds[0], &message, 0));
	for (int i = 0; i < 2; i++)
		EXPECT_EQ(0, recv_all(fds[1], data, 5));
	EXPECT_EQ(-1, recv(fds[1], data, 1, MSG_DONTWAIT));
	close(fds[0]);
	close(fds[1]);
}

/* SO_RCVBUF sets what SO_VM_SOCKETS_BUFFER_SIZE sets; it reads twice of that. */
TEST(receive_buffer)
{
	uint64_t size = 0;
	int value = 0, fd = vsock_stream(0), fds[2];
	socklen_t len = sizeof(value);
	unsigned int port;

	ASSERT_LE(0, fd);
	EXPECT_EQ(0, set_int(fd, SOL_SOCKET, SO_RCVBUF, KIB(64)));
	ASSERT_EQ(0, get_buffer(fd, SO_VM_SOCKETS_BUFFER_SIZE, &size));
	EXPECT_EQ(KIB(64), size);
	ASSERT_EQ(0, getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &value, &len));
	EXPECT_EQ((int)KIB(128), value);
	/* The other way round. */
	EXPECT_EQ(0, set_buffer(fd, SO_VM_SOCKETS_BUFFER_SIZE, KIB(96)));
	ASSERT_EQ(0, getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &value, &len));
	EXPECT_EQ((int)KIB(192), value);
	/* Within the bounds of vsock. */
	EXPECT_EQ(0, set_buffer(fd, SO_VM_SOCKETS_BUFFER_MIN_SIZE, KIB(32)));
	EXPECT_EQ(0, set_int(fd, SOL_SOCKET, SO_RCVBUF, KIB(16)));
	ASSERT_EQ(0, get_buffer(fd, SO_VM_SOCKETS_BUFFER_SIZE, &size));
	EXPECT_EQ(KIB(32), size);
	EXPECT_EQ(0, set_int(fd, SOL_SOCKET, SO_RCVBUFFORCE, MIB(1)));
	ASSERT_EQ(0, get_buffer(fd, SO_VM_SOCKETS_BUFFER_SIZE, &size));
	EXPECT_EQ(KIB(256), size);
	ASSERT_EQ(0, getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &value, &len));
	EXPECT_EQ((int)KIB(512), value);
	close(fd);

	/* It is the other end's credit at once, and that of who is accepted. */
	fd = vsock_listener(&port, 1);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, set_int(fd, SOL_SOCKET, SO_RCVBUF, KIB(8)));
	fds[0] = vsock_stream(0);
	ASSERT_EQ(0, vsock_connect(fds[0], vsock_own_cid(), port));
	fds[1] = accept(fd, NULL, NULL);
	ASSERT_LE(0, fds[1]);
	ASSERT_EQ(0, getsockopt(fds[1], SOL_SOCKET, SO_RCVBUF, &value, &len));
	EXPECT_EQ((int)KIB(16), value);
	EXPECT_EQ((ssize_t)KIB(8), send(fds[0], calloc(1, KIB(64)), KIB(64), MSG_DONTWAIT));
	EXPECT_EQ(0, set_int(fds[1], SOL_SOCKET, SO_RCVBUF, KIB(24)));
	EXPECT_EQ(POLLOUT, poll_for(fds[0], POLLOUT, PATIENCE_MS));
	EXPECT_EQ((ssize_t)KIB(16), send(fds[0], calloc(1, KIB(64)), KIB(64), MSG_DONTWAIT));
	close(fds[0]);
	close(fds[1]);
	close(fd);
}

/* SO_SNDBUF bounds nothing: what is under way is bounded by the credit. */
TEST(send_buffer_without_effect)
{
	int fds[2];

	ASSERT_EQ(0, vsock_pair(vsock_own_cid(), 0, fds));
	EXPECT_EQ(0, set_int(fds[0], SOL_SOCKET, SO_SNDBUF, 4096));
	EXPECT_EQ((ssize_t)KIB(256), send(fds[0], calloc(1, KIB(300)), KIB(300), MSG_DONTWAIT));
	close(fds[0]);
	close(fds[1]);
}

/* Nor does busy polling change anything: there is nothing to poll. */
TEST(busy_poll_without_effect)
{
	struct caller caller = { .call = call_recv, .len = 1 };
	uint8_t data[1];
	int fds[2];

	ASSERT_EQ(0, vsock_pair(vsock_own_cid(), 0, fds));
	ASSERT_EQ(0, set_int(fds[1], SOL_SOCKET, SO_BUSY_POLL, 1000));
	EXPECT_EQ(-1, recv(fds[1], data, 1, MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(0, poll_for(fds[1], POLLIN, 0));
	caller.fd = fds[1];
	caller.data = data;
	ASSERT_TRUE(caller_start(&caller));
	EXPECT_FALSE(caller_is_done(&caller));
	ASSERT_EQ(1, send(fds[0], "a", 1, 0));
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ(1, caller.result);
	EXPECT_EQ('a', data[0]);
	close(fds[0]);
	close(fds[1]);
}

TEST_HARNESS_MAIN
