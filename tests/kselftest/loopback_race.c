// SPDX-License-Identifier: GPL-2.0
/*
 * Calls on both ends of a connection over loopback in the same moment, again and
 * again with another distance in time.
 */
#include "vsock_harness.h"

#include <sched.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/resource.h>

#define ROUNDS	1000

FIXTURE(loopback_race)
{
};

FIXTURE_SETUP(loopback_race)
{
}

FIXTURE_TEARDOWN(loopback_race)
{
}

/* What the closing end has sent before. */
#define BEFORE	100

/* A thread that sends BEFORE bytes some turns of a loop after @go, and closes. */
struct closer {
	int fd;
	int turns;
	atomic_int ready, go;
};

static void spin(int turns)
{
	/* The compiler is to see something done. */
	while (turns-- > 0)
		__asm__ volatile("" : : "r"(turns));
}

static void *close_it(void *arg)
{
	struct closer *closer = arg;
	char bytes[BEFORE] = "";

	atomic_store(&closer->ready, 1);
	while (!atomic_load(&closer->go))
		;
	spin(closer->turns);
	send(closer->fd, bytes, sizeof(bytes), 0);
	close(closer->fd);
	return NULL;
}

/*
 * Bytes that send() took and that the closing end did not read are not lost in
 * silence: the sender is told with ECONNRESET. What the closing end had sent is
 * there all the same.
 */
TEST_F_TIMEOUT(loopback_race, send_against_close, 120)
{
	int silent = 0, lost = 0;

	for (int round = 0; round < ROUNDS; round++) {
		struct closer closer = { .turns = round * 37 % 4000 };
		int fds[2], sent = 0, told = 0;
		pthread_t thread;
		char bytes[2 * BEFORE];

		ASSERT_EQ(0, vsock_pair(VMADDR_CID_LOCAL, 0, fds));
		closer.fd = fds[1];
		ASSERT_EQ(0, pthread_create(&thread, NULL, close_it, &closer));
		while (!atomic_load(&closer.ready))
			;
		atomic_store(&closer.go, 1);
		spin(round * 91 % 4000);
		for (int i = 0; i < 2; i++) {
			if (send(fds[0], "x", 1, MSG_NOSIGNAL) == 1)
				sent++;
			else if (errno == ECONNRESET)
				told++;
		}
		pthread_join(thread, NULL);
		if (recv(fds[0], bytes, sizeof(bytes), MSG_WAITALL) != BEFORE)
			lost++;
		if (recv(fds[0], bytes, 1, 0) < 0 && errno == ECONNRESET)
			told++;
		if (sent && !told)
			silent++;
		close(fds[0]);
	}
	EXPECT_EQ(0, silent);
	EXPECT_EQ(0, lost);
}

/* What has come in the moment before shutdown(SHUT_RD) stays readable. */
TEST_F_TIMEOUT(loopback_race, send_against_shutdown, 120)
{
	for (int round = 0; round < ROUNDS / 4; round++) {
		int fds[2];
		char byte;

		ASSERT_EQ(0, vsock_pair(VMADDR_CID_LOCAL, 0, fds));
		ASSERT_EQ(1, send(fds[0], "x", 1, 0));
		ASSERT_EQ(0, shutdown(fds[1], SHUT_RD));
		EXPECT_EQ(1, recv(fds[1], &byte, 1, 0));
		EXPECT_EQ(0, recv(fds[1], &byte, 1, 0));
		close(fds[0]);
		close(fds[1]);
	}
}

static atomic_bool resizing;

static void *resize(void *arg)
{
	int fd = *(int *)arg;

	while (atomic_load(&resizing)) {
		set_buffer(fd, SO_VM_SOCKETS_BUFFER_SIZE, 1 << 30);
		set_buffer(fd, SO_VM_SOCKETS_BUFFER_SIZE, KIB(4));
	}
	return NULL;
}

/* No connection gets a buffer beyond the maximum of its listener's. */
TEST_F_TIMEOUT(loopback_race, accept_against_resize, 120)
{
	int beyond = 0, listener;
	unsigned int port;
	pthread_t thread;

	listener = vsock_listener(&port, 16);
	ASSERT_LE(0, listener);
	atomic_store(&resizing, true);
	ASSERT_EQ(0, pthread_create(&thread, NULL, resize, &listener));
	for (int round = 0; round < ROUNDS * 4; round++) {
		int fd = vsock_stream(0), child;
		uint64_t size = 0;

		ASSERT_EQ(0, vsock_connect(fd, VMADDR_CID_LOCAL, port));
		child = accept(listener, NULL, NULL);
		ASSERT_LE(0, child);
		ASSERT_EQ(0, get_buffer(child, SO_VM_SOCKETS_BUFFER_SIZE, &size));
		if (size > DEFAULT_BUFFER)
			beyond++;
		close(fd);
		close(child);
	}
	atomic_store(&resizing, false);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, beyond);
	close(listener);
}

