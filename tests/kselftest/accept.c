// SPDX-License-Identifier: GPL-2.0
/*
 * Connections that the host makes: the test listens, and asks the host's
 * service port to connect to it.
 */
#include "vsock_harness.h"

#include <fcntl.h>

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

/* Does the host's echo answer on this connection? */
static bool echoes(int fd)
{
	char out[] = "how are you?", in[sizeof(out)] = "";

	return !send_all(fd, out, sizeof(out)) &&
	       !recv_all(fd, in, sizeof(in)) && !memcmp(in, out, sizeof(in));
}

/* accept() gives a connection in which data flow both ways. */
TEST_F(listener, accept)
{
	struct dial_result host;
	int asking = vsock_dial(self->port, "echo");
	int fd;

	ASSERT_LE(0, asking);
	fd = accept(self->fd, NULL, NULL);
	ASSERT_LE(0, fd);
	EXPECT_TRUE(echoes(fd));
	close(fd);
	ASSERT_EQ(0, vsock_dial_result(asking, &host));
	EXPECT_TRUE(host.ok)
		TH_LOG("the host says: %s", host.line);
	EXPECT_EQ(13, host.bytes_in);
	EXPECT_EQ(13, host.bytes_out);
	close(asking);
}

/* A blocked accept is woken by the connection that comes. */
TEST_F(listener, blocked_accept)
{
	struct caller caller = { .fd = self->fd, .call = call_accept };
	int asking;

	ASSERT_TRUE(caller_start(&caller));
	ASSERT_FALSE(caller_is_done(&caller));
	asking = vsock_dial(self->port, "echo");
	ASSERT_LE(0, asking);
	ASSERT_TRUE(caller_join(&caller));
	ASSERT_LE(0, caller.result);
	EXPECT_TRUE(echoes(caller.result));
	close(caller.result);
	close(asking);
}

/* Two blocked accepts get one connection each. */
TEST_F(listener, two_blocked_accepts)
{
	struct caller callers[2];
	int asking[2];

	for (int i = 0; i < 2; i++) {
		callers[i] = (struct caller) {
			.fd = self->fd, .call = call_accept,
		};
		ASSERT_TRUE(caller_start(&callers[i]));
	}
	for (int i = 0; i < 2; i++) {
		asking[i] = vsock_dial(self->port, "echo");
		ASSERT_LE(0, asking[i]);
	}
	for (int i = 0; i < 2; i++) {
		ASSERT_TRUE(caller_join(&callers[i]));
		ASSERT_LE(0, callers[i].result);
	}
	EXPECT_NE(callers[0].result, callers[1].result);
	for (int i = 0; i < 2; i++) {
		EXPECT_TRUE(echoes(callers[i].result));
		close(callers[i].result);
		close(asking[i]);
	}
}

/* The peer's address: the host's CID, a port, and nothing uninitialised. */
TEST_F(listener, addresses)
{
	struct sockaddr_vm peer, name, again, expected;
	socklen_t len = sizeof(peer);
	int asking = vsock_dial(self->port, "echo");
	int fd;

	ASSERT_LE(0, asking);
	memset(&peer, 0xa5, sizeof(peer));
	fd = accept(self->fd, (struct sockaddr *)&peer, &len);
	ASSERT_LE(0, fd);
	EXPECT_EQ(sizeof(peer), len);
	expected = vsock_address(vsock_peer_cid(), peer.svm_port);
	EXPECT_EQ(0, memcmp(&expected, &peer, sizeof(peer)));

	ASSERT_EQ(0, getpeername(fd, (struct sockaddr *)&again, &len));
	EXPECT_EQ(0, memcmp(&peer, &again, sizeof(peer)));

	ASSERT_EQ(0, getsockname(fd, (struct sockaddr *)&name, &len));
	expected = vsock_address(vsock_own_cid(), self->port);
	EXPECT_EQ(0, memcmp(&expected, &name, sizeof(name)));
	close(fd);
	close(asking);
}

/* accept(): an address that is cut short says how long it is. */
TEST_F(listener, short_address_buffer)
{
	uint8_t name[8], untouched = 0xee;
	socklen_t len = 4;
	int asking = vsock_dial(self->port, "echo");
	int fd;

	ASSERT_LE(0, asking);
	memset(name, untouched, sizeof(name));
	fd = accept(self->fd, (struct sockaddr *)name, &len);
	ASSERT_LE(0, fd);
	EXPECT_EQ(sizeof(struct sockaddr_vm), len);
	EXPECT_EQ(untouched, name[4]);
	close(fd);
	close(asking);
}

