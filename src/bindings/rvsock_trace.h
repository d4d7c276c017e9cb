/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The module's tracepoints: /sys/kernel/tracing/events/rvsock. Their fields are
 * named as those of other socket families' are, or for what they are; the numbers
 * of calls and of reasons stand for the names that the printed form has.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM rvsock

#if !defined(RVSOCK_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define RVSOCK_TRACE_H

#include <linux/tracepoint.h>
#include <net/sock.h>

#include "shims_trace.h"

#define RVSOCK_CALLS			\
	{ 0, "receive" },		\
	{ 1, "send" },			\
	{ 2, "connect" }

#define RVSOCK_REASONS			\
	{ 0, "target" },		\
	{ 1, "window" },		\
	{ 2, "stalled" },		\
	{ 3, "shutdown" },		\
	{ 4, "error" },			\
	{ 5, "signal" },		\
	{ 6, "timeout" }

/* A call that slept on a socket was woken. In the task that slept. */
TRACE_EVENT(rvsock_wake,
	TP_PROTO(const struct sock *sk, const struct rvsock_woke *woke),
	TP_ARGS(sk, woke),
	TP_STRUCT__entry(
		__field(u64, ino)
		__field(u64, len)
		__field(u64, target)
		__field(u64, done)
		__field(u64, available)
		__field(u32, sport)
		__field(u32, dport)
		__field(u16, family)
		__field(u8, call)
		__field(u8, reason)
	),
	TP_fast_assign(
		__entry->ino = sock_i_ino(sk);
		__entry->len = woke->len;
		__entry->target = woke->target;
		__entry->done = woke->done;
		__entry->available = woke->available;
		__entry->sport = woke->local_port;
		__entry->dport = woke->peer_port;
		__entry->family = sk->sk_family;
		__entry->call = woke->call;
		__entry->reason = woke->reason;
	),
	TP_printk("family=%u ino=%llu sport=%u dport=%u call=%s len=%llu target=%llu done=%llu available=%llu reason=%s",
		  __entry->family, __entry->ino, __entry->sport,
		  __entry->dport,
		  __print_symbolic(__entry->call, RVSOCK_CALLS),
		  __entry->len, __entry->target, __entry->done,
		  __entry->available,
		  __print_symbolic(__entry->reason, RVSOCK_REASONS))
);

#endif /* RVSOCK_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE rvsock_trace
#include <trace/define_trace.h>
