// SPDX-License-Identifier: GPL-2.0
/*
 * What send() does: it blocks for credit, it says how much it took, and what
 * it took arrives, by the host's own count and checksum.
 */
#include "vsock_harness.h"

#include <fcntl.h>
#include <sys/uio.h>

/* More than all buffers between here and the host's program can hold. */
#define FLOOD MIB(4)

/* Does the host's sink confirm these bytes? */
static bool sunk(int fd, const void *data, size_t len)
{
	char line[64], expected[64];

	snprintf(expected, sizeof(expected), "%zu %08x", len,
		 crc32_update(0, data, len));
	if (vsock_read_line(fd, line, sizeof(line)))
		return false;
	if (strcmp(line, expected)) {
		fprintf(stderr, "# the host counted \"%s\", not \"%s\"\n", line,
			expected);
		return false;
	}
	return true;
}

static uint8_t *random_bytes(size_t len)
{
	uint8_t *data = malloc(len);

	random_fill(data, len, len);
	return data;
}

/* A send that needs more credit than there is waits for it, and returns all. */
TEST(blocks_for_credit)
{
	uint8_t *data = random_bytes(MIB(1));
	struct caller caller = {
		.call = call_send, .data = data, .len = MIB(1),
	};

	ASSERT_ASK(caller.fd, "sink %zu 1500", MIB(1));
	ASSERT_TRUE(caller_start(&caller));
	EXPECT_FALSE(caller_is_done(&caller));
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ((ssize_t)MIB(1), caller.result);
	EXPECT_TRUE(sunk(caller.fd, data, MIB(1)));
	close(caller.fd);
	free(data);
}

/* MSG_DONTWAIT: a short count while some of it fits, then EAGAIN. */
TEST(nonblocking)
{
	uint8_t *data = random_bytes(FLOOD);
	size_t sent = 0;
	ssize_t result;
	int fd;

	ASSERT_ASK(fd, "sink %zu 1000", FLOOD);
	result = send(fd, data, FLOOD, MSG_DONTWAIT);
	EXPECT_LE(1, result);
	EXPECT_GT((ssize_t)FLOOD, result);
	while (result > 0) {
		sent += result;
		result = send(fd, data + sent, FLOOD - sent, MSG_DONTWAIT);
	}
	EXPECT_EQ(-1, result);
	EXPECT_EQ(EAGAIN, errno);
	/* What was taken was taken once: the sum of all is right. */
	ASSERT_EQ(0, send_all(fd, data + sent, FLOOD - sent));
	EXPECT_TRUE(sunk(fd, data, FLOOD));
	close(fd);
	free(data);
}

/* O_NONBLOCK does what MSG_DONTWAIT does. */
TEST(nonblocking_socket)
{
	uint8_t *data = random_bytes(FLOOD);
	ssize_t result;
	int fd;

	ASSERT_ASK(fd, "hold 3000");
	ASSERT_EQ(0, fcntl(fd, F_SETFL, O_NONBLOCK));
	result = write(fd, data, FLOOD);
	EXPECT_LE(1, result);
	EXPECT_GT((ssize_t)FLOOD, result);
	while (result > 0)
		result = write(fd, data, FLOOD);
	EXPECT_EQ(-1, result);
	EXPECT_EQ(EAGAIN, errno);
	close(fd);
	free(data);
}

/* SO_SNDTIMEO: the short count after some, EAGAIN before any. */
TEST(timeout)
{
	uint8_t *data = random_bytes(FLOOD);
	ssize_t result;
	long began;
	int fd;

	ASSERT_ASK(fd, "hold 5000");
	ASSERT_EQ(0, set_timeout(fd, SO_SNDTIMEO, 500));
	began = now_ms();
	result = send(fd, data, FLOOD, 0);
	EXPECT_LE(1, result);
	EXPECT_GT((ssize_t)FLOOD, result);
	EXPECT_LE(490, now_ms() - began);
	EXPECT_GE(3000, now_ms() - began);
	/* Drops of credit may still come in; then there is none. */
	do {
		began = now_ms();
		result = send(fd, data, FLOOD, 0);
	} while (result > 0);
	EXPECT_EQ(-1, result);
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_LE(490, now_ms() - began);
	close(fd);
	free(data);
}

