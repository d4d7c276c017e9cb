/* SPDX-License-Identifier: GPL-2.0 */
/* Events of the kernel, written down in an instance of tracefs of one's own. */
#ifndef TRACING_H
#define TRACING_H

#include <stdbool.h>

struct tracing {
	char path[64];
};

/* Nothing is written down yet. */
bool tracing_open(struct tracing *tracing);
/* Forget all. */
void tracing_close(struct tracing *tracing);

/* @event is SYSTEM/NAME; only those for which @filter (printf) holds. */
bool tracing_event(const struct tracing *tracing, const char *event,
		   const char *filter, ...) __attribute__((format(printf, 3, 4)));

/* Write down who caused each event as well. */
bool tracing_stacks(const struct tracing *tracing);

/*
 * Anew from here on, until then. The calling thread does not sleep in either, so what
 * is counted of it in between is no more than what it does in between.
 */
bool tracing_start(const struct tracing *tracing);
bool tracing_stop(const struct tracing *tracing);

/*
 * Calls @see with each line of the event NAME, from the event's name on, and with the
 * functions that stand below it, " < " before each. Returns how many there are, or -1.
 */
int tracing_each(const struct tracing *tracing, const char *name,
		 void (*see)(const char *line, void *argument), void *argument);

#endif /* TRACING_H */
