// SPDX-License-Identifier: GPL-2.0
/*
 * Datagrams (SOCK_DGRAM), which stay within the machine: names, sending,
 * receiving, what a peer means, and how they end. Where this machine is reached
 * is vsock_own_cid().
 */
#define _GNU_SOURCE
#include "dgram.h"

#include <poll.h>
#include <sys/mman.h>
#include <sys/uio.h>

/* A port that nothing else in these tests uses. */
#define PORT	5300u

/* Everything that poll() could say. */
#define ALL_EVENTS	(POLLIN | POLLPRI | POLLOUT | POLLRDNORM | POLLRDBAND | \
			 POLLWRNORM | POLLWRBAND | POLLMSG | POLLRDHUP)
#define WRITABLE	(POLLOUT | POLLWRNORM | POLLWRBAND)
#define READABLE	(POLLIN | POLLRDNORM)

/* Two bound sockets. */
FIXTURE(pair)
{
	int from, to;
	unsigned int from_port, to_port;
	uint8_t data[4096], in[4096];
	struct sockaddr_vm sender;
};

FIXTURE_SETUP(pair)
{
	self->from = dgram_bound();
	self->to = dgram_bound();
	ASSERT_LE(0, self->from);
	ASSERT_LE(0, self->to);
	self->from_port = local_port(self->from);
	self->to_port = local_port(self->to);
	ASSERT_NE(self->from_port, self->to_port);
	pattern_fill(self->data, sizeof(self->data), 7);
}

FIXTURE_TEARDOWN(pair)
{
	close(self->from);
	close(self->to);
}

/* connect() with an address of AF_UNSPEC. */
static int dissolve(int fd)
{
	struct sockaddr none = { .sa_family = AF_UNSPEC };

	return connect(fd, &none, sizeof(none));
}

static int peer_of(int fd, struct sockaddr_vm *peer)
{
	socklen_t size = sizeof(*peer);

	return getpeername(fd, (struct sockaddr *)peer, &size);
}

/* --- Making a socket and giving it a name */

TEST(type)
{
	int fd = dgram_socket(SOCK_NONBLOCK | SOCK_CLOEXEC), type = -1;
	socklen_t size = sizeof(type);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size));
	EXPECT_EQ(SOCK_DGRAM, type);
	EXPECT_EQ(0, socket_error(fd));
	close(fd);
}

TEST(names_before_bind)
{
	int fd = dgram_socket(0);
	struct sockaddr_vm name;
	socklen_t size = sizeof(name);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, getsockname(fd, (struct sockaddr *)&name, &size));
	EXPECT_EQ(VMADDR_CID_ANY, name.svm_cid);
	EXPECT_EQ(VMADDR_PORT_ANY, name.svm_port);
	EXPECT_EQ(-1, peer_of(fd, &name));
	EXPECT_EQ(ENOTCONN, errno);
	close(fd);
}

