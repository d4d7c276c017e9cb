// SPDX-License-Identifier: GPL-2.0
/*
 * What recv() returns, and when: one test for each row of the contract of
 * recv(2) on a stream. How often it wakes is in recv_wake.c.
 */
#include "vsock_harness.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/uio.h>

/* A connection to the host's echo: what the test sends is what comes. */
FIXTURE(echo)
{
	int fd;
	uint8_t data[4096];
};

FIXTURE_SETUP(echo)
{
	self->fd = vsock_connected(PORT_ECHO);
	ASSERT_LE(0, self->fd)
		TH_LOG("connecting to the host's echo: %s", strerror(errno));
}

FIXTURE_TEARDOWN(echo)
{
	close(self->fd);
}

/* Have @len bytes of the pattern from @offset sent back to us, and queued. */
static bool queue_pattern(int fd, size_t len, uint64_t offset)
{
	uint8_t data[4096];

	pattern_fill(data, len, offset);
	return !send_all(fd, data, len) && wait_queued(fd, len);
}

/* plain: returns what is there, up to len. */
TEST_F(echo, returns_what_is_there)
{
	ASSERT_TRUE(queue_pattern(self->fd, 1000, 0));
	EXPECT_EQ(1000, recv(self->fd, self->data, sizeof(self->data), 0));
	EXPECT_EQ(1000, pattern_check(self->data, 1000, 0));
}

/* plain: no more than len; the rest stays, in order. */
TEST_F(echo, leaves_the_rest)
{
	ASSERT_TRUE(queue_pattern(self->fd, 1000, 0));
	EXPECT_EQ(300, recv(self->fd, self->data, 300, 0));
	EXPECT_EQ(700, recv(self->fd, self->data + 300, 3000, 0));
	EXPECT_EQ(1000, pattern_check(self->data, 1000, 0));
}

/* plain: blocks until there is a byte. */
TEST_F(echo, blocks_until_data)
{
	struct caller caller = {
		.fd = self->fd, .call = call_recv,
		.data = self->data, .len = sizeof(self->data),
	};

	ASSERT_TRUE(caller_start(&caller));
	ASSERT_FALSE(caller_is_done(&caller));
	ASSERT_EQ(0, send_all(self->fd, "x", 1));
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ(1, caller.result);
	EXPECT_EQ('x', self->data[0]);
}

/* The reply of two bytes that all this started from. */
TEST(two_byte_reply)
{
	char reply[2] = "";
	int fd = vsock_connected(PORT_REPLY);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, send_all(fd, "hello", 5));
	EXPECT_EQ(2, recv(fd, reply, sizeof(reply), 0));
	EXPECT_EQ(0, memcmp(reply, "OK", 2));
	EXPECT_EQ(0, recv(fd, reply, sizeof(reply), 0));
	close(fd);
}

/* target: SO_RCVLOWAT bytes, no fewer. */
TEST_F(echo, rcvlowat_is_the_target)
{
	struct caller caller = {
		.fd = self->fd, .call = call_recv,
		.data = self->data, .len = sizeof(self->data),
	};

	ASSERT_EQ(0, set_int(self->fd, SOL_SOCKET, SO_RCVLOWAT, 100));
	ASSERT_TRUE(caller_start(&caller));
	ASSERT_EQ(0, send_all(self->fd, self->data, 50));
	sleep_ms(2 * SETTLE_MS);
	EXPECT_FALSE(caller_is_done(&caller));
	ASSERT_EQ(0, send_all(self->fd, self->data, 60));
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ(110, caller.result);
}

/* target: no more than len, however high SO_RCVLOWAT is. */
TEST_F(echo, rcvlowat_above_len)
{
	ASSERT_EQ(0, set_int(self->fd, SOL_SOCKET, SO_RCVLOWAT, 1000));
	ASSERT_EQ(0, send_all(self->fd, self->data, 10));
	EXPECT_EQ(10, recv(self->fd, self->data, 10, 0));
}

/* target: SO_RCVLOWAT beyond the buffer is met by draining. */
TEST(rcvlowat_beyond_the_buffer)
{
	uint8_t *data = malloc(MIB(1));
	int fd;

	ASSERT_ASK(fd, "send %zu 65536 0", MIB(1));
	ASSERT_EQ(0, set_int(fd, SOL_SOCKET, SO_RCVLOWAT, MIB(1)));
	EXPECT_EQ((ssize_t)MIB(1), recv(fd, data, MIB(1), 0));
	EXPECT_EQ(MIB(1), pattern_check(data, MIB(1), 0));
	close(fd);
	free(data);
}

