// SPDX-License-Identifier: GPL-2.0
/*
 * Messages and writes of a byte to a socket that nobody reads, up to its credit:
 * all of it is kept, at most 1.5 bytes of memory for each of theirs and 8 for each
 * boundary of a message, beside a fixed part; and all of it is read back.
 *
 *   small_packets local   both ends are here, one of them of the peer's CID
 *   small_packets remote  the services of loopback_peer.c send
 *
 * Prints KTAP, and what was measured.
 */
#define _GNU_SOURCE
#include "vsock_util.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <linux/sockios.h>

/* Sockets that are filled at the same time, so that the fixed part is little. */
#define LOCAL_SOCKETS	2
#define REMOTE_SOCKETS	2
#define REMOTE_BUFFER	KIB(64)
/* In bytes: the default, or so little that it is full in time on a slow kernel. */
#define LOCAL_BUFFER	(vsock_patience() > 1 ? KIB(32) : DEFAULT_BUFFER)

static int test;

static void report(bool good, const char *name, const char *why)
{
	printf("%sok %d small_packets.%s\n", good ? "" : "not ", ++test, name);
	if (!good && why)
		printf("# %s\n", why);
	fflush(stdout);
}

static int queued_bytes(int fd)
{
	int queued = -1;

	ioctl(fd, SIOCINQ, &queued);
	return queued;
}

/*
 * Send until no more is taken: the pattern as a stream, or its beginning again and
 * again. Returns how often it was.
 */
static size_t fill(int fd, int type, size_t len)
{
	size_t count = 0;
	uint8_t data[16];

	for (;; count++) {
		pattern_fill(data, len, type == SOCK_STREAM ? count * len : 0);
		if (send(fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)len)
			return errno == EAGAIN ? count : 0;
	}
}

/* What a kind of traffic costs while it waits to be read. */
static void judge(const char *name, struct memory before, size_t bytes, size_t messages)
{
	long bound = bytes + bytes / 2 + 8 * messages + MEMORY_FIXED;
	struct memory after = measure_memory_within(before, bound);
	long slab = after.slab - before.slab, used = after.used - before.used;
	char why[200], title[64];

	printf("# %s: %zu bytes in %zu messages: slabs %ld bytes, %.2f for each; pages in use %ld; at most %ld\n",
	       name, bytes, messages, slab,
	       (double)slab / (double)(bytes ? bytes : messages), used, bound);
	snprintf(why, sizeof(why), "more than %ld bytes", bound);
	snprintf(title, sizeof(title), "%s.memory", name);
	report(slab <= bound && used <= bound, title, why);
}

/*
 * Read all of it back: a stream, which is the pattern, in large pieces; messages,
 * of which each is the beginning of the pattern, one by one.
 */
static bool read_back(int fd, int type, size_t bytes, size_t messages, size_t len)
{
	static uint8_t in[65536];
	size_t got = 0;

	if (type == SOCK_STREAM) {
		while (got < bytes) {
			ssize_t part = recv(fd, in, sizeof(in), MSG_DONTWAIT);

			if (part <= 0 ||
			    pattern_check(in, part, got) != (size_t)part)
				return false;
			got += part;
		}
	} else {
		for (size_t i = 0; i < messages; i++) {
			memset(in, 0xff, len);
			if (recv(fd, in, sizeof(in), MSG_DONTWAIT) != (ssize_t)len ||
			    pattern_check(in, len, 0) != len)
				return false;
		}
	}
	return recv(fd, in, sizeof(in), MSG_DONTWAIT) == -1 && errno == EAGAIN;
}

