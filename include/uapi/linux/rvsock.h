/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * What sockets of rvsock have beside those of AF_VSOCK, whose interface is
 * <linux/vm_sockets.h>.
 */
#ifndef _UAPI_LINUX_RVSOCK_H
#define _UAPI_LINUX_RVSOCK_H

#include <linux/types.h>

/*
 * getsockopt() at the level AF_VSOCK or that of the family's own number: how often
 * calls on the socket slept and were woken, and why. A struct rvsock_wakeups.
 */
#define RVSOCK_SO_WAKEUPS	256

enum rvsock_wake_reason {
	/* What the call wants is there. */
	RVSOCK_WAKE_TARGET,
	/*
	 * The call wants more than can be queued at once, and half of what can be
	 * is there.
	 */
	RVSOCK_WAKE_WINDOW,
	/* Much is there, and nothing has come for a while. */
	RVSOCK_WAKE_STALLED,
	/* An end of the connection was shut down or closed. */
	RVSOCK_WAKE_SHUTDOWN,
	/* The connection was lost, or could not be made. */
	RVSOCK_WAKE_ERROR,
	/* A signal. */
	RVSOCK_WAKE_SIGNAL,
	/* The time is up. */
	RVSOCK_WAKE_TIMEOUT,
	RVSOCK_WAKE_REASONS
};

/*
 * Each number counts the times that the kernel took a thread off the processor in
 * such a call and let it run again, for this reason. It starts over after 2^32.
 */
struct rvsock_wakeups {
	/* recv() and its like, and accept(). */
	__u32 receive[RVSOCK_WAKE_REASONS];
	/* send() and its like. */
	__u32 send[RVSOCK_WAKE_REASONS];
	/* connect() */
	__u32 connect[RVSOCK_WAKE_REASONS];
	/*
	 * How often poll(), epoll_wait() and their like were told of something while
	 * they watched the socket.
	 */
	__u32 polled;
};

#endif /* _UAPI_LINUX_RVSOCK_H */
