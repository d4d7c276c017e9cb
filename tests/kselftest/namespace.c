// SPDX-License-Identifier: GPL-2.0
/*
 * Network namespaces: their modes, and who reaches whom. Each test runs in a
 * process of its own, which starts in a new global namespace and makes others
 * from there, so that what is decided once is not decided for the other tests.
 */
#include "vsock_harness.h"

#include <fcntl.h>
#include <sched.h>

#define PORT	5600u
/* As many ports as autobind tries. */
#define TRIES	24

static int setting_open(const char *name, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/sys/net/%s/%s",
		 vsock_family() == AF_VSOCK ? "vsock" : "rvsock", name);
	return open(path, flags);
}

/* What reading a setting shows, all of it. */
static const char *setting(const char *name)
{
	static char text[64];
	int fd = setting_open(name, O_RDONLY);
	ssize_t len = read(fd, text, sizeof(text) - 1);

	text[len < 0 ? 0 : len] = '\0';
	/* There is no more than one line of it. */
	if (read(fd, text + sizeof(text) - 1, 1))
		text[0] = '\0';
	close(fd);
	return text;
}

/* 0, or the error of writing a word. */
static int set(const char *name, const char *word)
{
	int fd = setting_open(name, O_WRONLY), error = 0;

	if (fd < 0 || write(fd, word, strlen(word)) != (ssize_t)strlen(word))
		error = errno;
	close(fd);
	return error;
}

/* Goes into a new namespace, made from the one of this process. */
static int enter_new(void)
{
	return unshare(CLONE_NEWNET);
}

static int here(void)
{
	return open("/proc/self/ns/net", O_RDONLY);
}

static int enter(int namespace)
{
	return setns(namespace, CLONE_NEWNET);
}

