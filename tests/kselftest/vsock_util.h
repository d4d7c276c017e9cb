/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the programs of this directory share: sockets of the family under test,
 * the services of the host peer, the pattern that it sends, and threads that
 * sleep in a call while the test does something to their socket.
 *
 * Functions that return an int return -1 with errno set when they fail, unless
 * said otherwise. Times are in milliseconds of CLOCK_MONOTONIC.
 */
#ifndef VSOCK_UTIL_H
#define VSOCK_UTIL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <linux/rvsock.h>
#include <linux/vm_sockets.h>

#ifndef SO_ZEROCOPY
#define SO_ZEROCOPY	60
#endif
#ifndef MSG_ZEROCOPY
#define MSG_ZEROCOPY	0x4000000
#endif

#define KIB(n) ((size_t)(n) * 1024)
#define MIB(n) ((size_t)(n) * 1024 * 1024)

/* Where the peer listens. */
#define PORT_REPLY	9999u
#define PORT_ECHO	9998u
#define PORT_SERVICE	9000u
/* The same for SOCK_SEQPACKET, where the peer has it. */
#define PORT_MESSAGES	9001u
/* So many listeners has a peer that is in the guest. */
#define PEER_LISTENERS	4
/* A port of it where nobody listens. */
#define PORT_NOBODY	9777u

/* Credit that a new socket gives its peer, in bytes. */
#define DEFAULT_BUFFER	KIB(256)

/* Credit that the host's device gives: it is run with a buffer of this size. */
#define PEER_BUFFER	KIB(256)

/* CID of the guest where it has a device. */
#define GUEST_CID	3u
/* A CID that is nobody's. */
#define CID_NOBODY	77u

/* Longest wait of any helper for something that has to happen. */
#define PATIENCE_MS	20000
/* Long enough for a thread to have run if it was going to. */
#define SETTLE_MS	150

/* Number of the family under test: RVSOCK_FAMILY, or 18. */
int vsock_family(void);

/*
 * CID of the peer whose services a suite uses: RVSOCK_PEER_CID, or the host. When
 * it is one of this guest, the services run here (loopback_peer.c).
 */
unsigned int vsock_peer_cid(void);

/* CID of this guest, as that peer sees it. */
unsigned int vsock_own_cid(void);

/* Address in the family under test. */
struct sockaddr_vm vsock_address(unsigned int cid, unsigned int port);

/* Stream socket of the family under test; @flags as SOCK_NONBLOCK. */
int vsock_stream(int flags);
/* The same for SOCK_SEQPACKET. */
int vsock_seqpacket(int flags);

int vsock_bind(int fd, unsigned int cid, unsigned int port);
int vsock_connect(int fd, unsigned int cid, unsigned int port);

/* New stream socket connected to @port of the peer. */
int vsock_connected(unsigned int port);

