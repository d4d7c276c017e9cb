// SPDX-License-Identifier: GPL-2.0
/*
 * A host that means harm: what it sends is counted, answered where the specification
 * has an answer, and harms no connection that it does not concern. The device's part
 * of each is in tests/scripted/scenarios/hostile.scenario.
 */
#include "wire.h"

#include <poll.h>

/* By how much a counter of dropped packets has grown. */
struct dropped {
	const char *reason;
	long before;
};

static struct dropped dropped(const char *reason)
{
	return (struct dropped){ reason, module_counter(reason) };
}

/*
 * By how much a counter has grown by now, or as soon as that is @count: events are
 * handled beside packets, and not in their order.
 */
static long grown(const struct dropped *dropped, long count)
{
	long end = now_ms() + SETTLE_MS * 10, now;

	do {
		now = module_counter(dropped->reason) - dropped->before;
	} while (now < count && now_ms() < end && !usleep(10000));
	return now;
}

#define EXPECT_DROPPED(_count, _dropped) do {				\
	long __count = grown(&(_dropped), _count);			\
									\
	EXPECT_EQ(_count, __count)					\
		TH_LOG("%s", (_dropped).reason);			\
} while (0)

TEST_F(wire, header_fields)
{
	struct dropped address = dropped("dropped_address");
	struct dropped reserved = dropped("dropped_reserved_cid");
	struct dropped nobody = dropped("dropped_no_socket");
	struct dropped shorter = dropped("dropped_short_payload");
	struct dropped type = dropped("dropped_type");
	struct dropped operation = dropped("dropped_operation");
	int fd;

	PLAY();
	fd = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, fd);
	EXPECT_TEXT(fd, "+++++++++++");
	EXPECT_DROPPED(6, address);
	EXPECT_DROPPED(4, reserved);
	EXPECT_DROPPED(8, nobody);
	EXPECT_DROPPED(3, shorter);
	EXPECT_DROPPED(4, type);
	EXPECT_DROPPED(4, operation);
	ASSERT_SEND(fd, "done");
	close(fd);
}

TEST_F(wire, used_lengths)
{
	struct dropped header = dropped("dropped_short_header");
	struct dropped payload = dropped("dropped_short_payload");
	struct dropped overlong = dropped("dropped_overlong");
	int fd;

	PLAY();
	fd = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, fd);
	EXPECT_TEXT(fd, "good");
	EXPECT_DROPPED(3, header);
	EXPECT_DROPPED(1, payload);
	EXPECT_DROPPED(3, overlong);
	ASSERT_SEND(fd, "done");
	close(fd);
}

/* What a buffer held before is not received again when the device does not write to it. */
TEST_F(wire, unwritten_buffers)
{
	struct dropped unwritten = dropped("dropped_type");
	char data[304];
	int fd;

	PLAY();
	fd = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, recv_all(fd, data, sizeof(data)));
	for (size_t i = 0; i < 300; i++)
		ASSERT_EQ('-', data[i]);
	EXPECT_EQ(0, memcmp(data + 300, "good", 4));
	EXPECT_DROPPED(300, unwritten);
	ASSERT_SEND(fd, "done");
	close(fd);
}

TEST_F(wire, payload_on_what_has_none)
{
	struct dropped payload = dropped("dropped_payload");
	int fd;

	PLAY();
	fd = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, fd);
	EXPECT_TEXT(fd, "good");
	EXPECT_DROPPED(6, payload);
	ASSERT_SEND(fd, "done");
	close(fd);
}

TEST_F(wire, second_answers)
{
	struct dropped state = dropped("dropped_state");
	int fd;

	PLAY();
	fd = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, fd);
	EXPECT_TEXT(fd, "good");
	EXPECT_DROPPED(6, state);
	ASSERT_SEND(fd, "done");
	close(fd);
}

TEST_F(wire, packets_for_nobody)
{
	struct dropped nobody = dropped("dropped_no_socket");

	PLAY();
	sleep_ms(SETTLE_MS);
	EXPECT_DROPPED(10, nobody);
}

TEST_F(wire, packets_for_a_listener)
{
	int listener = listen_here(1), fd;

	ASSERT_LE(0, listener);
	PLAY();
	fd = accepted(listener);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, poll_for(listener, POLLIN, 0));
	ASSERT_SEND(fd, "accepted");
	close(fd);
	close(listener);
}

