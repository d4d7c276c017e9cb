// SPDX-License-Identifier: GPL-2.0
/*
 * What is queued in each direction, as ioctl() tells it, and close() that waits
 * for what was sent (SO_LINGER).
 */
#include "vsock_harness.h"

#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>

/* The number that @request gives, or the negative errno. */
static int queued(int fd, unsigned long request)
{
	int count = -1;

	return ioctl(fd, request, &count) ? -errno : count;
}

/* Wait until nothing is left of what was sent. */
static bool all_is_sent(int fd)
{
	long until = now_ms() + PATIENCE_MS;

	while (queued(fd, SIOCOUTQ) > 0 && now_ms() < until)
		sleep_ms(10);
	return queued(fd, SIOCOUTQ) == 0;
}

/* SIOCINQ counts what recv() would give, and what a peek leaves. */
TEST(received_bytes)
{
	char data[1000];
	int fd;

	ASSERT_ASK(fd, "send 1000 100 0");
	ASSERT_TRUE(wait_queued(fd, sizeof(data)));
	EXPECT_EQ(1000, queued(fd, SIOCINQ));
	EXPECT_EQ(100, recv(fd, data, 100, MSG_PEEK));
	EXPECT_EQ(1000, queued(fd, SIOCINQ));
	EXPECT_EQ(300, recv(fd, data, 300, 0));
	EXPECT_EQ(700, queued(fd, SIOCINQ));
	EXPECT_EQ(700, recv(fd, data, sizeof(data), 0));
	EXPECT_EQ(0, queued(fd, SIOCINQ));
	close(fd);
}

/* SIOCOUTQ falls to 0 when all was handed on, though nobody reads it. */
TEST(sent_bytes)
{
	uint8_t *data = malloc(KIB(64));
	int fd;

	random_fill(data, KIB(64), 1);
	ASSERT_ASK(fd, "hold 3000");
	EXPECT_EQ(0, send_all(fd, data, KIB(64)));
	EXPECT_GE((int)KIB(64) + 20, queued(fd, SIOCOUTQ));
	EXPECT_TRUE(all_is_sent(fd));
	close(fd);
	free(data);
}

/* Without a connection nothing is queued; a listener has no bytes. */
TEST(without_connection)
{
	unsigned int port;
	int fd = vsock_stream(0), listener = vsock_listener(&port, 1);

	ASSERT_LE(0, fd);
	ASSERT_LE(0, listener);
	EXPECT_EQ(0, queued(fd, SIOCINQ));
	EXPECT_EQ(0, queued(fd, SIOCOUTQ));
	EXPECT_EQ(-EINVAL, queued(listener, SIOCINQ));
	EXPECT_EQ(-EINVAL, queued(listener, SIOCOUTQ));
	close(listener);
	close(fd);
}

/* Other requests are not this family's, and a bad pointer is EFAULT. */
TEST(refused)
{
	struct ifreq request = {};
	int fd = vsock_stream(0);

	ASSERT_LE(0, fd);
	EXPECT_EQ(-1, ioctl(fd, FIOQSIZE, &request));
	EXPECT_EQ(ENOTTY, errno);
	EXPECT_EQ(-1, ioctl(fd, SIOCINQ, (int *)8));
	EXPECT_EQ(EFAULT, errno);
	close(fd);
}

/*
 * A close that lingers does not wait for the peer to read, only for the bytes to
 * be handed on. They fill the peer's buffer, and nobody takes them.
 */
TEST(linger)
{
	const struct linger linger = { .l_onoff = 1, .l_linger = 10 };
	uint8_t *data = malloc(PEER_BUFFER);
	long began;
	int fd;

	random_fill(data, PEER_BUFFER, 2);
	ASSERT_ASK(fd, "hold 20000");
	ASSERT_EQ(0, setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger,
				sizeof(linger)));
	EXPECT_LT(0, send(fd, data, PEER_BUFFER, MSG_DONTWAIT));
	began = now_ms();
	EXPECT_EQ(0, close(fd));
	EXPECT_GE(5000, now_ms() - began);
	free(data);
}

TEST_HARNESS_MAIN
