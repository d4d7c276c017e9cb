// SPDX-License-Identifier: GPL-2.0
/*
 * Open a socket, say "holding", and keep it until a signal ends the program:
 * for scripts that want to know what an open socket prevents.
 *
 *   hold_socket create | listen | connect | pending
 */
#define _GNU_SOURCE
#include "vsock_util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* -1 with errno set when the socket could not be brought into the state. */
static int hold(const char *state)
{
	unsigned int port;
	int fd;

	if (!strcmp(state, "create"))
		return vsock_stream(0);
	if (!strcmp(state, "listen"))
		return vsock_listener(&port, 1);
	if (!strcmp(state, "connect"))
		return vsock_connected(PORT_ECHO);
	if (!strcmp(state, "pending")) {
		fd = vsock_stream(SOCK_NONBLOCK);
		if (fd >= 0 && vsock_connect(fd, VMADDR_CID_HOST, PORT_NOBODY) &&
		    errno != EINPROGRESS)
			return -1;
		return fd;
	}
	errno = EINVAL;
	return -1;
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr,
			"Usage: hold_socket create|listen|connect|pending\n");
		return 2;
	}
	if (hold(argv[1]) < 0) {
		printf("%s: %s\n", argv[1],
		       strerrorname_np(errno) ?: "unknown");
		return 1;
	}
	printf("holding\n");
	fflush(stdout);
	for (;;)
		pause();
}
