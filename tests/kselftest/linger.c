// SPDX-License-Identifier: GPL-2.0
/*
 * close() while the device stands still: with SO_LINGER it waits for what was
 * sent, as long as it is told to; and a closed connection waits 8 seconds for the
 * peer's answer.
 */
#include "vsock_harness.h"

/* What is sent: within the credit, and nobody takes it. */
#define BYTES	KIB(64)

/* How long a closed connection waits for the peer's answer. */
#define CLOSE_MS	8000

/* A connection, and a device that stands still for so long. */
FIXTURE(still)
{
	int fd, asking;
	/* When the device goes on, at the latest. */
	long goes_on;
};

FIXTURE_VARIANT(still)
{
	long pause;
	/* Seconds; 0 for none. */
	int linger;
};

FIXTURE_VARIANT_ADD(still, for_less_than_it_waits)
{
	.pause = 1500, .linger = 10,
};

FIXTURE_VARIANT_ADD(still, for_more_than_it_waits)
{
	.pause = 3000, .linger = 1,
};

FIXTURE_VARIANT_ADD(still, and_it_does_not_wait)
{
	.pause = 1000, .linger = 0,
};

static int set_linger(int fd, int seconds)
{
	const struct linger linger = {
		.l_onoff = seconds > 0, .l_linger = seconds,
	};

	return setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

FIXTURE_SETUP(still)
{
	uint8_t *data = malloc(BYTES);

	ASSERT_ASK(self->fd, "hold 30000");
	ASSERT_EQ(0, set_linger(self->fd, variant->linger));
	self->asking = vsock_stop_device(variant->pause);
	ASSERT_LE(0, self->asking);
	random_fill(data, BYTES, 1);
	/* It has stopped when it takes nothing any more. */
	for (int i = 0; i < 50 && vsock_unsent(self->fd) <= 0; i++) {
		ASSERT_EQ(1, send(self->fd, data, 1, MSG_DONTWAIT));
		sleep_ms(40);
	}
	self->goes_on = now_ms() + variant->pause;
	EXPECT_LT(0, send(self->fd, data, BYTES, MSG_DONTWAIT));
	free(data);
	ASSERT_LT(0, vsock_unsent(self->fd));
}

FIXTURE_TEARDOWN(still)
{
	while (now_ms() < self->goes_on)
		sleep_ms(20);
	close(self->asking);
}

/* close() sleeps once, until all is taken or the time is up. */
TEST_F(still, close)
{
	long switches, took = now_ms();
	long least = 100, most = self->goes_on + 500 - took;

	if (variant->linger * 1000 < variant->pause) {
		least = variant->linger ? variant->linger * 1000 - 50 : 0;
		most = least + 900;
	}
	switches = voluntary_switches();
	EXPECT_EQ(0, close(self->fd));
	switches = voluntary_switches() - switches;
	took = now_ms() - took;
	TH_LOG("%ld ms, %ld switches", took, switches);
	EXPECT_LE(least, took);
	EXPECT_GE(most * vsock_patience(), took);
	EXPECT_GE(4, switches);
}

static ssize_t call_close(struct caller *caller)
{
	return close(caller->fd);
}

/* A signal ends the wait; the socket is closed all the same. */
TEST_F(still, signal)
{
	struct caller caller = { .fd = self->fd, .call = call_close };
	long began = now_ms();

	ignore_with_handler(SIGUSR1, 0);
	ASSERT_TRUE(caller_start(&caller));
	if (variant->linger) {
		ASSERT_FALSE(caller_is_done(&caller));
		pthread_kill(caller.thread, SIGUSR1);
	}
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ(0, caller.result);
	EXPECT_GE(800 * vsock_patience(), now_ms() - began);
}

/*
 * A closed connection is kept for 8 seconds for the peer to answer, and no longer.
 * (What the device has not taken would keep it for longer.)
 */
TEST(answer_that_does_not_come)
{
	int fd, asking, sockets;
	long closed;

	/* Those of the tests before are to be gone. */
	sockets_become(0);
	ASSERT_ASK(fd, "hold 30000");
	asking = vsock_stop_device(CLOSE_MS + 3000);
	ASSERT_LE(0, asking);
	sleep_ms(1000);
	sockets = live_sockets();
	ASSERT_LT(0, sockets);
	closed = now_ms();
	EXPECT_EQ(0, close(fd));
	EXPECT_GE(500, now_ms() - closed);
	while (now_ms() < closed + CLOSE_MS - 500)
		sleep_ms(20);
	EXPECT_EQ(sockets, live_sockets());
	while (now_ms() < closed + CLOSE_MS + 1000)
		sleep_ms(20);
	EXPECT_EQ(sockets - 1, live_sockets());
	while (now_ms() < closed + CLOSE_MS + 3500)
		sleep_ms(20);
	close(asking);
}

TEST_HARNESS_MAIN
