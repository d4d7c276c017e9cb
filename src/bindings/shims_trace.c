// SPDX-License-Identifier: GPL-2.0
/* The module's tracepoints, and functions that hit them. */

#define CREATE_TRACE_POINTS
#include "rvsock_trace.h"

void rvsock_trace_wake(const struct sock *sk, const struct rvsock_woke *woke)
{
	trace_rvsock_wake(sk, woke);
}
