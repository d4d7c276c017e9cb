// SPDX-License-Identifier: GPL-2.0
/*
 * Wake-ups where the two ends have buffers of different sizes, for a peer that is
 * a socket of the kernel's and sets its own: the cap is the smaller of the two,
 * whichever end has it, and nobody waits for what the other will not send.
 */
#include "tracing.h"
#include "vsock_harness.h"

FIXTURE(buffers)
{
	uint8_t *data;
	int fd;
};

FIXTURE_VARIANT(buffers)
{
	size_t here, there;
};

FIXTURE_VARIANT_ADD(buffers, 1m_here_256k_there)
{
	.here = MIB(1), .there = KIB(256),
};

FIXTURE_VARIANT_ADD(buffers, 256k_here_1m_there)
{
	.here = KIB(256), .there = MIB(1),
};

#define CAP	KIB(256)
/* Microseconds between packets, so that the reader is there before the last of them. */
#define PAUSE	(vsock_patience() > 1 ? 50000 : 2000)
#define TOTAL	MIB(1)

FIXTURE_SETUP(buffers)
{
	self->data = malloc_resident(TOTAL);
	self->fd = vsock_stream(0);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, set_buffer(self->fd, SO_VM_SOCKETS_BUFFER_MAX_SIZE,
				variant->here));
	ASSERT_EQ(0, set_buffer(self->fd, SO_VM_SOCKETS_BUFFER_SIZE,
				variant->here));
}

FIXTURE_TEARDOWN(buffers)
{
	close(self->fd);
	free(self->data);
}

/* A target of the cap is one wake-up. */
TEST_F_TIMEOUT(buffers, within_the_cap, 60)
{
	struct rvsock_wakeups wakeups;
	long switches;

	ASSERT_EQ(0, vsock_ask_on(self->fd, "buffer %zu send %zu 8192 %d",
				  variant->there, CAP, PAUSE));
	switches = voluntary_switches();
	ASSERT_EQ((ssize_t)CAP, recv(self->fd, self->data, CAP, MSG_WAITALL));
	switches = voluntary_switches() - switches;
	EXPECT_EQ(CAP, pattern_check(self->data, CAP, 0));
	ASSERT_EQ(0, vsock_wakeups(self->fd, &wakeups));
	EXPECT_EQ(1, switches);
	EXPECT_EQ(1, wakeups.receive[RVSOCK_WAKE_TARGET]);
	EXPECT_EQ(1, wakeups_sum(wakeups.receive));
}

/* One beyond it: one for each half of the cap, and one for the rest. */
TEST_F_TIMEOUT(buffers, beyond_the_cap, 60)
{
	struct rvsock_wakeups wakeups;
	long switches;

	ASSERT_EQ(0, vsock_ask_on(self->fd, "buffer %zu send %zu 8192 2000",
				  variant->there, TOTAL));
	switches = voluntary_switches();
	ASSERT_EQ((ssize_t)TOTAL, recv(self->fd, self->data, TOTAL, MSG_WAITALL));
	switches = voluntary_switches() - switches;
	EXPECT_EQ(TOTAL, pattern_check(self->data, TOTAL, 0));
	ASSERT_EQ(0, vsock_wakeups(self->fd, &wakeups));
	EXPECT_GE((long)(TOTAL / (CAP / 2)) + 1, switches);
	EXPECT_EQ(switches, wakeups_sum(wakeups.receive));
	EXPECT_EQ(0, wakeups.receive[RVSOCK_WAKE_STALLED]);
	EXPECT_EQ(switches, wakeups.receive[RVSOCK_WAKE_TARGET] +
			    wakeups.receive[RVSOCK_WAKE_WINDOW]);
}

/* The other way: all of it arrives, and each sleep of the sender was for credit. */
TEST_F_TIMEOUT(buffers, sending, 60)
{
	struct rvsock_wakeups wakeups;
	unsigned long long have;
	unsigned int crc = 0;
	long switches;
	char line[64];

	pattern_fill(self->data, TOTAL, 0);
	ASSERT_EQ(0, vsock_ask_on(self->fd, "buffer %zu sink %zu 200",
				  variant->there, TOTAL));
	switches = voluntary_switches();
	ASSERT_EQ((ssize_t)TOTAL, send(self->fd, self->data, TOTAL, 0));
	switches = voluntary_switches() - switches;
	ASSERT_EQ(0, vsock_wakeups(self->fd, &wakeups));
	ASSERT_EQ(0, vsock_read_line(self->fd, line, sizeof(line)));
	if (sscanf(line, "%llu %x", &have, &crc) != 2)
		have = 0;
	ASSERT_EQ(TOTAL, have);
	EXPECT_EQ(crc32_update(0, self->data, TOTAL), crc);
	EXPECT_EQ(switches, wakeups.send[RVSOCK_WAKE_TARGET]);
	EXPECT_EQ(switches, wakeups_sum(wakeups.send));
}

TEST_HARNESS_MAIN
