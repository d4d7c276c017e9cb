// SPDX-License-Identifier: GPL-2.0
/*
 * The transmit queue is full: what waits for room is bounded, goes out in order
 * and in turns, and goes with its connection.
 */
#include "vsock_harness.h"

/* Connections whose packets fill the device's queue, of up to 1024 packets. */
#define FILLERS		6

/* Connections that are made at the same time. */
#define MANY		100

/* Connections that send at the same time, in packets of so many bytes. */
#define SENDERS		8
#define PACKET		100
#define PACKETS		1500

/*
 * How often a connection is made and given up, and what that may take of the
 * kernel's memory in the end. A packet takes some 700 bytes.
 */
#define ATTEMPTS	10000
#define SLAB_KIB	2048

/* A device that stands still, and whose queue is full. */
struct stopped {
	int asking, fillers[FILLERS];
	/* When it goes on, at the latest. */
	long goes_on;
};

/* The device stands still for so long. */
FIXTURE(still)
{
	struct stopped device;
};

FIXTURE_VARIANT(still)
{
	long pause;
};

FIXTURE_VARIANT_ADD(still, for_a_while)
{
	.pause = 3000,
};

FIXTURE_SETUP(still)
{
	self->device.asking = -1;
	for (int i = 0; i < FILLERS; i++)
		self->device.fillers[i] = -1;
	if (device_counter("cid") < 0)
		SKIP(return, "the driver is not that of rvsock");
}

FIXTURE_TEARDOWN(still)
{
	while (now_ms() < self->device.goes_on)
		sleep_ms(20);
	close(self->device.asking);
	for (int i = 0; i < FILLERS; i++)
		close(self->device.fillers[i]);
}

/* Stop the device, and return when it has stopped and its queue is full. */
static bool stop(struct stopped *device, long pause)
{
	long waited = device_counter("waited");

	for (int i = 0; i < FILLERS; i++) {
		device->fillers[i] = vsock_connected(PORT_ECHO);
		if (device->fillers[i] < 0)
			return false;
	}
	pause *= vsock_patience();
	device->asking = vsock_stop_device(pause);
	if (device->asking < 0)
		return false;
	/* The host gives its answer time to arrive before. */
	sleep_ms(300);
	device->goes_on = now_ms() + pause;
	for (int i = 0; i < 400 * FILLERS; i++)
		if (send(device->fillers[i % FILLERS], "x", 1, MSG_DONTWAIT) != 1)
			return false;
	return device_counter("waited") > waited;
}

/* Memory of the kernel's slabs that cannot be reclaimed. */
static long slab_kib(void)
{
	return number_in("/proc/meminfo", "SUnreclaim:");
}

/* Requests that found no room are sent when there is some. */
TEST_F(still, connects_go_on)
{
	int fds[MANY], connected = 0;

	ASSERT_TRUE(stop(&self->device, variant->pause));
	for (int i = 0; i < MANY; i++) {
		fds[i] = vsock_stream(SOCK_NONBLOCK);
		ASSERT_LE(0, fds[i]);
		ASSERT_EQ(0, set_connect_timeout(fds[i], PATIENCE_MS *
						 vsock_patience()));
		ASSERT_EQ(-1, vsock_connect(fds[i], VMADDR_CID_HOST, PORT_ECHO));
		ASSERT_EQ(EINPROGRESS, errno);
	}
	EXPECT_LT(now_ms(), self->device.goes_on);
	for (int i = 0; i < MANY; i++) {
		if (poll_for(fds[i], POLLOUT, PATIENCE_MS) == POLLOUT &&
		    !socket_error(fds[i]))
			connected++;
		close(fds[i]);
	}
	EXPECT_EQ(MANY, connected);
}

/*
 * Connections that are made and given up leave nothing behind, neither sockets nor
 * packets, however many they are.
 */
TEST_F_TIMEOUT(still, given_up_leaves_nothing, 60)
{
	int attempts = ATTEMPTS / vsock_patience();
	int before, fd;
	long slab;

	/* Those of the tests before are to be gone. */
	sockets_become(0);
	ASSERT_TRUE(stop(&self->device, 2 * variant->pause));
	/* What is made once. */
	for (int i = 0; i < MANY; i++) {
		fd = vsock_stream(SOCK_NONBLOCK);
		ASSERT_LE(0, fd);
		vsock_connect(fd, VMADDR_CID_HOST, PORT_ECHO);
		close(fd);
	}
	sleep_ms(200);
	before = live_sockets();
	slab = slab_kib();
	for (int i = 0; i < attempts; i++) {
		fd = vsock_stream(SOCK_NONBLOCK);
		ASSERT_LE(0, fd);
		ASSERT_EQ(-1, vsock_connect(fd, VMADDR_CID_HOST, PORT_ECHO));
		ASSERT_EQ(EINPROGRESS, errno)
			TH_LOG("attempt %d: %s", i, strerror(errno));
		close(fd);
	}
	TH_LOG("%ld ms before the device goes on", self->device.goes_on - now_ms());
	EXPECT_LT(now_ms(), self->device.goes_on);
	/* A socket goes after a grace period. */
	sleep_ms(200);
	slab = slab_kib() - slab;
	TH_LOG("%d attempts took %ld KiB, %d sockets", attempts, slab,
	       live_sockets() - before);
	EXPECT_GE(SLAB_KIB, slab);
	EXPECT_GE(before, live_sockets());
}

/* Sends PACKETS packets, one a call, then reads all of it again. */
static void *echoes(void *argument)
{
	int fd = *(int *)argument;
	size_t len = (size_t)PACKET * PACKETS;
	uint8_t *data = malloc(len), *back = malloc(len);
	bool good = true;

	pattern_fill(data, len, fd);
	for (size_t at = 0; at < len && good; at += PACKET)
		good = !send_all(fd, data + at, PACKET);
	good = good && !recv_all(fd, back, len) && !memcmp(data, back, len);
	free(data);
	free(back);
	return good ? argument : NULL;
}

