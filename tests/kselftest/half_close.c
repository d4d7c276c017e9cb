// SPDX-License-Identifier: GPL-2.0
/*
 * One direction of a connection ends and the other goes on, often enough that
 * each order of what is under way in the two comes up. For a peer that is a
 * socket of the kernel's: the vhost-user device ends both directions at once.
 */
#include "vsock_harness.h"

/* Fewer where a round takes a second. */
#define ROUNDS		(300 / vsock_patience())
#define MOST		KIB(96)

FIXTURE(half_close)
{
	uint8_t *data;
};

FIXTURE_SETUP(half_close)
{
	self->data = malloc(MOST);
	ASSERT_NE(NULL, self->data);
}

FIXTURE_TEARDOWN(half_close)
{
	free(self->data);
}

/* The bytes of a round, with none at all among the lengths. */
static size_t length_of(int round)
{
	return (size_t)round % 7 * (size_t)round % 13 * 1361;
}

/*
 * SHUT_WR here: the peer reads what was sent and then the end; all that it sends
 * after that arrives, and then its own end.
 */
TEST_F_TIMEOUT(half_close, here, 120)
{
	for (int round = 0; round < ROUNDS; round++) {
		size_t out = length_of(round), in = length_of(round + 1);
		struct dial_result result;
		int asking, fd;
		char command[64];

		snprintf(command, sizeof(command), "send-after-end %zu 4000 0", in);
		asking = vsock_dialled(command, &fd);
		ASSERT_LE(0, asking);
		random_fill(self->data, out, round);
		ASSERT_EQ(0, send_all(fd, self->data, out));
		ASSERT_EQ(0, shutdown(fd, SHUT_WR));
		ASSERT_EQ((ssize_t)in, recv(fd, self->data, MOST, MSG_WAITALL))
			TH_LOG("round %d: %s", round, strerror(errno));
		ASSERT_EQ(in, pattern_check(self->data, in, 0));
		ASSERT_EQ(0, recv(fd, self->data, 1, 0));
		random_fill(self->data, out, round);
		ASSERT_EQ(0, vsock_dial_result(asking, &result));
		EXPECT_TRUE(result.ok)
			TH_LOG("round %d: %s", round, result.line);
		EXPECT_EQ(out, result.bytes_in);
		EXPECT_EQ(crc32_update(0, self->data, out), result.crc_in);
		EXPECT_EQ(in, result.bytes_out);
		close(fd);
		close(asking);
	}
}

/* SHUT_WR there: the end is read here, and what is sent after it arrives. */
TEST_F_TIMEOUT(half_close, there, 120)
{
	for (int round = 0; round < ROUNDS; round++) {
		size_t out = length_of(round);
		struct dial_result result;
		int asking, fd;

		asking = vsock_dialled("sink-after-shutdown", &fd);
		ASSERT_LE(0, asking);
		ASSERT_EQ(0, recv(fd, self->data, 1, 0));
		ASSERT_EQ(POLLIN | POLLOUT | POLLRDHUP,
			  poll_for(fd, POLLIN | POLLOUT | POLLRDHUP, 0));
		random_fill(self->data, out, round);
		ASSERT_EQ(0, send_all(fd, self->data, out));
		close(fd);
		ASSERT_EQ(0, vsock_dial_result(asking, &result));
		EXPECT_TRUE(result.ok)
			TH_LOG("round %d: %s", round, result.line);
		EXPECT_EQ(out, result.bytes_in);
		EXPECT_EQ(crc32_update(0, self->data, out), result.crc_in);
		close(asking);
	}
}

TEST_HARNESS_MAIN
