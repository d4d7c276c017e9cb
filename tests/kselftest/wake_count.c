// SPDX-License-Identifier: GPL-2.0
/*
 * Wake-ups, counted by everyone who counts: the kernel by the reader's voluntary
 * switches and by its event sched_wakeup, the module by the socket's counters, by
 * its own and by its event rvsock_wake. All have to agree, and each wake-up has
 * the reason that it had.
 */
#include "tracing.h"
#include "vsock_harness.h"

#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* A target within the smaller of both ends' buffers is one wake-up. */
#define CAP		PEER_BUFFER

/*
 * Attempts until the host has not paused for so long that it seems to hang, and
 * has not sent all before this guest came to receive it.
 */
#define ATTEMPTS	5

/* What was counted while one thread made its calls on one socket. */
struct figures {
	/* By the kernel: times it went to sleep, times it was woken. */
	long switches;
	int scheduled;
	/* By the module: events, and the socket's counters. */
	int traced;
	struct rvsock_wakeups socket;
	/* Its own counters: all reasons of receiving together. */
	long module;
};

static const char *const reasons[RVSOCK_WAKE_REASONS] = {
	"target", "window", "stalled", "shutdown", "error", "signal", "timeout",
};

static long module_receive(void)
{
	char name[64];
	long sum = 0;

	for (int reason = 0; reason < RVSOCK_WAKE_REASONS; reason++) {
		snprintf(name, sizeof(name), "woken_receive_%s", reasons[reason]);
		sum += module_counter(name);
	}
	return sum;
}

static void subtract(__u32 counts[RVSOCK_WAKE_REASONS],
		     const __u32 before[RVSOCK_WAKE_REASONS])
{
	for (int reason = 0; reason < RVSOCK_WAKE_REASONS; reason++)
		counts[reason] -= before[reason];
}

static bool count_begin(struct figures *figures, const struct tracing *tracing,
			int fd)
{
	figures->module = module_receive();
	if (vsock_wakeups(fd, &figures->socket) || !tracing_start(tracing))
		return false;
	figures->switches = voluntary_switches();
	return true;
}

static bool count_end(struct figures *figures, const struct tracing *tracing,
		      int fd)
{
	struct rvsock_wakeups before = figures->socket;

	figures->switches = voluntary_switches() - figures->switches;
	if (!tracing_stop(tracing) || vsock_wakeups(fd, &figures->socket))
		return false;
	figures->module = module_receive() - figures->module;
	subtract(figures->socket.receive, before.receive);
	subtract(figures->socket.send, before.send);
	subtract(figures->socket.connect, before.connect);
	figures->socket.polled -= before.polled;
	figures->scheduled = tracing_each(tracing, "sched_wakeup", NULL, NULL);
	figures->traced = tracing_each(tracing, "rvsock_wake", NULL, NULL);
	return true;
}

/* Everyone counted @_count wake-ups of a receiving thread. */
#define EXPECT_COUNTED(_count, _figures) do {				\
	const struct figures *__figures = &(_figures);			\
	unsigned int __count = (_count);				\
									\
	EXPECT_EQ(__count, __figures->switches);			\
	EXPECT_EQ(__count, __figures->scheduled);			\
	EXPECT_EQ(__count, __figures->traced);				\
	EXPECT_EQ(__count, wakeups_sum(__figures->socket.receive));	\
	/* Over loopback the peer's sockets are the module's as well. */	\
	if (vsock_peer_cid() == VMADDR_CID_HOST)			\
		EXPECT_EQ(__count, __figures->module);			\
} while (0)

/* Trace what this thread does. */
static bool trace_self(struct tracing *tracing)
{
	int tid = syscall(SYS_gettid);

	return tracing_open(tracing) &&
	       tracing_event(tracing, "sched/sched_wakeup", "pid == %d", tid) &&
	       tracing_event(tracing, "rvsock/rvsock_wake", "common_pid == %d", tid);
}

