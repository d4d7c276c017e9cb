// SPDX-License-Identifier: GPL-2.0
/*
 * Making connections with both ends here: who waits for whom, who is refused,
 * and that nothing is left. RVSOCK_PEER_CID says by which CID; nobody has to
 * serve there.
 */
#include "vsock_harness.h"

#include <fcntl.h>

#define PORT		5500u
#define CYCLES		10000

static unsigned int peer_port(int fd)
{
	struct sockaddr_vm address;
	socklen_t len = sizeof(address);

	if (getpeername(fd, (struct sockaddr *)&address, &len))
		return VMADDR_PORT_ANY;
	return address.svm_port;
}

static int connect_to(unsigned int port)
{
	int fd = vsock_stream(0);

	if (fd >= 0 && vsock_connect(fd, vsock_peer_cid(), port)) {
		int error = errno;

		close(fd);
		errno = error;
		return -1;
	}
	return fd;
}

FIXTURE(listener)
{
	unsigned int port;
	int fd;
};

FIXTURE_SETUP(listener)
{
	self->fd = vsock_listener(&self->port, 8);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(listener)
{
	if (self->fd >= 0)
		close(self->fd);
}

/* connect() returns before accept() is called, and data can be sent by then. */
TEST_F(listener, connect_before_accept)
{
	char data[10] = "";
	int fd = connect_to(self->port), accepted;

	ASSERT_LE(0, fd);
	EXPECT_EQ(6, send(fd, "before", 6, 0));
	accepted = accept(self->fd, NULL, NULL);
	ASSERT_LE(0, accepted);
	EXPECT_EQ(6, recv(accepted, data, 6, MSG_WAITALL));
	EXPECT_EQ(0, memcmp(data, "before", 6));
	close(accepted);
	close(fd);
}

/* A client that has closed by the time of accept() leaves data and the end. */
TEST_F(listener, closed_before_accept)
{
	char data[10] = "";
	int fd = connect_to(self->port), accepted;

	ASSERT_LE(0, fd);
	EXPECT_EQ(6, send(fd, "before", 6, 0));
	ASSERT_EQ(0, close(fd));
	sleep_ms(SETTLE_MS);
	accepted = accept(self->fd, NULL, NULL);
	ASSERT_LE(0, accepted);
	EXPECT_EQ(6, recv(accepted, data, sizeof(data), MSG_WAITALL));
	EXPECT_EQ(0, memcmp(data, "before", 6));
	EXPECT_EQ(0, recv(accepted, data, sizeof(data), 0));
	EXPECT_EQ(-1, send(accepted, data, 1, MSG_NOSIGNAL));
	EXPECT_EQ(EPIPE, errno);
	close(accepted);
}

/* accept() gives the connections in the order in which they were made. */
TEST_F(listener, order)
{
	int fds[5];

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = connect_to(self->port);
		ASSERT_LE(0, fds[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		int accepted = accept(self->fd, NULL, NULL);

		ASSERT_LE(0, accepted);
		EXPECT_EQ(local_port(fds[i]), peer_port(accepted));
		close(accepted);
		close(fds[i]);
	}
}

/* Nobody listens: ECONNRESET, at once; then the socket can try again. */
TEST_F(listener, refused)
{
	long began = now_ms();
	int fd = vsock_stream(0);

	EXPECT_EQ(-1, vsock_connect(fd, vsock_peer_cid(), PORT_NOBODY));
	EXPECT_EQ(ECONNRESET, errno);
	EXPECT_GE(1000, now_ms() - began);
	EXPECT_EQ(0, socket_error(fd));
	EXPECT_EQ(VMADDR_PORT_ANY, peer_port(fd));
	EXPECT_EQ(0, vsock_connect(fd, vsock_peer_cid(), self->port));
	close(fd);
}

/* A socket that is bound and does not listen refuses, too. */
TEST_F(listener, refused_by_one_that_is_bound)
{
	int fd = vsock_stream(0), bound = vsock_stream(0);

	ASSERT_EQ(0, vsock_bind(bound, VMADDR_CID_ANY, PORT));
	EXPECT_EQ(-1, vsock_connect(fd, vsock_peer_cid(), PORT));
	EXPECT_EQ(ECONNRESET, errno);
	ASSERT_EQ(0, listen(bound, 1));
	EXPECT_EQ(0, vsock_connect(fd, vsock_peer_cid(), PORT));
	close(fd);
	close(bound);
}

/* O_NONBLOCK: the refusal comes with connect or shows in poll and SO_ERROR. */
TEST_F(listener, refused_without_waiting)
{
	int fd = vsock_stream(SOCK_NONBLOCK);

	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(-1, vsock_connect(fd, vsock_peer_cid(), PORT_NOBODY));
		if (errno == EINPROGRESS) {
			EXPECT_EQ(POLLOUT | POLLERR,
				  poll_for(fd, POLLOUT, PATIENCE_MS) &
				  (POLLOUT | POLLERR));
			EXPECT_EQ(ECONNRESET, socket_error(fd));
		} else {
			EXPECT_EQ(ECONNRESET, errno);
		}
		EXPECT_EQ(0, socket_error(fd));
	}
	close(fd);
}

/* The backlog is full: ECONNRESET; an accept makes room. */
TEST_F(listener, backlog)
{
	int fds[6], accepted = 0, fd;

	ASSERT_EQ(0, listen(self->fd, 2));
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = connect_to(self->port);
		if (fds[i] < 0) {
			EXPECT_EQ(ECONNRESET, errno);
		} else {
			/* Those that were taken came first. */
			EXPECT_EQ(accepted, (int)i);
			accepted++;
		}
	}
	/* As elsewhere in Linux, a backlog of n may hold n + 1. */
	EXPECT_LE(2, accepted);
	EXPECT_GE(3, accepted);
	fd = accept(self->fd, NULL, NULL);
	ASSERT_LE(0, fd);
	close(fd);
	fd = connect_to(self->port);
	EXPECT_LE(0, fd);
	close(fd);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

/* Those whom nobody accepted are reset when the listener closes. */
TEST_F(listener, closed_with_children)
{
	char byte;
	int fds[3];

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = connect_to(self->port);
		ASSERT_LE(0, fds[i]);
		ASSERT_EQ(1, send(fds[i], "x", 1, 0));
	}
	ASSERT_EQ(0, close(self->fd));
	self->fd = -1;
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		EXPECT_EQ(POLLHUP, poll_for(fds[i], 0, PATIENCE_MS) & POLLHUP);
		EXPECT_EQ(-1, recv(fds[i], &byte, 1, 0));
		EXPECT_EQ(ECONNRESET, errno);
		EXPECT_EQ(0, recv(fds[i], &byte, 1, 0));
		close(fds[i]);
	}
}

