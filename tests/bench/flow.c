// SPDX-License-Identifier: GPL-2.0
/* Bytes in one direction: how many a second, and what each mebibyte takes. */
#define _GNU_SOURCE
#include "bench.h"
#include "events.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/resource.h>

/* The most connections at once. */
#define MOST	64

/* Of a stream so much is asked for at a time. */
#define READ_BYTES	KIB(64)

/* One connection, on which @count messages of @size bytes go from one thread to another. */
struct flow {
	const struct family *family;
	int type;
	size_t size, count;
	int fds[2];
	pthread_t sender, receiver;
	pthread_barrier_t *start;
	/* Times that the threads went to sleep. */
	long slept[2];
	/* When the last byte had come. */
	int64_t end;
};

static void *buffer(const struct family *family, size_t len)
{
	void *data = malloc(len);

	if (!data)
		die(family, "malloc");
	/* No page fault is to fall into what is measured. */
	return memset(data, 1, len);
}

static long times_slept(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_nvcsw;
}

static void *run_sender(void *argument)
{
	struct flow *flow = argument;
	void *data = buffer(flow->family, flow->size);
	long before;

	pthread_barrier_wait(flow->start);
	before = times_slept();
	for (size_t i = 0; i < flow->count; i++)
		if (send_all(flow->fds[0], data, flow->size))
			die(flow->family, "send");
	flow->slept[0] = times_slept() - before;
	free(data);
	return NULL;
}

static void *run_receiver(void *argument)
{
	struct flow *flow = argument;
	size_t len = flow->type == SOCK_STREAM ? READ_BYTES : flow->size;
	void *data = buffer(flow->family, len);
	size_t left = flow->count * flow->size;
	long before;

	pthread_barrier_wait(flow->start);
	before = times_slept();
	while (left) {
		ssize_t got = recv(flow->fds[1], data, len, 0);

		if (got <= 0)
			die(flow->family, "recv");
		left -= got;
	}
	flow->end = now();
	flow->slept[1] = times_slept() - before;
	free(data);
	return NULL;
}

/* Runs so many alike at once. Returns how long it took; @flows have the rest. */
static int64_t run(struct flow *flows, size_t number, const struct flow *like, size_t room)
{
	pthread_barrier_t start;
	int64_t begin, end = 0;

	pthread_barrier_init(&start, NULL, 2 * number + 1);
	for (size_t i = 0; i < number; i++) {
		struct flow *flow = &flows[i];

		*flow = *like;
		flow->start = &start;
		if (pair(like->family, like->type, room, flow->fds))
			die(like->family, "a connection");
		if (pthread_create(&flow->sender, NULL, run_sender, flow) ||
		    pthread_create(&flow->receiver, NULL, run_receiver, flow))
			die(like->family, "pthread_create");
	}
	pthread_barrier_wait(&start);
	begin = now();
	for (size_t i = 0; i < number; i++) {
		struct flow *flow = &flows[i];

		pthread_join(flow->sender, NULL);
		pthread_join(flow->receiver, NULL);
		close(flow->fds[0]);
		close(flow->fds[1]);
		end = flow->end > end ? flow->end : end;
	}
	pthread_barrier_destroy(&start);
	return end - begin;
}

static const struct {
	int type;
	size_t size, count;
} loads[] = {
	{ SOCK_STREAM, 64, 16000 },
	{ SOCK_STREAM, KIB(1), 16000 },
	{ SOCK_STREAM, KIB(4), 12000 },
	{ SOCK_STREAM, KIB(64), 1200 },
	{ SOCK_STREAM, KIB(512), 160 },
	{ SOCK_SEQPACKET, 64, 16000 },
	{ SOCK_SEQPACKET, KIB(1), 16000 },
	{ SOCK_SEQPACKET, KIB(4), 12000 },
	{ SOCK_SEQPACKET, KIB(64), 1200 },
	{ SOCK_SEQPACKET, KIB(512), 160 },
};

static void measure_throughput(const struct family *family, size_t parameter)
{
	struct flow flow, like = {
		.family = family, .type = loads[parameter].type,
		.size = loads[parameter].size, .count = loads[parameter].count,
	};
	const char *type = like.type == SOCK_STREAM ? "stream" : "seqpacket";
	/* A message has to fit whole. */
	size_t room = like.type == SOCK_SEQPACKET && like.size > KIB(64) ? MIB(1) : 0;
	double mebibytes = (double)like.size * like.count / MIB(1);
	struct events events;

	if (!family_has(family, like.type))
		return;
	figure(family, mebibytes * 1e9 / run(&flow, 1, &like, room), "throughput/%s/%zu", type,
	       like.size);
	/* Counting costs time, so it has a run of its own. */
	events_begin(&events);
	run(&flow, 1, &like, room);
	events_end(&events);
	figure(family, (flow.slept[0] + flow.slept[1]) / mebibytes, "switches/%s/%zu", type,
	       like.size);
	for (int event = 0; event < THREAD_EVENTS; event++)
		if (events.counts[event] >= 0)
			figure(family, events.counts[event] / mebibytes, "%s/%s/%zu",
			       event_name(event), type, like.size);
}

const struct bench throughput = {
	"throughput", sizeof(loads) / sizeof(loads[0]), measure_throughput,
};

static const size_t numbers[] = { 1, 2, 8, MOST };