/* accept4(): its flags are those of the new socket; they are not inherited. */
TEST_F(listener, flags)
{
	int asking[2], fd;

	for (int i = 0; i < 2; i++) {
		asking[i] = vsock_dial(self->port, "echo");
		ASSERT_LE(0, asking[i]);
	}
	fd = accept4(self->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	ASSERT_LE(0, fd);
	EXPECT_EQ(O_NONBLOCK, fcntl(fd, F_GETFL) & O_NONBLOCK);
	EXPECT_EQ(FD_CLOEXEC, fcntl(fd, F_GETFD));
	close(fd);

	ASSERT_EQ(POLLIN, poll_for(self->fd, POLLIN, PATIENCE_MS));
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_NONBLOCK));
	fd = accept(self->fd, NULL, NULL);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, fcntl(fd, F_GETFL) & O_NONBLOCK);
	EXPECT_EQ(0, fcntl(fd, F_GETFD));
	close(fd);
	close(asking[0]);
	close(asking[1]);
}

/* An accepted socket has the listener's buffer size. */
TEST_F(listener, buffer_size_is_inherited)
{
	uint64_t value = 0;
	int asking, fd;

	ASSERT_EQ(0, set_buffer(self->fd, SO_VM_SOCKETS_BUFFER_SIZE, KIB(64)));
	asking = vsock_dial(self->port, "echo");
	ASSERT_LE(0, asking);
	fd = accept(self->fd, NULL, NULL);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, get_buffer(fd, SO_VM_SOCKETS_BUFFER_SIZE, &value));
	EXPECT_EQ(KIB(64), value);
	EXPECT_TRUE(echoes(fd));
	close(fd);
	close(asking);
}

/* poll: readable while somebody waits, and not after the accept. */
TEST_F(listener, poll)
{
	int asking, fd;

	EXPECT_EQ(0, poll_for(self->fd, POLLIN, 0));
	asking = vsock_dial(self->port, "echo");
	ASSERT_LE(0, asking);
	EXPECT_EQ(POLLIN | POLLRDNORM,
		  poll_for(self->fd, POLLIN | POLLRDNORM | POLLOUT,
			   PATIENCE_MS));
	fd = accept(self->fd, NULL, NULL);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, poll_for(self->fd, POLLIN, 0));
	close(fd);
	close(asking);
}

/* A blocked poll of the listener is woken. */
TEST_F(listener, blocked_poll)
{
	struct caller caller = { .fd = self->fd, .call = call_poll_in };
	int asking;

	ASSERT_TRUE(caller_start(&caller));
	asking = vsock_dial(self->port, "echo");
	ASSERT_LE(0, asking);
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ(POLLIN, caller.result);
	close(asking);
}

/* A connection that was closed by the host before accept keeps its data. */
TEST_F(listener, data_before_accept)
{
	uint8_t data[4096];
	struct dial_result host;
	int asking = vsock_dial(self->port, "send-close 3000 1000 0");
	int fd;

	ASSERT_LE(0, asking);
	/* The host reports when it has closed. */
	ASSERT_EQ(0, vsock_dial_result(asking, &host));
	sleep_ms(SETTLE_MS);
	fd = accept(self->fd, NULL, NULL);
	ASSERT_LE(0, fd);
	EXPECT_EQ(3000, recv(fd, data, sizeof(data), MSG_WAITALL));
	EXPECT_EQ(3000, pattern_check(data, 3000, 0));
	EXPECT_EQ(0, recv(fd, data, sizeof(data), 0));
	close(fd);
	close(asking);
}

/* Nobody listens: the host's request is answered with a reset. */
TEST(reset_without_a_listener)
{
	struct dial_result host;
	int asking = vsock_dial(4321, "echo");

	ASSERT_LE(0, asking);
	ASSERT_EQ(0, vsock_dial_result(asking, &host));
	EXPECT_FALSE(host.ok)
		TH_LOG("the host says: %s", host.line);
	close(asking);
}

/* A port that is bound and does not listen refuses likewise. */
TEST(reset_when_only_bound)
{
	struct dial_result host;
	int fd = vsock_stream(0), asking;

	ASSERT_EQ(0, vsock_bind(fd, VMADDR_CID_ANY, 4322));
	asking = vsock_dial(4322, "echo");
	ASSERT_LE(0, asking);
	ASSERT_EQ(0, vsock_dial_result(asking, &host));
	EXPECT_FALSE(host.ok)
		TH_LOG("the host says: %s", host.line);
	close(fd);
	close(asking);
}

