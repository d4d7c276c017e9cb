// SPDX-License-Identifier: GPL-2.0
/*
 * Measures families of sockets beside each other, over loopback, with the host and with a
 * sibling:
 *
 *   bench ROUND CASE...
 *   bench serve
 *
 * Each case is measured once for each family by each of its parameters, and the families
 * take turns: which is first depends on the number of the round. With "serve" it is what the
 * one in a sibling measures with.
 */
#define _GNU_SOURCE
#include "bench.h"
#include "mark.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/wait.h>

static const struct bench *const benches[] = {
	&throughput, &parallel, &round_trip, &wait_all, &connections, &memory, &exact,
	&scaling, &remote, &remote_awake, &remote_nested, &siblings, &wake,
};

int64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

void figure(const struct family *family, double value, const char *format, ...)
{
	va_list arguments;

	printf("= ");
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	printf(" %s %.6g\n", family ? family->name : "machine", value);
	fflush(stdout);
}

void counted(size_t calls)
{
	mark_section();
	printf("# %zu calls\n", calls);
}

void die(const struct family *family, const char *what)
{
	printf("! %s %s: %s\n", family ? family->name : "machine", what, strerror(errno));
	fflush(stdout);
	_Exit(1);
}

/* In a process of its own: what one family cannot do is no reason to leave the others out. */
static void measure(const struct bench *bench, const struct family *family, size_t parameter)
{
	pid_t pid = fork();

	if (!pid) {
		bench->measure(family, parameter);
		_Exit(0);
	}
	if (pid < 0)
		die(family, "fork");
	waitpid(pid, NULL, 0);
}

/* Whether the family can do it at all. */
static bool takes_part(const struct family *family, const struct bench *bench)
{
	bool has_device = family->kind == RVSOCK || family->kind == VSOCK;
	bool needs_device = bench == &remote || bench == &remote_awake ||
			    bench == &remote_nested || bench == &siblings;

	/* The others have nobody else to talk to. */
	if (needs_device && !has_device)
		return false;
	return family_has(family, SOCK_STREAM);
}

static void take_turns(const struct bench *bench, int round)
{
	for (size_t parameter = 0; parameter < bench->parameters; parameter++)
		for (int turn = 0; turn < FAMILIES; turn++) {
			const struct family *family = &families[(turn + round) % FAMILIES];

			if (takes_part(family, bench))
				measure(bench, family, parameter);
		}
}

static bool run_case(const char *name, int round)
{
	if (!strcmp(name, "copies")) {
		copies();
		return true;
	}
	for (size_t i = 0; i < sizeof(benches) / sizeof(benches[0]); i++)
		if (!strcmp(benches[i]->name, name)) {
			take_turns(benches[i], round);
			return true;
		}
	return false;
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "serve"))
		serve();
	for (int i = 2; i < argc; i++)
		if (!run_case(argv[i], atoi(argv[1]))) {
			fprintf(stderr, "There is no case '%s'.\n", argv[i]);
			return 2;
		}
	return 0;
}
