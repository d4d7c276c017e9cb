// SPDX-License-Identifier: GPL-2.0
/*
 * Several threads that wait for the same thing on one socket: each is woken once,
 * when it is its turn and there is enough for it; who leaves wakes the next. The
 * other end is in this guest, or nowhere.
 */
#include "tracing.h"
#include "vsock_harness.h"

#include <sys/epoll.h>

#define WAITERS	3

/* A filter for the events in which one of the callers' threads is @who. */
static const char *filter_for(char filter[200], const char *who, const struct caller *callers,
			      int count)
{
	size_t len = 0;

	for (int i = 0; i < count; i++)
		len += snprintf(filter + len, 200 - len, "%s%s == %d", i ? " || " : "", who,
				callers[i].tid);
	return filter;
}

/* Wake-ups of the callers' threads, as the kernel's events count them, and their sleeps. */
static bool trace_callers(struct tracing *tracing, const struct caller *callers,
			  int count)
{
	char filter[200];

	return tracing_open(tracing) && tracing_stacks(tracing) &&
	       tracing_event(tracing, "sched/sched_switch", "%s",
			     filter_for(filter, "prev_pid", callers, count)) &&
	       tracing_event(tracing, "sched/sched_waking", "%s",
			     filter_for(filter, "pid", callers, count)) &&
	       tracing_start(tracing);
}

struct lock_sleeps {
	char who[32];
	int count;
};

static void count_lock_sleep(const char *line, void *argument)
{
	static const char *const calls[] = {
		"sys_recvfrom", "sys_sendto", "sys_accept", "sys_epoll_wait",
		/* On its way back, with a signal to be handled. */
		"arch_do_signal_or_restart", "sys_rt_sigreturn",
	};
	struct lock_sleeps *sleeps = argument;

	/* It may also have been preempted while it tried. */
	if (!strstr(line, sleeps->who) || !strstr(line, " prev_state=D ") ||
	    !strstr(line, " < rtlock_slowlock"))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
		sleeps->count += !!strstr(line, calls[i]);
}

/*
 * How often the caller slept in its call for a lock of the kernel, which it does on an
 * RT kernel.
 */
static int slept_for_locks(struct tracing *tracing, const struct caller *caller)
{
	struct lock_sleeps sleeps = { .count = 0 };

	snprintf(sleeps.who, sizeof(sleeps.who), " prev_pid=%d ", caller->tid);
	tracing_each(tracing, "sched_switch", count_lock_sleep, &sleeps);
	return sleeps.count;
}

/* How often the caller slept in its call for what the call waits for. */
static long sleeps(struct tracing *tracing, const struct caller *caller)
{
	return caller->switches - slept_for_locks(tracing, caller);
}

static void print_wakeup(const char *line, void *argument)
{
	(void)argument;
	printf("# %s\n", line);
}

/*
 * Counts a wake-up of a call: by the module, which its mangled name tells, where the call
 * sleeps there; by epoll; or by a signal. The same thread also sleeps for locks and pages,
 * of the kernel and of its process, in its call or when that is over.
 */
static void count_woken(const char *line, void *argument)
{
	static const char *const by[] = {
		"6rvsock3net4wait7wake_up", " < ep_autoremove_wake_function < ",
		" < __send_signal_locked < ",
	};

	for (size_t i = 0; i < ARRAY_SIZE(by); i++)
		*(int *)argument += !!strstr(line, by[i]);
}

/*
 * How often they were woken since; -1 if that cannot be said. Tells more if not @wanted times.
 * The beginning of a wake-up tells whose it is; its end may be an interrupt's.
 */
static int woken(struct tracing *tracing, int wanted)
{
	int count = 0;

	if (!tracing_stop(tracing) ||
	    tracing_each(tracing, "sched_waking", count_woken, &count) < 0)
		count = -1;
	if (count != wanted)
		tracing_each(tracing, "sched_waking", print_wakeup, NULL);
	tracing_close(tracing);
	return count;
}

FIXTURE(pair)
{
	struct rvsock_wakeups wakeups;
	struct tracing tracing;
	struct caller callers[WAITERS];
	uint8_t data[16384];
	int fds[2];
};

FIXTURE_SETUP(pair)
{
	ASSERT_EQ(0, vsock_pair(VMADDR_CID_LOCAL, 0, self->fds));
	pattern_fill(self->data, sizeof(self->data), 0);
}

FIXTURE_TEARDOWN(pair)
{
	close(self->fds[0]);
	close(self->fds[1]);
}