/* A signal while it waits for credit: the short count, then EINTR. */
TEST(signal_while_blocked)
{
	uint8_t *data = random_bytes(FLOOD);
	struct caller caller = {
		.call = call_send, .data = data, .len = FLOOD,
	};

	ignore_with_handler(SIGUSR1, 0);
	ASSERT_ASK(caller.fd, "hold 8000");
	ASSERT_TRUE(caller_start(&caller));
	sleep_ms(SETTLE_MS);
	ASSERT_FALSE(caller_is_done(&caller));
	pthread_kill(caller.thread, SIGUSR1);
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_LE(1, caller.result);
	EXPECT_GT((ssize_t)FLOOD, caller.result);
	/* Fill up what credit is left, so that nothing can be taken at all. */
	while (send(caller.fd, data, FLOOD, MSG_DONTWAIT) > 0)
		;
	EXPECT_TRUE(caller_is_interrupted(&caller));
	close(caller.fd);
	free(data);
}

/* After shutdown(SHUT_WR): EPIPE, and SIGPIPE unless MSG_NOSIGNAL. */
TEST(after_shutdown)
{
	int fd;

	ignore_with_handler(SIGPIPE, 0);
	ASSERT_ASK(fd, "send 2000 1000 300000");
	ASSERT_EQ(0, shutdown(fd, SHUT_WR));
	EXPECT_EQ(-1, send(fd, "x", 1, MSG_NOSIGNAL));
	EXPECT_EQ(EPIPE, errno);
	EXPECT_EQ(0, handled_signals());
	EXPECT_EQ(-1, send(fd, "x", 1, 0));
	EXPECT_EQ(EPIPE, errno);
	EXPECT_EQ(1, handled_signals());
	close(fd);
}

/* shutdown(SHUT_WR) leaves the other direction alone. */
TEST(receives_after_shutdown)
{
	uint8_t data[2000];
	int fd;

	ASSERT_ASK(fd, "send 2000 1000 300000");
	ASSERT_EQ(0, shutdown(fd, SHUT_WR));
	EXPECT_EQ(2000, recv(fd, data, sizeof(data), MSG_WAITALL));
	EXPECT_EQ(2000, pattern_check(data, 2000, 0));
	close(fd);
}

/* shutdown(SHUT_WR) ends a send that waits for credit. */
TEST(shutdown_ends_send)
{
	uint8_t *data = random_bytes(FLOOD);
	struct caller caller = {
		.call = call_send, .data = data, .len = FLOOD,
		.flags = MSG_NOSIGNAL,
	};

	ASSERT_ASK(caller.fd, "hold 8000");
	ASSERT_TRUE(caller_start(&caller));
	sleep_ms(SETTLE_MS);
	ASSERT_FALSE(caller_is_done(&caller));
	ASSERT_EQ(0, shutdown(caller.fd, SHUT_WR));
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_LE(1, caller.result);
	EXPECT_GT((ssize_t)FLOOD, caller.result);
	EXPECT_GE(5000, caller.took);
	EXPECT_EQ(-1, send(caller.fd, data, 1, MSG_NOSIGNAL));
	EXPECT_EQ(EPIPE, errno);
	close(caller.fd);
	free(data);
}

/* The peer has closed: EPIPE, and SIGPIPE unless MSG_NOSIGNAL. */
TEST(after_the_peer_closed)
{
	uint8_t data[20];
	int fd;

	ignore_with_handler(SIGPIPE, 0);
	ASSERT_ASK(fd, "send-close 10 10 0");
	EXPECT_EQ(10, recv(fd, data, sizeof(data), MSG_WAITALL));
	EXPECT_EQ(0, recv(fd, data, sizeof(data), 0));
	EXPECT_EQ(-1, send(fd, data, 1, MSG_NOSIGNAL));
	EXPECT_EQ(EPIPE, errno);
	EXPECT_EQ(0, handled_signals());
	EXPECT_EQ(-1, send(fd, data, 1, 0));
	EXPECT_EQ(EPIPE, errno);
	EXPECT_EQ(1, handled_signals());
	close(fd);
}

/* How a sender that does not wait uses the credit that it has. */
FIXTURE(slow_peer)
{
	uint8_t *data;
	int fd;
};

