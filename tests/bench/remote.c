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
	const char *to, *from, *round_trip, *connections;
	/* What a MiB takes, and what a call does. */
	const char *events, *call_events;
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
	"remote_calls", host_loads, NUMBER_OF(host_loads),
}, awake = {
	"2", "awake_to", "awake_from", "awake_roundtrip", "awake_connections", "awake_events",
	"awake_calls", host_loads, NUMBER_OF(host_loads),
}, nested = {
	"2", "nested_to", "nested_from", "nested_roundtrip", "nested_connections", "nested_events",
	"nested_calls", host_loads, NUMBER_OF(host_loads),
}, sibling = {
	"4", "sibling_to", "sibling_from", "sibling_roundtrip", "sibling_connections",
	"sibling_events", "sibling_calls", sibling_loads, NUMBER_OF(sibling_loads),
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

/* What each of so many took, named after @kind and @what. */
static void figure_events(const struct family *family, const char *kind, const char *what,
			  const struct events *events, double number)
{
	for (int event = 0; event < EVENTS; event++)
		if (events->counts[event] >= 0)
			figure(family, events->counts[event] / number, "%s/%s/%s", kind,
			       event_name(event), what);
}

/* Counting costs time, so it has a run of its own. */
static void count_events(const struct family *family, const struct other *other,
			 const char *direction, const struct load *load,
			 double (*transfer)(const struct family *, size_t, size_t))
{
	struct events events;
	char what[32];

	snprintf(what, sizeof(what), "%s/%zu", direction, load->size);
	events_begin_all(&events);
	transfer(family, load->size, load->bytes);
	events_end(&events);
	figure_events(family, other->events, what, &events, (double)load->bytes / MIB(1));
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

enum { EXCHANGES = 300, CONNECTIONS = 200 };

/* Returns microseconds of a round trip. What they take is counted, unless @events is NULL. */
static double exchanges(const struct family *family, size_t size, struct events *events)
{
	int fd = vsock_connected(PORT_ECHO);
	void *data = calloc(1, size);
	int64_t begin = 0;
	double took;

	if (fd < 0 || !data)
		die(family, "the echo");
	for (int i = -EXCHANGES / 10; i < EXCHANGES; i++) {
		if (!i) {
			if (events)
				events_begin_all(events);
			mark_begin();
			begin = now();
		}
		if (send_all(fd, data, size) || recv_all(fd, data, size))
			die(family, "an echo");
	}
	took = (double)(now() - begin) / EXCHANGES / 1000;
	mark_end();
	if (events)
		events_end(events);
	counted(EXCHANGES);
	close(fd);
	free(data);
	return took;
}

/* The same for connections. */
static double connections_a_second(const struct family *family, struct events *events)
{
	int64_t begin;
	double took;

	if (events)
		events_begin_all(events);
	mark_begin();
	begin = now();
	for (int i = 0; i < CONNECTIONS; i++) {
		int fd = vsock_connected(PORT_ECHO);

		if (fd < 0)
			die(family, "a connection");
		close(fd);
	}
	took = now() - begin;
	mark_end();
	if (events)
		events_end(events);
	counted(CONNECTIONS);
	return CONNECTIONS * 1e9 / took;
}

static void measure_exchanges(const struct family *family, const struct other *other)
{
	struct events events;

	figure(family, exchanges(family, 1, NULL), "%s/1", other->round_trip);
	figure(family, exchanges(family, KIB(4), NULL), "%s/4096", other->round_trip);
	exchanges(family, 1, &events);
	figure_events(family, other->call_events, "round_trip", &events, EXCHANGES);
}

static void measure_connections(const struct family *family, const struct other *other)
{
	struct events events;

	figure(family, connections_a_second(family, NULL), "%s", other->connections);
	connections_a_second(family, &events);
	figure_events(family, other->call_events, "connection", &events, CONNECTIONS);
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
	if (parameter < other->number)
		measure_load(family, other, &other->loads[parameter]);
	else if (parameter == other->number)
		measure_exchanges(family, other);
	else
		measure_connections(family, other);
}

static void measure_remote(const struct family *family, size_t parameter)
{
	measure_with(&host, family, parameter);
}

const struct bench remote = { "remote", NUMBER_OF(host_loads) + 2, measure_remote };

/* The same in a guest whose processor never sleeps. */
static void measure_remote_awake(const struct family *family, size_t parameter)
{
	measure_with(&awake, family, parameter);
}

const struct bench remote_awake = {
	"remote_awake", NUMBER_OF(host_loads) + 2, measure_remote_awake,
};

/* The same with a host that is a guest itself, and has the kernel's own vhost-vsock. */
static void measure_remote_nested(const struct family *family, size_t parameter)
{
	measure_with(&nested, family, parameter);
}

const struct bench remote_nested = {
	"remote_nested", NUMBER_OF(host_loads) + 2, measure_remote_nested,
};

static void measure_siblings(const struct family *family, size_t parameter)
{
	measure_with(&sibling, family, parameter);
}

const struct bench siblings = { "siblings", NUMBER_OF(sibling_loads) + 2, measure_siblings };