/* Both ends here. */
static void local(const char *name, int type, size_t len)
{
	int fds[LOCAL_SOCKETS][2];
	size_t bytes = 0, messages = 0;
	const size_t buffer = LOCAL_BUFFER;
	struct memory before;
	bool good = true;
	char title[64];

	for (int i = 0; i < LOCAL_SOCKETS; i++)
		if (vsock_pair_of(type, vsock_peer_cid(), buffer, fds[i])) {
			report(false, name, strerror(errno));
			return;
		}
	before = measure_memory();
	for (int i = 0; i < LOCAL_SOCKETS; i++) {
		size_t count = fill(fds[i][0], type, len);

		good &= count == buffer / (len ? len : 8);
		good &= queued_bytes(fds[i][1]) == (int)(count * len);
		bytes += count * len;
		messages += type == SOCK_STREAM ? 0 : count;
	}
	snprintf(title, sizeof(title), "%s.all_the_credit", name);
	report(good, title, "it took another number");
	judge(name, before, bytes, messages);
	good = true;
	for (int i = 0; i < LOCAL_SOCKETS; i++)
		good &= read_back(fds[i][1], type, bytes / LOCAL_SOCKETS,
				  messages / LOCAL_SOCKETS, len);
	snprintf(title, sizeof(title), "%s.read_back", name);
	report(good, title, "something else came");
	for (int i = 0; i < LOCAL_SOCKETS; i++) {
		close(fds[i][0]);
		close(fds[i][1]);
	}
}

/* A socket to which the peer sends a byte at a time until its credit is used up. */
static int filled_from_afar(int type)
{
	static const char order[] = "fill 1";
	int fd = socket(vsock_family(), type, 0);
	long end = now_ms() + 120000;

	if (fd < 0 || set_buffer(fd, SO_VM_SOCKETS_BUFFER_SIZE, REMOTE_BUFFER))
		return -1;
	if (type == SOCK_STREAM) {
		if (vsock_ask_on(fd, "send %zu 1 0", (size_t)REMOTE_BUFFER))
			return -1;
	} else {
		if (vsock_connect(fd, vsock_peer_cid(), PORT_MESSAGES) ||
		    send(fd, order, strlen(order), 0) < 0)
			return -1;
	}
	while (queued_bytes(fd) < (int)REMOTE_BUFFER && now_ms() < end &&
	       !poll_for(fd, POLLHUP, 0))
		sleep_ms(50);
	return fd;
}

/*
 * Packets of a byte, read at once, until the device has its buffers for such: by then each
 * has its socket buffer, and their number does not change any more.
 */
static bool device_has_small_buffers(void)
{
	static uint8_t in[KIB(8)];
	int fd = vsock_ask("send %zu 1 0", sizeof(in));
	bool good = fd >= 0 && !recv_all(fd, in, sizeof(in));

	if (fd >= 0)
		close(fd);
	return good;
}

static void remote(const char *name, int type)
{
	int fds[REMOTE_SOCKETS];
	size_t bytes = 0, messages = 0;
	struct memory before = measure_memory();
	bool good = true;
	char title[64];

	for (int i = 0; i < REMOTE_SOCKETS; i++) {
		fds[i] = filled_from_afar(type);
		good &= fds[i] >= 0 && queued_bytes(fds[i]) == (int)REMOTE_BUFFER;
		bytes += REMOTE_BUFFER;
		messages += type == SOCK_STREAM ? 0 : REMOTE_BUFFER;
	}
	snprintf(title, sizeof(title), "%s.all_the_credit", name);
	report(good, title, "it is another number, or the connection was reset");
	judge(name, before, bytes, messages);
	good = true;
	for (int i = 0; i < REMOTE_SOCKETS; i++)
		good &= read_back(fds[i], type, REMOTE_BUFFER, REMOTE_BUFFER, 1);
	snprintf(title, sizeof(title), "%s.read_back", name);
	report(good, title, "something else came");
	for (int i = 0; i < REMOTE_SOCKETS; i++)
		close(fds[i]);
}

int main(int argc, char **argv)
{
	bool is_remote = argc > 1 && !strcmp(argv[1], "remote");

	printf("TAP version 13\n1..%d\n", is_remote ? 6 : 12);
	if (is_remote) {
		if (!device_has_small_buffers())
			printf("# nothing came from the host\n");
		remote("stream", SOCK_STREAM);
		remote("messages", SOCK_SEQPACKET);
	} else {
		local("stream", SOCK_STREAM, 1);
		local("messages", SOCK_SEQPACKET, 1);
		local("empty_messages", SOCK_SEQPACKET, 0);
		local("messages_of_16", SOCK_SEQPACKET, 16);
	}
	return 0;
}