/*
 * Many packets of several connections: each arrives, in the order of its
 * connection, and no connection is served twice in a row while another waits.
 */
TEST_F_TIMEOUT(still, senders_take_turns, 60)
{
	long twice = device_counter("served_twice");
	long waited = device_counter("waited");
	pthread_t threads[SENDERS];
	int fds[SENDERS], good = 0;

	for (int i = 0; i < SENDERS; i++) {
		fds[i] = vsock_connected(PORT_ECHO);
		ASSERT_LE(0, fds[i]);
	}
	ASSERT_TRUE(stop(&self->device, variant->pause));
	for (int i = 0; i < SENDERS; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, echoes, &fds[i]));
	for (int i = 0; i < SENDERS; i++) {
		void *result;

		ASSERT_EQ(0, pthread_join(threads[i], &result));
		good += !!result;
		close(fds[i]);
	}
	EXPECT_EQ(SENDERS, good);
	waited = device_counter("waited") - waited;
	TH_LOG("connections waited for room %ld times", waited);
	EXPECT_LT(SENDERS, waited);
	EXPECT_EQ(twice, device_counter("served_twice"));
}

/* Receive buffers are as large as what arrives makes them, and never take much. */
TEST(receive_buffers_grow_and_shrink)
{
	const size_t len = MIB(4);
	uint8_t *data;
	long size;
	int fd;

	if (device_counter("cid") < 0)
		SKIP(return, "the driver is not that of rvsock");
	data = malloc(len);
	ASSERT_ASK(fd, "send %zu %zu 0", len, len);
	ASSERT_EQ(len, recv(fd, data, len, MSG_WAITALL));
	EXPECT_EQ(len, pattern_check(data, len, 0));
	size = device_counter("receive_buffer_size");
	TH_LOG("buffers of %ld bytes after %zu bytes, %ld bytes of them", size,
	       len, device_counter("receive_buffers_bytes"));
	EXPECT_LE(KIB(16), size);
	EXPECT_GE(MIB(1), device_counter("receive_buffers_bytes"));
	close(fd);

	/* Small packets, each of which comes alone. */
	fd = vsock_connected(PORT_ECHO);
	ASSERT_LE(0, fd);
	for (int i = 0; i < 64 * 6; i++) {
		ASSERT_EQ(0, send_all(fd, data, 10));
		ASSERT_EQ(0, recv_all(fd, data, 10));
	}
	EXPECT_EQ(KIB(4), device_counter("receive_buffer_size"));
	EXPECT_GE(MIB(1), device_counter("receive_buffers_bytes"));
	close(fd);
	free(data);
}

/* What is written here and there, so that what was sent is taken out by a work of its own. */
static void *writes_at_times(void *argument)
{
	while (!send_all(*(int *)argument, "a", 1))
		usleep(2000);
	return NULL;
}

/*
 * The bound holds at every moment, whoever gives the device buffers at the same time: for
 * a gibibyte, or for as long as a slow kernel has.
 */
TEST(receive_buffers_are_bounded_all_the_time)
{
	const size_t len = MIB(1024);
	const long end = now_ms() + 20000;
	uint8_t *data = malloc(MIB(1));
	pthread_t thread;
	const long limit = MIB(1);
	long most = 0;
	size_t got = 0;
	int fd, other;

	if (device_counter("cid") < 0)
		SKIP(return, "the driver is not that of rvsock");
	ASSERT_ASK(other, "sink %zu 0", len);
	ASSERT_ASK(fd, "send %zu %zu 0", len, (size_t)KIB(64));
	ASSERT_EQ(0, pthread_create(&thread, NULL, writes_at_times, &other));
	while (got < len && most <= limit && now_ms() < end) {
		ssize_t part = recv(fd, data, MIB(1), 0);
		long bytes = device_counter("receive_buffers_bytes");

		ASSERT_LT(0, part);
		got += part;
		if (bytes > most)
			most = bytes;
	}
	/* Its next send fails. */
	shutdown(other, SHUT_WR);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	TH_LOG("%ld bytes of buffers at most, of %zu MiB that came", most, got / MIB(1));
	EXPECT_GE(limit, most);
	close(other);
	close(fd);
	free(data);
}

/*
 * A peer that tells of free space by itself is hardly ever asked for it. A sender that is slow
 * beside its peer hardly ever sleeps: it goes on until it has.
 */
TEST(credit_that_comes_is_not_asked_for)
{
	long asked = device_counter("sent_credit_request");
	struct rvsock_wakeups wakeups;
	uint8_t *data;
	char line[64];
	long slept = 0;

	if (asked < 0)
		SKIP(return, "the driver is not that of rvsock");
	data = calloc(1, KIB(64));
	for (int i = 0; i < 10 && slept <= 2; i++) {
		int fd;

		ASSERT_ASK(fd, "sink %zu 0", MIB(16));
		for (size_t sent = 0; sent < MIB(16); sent += KIB(64))
			ASSERT_EQ(0, send_all(fd, data, KIB(64)));
		ASSERT_EQ(0, vsock_read_line(fd, line, sizeof(line)));
		ASSERT_EQ(0, vsock_wakeups(fd, &wakeups));
		slept += wakeups_sum(wakeups.send);
		close(fd);
	}
	asked = device_counter("sent_credit_request") - asked;
	TH_LOG("slept %ld times for credit, and asked for it %ld times", slept, asked);
	EXPECT_LT(2, slept);
	EXPECT_GT(slept, asked);
	free(data);
}

TEST_HARNESS_MAIN
