// SPDX-License-Identifier: GPL-2.0
/*
 * How many packets payload goes in: a packet has as many pieces of memory as the
 * device takes, which the module's parameter tx_descriptors says. By default that
 * is one beside the header, of 32 KiB at most; with more a packet is of 64 KiB. The
 * variants are for a module that was loaded so.
 */
#include "vsock_harness.h"

#include <sys/mman.h>

/* Within the credit that there is at first. */
#define LEN		KIB(192)

FIXTURE(chains)
{
	uint8_t *data;
	int fd;
};

FIXTURE_VARIANT(chains)
{
	/* How many packets LEN bytes take. */
	long at_least, at_most;
};

/* Pages that the kernel found side by side are one piece. */
FIXTURE_VARIANT_ADD(chains, of_2)
{
	.at_least = LEN / KIB(32), .at_most = LEN / KIB(4),
};

FIXTURE_VARIANT_ADD(chains, of_18)
{
	.at_least = LEN / KIB(64), .at_most = LEN / KIB(64),
};

FIXTURE_SETUP(chains)
{
	self->data = mmap(NULL, LEN, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->data);
	random_fill(self->data, LEN, 3);
	ASSERT_ASK(self->fd, "sink %zu 0", LEN);
	ASSERT_EQ(0, set_int(self->fd, SOL_SOCKET, SO_ZEROCOPY, 1));
}

FIXTURE_TEARDOWN(chains)
{
	close(self->fd);
	munmap(self->data, LEN);
}

/* In how many packets the bytes went and arrived; -1 if they did not. */
static long packets_of(int fd, const uint8_t *data, int flags)
{
	long before = device_counter("sent_rw");

	if (send(fd, data, LEN, flags) != (ssize_t)LEN || !sink_has(fd, LEN, data))
		return -1;
	return device_counter("sent_rw") - before;
}

TEST_F(chains, copied)
{
	long packets = packets_of(self->fd, self->data, 0);

	EXPECT_LE(variant->at_least, packets);
	EXPECT_GE(variant->at_most, packets);
}

TEST_F(chains, lent)
{
	long packets = packets_of(self->fd, self->data, MSG_ZEROCOPY);

	EXPECT_LE(variant->at_least, packets);
	EXPECT_GE(variant->at_most, packets);
}

TEST_HARNESS_MAIN
