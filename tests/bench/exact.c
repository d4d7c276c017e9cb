// SPDX-License-Identifier: GPL-2.0
/*
 * How long the path of a call is, in instructions, where the machine's counter counts
 * those (make bench-exact). One process, in loops in which nothing sleeps; each call is
 * measured by itself, and the median leaves out those that an interrupt fell into.
 */
#include "bench.h"
#include "mark.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <x86intrin.h>

#define CALLS	1000
/* The largest that is sent. */
#define MOST	KIB(64)
/* Sends that are ahead of their reader; all of them fit into a buffer. */
#define BATCH	16

static uint64_t samples[CALLS];

static int by_size(const void *one, const void *other)
{
	uint64_t a = *(const uint64_t *)one, b = *(const uint64_t *)other;

	return (a > b) - (a < b);
}

static double median(void)
{
	qsort(samples, CALLS, sizeof(samples[0]), by_size);
	return samples[CALLS / 2];
}

/* A call: what is done for it before and after is not measured. */
struct call {
	int here, there;
	char *data;
	size_t size;
};

static bool do_send(struct call *call)
{
	return send(call->here, call->data, call->size, MSG_DONTWAIT) == (ssize_t)call->size;
}

static bool do_recv(struct call *call)
{
	return recv(call->there, call->data, call->size, MSG_WAITALL) == (ssize_t)call->size;
}

/* Sent, and there: in C vsock somebody else has to bring it. */
static bool do_bring(struct call *call)
{
	struct pollfd one = { .fd = call->there, .events = POLLIN };

	if (!do_send(call) || poll(&one, 1, -1) != 1)
		return false;
	while (recv(call->there, call->data, call->size, MSG_PEEK | MSG_DONTWAIT) <
	       (ssize_t)call->size)
		usleep(100);
	return true;
}

/* A sender that is ahead of its reader: so many are sent, and then all is read. */
static bool do_batch(struct call *call)
{
	for (int i = 0; i < BATCH; i++)
		if (!do_send(call))
			return false;
	for (size_t left = BATCH * call->size; left;) {
		ssize_t got = recv(call->there, call->data, MOST, 0);

		if (got <= 0)
			return false;
		left -= got;
	}
	return true;
}

/* There and back: both ends sleep for the other one's word. */
static bool do_round_trip(struct call *call)
{
	return send(call->here, call->data, call->size, 0) == (ssize_t)call->size &&
	       recv(call->here, call->data, call->size, MSG_WAITALL) == (ssize_t)call->size;
}

static void *run_answers(void *argument)
{
	struct call *call = argument;
	static char data[MOST];

	while (recv(call->there, data, call->size, MSG_WAITALL) == (ssize_t)call->size)
		if (send(call->there, data, call->size, 0) != (ssize_t)call->size)
			break;
	return NULL;
}

static bool do_poll(struct call *call)
{
	struct pollfd one = { .fd = call->there, .events = POLLIN };

	return poll(&one, 1, 0) == 1;
}

static bool do_poll_in_vain(struct call *call)
{
	struct pollfd one = { .fd = call->there, .events = POLLIN };

	return poll(&one, 1, 0) == 0;
}

static bool do_nothing(struct call *call)
{
	(void)call;
	return true;
}

static void time_calls(const struct family *family, struct call *call, const char *name,
		       const char *type, bool (*before)(struct call *),
		       bool (*measured)(struct call *), bool (*after)(struct call *))
{
	for (int i = 0; i < CALLS; i++) {
		uint64_t begin;
		bool good;

		if (!before(call))
			die(family, name);
		mark_begin();
		begin = __rdtsc();
		good = measured(call);
		samples[i] = __rdtsc() - begin;
		mark_end();
		if (!good || !after(call))
			die(family, name);
	}
	counted(CALLS);
	figure(family, median(), "exact/%s/%s/%zu", name, type, call->size);
}

static void time_round_trips(const struct family *family, struct call *call, const char *type)
{
	pthread_t answers;

	if (pthread_create(&answers, NULL, run_answers, call))
		die(family, "pthread_create");
	time_calls(family, call, "round_trip", type, do_nothing, do_round_trip, do_nothing);
	pthread_cancel(answers);
	pthread_join(answers, NULL);
}

static void time_connections(const struct family *family, int type, const char *name)
{
	struct place place;
	int listening = listener(family, type, 8, &place);

	if (listening < 0)
		die(family, "a listener");
	for (int i = 0; i < CALLS; i++) {
		uint64_t begin;
		int here, there;

		mark_begin();
		begin = __rdtsc();
		here = connected(family, type, &place);
		there = accept(listening, NULL, NULL);
		if (here < 0 || there < 0)
			die(family, "a connection");
		close(here);
		close(there);
		samples[i] = __rdtsc() - begin;
		mark_end();
	}
	close(listening);
	counted(CALLS);
	figure(family, median(), "exact/connection/%s", name);
}

/*
 * Who brings what was sent, in a thread of its own, runs while this one sleeps, and never in
 * the middle of a call that is measured.
 */
static bool let_nobody_in(void)
{
	const struct sched_param first = { .sched_priority = 1 };

	return !sched_setscheduler(0, SCHED_FIFO, &first);
}

static const struct {
	int type;
	size_t size;
} paths[] = {
	{ SOCK_STREAM, 1 }, { SOCK_STREAM, 64 }, { SOCK_STREAM, KIB(4) }, { SOCK_STREAM, MOST },
	{ SOCK_SEQPACKET, 64 }, { SOCK_SEQPACKET, KIB(4) }, { SOCK_SEQPACKET, MOST },
};

static void measure_paths(const struct family *family, size_t parameter)
{
	int type = paths[parameter].type;
	const char *name = type == SOCK_STREAM ? "stream" : "seqpacket";
	static char data[MOST];
	struct call call = { .data = data, .size = paths[parameter].size };
	int fds[2];

	if (!family_has(family, type))
		return;
	if (!let_nobody_in())
		die(family, "the scheduler");
	if (pair(family, type, 0, fds))
		die(family, "a connection");
	call.here = fds[0];
	call.there = fds[1];
	time_calls(family, &call, "send", name, do_nothing, do_send, do_recv);
	time_calls(family, &call, "recv", name, do_bring, do_recv, do_nothing);
	if (call.size <= KIB(4))
		time_calls(family, &call, "batch", name, do_nothing, do_batch, do_nothing);
	if (call.size == 1)
		time_round_trips(family, &call, name);
	if (call.size != 64)
		return;
	time_calls(family, &call, "poll_in_vain", name, do_nothing, do_poll_in_vain, do_nothing);
	if (!do_bring(&call))
		die(family, "send");
	time_calls(family, &call, "poll", name, do_nothing, do_poll, do_nothing);
	time_connections(family, type, name);
}

const struct bench exact = { "exact", sizeof(paths) / sizeof(paths[0]), measure_paths };
