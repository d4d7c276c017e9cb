// SPDX-License-Identifier: GPL-2.0
/*
 * Volume: many connections, much data, both directions at once, and every
 * byte compared.
 */
#include "vsock_harness.h"

/* One connection to the echo: a thread sends, another receives and compares. */
struct exchange {
	int fd;
	size_t len;
	uint64_t seed;
	uint8_t *out, *in;
	pthread_t sender, receiver;
	int error;
	bool equal;
};

static void *exchange_send(void *argument)
{
	struct exchange *exchange = argument;

	if (send_all(exchange->fd, exchange->out, exchange->len))
		exchange->error = errno;
	return NULL;
}

static void *exchange_receive(void *argument)
{
	struct exchange *exchange = argument;

	if (recv_all(exchange->fd, exchange->in, exchange->len))
		exchange->error = errno;
	exchange->equal = !memcmp(exchange->out, exchange->in, exchange->len);
	return NULL;
}

static bool exchange_start(struct exchange *exchange)
{
	exchange->out = malloc(exchange->len);
	exchange->in = malloc(exchange->len);
	random_fill(exchange->out, exchange->len, exchange->seed);
	memset(exchange->in, 0, exchange->len);
	return !pthread_create(&exchange->sender, NULL, exchange_send,
			       exchange) &&
	       !pthread_create(&exchange->receiver, NULL, exchange_receive,
			       exchange);
}

static void exchange_end(struct exchange *exchange)
{
	pthread_join(exchange->sender, NULL);
	pthread_join(exchange->receiver, NULL);
	free(exchange->out);
	free(exchange->in);
	close(exchange->fd);
}

FIXTURE(traffic)
{
	/* Only the time limit of the harness is wanted of it. */
	int unused;
};

FIXTURE_SETUP(traffic)
{
}

FIXTURE_TEARDOWN(traffic)
{
}

/* 8 MiB there and back at the same time. */
TEST_F_TIMEOUT(traffic, both_ways_at_once, 90)
{
	struct exchange exchange = { .len = MIB(8), .seed = 1 };

	exchange.fd = vsock_connected(PORT_ECHO);
	ASSERT_LE(0, exchange.fd);
	ASSERT_TRUE(exchange_start(&exchange));
	exchange_end(&exchange);
	EXPECT_EQ(0, exchange.error);
	EXPECT_TRUE(exchange.equal);
}

/* Eight connections at once, in both directions, half of them dialled. */
TEST_F_TIMEOUT(traffic, eight_connections_at_once, 90)
{
	struct exchange exchanges[8];
	int asking[8];

	memset(exchanges, 0, sizeof(exchanges));
	for (int i = 0; i < 8; i++) {
		asking[i] = -1;
		exchanges[i].len = KIB(512) + i;
		exchanges[i].seed = i + 10;
		if (i % 2) {
			asking[i] = vsock_dialled("echo", &exchanges[i].fd);
			ASSERT_LE(0, asking[i]);
		} else {
			exchanges[i].fd = vsock_connected(PORT_ECHO);
			ASSERT_LE(0, exchanges[i].fd);
		}
	}
	for (int i = 0; i < 8; i++)
		ASSERT_TRUE(exchange_start(&exchanges[i]));
	for (int i = 0; i < 8; i++) {
		struct dial_result host;

		exchange_end(&exchanges[i]);
		EXPECT_EQ(0, exchanges[i].error);
		EXPECT_TRUE(exchanges[i].equal);
		if (asking[i] < 0)
			continue;
		EXPECT_EQ(0, vsock_dial_result(asking[i], &host));
		EXPECT_TRUE(host.ok);
		EXPECT_EQ(exchanges[i].len, host.bytes_in);
		EXPECT_EQ(host.crc_in, host.crc_out);
		close(asking[i]);
	}
}

/* 8 MiB from the host, every byte checked against the pattern. */
TEST_F_TIMEOUT(traffic, from_the_host, 90)
{
	static uint8_t data[KIB(100)];
	uint64_t have = 0;
	ssize_t got;
	int fd;

	ASSERT_ASK(fd, "send %zu 65536 0", MIB(8));
	while (have < MIB(8)) {
		got = recv(fd, data, sizeof(data), 0);
		ASSERT_LT(0, got);
		ASSERT_EQ(got, (ssize_t)pattern_check(data, got, have));
		have += got;
	}
	EXPECT_EQ(MIB(8), have);
	close(fd);
}

/* The memory of what was sent comes back, though nothing more is sent. */
TEST_F_TIMEOUT(traffic, sent_memory_is_given_back, 90)
{
	long end = now_ms() + PATIENCE_MS;
	int fd;

	/* Nothing comes back yet: the device may have one interrupt for all. */
	ASSERT_ASK(fd, "sink %zu 0", MIB(1));
	for (int i = 0; i < 5; i++)
		ASSERT_EQ(0, send_all(fd, "x", 1));
	while (vsock_unsent(fd) && now_ms() < end)
		sleep_ms(1);
	EXPECT_EQ(0, vsock_unsent(fd));
	close(fd);
}