/* A listener that listens and stops to, in turns. */
struct turning {
	int fd;
	atomic_bool stop;
};

static void *turn_listener(void *arg)
{
	struct turning *listener = arg;

	while (!atomic_load(&listener->stop)) {
		listen(listener->fd, 4);
		shutdown(listener->fd, SHUT_RDWR);
	}
	return NULL;
}

/*
 * Who was connected in the moment in which the listener stopped is told so, too:
 * no reader is left behind.
 */
TEST_F_TIMEOUT(loopback_race, connect_against_stop, 120)
{
	struct turning listener = {};
	int connected = 0, left_behind = 0;
	unsigned int port;
	pthread_t thread;

	listener.fd = vsock_listener(&port, 4);
	ASSERT_LE(0, listener.fd);
	ASSERT_EQ(0, pthread_create(&thread, NULL, turn_listener, &listener));
	for (int round = 0; round < ROUNDS * 10 && left_behind < 3; round++) {
		int fd = vsock_stream(0);
		char byte;

		if (!vsock_connect(fd, VMADDR_CID_LOCAL, port)) {
			connected++;
			ASSERT_EQ(0, set_timeout(fd, SO_RCVTIMEO, 2000));
			errno = 0;
			if (recv(fd, &byte, 1, 0) && errno != ECONNRESET)
				left_behind++;
		}
		close(fd);
	}
	atomic_store(&listener.stop, true);
	pthread_join(thread, NULL);
	EXPECT_NE(0, connected);
	EXPECT_EQ(0, left_behind);
	close(listener.fd);
}

static bool stay_on(int processor)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(processor, &set);
	return !sched_setaffinity(0, sizeof(set), &set);
}

/* A thread that answers each byte with one, on the second processor. */
static void *answer(void *arg)
{
	int fd = *(int *)arg;
	char byte;

	if (!stay_on(1))
		return "no second processor";
	while (recv(fd, &byte, 1, 0) == 1) {
		/* Some turns, so that who has asked polls by then. */
		spin(1000);
		if (send(fd, &byte, 1, MSG_NOSIGNAL) != 1)
			break;
	}
	return NULL;
}

/* How often others are told, behind the one that looks. */
#define OTHERS	10000

/* Who was woken in poll finds that counted, however soon it looks. */
TEST_F_TIMEOUT(loopback_race, poll_against_count, 120)
{
	struct epoll_event event = { .events = EPOLLIN };
	struct rvsock_wakeups before, after;
	struct rlimit files = { 2 * OTHERS, 2 * OTHERS };
	int slept = 0, uncounted = 0, fds[2], others;
	pthread_t thread;
	void *failed;
	char byte;

	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &files));
	ASSERT_EQ(0, vsock_pair(VMADDR_CID_LOCAL, 0, fds));
	others = epoll_create1(0);
	ASSERT_LE(0, others);
	/* Each poll is woken ahead of these, which came before it. */
	for (int i = 0; i < OTHERS; i++)
		ASSERT_EQ(0, epoll_ctl(others, EPOLL_CTL_ADD, dup(fds[0]), &event));
	ASSERT_TRUE(stay_on(0));
	ASSERT_EQ(0, pthread_create(&thread, NULL, answer, &fds[1]));
	for (int round = 0; round < ROUNDS / 4; round++) {
		long switches;

		ASSERT_EQ(0, vsock_wakeups(fds[0], &before));
		ASSERT_EQ(1, send(fds[0], "x", 1, 0));
		switches = voluntary_switches();
		ASSERT_EQ(POLLIN, poll_for(fds[0], POLLIN, PATIENCE_MS));
		ASSERT_EQ(0, vsock_wakeups(fds[0], &after));
		if (voluntary_switches() != switches) {
			slept++;
			if (after.polled == before.polled)
				uncounted++;
		}
		ASSERT_EQ(1, recv(fds[0], &byte, 1, 0));
	}
	shutdown(fds[0], SHUT_RDWR);
	pthread_join(thread, &failed);
	EXPECT_EQ(NULL, failed);
	EXPECT_LT(ROUNDS / 8, slept);
	EXPECT_EQ(0, uncounted);
	TH_LOG("%d polls slept", slept);
}

TEST_HARNESS_MAIN
