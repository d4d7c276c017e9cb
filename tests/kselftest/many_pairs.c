// SPDX-License-Identifier: GPL-2.0
/*
 * What a connection costs while many others are open. A process of its own holds
 * those, so that the table of files of this one stays small.
 */
#include "vsock_harness.h"

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

/* Open pairs, at the least and at the most. */
#define FEW	100
#define MOST	50000
/* How often the cost is measured at each number of pairs. */
#define SAMPLES	3000
/* The cost with the most pairs open may be so many hundredths of that with few. */
#define LIMIT	150

/*
 * What it costs, the median of SAMPLES in ns; and the same over AF_UNIX, measured in
 * turn with it, by which it is judged: a machine that is busy with other things
 * is slower for both.
 */
struct cost {
	long here, local;
};

static long now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000L + now.tv_nsec;
}

/* Kilobytes of memory that could be had. */
static long memory_available(void)
{
	return number_in("/proc/meminfo", "MemAvailable:");
}

/* One connection with both ends: to a listener that is there already. */
static int pair_at(int listener, unsigned int port, int fds[2])
{
	fds[0] = vsock_stream(0);
	if (fds[0] < 0)
		return -1;
	if (vsock_connect(fds[0], VMADDR_CID_LOCAL, port)) {
		close(fds[0]);
		return -1;
	}
	fds[1] = accept(listener, NULL, NULL);
	return fds[1] < 0 ? -1 : 0;
}

/* A process that holds pairs: it opens as many as it is told, and says so. */
struct holder {
	pid_t pid;
	int ask, answer;
	int pairs;
};

static void hold(int ask, int answer)
{
	struct rlimit limit = { 2 * MOST + 64, 2 * MOST + 64 };
	int wanted, open = 0, fds[2], listener;
	unsigned int port;

	setrlimit(RLIMIT_NOFILE, &limit);
	listener = vsock_listener(&port, 8);
	while (listener >= 0 && read(ask, &wanted, sizeof(wanted)) == sizeof(wanted)) {
		while (open < wanted && !pair_at(listener, port, fds))
			open++;
		if (open < wanted)
			fprintf(stderr, "# pair %d: %s\n", open, strerror(errno));
		if (write(answer, &open, sizeof(open)) != sizeof(open))
			break;
	}
	_exit(0);
}

static int holder_start(struct holder *holder)
{
	int ask[2], answer[2];

	if (pipe(ask) || pipe(answer))
		return -1;
	holder->pairs = 0;
	holder->pid = fork();
	if (!holder->pid) {
		close(ask[1]);
		close(answer[0]);
		hold(ask[0], answer[1]);
	}
	close(ask[0]);
	close(answer[1]);
	holder->ask = ask[1];
	holder->answer = answer[0];
	return holder->pid < 0 ? -1 : 0;
}

/* Makes it hold so many; returns how many it holds. */
static int holder_open(struct holder *holder, int pairs)
{
	if (write(holder->ask, &pairs, sizeof(pairs)) != sizeof(pairs) ||
	    read(holder->answer, &holder->pairs, sizeof(holder->pairs)) !=
	    sizeof(holder->pairs))
		return -1;
	return holder->pairs;
}

/* Ends it without warning; returns how long the kernel took to close all, in ms. */
static long holder_end(struct holder *holder)
{
	long began = now_ms();

	if (holder->pid <= 0)
		return -1;
	kill(holder->pid, SIGKILL);
	waitpid(holder->pid, NULL, 0);
	holder->pid = 0;
	close(holder->ask);
	close(holder->answer);
	return now_ms() - began;
}

static int by_size(const void *one, const void *other)
{
	long a = *(const long *)one, b = *(const long *)other;

	return (a > b) - (a < b);
}

static long median(long samples[SAMPLES])
{
	qsort(samples, SAMPLES, sizeof(*samples), by_size);
	return samples[SAMPLES / 2];
}

/* An abstract name, so that no file has to be looked up. */
static const struct sockaddr_un unix_address = {
	.sun_family = AF_UNIX,
	.sun_path = "\0many_pairs",
};

