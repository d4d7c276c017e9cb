// SPDX-License-Identifier: GPL-2.0
/*
 * How a connection ends when both of its ends are here: each half by itself,
 * close and reset, in each order; and what poll says of both ends in each state.
 */
#include "vsock_harness.h"

#include <fcntl.h>

#define IN	(POLLIN | POLLRDNORM)
#define OUT	(POLLOUT | POLLWRNORM)
#define ALL	(IN | OUT | POLLPRI | POLLRDHUP)

FIXTURE(pair)
{
	/* The end that acts, and the other. */
	int here, there;
	uint8_t data[4096];
};

FIXTURE_VARIANT(pair)
{
	bool accepted_acts;
};

FIXTURE_VARIANT_ADD(pair, connected_acts)
{
	.accepted_acts = false,
};

FIXTURE_VARIANT_ADD(pair, accepted_acts)
{
	.accepted_acts = true,
};

FIXTURE_SETUP(pair)
{
	int fds[2];

	ASSERT_EQ(0, vsock_pair(vsock_peer_cid(), 0, fds));
	self->here = fds[variant->accepted_acts];
	self->there = fds[!variant->accepted_acts];
	pattern_fill(self->data, sizeof(self->data), 0);
	ignore_with_handler(SIGPIPE, 0);
}

FIXTURE_TEARDOWN(pair)
{
	if (self->here >= 0)
		close(self->here);
	if (self->there >= 0)
		close(self->there);
}

static bool queue_at(int to, int from, const uint8_t *data, size_t len)
{
	return !send_all(from, data, len) && wait_queued(to, len);
}

/* Wait for what poll is to say in the end; it says it without a call's help. */
static int mask_becomes(int fd, int wanted)
{
	long end = now_ms() + 2000;

	while (poll_for(fd, ALL, 0) != wanted && now_ms() < end)
		sleep_ms(5);
	return poll_for(fd, ALL, 0);
}

/* SHUT_WR: the other end reads what was sent, then 0; and can still send. */
TEST_F(pair, half_close_of_sending)
{
	ASSERT_EQ(0, send_all(self->here, self->data, 3000));
	ASSERT_EQ(0, shutdown(self->here, SHUT_WR));
	EXPECT_EQ(3000, recv(self->there, self->data, 4000, MSG_WAITALL));
	EXPECT_EQ(3000, pattern_check(self->data, 3000, 0));
	EXPECT_EQ(0, recv(self->there, self->data, 1, 0));
	EXPECT_EQ(0, recv(self->there, self->data, 1, MSG_DONTWAIT));
	EXPECT_EQ(-1, send(self->here, "x", 1, MSG_NOSIGNAL));
	EXPECT_EQ(EPIPE, errno);
	for (int i = 0; i < 3; i++) {
		char byte = 0;

		ASSERT_EQ(1, send(self->there, "y", 1, 0));
		ASSERT_EQ(0, recv_all(self->here, &byte, 1));
		EXPECT_EQ('y', byte);
	}
}

/* SHUT_RD: the other end's send is EPIPE; what was queued stays; 0 then. */
TEST_F(pair, half_close_of_receiving)
{
	char byte = 0;

	ASSERT_TRUE(queue_at(self->here, self->there, self->data, 1000));
	ASSERT_EQ(0, shutdown(self->here, SHUT_RD));
	sleep_ms(SETTLE_MS);
	EXPECT_EQ(-1, send(self->there, "x", 1, MSG_NOSIGNAL));
	EXPECT_EQ(EPIPE, errno);
	EXPECT_EQ(0, handled_signals());
	EXPECT_EQ(-1, send(self->there, "x", 1, 0));
	EXPECT_EQ(EPIPE, errno);
	EXPECT_EQ(1, handled_signals());
	EXPECT_EQ(1000, recv(self->here, self->data, 4000, 0));
	EXPECT_EQ(1000, pattern_check(self->data, 1000, 0));
	EXPECT_EQ(0, recv(self->here, self->data, 1, 0));
	/* The other direction is as it was. */
	ASSERT_EQ(1, send(self->here, "y", 1, 0));
	ASSERT_EQ(0, recv_all(self->there, &byte, 1));
	EXPECT_EQ('y', byte);
}