FIXTURE(waitall)
{
	uint8_t *data;
	int fd;
};

FIXTURE_VARIANT(waitall)
{
	size_t len;
};

FIXTURE_VARIANT_ADD(waitall, below_the_buffer)
{
	.len = KIB(16),
};

FIXTURE_VARIANT_ADD(waitall, just_below_the_buffer)
{
	.len = DEFAULT_BUFFER - 1,
};

FIXTURE_VARIANT_ADD(waitall, the_buffer)
{
	.len = DEFAULT_BUFFER,
};

FIXTURE_VARIANT_ADD(waitall, above_the_buffer)
{
	.len = MIB(1),
};

FIXTURE_SETUP(waitall)
{
	self->data = malloc(variant->len);
	ASSERT_ASK(self->fd, "send %zu 4096 0", 3 * variant->len);
}

FIXTURE_TEARDOWN(waitall)
{
	close(self->fd);
	free(self->data);
}

/* MSG_WAITALL: all of len in one call, whatever len is to the buffer. */
TEST_F(waitall, returns_all)
{
	for (unsigned int round = 0; round < 3; round++) {
		ASSERT_EQ((ssize_t)variant->len,
			  recv(self->fd, self->data, variant->len, MSG_WAITALL));
		ASSERT_EQ(variant->len,
			  pattern_check(self->data, variant->len,
					variant->len * round));
	}
}

/* MSG_WAITALL: blocks while a byte is missing. */
TEST_F(echo, waitall_waits_for_the_last_byte)
{
	struct caller caller = {
		.fd = self->fd, .call = call_recv, .flags = MSG_WAITALL,
		.data = self->data, .len = 1000,
	};
	uint8_t out[1000];

	pattern_fill(out, sizeof(out), 0);
	ASSERT_TRUE(caller_start(&caller));
	ASSERT_EQ(0, send_all(self->fd, out, 999));
	sleep_ms(SETTLE_MS);
	EXPECT_FALSE(caller_is_done(&caller));
	ASSERT_EQ(0, send_all(self->fd, out + 999, 1));
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ(1000, caller.result);
	EXPECT_EQ(1000, pattern_check(self->data, 1000, 0));
}

/* MSG_WAITALL: the end of the stream ends it with a short count. */
TEST(waitall_and_the_end)
{
	uint8_t data[4096];
	int fd;

	ASSERT_ASK(fd, "send-close 1000 100 1000");
	EXPECT_EQ(1000, recv(fd, data, sizeof(data), MSG_WAITALL));
	EXPECT_EQ(1000, pattern_check(data, 1000, 0));
	EXPECT_EQ(0, recv(fd, data, sizeof(data), MSG_WAITALL));
	close(fd);
}

