// SPDX-License-Identifier: GPL-2.0
/*
 * What sock_diag(7) tells about sockets of the family, which is what ss(8) shows.
 * Each test runs in a network namespace of its own, where there are no others.
 */
#include "vsock_harness.h"

#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/vm_sockets_diag.h>
#include <netinet/tcp.h>

#define PORT	5700u
/* More than go into one message of the kernel's. */
#define MANY	2000

struct report {
	struct vsock_diag_msg *sockets;
	int count;
	/* How many messages it came in. */
	int parts;
	/* Of the request, as a positive number. */
	int error;
};

struct request {
	struct nlmsghdr header;
	struct vsock_diag_req what;
};

static struct request request_for(unsigned int states)
{
	struct request request = {
		.header = {
			.nlmsg_len = sizeof(request),
			.nlmsg_type = SOCK_DIAG_BY_FAMILY,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
			.nlmsg_seq = 1234,
		},
		.what = {
			.sdiag_family = vsock_family(),
			.vdiag_states = states,
		},
	};

	return request;
}

static int ask(const struct request *request)
{
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG);

	if (fd >= 0 && send(fd, request, request->header.nlmsg_len, 0) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/*
 * Adds the next part of the report; false at its end. What is not as it should be
 * is an error, too.
 */
static bool hear(int fd, struct report *report)
{
	static char buffer[65536];
	ssize_t len = recv(fd, buffer, sizeof(buffer), 0);
	struct nlmsghdr *header = (struct nlmsghdr *)buffer;

	report->parts++;
	for (; NLMSG_OK(header, len); header = NLMSG_NEXT(header, len)) {
		if (header->nlmsg_type == NLMSG_DONE)
			return false;
		if (header->nlmsg_type == NLMSG_ERROR) {
			report->error = -((struct nlmsgerr *)NLMSG_DATA(header))->error;
			return false;
		}
		if (header->nlmsg_type != SOCK_DIAG_BY_FAMILY || header->nlmsg_seq != 1234 ||
		    header->nlmsg_len != NLMSG_LENGTH(sizeof(struct vsock_diag_msg))) {
			report->error = EPROTO;
			return false;
		}
		report->sockets = realloc(report->sockets,
					  (report->count + 1) * sizeof(struct vsock_diag_msg));
		memcpy(&report->sockets[report->count++], NLMSG_DATA(header),
		       sizeof(struct vsock_diag_msg));
	}
	if (len < 0)
		report->error = errno;
	return len >= 0;
}

static struct report get(const struct request *request)
{
	struct report report = {};
	int fd = ask(request);

	if (fd < 0)
		report.error = errno;
	while (fd >= 0 && hear(fd, &report))
		;
	close(fd);
	return report;
}

/* All sockets of the namespace in these states. */
static struct report all(unsigned int states)
{
	struct request request = request_for(states);

	return get(&request);
}

static unsigned int inode_of(int fd)
{
	struct stat stat;

	return fstat(fd, &stat) ? 0 : stat.st_ino;
}

/* What is told of this socket; it is told once. */
static struct vsock_diag_msg *find(struct report *report, int fd)
{
	static struct vsock_diag_msg none = { .vdiag_state = 255 };
	struct vsock_diag_msg *found = NULL;
	unsigned int inode = inode_of(fd);
	int number;

	for (number = 0; number < report->count; number++) {
		if (report->sockets[number].vdiag_ino != inode)
			continue;
		if (found)
			return &none;
		found = &report->sockets[number];
	}
	return found ?: &none;
}

/* A socket in this state, with these addresses: CID, port, and those of the peer. */
#define EXPECT_SOCKET(_told, _state, ...) do {						\
	struct vsock_diag_msg *__told = _told;						\
	unsigned int __expected[] = { __VA_ARGS__ };					\
											\
	EXPECT_EQ(vsock_family(), __told->vdiag_family);				\
	EXPECT_EQ(SOCK_STREAM, __told->vdiag_type);					\
	EXPECT_EQ(_state, __told->vdiag_state);						\
	EXPECT_EQ(0, __told->vdiag_shutdown);						\
	EXPECT_EQ(__expected[0], __told->vdiag_src_cid);				\
	EXPECT_EQ(__expected[1], __told->vdiag_src_port);				\
	EXPECT_EQ(__expected[2], __told->vdiag_dst_cid);				\
	EXPECT_EQ(__expected[3], __told->vdiag_dst_port);				\
} while (0)

