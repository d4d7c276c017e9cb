// SPDX-License-Identifier: GPL-2.0
/*
 * How often a reader wakes. The kernel counts it: a thread that sleeps is
 * switched away from voluntarily, so the voluntary switches of a call are the
 * times it went to sleep. The host paces its packets, so that each finds the
 * reader asleep; a reader that woke for each would show it.
 */
#include "vsock_harness.h"

#include <sys/epoll.h>

/* A target within the smaller of both ends' buffers is one wake-up. */
#define CAP		PEER_BUFFER

/* Measured recvs of a connection, and connections until one is undisturbed. */
#define ROUNDS		2
#define ATTEMPTS	5

/* Wake-ups that a recv of @len may cost. */
static long allowed(size_t len)
{
	if (len <= CAP)
		return 1;
	return (len + CAP / 2 - 1) / (CAP / 2) + 1;
}

FIXTURE(waitall)
{
	uint8_t *data;
	int fd;
};

FIXTURE_VARIANT(waitall)
{
	size_t len;
	size_t packet;
	unsigned int delay_us;
};

FIXTURE_VARIANT_ADD(waitall, 16k_from_1k)
{
	.len = KIB(16), .packet = KIB(1), .delay_us = 5000,
};

FIXTURE_VARIANT_ADD(waitall, cap_from_4k)
{
	.len = CAP, .packet = KIB(4), .delay_us = 5000,
};

FIXTURE_VARIANT_ADD(waitall, 64k_from_1k)
{
	.len = KIB(64), .packet = KIB(1), .delay_us = 3000,
};

FIXTURE_VARIANT_ADD(waitall, 200k_from_4k)
{
	.len = KIB(200), .packet = KIB(4), .delay_us = 5000,
};

FIXTURE_VARIANT_ADD(waitall, 1m_from_4k)
{
	.len = MIB(1), .packet = KIB(4), .delay_us = 2000,
};

FIXTURE_SETUP(waitall)
{
	self->data = malloc_resident(variant->len);
	self->fd = -1;
}

FIXTURE_TEARDOWN(waitall)
{
	close(self->fd);
	free(self->data);
}

/*
 * MSG_WAITALL: one wake-up within the cap, one each half of it beyond. The
 * backstop against peers with hidden limits must hide nothing, so only a
 * measurement counts in which it did not strike; on a busy machine the peer may
 * pause for so long now and then.
 */
TEST_F_TIMEOUT(waitall, switches, 90)
{
	long switches[ROUNDS], stalled, attempts = 0;

	do {
		close(self->fd);
		ASSERT_ASK(self->fd, "send %zu %zu %u", ROUNDS * variant->len,
			   variant->packet, variant->delay_us);
		stalled = module_counter("stalled");
		for (unsigned int round = 0; round < ROUNDS; round++) {
			long before = voluntary_switches();
			ssize_t got = recv(self->fd, self->data, variant->len,
					   MSG_WAITALL);

			switches[round] = voluntary_switches() - before;
			ASSERT_EQ((ssize_t)variant->len, got);
			EXPECT_EQ(variant->len,
				  pattern_check(self->data, variant->len,
						variant->len * round));
		}
		stalled = module_counter("stalled") - stalled;
	} while (stalled && ++attempts < ATTEMPTS);

	EXPECT_EQ(0, stalled)
		TH_LOG("the backstop struck in each of %d attempts", ATTEMPTS);
	for (unsigned int round = 0; round < ROUNDS; round++) {
		EXPECT_GE(allowed(variant->len), switches[round]);
		TH_LOG("%zu bytes in packets of %zu: %ld switches, %ld allowed",
		       variant->len, variant->packet, switches[round],
		       allowed(variant->len));
	}
}

/*
 * A peer that stops with much queued, as one with a limit of its own would: the
 * reader takes what is there, once, and goes on waiting. Over loopback the peer
 * keeps our own rules, and the reader sleeps on.
 */
TEST(backstop)
{
	const struct timeval second = { .tv_sec = 1 };
	bool loopback = vsock_peer_cid() != VMADDR_CID_HOST;
	long stalled = module_counter("stalled"), before;
	uint8_t *data = malloc(KIB(200));
	int fd;

	ASSERT_ASK(fd, "send %zu 4096 0", KIB(100));
	ASSERT_EQ(0, setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second,
				sizeof(second)));
	before = voluntary_switches();
	EXPECT_EQ((ssize_t)KIB(100),
		  recv(fd, data, KIB(200), MSG_WAITALL));
	EXPECT_GE(2, voluntary_switches() - before);
	EXPECT_EQ(KIB(100), pattern_check(data, KIB(100), 0));
	if (stalled >= 0)
		EXPECT_EQ(stalled + !loopback, module_counter("stalled"));
	close(fd);
	free(data);
}