/* The same when the listener is shut down; it can listen again. */
TEST_F(listener, shut_down_with_children)
{
	int fd = connect_to(self->port), other;
	char byte;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, shutdown(self->fd, SHUT_RD));
	EXPECT_EQ(-1, recv(fd, &byte, 1, 0));
	EXPECT_EQ(ECONNRESET, errno);
	other = connect_to(self->port);
	EXPECT_EQ(-1, other);
	EXPECT_EQ(ECONNRESET, errno);
	ASSERT_EQ(0, listen(self->fd, 1));
	other = connect_to(self->port);
	EXPECT_LE(0, other);
	close(other);
	close(fd);
}

/*
 * A socket that connects to its own address: it does not listen, so there is
 * nobody to take the request. It is told so, and is none the worse for it.
 */
TEST_F(listener, self_connect)
{
	long began = now_ms();
	int fd = vsock_stream(0);

	ASSERT_EQ(0, vsock_bind(fd, vsock_peer_cid(), PORT));
	for (int i = 0; i < 3; i++) {
		EXPECT_EQ(-1, vsock_connect(fd, vsock_peer_cid(), PORT));
		EXPECT_TRUE(errno == ECONNRESET || errno == EPROTO)
			TH_LOG("%s", strerror(errno));
		EXPECT_EQ(0, socket_error(fd));
	}
	EXPECT_GE(1500, now_ms() - began);
	EXPECT_EQ(0, vsock_connect(fd, vsock_peer_cid(), self->port));
	EXPECT_EQ(PORT, local_port(fd));
	close(fd);
}

/* The same without waiting, and with the wildcard as the own address. */
TEST_F(listener, self_connect_without_waiting)
{
	int fd = vsock_stream(SOCK_NONBLOCK);

	ASSERT_EQ(0, vsock_bind(fd, VMADDR_CID_ANY, PORT));
	ASSERT_EQ(-1, vsock_connect(fd, vsock_peer_cid(), PORT));
	if (errno == EINPROGRESS) {
		EXPECT_LT(0, poll_for(fd, POLLOUT, PATIENCE_MS));
		EXPECT_LT(0, socket_error(fd));
	}
	/* That it is closed while its own packets are under way is no matter. */
	ASSERT_EQ(0, close(fd));
	fd = vsock_stream(0);
	EXPECT_EQ(0, vsock_bind(fd, VMADDR_CID_ANY, PORT));
	close(fd);
}

/* Two sockets that connect to each other, neither listening: both are refused. */
TEST_F(listener, cross_connect)
{
	int fds[2] = { vsock_stream(SOCK_NONBLOCK), vsock_stream(SOCK_NONBLOCK) };

	ASSERT_EQ(0, vsock_bind(fds[0], VMADDR_CID_ANY, PORT));
	ASSERT_EQ(0, vsock_bind(fds[1], VMADDR_CID_ANY, PORT + 1));
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(-1, vsock_connect(fds[i], vsock_peer_cid(),
					    PORT + !i));
		if (errno == EINPROGRESS) {
			EXPECT_LT(0, poll_for(fds[i], POLLOUT, PATIENCE_MS));
			EXPECT_LT(0, socket_error(fds[i]));
		}
	}
	close(fds[0]);
	close(fds[1]);
}