/* 200 connections, one after another. */
TEST_F_TIMEOUT(traffic, many_one_after_another, 90)
{
	for (int i = 0; i < 200; i++) {
		char reply[2] = "";
		int fd = vsock_connected(PORT_REPLY);

		ASSERT_LE(0, fd)
			TH_LOG("connection %d: %s", i, strerror(errno));
		ASSERT_EQ(0, send_all(fd, "hello", 5));
		ASSERT_EQ(0, recv_all(fd, reply, 2));
		ASSERT_EQ(0, memcmp(reply, "OK", 2));
		ASSERT_EQ(0, close(fd));
	}
}

/* 50 connections that the host makes, one after another. */
TEST_F_TIMEOUT(traffic, many_dialled_one_after_another, 90)
{
	for (int i = 0; i < 50; i++) {
		uint8_t data[100];
		int fd, asking = vsock_dialled("send-close 100 100 0", &fd);

		ASSERT_LE(0, asking)
			TH_LOG("connection %d: %s", i, strerror(errno));
		ASSERT_EQ(100, recv(fd, data, sizeof(data), MSG_WAITALL));
		ASSERT_EQ(100, pattern_check(data, 100, 0));
		close(fd);
		close(asking);
	}
}

/* 64 connections open at the same time, each with bytes of its own. */
TEST_F_TIMEOUT(traffic, many_open_at_once, 90)
{
	int fds[64];

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = vsock_connected(PORT_ECHO);
		ASSERT_LE(0, fds[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		uint8_t data[64];

		random_fill(data, sizeof(data), i);
		ASSERT_EQ(0, send_all(fds[i], data, sizeof(data)));
	}
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		uint8_t expected[64], data[64];

		random_fill(expected, sizeof(expected), i);
		ASSERT_EQ(0, recv_all(fds[i], data, sizeof(data)));
		ASSERT_EQ(0, memcmp(expected, data, sizeof(data)));
		close(fds[i]);
	}
}

/* A window of 4 KiB carries a stream as well as a large one, only slower. */
TEST_F_TIMEOUT(traffic, small_window, 90)
{
	uint8_t *data = malloc(KIB(256));
	int fd = vsock_stream(0);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, set_buffer(fd, SO_VM_SOCKETS_BUFFER_SIZE, KIB(4)));
	ASSERT_EQ(0, vsock_ask_on(fd, "send %zu 65536 0", KIB(256)));
	EXPECT_EQ((ssize_t)KIB(256), recv(fd, data, KIB(256), MSG_WAITALL));
	EXPECT_EQ(KIB(256), pattern_check(data, KIB(256), 0));
	close(fd);
	free(data);
}

/* A window of 1 MiB holds what nobody reads yet. */
TEST_F_TIMEOUT(traffic, large_window, 90)
{
	uint8_t *data = malloc(MIB(2));
	int fd = vsock_stream(0);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, set_buffer(fd, SO_VM_SOCKETS_BUFFER_MAX_SIZE, MIB(1)));
	ASSERT_EQ(0, set_buffer(fd, SO_VM_SOCKETS_BUFFER_SIZE, MIB(1)));
	ASSERT_EQ(0, vsock_ask_on(fd, "send %zu 65536 0", MIB(2)));
	EXPECT_TRUE(wait_queued(fd, KIB(900)));
	EXPECT_EQ(0, recv_all(fd, data, MIB(2)));
	EXPECT_EQ(MIB(2), pattern_check(data, MIB(2), 0));
	close(fd);
	free(data);
}

/* Many small packets, unread: none is lost, the connection lives. */
TEST_F_TIMEOUT(traffic, small_packets_to_an_idle_reader, 90)
{
	uint8_t *data = malloc(KIB(64));
	int fd;

	ASSERT_ASK(fd, "send %zu 16 100", KIB(64));
	EXPECT_TRUE(wait_queued(fd, KIB(64)));
	EXPECT_EQ((ssize_t)KIB(64), recv(fd, data, KIB(64), MSG_WAITALL));
	EXPECT_EQ(KIB(64), pattern_check(data, KIB(64), 0));
	close(fd);
	free(data);
}