/* Connect @fd to the service port and send one command line (printf). */
int vsock_ask_on(int fd, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* The same on a new socket, which is returned. */
int vsock_ask(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Listening socket on a port that the kernel chose, stored in @port. */
int vsock_listener(unsigned int *port, int backlog);
/* The same for a socket of @type. */
int vsock_listener_of(int type, unsigned int *port, int backlog);

/*
 * A connection with both ends here: @fds[0] connected to @cid, which is one of
 * this guest, and @fds[1] was accepted. @buffer is the buffer size of both, or 0
 * for the default.
 */
int vsock_pair(unsigned int cid, uint64_t buffer, int fds[2]);
/* The same with sockets of @type. */
int vsock_pair_of(int type, unsigned int cid, uint64_t buffer, int fds[2]);

/* Read up to and with the next line feed; the line is stored without it. */
int vsock_read_line(int fd, char *line, size_t size);

/*
 * Ask the host to connect to @port of this guest and to run @command there.
 * Returns the asking socket, on which one "result" line follows.
 */
int vsock_dial(unsigned int port, const char *command);

/*
 * A pair: *@fd is accepted from the host, which runs @command on it. Returns
 * the asking socket.
 */
int vsock_dialled(const char *command, int *fd);

/* How the host fared with a dialled connection. */
struct dial_result {
	bool ok;
	unsigned long long bytes_in, bytes_out;
	unsigned int crc_in, crc_out;
	char line[256];
};

int vsock_dial_result(int asking, struct dial_result *result);

/* All of @len bytes or -1; 0 bytes read counts as ECONNRESET. */
int send_all(int fd, const void *data, size_t len);
int recv_all(int fd, void *data, size_t len);

/* SO_ERROR, which reading clears; -1 when it cannot be read. */
int socket_error(int fd);
/* The port of its own; VMADDR_PORT_ANY when it has none. */
unsigned int local_port(int fd);
/* Does the peer's two-byte reply come on this connection to it? */
bool answers_two_bytes(int fd);

int set_int(int fd, int level, int option, int value);
int set_timeout(int fd, int option, long milliseconds);
int set_connect_timeout(int fd, long milliseconds);
int set_buffer(int fd, int option, uint64_t value);
int get_buffer(int fd, int option, uint64_t *value);

/* The byte that the host peer sends at @offset of its stream. */
uint8_t pattern_byte(uint64_t offset);
void pattern_fill(void *data, size_t len, uint64_t offset);
/* Index of the first byte that differs, or @len. */
size_t pattern_check(const void *data, size_t len, uint64_t offset);

/* CRC-32 as zlib has it; @crc is 0 at the start. */
uint32_t crc32_update(uint32_t crc, const void *data, size_t len);

/* Bytes that no compressor could guess, the same for the same seed. */
void random_fill(void *data, size_t len, uint64_t seed);

long now_ms(void);
void sleep_ms(long milliseconds);

/* Times the calling thread went to sleep of its own, as the kernel counts. */
long voluntary_switches(void);

/* The same, by the thread's own file in /proc. */
long voluntary_ctxt_switches(int tid);

/*
 * As malloc(), but all zero and with its pages there, for what is to be compared with
 * such counts: who waits for a page sleeps. (Of malloc() and memset() the compiler makes
 * calloc(), which touches no page of new memory.)
 */
void *malloc_resident(size_t len);

/* How often calls on @fd slept and were woken, and why. */
int vsock_wakeups(int fd, struct rvsock_wakeups *wakeups);
/* All reasons together. */
unsigned int wakeups_sum(const __u32 counts[RVSOCK_WAKE_REASONS]);

/* Poll @fd for @events; returns revents, 0 at the timeout, -1 on failure. */
int poll_for(int fd, int events, int timeout_ms);

/*
 * A page, stored in @map, that is not there until somebody provides it: who touches
 * it sleeps until then. Returns what provide_page() needs.
 */
int faulting_page(uint8_t **map);
int provide_page(int fault, uint8_t *map, const uint8_t *from);

/* Wait until @len bytes can be peeked at, or the time is up. */
bool wait_queued(int fd, size_t len);

/* A thread that makes one call and says how it ended. */
struct caller {
	/* What it is to do. */
	int fd;
	void *data;
	size_t len;
	int flags;
	ssize_t (*call)(struct caller *caller);
	/* What came of it. */
	ssize_t result;
	int error;
	long switches;
	long began, took;
	/* Its own affairs. */
	pthread_t thread;
	int tid;
	bool done;
};

ssize_t call_recv(struct caller *caller);
/* The same with memory that was not touched before. */
ssize_t call_recv_untouched(struct caller *caller);
ssize_t call_send(struct caller *caller);
ssize_t call_accept(struct caller *caller);
/* poll() for POLLIN without a time limit; the result is revents. */
ssize_t call_poll_in(struct caller *caller);

/* Start the call; returns when the thread sleeps in it or has ended. */
bool caller_start(struct caller *caller);
bool caller_is_done(struct caller *caller);
/* Wait for the end, at most PATIENCE_MS. */
bool caller_join(struct caller *caller);
/* Start, sleep, and be sent SIGUSR1: whether the call failed with EINTR for that. */
bool caller_is_interrupted(struct caller *caller);

/* Install a handler that does nothing, with @flags as SA_RESTART. */
void ignore_with_handler(int signal, int flags);
/* How often the handler ran. */
int handled_signals(void);

/*
 * How many times as long things may take: the runner says so by RVSOCK_PATIENCE on
 * a slow kernel. 1 otherwise.
 */
int vsock_patience(void);

/* The number behind the word @name on a line of a file, as /proc/meminfo; -1 without. */
long number_in(const char *path, const char *name);
/* The number that a file begins with; -1 without. */
long number_of(const char *path);
/* A counter of the module in debugfs; -1 where there is none, as with C. */
long module_counter(const char *name);
/* The same of its device. */
long device_counter(const char *name);

/* Bytes that were sent on @fd and that the device has not taken. */
int vsock_unsent(int fd);

/*
 * Have the host's device stop soon, and go on after @pause ms. Returns the asking
 * socket.
 */
int vsock_stop_device(long pause);

/* Whether the service "sink" at the other end of @fd says that it got these bytes. */
bool sink_has(int fd, size_t len, const void *data);

/* Bytes of slabs, and of pages that are not free; without the device's receive buffers. */
struct memory {
	long slab, used;
};

/* With what is only kept in case it is wanted again given back before. */
struct memory measure_memory(void);
/*
 * Measure again and again, for at most PATIENCE_MS, until it is at most @bound bytes more than
 * @before. Returns the least that was seen: what the kernel holds for a moment only (until
 * a grace period is over, say) is not what is asked for.
 */
struct memory measure_memory_within(struct memory before, long bound);

/*
 * How many times its size an object takes among those of 2 KiB, where payload is kept: 1, or
 * more on a kernel that keeps zones around each, where 2 KiB take 6.
 */
long slab_overhead(void);

/*
 * What slabs and the lists of free pages hold back beside what is measured, in bytes; on
 * the debugging kernel also what was freed and is not given out again for a while, and
 * the zones around each object.
 */
#define MEMORY_FIXED	((long)KIB(400) * vsock_patience())

/* Live sockets of the module, as the kernel lists them; -1 if it does not. */
int live_sockets(void);
/*
 * The same once none of them is about to go: those of programs that have ended are
 * listed until a grace period is over. Returns when the number has stood for a while.
 */
int sockets_at_rest(void);
/*
 * Wait until there are no more than that, at most 12 s: closed ones are listed for up to
 * 8 s while they wait for the peer. Returns how many there are.
 */
int sockets_become(int wanted);

#endif /* VSOCK_UTIL_H */
