// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include "events.h"

#include "../kselftest/vsock_util.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <linux/perf_event.h>

#define TRACING	"/sys/kernel/tracing/"
/* The driver tells the device of a queue; a probe, since no tracepoint has it. */
#define KICK	"p:bench/kick vp_notify\n"

/* The operations of packets. */
#define PAYLOAD		"op == 5"
#define CREDIT_UPDATE	"op == 6"

struct source {
	const char *tracepoint, *filter;
};

static const struct {
	const char *name;
	/* Each occurrence at one of these is one. */
	struct source sources[EVENT_SOURCES];
	/* What rvsock counts of it by itself. */
	const char *counters[EVENT_SOURCES];
} known[EVENTS] = {
	[WAKEUPS] = { "wakeups", { { "sched/sched_waking" } } },
	[ALLOCATIONS] = {
		"allocations", {
			{ "kmem/kmalloc" }, { "kmem/kmem_cache_alloc" }, { "kmem/mm_page_alloc" },
		},
	},
	[SWITCHES] = { "switches", { { "sched/sched_switch" } } },
	[INTERRUPTS] = { "interrupts", { { "irq/irq_handler_entry", "name ~ \"virtio*\"" } } },
	[KICKS] = { "kicks", { { "bench/kick" } } },
	[PACKETS] = {
		"packets", {
			{ "vsock/virtio_transport_alloc_pkt", PAYLOAD },
			{ "vsock/virtio_transport_recv_pkt", PAYLOAD },
		}, { "sent_rw", "received_rw" },
	},
	[UPDATES] = {
		"updates", {
			{ "vsock/virtio_transport_alloc_pkt", CREDIT_UPDATE },
			{ "vsock/virtio_transport_recv_pkt", CREDIT_UPDATE },
		}, { "sent_credit_update", "received_credit_update" },
	},
};

const char *event_name(int event)
{
	return known[event].name;
}

static int open_source(const struct source *source, pid_t thread, int processor)
{
	struct perf_event_attr attributes = {
		.type = PERF_TYPE_TRACEPOINT, .size = sizeof(attributes),
		.inherit = thread != -1,
	};
	char path[128];
	FILE *file;
	unsigned long long id;
	int found, fd;

	snprintf(path, sizeof(path), TRACING "events/%s/id", source->tracepoint);
	file = fopen(path, "r");
	if (!file)
		return -1;
	found = fscanf(file, "%llu", &id);
	fclose(file);
	attributes.config = id;
	fd = found == 1 ? syscall(SYS_perf_event_open, &attributes, thread, processor, -1, 0) : -1;
	if (fd >= 0 && source->filter && ioctl(fd, PERF_EVENT_IOC_SET_FILTER, source->filter)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Of what rvsock counts; 0 without it. */
static long counted(int event)
{
	long sum = 0;

	for (int i = 0; i < EVENT_SOURCES && known[event].counters[i]; i++) {
		long value = device_counter(known[event].counters[i]);

		sum += value > 0 ? value : 0;
	}
	return sum;
}

static void begin(struct events *events, pid_t thread)
{
	events->number = thread == -1 ? EVENTS : THREAD_EVENTS;
	events->processors = thread == -1 ? sysconf(_SC_NPROCESSORS_ONLN) : 1;
	if (events->processors > EVENT_PROCESSORS)
		events->processors = EVENT_PROCESSORS;
	for (int event = 0; event < events->number; event++) {
		for (int i = 0; i < EVENT_SOURCES && known[event].sources[i].tracepoint; i++)
			for (int on = 0; on < events->processors; on++)
				events->fds[event][i][on] =
					open_source(&known[event].sources[i], thread,
						    thread == -1 ? on : -1);
		events->counts[event] = -counted(event);
	}
}

void events_begin(struct events *events)
{
	begin(events, 0);
}

void events_begin_all(struct events *events)
{
	int fd = open(TRACING "kprobe_events", O_WRONLY | O_APPEND);

	/* It may be there already; without it nothing is told of kicks. */
	if (fd >= 0) {
		dprintf(fd, KICK);
		close(fd);
	}
	begin(events, -1);
}

/* Returns how often it came; -1 if that is not known. */
static long end_source(int fd)
{
	uint64_t count;
	bool known_count = fd >= 0 && read(fd, &count, sizeof(count)) == sizeof(count);

	if (fd >= 0)
		close(fd);
	return known_count ? (long)count : -1;
}

void events_end(struct events *events)
{
	for (int event = 0; event < events->number; event++) {
		bool complete = true;

		events->counts[event] += counted(event);
		for (int i = 0; i < EVENT_SOURCES && known[event].sources[i].tracepoint; i++)
			for (int on = 0; on < events->processors; on++) {
				long count = end_source(events->fds[event][i][on]);

				complete &= count >= 0;
				events->counts[event] += count;
			}
		if (!complete)
			events->counts[event] = -1;
	}
}