FIXTURE(waitall)
{
	struct tracing tracing;
	uint8_t *data;
	int fd;
};

FIXTURE_VARIANT(waitall)
{
	size_t len;
	size_t packet;
	unsigned int delay_us;
};

FIXTURE_VARIANT_ADD(waitall, 64k_from_1k)
{
	.len = KIB(64), .packet = KIB(1), .delay_us = 3000,
};

FIXTURE_VARIANT_ADD(waitall, 200k_from_4k)
{
	.len = KIB(200), .packet = KIB(4), .delay_us = 3000,
};

FIXTURE_VARIANT_ADD(waitall, 1m_from_8k)
{
	.len = MIB(1), .packet = KIB(8), .delay_us = 3000,
};

FIXTURE_SETUP(waitall)
{
	self->data = malloc_resident(variant->len);
	self->fd = -1;
	ASSERT_TRUE(trace_self(&self->tracing));
}

FIXTURE_TEARDOWN(waitall)
{
	tracing_close(&self->tracing);
	close(self->fd);
	free(self->data);
}

/*
 * One wake-up when all is there; beyond the cap one at each half of it, and a last
 * one for the rest. Never because the peer seemed to hang.
 */
TEST_F_TIMEOUT(waitall, everyone_agrees, 60)
{
	unsigned int most = variant->len <= CAP ? 1 :
			    (variant->len + CAP / 2 - 1) / (CAP / 2) + 1;
	unsigned int pause = variant->delay_us;
	struct figures figures;
	int attempts = 0;
	const __u32 *why = figures.socket.receive;

	do {
		close(self->fd);
		ASSERT_ASK(self->fd, "send %zu %zu %u", variant->len,
			   variant->packet, pause);
		ASSERT_TRUE(count_begin(&figures, &self->tracing, self->fd));
		ASSERT_EQ((ssize_t)variant->len,
			  recv(self->fd, self->data, variant->len, MSG_WAITALL));
		ASSERT_TRUE(count_end(&figures, &self->tracing, self->fd));
		ASSERT_EQ(variant->len,
			  pattern_check(self->data, variant->len, 0));
		/* Where this task is slow, the rest is there before it looks for it. */
		if (!why[RVSOCK_WAKE_TARGET])
			pause *= 3;
	} while ((why[RVSOCK_WAKE_STALLED] || !why[RVSOCK_WAKE_TARGET]) &&
		 ++attempts < ATTEMPTS);

	EXPECT_COUNTED(figures.switches, figures);
	EXPECT_EQ(0, why[RVSOCK_WAKE_STALLED]);
	EXPECT_GE(most, figures.switches);
	EXPECT_EQ(1, why[RVSOCK_WAKE_TARGET]);
	if (variant->len <= CAP)
		EXPECT_EQ(1, figures.switches);
	EXPECT_EQ(figures.switches - 1, why[RVSOCK_WAKE_WINDOW]);
	TH_LOG("%zu bytes in packets of %zu: %ld wake-ups, %u allowed",
	       variant->len, variant->packet, figures.switches, most);
}

FIXTURE(mark)
{
	struct tracing tracing;
	struct figures figures;
	uint8_t *data;
	int fd;
};

#define MARK	KIB(24)

FIXTURE_SETUP(mark)
{
	self->data = calloc(1, KIB(256));
	ASSERT_TRUE(trace_self(&self->tracing));
	/*
	 * No more than the mark, so that nothing follows what reaches it; so slowly
	 * that this thread sleeps by then.
	 */
	ASSERT_ASK(self->fd, "send %zu 1024 %d", MARK, 20000 * vsock_patience());
	ASSERT_EQ(0, set_int(self->fd, SOL_SOCKET, SO_RCVLOWAT, MARK));
}

FIXTURE_TEARDOWN(mark)
{
	tracing_close(&self->tracing);
	close(self->fd);
	free(self->data);
}