/* Each end ends its sending: both read the end, and neither is reset. */
TEST_F(pair, both_half_close)
{
	ASSERT_EQ(0, send_all(self->here, self->data, 10));
	ASSERT_EQ(0, shutdown(self->here, SHUT_WR));
	EXPECT_EQ(10, recv(self->there, self->data, 100, MSG_WAITALL));
	ASSERT_EQ(0, send_all(self->there, self->data, 20));
	ASSERT_EQ(0, shutdown(self->there, SHUT_WR));
	EXPECT_EQ(20, recv(self->here, self->data, 100, MSG_WAITALL));
	EXPECT_EQ(0, recv(self->here, self->data, 1, 0));
	EXPECT_EQ(0, recv(self->there, self->data, 1, 0));
	EXPECT_EQ(0, socket_error(self->here));
	EXPECT_EQ(0, socket_error(self->there));
}

/* SHUT_RDWR: both ends read 0 and send EPIPE. */
TEST_F(pair, shutdown_of_both)
{
	ASSERT_EQ(0, send_all(self->here, self->data, 10));
	ASSERT_EQ(0, shutdown(self->here, SHUT_RDWR));
	EXPECT_EQ(10, recv(self->there, self->data, 100, MSG_WAITALL));
	EXPECT_EQ(0, recv(self->there, self->data, 1, 0));
	EXPECT_EQ(0, recv(self->here, self->data, 1, 0));
	EXPECT_EQ(-1, send(self->here, "x", 1, MSG_NOSIGNAL));
	EXPECT_EQ(EPIPE, errno);
	EXPECT_EQ(-1, send(self->there, "x", 1, MSG_NOSIGNAL));
	EXPECT_EQ(EPIPE, errno);
	EXPECT_EQ(0, socket_error(self->here));
	EXPECT_EQ(0, socket_error(self->there));
}

/* shutdown() ends a recv() that sleeps at the other end. */
TEST_F(pair, shutdown_wakes_the_other_reader)
{
	struct caller caller = {
		.fd = self->there, .call = call_recv,
		.data = self->data, .len = 100,
	};

	ASSERT_TRUE(caller_start(&caller));
	ASSERT_FALSE(caller_is_done(&caller));
	ASSERT_EQ(0, shutdown(self->here, SHUT_WR));
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ(0, caller.result);
}

/* shutdown(SHUT_RD) ends a send() that sleeps at the other end. */
TEST_F(pair, shutdown_wakes_the_other_sender)
{
	struct caller caller = {
		.fd = self->there, .call = call_send, .flags = MSG_NOSIGNAL,
		.data = calloc(1, MIB(1)), .len = MIB(1),
	};

	ASSERT_TRUE(caller_start(&caller));
	ASSERT_FALSE(caller_is_done(&caller));
	ASSERT_EQ(0, shutdown(self->here, SHUT_RD));
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_LE(1, caller.result);
	EXPECT_GT((ssize_t)MIB(1), caller.result);
	EXPECT_EQ(-1, send(self->there, "x", 1, MSG_NOSIGNAL));
	EXPECT_EQ(EPIPE, errno);
	free(caller.data);
}

/* close(): the other end reads 0, as often as it asks, and EPIPE on sending. */
TEST_F(pair, close)
{
	ASSERT_EQ(0, close(self->here));
	self->here = -1;
	for (int i = 0; i < 3; i++)
		EXPECT_EQ(0, recv(self->there, self->data, 1, 0));
	EXPECT_EQ(-1, send(self->there, "x", 1, MSG_NOSIGNAL));
	EXPECT_EQ(EPIPE, errno);
	EXPECT_EQ(0, handled_signals());
	EXPECT_EQ(-1, send(self->there, "x", 1, 0));
	EXPECT_EQ(EPIPE, errno);
	EXPECT_EQ(1, handled_signals());
	EXPECT_EQ(0, socket_error(self->there));
}

