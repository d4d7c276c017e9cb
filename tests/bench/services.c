// SPDX-License-Identifier: GPL-2.0
/*
 * What a sibling does for the one that measures: the services of tests/peer that are asked for
 * here, by the same commands, but without looking at a byte. Each has one client at a time.
 */
#define _GNU_SOURCE
#include "bench.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/wait.h>

/* So much is read at a time, and written at most. */
#define BUFFER	KIB(512)

static void echo(int fd, char *data)
{
	ssize_t got;

	while ((got = recv(fd, data, KIB(64), 0)) > 0)
		if (send_all(fd, data, got))
			return;
}

static void await_close(int fd, char *data)
{
	while (recv(fd, data, KIB(64), 0) > 0)
		;
}

static void sink(int fd, char *data, size_t left)
{
	while (left) {
		ssize_t got = recv(fd, data, KIB(64), 0);

		if (got <= 0)
			return;
		left -= got;
	}
	if (!send_all(fd, "ok\n", 3))
		await_close(fd, data);
}

static void source(int fd, char *data, size_t total, size_t size)
{
	for (size_t sent = 0; sent < total; sent += size)
		if (send_all(fd, data, size))
			return;
	await_close(fd, data);
}

static void obey(int fd, char *data)
{
	char line[64];
	size_t total, size;

	if (vsock_read_line(fd, line, sizeof(line)))
		return;
	if (sscanf(line, "sink %zu", &total) == 1)
		sink(fd, data, total);
	else if (sscanf(line, "send %zu %zu", &total, &size) == 2 && size && size <= BUFFER)
		source(fd, data, total, size);
}

static void serve_port(const struct family *family, unsigned int port,
		       void (*service)(int fd, char *data))
{
	int listening = vsock_stream(0);
	char *data = malloc(BUFFER);

	if (!data || listening < 0 || vsock_bind(listening, VMADDR_CID_ANY, port) ||
	    listen(listening, 128))
		die(family, "a listener");
	/* No page fault is to fall into what is measured. */
	memset(data, 1, BUFFER);
	for (;;) {
		int fd = accept(listening, NULL, NULL);

		if (fd < 0)
			die(family, "accept");
		service(fd, data);
		close(fd);
	}
}

static void serve_family(const struct family *family)
{
	char number[8];

	/* What the other programs of the guest go by. */
	snprintf(number, sizeof(number), "%d", family->domain);
	setenv("RVSOCK_FAMILY", number, 1);
	if (!fork())
		serve_port(family, PORT_ECHO, echo);
	if (!fork())
		serve_port(family, PORT_SERVICE, obey);
}

void serve(void)
{
	signal(SIGPIPE, SIG_IGN);
	serve_family(&families[RVSOCK]);
	serve_family(&families[VSOCK]);
	while (wait(NULL) > 0 || errno == EINTR)
		;
}