/* Mebibytes a second of so many streams together, each with @count sends of @size bytes. */
static double streams(const struct family *family, size_t number, size_t size, size_t count)
{
	struct flow flows[MOST], like = {
		.family = family, .type = SOCK_STREAM, .size = size, .count = count,
	};
	int64_t took = run(flows, number, &like, 0);

	return (double)size * count * number / MIB(1) * 1e9 / took;
}

static void measure_parallel(const struct family *family, size_t parameter)
{
	const size_t number = numbers[parameter];

	figure(family, streams(family, number, KIB(4), 8192 / number), "parallel/%zu", number);
}

const struct bench parallel = {
	"parallel", sizeof(numbers) / sizeof(numbers[0]), measure_parallel,
};

/*
 * One reader that wants 200 KiB at a time, of a sender that sends 4 KiB without a
 * pause: how often it sleeps for each.
 */
static void measure_wait_all(const struct family *family, size_t parameter)
{
	enum { WANTED = 200 * 1024, TIMES = 40 };
	struct flow flow = {
		.family = family, .type = SOCK_STREAM, .size = KIB(4),
		.count = (size_t)WANTED * TIMES / KIB(4),
	};
	pthread_barrier_t start;
	void *data = buffer(family, WANTED);
	long before;

	(void)parameter;
	/* C vsock has no more than that in a buffer of its default size. */
	if (pair(family, SOCK_STREAM, 0, flow.fds))
		die(family, "a connection");
	pthread_barrier_init(&start, NULL, 2);
	flow.start = &start;
	if (pthread_create(&flow.sender, NULL, run_sender, &flow))
		die(family, "pthread_create");
	pthread_barrier_wait(&start);
	before = times_slept();
	for (int i = 0; i < TIMES; i++)
		if (recv(flow.fds[1], data, WANTED, MSG_WAITALL) != WANTED)
			die(family, "recv");
	figure(family, (double)(times_slept() - before) / TIMES, "waitall/switches");
	pthread_join(flow.sender, NULL);
	pthread_barrier_destroy(&start);
	close(flow.fds[0]);
	close(flow.fds[1]);
	free(data);
}

const struct bench wait_all = { "waitall", 1, measure_wait_all };

static void *run_answers(void *argument)
{
	struct flow *flow = argument;
	char *data = buffer(flow->family, flow->size);

	while (recv(flow->fds[1], data, flow->size, MSG_WAITALL) == (ssize_t)flow->size)
		if (send_all(flow->fds[1], data, flow->size))
			break;
	free(data);
	return NULL;
}

static const size_t lengths[] = { 1, KIB(4) };

/* Microseconds until @size bytes are answered by as many. */
static double answer_time(const struct family *family, size_t size)
{
	enum { TIMES = 4000 };
	struct flow flow = { .family = family, .size = size };
	void *data = buffer(family, flow.size);
	int64_t begin = 0;
	double took;

	if (pair(family, SOCK_STREAM, 0, flow.fds) ||
	    pthread_create(&flow.receiver, NULL, run_answers, &flow))
		die(family, "a connection");
	/* The first ones are not like the others. */
	for (int i = -TIMES / 10; i < TIMES; i++) {
		if (!i)
			begin = now();
		if (send_all(flow.fds[0], data, flow.size) ||
		    recv(flow.fds[0], data, flow.size, MSG_WAITALL) != (ssize_t)flow.size)
			die(family, "an answer");
	}
	took = (double)(now() - begin) / TIMES / 1000;
	shutdown(flow.fds[0], SHUT_RDWR);
	pthread_join(flow.receiver, NULL);
	close(flow.fds[0]);
	close(flow.fds[1]);
	free(data);
	return took;
}

static void measure_round_trip(const struct family *family, size_t parameter)
{
	figure(family, answer_time(family, lengths[parameter]), "roundtrip/%zu",
	       lengths[parameter]);
}

const struct bench round_trip = {
	"roundtrip", sizeof(lengths) / sizeof(lengths[0]), measure_round_trip,
};

/* What depends on how many processors the guest has, by that number. */
static void measure_scaling(const struct family *family, size_t parameter)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);

	switch (parameter) {
	case 0:
		figure(family, streams(family, 1, KIB(4), 12000), "cpus_throughput/4096/%ld",
		       processors);
		break;
	case 1:
		figure(family, streams(family, 1, KIB(64), 1200), "cpus_throughput/65536/%ld",
		       processors);
		break;
	case 2:
		figure(family, answer_time(family, 1), "cpus_roundtrip/1/%ld", processors);
		break;
	default:
		figure(family, streams(family, 8, KIB(4), 1024), "cpus_parallel/8/%ld",
		       processors);
	}
}

const struct bench scaling = { "scaling", 4, measure_scaling };

void copies(void)
{
	static const size_t sizes[] = { 64, KIB(1), KIB(4), KIB(64), KIB(512) };

	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		size_t count = MIB(64) / sizes[s];
		char *from = buffer(NULL, sizes[s]), *between = buffer(NULL, sizes[s]);
		char *to = buffer(NULL, sizes[s]);
		int64_t begin;

		if (count > 200000)
			count = 200000;
		begin = now();
		for (size_t i = 0; i < count; i++) {
			memcpy(between, from, sizes[s]);
			/* Each is made, whatever the compiler thinks of it. */
			__asm__ volatile("" : : "r"(between) : "memory");
			memcpy(to, between, sizes[s]);
			__asm__ volatile("" : : "r"(to) : "memory");
		}
		figure(NULL, (double)sizes[s] * count / MIB(1) * 1e9 / (now() - begin),
		       "copies/%zu", sizes[s]);
		free(from);
		free(between);
		free(to);
	}
}
