// SPDX-License-Identifier: GPL-2.0
/*
 * When does recv wake? A sender sends small packets, with a pause after each or without; a
 * reader wants many of them at a time, and says so in one of three ways. Each call of the
 * reader's is a line
 *
 *   ~ POLICY PACE FAMILY got slept delay worked
 *
 * got: bytes; slept: how often the thread slept in the call; delay: nanoseconds from the
 * beginning of the send that met the target of the call to the return of the call; worked:
 * nanoseconds that the thread had a processor in the call.
 */
#define _GNU_SOURCE
#include "bench.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/resource.h>

#define PACKET	KIB(4)
/* What the reader wants at a time: 50 packets. */
#define WANTED	(50 * PACKET)
#define TIMES	30
#define PACKETS	(TIMES * WANTED / PACKET)
/* A packet may come in parts. */
#define MOST_CALLS	(4 * PACKETS)
/* Between two packets, in microseconds: long enough for a reader to sleep again. */
#define PAUSE	1000

static const struct way {
	const char *policy, *pace;
	/* The least that a call waits for. */
	size_t target;
	int flags;
	unsigned int pause;
} ways[] = {
	{ "default", "paced", 1, 0, PAUSE },
	{ "rcvlowat", "paced", WANTED, 0, PAUSE },
	{ "waitall", "paced", WANTED, MSG_WAITALL, PAUSE },
	{ "default", "unpaced", 1, 0, 0 },
	{ "rcvlowat", "unpaced", WANTED, 0, 0 },
	{ "waitall", "unpaced", WANTED, MSG_WAITALL, 0 },
};

struct call {
	size_t got;
	long slept;
	int64_t delay, worked;
};

/* One connection. What is noted is told at the end, since telling takes long. */
static struct experiment {
	const struct family *family;
	const struct way *way;
	int fds[2];
	/* When each send began. */
	int64_t sent_at[PACKETS];
	struct call calls[MOST_CALLS];
	size_t number;
} experiment;

static void *run_sender(void *unused)
{
	const struct timespec pause = { .tv_nsec = 1000L * experiment.way->pause };
	static char data[PACKET];

	for (size_t i = 0; i < PACKETS; i++) {
		experiment.sent_at[i] = now();
		if (send_all(experiment.fds[0], data, PACKET))
			die(experiment.family, "send");
		if (experiment.way->pause)
			nanosleep(&pause, NULL);
	}
	/* Nobody waits for more. */
	shutdown(experiment.fds[0], SHUT_WR);
	return unused;
}

static long times_slept(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_nvcsw;
}

static int64_t time_worked(void)
{
	struct timespec time;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

/*
 * One call, @before bytes into the stream. A call that came back with less than its target
 * is taken to have waited for what it got.
 */
static size_t make_call(char *data, size_t before)
{
	const struct way *way = experiment.way;
	struct call *call = &experiment.calls[experiment.number++];
	long slept = times_slept();
	int64_t worked = time_worked();
	ssize_t got = recv(experiment.fds[1], data, WANTED, way->flags);
	int64_t returned = now();
	size_t met;

	if (got <= 0)
		die(experiment.family, "recv");
	call->got = got;
	call->worked = time_worked() - worked;
	call->slept = times_slept() - slept;
	met = before + (call->got < way->target ? call->got : way->target);
	call->delay = returned - experiment.sent_at[(met - 1) / PACKET];
	return got;
}

static void prepare(const struct family *family, const struct way *way)
{
	experiment.family = family;
	experiment.way = way;
	if (pair(family, SOCK_STREAM, 0, experiment.fds))
		die(family, "a connection");
	if (way->target > 1 && !way->flags &&
	    set_int(experiment.fds[1], SOL_SOCKET, SO_RCVLOWAT, way->target))
		die(family, "SO_RCVLOWAT");
	/* A call that would never return ends the experiment. */
	if (set_timeout(experiment.fds[1], SO_RCVTIMEO, PATIENCE_MS / 4))
		die(family, "SO_RCVTIMEO");
}

static void tell(void)
{
	for (size_t i = 0; i < experiment.number; i++) {
		const struct call *call = &experiment.calls[i];

		printf("~ %s %s %s %zu %ld %lld %lld\n", experiment.way->policy,
		       experiment.way->pace, experiment.family->name, call->got, call->slept,
		       (long long)call->delay, (long long)call->worked);
	}
	fflush(stdout);
}

static void measure_wake(const struct family *family, size_t parameter)
{
	size_t received = 0;
	char *data = malloc(WANTED);
	pthread_t sender;

	if (!data)
		die(family, "malloc");
	/* No page fault is to fall into what is measured. */
	memset(data, 1, WANTED);
	memset(experiment.calls, 0, sizeof(experiment.calls));
	prepare(family, &ways[parameter]);
	if (pthread_create(&sender, NULL, run_sender, NULL))
		die(family, "pthread_create");
	while (received < PACKETS * PACKET && experiment.number < MOST_CALLS)
		received += make_call(data, received);
	if (received < PACKETS * PACKET)
		die(family, "more calls than can be noted");
	pthread_join(sender, NULL);
	tell();
	free(data);
}

const struct bench wake = { "wake", sizeof(ways) / sizeof(ways[0]), measure_wake };