/* SO_RCVLOWAT: recv is woken once, when the mark is reached. */
TEST_F(mark, recv)
{
	ASSERT_TRUE(count_begin(&self->figures, &self->tracing, self->fd));
	EXPECT_EQ((ssize_t)MARK, recv(self->fd, self->data, KIB(256), 0));
	ASSERT_TRUE(count_end(&self->figures, &self->tracing, self->fd));
	EXPECT_COUNTED(1, self->figures);
	EXPECT_EQ(1, self->figures.socket.receive[RVSOCK_WAKE_TARGET]);
	EXPECT_EQ(0, self->figures.socket.polled);
}

/* SO_RCVLOWAT: poll is told once, and wakes once. */
TEST_F(mark, poll)
{
	ASSERT_TRUE(count_begin(&self->figures, &self->tracing, self->fd));
	EXPECT_EQ(POLLIN, poll_for(self->fd, POLLIN, PATIENCE_MS));
	ASSERT_TRUE(count_end(&self->figures, &self->tracing, self->fd));
	EXPECT_EQ(1, self->figures.switches);
	EXPECT_EQ(1, self->figures.scheduled);
	EXPECT_EQ(1, self->figures.socket.polled);
	EXPECT_EQ(0, wakeups_sum(self->figures.socket.receive));
	EXPECT_EQ((ssize_t)MARK,
		  recv(self->fd, self->data, KIB(256), MSG_DONTWAIT));
}

/* SO_RCVLOWAT: epoll likewise, level-triggered. */
TEST_F(mark, epoll)
{
	struct epoll_event event = { .events = EPOLLIN };
	int epoll = epoll_create1(0);

	ASSERT_LE(0, epoll);
	ASSERT_EQ(0, epoll_ctl(epoll, EPOLL_CTL_ADD, self->fd, &event));
	ASSERT_TRUE(count_begin(&self->figures, &self->tracing, self->fd));
	EXPECT_EQ(1, epoll_wait(epoll, &event, 1, PATIENCE_MS));
	ASSERT_TRUE(count_end(&self->figures, &self->tracing, self->fd));
	EXPECT_EQ(1, self->figures.switches);
	EXPECT_EQ(1, self->figures.scheduled);
	EXPECT_EQ(1, self->figures.socket.polled);
	EXPECT_EQ(0, wakeups_sum(self->figures.socket.receive));
	close(epoll);
}

/* The kernel tells the same number of switches in both places. */
TEST(switches_in_proc)
{
	long first, proc, second;

	do {
		sleep_ms(1);
		first = voluntary_switches();
		proc = voluntary_ctxt_switches(syscall(SYS_gettid));
		second = voluntary_switches();
	} while (first != second);
	EXPECT_EQ(first, proc);
}

static long page_faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_minflt;
}

/* Nobody sleeps for a page of what is received into. */
TEST(pages_are_there)
{
	uint8_t *data = malloc_resident(MIB(1));
	long before = page_faults();

	ASSERT_NE(NULL, data);
	explicit_bzero(data, MIB(1));
	EXPECT_EQ(before, page_faults());
	free(data);
}