/* SO_RCVLOWAT: recv sleeps once until the mark is reached. */
TEST(rcvlowat_recv)
{
	const size_t mark = KIB(24);
	uint8_t *data = calloc(1, KIB(256));
	long before, switches;
	int fd;

	ASSERT_ASK(fd, "send %zu 1024 5000", 2 * mark);
	ASSERT_EQ(0, set_int(fd, SOL_SOCKET, SO_RCVLOWAT, mark));
	before = voluntary_switches();
	EXPECT_LE((ssize_t)mark, recv(fd, data, KIB(256), 0));
	switches = voluntary_switches() - before;
	EXPECT_GE(1, switches);
	close(fd);
	free(data);
}

/* SO_RCVLOWAT: poll sleeps once, and the data are there when it returns. */
TEST(rcvlowat_poll)
{
	const size_t mark = KIB(24);
	uint8_t *data = calloc(1, KIB(256));
	long before, switches;
	int fd;

	ASSERT_ASK(fd, "send %zu 1024 5000", 2 * mark);
	ASSERT_EQ(0, set_int(fd, SOL_SOCKET, SO_RCVLOWAT, mark));
	before = voluntary_switches();
	EXPECT_EQ(POLLIN, poll_for(fd, POLLIN, PATIENCE_MS));
	switches = voluntary_switches() - before;
	EXPECT_GE(1, switches);
	EXPECT_LE((ssize_t)mark, recv(fd, data, KIB(256), MSG_DONTWAIT));
	close(fd);
	free(data);
}