/* close() with data under way: all of them are read, then 0. */
TEST_F(pair, close_after_sending)
{
	uint8_t *data = malloc(KIB(200));

	pattern_fill(data, KIB(200), 0);
	ASSERT_EQ(0, send_all(self->here, data, KIB(200)));
	ASSERT_EQ(0, close(self->here));
	self->here = -1;
	memset(data, 0, KIB(200));
	EXPECT_EQ((ssize_t)KIB(200),
		  recv(self->there, data, KIB(200), MSG_WAITALL));
	EXPECT_EQ(KIB(200), pattern_check(data, KIB(200), 0));
	EXPECT_EQ(0, recv(self->there, data, 1, 0));
	free(data);
}

/*
 * close() with unread data is a reset: the other end reads what had come, then
 * ECONNRESET once, then 0.
 */
TEST_F(pair, close_with_unread_data)
{
	ASSERT_TRUE(queue_at(self->here, self->there, self->data, 10));
	ASSERT_TRUE(queue_at(self->there, self->here, self->data, 1000));
	ASSERT_EQ(0, close(self->here));
	self->here = -1;
	EXPECT_EQ(1000, recv(self->there, self->data, 4000, MSG_WAITALL));
	EXPECT_EQ(1000, pattern_check(self->data, 1000, 0));
	EXPECT_EQ(-1, recv(self->there, self->data, 1, 0));
	EXPECT_EQ(ECONNRESET, errno);
	EXPECT_EQ(0, recv(self->there, self->data, 1, 0));
	EXPECT_EQ(-1, send(self->there, "x", 1, MSG_NOSIGNAL));
	EXPECT_EQ(EPIPE, errno);
}

/* The reset shows in SO_ERROR, once; then nobody else is told of it. */
TEST_F(pair, reset_and_so_error)
{
	ASSERT_TRUE(queue_at(self->here, self->there, self->data, 10));
	ASSERT_EQ(0, close(self->here));
	self->here = -1;
	ASSERT_EQ(POLLERR, poll_for(self->there, 0, PATIENCE_MS) & POLLERR);
	EXPECT_EQ(ECONNRESET, socket_error(self->there));
	EXPECT_EQ(0, socket_error(self->there));
	EXPECT_EQ(0, recv(self->there, self->data, 1, 0));
}

/* A reset ends a recv() and a send() that sleep at the other end. */
TEST_F(pair, reset_wakes_reader_and_sender)
{
	struct caller reader = {
		.fd = self->there, .call = call_recv,
		.data = self->data, .len = 100,
	};
	struct caller sender = {
		.fd = self->there, .call = call_send, .flags = MSG_NOSIGNAL,
		.data = calloc(1, MIB(1)), .len = MIB(1),
	};
	int told;

	ASSERT_TRUE(caller_start(&reader));
	ASSERT_TRUE(caller_start(&sender));
	ASSERT_FALSE(caller_is_done(&reader));
	ASSERT_FALSE(caller_is_done(&sender));
	ASSERT_EQ(0, close(self->here));
	self->here = -1;
	ASSERT_TRUE(caller_join(&reader));
	ASSERT_TRUE(caller_join(&sender));
	/* The sender tells what it sent; the error is for whoever asks first. */
	EXPECT_LE(1, sender.result);
	EXPECT_GT((ssize_t)MIB(1), sender.result);
	told = reader.result == -1 && reader.error == ECONNRESET;
	if (!told)
		EXPECT_EQ(0, reader.result);
	told += socket_error(self->there) == ECONNRESET;
	EXPECT_EQ(1, told);
	free(sender.data);
}

/* close() ends a poll() that sleeps at the other end. */
TEST_F(pair, close_wakes_poll)
{
	struct caller caller = { .fd = self->there, .call = call_poll_in };

	ASSERT_TRUE(caller_start(&caller));
	ASSERT_FALSE(caller_is_done(&caller));
	ASSERT_EQ(0, close(self->here));
	self->here = -1;
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ(POLLIN, caller.result & POLLIN);
	EXPECT_EQ(0, caller.result & POLLERR);
}

