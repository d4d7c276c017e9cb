/* SPDX-License-Identifier: GPL-2.0 */
/* Functions for tracepoints, which C has as macros. */
#ifndef RVSOCK_SHIMS_TRACE_H
#define RVSOCK_SHIMS_TRACE_H

#include <linux/types.h>

struct sock;

/* A call that slept and was woken. Sizes are in bytes. */
struct rvsock_woke {
	/* Ports of the socket and of its peer. */
	u32 local_port, peer_port;
	/* What it slept for and why it was woken: RVSOCK_CALLS, RVSOCK_REASONS. */
	u32 call, reason;
	/* What it asked for: in all, and at the least; and what it has of that. */
	size_t len, target, done;
	/* What is there. */
	size_t available;
};

void rvsock_trace_wake(const struct sock *sk, const struct rvsock_woke *woke);

#endif /* RVSOCK_SHIMS_TRACE_H */
