// SPDX-License-Identifier: GPL-2.0
/*
 * Over virtio: the services of the host (tests/peer), which each family has behind a
 * device of its own.
 */
#define _GNU_SOURCE
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* More than that in a packet of the C driver's is lost by vhost-device-vsock. */
#define MOST	KIB(32)

static const struct {
	size_t size, bytes;
} loads[] = {
	{ 64, KIB(512) }, { KIB(1), MIB(4) }, { KIB(4), MIB(8) }, { MOST, MIB(16) },
};

static double mebibytes_a_second(size_t bytes, int64_t begin)
{
	return (double)bytes / MIB(1) * 1e9 / (now() - begin);
}

/* Sent in pieces of @size, until the host says that it has all. */
static double to_host(const struct family *family, size_t size, size_t bytes)
{
	void *data = calloc(1, size);
	int64_t begin;
	char line[64];
	int fd;

	fd = vsock_ask("sink %zu 0", bytes);
	if (fd < 0 || !data)
		die(family, "the host's sink");
	begin = now();
	for (size_t sent = 0; sent < bytes; sent += size)
		if (send_all(fd, data, size))
			die(family, "send");
	if (vsock_read_line(fd, line, sizeof(line)))
		die(family, "the host's answer");
	return mebibytes_a_second(bytes, begin);
}

/* The host writes pieces of @size. */
static double from_host(const struct family *family, size_t size, size_t bytes)
{
	void *data = malloc(KIB(64));
	int64_t begin;
	int fd;

	begin = now();
	fd = vsock_ask("send %zu %zu 0", bytes, size);
	if (fd < 0 || !data)
		die(family, "the host's source");
	for (size_t left = bytes; left;) {
		ssize_t got = recv(fd, data, KIB(64), 0);

		if (got <= 0)
			die(family, "recv");
		left -= got;
	}
	return mebibytes_a_second(bytes, begin);
}

static double exchanges(const struct family *family, size_t size)
{
	enum { TIMES = 300 };
	int fd = vsock_connected(PORT_ECHO);
	void *data = calloc(1, size);
	int64_t begin = 0;

	if (fd < 0 || !data)
		die(family, "the host's echo");
	for (int i = -TIMES / 10; i < TIMES; i++) {
		if (!i)
			begin = now();
		if (send_all(fd, data, size) || recv_all(fd, data, size))
			die(family, "an echo");
	}
	return (double)(now() - begin) / TIMES / 1000;
}

static double connections_a_second(const struct family *family)
{
	enum { TIMES = 200 };
	int64_t begin = now();

	for (int i = 0; i < TIMES; i++) {
		int fd = vsock_connected(PORT_ECHO);

		if (fd < 0)
			die(family, "a connection");
		close(fd);
	}
	return TIMES * 1e9 / (now() - begin);
}

enum { OF_LOADS = sizeof(loads) / sizeof(loads[0]) };

static void measure_remote(const struct family *family, size_t parameter)
{
	char number[8];

	/* What the other programs of the guest go by. */
	snprintf(number, sizeof(number), "%d", family->domain);
	setenv("RVSOCK_FAMILY", number, 1);
	if (parameter < OF_LOADS) {
		size_t size = loads[parameter].size, bytes = loads[parameter].bytes;

		figure(family, to_host(family, size, bytes), "to_host/%zu", size);
		figure(family, from_host(family, size, bytes), "from_host/%zu", size);
	} else if (parameter == OF_LOADS) {
		figure(family, exchanges(family, 1), "remote_roundtrip/1");
		figure(family, exchanges(family, KIB(4)), "remote_roundtrip/4096");
	} else {
		figure(family, connections_a_second(family), "remote_connections");
	}
}

const struct bench remote = { "remote", OF_LOADS + 2, measure_remote };
