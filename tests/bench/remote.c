// SPDX-License-Identifier: GPL-2.0
/*
 * Over virtio: the services of the host (tests/peer), or of a sibling (services.c), which each
 * family has behind a device of its own.
 */
#define _GNU_SOURCE
#include "bench.h"
#include "events.h"
#include "mark.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* What is sent, by the size of sends, and what of it its events are counted for. */
struct load {
	size_t size, bytes;
	bool counts;
};

/* Another machine, and what the cases are called there. */
struct other {
	const char *cid;
	const char *to, *from, *round_trip, *connections, *events;
	const struct load *loads;
	size_t number;
};

/* More than 32 KiB in a packet of the C driver's is lost by vhost-device-vsock. */
static const struct load host_loads[] = {
	{ 64, KIB(512), false }, { KIB(1), MIB(4), false }, { KIB(4), MIB(8), true },
	{ KIB(32), MIB(16), true },
};

static const struct load sibling_loads[] = {
	{ 64, KIB(512), false }, { KIB(1), MIB(4), false }, { KIB(4), MIB(8), true },
	{ KIB(64), MIB(32), true }, { KIB(512), MIB(32), false },
};

#define NUMBER_OF(loads) (sizeof(loads) / sizeof((loads)[0]))

static const struct other host = {
	"2", "to_host", "from_host", "remote_roundtrip", "remote_connections", "remote_events",
	host_loads, NUMBER_OF(host_loads),
}, sibling = {
	"4", "sibling_to", "sibling_from", "sibling_roundtrip", "sibling_connections",
	"sibling_events", sibling_loads, NUMBER_OF(sibling_loads),
};

static double mebibytes_a_second(size_t bytes, int64_t begin)
{
	return (double)bytes / MIB(1) * 1e9 / (now() - begin);
}

/* Sent in pieces of @size, until the other machine says that it has all. */
static double send_to(const struct family *family, size_t size, size_t bytes)
{
	void *data = calloc(1, size);
	double rate;
	int64_t begin;
	char line[64];
	int fd;

	fd = vsock_ask("sink %zu 0", bytes);
	if (fd < 0 || !data)
		die(family, "the sink");
	mark_begin();
	begin = now();
	for (size_t sent = 0; sent < bytes; sent += size)
		if (send_all(fd, data, size))
			die(family, "send");
	if (vsock_read_line(fd, line, sizeof(line)))
		die(family, "the sink's answer");
	rate = mebibytes_a_second(bytes, begin);
	mark_end();
	counted(bytes / size);
	close(fd);
	free(data);
	return rate;
}

/* The other machine writes pieces of @size. */
static double read_from(const struct family *family, size_t size, size_t bytes)
{
	void *data = malloc(KIB(64));
	double rate;
	int64_t begin;
	int fd;

	mark_begin();
	begin = now();
	fd = vsock_ask("send %zu %zu 0", bytes, size);
	if (fd < 0 || !data)
		die(family, "the source");
	for (size_t left = bytes; left;) {
		ssize_t got = recv(fd, data, KIB(64), 0);

		if (got <= 0)
			die(family, "recv");
		left -= got;
	}
	rate = mebibytes_a_second(bytes, begin);
	mark_end();
	counted(bytes / size);
	close(fd);
	free(data);
	return rate;
}

/* Counting costs time, so it has a run of its own. */
static void count_events(const struct family *family, const struct other *other,
			 const char *direction, const struct load *load,
			 double (*transfer)(const struct family *, size_t, size_t))
{
	struct events events;

	events_begin_all(&events);
	transfer(family, load->size, load->bytes);
	events_end(&events);
	for (int event = 0; event < EVENTS; event++)
		if (events.counts[event] >= 0)
			figure(family, (double)events.counts[event] * MIB(1) / load->bytes,
			       "%s/%s/%s/%zu", other->events, event_name(event), direction,
			       load->size);
}

static void measure_load(const struct family *family, const struct other *other,
			 const struct load *load)
{
	figure(family, send_to(family, load->size, load->bytes), "%s/%zu", other->to, load->size);
	figure(family, read_from(family, load->size, load->bytes), "%s/%zu", other->from,
	       load->size);
	if (!load->counts)
		return;
	count_events(family, other, "to", load, send_to);
	count_events(family, other, "from", load, read_from);
}

static double exchanges(const struct family *family, size_t size)
{
	enum { TIMES = 300 };
	int fd = vsock_connected(PORT_ECHO);
	void *data = calloc(1, size);
	int64_t begin = 0;
	double took;

	if (fd < 0 || !data)
		die(family, "the echo");
	for (int i = -TIMES / 10; i < TIMES; i++) {
		if (!i) {
			mark_begin();
			begin = now();
		}
		if (send_all(fd, data, size) || recv_all(fd, data, size))
			die(family, "an echo");
	}
	took = (double)(now() - begin) / TIMES / 1000;
	mark_end();
	counted(TIMES);
	close(fd);
	free(data);
	return took;
}

static double connections_a_second(const struct family *family)
{
	enum { TIMES = 200 };
	int64_t begin = now();
	double took;

	mark_begin();
	for (int i = 0; i < TIMES; i++) {
		int fd = vsock_connected(PORT_ECHO);

		if (fd < 0)
			die(family, "a connection");
		close(fd);
	}
	took = now() - begin;
	mark_end();
	counted(TIMES);
	return TIMES * 1e9 / took;
}

/* The other machine may still be booting. */
static void await_services(const struct family *family)
{
	int64_t end = now() + 60000000000LL;
	int fd;

	while ((fd = vsock_connected(PORT_ECHO)) < 0 && now() < end)
		sleep_ms(200);
	if (fd < 0)
		die(family, "the services");
	close(fd);
}

static void measure_with(const struct other *other, const struct family *family,
			 size_t parameter)
{
	char number[8];

	/* What the other programs of the guest go by. */
	snprintf(number, sizeof(number), "%d", family->domain);
	setenv("RVSOCK_FAMILY", number, 1);
	setenv("RVSOCK_PEER_CID", other->cid, 1);
	await_services(family);
	if (parameter < other->number) {
		measure_load(family, other, &other->loads[parameter]);
	} else if (parameter == other->number) {
		figure(family, exchanges(family, 1), "%s/1", other->round_trip);
		figure(family, exchanges(family, KIB(4)), "%s/4096", other->round_trip);
	} else {
		figure(family, connections_a_second(family), "%s", other->connections);
	}
}

static void measure_remote(const struct family *family, size_t parameter)
{
	measure_with(&host, family, parameter);
}

const struct bench remote = { "remote", NUMBER_OF(host_loads) + 2, measure_remote };

static void measure_siblings(const struct family *family, size_t parameter)
{
	measure_with(&sibling, family, parameter);
}

const struct bench siblings = { "siblings", NUMBER_OF(sibling_loads) + 2, measure_siblings };