/* Readers that sleep in this order, each for all of its need. */
#define START_READERS(_needs) do {					\
	for (size_t __i = 0; __i < ARRAY_SIZE(_needs); __i++) {		\
		self->callers[__i] = (struct caller) {			\
			.fd = self->fds[0], .call = call_recv,		\
			.flags = MSG_WAITALL, .len = (_needs)[__i],	\
			.data = malloc((_needs)[__i]),			\
		};							\
		ASSERT_TRUE(caller_start(&self->callers[__i]));		\
		ASSERT_FALSE(caller_is_done(&self->callers[__i]));	\
	}								\
} while (0)

/* Each has got its piece of the stream, in order, for one wake-up. */
#define JOIN_READERS(_needs) do {					\
	uint64_t __at = 0;						\
									\
	for (size_t __i = 0; __i < ARRAY_SIZE(_needs); __i++) {		\
		struct caller *__one = &self->callers[__i];		\
									\
		ASSERT_TRUE(caller_join(__one));			\
		EXPECT_EQ((ssize_t)(_needs)[__i], __one->result);	\
		EXPECT_EQ((_needs)[__i],				\
			  pattern_check(__one->data, (_needs)[__i], __at)); \
		EXPECT_EQ(1, sleeps(&self->tracing, __one))		\
			TH_LOG("reader %zu", __i);			\
		__at += (_needs)[__i];					\
		free(__one->data);					\
	}								\
} while (0)

/* An arrival that is enough for all: each is woken once, when it is its turn. */
TEST_F(pair, readers_at_once)
{
	static const size_t needs[] = { 4000, 100, 1000 };

	START_READERS(needs);
	ASSERT_TRUE(trace_callers(&self->tracing, self->callers, WAITERS));
	ASSERT_EQ(0, send_all(self->fds[1], self->data, 5100));
	JOIN_READERS(needs);
	EXPECT_EQ(WAITERS, woken(&self->tracing, WAITERS));
	ASSERT_EQ(0, vsock_wakeups(self->fds[0], &self->wakeups));
	EXPECT_EQ(WAITERS, self->wakeups.receive[RVSOCK_WAKE_TARGET]);
	EXPECT_EQ(WAITERS, wakeups_sum(self->wakeups.receive));
}

/* Many small arrivals: nobody is woken before it is its turn and all is there. */
TEST_F(pair, readers_piecemeal)
{
	static const size_t needs[] = { 4000, 100, 1000 };

	START_READERS(needs);
	ASSERT_TRUE(trace_callers(&self->tracing, self->callers, WAITERS));
	for (size_t sent = 0; sent < 5100; sent += 50) {
		ASSERT_EQ(0, send_all(self->fds[1], self->data + sent, 50));
		sleep_ms(1);
	}
	JOIN_READERS(needs);
	EXPECT_EQ(WAITERS, woken(&self->tracing, WAITERS));
	ASSERT_EQ(0, vsock_wakeups(self->fds[0], &self->wakeups));
	EXPECT_EQ(WAITERS, self->wakeups.receive[RVSOCK_WAKE_TARGET]);
	EXPECT_EQ(WAITERS, wakeups_sum(self->wakeups.receive));
}

/* A reader that a signal takes away passes its turn on. */
TEST_F(pair, reader_leaves)
{
	static const size_t needs[] = { 4000, 1000 };

	ignore_with_handler(SIGUSR1, 0);
	START_READERS(needs);
	ASSERT_TRUE(trace_callers(&self->tracing, self->callers, 2));
	ASSERT_EQ(0, send_all(self->fds[1], self->data, 1000));
	sleep_ms(SETTLE_MS);
	ASSERT_FALSE(caller_is_done(&self->callers[1]));
	pthread_kill(self->callers[0].thread, SIGUSR1);
	ASSERT_TRUE(caller_join(&self->callers[0]));
	/* Data go before signals: it has what there was. */
	EXPECT_EQ(1000, self->callers[0].result);
	ASSERT_EQ(0, send_all(self->fds[1], self->data, 1000));
	ASSERT_TRUE(caller_join(&self->callers[1]));
	EXPECT_EQ(1000, self->callers[1].result);
	for (int i = 0; i < 2; i++)
		EXPECT_EQ(1, sleeps(&self->tracing, &self->callers[i]));
	EXPECT_EQ(2, woken(&self->tracing, 2));
	ASSERT_EQ(0, vsock_wakeups(self->fds[0], &self->wakeups));
	EXPECT_EQ(1, self->wakeups.receive[RVSOCK_WAKE_SIGNAL]);
	EXPECT_EQ(1, self->wakeups.receive[RVSOCK_WAKE_TARGET]);
	EXPECT_EQ(2, wakeups_sum(self->wakeups.receive));
	free(self->callers[0].data);
	free(self->callers[1].data);
}