TEST_F(wire, no_answer_to_a_request)
{
	int fd;

	PLAY();
	for (int i = 0; i < 4; i++) {
		EXPECT_EQ(-1, on_stage(SOCK_STREAM, 0));
		EXPECT_EQ(EPROTO, errno);
	}
	fd = vsock_connected(PORT_ECHO);
	ASSERT_LE(0, fd);
	EXPECT_TRUE(echoes(fd));
	close(fd);
}

TEST_F(wire, packets_for_a_closing_connection)
{
	struct dropped shutdown = dropped("dropped_shutdown");
	struct dropped state = dropped("dropped_state");
	struct dropped nobody = dropped("dropped_no_socket");
	int fd;

	PLAY();
	fd = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, fd);
	close(fd);
	EXPECT_DROPPED(3, shutdown);
	EXPECT_DROPPED(2, state);
	/* It waits, and then it is over. */
	EXPECT_EQ(2, live_sockets());
	EXPECT_EQ(1, sockets_become(1));
	fd = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, fd);
	close(fd);
	EXPECT_DROPPED(3, state);
	EXPECT_DROPPED(1, nobody);
	EXPECT_EQ(1, sockets_become(1));
}

TEST_F(wire, more_than_was_granted)
{
	struct dropped credit = dropped("dropped_credit");
	uint8_t data[4096];
	int fd;

	PLAY();
	fd = on_stage(SOCK_STREAM, sizeof(data));
	ASSERT_LE(0, fd);
	sleep_ms(1000);
	ASSERT_EQ(0, recv_all(fd, data, sizeof(data)));
	EXPECT_EQ(sizeof(data), pattern_check(data, sizeof(data), 0));
	EXPECT_FAILED(fd, ECONNRESET);
	EXPECT_DROPPED(1, credit);
	close(fd);
}

TEST_F(wire, flood_of_empty_messages)
{
	struct dropped empty = dropped("dropped_empty_messages");
	char byte;
	int fd;

	PLAY();
	fd = on_stage(SOCK_SEQPACKET, 4096);
	ASSERT_LE(0, fd);
	EXPECT_DROPPED(1, empty);
	for (int i = 0; i < 512; i++)
		ASSERT_EQ(0, recv(fd, &byte, 1, MSG_DONTWAIT));
	EXPECT_FAILED(fd, ECONNRESET);
	close(fd);
}

TEST_F(wire, message_without_end)
{
	char data[8192];
	int fd;

	PLAY();
	fd = on_stage(SOCK_SEQPACKET, 4096);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, set_timeout(fd, SO_RCVTIMEO, 1000));
	EXPECT_EQ(-1, recv(fd, data, sizeof(data), 0));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(0, poll_for(fd, POLLIN, 0));
	close(fd);
	EXPECT_EQ(1, sockets_become(1));
}

/* A sender of 1,000 bytes of the pattern, for whom the scenario has to make room. */
#define SEND_ON_STAGE() do {						\
	struct caller __caller = { .call = call_send, .len = 1000 };	\
	uint8_t __data[1000];						\
									\
	pattern_fill(__data, sizeof(__data), 0);			\
	__caller.data = __data;						\
	PLAY();								\
	__caller.fd = on_stage(SOCK_STREAM, 0);				\
	ASSERT_LE(0, __caller.fd);					\
	ASSERT_TRUE(caller_start(&__caller));				\
	EXPECT_FALSE(caller_is_done(&__caller));			\
	ASSERT_TRUE(caller_join(&__caller));				\
	EXPECT_EQ(1000, __caller.result);				\
	close(__caller.fd);						\
} while (0)

TEST_F(wire, taken_backwards_and_ahead)
{
	SEND_ON_STAGE();
}

TEST_F(wire, buffers_that_change)
{
	SEND_ON_STAGE();
}

TEST_F(wire, no_update_ever)
{
	uint8_t data[1000];
	int fd;

	pattern_fill(data, sizeof(data), 0);
	PLAY();
	fd = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, set_timeout(fd, SO_SNDTIMEO, 2000));
	EXPECT_EQ(100, send(fd, data, sizeof(data), 0));
	EXPECT_EQ(-1, send(fd, data, sizeof(data), MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
	close(fd);
}

TEST_F(wire, flood_of_credit_requests)
{
	int fd;

	PLAY();
	fd = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, fd);
	EXPECT_TEXT(fd, "good");
	ASSERT_SEND(fd, "done");
	close(fd);
}

