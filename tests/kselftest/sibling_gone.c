// SPDX-License-Identifier: GPL-2.0
/*
 * Connections to another guest that goes away: its virtual machine ends, or only
 * its driver gives the device up. It comes again, and what needs it goes on.
 * The other guest has rvsock and the services of loopback_peer.c (sibling.sh).
 */
#define _GNU_SOURCE
#include "vsock_harness.h"

#include <arpa/inet.h>
#include <netinet/in.h>

/* Where the other guest runs what it is told (qemu/host-agent.sh). */
#define AGENT_ADDRESS	"10.0.3.4"
#define AGENT_PORT	7000
/* How long it may take to boot, times the patience. */
#define BOOT_S		60

/* More than fits into all buffers on the way. */
#define FLOOD		MIB(8)
/* A refusal comes from the device and takes no time; a connect waits 2 s by itself. */
#define REFUSED_MS	(1000 * vsock_patience())

/* Tell the other guest what to run; whether it said @wanted. NULL: do not wait. */
static bool tell_sibling(const char *command, const char *wanted)
{
	struct sockaddr_in agent = {
		.sin_family = AF_INET, .sin_port = htons(AGENT_PORT),
	};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	char line[100], answer[200] = "";
	size_t have = 0;
	ssize_t got;

	inet_pton(AF_INET, AGENT_ADDRESS, &agent.sin_addr);
	/* This bounds a connect as well. */
	set_timeout(fd, SO_SNDTIMEO, 2000);
	set_timeout(fd, SO_RCVTIMEO, 60000);
	snprintf(line, sizeof(line), "60 %s\n", command);
	if (connect(fd, (struct sockaddr *)&agent, sizeof(agent)) ||
	    send_all(fd, line, strlen(line))) {
		close(fd);
		return false;
	}
	if (!wanted) {
		sleep_ms(SETTLE_MS);
		close(fd);
		return true;
	}
	while (have < sizeof(answer) - 1) {
		got = recv(fd, answer + have, sizeof(answer) - 1 - have, 0);
		if (got <= 0)
			break;
		have += got;
	}
	close(fd);
	return strstr(answer, wanted);
}

/* Until the other guest has its driver and its services. */
static bool sibling_is_there(void)
{
	long end = now_ms() + 1000L * BOOT_S * vsock_patience();

	while (!tell_sibling("/tests/sibling.sh rvsock serve", "rvsock is in place")) {
		if (now_ms() > end)
			return false;
		sleep_ms(500);
	}
	return true;
}

FIXTURE(gone)
{
	bool is_gone;
};

FIXTURE_VARIANT(gone)
{
	/* What makes it go, what it says then, and what brings it back. */
	const char *leave, *said, *come;
};

FIXTURE_VARIANT_ADD(gone, driver)
{
	.leave = "/tests/sibling.sh unbind", .said = "unbound",
	.come = "/tests/sibling.sh bind",
};

FIXTURE_VARIANT_ADD(gone, machine)
{
	.leave = "poweroff -f",
};

FIXTURE_SETUP(gone)
{
	ASSERT_TRUE(sibling_is_there());
}

FIXTURE_TEARDOWN(gone)
{
	/* However the test ended, who comes after needs it. */
	if (self->is_gone && variant->come)
		tell_sibling(variant->come, "bound");
	EXPECT_TRUE(sibling_is_there());
}

/* Whether a connect to it is refused at once. */
static bool is_refused(int (*make)(int flags), unsigned int port)
{
	int fd = make(0), result = vsock_connect(fd, vsock_peer_cid(), port);
	int error = errno;

	close(fd);
	return result == -1 && error == ECONNRESET;
}

/*
 * Who sleeps in a call on a connection to it wakes with ECONNRESET, what had come can
 * be read, new connections are refused and not waited for, listeners stay.
 */
