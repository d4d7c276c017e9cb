/* SPDX-License-Identifier: GPL-2.0 */
/* What the kernel counts of its own events while something is measured. */
#ifndef EVENTS_H
#define EVENTS_H

enum { WAKEUPS, ALLOCATIONS, EVENTS };

/* As cases call them. */
extern const char *const event_names[EVENTS];

struct events {
	/* -1: this kernel does not tell. */
	long counts[EVENTS];
	/* Of each event's tracepoints. */
	int fds[EVENTS][3];
};

/* Count what this thread, and those that it starts from now on, cause. */
void events_begin(struct events *events);
void events_end(struct events *events);

#endif /* EVENTS_H */