/* The driver is bound to the device anew, whatever state that is in. */
#define RENEW_DEVICE() do {						\
	ASSERT_TRUE(driver_unbind(DEVICE));				\
	ASSERT_TRUE(driver_bind(DEVICE));				\
	RENEW_LIVE();							\
} while (0)

/* The device is out of use then, with all its connections; the guest goes on. */
TEST_F(wire, descriptor_out_of_range)
{
	int fd;

	PLAY();
	fd = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, fd);
	EXPECT_EQ(POLLHUP, poll_for(fd, 0, PATIENCE_MS) & POLLHUP);
	EXPECT_EQ(POLLHUP, poll_for(self->live, 0, PATIENCE_MS) & POLLHUP);
	close(fd);
	RENEW_DEVICE();
}

/* Buffers that the device has are taken for used: what was in them comes again. */
TEST_F(wire, index_too_far)
{
	int fd;

	PLAY();
	fd = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, fd);
	sleep_ms(500);
	close(fd);
	RENEW_DEVICE();
}

TEST_F(wire, descriptor_used_twice)
{
	int fd;

	PLAY();
	fd = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, fd);
	sleep_ms(500);
	close(fd);
	RENEW_DEVICE();
}

TEST_F(wire, buffers_never_given_back)
{
	uint8_t *data = malloc(100000);
	int fd;

	PLAY();
	fd = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, recv_all(fd, data, 100000));
	EXPECT_EQ(100000, pattern_check(data, 100000, 0));
	EXPECT_TRUE(echoes(self->live));
	ASSERT_SEND(fd, "done");
	sleep_ms(SETTLE_MS);
	close(fd);
	free(data);
	/* It has them back with that. */
	RENEW_DEVICE();
}

TEST_F(wire, interrupts_without_work)
{
	int fd;

	PLAY();
	fd = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, fd);
	EXPECT_TEXT(fd, "good");
	ASSERT_SEND(fd, "done");
	close(fd);
}

TEST_F(wire, work_without_interrupts)
{
	int fd;

	PLAY();
	fd = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, fd);
	EXPECT_TEXT(fd, "good");
	ASSERT_SEND(fd, "done");
	close(fd);
}

/* How many of them were valid when they were looked at is chance. */
TEST_F(wire, headers_that_change)
{
	char data[4];
	int fd;

	PLAY();
	fd = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, fd);
	do {
		ASSERT_EQ(0, recv_all(fd, data, sizeof(data)));
	} while (!memcmp(data, "good", sizeof(data)));
	EXPECT_EQ(0, memcmp(data, "end.", sizeof(data)));
	ASSERT_SEND(fd, "done");
	close(fd);
}

TEST_F(wire, events_that_lie)
{
	struct dropped header = dropped("dropped_short_header");
	int fd;

	PLAY();
	fd = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, fd);
	EXPECT_TEXT(fd, "good");
	EXPECT_DROPPED(3, header);
	ASSERT_SEND(fd, "done");
	close(fd);
}

TEST_F(wire, answer_after_a_reset)
{
	PLAY();
	EXPECT_EQ(-1, on_stage(SOCK_STREAM, 0));
	EXPECT_EQ(ECONNRESET, errno);
}

TEST_F(wire, resets_at_any_time)
{
	struct caller reader = { .call = call_recv, .len = 1 };
	struct caller sender = { .call = call_send, .len = 1000 };
	int listener = listen_here(1), fd;
	uint8_t data[1000], byte;

	pattern_fill(data, sizeof(data), 0);
	ASSERT_LE(0, listener);
	PLAY();
	reader.data = &byte;
	reader.fd = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, reader.fd);
	sender.data = data;
	sender.fd = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, sender.fd);
	ASSERT_TRUE(caller_start(&reader));
	ASSERT_TRUE(caller_start(&sender));
	fd = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, fd);
	close(fd);
	ASSERT_TRUE(caller_join(&reader));
	EXPECT_EQ(-1, reader.result);
	EXPECT_EQ(ECONNRESET, reader.error);
	ASSERT_TRUE(caller_join(&sender));
	EXPECT_EQ(100, sender.result);
	EXPECT_EQ(-1, send(sender.fd, data, 1, MSG_NOSIGNAL));
	EXPECT_EQ(ECONNRESET, errno);
	sleep_ms(SETTLE_MS);
	fd = accepted(listener);
	ASSERT_LE(0, fd);
	EXPECT_FAILED(fd, ECONNRESET);
	close(fd);
	close(listener);
	close(reader.fd);
	close(sender.fd);
}