FIXTURE(echo)
{
	struct rvsock_wakeups wakeups;
	uint8_t data[4096];
	int fd;
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

struct told {
	unsigned int family, sport, dport;
	unsigned long long ino, len, target, done, available;
	char call[16], reason[16];
};

static void see_wake(const char *line, void *argument)
{
	struct told *told = argument;

	if (sscanf(line,
		   "rvsock_wake: family=%u ino=%llu sport=%u dport=%u call=%15s len=%llu target=%llu done=%llu available=%llu reason=%15s",
		   &told->family, &told->ino, &told->sport, &told->dport,
		   told->call, &told->len, &told->target, &told->done,
		   &told->available, told->reason) != 10)
		told->reason[0] = '\0';
}

/* The event says who was woken, what it asked for, what is there, and why. */
TEST_F(echo, event)
{
	struct caller caller = {
		.fd = self->fd, .call = call_recv, .data = self->data,
		.len = 2000,
	};
	struct tracing tracing;
	struct told told = { 0 };
	struct stat stat;

	ASSERT_EQ(0, fstat(self->fd, &stat));
	ASSERT_EQ(0, set_int(self->fd, SOL_SOCKET, SO_RCVLOWAT, 1000));
	ASSERT_TRUE(caller_start(&caller));
	ASSERT_TRUE(tracing_open(&tracing));
	ASSERT_TRUE(tracing_event(&tracing, "rvsock/rvsock_wake",
				  "common_pid == %d", caller.tid));
	ASSERT_TRUE(tracing_start(&tracing));
	ASSERT_EQ(0, send_all(self->fd, self->data, 1500));
	ASSERT_TRUE(caller_join(&caller));
	ASSERT_TRUE(tracing_stop(&tracing));
	EXPECT_EQ(1500, caller.result);
	EXPECT_EQ(1, tracing_each(&tracing, "rvsock_wake", see_wake, &told));
	tracing_close(&tracing);
	EXPECT_EQ((unsigned int)vsock_family(), told.family);
	EXPECT_EQ(stat.st_ino, told.ino);
	EXPECT_EQ(local_port(self->fd), told.sport);
	EXPECT_EQ(PORT_ECHO, told.dport);
	EXPECT_STREQ("receive", told.call);
	EXPECT_EQ(2000, told.len);
	EXPECT_EQ(1000, told.target);
	EXPECT_EQ(0, told.done);
	EXPECT_EQ(1500, told.available);
	EXPECT_STREQ("target", told.reason);
}

/* A socket on which nobody slept has counted nothing; the counters only read. */
TEST_F(echo, counters_of_a_new_socket)
{
	struct rvsock_wakeups none = { 0 };
	socklen_t len = sizeof(none) - 1;
	int fd = vsock_stream(0);

	ASSERT_LE(0, fd);
	memset(&self->wakeups, 0xee, sizeof(self->wakeups));
	ASSERT_EQ(0, vsock_wakeups(fd, &self->wakeups));
	EXPECT_EQ(0, memcmp(&none, &self->wakeups, sizeof(none)));
	EXPECT_EQ(-1, getsockopt(fd, vsock_family(), RVSOCK_SO_WAKEUPS, &none,
				 &len));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, setsockopt(fd, vsock_family(), RVSOCK_SO_WAKEUPS, &none,
				 sizeof(none)));
	EXPECT_EQ(ENOPROTOOPT, errno);
	close(fd);
}

/* Exactly one wake-up in @counts, for this reason. */
#define EXPECT_ONLY(_reason, _counts) do {				\
	EXPECT_EQ(1, (_counts)[_reason]);				\
	EXPECT_EQ(1, wakeups_sum(_counts));				\
} while (0)

/* The reason "timeout". */
TEST_F(echo, timeout)
{
	ASSERT_EQ(0, set_timeout(self->fd, SO_RCVTIMEO, 100));
	EXPECT_EQ(-1, recv(self->fd, self->data, 10, 0));
	ASSERT_EQ(0, vsock_wakeups(self->fd, &self->wakeups));
	EXPECT_ONLY(RVSOCK_WAKE_TIMEOUT, self->wakeups.receive);
}

/* The reason "signal". */
TEST_F(echo, signal)
{
	struct caller caller = {
		.fd = self->fd, .call = call_recv, .data = self->data, .len = 10,
	};

	ignore_with_handler(SIGUSR1, 0);
	ASSERT_TRUE(caller_start(&caller));
	pthread_kill(caller.thread, SIGUSR1);
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ(EINTR, caller.error);
	EXPECT_EQ(1, caller.switches);
	ASSERT_EQ(0, vsock_wakeups(self->fd, &self->wakeups));
	EXPECT_ONLY(RVSOCK_WAKE_SIGNAL, self->wakeups.receive);
}