FIXTURE_VARIANT(slow_peer)
{
	/* Bytes of each send. */
	size_t packet;
};

/* It asks for more than there is, so it gets less and then EAGAIN. */
FIXTURE_VARIANT_ADD(slow_peer, all_at_once)
{
	.packet = KIB(128),
};

/* It takes the credit in pieces that do not fit it. */
FIXTURE_VARIANT_ADD(slow_peer, odd_pieces)
{
	.packet = 1000,
};

FIXTURE_SETUP(slow_peer)
{
	self->data = random_bytes(KIB(128));
	self->fd = vsock_stream(0);
	ASSERT_LE(0, self->fd);
	/* Own buffers limit what is under way, in both directions. */
	ASSERT_EQ(0, set_buffer(self->fd, SO_VM_SOCKETS_BUFFER_SIZE, KIB(4)));
	ASSERT_EQ(0, vsock_ask_on(self->fd, "sink %zu 300", KIB(128)));
}

FIXTURE_TEARDOWN(slow_peer)
{
	close(self->fd);
	free(self->data);
}

/*
 * A sender that does not wait gets POLLOUT again, though the peer says little
 * of its own: it announces free space only when it is asked, or by a rule that
 * so little data do not meet.
 */
TEST_F(slow_peer, becomes_writable)
{
	long began = now_ms();
	size_t sent = 0;

	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_NONBLOCK));
	while (sent < KIB(128)) {
		size_t len = KIB(128) - sent;
		ssize_t result;

		if (len > variant->packet)
			len = variant->packet;
		ASSERT_EQ(POLLOUT, poll_for(self->fd, POLLOUT, 5000))
			TH_LOG("after %zu bytes", sent);
		/* Each window is a packet there and one back, not a timer's turn. */
		ASSERT_GE(10000, now_ms() - began)
			TH_LOG("after %zu bytes", sent);
		result = send(self->fd, self->data + sent, len, 0);
		ASSERT_LT(0, result);
		sent += result;
	}
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, 0));
	EXPECT_TRUE(sunk(self->fd, self->data, KIB(128)));
}

/*
 * A send that does not wait and takes exactly all the credit is not short, so
 * no further call follows it before POLLOUT does.
 */
TEST(all_credit_taken_exactly)
{
	static const char command[] = "sink 8192 0\n";
	uint8_t *data = random_bytes(KIB(8));
	size_t first = KIB(4) - strlen(command);
	int fd = vsock_stream(0);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, set_buffer(fd, SO_VM_SOCKETS_BUFFER_SIZE, KIB(4)));
	ASSERT_EQ(0, vsock_ask_on(fd, "sink 8192 0"));
	ASSERT_EQ((ssize_t)first, send(fd, data, first, MSG_DONTWAIT));
	EXPECT_EQ(POLLOUT, poll_for(fd, POLLOUT, 5000));
	EXPECT_EQ(0, send_all(fd, data + first, KIB(8) - first));
	EXPECT_TRUE(sunk(fd, data, KIB(8)));
	close(fd);
	free(data);
}

/* 8 MiB in one call, counted and checked by the host. */
TEST(large)
{
	uint8_t *data = random_bytes(MIB(8));
	int fd;

	ASSERT_ASK(fd, "sink %zu 0", MIB(8));
	EXPECT_EQ((ssize_t)MIB(8), send(fd, data, MIB(8), 0));
	EXPECT_TRUE(sunk(fd, data, MIB(8)));
	close(fd);
	free(data);
}

/* Many sends of a byte each. */
TEST(a_byte_at_a_time)
{
	enum { BYTES = 3000 };
	uint8_t *data = random_bytes(BYTES);
	int fd;

	ASSERT_ASK(fd, "sink %d 0", BYTES);
	for (int i = 0; i < BYTES; i++)
		ASSERT_EQ(1, send(fd, data + i, 1, 0));
	EXPECT_TRUE(sunk(fd, data, BYTES));
	close(fd);
	free(data);
}