TEST_F(wire, flood_of_requests)
{
	struct dropped backlog = dropped("dropped_backlog");
	int listener = listen_here(8), fds[8];

	ASSERT_LE(0, listener);
	PLAY();
	sleep_ms(1000);
	EXPECT_DROPPED(2992, backlog);
	for (int i = 0; i < 8; i++) {
		fds[i] = accepted(listener);
		ASSERT_LE(0, fds[i]);
	}
	EXPECT_EQ(0, poll_for(listener, POLLIN, 0));
	for (int i = 0; i < 8; i++)
		close(fds[i]);
	close(listener);
}

/*
 * Connections without end, each filled up to its credit with what takes most room, and
 * nobody reads: at most 2.5 times what is queued, and 4 KiB for each connection.
 */
TEST_F(wire, flood_that_fills)
{
	enum { CONNECTIONS = 64, QUEUED = 15 * 1025 };
	long bound = CONNECTIONS * (QUEUED / 2 * 5 + KIB(4)) * slab_overhead() +
		     MEMORY_FIXED;
	int listener = listen_here(CONNECTIONS), fds[CONNECTIONS];
	struct dropped credit = dropped("dropped_credit");
	struct memory before, after;
	uint8_t data[QUEUED];

	ASSERT_LE(0, listener);
	ASSERT_EQ(0, set_buffer(listener, SO_VM_SOCKETS_BUFFER_SIZE, KIB(16)));
	before = measure_memory();
	PLAY();
	sleep_ms(1000 * vsock_patience());
	after = measure_memory_within(before, bound);
	TH_LOG("%d bytes of each of %d connections: slabs %ld, pages in use %ld, at most %ld",
	       QUEUED, CONNECTIONS, after.slab - before.slab, after.used - before.used, bound);
	EXPECT_GE(bound, after.slab - before.slab);
	EXPECT_GE(bound, after.used - before.used);
	for (int i = 0; i < CONNECTIONS; i++) {
		fds[i] = accepted(listener);
		ASSERT_LE(0, fds[i]);
		EXPECT_EQ(QUEUED, recv(fds[i], data, QUEUED, MSG_WAITALL));
	}
	EXPECT_DROPPED(0, credit);
	for (int i = 0; i < CONNECTIONS; i++)
		close(fds[i]);
	close(listener);
}

TEST_F(wire, payload_before_accept)
{
	int listener = listen_here(1), fd;

	ASSERT_LE(0, listener);
	PLAY();
	sleep_ms(SETTLE_MS);
	fd = accepted(listener);
	ASSERT_LE(0, fd);
	EXPECT_TEXT(fd, "early");
	EXPECT_END(fd);
	ASSERT_SEND(fd, "done");
	close(fd);
	close(listener);
}

TEST_F(wire, half_open_for_ever)
{
	int listener = listen_here(1), fd = vsock_stream(0);

	ASSERT_LE(0, listener);
	PLAY();
	ASSERT_EQ(0, set_connect_timeout(fd, 500));
	EXPECT_EQ(-1, vsock_connect(fd, VMADDR_CID_HOST, PORT_STAGE));
	EXPECT_EQ(ETIMEDOUT, errno);
	close(fd);
	fd = accepted(listener);
	ASSERT_LE(0, fd);
	close(fd);
	close(listener);
	EXPECT_EQ(1, sockets_become(1));
}

TEST_F(wire, shutdowns_in_every_order)
{
	int fds[3];

	PLAY();
	for (int i = 0; i < 3; i++) {
		fds[i] = on_stage(SOCK_STREAM, 0);
		ASSERT_LE(0, fds[i]);
	}
	for (int i = 0; i < 3; i++) {
		EXPECT_END(fds[i]);
		sleep_ms(SETTLE_MS);
		EXPECT_EQ(-1, send(fds[i], "x", 1, MSG_NOSIGNAL));
		EXPECT_EQ(EPIPE, errno);
		close(fds[i]);
	}
}

static ssize_t call_connect_stage(struct caller *caller)
{
	return vsock_connect(caller->fd, VMADDR_CID_HOST, PORT_STAGE);
}

