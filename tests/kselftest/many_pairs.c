// SPDX-License-Identifier: GPL-2.0
/*
 * What a connection costs while many others are open. A process of its own holds
 * those, so that the table of files of this one stays small. On a slow kernel they
 * are a tenth as many.
 */
#include "vsock_harness.h"

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

/* Open pairs, at the least and at the most. */
#define FEW	100
#define MOST	50000
/* How often the cost is measured at each number of pairs. */
#define SAMPLES	3000
/* The cost with the most pairs open may be so many hundredths of that with few. */
#define LIMIT	150

static long now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000L + now.tv_nsec;
}

/* Kilobytes of memory that could be had. */
static long memory_available(void)
{
	FILE *file = fopen("/proc/meminfo", "r");
	char line[128];
	long value = -1;

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "MemAvailable: %ld", &value) == 1)
			break;
	if (file)
		fclose(file);
	return value;
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

/* The median of what connect, accept and close of both ends take, in ns. */
static long cost(int listener, unsigned int port)
{
	static long samples[SAMPLES];
	int number, fds[2];
	long began;

	for (number = 0; number < SAMPLES; number++) {
		began = now_ns();
		if (pair_at(listener, port, fds))
			return -1;
		close(fds[0]);
		close(fds[1]);
		samples[number] = now_ns() - began;
	}
	qsort(samples, SAMPLES, sizeof(*samples), by_size);
	return samples[SAMPLES / 2];
}

FIXTURE(many_pairs)
{
	struct holder holder;
	int listener, most;
	unsigned int port;
};

FIXTURE_SETUP(many_pairs)
{
	self->most = vsock_patience() > 1 ? MOST / 10 : MOST;
	self->listener = vsock_listener(&self->port, 8);
	ASSERT_LE(0, self->listener);
	ASSERT_EQ(0, holder_start(&self->holder));
}

FIXTURE_TEARDOWN(many_pairs)
{
	holder_end(&self->holder);
	close(self->listener);
}

/*
 * The cost does not grow with the number of pairs that are open. It is measured
 * with few of them before and after, so that a machine that has become slower in
 * between does not count.
 */
TEST_F_TIMEOUT(many_pairs, cost, 240)
{
	static const int steps[] = { FEW, 1000, 10000, MOST };
	long costs[5], memory, opening = 0, few;
	unsigned int step;

	/* Whatever is to be set up once is by then. */
	ASSERT_LT(0, cost(self->listener, self->port));
	memory = memory_available();
	printf("# open pairs   connect, accept, close of both, median\n");
	for (step = 0; step < 4; step++) {
		int pairs = steps[step] < self->most ? steps[step] : self->most;

		opening = now_ms();
		ASSERT_EQ(pairs, holder_open(&self->holder, pairs));
		opening = now_ms() - opening;
		costs[step] = cost(self->listener, self->port);
		ASSERT_LT(0, costs[step]);
		printf("# %10d %10ld ns\n", pairs, costs[step]);
	}
	printf("# memory of a pair with its files: %ld bytes\n",
	       (memory - memory_available()) * 1024 / self->most);
	printf("# opening the last of them took %ld ms", opening);
	printf(", closing all at the exit of their process %ld ms\n", holder_end(&self->holder));
	ASSERT_EQ(0, holder_start(&self->holder));
	ASSERT_EQ(FEW, holder_open(&self->holder, FEW));
	costs[4] = cost(self->listener, self->port);
	ASSERT_LT(0, costs[4]);
	printf("# %10d %10ld ns\n", FEW, costs[4]);
	few = costs[0] > costs[4] ? costs[0] : costs[4];
	printf("# with %d open it costs %ld %% of what it costs with %d\n", self->most,
	       costs[3] * 100 / few, FEW);
	fflush(stdout);
	EXPECT_GE(LIMIT, costs[3] * 100 / few);
}

/* Closing them all at once takes no longer than three times what making them took. */
TEST_F_TIMEOUT(many_pairs, exit, 240)
{
	long opening = now_ms(), closing;

	ASSERT_EQ(self->most, holder_open(&self->holder, self->most));
	opening = now_ms() - opening;
	closing = holder_end(&self->holder);
	EXPECT_GE(3 * opening, closing)
		TH_LOG("made in %ld ms, closed in %ld ms", opening, closing);
}

TEST_HARNESS_MAIN