/* The backlog holds: requests beyond it are reset, the others are served. */
TEST_F(listener, backlog)
{
	enum { DIALS = 6 };
	int asking[DIALS], fd, accepted = 0, served = 0, refused = 0;
	struct dial_result host;

	ASSERT_EQ(0, listen(self->fd, 2));
	for (int i = 0; i < DIALS; i++) {
		asking[i] = vsock_dial(self->port, "send-close 10 10 0");
		ASSERT_LE(0, asking[i]);
	}
	/* All of them have had their answer when the refused ones report. */
	for (int i = 0; i < DIALS; i++) {
		ASSERT_EQ(0, vsock_dial_result(asking[i], &host));
		if (host.ok)
			served++;
		else
			refused++;
		close(asking[i]);
	}
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_NONBLOCK));
	while ((fd = accept(self->fd, NULL, NULL)) >= 0) {
		uint8_t data[20];

		accepted++;
		EXPECT_EQ(10, recv(fd, data, sizeof(data), MSG_WAITALL));
		close(fd);
	}
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(served, accepted);
	EXPECT_EQ(DIALS, served + refused);
	/* As elsewhere in Linux, a backlog of n may hold n + 1. */
	EXPECT_LE(2, accepted);
	EXPECT_GE(3, accepted);
	/* An emptied backlog takes new ones. */
	asking[0] = vsock_dial(self->port, "echo");
	ASSERT_LE(0, asking[0]);
	ASSERT_EQ(POLLIN, poll_for(self->fd, POLLIN, PATIENCE_MS));
	fd = accept(self->fd, NULL, NULL);
	ASSERT_LE(0, fd);
	EXPECT_TRUE(echoes(fd));
	close(fd);
	close(asking[0]);
}

/* Closing the listener ends the connections that nobody accepted. */
TEST_F(listener, closed_with_pending_connections)
{
	struct dial_result host;
	int asking[3];

	for (int i = 0; i < 3; i++) {
		asking[i] = vsock_dial(self->port, "echo");
		ASSERT_LE(0, asking[i]);
	}
	ASSERT_EQ(POLLIN, poll_for(self->fd, POLLIN, PATIENCE_MS));
	sleep_ms(SETTLE_MS);
	ASSERT_EQ(0, close(self->fd));
	self->fd = -1;
	/* The host's echo ends only when its connection does. */
	for (int i = 0; i < 3; i++) {
		EXPECT_EQ(0, vsock_dial_result(asking[i], &host));
		close(asking[i]);
	}
}

/* An accepted connection outlives its listener. */
TEST_F(listener, connection_outlives_it)
{
	int asking = vsock_dial(self->port, "echo");
	int fd;

	ASSERT_LE(0, asking);
	fd = accept(self->fd, NULL, NULL);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, close(self->fd));
	self->fd = -1;
	EXPECT_TRUE(echoes(fd));
	close(fd);
	close(asking);
}

/* The port can be listened on again while an old connection is open. */
TEST_F(listener, listens_again_beside_a_connection)
{
	int asking = vsock_dial(self->port, "echo");
	int fd, again, more, other;

	ASSERT_LE(0, asking);
	fd = accept(self->fd, NULL, NULL);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, close(self->fd));
	self->fd = -1;
	again = vsock_stream(0);
	ASSERT_EQ(0, vsock_bind(again, VMADDR_CID_ANY, self->port));
	ASSERT_EQ(0, listen(again, 1));
	more = vsock_dial(self->port, "echo");
	ASSERT_LE(0, more);
	other = accept(again, NULL, NULL);
	ASSERT_LE(0, other);
	EXPECT_TRUE(echoes(fd));
	EXPECT_TRUE(echoes(other));
	close(fd);
	close(other);
	close(again);
	close(asking);
	close(more);
}

/* A listener on the guest's own CID is found. */
TEST(listener_on_the_own_cid)
{
	struct sockaddr_vm address;
	socklen_t len = sizeof(address);
	int listener = vsock_stream(0), asking, fd;

	ASSERT_EQ(0, vsock_bind(listener, vsock_own_cid(), VMADDR_PORT_ANY));
	ASSERT_EQ(0, listen(listener, 1));
	ASSERT_EQ(0, getsockname(listener, (struct sockaddr *)&address, &len));
	asking = vsock_dial(address.svm_port, "echo");
	ASSERT_LE(0, asking);
	fd = accept(listener, NULL, NULL);
	ASSERT_LE(0, fd);
	EXPECT_TRUE(echoes(fd));
	close(fd);
	close(listener);
	close(asking);
}

/* shutdown() of a listener ends a poll that waits on it, too. */
TEST_F(listener, shutdown_ends_poll)
{
	struct caller caller = { .fd = self->fd, .call = call_poll_in };

	ASSERT_TRUE(caller_start(&caller));
	ASSERT_FALSE(caller_is_done(&caller));
	EXPECT_EQ(0, shutdown(self->fd, SHUT_RDWR));
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_LT(0, caller.result);
}

TEST_HARNESS_MAIN