TEST_F(wire, another_cid_amid_everything)
{
	struct caller reader = { .call = call_recv, .len = 1000, .flags = MSG_WAITALL };
	struct caller sender = { .call = call_send, .len = 1000 };
	struct caller connecting = { .call = call_connect_stage };
	struct caller acceptor = { .call = call_accept };
	uint8_t data[1000], pattern[1000];
	struct sockaddr_vm address;
	socklen_t len = sizeof(address);

	pattern_fill(pattern, sizeof(pattern), 0);
	reader.data = data;
	sender.data = pattern;
	acceptor.fd = listen_here(1);
	ASSERT_LE(0, acceptor.fd);
	ASSERT_TRUE(caller_start(&acceptor));
	PLAY();
	reader.fd = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, reader.fd);
	ASSERT_TRUE(caller_start(&reader));
	sender.fd = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, sender.fd);
	ASSERT_TRUE(caller_start(&sender));
	connecting.fd = vsock_stream(0);
	ASSERT_EQ(0, set_connect_timeout(connecting.fd, PATIENCE_MS));
	ASSERT_TRUE(caller_start(&connecting));

	ASSERT_TRUE(caller_join(&reader));
	EXPECT_EQ(-1, reader.result);
	EXPECT_EQ(ECONNRESET, reader.error);
	ASSERT_TRUE(caller_join(&sender));
	EXPECT_EQ(100, sender.result);
	ASSERT_TRUE(caller_join(&connecting));
	EXPECT_EQ(-1, connecting.result);
	EXPECT_EQ(ECONNRESET, connecting.error);
	EXPECT_EQ(POLLERR | POLLHUP, poll_for(sender.fd, 0, 0));
	RENEW_LIVE();

	ASSERT_TRUE(caller_join(&acceptor));
	ASSERT_LE(0, acceptor.result);
	ASSERT_EQ(0, getsockname(acceptor.result, (struct sockaddr *)&address, &len));
	EXPECT_EQ(77, address.svm_cid);
	ASSERT_SEND(acceptor.result, "accepted");
	set_timeout(acceptor.result, SO_RCVTIMEO, PATIENCE_MS);
	EXPECT_FAILED(acceptor.result, ECONNRESET);
	RENEW_LIVE();
	close(acceptor.result);
	close(acceptor.fd);
	close(reader.fd);
	close(sender.fd);
	close(connecting.fd);
}

TEST_F(wire, flood_of_transport_resets)
{
	int fd;

	PLAY();
	sleep_ms(1000);
	RENEW_LIVE();
	fd = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, fd);
	ASSERT_SEND(fd, "done");
	close(fd);
}

/*
 * What is owed to nobody has the same ends as the one connection that waits for room,
 * which was served last: neither waits for the other.
 */
TEST_F(wire, reset_with_the_ends_of_who_waits)
{
	struct dropped type = dropped("dropped_type");
	int full, fd;
	size_t sent;

	PLAY();
	full = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, full);
	fd = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, fd);
	sleep_ms(SETTLE_MS);
	/* The queue has 128 places; what waits beside them has left soon. */
	sent = fill_transmission(full, 200);
	EXPECT_TEXT(fd, "resumed");
	EXPECT_DROPPED(1, type);
	EXPECT_EQ(200, sent);
	ASSERT_EQ(0, shutdown(full, SHUT_WR));
	EXPECT_TEXT(fd, "done");
	close(fd);
	close(full);
}

/* What is owed to nobody leaves before a connection between the same ends is asked for. */
TEST_F(wire, reset_before_the_same_ends)
{
	struct dropped nobody = dropped("dropped_no_socket");
	int full, fd;

	PLAY();
	full = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, full);
	sleep_ms(SETTLE_MS);
	ASSERT_LT(0, fill_transmission(full, FILLING));
	EXPECT_DROPPED(6, nobody);
	fd = vsock_stream(0);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, vsock_bind(fd, VMADDR_CID_ANY, PORT_HERE));
	ASSERT_EQ(0, set_connect_timeout(fd, PATIENCE_MS));
	ASSERT_EQ(0, vsock_connect(fd, VMADDR_CID_HOST, PORT_STAGE))
		TH_LOG("connect: %s", strerror(errno));
	ASSERT_SEND(fd, "done");
	close(fd);
	close(full);
}

TEST_HARNESS_MAIN
