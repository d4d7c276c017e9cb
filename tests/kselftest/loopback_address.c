// SPDX-License-Identifier: GPL-2.0
/*
 * Addresses of loopback: CID 1 is there with a device and without one. What the
 * guest's own CID adds is in loopback_own_cid.c.
 */
#include "vsock_harness.h"

#define PORT		5300u

static struct sockaddr_vm name_of(int fd)
{
	struct sockaddr_vm address;
	socklen_t len = sizeof(address);

	memset(&address, 0xa5, sizeof(address));
	if (getsockname(fd, (struct sockaddr *)&address, &len))
		memset(&address, 0xee, sizeof(address));
	return address;
}

static struct sockaddr_vm peer_of(int fd)
{
	struct sockaddr_vm address;
	socklen_t len = sizeof(address);

	memset(&address, 0xa5, sizeof(address));
	if (getpeername(fd, (struct sockaddr *)&address, &len))
		memset(&address, 0xee, sizeof(address));
	return address;
}

/* Are these the same, in every byte? */
static bool same(struct sockaddr_vm one, struct sockaddr_vm other)
{
	return !memcmp(&one, &other, sizeof(one));
}

FIXTURE(local)
{
	int listener, client, accepted;
};

FIXTURE_SETUP(local)
{
	self->accepted = -1;
	self->listener = vsock_stream(0);
	self->client = vsock_stream(0);
	ASSERT_LE(0, self->listener);
	ASSERT_LE(0, self->client);
}

FIXTURE_TEARDOWN(local)
{
	if (self->accepted >= 0)
		close(self->accepted);
	close(self->listener);
	close(self->client);
}

/* Accept what the client connected to. */
static int accept_without_waiting(int listener)
{
	if (poll_for(listener, POLLIN, PATIENCE_MS) != POLLIN)
		return -1;
	return accept(listener, NULL, NULL);
}

/* bind() to CID 1, and getsockname() says so. */
TEST_F(local, bind)
{
	ASSERT_EQ(0, vsock_bind(self->client, VMADDR_CID_LOCAL, PORT));
	EXPECT_TRUE(same(vsock_address(VMADDR_CID_LOCAL, PORT),
			 name_of(self->client)));
}

/* bind() to CID 1 and any port. */
TEST_F(local, bind_to_any_port)
{
	struct sockaddr_vm name;

	ASSERT_EQ(0, vsock_bind(self->client, VMADDR_CID_LOCAL,
				VMADDR_PORT_ANY));
	name = name_of(self->client);
	EXPECT_EQ(VMADDR_CID_LOCAL, name.svm_cid);
	EXPECT_LT(1023, name.svm_port);
	EXPECT_NE(VMADDR_PORT_ANY, name.svm_port);
}

/* The CIDs of the host and of the hypervisor are not this guest's. */
TEST_F(local, bind_to_the_host)
{
	EXPECT_EQ(-1, vsock_bind(self->client, VMADDR_CID_HOST, PORT));
	EXPECT_EQ(EADDRNOTAVAIL, errno);
	EXPECT_EQ(-1, vsock_bind(self->client, VMADDR_CID_HYPERVISOR, PORT));
	EXPECT_EQ(EADDRNOTAVAIL, errno);
	EXPECT_EQ(0, vsock_bind(self->client, VMADDR_CID_LOCAL, PORT));
}

/* The wildcard CID and CID 1 are in each other's way, on one port. */
TEST_F(local, wildcard_is_in_use_after_local)
{
	ASSERT_EQ(0, vsock_bind(self->listener, VMADDR_CID_LOCAL, PORT));
	EXPECT_EQ(-1, vsock_bind(self->client, VMADDR_CID_ANY, PORT));
	EXPECT_EQ(EADDRINUSE, errno);
	EXPECT_EQ(-1, vsock_bind(self->client, VMADDR_CID_LOCAL, PORT));
	EXPECT_EQ(EADDRINUSE, errno);
	EXPECT_EQ(0, vsock_bind(self->client, VMADDR_CID_ANY, PORT + 1));
}

