// SPDX-License-Identifier: GPL-2.0
/* The families, and how each says where a socket is. */
#define _GNU_SOURCE
#include "bench.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/un.h>

const struct family families[FAMILIES] = {
	[RVSOCK] = { RVSOCK, "rvsock", 18 },
	[VSOCK] = { VSOCK, "vsock", AF_VSOCK },
	[UNIX] = { UNIX, "unix", AF_UNIX },
	[TCP] = { TCP, "tcp", AF_INET },
};

bool family_has(const struct family *family, int type)
{
	int fd = socket(family->domain, type, 0);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* Where the next listener of the family is to be: the kernel chooses. */
static void anywhere(const struct family *family, struct place *place)
{
	struct sockaddr_in *in = (struct sockaddr_in *)&place->address;
	struct sockaddr_vm *vm = (struct sockaddr_vm *)&place->address;

	memset(&place->address, 0, sizeof(place->address));
	place->address.ss_family = family->domain;
	switch (family->kind) {
	case UNIX:
		/* An abstract name: no file has to be looked up. */
		place->len = sizeof(sa_family_t);
		break;
	case TCP:
		in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		place->len = sizeof(*in);
		break;
	default:
		vm->svm_cid = VMADDR_CID_LOCAL;
		vm->svm_port = VMADDR_PORT_ANY;
		place->len = sizeof(*vm);
	}
}

int listener(const struct family *family, int type, int backlog, struct place *place)
{
	int fd = socket(family->domain, type, 0);

	anywhere(family, place);
	if (fd < 0 || bind(fd, (struct sockaddr *)&place->address, place->len) ||
	    listen(fd, backlog))
		return -1;
	place->len = sizeof(place->address);
	return getsockname(fd, (struct sockaddr *)&place->address, &place->len) ? -1 : fd;
}

int connected(const struct family *family, int type, const struct place *place)
{
	int fd = socket(family->domain, type, 0);

	if (fd < 0 || connect(fd, (const struct sockaddr *)&place->address, place->len))
		return -1;
	return fd;
}

static int set_room(const struct family *family, int fd, size_t size)
{
	int value = size;

	if (!size)
		return 0;
	if (family->kind != RVSOCK && family->kind != VSOCK)
		return setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &value, sizeof(value)) ||
		       setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &value, sizeof(value)) ? -1 : 0;
	return set_buffer(fd, SO_VM_SOCKETS_BUFFER_MAX_SIZE, size) ||
	       set_buffer(fd, SO_VM_SOCKETS_BUFFER_SIZE, size) ? -1 : 0;
}

int pair(const struct family *family, int type, size_t buffer, int fds[2])
{
	struct place place;
	int one = 1, listening = listener(family, type, 1, &place);

	if (listening < 0 || set_room(family, listening, buffer))
		return -1;
	fds[0] = socket(family->domain, type, 0);
	if (fds[0] < 0 || set_room(family, fds[0], buffer) ||
	    connect(fds[0], (struct sockaddr *)&place.address, place.len))
		return -1;
	fds[1] = accept(listening, NULL, NULL);
	close(listening);
	if (fds[1] < 0 || set_room(family, fds[1], buffer))
		return -1;
	for (int i = 0; family->kind == TCP && i < 2; i++)
		setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return 0;
}