/* Calls of every kind and size, mixed at random, still give the one stream. */
TEST_F_TIMEOUT(traffic, mixed_calls, 90)
{
	static uint8_t data[KIB(96)];
	const uint64_t total = MIB(4);
	uint64_t have = 0, state = 42;
	int fd;

	ASSERT_ASK(fd, "send %zu 10007 0", (size_t)total);
	while (have < total) {
		static const int flags[] = {
			0, MSG_WAITALL, MSG_DONTWAIT, MSG_PEEK,
			MSG_PEEK | MSG_DONTWAIT, MSG_WAITALL | MSG_DONTWAIT,
		};
		size_t len, kind;
		ssize_t got;

		state = state * 6364136223846793005u + 1442695040888963407u;
		kind = (state >> 33) % ARRAY_SIZE(flags);
		len = 1 + (state >> 40) % ((state >> 60) < 8 ? 100 : sizeof(data));
		if (len > total - have)
			len = total - have;
		got = recv(fd, data, len, flags[kind]);
		if (got < 0) {
			ASSERT_EQ(EAGAIN, errno);
			ASSERT_NE(0, flags[kind] & MSG_DONTWAIT);
			continue;
		}
		ASSERT_LT(0, got);
		ASSERT_EQ(got, (ssize_t)pattern_check(data, got, have));
		if (flags[kind] == MSG_WAITALL)
			ASSERT_EQ((ssize_t)len, got);
		if (!(flags[kind] & MSG_PEEK))
			have += got;
	}
	close(fd);
}

/* A connection that is closed with unread data disturbs no other. */
TEST_F_TIMEOUT(traffic, closed_with_unread_data, 90)
{
	struct exchange exchange = { .len = MIB(1), .seed = 3 };

	exchange.fd = vsock_connected(PORT_ECHO);
	ASSERT_LE(0, exchange.fd);
	ASSERT_TRUE(exchange_start(&exchange));
	for (int i = 0; i < 20; i++) {
		int fd;

		ASSERT_ASK(fd, "send 100000 10000 0");
		ASSERT_TRUE(wait_queued(fd, 10000));
		close(fd);
	}
	exchange_end(&exchange);
	EXPECT_EQ(0, exchange.error);
	EXPECT_TRUE(exchange.equal);
}

/*
 * Many senders of small packets, who fill the device's transmit queue again and
 * again: all of them go on, and so do the connects among them. A queue that
 * stands still once would stand still for good.
 */
#define SMALL_SENDERS		16
/* Less is enough where it takes minutes; the queue is filled all the same. */
#define SMALL_ROUNDS		(vsock_patience() > 1 ? 1 : 3)
#define SMALL_PACKET		50
#define SMALL_TOTAL		(vsock_patience() > 1 ? 50000 : 200000)
/* A call that takes this long has been stranded. */
#define STRANDED_MS		10000

struct small_sender {
	pthread_t thread;
	int index;
	int rounds_done;
	const char *failed;
	int error;
};

static bool small_round(struct small_sender *sender, const uint8_t *data, int fd)
{
	char line[64], expected[64];

	set_timeout(fd, SO_SNDTIMEO, STRANDED_MS);
	set_timeout(fd, SO_RCVTIMEO, STRANDED_MS);
	set_connect_timeout(fd, STRANDED_MS);
	sender->failed = "asking";
	if (vsock_ask_on(fd, "sink %d 0", SMALL_TOTAL))
		return false;
	sender->failed = "sending";
	for (int at = 0; at < SMALL_TOTAL; at += SMALL_PACKET)
		if (send_all(fd, data + at, SMALL_PACKET))
			return false;
	sender->failed = "reading the host's count";
	if (vsock_read_line(fd, line, sizeof(line)))
		return false;
	sender->failed = "the host's count and checksum";
	snprintf(expected, sizeof(expected), "%d %08x", SMALL_TOTAL,
		 crc32_update(0, data, SMALL_TOTAL));
	errno = EILSEQ;
	if (strcmp(line, expected))
		return false;
	sender->failed = NULL;
	return true;
}

static void *small_sends(void *argument)
{
	struct small_sender *sender = argument;
	uint8_t *data = malloc(SMALL_TOTAL);

	for (int round = 0; round < SMALL_ROUNDS && !sender->failed; round++) {
		int fd = vsock_stream(0);

		random_fill(data, SMALL_TOTAL, sender->index * 100 + round);
		if (small_round(sender, data, fd))
			sender->rounds_done++;
		else
			sender->error = errno;
		close(fd);
	}
	free(data);
	return NULL;
}

TEST_F_TIMEOUT(traffic, many_senders_of_small_packets, 90)
{
	struct small_sender senders[SMALL_SENDERS];

	memset(senders, 0, sizeof(senders));
	for (int i = 0; i < SMALL_SENDERS; i++) {
		senders[i].index = i;
		ASSERT_EQ(0, pthread_create(&senders[i].thread, NULL,
					    small_sends, &senders[i]));
	}
	for (int i = 0; i < SMALL_SENDERS; i++) {
		pthread_join(senders[i].thread, NULL);
		EXPECT_EQ(SMALL_ROUNDS, senders[i].rounds_done)
			TH_LOG("sender %d: %s: %s", i, senders[i].failed,
			       strerror(senders[i].error));
	}
}

TEST_HARNESS_MAIN