/* What it leaves, since it only peeked, is enough for the next: that one wakes. */
TEST_F(pair, peeking_reader_leaves)
{
	ignore_with_handler(SIGUSR1, 0);
	for (int i = 0; i < 2; i++) {
		self->callers[i] = (struct caller) {
			.fd = self->fds[0], .call = call_recv,
			.flags = MSG_WAITALL | (i ? 0 : MSG_PEEK),
			.len = i ? 1000 : 4000, .data = self->data + 8192 * i,
		};
		ASSERT_TRUE(caller_start(&self->callers[i]));
	}
	ASSERT_TRUE(trace_callers(&self->tracing, self->callers, 2));
	ASSERT_EQ(0, send_all(self->fds[1], self->data, 1000));
	sleep_ms(SETTLE_MS);
	ASSERT_FALSE(caller_is_done(&self->callers[1]));
	pthread_kill(self->callers[0].thread, SIGUSR1);
	for (int i = 0; i < 2; i++) {
		ASSERT_TRUE(caller_join(&self->callers[i]));
		EXPECT_EQ(1000, self->callers[i].result);
		EXPECT_EQ(1, sleeps(&self->tracing, &self->callers[i]));
	}
	EXPECT_EQ(2, woken(&self->tracing, 2));
	ASSERT_EQ(0, vsock_wakeups(self->fds[0], &self->wakeups));
	EXPECT_EQ(1, self->wakeups.receive[RVSOCK_WAKE_SIGNAL]);
	EXPECT_EQ(1, self->wakeups.receive[RVSOCK_WAKE_TARGET]);
	EXPECT_EQ(2, wakeups_sum(self->wakeups.receive));
}

/* Senders that wait for credit: each goes on once, in its turn, and no more. */
TEST_F(pair, senders)
{
	size_t window = DEFAULT_BUFFER, len = 1000;
	uint8_t *all = malloc_resident(window + WAITERS * len);

	ASSERT_EQ((ssize_t)window, send(self->fds[1], all, window, MSG_DONTWAIT));
	for (int i = 0; i < WAITERS; i++) {
		self->callers[i] = (struct caller) {
			.fd = self->fds[1], .call = call_send, .len = len,
			.data = self->data,
		};
		ASSERT_TRUE(caller_start(&self->callers[i]));
		ASSERT_FALSE(caller_is_done(&self->callers[i]));
	}
	ASSERT_TRUE(trace_callers(&self->tracing, self->callers, WAITERS));
	/* More than they need, told at once. */
	ASSERT_EQ(0, recv_all(self->fds[0], all, window / 2));
	for (int i = 0; i < WAITERS; i++) {
		ASSERT_TRUE(caller_join(&self->callers[i]));
		EXPECT_EQ((ssize_t)len, self->callers[i].result);
		EXPECT_EQ(1, sleeps(&self->tracing, &self->callers[i]));
	}
	EXPECT_EQ(WAITERS, woken(&self->tracing, WAITERS));
	ASSERT_EQ(0, vsock_wakeups(self->fds[1], &self->wakeups));
	EXPECT_EQ(WAITERS, self->wakeups.send[RVSOCK_WAKE_TARGET]);
	EXPECT_EQ(WAITERS, wakeups_sum(self->wakeups.send));
	ASSERT_EQ(0, recv_all(self->fds[0], all, window / 2 + WAITERS * len));
	free(all);
}

