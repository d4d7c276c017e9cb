// SPDX-License-Identifier: GPL-2.0
/* What a connection costs, while many others are open and while it does nothing. */
#define _GNU_SOURCE
#include "bench.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* Of one listener: TCP has no more ports for one destination. */
#define OF_ONE_LISTENER	20000
/* Connections that do nothing, for what their memory is. */
#define IDLE		1000
/* How often a connection is made, used for nothing and closed. */
#define SAMPLES		1500

/* How often all that is measured. */
#define TIMES		3

static int open_pairs(const struct family *family, int number)
{
	struct rlimit limit = { 2 * number + 64, 2 * number + 64 };
	int listening = -1;
	struct place place;

	if (setrlimit(RLIMIT_NOFILE, &limit))
		return -1;
	for (int i = 0; i < number; i++) {
		if (i % OF_ONE_LISTENER == 0)
			listening = listener(family, SOCK_STREAM, 8, &place);
		if (listening < 0 || connected(family, SOCK_STREAM, &place) < 0 ||
		    accept(listening, NULL, NULL) < 0)
			return -1;
	}
	return 0;
}

/* A process that holds so many until it is ended; this one's table of files stays small. */
static pid_t hold(const struct family *family, int number)
{
	int done[2];
	char byte;
	pid_t pid;

	if (pipe(done))
		die(family, "pipe");
	pid = fork();
	if (!pid) {
		close(done[0]);
		if (open_pairs(family, number))
			die(family, "many connections");
		if (write(done[1], "", 1) == 1)
			pause();
		_exit(1);
	}
	close(done[1]);
	if (pid < 0 || read(done[0], &byte, 1) != 1)
		die(family, "a process that holds connections");
	close(done[0]);
	return pid;
}

static void let_go(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* Nanoseconds for each of SAMPLES connections: made, accepted, closed at both ends. */
static double cost(const struct family *family)
{
	static const struct linger reset = { .l_onoff = 1 };
	struct place place;
	int listening = listener(family, SOCK_STREAM, 8, &place);
	int64_t begin = 0;

	if (listening < 0)
		die(family, "a listener");
	for (int i = -SAMPLES / 10; i < SAMPLES; i++) {
		int here, there;

		if (!i)
			begin = now();
		here = connected(family, SOCK_STREAM, &place);
		there = accept(listening, NULL, NULL);
		if (here < 0 || there < 0)
			die(family, "a connection");
		/* Else each would keep its port for a minute. */
		if (family->kind == TCP)
			setsockopt(here, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		close(here);
		close(there);
	}
	close(listening);
	return (double)(now() - begin) / SAMPLES;
}

static const int others[] = { 0, 1000, 50000 };

static void measure_connections(const struct family *family, size_t parameter)
{
	pid_t holder = others[parameter] ? hold(family, others[parameter]) : 0;

	for (int i = 0; i < TIMES; i++)
		figure(family, 1e9 / cost(family), "connections/%d", others[parameter]);
	if (holder)
		let_go(holder);
}

const struct bench connections = {
	"connections", sizeof(others) / sizeof(others[0]), measure_connections,
};

static long more(struct memory before)
{
	struct memory after = measure_memory();
	long slab = after.slab - before.slab, used = after.used - before.used;

	return used > slab ? used : slab;
}

/* Memory of a socket of a connection that does nothing. */
static void measure_idle(const struct family *family)
{
	struct memory before;
	pid_t holder;

	/* Once before, so that what is made once does not count. */
	let_go(hold(family, IDLE));
	before = measure_memory();
	holder = hold(family, IDLE);
	figure(family, (double)more(before) / (2 * IDLE), "memory/idle");
	let_go(holder);
}

/*
 * Memory of each byte that waits to be received, when it was sent in pieces of @size:
 * as much as a family takes, up to the window of a vsock. TCP takes some MiB, which in
 * pieces of a byte would be minutes of sending.
 */
static void measure_queued(const struct family *family, size_t size)
{
	enum { PAIRS = 8, MOST = KIB(256) };
	char *data = calloc(1, size);
	struct memory before;
	size_t bytes = 0;
	int fds[PAIRS][2];

	for (int i = 0; i < PAIRS; i++)
		if (!data || pair(family, SOCK_STREAM, 0, fds[i]))
			die(family, "a connection");
	before = measure_memory();
	for (int i = 0; i < PAIRS; i++) {
		size_t queued = 0;
		ssize_t sent = 0;

		while (queued < MOST && (sent = send(fds[i][0], data, size, MSG_DONTWAIT)) > 0)
			queued += sent;
		if (sent < 0 && errno != EAGAIN)
			die(family, "send");
		bytes += queued;
	}
	figure(family, (double)more(before) / bytes, "memory/queued/%zu", size);
}

static const size_t pieces[] = { 1, 64, KIB(4) };

static void measure_kept(const struct family *family, size_t parameter)
{
	if (parameter)
		measure_queued(family, pieces[parameter - 1]);
	else
		measure_idle(family);
}

const struct bench memory = {
	"memory", 1 + sizeof(pieces) / sizeof(pieces[0]), measure_kept,
};
