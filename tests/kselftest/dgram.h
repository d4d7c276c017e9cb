/* SPDX-License-Identifier: GPL-2.0 */
/* What the suites on datagrams share. They run where vsock_own_cid() is local. */
#ifndef DGRAM_H
#define DGRAM_H

#include "vsock_harness.h"

#include <sys/ioctl.h>
#include <linux/sockios.h>

/* The largest datagram. */
#define LARGEST	KIB(64)

static inline int dgram_socket(int flags)
{
	return socket(vsock_family(), SOCK_DGRAM | flags, 0);
}

/* New socket, bound to a port that the kernel chose. */
static inline int dgram_bound(void)
{
	int fd = dgram_socket(0);

	if (fd >= 0 && vsock_bind(fd, VMADDR_CID_ANY, VMADDR_PORT_ANY)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Send to a port of this machine. */
static inline ssize_t dgram_send(int fd, unsigned int port, const void *data,
				 size_t len)
{
	struct sockaddr_vm to = vsock_address(vsock_own_cid(), port);

	return sendto(fd, data, len, 0, (struct sockaddr *)&to, sizeof(to));
}

/* Receive without waiting, with the sender's address; what is not written of it is 0xa5. */
static inline ssize_t dgram_receive(int fd, void *data, size_t len, int flags,
				    struct sockaddr_vm *from)
{
	socklen_t size = sizeof(*from);
	ssize_t got;

	memset(from, 0xa5, sizeof(*from));
	got = recvfrom(fd, data, len, flags | MSG_DONTWAIT,
		       (struct sockaddr *)from, &size);
	if (got >= 0 && size != sizeof(*from)) {
		errno = EPROTO;
		return -1;
	}
	return got;
}

/* SIOCINQ or SIOCOUTQ; the negative errno when it fails. */
static inline int dgram_queued(int fd, unsigned long request)
{
	int count = -1;

	return ioctl(fd, request, &count) ? -errno : count;
}

/* How many datagrams @fd dropped, as the kernel counts for any socket. */
static inline long dgram_drops(int fd)
{
	/* Of <linux/sock_diag.h>; the last is SK_MEMINFO_DROPS. */
	uint32_t info[9] = { 0 };
	socklen_t size = sizeof(info);

	if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &size) ||
	    size < sizeof(info))
		return -1;
	return info[8];
}

#endif /* DGRAM_H */