/* Credit that the first of them uses up wakes nobody behind it. */
TEST_F(pair, sender_that_takes_all)
{
	size_t window = DEFAULT_BUFFER;
	uint8_t *all = malloc_resident(3 * window);
	long asleep;

	ASSERT_EQ((ssize_t)window, send(self->fds[1], all, window, MSG_DONTWAIT));
	for (int i = 0; i < 2; i++) {
		self->callers[i] = (struct caller) {
			.fd = self->fds[1], .call = call_send, .data = all,
			.len = i ? 1000 : 2 * window,
		};
		ASSERT_TRUE(caller_start(&self->callers[i]));
	}
	ASSERT_TRUE(trace_callers(&self->tracing, self->callers, 2));
	asleep = voluntary_ctxt_switches(self->callers[1].tid);
	ASSERT_EQ(0, recv_all(self->fds[0], all + 2 * window, window));
	ASSERT_TRUE(wait_queued(self->fds[0], window));
	sleep_ms(SETTLE_MS);
	ASSERT_FALSE(caller_is_done(&self->callers[1]));
	EXPECT_EQ(asleep, voluntary_ctxt_switches(self->callers[1].tid));
	ASSERT_EQ(0, recv_all(self->fds[0], all + 2 * window, window));
	ASSERT_EQ(0, recv_all(self->fds[0], all + 2 * window, window));
	ASSERT_EQ(0, recv_all(self->fds[0], all + 2 * window, 1000));
	for (int i = 0; i < 2; i++)
		ASSERT_TRUE(caller_join(&self->callers[i]));
	EXPECT_EQ((ssize_t)(2 * window), self->callers[0].result);
	EXPECT_EQ(1000, self->callers[1].result);
	EXPECT_EQ(1, sleeps(&self->tracing, &self->callers[1]));
	tracing_close(&self->tracing);
	free(all);
}

static ssize_t call_epoll_wait(struct caller *caller)
{
	struct epoll_event event;

	return epoll_wait(caller->fd, &event, 1, PATIENCE_MS);
}

/* EPOLLEXCLUSIVE: an arrival wakes one of those who wait. */
TEST_F(pair, exclusive)
{
	struct epoll_event event = {
		.events = EPOLLIN | EPOLLET | EPOLLEXCLUSIVE,
	};
	int locks[WAITERS] = { 0 };

	for (int i = 0; i < WAITERS; i++) {
		self->callers[i] = (struct caller) {
			.fd = epoll_create1(0), .call = call_epoll_wait,
		};
		ASSERT_EQ(0, epoll_ctl(self->callers[i].fd, EPOLL_CTL_ADD,
				       self->fds[0], &event));
		ASSERT_TRUE(caller_start(&self->callers[i]));
	}
	for (int round = 1; round <= WAITERS; round++) {
		int done = 0;

		ASSERT_TRUE(trace_callers(&self->tracing, self->callers, WAITERS));
		ASSERT_EQ(0, send_all(self->fds[1], self->data, 1));
		sleep_ms(2 * SETTLE_MS);
		for (int i = 0; i < WAITERS; i++) {
			locks[i] += slept_for_locks(&self->tracing, &self->callers[i]);
			done += caller_is_done(&self->callers[i]);
		}
		EXPECT_EQ(1, woken(&self->tracing, 1));
		EXPECT_EQ(round, done);
	}
	for (int i = 0; i < WAITERS; i++) {
		ASSERT_TRUE(caller_join(&self->callers[i]));
		EXPECT_EQ(1, self->callers[i].result);
		EXPECT_EQ(1 + locks[i], self->callers[i].switches);
		close(self->callers[i].fd);
	}
}

/*
 * EPOLLET: each arrival at or above SO_RCVLOWAT is an edge, and none below; each
 * wakes the thread once.
 */
TEST_F(pair, edges)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };
	int epoll = epoll_create1(0);

	ASSERT_LE(0, epoll);
	ASSERT_EQ(0, set_int(self->fds[0], SOL_SOCKET, SO_RCVLOWAT, 300));
	ASSERT_EQ(0, epoll_ctl(epoll, EPOLL_CTL_ADD, self->fds[0], &event));
	for (int arrival = 1; arrival <= 5; arrival++) {
		self->callers[0] = (struct caller) {
			.fd = epoll, .call = call_epoll_wait,
		};
		ASSERT_TRUE(caller_start(&self->callers[0]));
		ASSERT_TRUE(trace_callers(&self->tracing, self->callers, 1));
		ASSERT_EQ(0, send_all(self->fds[1], self->data, 100));
		if (arrival < 3) {
			sleep_ms(SETTLE_MS);
			ASSERT_FALSE(caller_is_done(&self->callers[0]));
			/* Below the mark: it has to wait for more. */
			while (arrival < 3) {
				ASSERT_EQ(0, send_all(self->fds[1], self->data, 100));
				arrival++;
			}
		}
		ASSERT_TRUE(caller_join(&self->callers[0]));
		EXPECT_EQ(1, self->callers[0].result);
		EXPECT_EQ(1, sleeps(&self->tracing, &self->callers[0]));
		EXPECT_EQ(1, woken(&self->tracing, 1));
	}
	ASSERT_EQ(0, vsock_wakeups(self->fds[0], &self->wakeups));
	/* The third, the fourth and the fifth. */
	EXPECT_EQ(3, self->wakeups.polled);
	close(epoll);
}