/* SO_RCVLOWAT: epoll likewise, and it reports nothing below the mark. */
TEST(rcvlowat_epoll)
{
	const size_t mark = KIB(24);
	uint8_t *data = calloc(1, KIB(256));
	struct epoll_event event = { .events = EPOLLIN };
	int fd, epoll = epoll_create1(0);
	long before, switches;

	ASSERT_LE(0, epoll);
	ASSERT_ASK(fd, "send %zu 1024 5000", 2 * mark);
	ASSERT_EQ(0, set_int(fd, SOL_SOCKET, SO_RCVLOWAT, mark));
	ASSERT_EQ(0, epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
	before = voluntary_switches();
	EXPECT_EQ(1, epoll_wait(epoll, &event, 1, PATIENCE_MS));
	switches = voluntary_switches() - before;
	EXPECT_GE(1, switches);
	EXPECT_LE((ssize_t)mark, recv(fd, data, KIB(256), MSG_DONTWAIT));
	close(epoll);
	close(fd);
	free(data);
}

/* SO_RCVLOWAT beyond the window: poll is capped by it and does not hang. */
TEST(rcvlowat_poll_beyond_the_window)
{
	uint8_t *data = malloc(MIB(2));
	int fd;

	ASSERT_ASK(fd, "send %zu 65536 0", MIB(2));
	ASSERT_EQ(0, set_int(fd, SOL_SOCKET, SO_RCVLOWAT, MIB(1)));
	ASSERT_EQ(POLLIN, poll_for(fd, POLLIN, PATIENCE_MS));
	EXPECT_EQ((ssize_t)MIB(2), recv(fd, data, MIB(2), MSG_WAITALL));
	EXPECT_EQ(MIB(2), pattern_check(data, MIB(2), 0));
	close(fd);
	free(data);
}

FIXTURE(echo)
{
	int fd;
	uint8_t data[4096];
};

FIXTURE_SETUP(echo)
{
	self->fd = vsock_connected(PORT_ECHO);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(echo)
{
	close(self->fd);
}

/* Lowering SO_RCVLOWAT wakes the reader whom it satisfies. */
TEST_F(echo, lower_mark_wakes_recv)
{
	struct caller caller = {
		.fd = self->fd, .call = call_recv,
		.data = self->data, .len = sizeof(self->data),
	};

	ASSERT_EQ(0, set_int(self->fd, SOL_SOCKET, SO_RCVLOWAT, 1000));
	ASSERT_TRUE(caller_start(&caller));
	ASSERT_EQ(0, send_all(self->fd, self->data, 100));
	sleep_ms(2 * SETTLE_MS);
	ASSERT_EQ(0, set_int(self->fd, SOL_SOCKET, SO_RCVLOWAT, 500));
	sleep_ms(SETTLE_MS);
	EXPECT_FALSE(caller_is_done(&caller));
	ASSERT_EQ(0, set_int(self->fd, SOL_SOCKET, SO_RCVLOWAT, 50));
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ(100, caller.result);
}

/* Lowering SO_RCVLOWAT wakes poll, too. */
TEST_F(echo, lower_mark_wakes_poll)
{
	struct caller caller = { .fd = self->fd, .call = call_poll_in };

	ASSERT_EQ(0, set_int(self->fd, SOL_SOCKET, SO_RCVLOWAT, 1000));
	ASSERT_TRUE(caller_start(&caller));
	ASSERT_EQ(0, send_all(self->fd, self->data, 100));
	ASSERT_TRUE(wait_queued(self->fd, 100));
	sleep_ms(SETTLE_MS);
	EXPECT_FALSE(caller_is_done(&caller));
	ASSERT_EQ(0, set_int(self->fd, SOL_SOCKET, SO_RCVLOWAT, 50));
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ(POLLIN, caller.result);
}

/* Raising SO_RCVLOWAT binds the calls that come later, and poll. */
TEST_F(echo, raised_mark_binds_later_calls)
{
	ASSERT_EQ(0, send_all(self->fd, self->data, 100));
	ASSERT_TRUE(wait_queued(self->fd, 100));
	ASSERT_EQ(POLLIN, poll_for(self->fd, POLLIN, 0));
	ASSERT_EQ(0, set_int(self->fd, SOL_SOCKET, SO_RCVLOWAT, 200));
	EXPECT_EQ(0, poll_for(self->fd, POLLIN, 0));
	ASSERT_EQ(0, set_timeout(self->fd, SO_RCVTIMEO, 200));
	EXPECT_EQ(100, recv(self->fd, self->data, 1000, 0));
}

/*
 * Raising SO_RCVLOWAT to what the window can hold: the peer hears of what was
 * read since it was told last, or the mark could never be reached.
 */
TEST(raised_mark_is_reached)
{
	uint8_t *data = malloc(MIB(1));
	int fd;

	ASSERT_ASK(fd, "send %zu 65536 0", MIB(1));
	ASSERT_TRUE(wait_queued(fd, CAP));
	/* So little that it is not worth a packet of its own. */
	EXPECT_EQ(10000, recv(fd, data, 10000, 0));
	ASSERT_EQ(0, poll_for(fd, POLLERR, SETTLE_MS));
	ASSERT_EQ(0, set_int(fd, SOL_SOCKET, SO_RCVLOWAT, CAP));
	EXPECT_EQ(POLLIN, poll_for(fd, POLLIN, 5000));
	EXPECT_EQ(0, recv_all(fd, data + 10000, CAP));
	EXPECT_EQ(CAP + 10000, pattern_check(data, CAP + 10000, 0));
	close(fd);
	free(data);
}

/*
 * A reader sleeps for all that the window can hold, and another takes a little
 * of it away: the peer must hear of that, or the first would sleep until the
 * backstop wakes it.
 */
TEST(taking_little_strands_nobody)
{
	long stalled = module_counter("stalled");
	struct caller caller = {
		.call = call_recv, .len = CAP, .flags = MSG_WAITALL,
	};
	uint8_t little[1000];

	caller.data = malloc(CAP);
	/* This task may come too late to take its part; then all goes slower. */
	for (unsigned int pause = 3000, late = 1; late; pause *= 3) {
		ASSERT_ASK(caller.fd, "send %zu 4096 %u", 2 * CAP, pause);
		ASSERT_TRUE(caller_start(&caller));
		ASSERT_TRUE(wait_queued(caller.fd, KIB(32)));
		late = caller_is_done(&caller);
		if (late) {
			ASSERT_GE(80000, pause);
			ASSERT_TRUE(caller_join(&caller));
			close(caller.fd);
		}
	}
	ASSERT_EQ(1000, recv(caller.fd, little, 1000, MSG_DONTWAIT));
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ((ssize_t)CAP, caller.result);
	EXPECT_EQ(1000, pattern_check(little, 1000, 0));
	EXPECT_EQ(CAP, pattern_check(caller.data, CAP, 1000));
	EXPECT_GE(1, caller.switches);
	EXPECT_EQ(stalled, module_counter("stalled"));
	close(caller.fd);
	free(caller.data);
}

/* An end wakes a reader whose mark was not reached. */
TEST(end_wakes_below_the_mark)
{
	uint8_t data[4096];
	long before, switches;
	int fd;

	ASSERT_ASK(fd, "send-close 1000 100 20000");
	ASSERT_EQ(0, set_int(fd, SOL_SOCKET, SO_RCVLOWAT, 4000));
	before = voluntary_switches();
	EXPECT_EQ(1000, recv(fd, data, sizeof(data), 0));
	switches = voluntary_switches() - before;
	EXPECT_GE(1, switches);
	EXPECT_EQ(0, recv(fd, data, sizeof(data), 0));
	close(fd);
}

/* A plain recv sleeps once for one arrival. */
TEST_F(echo, plain_recv)
{
	struct caller caller = {
		.fd = self->fd, .call = call_recv,
		.data = self->data, .len = sizeof(self->data),
	};

	ASSERT_TRUE(caller_start(&caller));
	ASSERT_EQ(0, send_all(self->fd, self->data, 1000));
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ(1000, caller.result);
	EXPECT_EQ(1, caller.switches);
}

/* Data that are there already cost no sleep at all. */
TEST_F(echo, no_sleep_when_it_is_there)
{
	long before, switches;

	ASSERT_EQ(0, send_all(self->fd, self->data, 1000));
	ASSERT_TRUE(wait_queued(self->fd, 1000));
	before = voluntary_switches();
	EXPECT_EQ(1000, recv(self->fd, self->data, 1000, MSG_WAITALL));
	switches = voluntary_switches() - before;
	EXPECT_EQ(0, switches);
}

TEST_HARNESS_MAIN