FIXTURE(diag)
{
	struct report report;
};

FIXTURE_SETUP(diag)
{
	ASSERT_EQ(0, unshare(CLONE_NEWNET))
		TH_LOG("unshare: %s", strerror(errno));
}

FIXTURE_TEARDOWN(diag)
{
	free(self->report.sockets);
}

TEST_F(diag, nothing)
{
	self->report = all(~0u);
	EXPECT_EQ(0, self->report.error);
	EXPECT_EQ(0, self->report.count);
}

TEST_F(diag, unbound_and_bound)
{
	int unbound = vsock_stream(0), bound = vsock_stream(0);

	ASSERT_EQ(0, vsock_bind(bound, VMADDR_CID_LOCAL, PORT));
	self->report = all(~0u);
	EXPECT_EQ(2, self->report.count);
	EXPECT_SOCKET(find(&self->report, unbound), TCP_CLOSE, VMADDR_CID_ANY, VMADDR_PORT_ANY,
		      VMADDR_CID_ANY, VMADDR_PORT_ANY);
	EXPECT_SOCKET(find(&self->report, bound), TCP_CLOSE, VMADDR_CID_LOCAL, PORT,
		      VMADDR_CID_ANY, VMADDR_PORT_ANY);
	close(unbound);
	close(bound);
}

TEST_F(diag, listening)
{
	unsigned int port;
	int fd = vsock_listener(&port, 4);

	ASSERT_LE(0, fd);
	self->report = all(~0u);
	EXPECT_EQ(1, self->report.count);
	EXPECT_SOCKET(find(&self->report, fd), TCP_LISTEN, VMADDR_CID_ANY, port,
		      VMADDR_CID_ANY, VMADDR_PORT_ANY);
	close(fd);
}

/* Both ends, before somebody has accepted the other one, and after. */
TEST_F(diag, connected)
{
	int client = vsock_stream(0), accepted, listener = vsock_stream(0), number;
	struct vsock_diag_msg *waiting = NULL;
	unsigned int port;

	ASSERT_EQ(0, vsock_bind(listener, VMADDR_CID_LOCAL, PORT));
	ASSERT_EQ(0, listen(listener, 4));
	ASSERT_EQ(0, vsock_connect(client, VMADDR_CID_LOCAL, PORT));
	port = local_port(client);
	self->report = all(~0u);
	EXPECT_EQ(3, self->report.count);
	EXPECT_SOCKET(find(&self->report, client), TCP_ESTABLISHED, VMADDR_CID_LOCAL, port,
		      VMADDR_CID_LOCAL, PORT);
	for (number = 0; number < self->report.count; number++)
		if (!self->report.sockets[number].vdiag_ino)
			waiting = &self->report.sockets[number];
	ASSERT_NE(NULL, waiting);
	EXPECT_SOCKET(waiting, TCP_ESTABLISHED, VMADDR_CID_LOCAL, PORT, VMADDR_CID_LOCAL, port);
	free(self->report.sockets);

	accepted = accept(listener, NULL, NULL);
	ASSERT_LE(0, accepted);
	self->report = all(~0u);
	EXPECT_EQ(3, self->report.count);
	EXPECT_SOCKET(find(&self->report, accepted), TCP_ESTABLISHED, VMADDR_CID_LOCAL, PORT,
		      VMADDR_CID_LOCAL, port);
	close(client);
	close(accepted);
	close(listener);
}

