// SPDX-License-Identifier: GPL-2.0
/*
 * What is said of the kernel's own vsock, to be run on that: where it falls short
 * of recv(2) and accept(2), beyond what the suites of rvsock show of the two. A test
 * passes when what its name says is so. The peer is a host on the same vsock, since
 * some of it takes virtio, and the guest has one processor.
 */
#include "vsock_harness.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define DRIVER	"/sys/bus/virtio/drivers/vmw_vsock_virtio_transport"
/* What is left unread when a connection is reset. */
#define UNREAD	1000
/* A packet that is not merged with the one before it at once. */
#define SMALL	200
/* More messages than a reader that reads none of them can be sent. */
#define FLOOD	5000

TEST(shutdown_of_a_listener_leaves_accept_asleep)
{
	struct caller caller = { .call = call_accept };
	unsigned int port;

	caller.fd = vsock_listener(&port, 1);
	ASSERT_LE(0, caller.fd);
	ASSERT_TRUE(caller_start(&caller));
	EXPECT_EQ(-1, shutdown(caller.fd, SHUT_RDWR));
	EXPECT_EQ(ENOTCONN, errno);
	sleep_ms(1000);
	EXPECT_FALSE(caller_is_done(&caller));
}

/* The name of the virtio device that the driver has, as sysfs calls it. */
static bool find_device(char *name, size_t size)
{
	glob_t found;
	bool there = !glob(DRIVER "/virtio*", 0, NULL, &found);

	if (there)
		snprintf(name, size, "%s", strrchr(found.gl_pathv[0], '/') + 1);
	globfree(&found);
	return there;
}

static int tell_driver(const char *what, const char *device)
{
	char path[128];
	int fd, done;

	snprintf(path, sizeof(path), DRIVER "/%s", what);
	fd = open(path, O_WRONLY);
	if (fd < 0)
		return -1;
	done = write(fd, device, strlen(device));
	close(fd);
	return done < 0 ? -1 : 0;
}

TEST(data_before_a_reset_of_the_transport_are_gone)
{
	uint8_t bytes[2 * UNREAD];
	char device[32];
	ssize_t got;
	int fd;

	ASSERT_TRUE(find_device(device, sizeof(device)));
	ASSERT_ASK(fd, "send %d %d 0", UNREAD, UNREAD);
	ASSERT_TRUE(wait_queued(fd, UNREAD));
	ASSERT_EQ(0, tell_driver("unbind", device));
	got = recv(fd, bytes, sizeof(bytes), 0);
	TH_LOG("recv gives %zd, %s", got, got < 0 ? strerrorname_np(errno) : "no error");
	EXPECT_NE(UNREAD, got);
	EXPECT_NE(UNREAD, recv(fd, bytes, sizeof(bytes), 0));
	ASSERT_EQ(0, tell_driver("bind", device));
}

/* Have the host send packets that nobody reads; gives what becomes of them. */
static int left_unread(int total, int chunk, int *error)
{
	int fd = vsock_ask("send %d %d 0", total, chunk), queued = 0;
	long end = now_ms() + 20000;

	if (fd < 0)
		return -1;
	while (now_ms() < end) {
		if (poll_for(fd, POLLIN, 100) & (POLLERR | POLLHUP | POLLRDHUP))
			break;
		if (!ioctl(fd, SIOCINQ, &queued) && queued == total)
			break;
		sleep_ms(100);
	}
	*error = socket_error(fd);
	close(fd);
	return queued;
}

TEST(small_stream_packets_from_the_host_are_kept)
{
	int error, queued = left_unread(200000, SMALL, &error);

	TH_LOG("%d packets of %d bytes, then: %s", queued / SMALL, SMALL, strerror(error));
	EXPECT_EQ(200000, queued);
	EXPECT_EQ(0, error);
}

TEST(tiny_stream_packets_from_the_host_are_kept)
{
	int error, queued = left_unread(5000, 1, &error);

	TH_LOG("%d packets of 1 byte, then: %s", queued, strerror(error));
	EXPECT_EQ(5000, queued);
	EXPECT_EQ(0, error);
}

static int seqpacket(void)
{
	return socket(vsock_family(), SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
}

static bool seqpacket_pair(int fds[2])
{
	unsigned int port = 7100;
	int listener = seqpacket();
	bool good;

	fds[0] = seqpacket();
	good = !vsock_bind(listener, VMADDR_CID_ANY, port) && !listen(listener, 1) &&
	       !vsock_connect(fds[0], VMADDR_CID_LOCAL, port);
	fds[1] = good ? accept(listener, NULL, NULL) : -1;
	close(listener);
	return fds[1] >= 0;
}

/*
 * One end is flooded with messages of a byte and resets the connection; the other
 * one has a message that it has not read.
 */
TEST(a_message_before_a_reset_by_the_peer_stays_readable)
{
	uint8_t bytes[2 * UNREAD] = { 0 };
	int fds[2], sent = 0;

	ASSERT_TRUE(seqpacket_pair(fds));
	ASSERT_EQ(UNREAD, send(fds[0], bytes, UNREAD, 0));
	ASSERT_TRUE(wait_queued(fds[1], UNREAD));
	while (sent < FLOOD && send(fds[1], bytes, 1, MSG_NOSIGNAL | MSG_DONTWAIT) == 1)
		sent++;
	TH_LOG("reset after %d messages: %s", sent, strerrorname_np(errno));
	EXPECT_GT(FLOOD, sent);
	sleep_ms(500);
	EXPECT_EQ(ENOBUFS, socket_error(fds[0]));
	EXPECT_EQ(UNREAD, recv(fds[1], bytes, sizeof(bytes), 0));
	/* Then the stream ends as if in order. */
	EXPECT_EQ(0, recv(fds[1], bytes, sizeof(bytes), 0));
}

/* recv() by a thread that runs when nobody else wants to. */
static ssize_t call_idle_recv(struct caller *caller)
{
	struct sched_param none = { 0 };

	if (sched_setscheduler(0, SCHED_IDLE, &none))
		return -1;
	return recv(caller->fd, caller->data, caller->len, 0);
}

/* The message is there, and the reader awake but not yet running, when SHUT_RD comes. */
TEST(a_message_that_was_taken_is_lost_to_a_shutdown)
{
	int lost = 0;

	for (int round = 0; round < 200 && !lost; round++) {
		uint8_t message[50], taken[100] = { 0 };
		struct caller caller = {
			.call = call_idle_recv, .data = taken, .len = sizeof(taken),
		};
		long end = now_ms() + 2000;
		int fds[2], queued = 0;

		ASSERT_TRUE(seqpacket_pair(fds));
		memset(message, 7, sizeof(message));
		caller.fd = fds[1];
		ASSERT_TRUE(caller_start(&caller));
		ASSERT_EQ((ssize_t)sizeof(message), send(fds[0], message, sizeof(message), 0));
		while (!ioctl(fds[1], SIOCINQ, &queued) && !queued && now_ms() < end)
			sched_yield();
		ASSERT_EQ(0, shutdown(fds[1], SHUT_RD));
		ASSERT_TRUE(caller_join(&caller));
		if (caller.result == 0 && !memcmp(message, taken, sizeof(message))) {
			TH_LOG("round %d: recv gives 0, and the message is in its buffer", round);
			lost++;
		}
		close(fds[0]);
		close(fds[1]);
	}
	EXPECT_EQ(1, lost);
}

TEST_HARNESS_MAIN
