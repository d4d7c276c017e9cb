// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include "events.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/syscall.h>
#include <linux/perf_event.h>

const char *const event_names[EVENTS] = {
	[WAKEUPS] = "wakeups",
	[ALLOCATIONS] = "allocations",
};

static const char *const tracepoints[EVENTS][3] = {
	[WAKEUPS] = { "sched/sched_waking" },
	[ALLOCATIONS] = { "kmem/kmalloc", "kmem/kmem_cache_alloc", "kmem/mm_page_alloc" },
};

static int open_tracepoint(const char *name)
{
	struct perf_event_attr attributes = {
		.type = PERF_TYPE_TRACEPOINT, .size = sizeof(attributes), .inherit = 1,
	};
	char path[128];
	FILE *file;
	unsigned long long id;
	int found;

	snprintf(path, sizeof(path), "/sys/kernel/tracing/events/%s/id", name);
	file = fopen(path, "r");
	if (!file)
		return -1;
	found = fscanf(file, "%llu", &id);
	fclose(file);
	attributes.config = id;
	return found == 1 ? syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0) : -1;
}

void events_begin(struct events *events)
{
	for (int event = 0; event < EVENTS; event++)
		for (int i = 0; i < 3; i++)
			events->fds[event][i] = tracepoints[event][i] ?
				open_tracepoint(tracepoints[event][i]) : -1;
}

void events_end(struct events *events)
{
	for (int event = 0; event < EVENTS; event++) {
		events->counts[event] = 0;
		for (int i = 0; i < 3 && tracepoints[event][i]; i++) {
			int fd = events->fds[event][i];
			uint64_t count;

			if (fd < 0 || read(fd, &count, sizeof(count)) != sizeof(count))
				events->counts[event] = -1;
			else if (events->counts[event] >= 0)
				events->counts[event] += count;
			if (fd >= 0)
				close(fd);
		}
	}
}