/* The reason "shutdown", and not a second wake-up for the lock. */
TEST_F(echo, shutdown)
{
	struct caller caller = {
		.fd = self->fd, .call = call_recv, .data = self->data, .len = 10,
	};

	ASSERT_TRUE(caller_start(&caller));
	ASSERT_EQ(0, shutdown(self->fd, SHUT_RD));
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ(0, caller.result);
	EXPECT_EQ(1, caller.switches);
	ASSERT_EQ(0, vsock_wakeups(self->fd, &self->wakeups));
	EXPECT_ONLY(RVSOCK_WAKE_SHUTDOWN, self->wakeups.receive);
}

/* The reason "error": of a reader and of a sender whose peer resets. */
TEST_F(echo, error)
{
	struct caller reader = {
		.call = call_recv, .data = self->data, .len = 10,
	};
	struct caller sender = { .call = call_send, .flags = MSG_NOSIGNAL };
	int fds[2];

	ASSERT_EQ(0, vsock_pair(VMADDR_CID_LOCAL, KIB(4), fds));
	sender.data = calloc(1, KIB(16));
	sender.len = KIB(16);
	reader.fd = fds[0];
	sender.fd = fds[0];
	ASSERT_TRUE(caller_start(&reader));
	ASSERT_TRUE(caller_start(&sender));
	/* What the sender sent is unread. */
	close(fds[1]);
	ASSERT_TRUE(caller_join(&reader));
	ASSERT_TRUE(caller_join(&sender));
	ASSERT_EQ(0, vsock_wakeups(fds[0], &self->wakeups));
	EXPECT_ONLY(RVSOCK_WAKE_ERROR, self->wakeups.receive);
	EXPECT_ONLY(RVSOCK_WAKE_ERROR, self->wakeups.send);
	close(fds[0]);
	free(sender.data);
}

/* Lowering SO_RCVLOWAT wakes whom it satisfies, and nobody before. */
TEST_F(echo, lower_mark_wakes_once)
{
	struct caller caller = {
		.fd = self->fd, .call = call_recv,
		.data = self->data, .len = sizeof(self->data),
	};
	long asleep;

	ASSERT_EQ(0, set_int(self->fd, SOL_SOCKET, SO_RCVLOWAT, 1000));
	ASSERT_TRUE(caller_start(&caller));
	asleep = voluntary_ctxt_switches(caller.tid);
	ASSERT_EQ(0, send_all(self->fd, self->data, 100));
	ASSERT_TRUE(wait_queued(self->fd, 100));
	ASSERT_EQ(0, set_int(self->fd, SOL_SOCKET, SO_RCVLOWAT, 500));
	/* What was lowered stays so for a call that sleeps. */
	ASSERT_EQ(0, set_int(self->fd, SOL_SOCKET, SO_RCVLOWAT, 2000));
	sleep_ms(SETTLE_MS);
	ASSERT_FALSE(caller_is_done(&caller));
	EXPECT_EQ(asleep, voluntary_ctxt_switches(caller.tid));
	ASSERT_EQ(0, vsock_wakeups(self->fd, &self->wakeups));
	EXPECT_EQ(0, wakeups_sum(self->wakeups.receive));
	ASSERT_EQ(0, send_all(self->fd, self->data, 399));
	ASSERT_TRUE(wait_queued(self->fd, 499));
	EXPECT_EQ(asleep, voluntary_ctxt_switches(caller.tid));
	ASSERT_EQ(0, send_all(self->fd, self->data, 1));
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ(500, caller.result);
	EXPECT_EQ(1, caller.switches);
	ASSERT_EQ(0, vsock_wakeups(self->fd, &self->wakeups));
	EXPECT_ONLY(RVSOCK_WAKE_TARGET, self->wakeups.receive);
}

TEST_HARNESS_MAIN
