// SPDX-License-Identifier: GPL-2.0
/*
 * turn_over COUNT: opens so many sockets and closes them, every fourth of them
 * connected within this guest or to the echo of the host where there is one, with
 * bytes in both directions. It turns the allocators' caches over, in which stale
 * pointers hide leaks.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "vsock_util.h"

/* Connects to the host, unless that failed once; then both ends are here. */
static bool connect_some(int fds[2])
{
	static bool alone;

	if (!alone) {
		fds[0] = vsock_connected(PORT_ECHO);
		alone = fds[0] < 0;
	}
	return !alone || !vsock_pair(VMADDR_CID_LOCAL, 0, fds);
}

int main(int argc, char **argv)
{
	int count = argc > 1 ? atoi(argv[1]) : 0, open = 0, connected = 0;
	struct rlimit files = { .rlim_cur = 2 * count + 64, .rlim_max = 2 * count + 64 };
	int (*fds)[2] = calloc(count + 1, sizeof(*fds));
	char data[2000] = { 0 };

	setrlimit(RLIMIT_NOFILE, &files);
	for (int i = 0; i < count; i++) {
		fds[i][0] = -1;
		fds[i][1] = -1;
		if (i % 4 || !connect_some(fds[i])) {
			fds[i][0] = vsock_stream(0);
			open += fds[i][0] >= 0;
			continue;
		}
		open++;
		connected++;
		send(fds[i][0], data, sizeof(data), MSG_NOSIGNAL);
		/* Its own end echoes nothing. */
		send(fds[i][1], data, sizeof(data), MSG_NOSIGNAL);
		recv(fds[i][0], data, 10, 0);
	}
	for (int i = 0; i < count; i++)
		for (int end = 0; end < 2; end++)
			if (fds[i][end] >= 0)
				close(fds[i][end]);
	printf("%d of %d sockets, %d connected\n", open, count, connected);
	free(fds);
	return open == count ? 0 : 1;
}