/* bind() as on a stream: once, a port of one's own, on this machine. */
TEST(bound_once)
{
	int fd = dgram_socket(0), other = dgram_socket(0);

	ASSERT_LE(0, fd);
	ASSERT_LE(0, other);
	EXPECT_EQ(-1, vsock_bind(fd, CID_NOBODY, PORT));
	EXPECT_EQ(EADDRNOTAVAIL, errno);
	ASSERT_EQ(0, vsock_bind(fd, VMADDR_CID_LOCAL, PORT));
	EXPECT_EQ(PORT, local_port(fd));
	EXPECT_EQ(-1, vsock_bind(fd, VMADDR_CID_LOCAL, PORT + 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, vsock_bind(other, VMADDR_CID_LOCAL, PORT));
	EXPECT_EQ(EADDRINUSE, errno);
	EXPECT_EQ(-1, vsock_bind(other, VMADDR_CID_ANY, PORT));
	EXPECT_EQ(EADDRINUSE, errno);
	close(fd);
	EXPECT_EQ(0, vsock_bind(other, VMADDR_CID_ANY, PORT));
	close(other);
}

/* The ports of datagrams are not those of streams. */
TEST(ports_of_their_own)
{
	int stream = vsock_stream(0), fd = dgram_socket(0), other;

	ASSERT_LE(0, stream);
	ASSERT_EQ(0, vsock_bind(stream, VMADDR_CID_ANY, PORT));
	ASSERT_EQ(0, listen(stream, 1));
	EXPECT_EQ(0, vsock_bind(fd, VMADDR_CID_ANY, PORT));
	other = vsock_stream(0);
	EXPECT_EQ(0, vsock_connect(other, vsock_own_cid(), PORT));
	close(other);
	close(stream);
	/* Nor does a stream reach the one on the same port. */
	other = vsock_stream(0);
	EXPECT_EQ(-1, vsock_connect(other, vsock_own_cid(), PORT));
	EXPECT_EQ(ECONNRESET, errno);
	close(other);
	close(fd);
}

/* What is not bound is bound by its first send, and by connect(). */
TEST_F(pair, binds_itself)
{
	int fd = dgram_socket(0), other = dgram_socket(0);

	ASSERT_EQ(1, dgram_send(fd, self->to_port, "x", 1));
	EXPECT_LE(1024, local_port(fd));
	EXPECT_NE(VMADDR_PORT_ANY, local_port(fd));
	ASSERT_EQ(1, dgram_receive(self->to, self->in, 10, 0, &self->sender));
	EXPECT_EQ(local_port(fd), self->sender.svm_port);
	ASSERT_EQ(0, vsock_connect(other, vsock_own_cid(), self->to_port));
	EXPECT_LE(1024, local_port(other));
	EXPECT_NE(local_port(fd), local_port(other));
	close(fd);
	close(other);
}

/* There is nothing to listen to, and nobody to accept. */
TEST_F(pair, no_connections)
{
	EXPECT_EQ(-1, listen(self->to, 1));
	EXPECT_EQ(EOPNOTSUPP, errno);
	EXPECT_EQ(-1, accept(self->to, NULL, NULL));
	EXPECT_EQ(EOPNOTSUPP, errno);
}

/* --- Sending and receiving */

/* A datagram arrives whole, with its sender's address and nothing else in it. */
TEST_F(pair, arrives)
{
	static const uint8_t zero[3];

	ASSERT_EQ(1000, dgram_send(self->from, self->to_port, self->data, 1000));
	ASSERT_EQ(1000, dgram_receive(self->to, self->in, 4096, 0, &self->sender));
	EXPECT_EQ(0, memcmp(self->in, self->data, 1000));
	EXPECT_EQ(vsock_family(), self->sender.svm_family);
	EXPECT_EQ(vsock_own_cid(), self->sender.svm_cid);
	EXPECT_EQ(self->from_port, self->sender.svm_port);
	EXPECT_EQ(0, self->sender.svm_reserved1);
	EXPECT_EQ(0, self->sender.svm_flags);
	EXPECT_EQ(0, memcmp(self->sender.svm_zero, zero, sizeof(zero)));
	EXPECT_EQ(-1, recv(self->to, self->in, 1, MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
}

/* And can be answered to that address. */
TEST_F(pair, answer)
{
	ASSERT_EQ(4, dgram_send(self->from, self->to_port, "ping", 4));
	ASSERT_EQ(4, dgram_receive(self->to, self->in, 4096, 0, &self->sender));
	ASSERT_EQ(4, sendto(self->to, "pong", 4, 0,
			    (struct sockaddr *)&self->sender,
			    sizeof(self->sender)));
	ASSERT_EQ(4, dgram_receive(self->from, self->in, 4096, 0, &self->sender));
	EXPECT_EQ(0, memcmp(self->in, "pong", 4));
	EXPECT_EQ(self->to_port, self->sender.svm_port);
}

/* Who is bound to a CID sends from it; the wildcard CID is this machine. */
TEST_F(pair, addresses)
{
	struct sockaddr_vm to = vsock_address(VMADDR_CID_ANY, self->to_port);
	int fd = dgram_socket(0);

	ASSERT_EQ(0, vsock_bind(fd, VMADDR_CID_LOCAL, PORT));
	ASSERT_EQ(1, dgram_send(fd, self->to_port, "x", 1));
	ASSERT_EQ(1, dgram_receive(self->to, self->in, 10, 0, &self->sender));
	EXPECT_EQ(VMADDR_CID_LOCAL, self->sender.svm_cid);
	EXPECT_EQ(PORT, self->sender.svm_port);
	ASSERT_EQ(1, sendto(self->from, "x", 1, 0, (struct sockaddr *)&to,
			    sizeof(to)));
	ASSERT_EQ(1, dgram_receive(self->to, self->in, 10, 0, &self->sender));
	EXPECT_EQ(VMADDR_CID_LOCAL, self->sender.svm_cid);
	close(fd);
}

/* A datagram to oneself. */
TEST_F(pair, to_oneself)
{
	ASSERT_EQ(1, dgram_send(self->to, self->to_port, "x", 1));
	ASSERT_EQ(1, dgram_receive(self->to, self->in, 10, 0, &self->sender));
	EXPECT_EQ(self->to_port, self->sender.svm_port);
}

/* Every size up to the largest arrives whole; beyond that it is EMSGSIZE. */
TEST_F(pair, sizes)
{
	static const size_t sizes[] = {
		0, 1, 1024, 2047, 2048, 2049, 4096, 5000, 32768, 32769,
		LARGEST - 1, LARGEST,
	};
	uint8_t *out = malloc(LARGEST + 1), *in = malloc(LARGEST + 1);

	random_fill(out, LARGEST + 1, 3);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		ASSERT_EQ((ssize_t)sizes[i], dgram_send(self->from, self->to_port,
							out, sizes[i]));
		ASSERT_EQ((ssize_t)sizes[i],
			  dgram_receive(self->to, in, LARGEST + 1, 0, &self->sender));
		EXPECT_EQ(0, memcmp(in, out, sizes[i]));
	}
	EXPECT_EQ(-1, dgram_send(self->from, self->to_port, out, LARGEST + 1));
	EXPECT_EQ(EMSGSIZE, errno);
	EXPECT_EQ(-1, recv(self->to, in, 1, MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
	free(out);
	free(in);
}

/* Boundaries are kept, and the order of one sender. */
TEST_F(pair, boundaries)
{
	for (int i = 1; i <= 20; i++)
		ASSERT_EQ(i, dgram_send(self->from, self->to_port, self->data, i));
	for (int i = 1; i <= 20; i++)
		ASSERT_EQ(i, recv(self->to, self->in, 4096,
				  MSG_DONTWAIT | MSG_WAITALL));
}

/* A datagram of nothing is a datagram: readable, received, with a sender. */
TEST_F(pair, of_nothing)
{
	ASSERT_EQ(0, dgram_send(self->from, self->to_port, NULL, 0));
	EXPECT_EQ(POLLIN, poll_for(self->to, POLLIN, 0));
	EXPECT_EQ(0, dgram_queued(self->to, SIOCINQ));
	ASSERT_EQ(0, dgram_receive(self->to, self->in, 10, 0, &self->sender));
	EXPECT_EQ(self->from_port, self->sender.svm_port);
	EXPECT_EQ(0, poll_for(self->to, POLLIN, 0));
}

/* What the reader has no room for is lost, and it is told so. */
TEST_F(pair, cut)
{
	struct iovec part = { .iov_base = self->in, .iov_len = 10 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };

	ASSERT_EQ(100, dgram_send(self->from, self->to_port, self->data, 100));
	ASSERT_EQ(10, dgram_send(self->from, self->to_port, self->data, 10));
	EXPECT_EQ(10, recvmsg(self->to, &message, MSG_DONTWAIT));
	EXPECT_EQ(MSG_TRUNC, message.msg_flags);
	EXPECT_EQ(0, memcmp(self->in, self->data, 10));
	EXPECT_EQ(10, recvmsg(self->to, &message, MSG_DONTWAIT));
	EXPECT_EQ(0, message.msg_flags);
	EXPECT_EQ(-1, recvmsg(self->to, &message, MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
}

/* With MSG_TRUNC the result is the real length, with MSG_PEEK too. */
TEST_F(pair, real_length)
{
	ASSERT_EQ(100, dgram_send(self->from, self->to_port, self->data, 100));
	EXPECT_EQ(100, recv(self->to, NULL, 0, MSG_TRUNC | MSG_PEEK | MSG_DONTWAIT));
	memset(self->in, 0, 20);
	EXPECT_EQ(100, recv(self->to, self->in, 10, MSG_TRUNC | MSG_DONTWAIT));
	EXPECT_EQ(0, memcmp(self->in, self->data, 10));
	EXPECT_EQ(0, self->in[10]);
	EXPECT_EQ(-1, recv(self->to, self->in, 1, MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
}

/* A length of zero waits for a datagram as any other, and takes it. */
TEST_F(pair, length_of_zero)
{
	EXPECT_EQ(-1, recv(self->to, NULL, 0, MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
	ASSERT_EQ(100, dgram_send(self->from, self->to_port, self->data, 100));
	EXPECT_EQ(0, recv(self->to, NULL, 0, MSG_DONTWAIT));
	EXPECT_EQ(-1, recv(self->to, self->in, 1, MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
}

/* MSG_PEEK consumes nothing. */
TEST_F(pair, peek)
{
	ASSERT_EQ(100, dgram_send(self->from, self->to_port, self->data, 100));
	ASSERT_EQ(50, dgram_send(self->from, self->to_port, self->data, 50));
	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(100, dgram_receive(self->to, self->in, 4096, MSG_PEEK,
					     &self->sender));
		EXPECT_EQ(self->from_port, self->sender.svm_port);
		EXPECT_EQ(0, memcmp(self->in, self->data, 100));
	}
	EXPECT_EQ(10, recv(self->to, self->in, 10, MSG_PEEK | MSG_DONTWAIT));
	EXPECT_EQ(100, recv(self->to, self->in, 4096, MSG_DONTWAIT));
	EXPECT_EQ(50, recv(self->to, self->in, 4096, MSG_DONTWAIT));
}

/* It waits for a datagram as well. */
TEST_F(pair, peek_waits)
{
	struct caller caller = {
		.fd = self->to, .call = call_recv, .data = self->in, .len = 10,
		.flags = MSG_PEEK,
	};

	ASSERT_TRUE(caller_start(&caller));
	ASSERT_FALSE(caller_is_done(&caller));
	ASSERT_EQ(5, dgram_send(self->from, self->to_port, self->data, 5));
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ(5, caller.result);
	EXPECT_EQ(5, recv(self->to, self->in, 10, MSG_DONTWAIT));
}

/* Without waiting: EAGAIN. With SO_RCVTIMEO: EAGAIN when that is over. */
TEST_F(pair, without_waiting)
{
	long began;

	EXPECT_EQ(-1, recv(self->to, self->in, 10, MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
	ASSERT_EQ(0, set_timeout(self->to, SO_RCVTIMEO, 200));
	began = now_ms();
	EXPECT_EQ(-1, recv(self->to, self->in, 10, 0));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_LE(190, now_ms() - began);
	EXPECT_GE(2000, now_ms() - began);
	/* A non-blocking socket, which nobody has bound. */
	close(self->to);
	self->to = dgram_socket(SOCK_NONBLOCK);
	EXPECT_EQ(-1, recv(self->to, self->in, 10, 0));
	EXPECT_EQ(EAGAIN, errno);
}

/* A signal ends the wait with EINTR, or the call is restarted. */
TEST_F(pair, signal)
{
	struct caller caller = {
		.fd = self->to, .call = call_recv, .data = self->in, .len = 10,
	};

	ignore_with_handler(SIGUSR1, 0);
	EXPECT_TRUE(caller_is_interrupted(&caller));
	ignore_with_handler(SIGUSR1, SA_RESTART);
	ASSERT_TRUE(caller_start(&caller));
	pthread_kill(caller.thread, SIGUSR1);
	sleep_ms(SETTLE_MS);
	EXPECT_FALSE(caller_is_done(&caller));
	ASSERT_EQ(1, dgram_send(self->from, self->to_port, "x", 1));
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ(1, caller.result);
}

/* A datagram that cannot be copied is lost; one that is only peeked at stays. */
TEST_F(pair, unwritable_buffer)
{
	ASSERT_EQ(100, dgram_send(self->from, self->to_port, self->data, 100));
	ASSERT_EQ(50, dgram_send(self->from, self->to_port, self->data, 50));
	EXPECT_EQ(-1, recv(self->to, (void *)8, 100, MSG_PEEK));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(100, dgram_queued(self->to, SIOCINQ));
	EXPECT_EQ(-1, recv(self->to, (void *)8, 100, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(50, recv(self->to, self->in, 4096, MSG_DONTWAIT));
}

/* One that cannot be read is not sent, in part neither. */
TEST_F(pair, unreadable_buffer)
{
	long page = sysconf(_SC_PAGESIZE);
	char *map = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, (void *)map);
	memset(map, 1, page);
	ASSERT_EQ(0, munmap(map + page, page));
	EXPECT_EQ(-1, dgram_send(self->from, self->to_port, (void *)8, 100));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, dgram_send(self->from, self->to_port, map + page - 10, 100));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, dgram_send(self->from, self->to_port, map, 2 * page));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, recv(self->to, self->in, 10, MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
	munmap(map, page);
}

/* A datagram in parts, and several datagrams in a call. */
TEST_F(pair, parts)
{
	struct sockaddr_vm to = vsock_address(vsock_own_cid(), self->to_port);
	struct iovec out[2] = {
		{ .iov_base = self->data, .iov_len = 10 },
		{ .iov_base = self->data + 10, .iov_len = 90 },
	};
	struct iovec in[3] = {
		{ .iov_base = self->in, .iov_len = 50 },
		{ .iov_base = self->in + 50, .iov_len = 50 },
		{ .iov_base = self->in + 100, .iov_len = 50 },
	};
	struct mmsghdr messages[3] = { 0 };

	for (int i = 0; i < 2; i++) {
		messages[i].msg_hdr = (struct msghdr) {
			.msg_name = &to, .msg_namelen = sizeof(to),
			.msg_iov = out, .msg_iovlen = 2 - i,
		};
	}
	ASSERT_EQ(2, sendmmsg(self->from, messages, 2, 0));
	EXPECT_EQ(100, messages[0].msg_len);
	EXPECT_EQ(10, messages[1].msg_len);
	ASSERT_EQ(100, readv(self->to, in, 3));
	EXPECT_EQ(0, memcmp(self->in, self->data, 100));
	ASSERT_EQ(2, sendmmsg(self->from, messages, 2, 0));
	memset(messages, 0, sizeof(messages));
	for (int i = 0; i < 3; i++) {
		messages[i].msg_hdr.msg_iov = &in[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	/* It waits for one, and takes what is there. */
	ASSERT_EQ(3, recvmmsg(self->to, messages, 3, MSG_WAITFORONE, NULL));
	EXPECT_EQ(10, messages[0].msg_len);
	EXPECT_EQ(50, messages[1].msg_len);
	EXPECT_EQ(MSG_TRUNC, messages[1].msg_hdr.msg_flags);
	EXPECT_EQ(10, messages[2].msg_len);
}

/* Who does not ask for the sender is not told, and a short name is cut. */
TEST_F(pair, message_name)
{
	struct iovec part = { .iov_base = self->in, .iov_len = 10 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
	uint8_t name[16];

	memset(name, 0xa5, sizeof(name));
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(5, dgram_send(self->from, self->to_port, self->data, 5));
	EXPECT_EQ(5, recvmsg(self->to, &message, MSG_DONTWAIT));
	EXPECT_EQ(0, message.msg_namelen);
	message.msg_name = name;
	message.msg_namelen = 4;
	EXPECT_EQ(5, recvmsg(self->to, &message, MSG_DONTWAIT));
	EXPECT_EQ(sizeof(struct sockaddr_vm), message.msg_namelen);
	EXPECT_EQ(0xa5, name[4]);
}

/* There is no urgent data; other flags have no effect. */
TEST_F(pair, flags)
{
	struct sockaddr_vm to = vsock_address(vsock_own_cid(), self->to_port);
	static const int flags[] = {
		MSG_MORE, MSG_DONTROUTE, MSG_CONFIRM, MSG_EOR, MSG_DONTWAIT,
		MSG_NOSIGNAL, MSG_ZEROCOPY,
	};

	EXPECT_EQ(-1, sendto(self->from, "x", 1, MSG_OOB, (struct sockaddr *)&to,
			     sizeof(to)));
	EXPECT_EQ(EOPNOTSUPP, errno);
	EXPECT_EQ(-1, recv(self->to, self->in, 1, MSG_OOB | MSG_DONTWAIT));
	EXPECT_EQ(EOPNOTSUPP, errno);
	/* What would be copied in any case is not lent. */
	EXPECT_EQ(-1, set_int(self->from, SOL_SOCKET, SO_ZEROCOPY, 1));
	EXPECT_EQ(EOPNOTSUPP, errno);
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		EXPECT_EQ(1, sendto(self->from, "x", 1, flags[i],
				    (struct sockaddr *)&to, sizeof(to)));
		EXPECT_EQ(1, recv(self->to, self->in, 1, MSG_DONTWAIT));
	}
}

/* SIOCINQ is the length of the next datagram; nothing is ever unsent. */
TEST_F(pair, queued)
{
	EXPECT_EQ(0, dgram_queued(self->to, SIOCINQ));
	ASSERT_EQ(100, dgram_send(self->from, self->to_port, self->data, 100));
	ASSERT_EQ(50, dgram_send(self->from, self->to_port, self->data, 50));
	EXPECT_EQ(100, dgram_queued(self->to, SIOCINQ));
	EXPECT_EQ(0, dgram_queued(self->from, SIOCOUTQ));
	EXPECT_EQ(1, recv(self->to, self->in, 1, 0));
	EXPECT_EQ(50, dgram_queued(self->to, SIOCINQ));
	EXPECT_EQ(1, recv(self->to, self->in, 1, 0));
	EXPECT_EQ(0, dgram_queued(self->to, SIOCINQ));
}

/* When it came is told with it, if somebody wants to know. */
TEST_F(pair, timestamp)
{
	union {
		char bytes[256];
		struct cmsghdr align;
	} control;
	struct iovec part = { .iov_base = self->in, .iov_len = 10 };
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};
	struct timespec sent, arrived;
	struct cmsghdr *first;

	ASSERT_EQ(0, set_int(self->to, SOL_SOCKET, SO_TIMESTAMPNS, 1));
	ASSERT_EQ(1, dgram_send(self->from, self->to_port, "x", 1));
	clock_gettime(CLOCK_REALTIME, &sent);
	sleep_ms(50);
	ASSERT_EQ(1, recvmsg(self->to, &message, 0));
	first = CMSG_FIRSTHDR(&message);
	ASSERT_NE(NULL, first);
	EXPECT_EQ(SOL_SOCKET, first->cmsg_level);
	EXPECT_EQ(SO_TIMESTAMPNS, first->cmsg_type);
	memcpy(&arrived, CMSG_DATA(first), sizeof(arrived));
	/* Not later than the send has returned. */
	EXPECT_LE(arrived.tv_sec, sent.tv_sec);
	EXPECT_LT(arrived.tv_sec * 1000000000L + arrived.tv_nsec,
		  sent.tv_sec * 1000000000L + sent.tv_nsec + 1);
	/* And not where there is no room for it. */
	ASSERT_EQ(1, dgram_send(self->from, self->to_port, "x", 1));
	message.msg_controllen = sizeof(struct cmsghdr) - 1;
	ASSERT_EQ(1, recvmsg(self->to, &message, 0));
	EXPECT_EQ(MSG_CTRUNC, message.msg_flags);
}

/* --- Where a datagram goes */

/* A destination is needed, and it has to be an address of this machine. */
TEST_F(pair, destination)
{
	struct sockaddr_vm to = vsock_address(VMADDR_CID_HOST, self->to_port);
	struct sockaddr *address = (struct sockaddr *)&to;

	EXPECT_EQ(-1, send(self->from, "x", 1, MSG_NOSIGNAL));
	EXPECT_EQ(EDESTADDRREQ, errno);
	EXPECT_EQ(-1, sendto(self->from, "x", 1, 0, address, sizeof(to)));
	EXPECT_EQ(ENODEV, errno);
	EXPECT_EQ(-1, vsock_connect(self->from, VMADDR_CID_HOST, PORT));
	EXPECT_EQ(ENODEV, errno);
	EXPECT_EQ(-1, vsock_connect(self->from, CID_NOBODY, PORT));
	EXPECT_EQ(ENODEV, errno);
	to = vsock_address(vsock_own_cid(), VMADDR_PORT_ANY);
	EXPECT_EQ(-1, sendto(self->from, "x", 1, 0, address, sizeof(to)));
	EXPECT_EQ(EINVAL, errno);
	to.svm_port = self->to_port;
	EXPECT_EQ(-1, sendto(self->from, "x", 1, 0, address, sizeof(to) - 1));
	EXPECT_EQ(EINVAL, errno);
	to.svm_family = AF_INET;
	EXPECT_EQ(-1, sendto(self->from, "x", 1, 0, address, sizeof(to)));
	EXPECT_EQ(EAFNOSUPPORT, errno);
	EXPECT_EQ(-1, peer_of(self->from, &to));
	EXPECT_EQ(ENOTCONN, errno);
	EXPECT_EQ(-1, recv(self->to, self->in, 1, MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
}

/* Nobody is there: the sender is told, by each send anew. */
TEST_F(pair, nobody)
{
	EXPECT_EQ(-1, dgram_send(self->from, PORT, "x", 1));
	EXPECT_EQ(ECONNREFUSED, errno);
	/* To connect it needs nobody. */
	ASSERT_EQ(0, vsock_connect(self->from, vsock_own_cid(), PORT));
	for (int i = 0; i < 2; i++) {
		EXPECT_EQ(-1, send(self->from, "x", 1, 0));
		EXPECT_EQ(ECONNREFUSED, errno);
	}
	EXPECT_EQ(0, socket_error(self->from));
	/* And later somebody comes, and goes. */
	close(self->to);
	self->to = dgram_socket(0);
	ASSERT_EQ(0, vsock_bind(self->to, VMADDR_CID_ANY, PORT));
	EXPECT_EQ(1, send(self->from, "x", 1, 0));
	close(self->to);
	self->to = -1;
	EXPECT_EQ(-1, send(self->from, "x", 1, 0));
	EXPECT_EQ(ECONNREFUSED, errno);
}

/* A peer is where datagrams go that have no destination of their own. */
TEST_F(pair, peer)
{
	struct sockaddr_vm peer;
	int other = dgram_bound();

	ASSERT_EQ(0, vsock_connect(self->from, vsock_own_cid(), self->to_port));
	ASSERT_EQ(0, peer_of(self->from, &peer));
	EXPECT_EQ(vsock_own_cid(), peer.svm_cid);
	EXPECT_EQ(self->to_port, peer.svm_port);
	EXPECT_EQ(self->from_port, local_port(self->from));
	ASSERT_EQ(3, write(self->from, "one", 3));
	ASSERT_EQ(3, dgram_receive(self->to, self->in, 10, 0, &self->sender));
	EXPECT_EQ(self->from_port, self->sender.svm_port);
	/* One with a destination goes there. */
	ASSERT_EQ(3, dgram_send(self->from, local_port(other), "two", 3));
	EXPECT_EQ(3, recv(other, self->in, 10, MSG_DONTWAIT));
	EXPECT_EQ(-1, recv(self->to, self->in, 10, MSG_DONTWAIT));
	/* Another peer may follow. */
	ASSERT_EQ(0, vsock_connect(self->from, vsock_own_cid(), local_port(other)));
	ASSERT_EQ(5, send(self->from, "three", 5, 0));
	EXPECT_EQ(5, read(other, self->in, 10));
	close(other);
}

/* Whoever has a peer takes from it alone; what came before stays. */
TEST_F(pair, takes_from_its_peer)
{
	int stranger = dgram_bound();

	ASSERT_EQ(6, dgram_send(stranger, self->to_port, "before", 6));
	ASSERT_EQ(0, vsock_connect(self->to, vsock_own_cid(), self->from_port));
	EXPECT_EQ(-1, dgram_send(stranger, self->to_port, "after", 5));
	EXPECT_EQ(ECONNREFUSED, errno);
	ASSERT_EQ(4, dgram_send(self->from, self->to_port, "mine", 4));
	EXPECT_EQ(6, recv(self->to, self->in, 10, MSG_DONTWAIT));
	EXPECT_EQ(4, recv(self->to, self->in, 10, MSG_DONTWAIT));
	EXPECT_EQ(-1, recv(self->to, self->in, 10, MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
	/* Another end of the same peer is a stranger. */
	if (vsock_own_cid() != VMADDR_CID_LOCAL) {
		struct sockaddr_vm to = vsock_address(VMADDR_CID_LOCAL, self->to_port);

		EXPECT_EQ(-1, sendto(self->from, "x", 1, 0,
				     (struct sockaddr *)&to, sizeof(to)));
		EXPECT_EQ(ECONNREFUSED, errno);
	}
	close(stranger);
}

/* connect() with AF_UNSPEC ends that. */
TEST_F(pair, no_peer_any_more)
{
	const sa_family_t none = AF_UNSPEC;
	struct sockaddr_vm peer;
	int stranger = dgram_bound();

	ASSERT_EQ(0, vsock_connect(self->to, vsock_own_cid(), self->from_port));
	ASSERT_EQ(0, dissolve(self->to));
	EXPECT_EQ(-1, peer_of(self->to, &peer));
	EXPECT_EQ(ENOTCONN, errno);
	EXPECT_EQ(-1, send(self->to, "x", 1, MSG_NOSIGNAL));
	EXPECT_EQ(EDESTADDRREQ, errno);
	EXPECT_EQ(self->to_port, local_port(self->to));
	ASSERT_EQ(1, dgram_send(stranger, self->to_port, "x", 1));
	EXPECT_EQ(1, recv(self->to, self->in, 10, MSG_DONTWAIT));
	/* Without a peer it is no error, and the family alone is enough. */
	EXPECT_EQ(0, connect(self->to, (const struct sockaddr *)&none, sizeof(none)));
	close(stranger);
}

/* --- Shutting down, and what poll says */

static int mask_of(int fd)
{
	return poll_for(fd, ALL_EVENTS, 0);
}

/* After SHUT_RD what is queued stays, then 0; senders are told. */
TEST_F(pair, end_of_receiving)
{
	ASSERT_EQ(0, vsock_connect(self->to, vsock_own_cid(), self->from_port));
	ASSERT_EQ(3, dgram_send(self->from, self->to_port, "abc", 3));
	ASSERT_EQ(0, shutdown(self->to, SHUT_RD));
	/* No SIGPIPE, which would end this test. */
	EXPECT_EQ(-1, dgram_send(self->from, self->to_port, "x", 1));
	EXPECT_EQ(EPIPE, errno);
	EXPECT_EQ(READABLE | POLLRDHUP | WRITABLE, mask_of(self->to));
	EXPECT_EQ(3, recv(self->to, self->in, 10, 0));
	EXPECT_EQ(0, recv(self->to, self->in, 10, 0));
	EXPECT_EQ(0, recv(self->to, self->in, 10, MSG_DONTWAIT));
	EXPECT_EQ(READABLE | POLLRDHUP | WRITABLE, mask_of(self->to));
	/* The other direction goes on. */
	EXPECT_EQ(1, send(self->to, "x", 1, 0));
	EXPECT_EQ(1, recv(self->from, self->in, 10, 0));
}

/* After SHUT_WR sending is EPIPE, without a signal. */
TEST_F(pair, end_of_sending)
{
	ASSERT_EQ(0, vsock_connect(self->from, vsock_own_cid(), self->to_port));
	ASSERT_EQ(0, shutdown(self->from, SHUT_WR));
	EXPECT_EQ(-1, send(self->from, "x", 1, 0));
	EXPECT_EQ(EPIPE, errno);
	EXPECT_EQ(-1, dgram_send(self->from, self->to_port, "x", 1));
	EXPECT_EQ(EPIPE, errno);
	ASSERT_EQ(1, dgram_send(self->to, self->from_port, "x", 1));
	EXPECT_EQ(1, recv(self->from, self->in, 10, 0));
}

static ssize_t call_poll_nothing(struct caller *caller)
{
	return poll_for(caller->fd, 0, -1);
}

/* Without a peer it is ENOTCONN, and done all the same: sleepers wake. */
TEST_F(pair, end_without_a_peer)
{
	struct caller reader = {
		.fd = self->to, .call = call_recv, .data = self->in, .len = 10,
	};
	struct caller poller = { .fd = self->to, .call = call_poll_nothing };

	ASSERT_TRUE(caller_start(&reader));
	ASSERT_TRUE(caller_start(&poller));
	ASSERT_FALSE(caller_is_done(&reader));
	EXPECT_EQ(-1, shutdown(self->to, SHUT_RD));
	EXPECT_EQ(ENOTCONN, errno);
	ASSERT_TRUE(caller_join(&reader));
	EXPECT_EQ(0, reader.result);
	sleep_ms(SETTLE_MS);
	EXPECT_FALSE(caller_is_done(&poller));
	EXPECT_EQ(-1, shutdown(self->to, SHUT_WR));
	ASSERT_TRUE(caller_join(&poller));
	EXPECT_EQ(POLLHUP, poller.result);
	EXPECT_EQ(READABLE | POLLRDHUP | POLLHUP | WRITABLE, mask_of(self->to));
}

/* Writable at any time, readable with a datagram. */
TEST_F(pair, mask)
{
	int fd = dgram_socket(0);

	EXPECT_EQ(WRITABLE, mask_of(fd));
	close(fd);
	EXPECT_EQ(WRITABLE, mask_of(self->to));
	/* Whatever SO_RCVLOWAT says: one datagram is enough. */
	ASSERT_EQ(0, set_int(self->to, SOL_SOCKET, SO_RCVLOWAT, 1000));
	ASSERT_EQ(1, dgram_send(self->from, self->to_port, "x", 1));
	EXPECT_EQ(WRITABLE | READABLE, mask_of(self->to));
	EXPECT_EQ(1, recv(self->to, self->in, 10, 0));
	EXPECT_EQ(WRITABLE, mask_of(self->to));
}

TEST_HARNESS_MAIN