TEST_F(diag, over_the_device)
{
	int fd = vsock_stream(0), probe = vsock_stream(0);

	if (vsock_bind(probe, GUEST_CID, VMADDR_PORT_ANY))
		SKIP(return, "there is no device");
	close(probe);
	/* The host may be slow. */
	ASSERT_EQ(0, set_connect_timeout(fd, PATIENCE_MS));
	ASSERT_EQ(0, vsock_connect(fd, VMADDR_CID_HOST, PORT_ECHO));
	self->report = all(~0u);
	EXPECT_EQ(1, self->report.count);
	EXPECT_SOCKET(find(&self->report, fd), TCP_ESTABLISHED, GUEST_CID, local_port(fd),
		      VMADDR_CID_HOST, PORT_ECHO);
	close(fd);
}

/* Of every type; a socket for datagrams is connected when it has a peer. */
TEST_F(diag, types)
{
	struct sockaddr_vm address = vsock_address(VMADDR_CID_LOCAL, PORT);
	int message = socket(vsock_family(), SOCK_SEQPACKET, 0);
	int datagram = socket(vsock_family(), SOCK_DGRAM, 0);
	struct vsock_diag_msg *told;

	ASSERT_LE(0, message);
	ASSERT_LE(0, datagram);
	ASSERT_EQ(0, vsock_bind(datagram, VMADDR_CID_LOCAL, PORT + 1));
	self->report = all(~0u);
	EXPECT_EQ(2, self->report.count);
	EXPECT_EQ(SOCK_SEQPACKET, find(&self->report, message)->vdiag_type);
	told = find(&self->report, datagram);
	EXPECT_EQ(SOCK_DGRAM, told->vdiag_type);
	EXPECT_EQ(TCP_CLOSE, told->vdiag_state);
	EXPECT_EQ(PORT + 1, told->vdiag_src_port);
	EXPECT_EQ(VMADDR_PORT_ANY, told->vdiag_dst_port);
	free(self->report.sockets);

	ASSERT_EQ(0, connect(datagram, (struct sockaddr *)&address, sizeof(address)));
	self->report = all(1 << TCP_ESTABLISHED);
	EXPECT_EQ(1, self->report.count);
	told = find(&self->report, datagram);
	EXPECT_EQ(TCP_ESTABLISHED, told->vdiag_state);
	EXPECT_EQ(VMADDR_CID_LOCAL, told->vdiag_dst_cid);
	EXPECT_EQ(PORT, told->vdiag_dst_port);
	free(self->report.sockets);

	address.svm_family = AF_UNSPEC;
	ASSERT_EQ(0, connect(datagram, (struct sockaddr *)&address, sizeof(address)));
	self->report = all(1 << TCP_CLOSE);
	EXPECT_EQ(2, self->report.count);
	EXPECT_EQ(VMADDR_PORT_ANY, find(&self->report, datagram)->vdiag_dst_port);
	close(datagram);
	close(message);
}

/* Which directions are shut down, as far as it was done here. */
TEST_F(diag, shut_down)
{
	int fds[2];

	ASSERT_EQ(0, vsock_pair(VMADDR_CID_LOCAL, 0, fds));
	ASSERT_EQ(0, shutdown(fds[0], SHUT_WR));
	self->report = all(~0u);
	EXPECT_EQ(2, find(&self->report, fds[0])->vdiag_shutdown);
	EXPECT_EQ(TCP_ESTABLISHED, find(&self->report, fds[0])->vdiag_state);
	EXPECT_EQ(0, find(&self->report, fds[1])->vdiag_shutdown);
	free(self->report.sockets);
	ASSERT_EQ(0, shutdown(fds[0], SHUT_RD));
	self->report = all(~0u);
	EXPECT_EQ(3, find(&self->report, fds[0])->vdiag_shutdown);
	EXPECT_EQ(TCP_CLOSING, find(&self->report, fds[0])->vdiag_state);
	/* Both ends know that nothing goes on. */
	EXPECT_EQ(3, find(&self->report, fds[1])->vdiag_shutdown);
	EXPECT_EQ(TCP_CLOSING, find(&self->report, fds[1])->vdiag_state);
	close(fds[0]);
	close(fds[1]);
}