TEST_F(local, local_is_in_use_after_wildcard)
{
	ASSERT_EQ(0, vsock_bind(self->listener, VMADDR_CID_ANY, PORT));
	EXPECT_EQ(-1, vsock_bind(self->client, VMADDR_CID_LOCAL, PORT));
	EXPECT_EQ(EADDRINUSE, errno);
	EXPECT_EQ(0, vsock_bind(self->client, VMADDR_CID_LOCAL, PORT + 1));
}

/* A listener on the wildcard is reached, and so is one on CID 1. */
TEST_F(local, listener_on_the_wildcard)
{
	ASSERT_EQ(0, vsock_bind(self->listener, VMADDR_CID_ANY, PORT));
	ASSERT_EQ(0, listen(self->listener, 1));
	ASSERT_EQ(0, vsock_connect(self->client, VMADDR_CID_LOCAL, PORT));
	self->accepted = accept_without_waiting(self->listener);
	EXPECT_LE(0, self->accepted);
}

TEST_F(local, listener_on_local)
{
	ASSERT_EQ(0, vsock_bind(self->listener, VMADDR_CID_LOCAL, PORT));
	ASSERT_EQ(0, listen(self->listener, 1));
	ASSERT_EQ(0, vsock_connect(self->client, VMADDR_CID_LOCAL, PORT));
	self->accepted = accept_without_waiting(self->listener);
	EXPECT_LE(0, self->accepted);
}

/* Each end is named as the other end sees it. */
TEST_F(local, names)
{
	struct sockaddr_vm address, client, expected;
	socklen_t len = sizeof(address);

	ASSERT_EQ(0, vsock_bind(self->listener, VMADDR_CID_ANY, PORT));
	ASSERT_EQ(0, listen(self->listener, 1));
	ASSERT_EQ(0, vsock_connect(self->client, VMADDR_CID_LOCAL, PORT));
	ASSERT_EQ(POLLIN, poll_for(self->listener, POLLIN, PATIENCE_MS));
	memset(&address, 0xa5, sizeof(address));
	self->accepted = accept(self->listener, (struct sockaddr *)&address,
				&len);
	ASSERT_LE(0, self->accepted);
	EXPECT_EQ(sizeof(address), len);
	client = name_of(self->client);
	EXPECT_EQ(VMADDR_CID_LOCAL, client.svm_cid);
	EXPECT_LT(1023, client.svm_port);
	expected = vsock_address(VMADDR_CID_LOCAL, client.svm_port);
	EXPECT_TRUE(same(expected, client));
	EXPECT_TRUE(same(expected, address));
	EXPECT_TRUE(same(expected, peer_of(self->accepted)));
	expected = vsock_address(VMADDR_CID_LOCAL, PORT);
	EXPECT_TRUE(same(expected, peer_of(self->client)));
	EXPECT_TRUE(same(expected, name_of(self->accepted)));
	/* The listener keeps the name that it was given. */
	EXPECT_TRUE(same(vsock_address(VMADDR_CID_ANY, PORT),
			 name_of(self->listener)));
}

/* A client that is bound connects from its port. */
TEST_F(local, client_that_is_bound)
{
	ASSERT_EQ(0, vsock_bind(self->listener, VMADDR_CID_ANY, PORT));
	ASSERT_EQ(0, listen(self->listener, 1));
	ASSERT_EQ(0, vsock_bind(self->client, VMADDR_CID_LOCAL, PORT + 1));
	ASSERT_EQ(0, vsock_connect(self->client, VMADDR_CID_LOCAL, PORT));
	self->accepted = accept_without_waiting(self->listener);
	ASSERT_LE(0, self->accepted);
	EXPECT_TRUE(same(vsock_address(VMADDR_CID_LOCAL, PORT + 1),
			 peer_of(self->accepted)));
}

/* The wildcards are nobody's address. */
TEST_F(local, connect_to_a_wildcard)
{
	EXPECT_EQ(-1, vsock_connect(self->client, VMADDR_CID_LOCAL,
				    VMADDR_PORT_ANY));
	EXPECT_EQ(-1, vsock_connect(self->client, VMADDR_CID_ANY, PORT));
	EXPECT_EQ(0, vsock_bind(self->client, VMADDR_CID_LOCAL, PORT));
}

TEST_HARNESS_MAIN