/* Hundreds of connections at once, each with bytes of its own. */
TEST_F(listener, many_at_once)
{
	enum { CONNECTIONS = 400 };
	static int clients[CONNECTIONS], accepted[CONNECTIONS];

	ASSERT_EQ(0, listen(self->fd, CONNECTIONS));
	for (int i = 0; i < CONNECTIONS; i++) {
		clients[i] = connect_to(self->port);
		ASSERT_LE(0, clients[i])
			TH_LOG("connection %d: %s", i, strerror(errno));
	}
	for (int i = 0; i < CONNECTIONS; i++) {
		accepted[i] = accept(self->fd, NULL, NULL);
		ASSERT_LE(0, accepted[i]);
	}
	for (int i = 0; i < CONNECTIONS; i++) {
		ASSERT_EQ(sizeof(i), send(clients[i], &i, sizeof(i), 0));
		ASSERT_EQ(sizeof(i), send(accepted[i], &i, sizeof(i), 0));
	}
	for (int i = 0; i < CONNECTIONS; i++) {
		int got = -1;

		ASSERT_EQ(0, recv_all(clients[i], &got, sizeof(got)));
		EXPECT_EQ(i, got);
		ASSERT_EQ(0, recv_all(accepted[i], &got, sizeof(got)));
		EXPECT_EQ(i, got);
		close(clients[i]);
		close(accepted[i]);
	}
}

/* Open, use and close, in each order, again and again: nothing is left. */
TEST_F_TIMEOUT(listener, cycles, 90)
{
	int before = sockets_at_rest();

	for (int i = 0; i < CYCLES / vsock_patience(); i++) {
		int fds[2], first = i & 1;
		char byte = 0;

		fds[0] = connect_to(self->port);
		ASSERT_LE(0, fds[0])
			TH_LOG("cycle %d: %s", i, strerror(errno));
		if (i % 3 == 0)
			ASSERT_EQ(1, send(fds[0], "x", 1, 0));
		fds[1] = accept(self->fd, NULL, NULL);
		ASSERT_LE(0, fds[1])
			TH_LOG("cycle %d: %s", i, strerror(errno));
		if (i % 3 == 0 && i % 5)
			ASSERT_EQ(1, recv(fds[1], &byte, 1, 0));
		if (i % 7 == 0)
			ASSERT_EQ(0, shutdown(fds[!first], i % 21 ? SHUT_WR :
						       SHUT_RD));
		ASSERT_EQ(0, close(fds[first]));
		ASSERT_EQ(0, close(fds[!first]));
	}
	EXPECT_GE(before, sockets_become(before));
}

struct dialler {
	pthread_t thread;
	unsigned int port;
	int rounds, done;
	int error;
};

static void *dial_again_and_again(void *argument)
{
	struct dialler *dialler = argument;

	while (dialler->done < dialler->rounds) {
		int fd = connect_to(dialler->port), got = -1;

		if (fd < 0 || send_all(fd, &dialler->done, sizeof(int)) ||
		    recv_all(fd, &got, sizeof(got)) || got != dialler->done) {
			dialler->error = errno;
			break;
		}
		dialler->done++;
		close(fd);
	}
	return NULL;
}

static void *serve_again_and_again(void *argument)
{
	int listener = *(int *)argument, fd, got;

	while ((fd = accept(listener, NULL, NULL)) >= 0) {
		if (!recv_all(fd, &got, sizeof(got)))
			send_all(fd, &got, sizeof(got));
		close(fd);
	}
	return NULL;
}

/* Several threads connect while several accept. */
TEST_F_TIMEOUT(listener, threads, 60)
{
	enum { DIALLERS = 6, SERVERS = 3, ROUNDS = 150 };
	struct dialler diallers[DIALLERS] = { 0 };
	pthread_t servers[SERVERS];
	int before = sockets_at_rest();

	for (int i = 0; i < SERVERS; i++)
		ASSERT_EQ(0, pthread_create(&servers[i], NULL,
					    serve_again_and_again, &self->fd));
	for (int i = 0; i < DIALLERS; i++) {
		diallers[i].port = self->port;
		diallers[i].rounds = ROUNDS;
		ASSERT_EQ(0, pthread_create(&diallers[i].thread, NULL,
					    dial_again_and_again, &diallers[i]));
	}
	for (int i = 0; i < DIALLERS; i++) {
		pthread_join(diallers[i].thread, NULL);
		EXPECT_EQ(ROUNDS, diallers[i].done)
			TH_LOG("%s", strerror(diallers[i].error));
	}
	/* This ends each accept. */
	ASSERT_EQ(0, shutdown(self->fd, SHUT_RDWR));
	for (int i = 0; i < SERVERS; i++)
		pthread_join(servers[i], NULL);
	EXPECT_GE(before, sockets_become(before));
}

TEST_HARNESS_MAIN
