/* SPDX-License-Identifier: GPL-2.0 */
/* What the kernel counts of its own events while something is measured. */
#ifndef EVENTS_H
#define EVENTS_H

/* Those of a thread, and then those that only the whole machine has. */
enum { WAKEUPS, ALLOCATIONS, THREAD_EVENTS, SWITCHES = THREAD_EVENTS, INTERRUPTS, KICKS, PACKETS,
	UPDATES, EVENTS };

/* An event is counted at so many places at most, on so many processors. */
#define EVENT_SOURCES		3
#define EVENT_PROCESSORS	4

/* As cases call it. */
const char *event_name(int event);

struct events {
	/* -1: this kernel does not tell. */
	long counts[EVENTS];
	int number, processors;
	/* Of each event's sources. */
	int fds[EVENTS][EVENT_SOURCES][EVENT_PROCESSORS];
};

/* Count what this thread, and those that it starts from now on, cause. */
void events_begin(struct events *events);
/* Count what the whole machine does. */
void events_begin_all(struct events *events);
void events_end(struct events *events);

#endif /* EVENTS_H */