/* MSG_DONTWAIT: EAGAIN when nothing is there, a short count otherwise. */
TEST_F(echo, dontwait)
{
	EXPECT_EQ(-1, recv(self->fd, self->data, 10, MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
	ASSERT_TRUE(queue_pattern(self->fd, 100, 0));
	EXPECT_EQ(100, recv(self->fd, self->data, 1000, MSG_DONTWAIT));
	EXPECT_EQ(-1, recv(self->fd, self->data, 10, MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
}

/* MSG_DONTWAIT does not wait for a target either. */
TEST_F(echo, dontwait_below_the_target)
{
	ASSERT_TRUE(queue_pattern(self->fd, 100, 0));
	EXPECT_EQ(100, recv(self->fd, self->data, 1000,
			    MSG_DONTWAIT | MSG_WAITALL));
	ASSERT_TRUE(queue_pattern(self->fd, 100, 0));
	ASSERT_EQ(0, set_int(self->fd, SOL_SOCKET, SO_RCVLOWAT, 500));
	EXPECT_EQ(100, recv(self->fd, self->data, 1000, MSG_DONTWAIT));
}

/* O_NONBLOCK does what MSG_DONTWAIT does. */
TEST_F(echo, nonblocking_socket)
{
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_NONBLOCK));
	EXPECT_EQ(-1, read(self->fd, self->data, 10));
	EXPECT_EQ(EAGAIN, errno);
	ASSERT_TRUE(queue_pattern(self->fd, 100, 0));
	EXPECT_EQ(100, read(self->fd, self->data, 1000));
}

/* MSG_PEEK consumes nothing. */
TEST_F(echo, peek)
{
	ASSERT_TRUE(queue_pattern(self->fd, 1000, 0));
	for (int i = 0; i < 3; i++) {
		memset(self->data, 0, sizeof(self->data));
		EXPECT_EQ(600, recv(self->fd, self->data, 600, MSG_PEEK));
		EXPECT_EQ(600, pattern_check(self->data, 600, 0));
	}
	EXPECT_EQ(1000, recv(self->fd, self->data, sizeof(self->data), 0));
	EXPECT_EQ(1000, pattern_check(self->data, 1000, 0));
}

/* MSG_PEEK blocks as a plain recv does. */
TEST_F(echo, peek_blocks_until_data)
{
	struct caller caller = {
		.fd = self->fd, .call = call_recv, .flags = MSG_PEEK,
		.data = self->data, .len = sizeof(self->data),
	};

	ASSERT_TRUE(caller_start(&caller));
	ASSERT_FALSE(caller_is_done(&caller));
	ASSERT_EQ(0, send_all(self->fd, "x", 1));
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ(1, caller.result);
	EXPECT_EQ(1, recv(self->fd, self->data, 10, 0));
}

/* MSG_PEEK with MSG_WAITALL waits for its target, and consumes nothing. */
TEST_F(echo, peek_with_waitall)
{
	struct caller caller = {
		.fd = self->fd, .call = call_recv,
		.flags = MSG_PEEK | MSG_WAITALL,
		.data = self->data, .len = 200,
	};
	uint8_t out[200], again[1000];

	pattern_fill(out, sizeof(out), 0);
	ASSERT_TRUE(caller_start(&caller));
	ASSERT_EQ(0, send_all(self->fd, out, 100));
	sleep_ms(SETTLE_MS);
	EXPECT_FALSE(caller_is_done(&caller));
	ASSERT_EQ(0, send_all(self->fd, out + 100, 100));
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ(200, caller.result);
	EXPECT_EQ(200, pattern_check(self->data, 200, 0));
	EXPECT_EQ(200, recv(self->fd, again, sizeof(again), 0));
	EXPECT_EQ(200, pattern_check(again, 200, 0));
}

/* MSG_PEEK with MSG_WAITALL beyond the window gives what the window holds. */
TEST(peek_with_waitall_beyond_the_window)
{
	uint8_t *data = malloc(MIB(1));
	ssize_t got;
	int fd;

	/* Little by little, so that a call that does not wait finds less. */
	ASSERT_ASK(fd, "send %zu 4096 1000", MIB(1));
	got = recv(fd, data, MIB(1), MSG_PEEK | MSG_WAITALL);
	EXPECT_LE((ssize_t)PEER_BUFFER, got);
	EXPECT_GE((ssize_t)DEFAULT_BUFFER, got);
	EXPECT_EQ((ssize_t)MIB(1), recv(fd, data, MIB(1), MSG_WAITALL));
	EXPECT_EQ(MIB(1), pattern_check(data, MIB(1), 0));
	close(fd);
	free(data);
}

/* MSG_TRUNC on a stream: discards without copying, returns the count. */
TEST_F(echo, trunc_discards)
{
	uint8_t untouched[300];

	memset(untouched, 0xee, sizeof(untouched));
	memset(self->data, 0xee, sizeof(self->data));
	ASSERT_TRUE(queue_pattern(self->fd, 1000, 0));
	EXPECT_EQ(300, recv(self->fd, self->data, 300, MSG_TRUNC));
	EXPECT_EQ(0, memcmp(untouched, self->data, 300));
	EXPECT_EQ(700, recv(self->fd, self->data, sizeof(self->data), 0));
	EXPECT_EQ(700, pattern_check(self->data, 700, 300));
}

/* MSG_TRUNC needs no buffer, and drains more than the window. */
TEST(trunc_without_a_buffer)
{
	uint8_t data[1000];
	int fd;

	ASSERT_ASK(fd, "send %zu 65536 0", MIB(1) + 1000);
	EXPECT_EQ((ssize_t)MIB(1), recv(fd, NULL, MIB(1),
					MSG_TRUNC | MSG_WAITALL));
	EXPECT_EQ(1000, recv(fd, data, sizeof(data), MSG_WAITALL));
	EXPECT_EQ(1000, pattern_check(data, 1000, MIB(1)));
	close(fd);
}

/* len 0: returns 0 at once, and consumes nothing. */
TEST_F(echo, length_of_zero)
{
	EXPECT_EQ(0, recv(self->fd, self->data, 0, 0));
	ASSERT_TRUE(queue_pattern(self->fd, 10, 0));
	EXPECT_EQ(0, recv(self->fd, self->data, 0, MSG_WAITALL));
	EXPECT_EQ(10, recv(self->fd, self->data, 100, 0));
}

/* MSG_OOB: the wire has none. */
TEST_F(echo, out_of_band)
{
	ASSERT_TRUE(queue_pattern(self->fd, 10, 0));
	EXPECT_EQ(-1, recv(self->fd, self->data, 1, MSG_OOB));
	EXPECT_EQ(EOPNOTSUPP, errno);
	EXPECT_EQ(10, recv(self->fd, self->data, 100, 0));
}

/* readv(): parts are filled in order; empty parts are passed over. */
TEST_F(echo, parts)
{
	struct iovec parts[] = {
		{ .iov_base = self->data, .iov_len = 1 },
		{ .iov_base = NULL, .iov_len = 0 },
		{ .iov_base = self->data + 1, .iov_len = 499 },
		{ .iov_base = self->data + 500, .iov_len = 3000 },
	};

	ASSERT_TRUE(queue_pattern(self->fd, 1000, 0));
	EXPECT_EQ(1000, readv(self->fd, parts, ARRAY_SIZE(parts)));
	EXPECT_EQ(1000, pattern_check(self->data, 1000, 0));
}

/* recvmsg(): no name, no control data, no flags come with a stream's bytes. */
TEST_F(echo, message_header)
{
	struct iovec part = { .iov_base = self->data, .iov_len = 100 };
	uint8_t name[64], control[64], untouched[64];
	struct msghdr message = {
		.msg_name = name, .msg_namelen = sizeof(name),
		.msg_control = control, .msg_controllen = sizeof(control),
		.msg_iov = &part, .msg_iovlen = 1,
	};

	memset(name, 0xee, sizeof(name));
	memset(untouched, 0xee, sizeof(untouched));
	ASSERT_TRUE(queue_pattern(self->fd, 100, 0));
	EXPECT_EQ(100, recvmsg(self->fd, &message, 0));
	EXPECT_EQ(0, message.msg_namelen);
	EXPECT_EQ(0, message.msg_controllen);
	EXPECT_EQ(0, message.msg_flags);
	EXPECT_EQ(0, memcmp(untouched, name, sizeof(name)));
}

/* recvfrom(): the address is left alone, its length becomes 0. */
TEST_F(echo, no_name_on_a_stream)
{
	uint8_t name[64], untouched[64];
	socklen_t len = sizeof(name);

	memset(name, 0xee, sizeof(name));
	memset(untouched, 0xee, sizeof(untouched));
	ASSERT_TRUE(queue_pattern(self->fd, 100, 0));
	EXPECT_EQ(100, recvfrom(self->fd, self->data, 100, 0,
				(struct sockaddr *)name, &len));
	EXPECT_EQ(0, len);
	EXPECT_EQ(0, memcmp(untouched, name, sizeof(name)));
}

/* a timeout: EAGAIN when nothing came. */
TEST_F(echo, timeout_before_data)
{
	long began = now_ms();

	ASSERT_EQ(0, set_timeout(self->fd, SO_RCVTIMEO, 400));
	EXPECT_EQ(-1, recv(self->fd, self->data, 10, 0));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_LE(390, now_ms() - began);
	EXPECT_GE(3000, now_ms() - began);
	/* The connection is none the worse for it. */
	ASSERT_EQ(0, send_all(self->fd, "x", 1));
	ASSERT_TRUE(wait_queued(self->fd, 1));
	EXPECT_EQ(1, recv(self->fd, self->data, 10, 0));
}

/* a timeout: that of the whole call, however many bytes trickle in. */
TEST(timeout_of_the_whole_call)
{
	uint8_t data[64];
	ssize_t got;
	long began, took;
	int fd;

	/* A byte each 0.1 s, for 6.4 s. */
	ASSERT_ASK(fd, "send 64 1 100000");
	ASSERT_EQ(0, set_timeout(fd, SO_RCVTIMEO, 400));
	began = now_ms();
	got = recv(fd, data, sizeof(data), MSG_WAITALL);
	took = now_ms() - began;
	EXPECT_LE(390, took);
	EXPECT_GE(1500, took);
	EXPECT_LE(1, got);
	EXPECT_GE(16, got);
	/* The rest is still to be had, and starts where this ended. */
	ASSERT_LE(0, got);
	EXPECT_EQ(got, (ssize_t)pattern_check(data, got, 0));
	ASSERT_EQ(0, recv_all(fd, data + got, 1));
	EXPECT_EQ(1, pattern_check(data + got, 1, got));
	close(fd);
}

/* a signal: EINTR before any data. */
TEST_F(echo, signal_before_data)
{
	struct caller caller = {
		.fd = self->fd, .call = call_recv,
		.data = self->data, .len = 10,
	};

	ignore_with_handler(SIGUSR1, 0);
	EXPECT_TRUE(caller_is_interrupted(&caller));
}

/* a signal: with SA_RESTART the call goes on. */
TEST_F(echo, signal_with_restart)
{
	struct caller caller = {
		.fd = self->fd, .call = call_recv,
		.data = self->data, .len = 10,
	};

	ignore_with_handler(SIGUSR1, SA_RESTART);
	ASSERT_TRUE(caller_start(&caller));
	pthread_kill(caller.thread, SIGUSR1);
	sleep_ms(SETTLE_MS);
	EXPECT_EQ(1, handled_signals());
	EXPECT_FALSE(caller_is_done(&caller));
	ASSERT_EQ(0, send_all(self->fd, "x", 1));
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ(1, caller.result);
}

/* a signal: a call with a timeout is not restarted, as socket(7) says. */
TEST_F(echo, signal_with_restart_and_a_timeout)
{
	struct caller caller = {
		.fd = self->fd, .call = call_recv,
		.data = self->data, .len = 10,
	};

	ASSERT_EQ(0, set_timeout(self->fd, SO_RCVTIMEO, PATIENCE_MS));
	ignore_with_handler(SIGUSR1, SA_RESTART);
	EXPECT_TRUE(caller_is_interrupted(&caller));
}

/* a signal: after some data, the short count. */
TEST_F(echo, signal_after_some_data)
{
	struct caller caller = {
		.fd = self->fd, .call = call_recv, .flags = MSG_WAITALL,
		.data = self->data, .len = 200,
	};
	uint8_t out[200];

	pattern_fill(out, sizeof(out), 0);
	ignore_with_handler(SIGUSR1, 0);
	ASSERT_TRUE(caller_start(&caller));
	ASSERT_EQ(0, send_all(self->fd, out, 100));
	sleep_ms(2 * SETTLE_MS);
	ASSERT_FALSE(caller_is_done(&caller));
	pthread_kill(caller.thread, SIGUSR1);
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ(100, caller.result);
	EXPECT_EQ(100, pattern_check(self->data, 100, 0));
	/* What comes later is not lost. */
	ASSERT_EQ(0, send_all(self->fd, out + 100, 100));
	ASSERT_EQ(0, recv_all(self->fd, self->data, 100));
	EXPECT_EQ(100, pattern_check(self->data, 100, 100));
}

/* EFAULT: nothing could be copied, and nothing is lost. */
TEST_F(echo, unwritable_buffer)
{
	ASSERT_TRUE(queue_pattern(self->fd, 100, 0));
	EXPECT_EQ(-1, recv(self->fd, (void *)8, 100, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(100, recv(self->fd, self->data, 1000, 0));
	EXPECT_EQ(100, pattern_check(self->data, 100, 0));
}

/* EFAULT midway: what was copied is returned, the rest stays queued. */
TEST_F(echo, buffer_that_ends_too_soon)
{
	long page = sysconf(_SC_PAGESIZE);
	uint8_t *map = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint8_t *buffer = map + page - 300;
	ssize_t got, rest;

	ASSERT_NE(MAP_FAILED, (void *)map);
	ASSERT_EQ(0, mprotect(map + page, page, PROT_NONE));
	ASSERT_TRUE(queue_pattern(self->fd, 1000, 0));
	got = recv(self->fd, buffer, 1000, 0);
	EXPECT_LE(1, got);
	EXPECT_GE(300, got);
	got = got < 0 ? 0 : got;
	EXPECT_EQ(got, (ssize_t)pattern_check(buffer, got, 0));
	rest = 1000 - got;
	EXPECT_EQ(rest, recv(self->fd, self->data, sizeof(self->data), 0));
	EXPECT_EQ(rest, (ssize_t)pattern_check(self->data, rest, got));
	munmap(map, 2 * page);
}

/* shutdown(SHUT_RD): what is queued stays readable, then 0. */
TEST_F(echo, shutdown_leaves_queued_data)
{
	ASSERT_TRUE(queue_pattern(self->fd, 1000, 0));
	ASSERT_EQ(0, shutdown(self->fd, SHUT_RD));
	EXPECT_EQ(1000, recv(self->fd, self->data, sizeof(self->data), 0));
	EXPECT_EQ(1000, pattern_check(self->data, 1000, 0));
	EXPECT_EQ(0, recv(self->fd, self->data, sizeof(self->data), 0));
	EXPECT_EQ(0, recv(self->fd, self->data, sizeof(self->data), MSG_DONTWAIT));
}

/* shutdown(SHUT_RD) ends a blocked recv. */
TEST_F(echo, shutdown_ends_recv)
{
	struct caller caller = {
		.fd = self->fd, .call = call_recv,
		.data = self->data, .len = 10,
	};

	ASSERT_TRUE(caller_start(&caller));
	ASSERT_FALSE(caller_is_done(&caller));
	ASSERT_EQ(0, shutdown(self->fd, SHUT_RD));
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ(0, caller.result);
}

/* peer closed: the data that arrived before, then 0, for as long as one asks. */
TEST(peer_closed)
{
	uint8_t *data = malloc(100000);
	int fd;

	ASSERT_ASK(fd, "send-close 100000 10000 0");
	ASSERT_EQ(0, recv_all(fd, data, 100000));
	EXPECT_EQ(100000, pattern_check(data, 100000, 0));
	for (int i = 0; i < 3; i++)
		EXPECT_EQ(0, recv(fd, data, 100, 0));
	close(fd);
	free(data);
}

/* peer closed: the data stay, also when nobody reads until long after. */
TEST(peer_closed_before_recv)
{
	uint8_t *data = malloc(100000);
	int fd;

	ASSERT_ASK(fd, "send-close 100000 10000 0");
	ASSERT_EQ(POLLRDHUP, poll_for(fd, POLLRDHUP, PATIENCE_MS) & POLLRDHUP);
	sleep_ms(SETTLE_MS);
	EXPECT_EQ(100000, recv(fd, data, 100000, MSG_WAITALL));
	EXPECT_EQ(100000, pattern_check(data, 100000, 0));
	EXPECT_EQ(0, recv(fd, data, 100, 0));
	close(fd);
	free(data);
}

/* peer closed: a blocked recv ends with 0. */
TEST(peer_closes_under_recv)
{
	uint8_t data[10];
	struct caller caller = {
		.call = call_recv, .data = data, .len = sizeof(data),
	};

	ASSERT_ASK(caller.fd, "hold 1000");
	ASSERT_TRUE(caller_start(&caller));
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ(0, caller.result);
	close(caller.fd);
}

/* several readers: data for two wakes two. */
TEST_F(echo, two_readers_share_an_arrival)
{
	struct caller callers[2];

	for (int i = 0; i < 2; i++) {
		callers[i] = (struct caller) {
			.fd = self->fd, .call = call_recv,
			.data = self->data + 100 * i, .len = 10,
		};
		ASSERT_TRUE(caller_start(&callers[i]));
	}
	ASSERT_EQ(0, send_all(self->fd, "0123456789abcdefghij", 20));
	for (int i = 0; i < 2; i++) {
		ASSERT_TRUE(caller_join(&callers[i]));
		EXPECT_EQ(10, callers[i].result);
	}
	EXPECT_NE(0, memcmp(self->data, self->data + 100, 10));
}

/* several readers: served in the order in which they came. */
TEST_F(echo, readers_are_served_in_order)
{
	struct caller callers[3];

	for (int i = 0; i < 3; i++) {
		callers[i] = (struct caller) {
			.fd = self->fd, .call = call_recv,
			.data = self->data + 100 * i, .len = 10,
		};
		ASSERT_TRUE(caller_start(&callers[i]));
	}
	for (int i = 0; i < 3; i++) {
		char byte = '0' + i;

		ASSERT_EQ(0, send_all(self->fd, &byte, 1));
		ASSERT_TRUE(caller_join(&callers[i]));
		EXPECT_EQ(1, callers[i].result);
		EXPECT_EQ(byte, *(char *)callers[i].data);
	}
}

/* several readers: one that a signal takes away leaves the data to the next. */
TEST_F(echo, interrupted_reader_passes_on)
{
	uint8_t other[10];
	struct caller first = {
		.fd = self->fd, .call = call_recv,
		.data = self->data, .len = 10,
	};
	struct caller second = {
		.fd = self->fd, .call = call_recv, .data = other, .len = 10,
	};

	ignore_with_handler(SIGUSR1, 0);
	ASSERT_TRUE(caller_start(&first));
	ASSERT_TRUE(caller_start(&second));
	pthread_kill(first.thread, SIGUSR1);
	ASSERT_EQ(0, send_all(self->fd, "x", 1));
	ASSERT_TRUE(caller_join(&first));
	if (first.result == 1) {
		/* The byte was there before the signal: send another. */
		ASSERT_EQ(0, send_all(self->fd, "x", 1));
	} else {
		EXPECT_EQ(EINTR, first.error);
	}
	ASSERT_TRUE(caller_join(&second));
	EXPECT_EQ(1, second.result);
}

#define WORDS 65536u

struct word_reader {
	pthread_t thread;
	int fd;
	uint32_t *seen;
	long words;
	bool ok;
};

static void *read_words(void *argument)
{
	struct word_reader *reader = argument;
	uint32_t words[100];
	ssize_t got;

	reader->ok = true;
	while ((got = recv(reader->fd, words, sizeof(words), 0)) > 0) {
		if (got % 4)
			reader->ok = false;
		for (ssize_t i = 0; i < got / 4; i++) {
			/* Within one recv the stream has no gap. */
			if (words[i] >= WORDS || (i && words[i] != words[i - 1] + 1)) {
				reader->ok = false;
				continue;
			}
			__atomic_add_fetch(&reader->seen[words[i]], 1,
					   __ATOMIC_RELAXED);
		}
		reader->words += got / 4;
	}
	return NULL;
}

/* several readers: each byte goes to one reader, none is lost, none twice. */
TEST_F(echo, four_readers)
{
	uint32_t *seen = calloc(WORDS, sizeof(*seen));
	uint32_t *words = malloc(WORDS * sizeof(*words));
	struct word_reader readers[4];
	long total = 0;

	memset(readers, 0, sizeof(readers));
	for (uint32_t i = 0; i < WORDS; i++)
		words[i] = i;
	for (int i = 0; i < 4; i++) {
		readers[i].fd = self->fd;
		readers[i].seen = seen;
		ASSERT_EQ(0, pthread_create(&readers[i].thread, NULL,
					    read_words, &readers[i]));
	}
	for (uint32_t i = 0; i < WORDS; i += 256)
		ASSERT_EQ(0, send_all(self->fd, words + i, 1024));
	for (long end = now_ms() + PATIENCE_MS; now_ms() < end; sleep_ms(20)) {
		total = 0;
		for (int i = 0; i < 4; i++)
			total += __atomic_load_n(&readers[i].words,
						 __ATOMIC_RELAXED);
		if (total == WORDS)
			break;
	}
	EXPECT_EQ(WORDS, total);
	/* The readers sleep again; this ends them. */
	ASSERT_EQ(0, shutdown(self->fd, SHUT_RDWR));
	for (int i = 0; i < 4; i++) {
		pthread_join(readers[i].thread, NULL);
		EXPECT_TRUE(readers[i].ok);
	}
	for (uint32_t i = 0; i < WORDS; i++)
		ASSERT_EQ(1, seen[i]);
	free(seen);
	free(words);
}

/*
 * several readers: one that needs much and came first is not overtaken by those
 * behind it that need little; each gets its piece of the stream whole.
 */
TEST(needs_are_served_in_order)
{
	static const size_t needs[] = { KIB(200), 100, KIB(40), 1000 };
	struct caller callers[ARRAY_SIZE(needs)];
	uint8_t *data = malloc(KIB(256));
	uint64_t at = 0;
	int fd = vsock_connected(PORT_ECHO);

	ASSERT_LE(0, fd);
	pattern_fill(data, KIB(256), 0);
	for (size_t i = 0; i < ARRAY_SIZE(needs); i++) {
		callers[i] = (struct caller) {
			.fd = fd, .call = call_recv, .flags = MSG_WAITALL,
			.data = malloc(needs[i]), .len = needs[i],
		};
		ASSERT_TRUE(caller_start(&callers[i]));
		ASSERT_FALSE(caller_is_done(&callers[i]));
	}
	for (size_t sent = 0; sent < KIB(256); sent += KIB(8))
		ASSERT_EQ(0, send_all(fd, data + sent, KIB(8)));
	for (size_t i = 0; i < ARRAY_SIZE(needs); i++) {
		ASSERT_TRUE(caller_join(&callers[i]))
			TH_LOG("reader %zu sleeps on", i);
		EXPECT_EQ((ssize_t)needs[i], callers[i].result);
		EXPECT_EQ(needs[i], pattern_check(callers[i].data, needs[i], at));
		at += needs[i];
		free(callers[i].data);
	}
	close(fd);
	free(data);
}

#define STREAM_WORDS (1u << 20)

struct needy_reader {
	pthread_t thread;
	int fd;
	size_t needs[3];
	uint8_t *seen;
	size_t bytes;
	bool done, ok;
};

static void *read_needs(void *argument)
{
	struct needy_reader *reader = argument;
	uint32_t *words = malloc(KIB(200));
	ssize_t got;

	reader->ok = true;
	for (int i = 0; ; i = (i + 1) % 3) {
		got = recv(reader->fd, words, reader->needs[i], MSG_WAITALL);
		if (got <= 0)
			break;
		__atomic_add_fetch(&reader->bytes, got, __ATOMIC_RELEASE);
		for (ssize_t j = 0; j < got / 4; j++) {
			if (words[j] >= STREAM_WORDS ||
			    (j && words[j] != words[j - 1] + 1)) {
				reader->ok = false;
				break;
			}
			__atomic_add_fetch(&reader->seen[words[j]], 1,
					   __ATOMIC_RELAXED);
		}
	}
	reader->ok &= got == 0;
	free(words);
	__atomic_store_n(&reader->done, true, __ATOMIC_RELEASE);
	return NULL;
}

struct word_sender {
	pthread_t thread;
	int fd;
	bool ok;
};

static void *send_words(void *argument)
{
	struct word_sender *sender = argument;
	uint32_t words[2048];

	sender->ok = true;
	for (uint32_t at = 0; at < STREAM_WORDS; at += ARRAY_SIZE(words)) {
		for (uint32_t i = 0; i < ARRAY_SIZE(words); i++)
			words[i] = at + i;
		if (send_all(sender->fd, words, sizeof(words)))
			sender->ok = false;
	}
	return NULL;
}

/*
 * several readers: under a stream that goes on, calls of four threads with
 * changing needs each get a piece without a gap, all of the stream comes, each
 * byte once, and when reading is ended all of them return.
 */
TEST(four_readers_with_different_needs)
{
	static const size_t needs[4][3] = {
		{ KIB(200), 4, KIB(64) }, { 400, KIB(20), 40 },
		{ 4, 4000, KIB(128) }, { KIB(4), KIB(4), KIB(100) },
	};
	uint8_t *seen = calloc(STREAM_WORDS, 1);
	struct needy_reader readers[4];
	struct word_sender sender = { 0 };
	char *rest = malloc(KIB(256));
	size_t total = 0;
	long end;

	sender.fd = vsock_connected(PORT_ECHO);
	ASSERT_LE(0, sender.fd);
	memset(readers, 0, sizeof(readers));
	for (int i = 0; i < 4; i++) {
		readers[i].fd = sender.fd;
		readers[i].seen = seen;
		memcpy(readers[i].needs, needs[i], sizeof(needs[i]));
		ASSERT_EQ(0, pthread_create(&readers[i].thread, NULL,
					    read_needs, &readers[i]));
	}
	ASSERT_EQ(0, pthread_create(&sender.thread, NULL, send_words, &sender));
	/* Read, or queued behind readers that need more than is left. */
	end = now_ms() + PATIENCE_MS;
	do {
		size_t before = total;
		ssize_t left;

		/* In this order: what is taken meanwhile is not to be counted twice. */
		total = 0;
		for (int i = 0; i < 4; i++)
			total += __atomic_load_n(&readers[i].bytes,
						 __ATOMIC_ACQUIRE);
		left = recv(sender.fd, rest, KIB(256), MSG_PEEK | MSG_DONTWAIT);
		total += left > 0 ? left : 0;
		/* However slow the machine is, it has to go on. */
		if (total > before)
			end = now_ms() + PATIENCE_MS;
		sleep_ms(10);
	} while (total < STREAM_WORDS * 4 && now_ms() < end);
	ASSERT_EQ(STREAM_WORDS * 4, total);
	ASSERT_EQ(0, shutdown(sender.fd, SHUT_RDWR));
	for (int i = 0; i < 4; i++) {
		while (!__atomic_load_n(&readers[i].done, __ATOMIC_ACQUIRE) &&
		       now_ms() < end)
			sleep_ms(10);
		ASSERT_TRUE(readers[i].done)
			TH_LOG("reader %d sleeps on", i);
		pthread_join(readers[i].thread, NULL);
		EXPECT_TRUE(readers[i].ok);
	}
	pthread_join(sender.thread, NULL);
	EXPECT_TRUE(sender.ok);
	for (uint32_t i = 0; i < STREAM_WORDS; i++) {
		ASSERT_EQ(1, seen[i])
			TH_LOG("word %u", i);
	}
	close(sender.fd);
	free(rest);
	free(seen);
}

TEST_HARNESS_MAIN
