/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One program for all families: what is measured differs in nothing but the address
 * that a socket is given. A figure is a line "= CASE FAMILY VALUE", which the runner
 * reads; CASE has its parameters behind slashes.
 *
 * Functions that return an int return -1 with errno set when they fail, unless said
 * otherwise. Times are nanoseconds of CLOCK_MONOTONIC.
 */
#ifndef BENCH_H
#define BENCH_H

#include "../kselftest/vsock_util.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum kind { RVSOCK, VSOCK, UNIX, TCP, FAMILIES };

/* A family of sockets, over loopback. */
struct family {
	enum kind kind;
	const char *name;
	int domain;
};

extern const struct family families[FAMILIES];

/* Whether this kernel has sockets of that family and type. */
bool family_has(const struct family *family, int type);

/* Where a listener is to be found. */
struct place {
	struct sockaddr_storage address;
	socklen_t len;
};

/* A listening socket with a backlog of @backlog; @place says where. */
int listener(const struct family *family, int type, int backlog, struct place *place);
/* Connected with it. */
int connected(const struct family *family, int type, const struct place *place);
/* Both ends of a connection. @buffer is the size of each one's buffer; 0: the default. */
int pair(const struct family *family, int type, size_t buffer, int fds[2]);

int64_t now(void);

/* One figure. */
void figure(const struct family *family, double value, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* What was counted between marks (mark.h) since the last of these; its figure comes next. */
void counted(size_t calls);
/* This cannot be measured: says what failed, and ends the process. */
void die(const struct family *family, const char *what) __attribute__((noreturn));

/*
 * The cases: each measures a family once, by one of its parameters, of which it has so
 * many. Each such measurement has a process of its own.
 */
struct bench {
	const char *name;
	size_t parameters;
	void (*measure)(const struct family *family, size_t parameter);
};

extern const struct bench throughput, parallel, round_trip, wait_all, connections, memory;
extern const struct bench scaling, exact, remote, remote_awake, remote_nested, siblings, wake;

/* What the machine needs to copy each byte twice, which no family has. */
void copies(void);

/* The services of a sibling, without end. */
void serve(void);

#endif /* BENCH_H */