/* close() of an end in whose recv() a thread sleeps, by another descriptor. */
TEST_F(pair, close_under_a_reader)
{
	struct caller caller = {
		.call = call_recv, .data = self->data, .len = 1000,
	};

	caller.fd = dup(self->here);
	ASSERT_TRUE(caller_start(&caller));
	ASSERT_EQ(0, close(self->here));
	self->here = -1;
	/* The socket lives on in its other descriptor. */
	ASSERT_EQ(0, send_all(self->there, self->data, 10));
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ(10, caller.result);
	close(caller.fd);
}

/* poll, idle: both ends are writable. */
TEST_F(pair, mask_idle)
{
	EXPECT_EQ(OUT, mask_becomes(self->here, OUT));
	EXPECT_EQ(OUT, mask_becomes(self->there, OUT));
}

/* poll, with data: the end that has them is readable as well, until drained. */
TEST_F(pair, mask_with_data)
{
	ASSERT_EQ(0, send_all(self->here, self->data, 100));
	EXPECT_EQ(IN | OUT, mask_becomes(self->there, IN | OUT));
	EXPECT_EQ(OUT, mask_becomes(self->here, OUT));
	ASSERT_EQ(0, recv_all(self->there, self->data, 100));
	EXPECT_EQ(OUT, mask_becomes(self->there, OUT));
}

/* poll, window full: the sender's end is not writable, until it is read. */
TEST_F(pair, mask_with_a_full_window)
{
	uint8_t *data = calloc(1, DEFAULT_BUFFER);

	ASSERT_EQ(0, send_all(self->here, data, DEFAULT_BUFFER));
	EXPECT_EQ(0, mask_becomes(self->here, 0));
	EXPECT_EQ(IN | OUT, mask_becomes(self->there, IN | OUT));
	ASSERT_EQ(0, recv_all(self->there, data, DEFAULT_BUFFER));
	EXPECT_EQ(OUT, mask_becomes(self->here, OUT));
	free(data);
}

/* poll, SHUT_WR: a send fails at once here; the end is readable there. */
TEST_F(pair, mask_after_shut_wr)
{
	ASSERT_EQ(0, shutdown(self->here, SHUT_WR));
	EXPECT_EQ(OUT, mask_becomes(self->here, OUT));
	EXPECT_EQ(IN | OUT | POLLRDHUP,
		  mask_becomes(self->there, IN | OUT | POLLRDHUP));
}

/* poll, SHUT_RD: the end is readable here; a send fails at once there. */
TEST_F(pair, mask_after_shut_rd)
{
	ASSERT_EQ(0, shutdown(self->here, SHUT_RD));
	EXPECT_EQ(IN | OUT | POLLRDHUP,
		  mask_becomes(self->here, IN | OUT | POLLRDHUP));
	EXPECT_EQ(OUT, mask_becomes(self->there, OUT));
}

/* poll, both ends have done SHUT_WR: both have hung up. */
TEST_F(pair, mask_after_both_shut_wr)
{
	const int over = IN | OUT | POLLRDHUP | POLLHUP;

	ASSERT_EQ(0, shutdown(self->here, SHUT_WR));
	ASSERT_EQ(0, shutdown(self->there, SHUT_WR));
	EXPECT_EQ(over, mask_becomes(self->here, over));
	EXPECT_EQ(over, mask_becomes(self->there, over));
}

/* poll, SHUT_RDWR: both have hung up, without an error. */
TEST_F(pair, mask_after_shut_rdwr)
{
	const int over = IN | OUT | POLLRDHUP | POLLHUP;

	ASSERT_EQ(0, shutdown(self->here, SHUT_RDWR));
	EXPECT_EQ(over, mask_becomes(self->here, over));
	EXPECT_EQ(over, mask_becomes(self->there, over));
}

