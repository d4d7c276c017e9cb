// SPDX-License-Identifier: GPL-2.0
/*
 * Loopback in a guest that has a device: it has two CIDs, 1 and its own. Which
 * of them reaches which listener, and who else does.
 */
#include "vsock_harness.h"

#define PORT		5400u

static int listen_on(unsigned int cid, unsigned int port)
{
	int fd = vsock_stream(0);

	if (fd >= 0 && !vsock_bind(fd, cid, port) && !listen(fd, 2))
		return fd;
	close(fd);
	return -1;
}

/* Can the guest connect to this address, and does this listener get it? */
static bool reaches(unsigned int cid, unsigned int port, int listener)
{
	int fd = vsock_stream(0), accepted = -1;
	char byte = 0;
	bool works;

	works = !vsock_connect(fd, cid, port) &&
		poll_for(listener, POLLIN, 2000) == POLLIN &&
		(accepted = accept(listener, NULL, NULL)) >= 0 &&
		!send_all(fd, "1", 1) && !recv_all(accepted, &byte, 1) &&
		byte == '1' &&
		!send_all(accepted, "2", 1) && !recv_all(fd, &byte, 1) &&
		byte == '2';
	if (accepted >= 0)
		close(accepted);
	close(fd);
	return works;
}

static bool is_refused(unsigned int cid, unsigned int port)
{
	int fd = vsock_stream(0);
	bool refused = vsock_connect(fd, cid, port) && errno == ECONNRESET;

	close(fd);
	return refused;
}

/* A listener on the wildcard is reached by both CIDs. */
TEST(wildcard_is_reached_by_both)
{
	int listener = listen_on(VMADDR_CID_ANY, PORT);

	ASSERT_LE(0, listener);
	EXPECT_TRUE(reaches(VMADDR_CID_LOCAL, PORT, listener));
	EXPECT_TRUE(reaches(GUEST_CID, PORT, listener));
	close(listener);
}

/* A listener on one of the CIDs is reached by that one alone. */
TEST(local_is_reached_by_local)
{
	int listener = listen_on(VMADDR_CID_LOCAL, PORT);

	ASSERT_LE(0, listener);
	EXPECT_TRUE(reaches(VMADDR_CID_LOCAL, PORT, listener));
	EXPECT_TRUE(is_refused(GUEST_CID, PORT));
	close(listener);
}

TEST(own_is_reached_by_own)
{
	int listener = listen_on(GUEST_CID, PORT);

	ASSERT_LE(0, listener);
	EXPECT_TRUE(reaches(GUEST_CID, PORT, listener));
	EXPECT_TRUE(is_refused(VMADDR_CID_LOCAL, PORT));
	close(listener);
}

/* One port on each CID: two addresses, and the right one is reached. */
TEST(one_port_on_both)
{
	int local = listen_on(VMADDR_CID_LOCAL, PORT);
	int own = listen_on(GUEST_CID, PORT);

	ASSERT_LE(0, local);
	ASSERT_LE(0, own);
	EXPECT_TRUE(reaches(VMADDR_CID_LOCAL, PORT, local));
	EXPECT_TRUE(reaches(GUEST_CID, PORT, own));
	EXPECT_EQ(-1, listen_on(VMADDR_CID_ANY, PORT));
	EXPECT_EQ(EADDRINUSE, errno);
	close(local);
	close(own);
}

/* What the host connects to is the own CID: a listener on CID 1 is private. */
TEST(the_host_does_not_reach_local)
{
	int listener = listen_on(VMADDR_CID_LOCAL, PORT), asking;
	struct dial_result host;

	ASSERT_LE(0, listener);
	asking = vsock_dial(PORT, "send-close 10 10 0");
	ASSERT_LE(0, asking);
	ASSERT_EQ(0, vsock_dial_result(asking, &host));
	EXPECT_FALSE(host.ok)
		TH_LOG("the host says: %s", host.line);
	EXPECT_EQ(0, poll_for(listener, POLLIN, 0));
	EXPECT_TRUE(reaches(VMADDR_CID_LOCAL, PORT, listener));
	close(asking);
	close(listener);
}

/* One listener serves the host and this guest. */
TEST(one_listener_for_host_and_guest)
{
	int listener = listen_on(VMADDR_CID_ANY, PORT), asking, fd;
	uint8_t data[10];

	ASSERT_LE(0, listener);
	asking = vsock_dial(PORT, "send-close 10 10 0");
	ASSERT_LE(0, asking);
	fd = accept(listener, NULL, NULL);
	ASSERT_LE(0, fd);
	EXPECT_TRUE(reaches(VMADDR_CID_LOCAL, PORT, listener));
	EXPECT_EQ(10, recv(fd, data, sizeof(data), MSG_WAITALL));
	EXPECT_EQ(10, pattern_check(data, 10, 0));
	EXPECT_TRUE(reaches(GUEST_CID, PORT, listener));
	close(fd);
	close(asking);
	close(listener);
}

/* Both ends of a connection to the own CID agree on what they are called. */
TEST(names)
{
	struct sockaddr_vm client, peer, accepted, from;
	socklen_t len = sizeof(client);
	int listener = listen_on(VMADDR_CID_ANY, PORT);
	int fd = vsock_stream(0), other;

	ASSERT_LE(0, listener);
	ASSERT_EQ(0, vsock_connect(fd, GUEST_CID, PORT));
	other = accept(listener, (struct sockaddr *)&from, &len);
	ASSERT_LE(0, other);
	ASSERT_EQ(0, getsockname(fd, (struct sockaddr *)&client, &len));
	ASSERT_EQ(0, getpeername(fd, (struct sockaddr *)&peer, &len));
	EXPECT_EQ(GUEST_CID, peer.svm_cid);
	EXPECT_EQ(PORT, peer.svm_port);
	ASSERT_EQ(0, getsockname(other, (struct sockaddr *)&accepted, &len));
	EXPECT_EQ(0, memcmp(&peer, &accepted, len));
	ASSERT_EQ(0, getpeername(other, (struct sockaddr *)&accepted, &len));
	EXPECT_EQ(0, memcmp(&client, &accepted, len));
	EXPECT_EQ(0, memcmp(&client, &from, len));
	/* It is one of the CIDs at which the client could be reached. */
	EXPECT_TRUE(client.svm_cid == VMADDR_CID_LOCAL ||
		    client.svm_cid == GUEST_CID);
	close(fd);
	close(other);
	close(listener);
}

TEST_HARNESS_MAIN