FIXTURE(listener)
{
	struct rvsock_wakeups wakeups;
	struct tracing tracing;
	struct caller callers[WAITERS];
	unsigned int port;
	int fd;
};

FIXTURE_SETUP(listener)
{
	self->fd = vsock_listener(&self->port, 8);
	ASSERT_LE(0, self->fd);
	for (int i = 0; i < WAITERS; i++) {
		self->callers[i] = (struct caller) {
			.fd = self->fd, .call = call_accept,
		};
		ASSERT_TRUE(caller_start(&self->callers[i]));
		ASSERT_FALSE(caller_is_done(&self->callers[i]));
	}
	ASSERT_TRUE(trace_callers(&self->tracing, self->callers, WAITERS));
}

FIXTURE_TEARDOWN(listener)
{
	close(self->fd);
}

/* Each connection wakes one accept, in the order in which they came. */
TEST_F(listener, one_connection_each)
{
	int fds[WAITERS];

	for (int i = 0; i < WAITERS; i++) {
		fds[i] = vsock_stream(0);
		ASSERT_EQ(0, vsock_connect(fds[i], VMADDR_CID_LOCAL, self->port));
		ASSERT_TRUE(caller_join(&self->callers[i]));
		ASSERT_LE(0, self->callers[i].result);
		EXPECT_EQ(1, sleeps(&self->tracing, &self->callers[i]));
		for (int later = i + 1; later < WAITERS; later++)
			EXPECT_FALSE(caller_is_done(&self->callers[later]));
	}
	EXPECT_EQ(WAITERS, woken(&self->tracing, WAITERS));
	ASSERT_EQ(0, vsock_wakeups(self->fd, &self->wakeups));
	EXPECT_EQ(WAITERS, self->wakeups.receive[RVSOCK_WAKE_TARGET]);
	EXPECT_EQ(WAITERS, wakeups_sum(self->wakeups.receive));
	for (int i = 0; i < WAITERS; i++) {
		close(self->callers[i].result);
		close(fds[i]);
	}
}

/* The end of listening wakes all of them, once. */
TEST_F(listener, shut_down)
{
	ASSERT_EQ(0, shutdown(self->fd, SHUT_RD));
	for (int i = 0; i < WAITERS; i++) {
		ASSERT_TRUE(caller_join(&self->callers[i]));
		EXPECT_EQ(-1, self->callers[i].result);
		EXPECT_EQ(EINVAL, self->callers[i].error);
	}
	EXPECT_LE(WAITERS, woken(&self->tracing, WAITERS));
	ASSERT_EQ(0, vsock_wakeups(self->fd, &self->wakeups));
	EXPECT_EQ(WAITERS, self->wakeups.receive[RVSOCK_WAKE_SHUTDOWN]);
	EXPECT_EQ(WAITERS, wakeups_sum(self->wakeups.receive));
}

static ssize_t call_connect(struct caller *caller)
{
	return vsock_connect(caller->fd, CID_NOBODY, 1);
}

/*
 * Several threads in connect on one socket, whose peer does not answer: the first
 * gives up when its time is over, and that wakes the others.
 */
TEST(connects)
{
	struct rvsock_wakeups wakeups;
	struct caller callers[WAITERS];
	int fd = vsock_stream(0), told = 0;

	ASSERT_EQ(0, set_connect_timeout(fd, 3000));
	for (int i = 0; i < WAITERS; i++) {
		callers[i] = (struct caller) { .fd = fd, .call = call_connect };
		ASSERT_TRUE(caller_start(&callers[i]));
		ASSERT_FALSE(caller_is_done(&callers[i]));
		/* Those who join have time enough. */
		ASSERT_EQ(0, set_connect_timeout(fd, PATIENCE_MS));
	}
	for (int i = 0; i < WAITERS; i++) {
		ASSERT_TRUE(caller_join(&callers[i]));
		EXPECT_EQ(-1, callers[i].result);
		told += callers[i].error == ETIMEDOUT;
	}
	EXPECT_EQ(ETIMEDOUT, callers[0].error);
	EXPECT_EQ(1, callers[0].switches);
	EXPECT_LE(1, told);
	ASSERT_EQ(0, vsock_wakeups(fd, &wakeups));
	EXPECT_EQ(1, wakeups.connect[RVSOCK_WAKE_TIMEOUT]);
	EXPECT_EQ(WAITERS - 1, wakeups.connect[RVSOCK_WAKE_ERROR]);
	EXPECT_EQ(WAITERS, wakeups_sum(wakeups.connect));
	close(fd);
}

TEST_HARNESS_MAIN