/* poll, closed there: hung up, with data left or not. */
TEST_F(pair, mask_after_close)
{
	const int over = IN | OUT | POLLRDHUP | POLLHUP;

	ASSERT_EQ(0, send_all(self->here, self->data, 10));
	ASSERT_EQ(0, close(self->here));
	self->here = -1;
	EXPECT_EQ(over, mask_becomes(self->there, over));
	ASSERT_EQ(0, recv_all(self->there, self->data, 10));
	EXPECT_EQ(over, mask_becomes(self->there, over));
}

/* poll, reset: the error shows until it was told. */
TEST_F(pair, mask_after_a_reset)
{
	const int over = IN | OUT | POLLRDHUP | POLLHUP;

	ASSERT_TRUE(queue_at(self->here, self->there, self->data, 10));
	ASSERT_EQ(0, close(self->here));
	self->here = -1;
	EXPECT_EQ(over | POLLERR, mask_becomes(self->there, over | POLLERR));
	EXPECT_EQ(-1, recv(self->there, self->data, 1, 0));
	EXPECT_EQ(ECONNRESET, errno);
	EXPECT_EQ(over, mask_becomes(self->there, over));
}

/* When both ends are closed, both sockets are gone at once: nobody waits. */
TEST_F(pair, nothing_is_left)
{
	int before = sockets_at_rest();
	long began = now_ms();

	ASSERT_EQ(0, close(self->here));
	ASSERT_EQ(0, close(self->there));
	self->here = -1;
	self->there = -1;
	EXPECT_GE(before - 2, sockets_become(before - 2));
	EXPECT_GE(2000, now_ms() - began);
}

#define NO_SHUTDOWN (-1)

/* Each end shut down in each way, closed in each order, with data and without. */
TEST(every_order)
{
	static const int hows[] = { NO_SHUTDOWN, SHUT_RD, SHUT_WR, SHUT_RDWR };
	int before = sockets_at_rest();
	int fds[2];

	for (int i = 0; i < 4 * 4 * 2 * 4; i++) {
		int how[2] = { hows[i % 4], hows[i / 4 % 4] };
		int first = i / 16 % 2, with_data = i / 32;

		ASSERT_EQ(0, vsock_pair(vsock_peer_cid(), 0, fds));
		for (int end = 0; end < 2; end++)
			if (with_data & (1 << end))
				ASSERT_EQ(1, send(fds[end], "x", 1, 0));
		for (int end = 0; end < 2; end++)
			if (how[end] != NO_SHUTDOWN &&
			    shutdown(fds[end], how[end]))
				EXPECT_EQ(ENOTCONN, errno);
		ASSERT_EQ(0, close(fds[first]));
		ASSERT_EQ(0, close(fds[!first]));
	}
	EXPECT_GE(before, sockets_become(before));
}

struct closer {
	pthread_barrier_t *barrier;
	int fds[100];
};

static void *close_each(void *argument)
{
	struct closer *closer = argument;

	for (size_t i = 0; i < ARRAY_SIZE(closer->fds); i++) {
		pthread_barrier_wait(closer->barrier);
		close(closer->fds[i]);
	}
	return NULL;
}

/* Both ends are closed at the same moment, by two threads. */
TEST(both_close_at_once)
{
	static struct closer closers[2];
	int before = sockets_at_rest();
	pthread_barrier_t barrier;
	pthread_t threads[2];

	ASSERT_EQ(0, pthread_barrier_init(&barrier, NULL, 2));
	for (size_t i = 0; i < ARRAY_SIZE(closers[0].fds); i++) {
		int fds[2];

		ASSERT_EQ(0, vsock_pair(vsock_peer_cid(), 0, fds));
		if (i % 2)
			ASSERT_EQ(1, send(fds[i / 2 % 2], "x", 1, 0));
		closers[0].fds[i] = fds[0];
		closers[1].fds[i] = fds[1];
	}
	for (int i = 0; i < 2; i++) {
		closers[i].barrier = &barrier;
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, close_each,
					    &closers[i]));
	}
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	EXPECT_GE(before, sockets_become(before));
}

TEST_HARNESS_MAIN