/* A listener on the wildcard CID and PORT in the namespace of this process. */
static int listen_here(void)
{
	int fd = vsock_stream(0);

	if (vsock_bind(fd, VMADDR_CID_ANY, PORT) || listen(fd, 8)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* 0, or the error of connecting from here to PORT. */
static int connect_from_here(unsigned int cid)
{
	int fd = vsock_stream(0);
	int error = vsock_connect(fd, cid, PORT) ? errno : 0;

	close(fd);
	return error;
}

/* A namespace that this process starts in; `outside` is where the guest is. */
FIXTURE(namespace)
{
	int outside, first;
};

FIXTURE_SETUP(namespace)
{
	self->outside = here();
	ASSERT_LE(0, self->outside);
	ASSERT_EQ(0, enter_new())
		TH_LOG("unshare: %s", strerror(errno));
	self->first = here();
}

FIXTURE_TEARDOWN(namespace)
{
	close(self->first);
	close(self->outside);
}

/* Goes on to a local namespace that the first one makes. */
static int enter_local(void)
{
	int error = set("child_ns_mode", "local");

	return error && error != EBUSY ? -1 : enter_new();
}

TEST_F(namespace, begins_global)
{
	EXPECT_STREQ("global\n", setting("ns_mode"));
	EXPECT_STREQ("global\n", setting("child_ns_mode"));
	EXPECT_STREQ("1\n", setting("g2h_fallback"));
	ASSERT_EQ(0, enter(self->outside));
	EXPECT_STREQ("global\n", setting("ns_mode"));
}

TEST_F(namespace, mode_is_read_only)
{
	EXPECT_EQ(-1, setting_open("ns_mode", O_WRONLY));
	EXPECT_EQ(EACCES, errno);
}

TEST_F(namespace, children_are_what_was_said)
{
	ASSERT_EQ(0, set("child_ns_mode", "local\n"));
	EXPECT_STREQ("global\n", setting("ns_mode"));
	EXPECT_STREQ("local\n", setting("child_ns_mode"));
	ASSERT_EQ(0, enter_new());
	EXPECT_STREQ("local\n", setting("ns_mode"));
	EXPECT_STREQ("local\n", setting("child_ns_mode"));
	/* Their own children, too. */
	ASSERT_EQ(0, enter_new());
	EXPECT_STREQ("local\n", setting("ns_mode"));
}

/* A child is of the namespace of the task that makes it, then and there. */
TEST_F(namespace, children_before_are_left_alone)
{
	int child;

	ASSERT_EQ(0, enter_new());
	child = here();
	ASSERT_EQ(0, enter(self->first));
	ASSERT_EQ(0, set("child_ns_mode", "local"));
	ASSERT_EQ(0, enter(child));
	EXPECT_STREQ("global\n", setting("ns_mode"));
	EXPECT_STREQ("global\n", setting("child_ns_mode"));
	close(child);
}

TEST_F(namespace, local_is_decided_once)
{
	EXPECT_EQ(0, set("child_ns_mode", "local"));
	EXPECT_EQ(0, set("child_ns_mode", "local"));
	EXPECT_EQ(EBUSY, set("child_ns_mode", "global"));
	EXPECT_STREQ("local\n", setting("child_ns_mode"));
}

TEST_F(namespace, global_is_decided_once)
{
	EXPECT_EQ(0, set("child_ns_mode", "global"));
	EXPECT_EQ(0, set("child_ns_mode", "global"));
	EXPECT_EQ(EBUSY, set("child_ns_mode", "local"));
	EXPECT_STREQ("global\n", setting("child_ns_mode"));
}

/* Nobody gets out of a local namespace by making a global one. */
TEST_F(namespace, local_has_no_global_children)
{
	ASSERT_EQ(0, enter_local());
	EXPECT_EQ(EPERM, set("child_ns_mode", "global"));
	EXPECT_EQ(0, set("child_ns_mode", "local"));
	EXPECT_EQ(EPERM, set("child_ns_mode", "global"));
}

TEST_F(namespace, words_that_are_no_mode)
{
	EXPECT_EQ(EINVAL, set("child_ns_mode", "\n"));
	EXPECT_EQ(EINVAL, set("child_ns_mode", "loca"));
	EXPECT_EQ(EINVAL, set("child_ns_mode", "locale"));
	EXPECT_EQ(EINVAL, set("child_ns_mode", "a word that is longer than any mode"));
	/* That decided nothing. */
	EXPECT_STREQ("global\n", setting("child_ns_mode"));
	EXPECT_EQ(0, set("child_ns_mode", "local"));
}

TEST_F(namespace, fallback)
{
	EXPECT_EQ(0, set("g2h_fallback", "0\n"));
	EXPECT_STREQ("0\n", setting("g2h_fallback"));
	EXPECT_EQ(EINVAL, set("g2h_fallback", "2"));
	EXPECT_EQ(EINVAL, set("g2h_fallback", "-1"));
	EXPECT_EQ(EINVAL, set("g2h_fallback", "yes"));
	EXPECT_STREQ("0\n", setting("g2h_fallback"));
	/* It is that of one namespace, and children have their own. */
	ASSERT_EQ(0, enter_new());
	EXPECT_STREQ("1\n", setting("g2h_fallback"));
	ASSERT_EQ(0, enter(self->first));
	EXPECT_EQ(0, set("g2h_fallback", "1"));
	EXPECT_STREQ("1\n", setting("g2h_fallback"));
}

/* Global namespaces are one for connections, and for addresses. */
TEST_F(namespace, global_reaches_global)
{
	int listener = listen_here();

	ASSERT_LE(0, listener);
	EXPECT_EQ(0, connect_from_here(VMADDR_CID_LOCAL));
	ASSERT_EQ(0, enter_new());
	EXPECT_EQ(0, connect_from_here(VMADDR_CID_LOCAL));
	EXPECT_EQ(-1, listen_here());
	EXPECT_EQ(EADDRINUSE, errno);
	ASSERT_EQ(0, enter(self->outside));
	EXPECT_EQ(0, connect_from_here(VMADDR_CID_LOCAL));
	EXPECT_EQ(-1, listen_here());
	EXPECT_EQ(EADDRINUSE, errno);
	close(listener);
}

/* A local one has its own. */
TEST_F(namespace, local_reaches_itself)
{
	unsigned int own = vsock_family() == AF_VSOCK ? VMADDR_CID_LOCAL : 1;
	char byte;
	int listener, accepted, fd;

	ASSERT_EQ(0, enter_local());
	listener = listen_here();
	ASSERT_LE(0, listener);
	EXPECT_EQ(-1, listen_here());
	EXPECT_EQ(EADDRINUSE, errno);
	fd = vsock_stream(0);
	ASSERT_EQ(0, vsock_connect(fd, own, PORT));
	accepted = accept(listener, NULL, NULL);
	ASSERT_LE(0, accepted);
	EXPECT_EQ(1, send(fd, "x", 1, 0));
	EXPECT_EQ(1, recv(accepted, &byte, 1, 0));
	EXPECT_EQ('x', byte);
	close(fd);
	close(accepted);
	close(listener);
}

/* Messages and datagrams, too. */
TEST_F(namespace, other_types)
{
	struct sockaddr_vm address = vsock_address(VMADDR_CID_LOCAL, PORT);
	int inside, outside = socket(vsock_family(), SOCK_DGRAM, 0), listener, fd;
	char byte = 'x';

	ASSERT_LE(0, outside);
	ASSERT_EQ(0, vsock_bind(outside, VMADDR_CID_ANY, PORT));
	ASSERT_EQ(0, enter_local());
	inside = socket(vsock_family(), SOCK_DGRAM, 0);
	ASSERT_EQ(0, vsock_bind(inside, VMADDR_CID_ANY, PORT));
	ASSERT_EQ(1, sendto(inside, &byte, 1, 0, (struct sockaddr *)&address, sizeof(address)));
	EXPECT_EQ(1, recv(inside, &byte, 1, MSG_DONTWAIT));
	EXPECT_EQ(-1, recv(outside, &byte, 1, MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
	close(inside);
	close(outside);

	listener = socket(vsock_family(), SOCK_SEQPACKET, 0);
	ASSERT_EQ(0, vsock_bind(listener, VMADDR_CID_ANY, PORT));
	ASSERT_EQ(0, listen(listener, 1));
	fd = socket(vsock_family(), SOCK_SEQPACKET, 0);
	EXPECT_EQ(0, vsock_connect(fd, VMADDR_CID_LOCAL, PORT));
	close(fd);
	ASSERT_EQ(0, enter(self->first));
	fd = socket(vsock_family(), SOCK_SEQPACKET, 0);
	EXPECT_EQ(-1, vsock_connect(fd, VMADDR_CID_LOCAL, PORT));
	EXPECT_EQ(ECONNRESET, errno);
	close(fd);
	close(listener);
}

/* By the CID of the device, too: that is this machine. */
TEST_F(namespace, local_reaches_itself_by_the_own_cid)
{
	int probe = vsock_stream(0), listener;

	if (vsock_bind(probe, GUEST_CID, VMADDR_PORT_ANY))
		SKIP(return, "there is no device");
	close(probe);
	ASSERT_EQ(0, enter_local());
	listener = listen_here();
	ASSERT_LE(0, listener);
	EXPECT_EQ(0, connect_from_here(GUEST_CID));
	ASSERT_EQ(0, enter(self->first));
	EXPECT_EQ(ECONNRESET, connect_from_here(GUEST_CID));
	close(listener);
}

TEST_F(namespace, local_does_not_reach_global)
{
	int listener = listen_here(), own;

	ASSERT_LE(0, listener);
	ASSERT_EQ(0, enter_local());
	EXPECT_EQ(ECONNRESET, connect_from_here(VMADDR_CID_LOCAL));
	/* The port is free here. */
	own = listen_here();
	EXPECT_LE(0, own);
	close(own);
	close(listener);
}

TEST_F(namespace, global_does_not_reach_local)
{
	int listener;

	ASSERT_EQ(0, enter_local());
	listener = listen_here();
	ASSERT_LE(0, listener);
	ASSERT_EQ(0, enter(self->first));
	EXPECT_EQ(ECONNRESET, connect_from_here(VMADDR_CID_LOCAL));
	ASSERT_EQ(0, enter(self->outside));
	EXPECT_EQ(ECONNRESET, connect_from_here(VMADDR_CID_LOCAL));
	close(listener);
}

TEST_F(namespace, local_does_not_reach_local)
{
	int listener, own;

	ASSERT_EQ(0, enter_local());
	listener = listen_here();
	ASSERT_LE(0, listener);
	/* Its child, which is local as well. */
	ASSERT_EQ(0, enter_new());
	EXPECT_EQ(ECONNRESET, connect_from_here(VMADDR_CID_LOCAL));
	own = listen_here();
	EXPECT_LE(0, own);
	close(own);
	/* And one beside it. */
	ASSERT_EQ(0, enter(self->first));
	ASSERT_EQ(0, enter_local());
	EXPECT_EQ(ECONNRESET, connect_from_here(VMADDR_CID_LOCAL));
	close(listener);
}

/* A socket belongs to the namespace that it was made in. */
TEST_F(namespace, socket_keeps_its_namespace)
{
	int listener, fd, namespace;

	ASSERT_EQ(0, enter_local());
	namespace = here();
	listener = vsock_stream(0);
	fd = vsock_stream(0);
	ASSERT_EQ(0, enter(self->first));
	/* Nobody is in the local one any more, and no file names it. */
	close(namespace);
	ASSERT_EQ(0, vsock_bind(listener, VMADDR_CID_ANY, PORT));
	ASSERT_EQ(0, listen(listener, 8));
	EXPECT_EQ(ECONNRESET, connect_from_here(VMADDR_CID_LOCAL));
	EXPECT_EQ(0, vsock_connect(fd, VMADDR_CID_LOCAL, PORT));
	close(fd);
	close(listener);
}

/* The device serves global namespaces, and no other. */
TEST_F(namespace, device)
{
	int probe = vsock_stream(0), fd;
	bool has_device = !vsock_bind(probe, GUEST_CID, VMADDR_PORT_ANY);

	close(probe);
	if (has_device) {
		fd = vsock_stream(0);
		/* The host may be slow. */
		ASSERT_EQ(0, set_connect_timeout(fd, PATIENCE_MS));
		ASSERT_EQ(0, vsock_connect(fd, VMADDR_CID_HOST, PORT_REPLY))
			TH_LOG("from a global namespace: %s", strerror(errno));
		EXPECT_TRUE(answers_two_bytes(fd));
		close(fd);
	}
	ASSERT_EQ(0, enter_local());
	EXPECT_EQ(has_device ? ENETUNREACH : ENODEV, connect_from_here(VMADDR_CID_HOST));
	EXPECT_EQ(has_device ? ENETUNREACH : ENODEV, connect_from_here(CID_NOBODY));
}

/* What comes over the device finds listeners of global namespaces only. */
TEST_F(namespace, from_the_device)
{
	int probe = vsock_stream(0), local, global, asking;

	if (vsock_bind(probe, GUEST_CID, VMADDR_PORT_ANY))
		SKIP(return, "there is no device");
	close(probe);
	global = listen_here();
	ASSERT_LE(0, global);
	ASSERT_EQ(0, enter_local());
	local = listen_here();
	ASSERT_LE(0, local);
	/* The services of the host are reached from a global one. */
	ASSERT_EQ(0, enter(self->first));
	asking = vsock_dial(PORT, "echo");
	ASSERT_LE(0, asking);
	EXPECT_EQ(POLLIN, poll_for(global, POLLIN, PATIENCE_MS));
	EXPECT_EQ(0, poll_for(local, POLLIN, SETTLE_MS));
	close(asking);
	close(global);
	close(local);
}

/*
 * Who is root only in a user namespace of its own may make network namespaces, but
 * does not get at the reserved ports of all.
 */
TEST_F(namespace, reserved_port_of_a_container)
{
	int fd;

	ASSERT_EQ(0, unshare(CLONE_NEWUSER | CLONE_NEWNET))
		TH_LOG("unshare: %s", strerror(errno));
	EXPECT_STREQ("global\n", setting("ns_mode"));
	fd = vsock_stream(0);
	EXPECT_EQ(-1, vsock_bind(fd, VMADDR_CID_ANY, 1023));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(0, vsock_bind(fd, VMADDR_CID_ANY, PORT));
	close(fd);
}

/* The port that autobind gives now; 0 if it gives none. */
static unsigned int autobound(int *fd)
{
	*fd = vsock_stream(0);
	if (vsock_bind(*fd, VMADDR_CID_ANY, VMADDR_PORT_ANY))
		return 0;
	return local_port(*fd);
}

/* Each namespace counts on by itself, from somewhere of its own. */
TEST_F(namespace, autobind_counts_by_itself)
{
	int fds[5], other;
	unsigned int ports[5];

	ports[0] = autobound(&fds[0]);
	ports[1] = autobound(&fds[1]);
	EXPECT_LT(1023, ports[0]);
	EXPECT_EQ(ports[0] + 1, ports[1]);
	ASSERT_EQ(0, enter_new());
	ports[2] = autobound(&fds[2]);
	ports[3] = autobound(&fds[3]);
	EXPECT_EQ(ports[2] + 1, ports[3]);
	EXPECT_NE(ports[1] + 1, ports[2]);
	ASSERT_EQ(0, enter(self->first));
	ports[4] = autobound(&fds[4]);
	EXPECT_EQ(ports[1] + 1, ports[4]);
	for (other = 0; other < 5; other++)
		close(fds[other]);
}

/* Autobind tries so many ports, and then it is EADDRNOTAVAIL. */
TEST_F(namespace, autobind_tries)
{
	int fd, taken[TRIES], number;
	unsigned int port = autobound(&fd);

	ASSERT_NE(0, port);
	close(fd);
	for (number = 0; number < TRIES; number++) {
		taken[number] = vsock_stream(0);
		ASSERT_EQ(0, vsock_bind(taken[number], VMADDR_CID_ANY, port + 1 + number));
	}
	EXPECT_EQ(0, autobound(&fd));
	EXPECT_EQ(EADDRNOTAVAIL, errno);
	close(fd);
	/* It has gone on by that. */
	EXPECT_EQ(port + 1 + TRIES, autobound(&fd));
	close(fd);
	for (number = 0; number < TRIES; number++)
		close(taken[number]);
}

/* With one of them free, it is found. */
TEST_F(namespace, autobind_last_try)
{
	int fd, taken[TRIES], number;
	unsigned int port = autobound(&fd);

	ASSERT_NE(0, port);
	close(fd);
	for (number = 0; number < TRIES - 1; number++) {
		taken[number] = vsock_stream(0);
		ASSERT_EQ(0, vsock_bind(taken[number], VMADDR_CID_ANY, port + 1 + number));
	}
	EXPECT_EQ(port + TRIES, autobound(&fd));
	close(fd);
	for (number = 0; number < TRIES - 1; number++)
		close(taken[number]);
}

/* Namespaces come and go, with sockets that outlive their makers. */
TEST_F(namespace, many)
{
	int fds[2], kept[32], number;

	ASSERT_EQ(0, set("child_ns_mode", "local"));
	for (number = 0; number < 32; number++) {
		ASSERT_EQ(0, enter(self->first));
		ASSERT_EQ(0, enter_new());
		kept[number] = listen_here();
		ASSERT_LE(0, kept[number]);
		ASSERT_EQ(0, vsock_pair(VMADDR_CID_LOCAL, 0, fds));
		close(fds[0]);
		if (number % 2) {
			close(kept[number]);
			kept[number] = fds[1];
		} else {
			close(fds[1]);
		}
	}
	for (number = 0; number < 32; number++)
		close(kept[number]);
}

TEST_HARNESS_MAIN