/* Sends of all kinds of sizes, around those of pages and packets. */
TEST(odd_sizes)
{
	static const size_t sizes[] = {
		1, 2, 43, 44, 45, 3731, 3732, 3733, 4095, 4096, 4097, 16383,
		32767, 32768, 32769, 65535, 65536, 65537, 131073, 262145,
	};
	size_t total = 0, at = 0;
	uint8_t *data;
	int fd;

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		total += sizes[i];
	data = random_bytes(total);
	ASSERT_ASK(fd, "sink %zu 0", total);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		ASSERT_EQ((ssize_t)sizes[i], send(fd, data + at, sizes[i], 0));
		at += sizes[i];
	}
	EXPECT_TRUE(sunk(fd, data, total));
	close(fd);
	free(data);
}

/* writev(): the parts follow one another, empty ones change nothing. */
TEST(parts)
{
	struct iovec parts[60];
	size_t total = 0;
	uint8_t *data;
	int fd;

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		parts[i].iov_len = i % 7 == 3 ? 0 : i * i + 1;
		total += parts[i].iov_len;
	}
	data = random_bytes(total);
	total = 0;
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		parts[i].iov_base = data + total;
		total += parts[i].iov_len;
	}
	ASSERT_ASK(fd, "sink %zu 0", total);
	EXPECT_EQ((ssize_t)total, writev(fd, parts, ARRAY_SIZE(parts)));
	EXPECT_TRUE(sunk(fd, data, total));
	close(fd);
	free(data);
}

FIXTURE(echo)
{
	int fd;
	uint8_t data[64];
};

FIXTURE_SETUP(echo)
{
	self->fd = vsock_connected(PORT_ECHO);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(echo)
{
	close(self->fd);
}

/* Does the connection still carry exactly what is sent? */
static bool echoes(int fd)
{
	char in[3] = "";

	return !send_all(fd, "abc", 3) && !recv_all(fd, in, 3) &&
	       !memcmp(in, "abc", 3);
}

/* A send of nothing sends nothing. */
TEST_F(echo, length_of_zero)
{
	EXPECT_EQ(0, send(self->fd, self->data, 0, 0));
	EXPECT_TRUE(echoes(self->fd));
}

/* EFAULT: nothing was sent, and the stream goes on. */
TEST_F(echo, unreadable_buffer)
{
	EXPECT_EQ(-1, send(self->fd, (void *)8, 100, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_TRUE(echoes(self->fd));
}

/* MSG_OOB: the wire has none. */
TEST_F(echo, out_of_band)
{
	EXPECT_EQ(-1, send(self->fd, self->data, 1, MSG_OOB));
	EXPECT_EQ(EOPNOTSUPP, errno);
	EXPECT_TRUE(echoes(self->fd));
}

/* A connected stream takes no destination. */
TEST_F(echo, destination_is_refused)
{
	struct sockaddr_vm address = vsock_address(vsock_peer_cid(), PORT_ECHO);

	EXPECT_EQ(-1, sendto(self->fd, self->data, 1, 0,
			     (struct sockaddr *)&address, sizeof(address)));
	EXPECT_EQ(EISCONN, errno);
	EXPECT_TRUE(echoes(self->fd));
}

/* MSG_MORE may delay, but what was sent so arrives without a further send. */
TEST_F(echo, more_does_not_stall)
{
	EXPECT_EQ(10, send(self->fd, self->data, 10, MSG_MORE));
	EXPECT_TRUE(wait_queued(self->fd, 10));
}

/* MSG_DONTROUTE and MSG_CONFIRM are accepted and mean nothing here. */
TEST_F(echo, flags_without_effect)
{
	EXPECT_EQ(10, send(self->fd, self->data, 10, MSG_DONTROUTE));
	EXPECT_EQ(10, send(self->fd, self->data, 10, MSG_CONFIRM));
	EXPECT_TRUE(wait_queued(self->fd, 20));
}

/* Control data are ignored. */
TEST_F(echo, control_data)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr header;
	} control = { .header = {
		.cmsg_len = CMSG_LEN(sizeof(int)),
		.cmsg_level = SOL_SOCKET,
		.cmsg_type = 0x7777,
	} };
	struct iovec part = { .iov_base = self->data, .iov_len = 10 };
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};

	EXPECT_EQ(10, sendmsg(self->fd, &message, 0));
	EXPECT_TRUE(wait_queued(self->fd, 10));
}

TEST_HARNESS_MAIN