static int unix_listener(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	if (bind(fd, (const struct sockaddr *)&unix_address, sizeof(unix_address)) ||
	    listen(fd, 8)) {
		close(fd);
		return -1;
	}
	return fd;
}

static int unix_pair_at(int listener, int fds[2])
{
	fds[0] = socket(AF_UNIX, SOCK_STREAM, 0);
	if (connect(fds[0], (const struct sockaddr *)&unix_address, sizeof(unix_address))) {
		close(fds[0]);
		return -1;
	}
	fds[1] = accept(listener, NULL, NULL);
	return fds[1] < 0 ? -1 : 0;
}

/* What connect, accept and close of both ends cost now; zeros if that fails. */
static struct cost measure(int listener, unsigned int port, int unix_listener)
{
	static long here[SAMPLES], local[SAMPLES];
	int number, fds[2];
	long began;

	for (number = 0; number < SAMPLES; number++) {
		began = now_ns();
		if (pair_at(listener, port, fds))
			return (struct cost) {};
		close(fds[0]);
		close(fds[1]);
		here[number] = now_ns() - began;
		began = now_ns();
		if (unix_pair_at(unix_listener, fds))
			return (struct cost) {};
		close(fds[0]);
		close(fds[1]);
		local[number] = now_ns() - began;
	}
	return (struct cost) { median(here), median(local) };
}

/* In hundredths of what it costs over AF_UNIX. */
static long relative(struct cost cost)
{
	return cost.here * 100 / cost.local;
}

FIXTURE(many_pairs)
{
	struct holder holder;
	int listener, unix_listener;
	unsigned int port;
};

FIXTURE_SETUP(many_pairs)
{
	if (vsock_patience() > 1)
		SKIP(return, "what it costs on a kernel that looks for faults says nothing");
	self->listener = vsock_listener(&self->port, 8);
	ASSERT_LE(0, self->listener);
	self->unix_listener = unix_listener();
	ASSERT_LE(0, self->unix_listener);
	ASSERT_EQ(0, holder_start(&self->holder));
}

FIXTURE_TEARDOWN(many_pairs)
{
	holder_end(&self->holder);
	close(self->unix_listener);
	close(self->listener);
}

/*
 * The cost does not grow with the number of pairs that are open. It is measured
 * with few of them before and after. When the process that holds them ends without
 * closing them, they are closed about as fast as they were made.
 */
TEST_F_TIMEOUT(many_pairs, cost, 240)
{
	static const int steps[] = { FEW, 1000, 10000, MOST, FEW };
	long memory = memory_available(), opening = 0, closing = 0, began, few;
	struct cost costs[5];
	unsigned int step;

	printf("# open pairs  connect, accept, close of both ends: median  over AF_UNIX\n");
	for (step = 0; step < 5; step++) {
		int pairs = steps[step];

		if (step == 4) {
			printf("# memory of a pair with its files: %ld bytes\n",
			       (memory - memory_available()) * 1024 / MOST);
			closing = holder_end(&self->holder);
			ASSERT_EQ(0, holder_start(&self->holder));
		}
		began = now_ms();
		ASSERT_EQ(pairs, holder_open(&self->holder, pairs));
		if (step < 4)
			opening += now_ms() - began;
		/* The first time sets up what is set up once. */
		if (!step)
			measure(self->listener, self->port, self->unix_listener);
		costs[step] = measure(self->listener, self->port, self->unix_listener);
		ASSERT_LT(0, costs[step].local);
		printf("# %10d  %47ld ns  %8ld ns\n", pairs, costs[step].here,
		       costs[step].local);
	}
	printf("# opening all took %ld ms, closing them when their process ended %ld ms\n",
	       opening, closing);
	few = relative(costs[0]) > relative(costs[4]) ? relative(costs[0]) : relative(costs[4]);
	printf("# with %d open it costs %ld %% of what it costs with %d\n", MOST,
	       relative(costs[3]) * 100 / few, FEW);
	fflush(stdout);
	EXPECT_GE(LIMIT, relative(costs[3]) * 100 / few);
	/* That is one step for each, too. */
	EXPECT_GE(3 * opening, closing);
}

TEST_HARNESS_MAIN
