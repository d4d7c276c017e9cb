// SPDX-License-Identifier: GPL-2.0
/*
 * Waits until this network namespace has no socket of AF_VSOCK any more, by what
 * the kernel's socket diagnostics list:
 *
 *   no_sockets SECONDS
 *
 * Closed ones are listed for up to 8 s, until their peers have answered. The exit
 * status is 0 when there is none, 1 when some are left, 2 when nobody lists them.
 */
#define _GNU_SOURCE
#include "vsock_util.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/vm_sockets_diag.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void fail(const char *what, int error)
{
	fprintf(stderr, "no_sockets: %s: %s\n", what, strerror(error));
	exit(2);
}

static void ask(int fd)
{
	struct {
		struct nlmsghdr header;
		struct vsock_diag_req request;
	} dump = {
		.header = {
			.nlmsg_len = sizeof(dump),
			.nlmsg_type = SOCK_DIAG_BY_FAMILY,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
		},
		.request = { .sdiag_family = AF_VSOCK, .vdiag_states = ~0U },
	};

	if (send(fd, &dump, sizeof(dump), 0) < 0)
		fail("asking", errno);
}

/* How many sockets there are. */
static int count(void)
{
	union {
		struct nlmsghdr header;
		char bytes[8192];
	} buffer;
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	int found = 0;

	if (fd < 0)
		fail("socket", errno);
	ask(fd);
	for (;;) {
		struct nlmsghdr *message = &buffer.header;
		ssize_t got = recv(fd, &buffer, sizeof(buffer), 0);
		unsigned int left = got;

		if (got <= 0)
			fail("listing", got ? errno : EIO);
		for (; NLMSG_OK(message, left); message = NLMSG_NEXT(message, left)) {
			if (message->nlmsg_type == NLMSG_DONE) {
				close(fd);
				return found;
			}
			if (message->nlmsg_type == NLMSG_ERROR)
				fail("listing", -((struct nlmsgerr *)NLMSG_DATA(message))->error);
			found++;
		}
	}
}

int main(int argc, char **argv)
{
	int tries = argc == 2 ? 10 * atoi(argv[1]) : -1;

	if (tries < 0) {
		fprintf(stderr, "Usage: no_sockets SECONDS\n");
		return 2;
	}
	while (count()) {
		if (!tries--)
			return 1;
		sleep_ms(100);
	}
	return 0;
}