TEST_F(diag, states_that_are_asked_for)
{
	unsigned int port;
	int fds[2], listener = vsock_listener(&port, 4), unbound = vsock_stream(0);

	ASSERT_EQ(0, vsock_pair(VMADDR_CID_LOCAL, 0, fds));
	self->report = all(1 << TCP_LISTEN);
	EXPECT_EQ(1, self->report.count);
	EXPECT_EQ(TCP_LISTEN, find(&self->report, listener)->vdiag_state);
	free(self->report.sockets);
	self->report = all(1 << TCP_ESTABLISHED);
	EXPECT_EQ(2, self->report.count);
	free(self->report.sockets);
	self->report = all(1 << TCP_ESTABLISHED | 1 << TCP_CLOSE);
	EXPECT_EQ(3, self->report.count);
	free(self->report.sockets);
	self->report = all(1 << TCP_SYN_SENT);
	EXPECT_EQ(0, self->report.count);
	close(unbound);
	close(listener);
	close(fds[0]);
	close(fds[1]);
}

/* The cookie that a program can ask for itself. */
TEST_F(diag, cookies)
{
	uint64_t cookie;
	socklen_t len = sizeof(cookie);
	int fd = vsock_stream(0), other = vsock_stream(0);
	struct vsock_diag_msg *told;

	self->report = all(~0u);
	told = find(&self->report, fd);
	ASSERT_EQ(0, getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len));
	EXPECT_EQ(cookie, told->vdiag_cookie[0] | (uint64_t)told->vdiag_cookie[1] << 32);
	EXPECT_NE(0, memcmp(told->vdiag_cookie, find(&self->report, other)->vdiag_cookie,
			    sizeof(told->vdiag_cookie)));
	close(fd);
	close(other);
}

/* What was closed is not there any more, at once. */
TEST_F(diag, closed)
{
	unsigned int port;
	int fds[2], listener = vsock_listener(&port, 4), bound = vsock_stream(0);

	ASSERT_EQ(0, vsock_bind(bound, VMADDR_CID_ANY, PORT));
	ASSERT_EQ(0, vsock_pair(VMADDR_CID_LOCAL, 0, fds));
	close(bound);
	close(listener);
	close(fds[0]);
	close(fds[1]);
	self->report = all(~0u);
	EXPECT_EQ(0, self->report.count);
}

TEST_F(diag, another_namespace)
{
	int fd = vsock_stream(0);

	ASSERT_EQ(0, unshare(CLONE_NEWNET));
	self->report = all(~0u);
	EXPECT_EQ(0, self->report.count);
	close(fd);
}

/*
 * More than one part of a report: what is there all the while is told once, also
 * when the socket that the last part ended with is closed, and others come.
 */
TEST_F(diag, many)
{
	struct rlimit limit = { .rlim_cur = MANY + 64, .rlim_max = MANY + 64 };
	struct request request = request_for(~0u);
	int fds[MANY + 1], number, asking;

	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
	for (number = 0; number < MANY; number++) {
		fds[number] = vsock_stream(0);
		ASSERT_LE(0, fds[number]);
	}
	asking = ask(&request);
	ASSERT_LE(0, asking);
	ASSERT_TRUE(hear(asking, &self->report));
	EXPECT_GT(MANY / 2, self->report.count);
	for (number = 0; number < MANY / 2; number++)
		close(fds[number]);
	fds[MANY] = vsock_stream(0);
	ASSERT_LE(0, fds[MANY]);
	while (hear(asking, &self->report))
		;
	close(asking);
	EXPECT_EQ(0, self->report.error);
	EXPECT_LT(2, self->report.parts);
	for (number = MANY / 2; number <= MANY; number++) {
		ASSERT_EQ(TCP_CLOSE, find(&self->report, fds[number])->vdiag_state)
			TH_LOG("socket %d", number);
		close(fds[number]);
	}
}

TEST_F(diag, requests_that_are_none)
{
	struct request request = request_for(~0u);

	request.header.nlmsg_len -= 4;
	self->report = get(&request);
	EXPECT_EQ(EINVAL, self->report.error);
	/* There is no asking for one socket. */
	request = request_for(~0u);
	request.header.nlmsg_flags = NLM_F_REQUEST;
	self->report = get(&request);
	EXPECT_EQ(EOPNOTSUPP, self->report.error);
}

TEST_HARNESS_MAIN
