/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The guest's side of the fuzzer (tests/scripted/src/fuzz): programs for the device to
 * send its packets to, connections that must go on beside that, and who looks after both.
 *
 *   fuzz.c          arguments, runs, the summary
 *   fuzz_victims.c  who listens, connects, reads and closes
 *   fuzz_live.c     the connections that must be unharmed
 *   fuzz_books.c    findings, counters, memory, the kernel's log
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdatomic.h>
#include "vsock_util.h"

/* What is judged, and is a test of its own. */
enum verdict {
	VERDICT_RUNS, VERDICT_LIVE, VERDICT_RESETS, VERDICT_RINGS, VERDICT_REPLAY,
	VERDICT_REACHED, VERDICT_REASONS, VERDICT_CREDIT, VERDICT_MEMORY, VERDICT_LOG,
	VERDICTS
};

/* ---- fuzz_books.c ---- */

/* How many times as long things may take, as the runner says. */
int patience(void);
/* From here on findings are of this run. */
void books_enter(uint64_t seed);
/* Something is not as it should be (printf); the first ones of each kind are printed. */
void finding(enum verdict verdict, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* How often; with VERDICTS for all of them. */
long findings(enum verdict verdict);

/* The module's counters of packets that were dropped, by reason. */
#define REASONS		32

struct reasons {
	int count;
	char names[REASONS][32];
	long values[REASONS];
};

/* Read them; false if there are none. */
bool reasons_read(struct reasons *reasons);
/* By how much one has grown since. */
long reason_grown(const struct reasons *before, const struct reasons *after,
		  const char *name);

/* Memory that the kernel has in use and cannot give back, in KiB. */
long memory_in_use(void);

/* The log is looked at from here on. */
void log_open(void);
/*
 * Look at what has come, with so many runs so far that violated a ring. Returns how often
 * the virtio core has complained of one.
 */
int log_check(int violations);

/* ---- fuzz_victims.c ---- */

/* Start all victims; end them, and close all their sockets. */
void victims_start(void);
void victims_stop(void);

/* ---- fuzz_live.c ---- */

void live_start(void);
void live_stop(void);
/* The device may lose all connections, which ends those that go over it with ECONNRESET. */
void live_expect_resets(bool expect);
/* Close those that go over the device, and wait; make them anew. */
void live_pause(void);
void live_resume(void);
/* Each of them goes on: it makes an exchange that it has not begun yet. */
void live_check(void);
/* What they have done so far. */
unsigned long live_exchanges(void);
unsigned long live_resets(void);
/* Does the echo bring back what it is sent, on a new connection? */
bool live_echo_works(void);

#endif /* FUZZ_H */