TEST_F_TIMEOUT(gone, connections_end, 180)
{
	struct caller reader = { .call = call_recv, .len = KIB(100) };
	struct caller message = { .call = call_recv, .len = KIB(100) };
	struct caller sender = { .call = call_send, .len = FLOOD, .flags = MSG_NOSIGNAL };
	struct caller acceptor = { .call = call_accept };
	struct dial_result dialled;
	unsigned int port;
	uint8_t data[1000];
	int queued, polled, asking;
	long began;

	reader.data = malloc(reader.len);
	message.data = malloc(message.len);
	sender.data = calloc(1, FLOOD);
	reader.fd = vsock_connected(PORT_ECHO);
	ASSERT_LE(0, reader.fd);
	polled = vsock_connected(PORT_ECHO);
	ASSERT_LE(0, polled);
	message.fd = vsock_seqpacket(0);
	ASSERT_EQ(0, vsock_connect(message.fd, vsock_peer_cid(), PORT_MESSAGES));
	ASSERT_EQ(4, send(message.fd, "echo", 4, 0));
	ASSERT_ASK(sender.fd, "hold 600000");
	ASSERT_ASK(queued, "send %zu %zu 0", sizeof(data), sizeof(data));
	ASSERT_TRUE(wait_queued(queued, sizeof(data)));
	acceptor.fd = vsock_listener(&port, 4);
	ASSERT_LE(0, acceptor.fd);
	ASSERT_TRUE(caller_start(&reader));
	ASSERT_TRUE(caller_start(&message));
	ASSERT_TRUE(caller_start(&sender));
	ASSERT_TRUE(caller_start(&acceptor));
	sleep_ms(SETTLE_MS);
	ASSERT_FALSE(caller_is_done(&reader));
	ASSERT_FALSE(caller_is_done(&message));
	ASSERT_FALSE(caller_is_done(&sender));

	ASSERT_TRUE(tell_sibling(variant->leave, variant->said));
	self->is_gone = true;
	ASSERT_TRUE(caller_join(&reader));
	EXPECT_EQ(-1, reader.result);
	EXPECT_EQ(ECONNRESET, reader.error);
	EXPECT_EQ(0, recv(reader.fd, data, 1, 0));
	ASSERT_TRUE(caller_join(&message));
	EXPECT_EQ(-1, message.result);
	EXPECT_EQ(ECONNRESET, message.error);
	/* What was sent is told first. */
	ASSERT_TRUE(caller_join(&sender));
	EXPECT_LE(1, sender.result);
	EXPECT_GT((ssize_t)FLOOD, sender.result);
	EXPECT_EQ(-1, send(sender.fd, data, 1, MSG_NOSIGNAL));
	EXPECT_EQ(ECONNRESET, errno);
	EXPECT_EQ(POLLIN | POLLERR | POLLHUP | POLLRDHUP,
		  poll_for(polled, POLLIN | POLLRDHUP, PATIENCE_MS));
	EXPECT_EQ(ECONNRESET, socket_error(polled));
	EXPECT_EQ((ssize_t)sizeof(data), recv(queued, data, sizeof(data), 0));
	EXPECT_EQ(sizeof(data), pattern_check(data, sizeof(data), 0));
	EXPECT_EQ(-1, recv(queued, data, 1, 0));
	EXPECT_EQ(ECONNRESET, errno);
	EXPECT_EQ(0, recv(queued, data, 1, 0));

	began = now_ms();
	EXPECT_TRUE(is_refused(vsock_stream, PORT_ECHO));
	EXPECT_TRUE(is_refused(vsock_seqpacket, PORT_MESSAGES));
	EXPECT_GT(REFUSED_MS, now_ms() - began);

	if (variant->come)
		EXPECT_TRUE(tell_sibling(variant->come, "bound"));
	ASSERT_TRUE(sibling_is_there());
	self->is_gone = false;
	EXPECT_FALSE(caller_is_done(&acceptor));
	asking = vsock_dial(port, "send-close 100 100 0");
	ASSERT_LE(0, asking);
	ASSERT_TRUE(caller_join(&acceptor));
	ASSERT_LE(0, acceptor.result);
	EXPECT_EQ(100, recv(acceptor.result, data, 100, MSG_WAITALL));
	EXPECT_EQ(100, pattern_check(data, 100, 0));
	close(acceptor.result);
	EXPECT_EQ(0, vsock_dial_result(asking, &dialled));
	EXPECT_TRUE(dialled.ok);
	close(asking);
	close(acceptor.fd);
	close(reader.fd);
	close(message.fd);
	close(sender.fd);
	close(polled);
	close(queued);
	free(reader.data);
	free(message.data);
	free(sender.data);
}

TEST_HARNESS_MAIN
