// SPDX-License-Identifier: GPL-2.0
/*
 * The rules of the virtio specification, 5.10, by the numbers of the table in
 * docs/virtio.md. The device's part of each is in
 * tests/scripted/scenarios/spec.scenario.
 */
#include "wire.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <linux/sockios.h>

/* A connection, one packet each way, a close. */
TEST_F(wire, thin)
{
	int fd;

	PLAY();
	fd = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, fd);
	ASSERT_SEND(fd, "ping");
	EXPECT_TEXT(fd, "pong");
	close(fd);
}

/* The number of socket devices, and one use of each queue. */
TEST_F(wire, spec_01_three_queues)
{
	FILE *file = fopen(DEVICES DEVICE "/device", "r");
	long unknown = device_counter("event_unknown");
	int fd, number = 0;

	ASSERT_NE(NULL, file);
	EXPECT_EQ(1, fscanf(file, "%i", &number));
	EXPECT_EQ(19, number);
	fclose(file);
	PLAY();
	fd = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, fd);
	EXPECT_TEXT(fd, "x");
	sleep_ms(SETTLE_MS);
	EXPECT_EQ(unknown + 1, device_counter("event_unknown"));
	ASSERT_SEND(fd, "y");
	close(fd);
}

TEST_F(wire, spec_09_cid_then_event_queue_then_receive_queue)
{
	struct sockaddr_vm address;
	socklen_t len = sizeof(address);
	int fd;

	PLAY();
	ASSERT_TRUE(driver_unbind(DEVICE));
	ASSERT_TRUE(driver_bind(DEVICE));
	fd = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, getsockname(fd, (struct sockaddr *)&address, &len));
	EXPECT_EQ(77, address.svm_cid);
	ASSERT_SEND(fd, "x");
	EXPECT_FAILED(fd, ECONNRESET);
	RENEW_LIVE();
	close(fd);
}

TEST_F(wire, spec_10_reserved_halves_of_cids)
{
	long dropped = module_counter("dropped_reserved_cid");
	int fd;

	PLAY();
	fd = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, fd);
	EXPECT_TEXT(fd, "good");
	EXPECT_EQ(dropped + 6, module_counter("dropped_reserved_cid"));
	ASSERT_SEND(fd, "done");
	close(fd);
}

TEST_F(wire, spec_12_len_is_the_payload)
{
	long dropped = module_counter("dropped_short_payload");
	int fd;

	PLAY();
	fd = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, fd);
	EXPECT_TEXT(fd, "hellogood");
	EXPECT_EQ(dropped + 3, module_counter("dropped_short_payload"));
	ASSERT_SEND(fd, "done");
	close(fd);
}

TEST_F(wire, buffers_are_told_of_together)
{
	char data[300];
	int fd;

	PLAY();
	fd = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, fd);
	EXPECT_EQ((ssize_t)sizeof(data), recv(fd, data, sizeof(data), MSG_WAITALL));
	ASSERT_SEND(fd, "done");
	close(fd);
}

/* And the rest of it, as soon as it fits. */
static bool send_rest(int fd, size_t sent)
{
	uint8_t data[FILLING];

	pattern_fill(data, sizeof(data), 0);
	return !send_all(fd, data + sent, sizeof(data) - sent);
}

/* What comes in the meantime arrives, and then what waited leaves. */
static void receive_while_full(struct __test_metadata *_metadata)
{
	int full, fd, unsent = 0;
	size_t sent;

	PLAY();
	full = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, full);
	fd = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, fd);
	sleep_ms(SETTLE_MS);
	sent = fill_transmission(full, FILLING);
	EXPECT_TEXT(fd, "through");
	/* Nothing was taken meanwhile. */
	ASSERT_EQ(0, ioctl(full, SIOCOUTQ, &unsent));
	EXPECT_EQ((int)sent, unsent);
	EXPECT_TRUE(send_rest(full, sent));
	close(fd);
	close(full);
}

TEST_F(wire, spec_13_receives_while_transmission_is_full)
{
	receive_while_full(_metadata);
}

TEST_F(wire, spec_14_receives_beyond_all_answers)
{
	receive_while_full(_metadata);
}

TEST_F(wire, spec_15_connections_are_told_apart)
{
	int a, b;

	PLAY();
	a = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, a);
	b = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, b);
	EXPECT_TEXT(a, "of a");
	EXPECT_TEXT(b, "of b");
	ASSERT_SEND(a, "a");
	ASSERT_SEND(b, "b");
	close(a);
	close(b);
}

TEST_F(wire, spec_16_source_is_the_guests_cid)
{
	int fd;

	PLAY();
	fd = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, fd);
	ASSERT_SEND(fd, "x");
	sleep_ms(SETTLE_MS);
	close(fd);
}

TEST_F(wire, spec_17_unknown_type_is_reset)
{
	long dropped = module_counter("dropped_type");
	int listener = listen_here(1);

	ASSERT_LE(0, listener);
	PLAY();
	EXPECT_EQ(0, poll_for(listener, POLLIN, 500));
	EXPECT_EQ(dropped + 9, module_counter("dropped_type"));
	close(listener);
}

/* The sender sleeps for the rest. */
TEST_F(wire, spec_18_payload_within_the_credit)
{
	struct caller caller = { .call = call_send, .len = 3000 };
	uint8_t data[3000];

	pattern_fill(data, sizeof(data), 0);
	caller.data = data;
	PLAY();
	caller.fd = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, caller.fd);
	ASSERT_TRUE(caller_start(&caller));
	EXPECT_FALSE(caller_is_done(&caller));
	EXPECT_EQ(0, poll_for(caller.fd, POLLOUT, 0));
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ(3000, caller.result);
	close(caller.fd);
}

TEST_F(wire, spec_19_credit_on_every_packet)
{
	uint8_t data[1000];
	int fd;

	PLAY();
	fd = on_stage(SOCK_STREAM, KIB(64));
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, recv_all(fd, data, 1000));
	EXPECT_EQ(1000, pattern_check(data, 1000, 0));
	ASSERT_SEND(fd, "x");
	ASSERT_EQ(0, recv_all(fd, data, 500));
	ASSERT_EQ(0, shutdown(fd, SHUT_WR));
	close(fd);
}

TEST_F(wire, spec_20_only_payload_counts)
{
	int fd;

	PLAY();
	fd = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, fd);
	EXPECT_TEXT(fd, "123456");
	sleep_ms(SETTLE_MS);
	ASSERT_SEND(fd, "x");
	close(fd);
}

TEST_F(wire, spec_21_credit_request_is_answered)
{
	uint8_t data[100];
	int fd;

	PLAY();
	fd = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, recv_all(fd, data, sizeof(data)));
	ASSERT_SEND(fd, "x");
	sleep_ms(SETTLE_MS);
	close(fd);
}

TEST_F(wire, spec_21_credit_update_at_any_time)
{
	int fd;

	PLAY();
	fd = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, fd);
	ASSERT_SEND(fd, "x");
	close(fd);
}

TEST_F(wire, spec_21_credit_update_after_a_while)
{
	static uint8_t data[100000];
	int fd;

	PLAY();
	fd = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, recv_all(fd, data, sizeof(data)));
	/* Nobody sleeps in recv() meanwhile. */
	EXPECT_EQ(POLLIN, poll_for(fd, POLLIN, PATIENCE_MS));
	EXPECT_TEXT(fd, "x");
	ASSERT_SEND(fd, "done");
	close(fd);
}

TEST_F(wire, spec_22_request_is_answered_by_a_listener)
{
	struct sockaddr_vm address = {};
	socklen_t len = sizeof(address);
	int listener = listen_here(1), fd;

	ASSERT_LE(0, listener);
	PLAY();
	fd = accept(listener, (struct sockaddr *)&address, &len);
	ASSERT_LE(0, fd);
	EXPECT_EQ(VMADDR_CID_HOST, address.svm_cid);
	EXPECT_EQ(PORT_STAGE, address.svm_port);
	EXPECT_TEXT(fd, "ping");
	ASSERT_SEND(fd, "pong");
	close(fd);
	close(listener);
}

TEST_F(wire, spec_22_request_is_refused_by_nobody)
{
	int listener = listen_here(1);

	ASSERT_LE(0, listener);
	PLAY();
	EXPECT_EQ(0, poll_for(listener, POLLIN, SETTLE_MS));
	close(listener);
}

TEST_F(wire, spec_22_request_is_refused_without_room)
{
	long dropped = module_counter("dropped_backlog");
	int listener = listen_here(2), first, second;

	ASSERT_LE(0, listener);
	PLAY();
	sleep_ms(500);
	EXPECT_EQ(dropped + 20, module_counter("dropped_backlog"));
	first = accepted(listener);
	ASSERT_LE(0, first);
	second = accepted(listener);
	ASSERT_LE(0, second);
	EXPECT_EQ(0, poll_for(listener, POLLIN, 0));
	ASSERT_SEND(first, "first");
	close(first);
	close(second);
	close(listener);
}

TEST_F(wire, spec_23_shutdown_bits_are_sticky)
{
	int fd;

	PLAY();
	fd = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, fd);
	EXPECT_TEXT(fd, "stillthere");
	EXPECT_EQ(-1, send(fd, "x", 1, MSG_NOSIGNAL));
	EXPECT_EQ(EPIPE, errno);
	EXPECT_END(fd);
	close(fd);
}

TEST_F(wire, spec_23_no_payload_after_its_end)
{
	long dropped = module_counter("dropped_shutdown");
	int fd;

	PLAY();
	fd = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, fd);
	EXPECT_TEXT(fd, "all");
	EXPECT_END(fd);
	sleep_ms(700);
	EXPECT_END(fd);
	EXPECT_EQ(dropped + 1, module_counter("dropped_shutdown"));
	ASSERT_SEND(fd, "x");
	close(fd);
}

/* The socket waits for the answer, though nobody has it any more. */
TEST_F(wire, spec_24_close_is_answered)
{
	int fd;

	PLAY();
	fd = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, fd);
	/* That and the echo's, and none of what was before. */
	EXPECT_EQ(2, sockets_become(2));
	close(fd);
	sleep_ms(SETTLE_MS);
	EXPECT_EQ(2, live_sockets());
	EXPECT_EQ(1, sockets_become(1));
}

TEST_F(wire, spec_24_close_of_the_host)
{
	int fd;

	PLAY();
	fd = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, fd);
	sleep_ms(SETTLE_MS);
	EXPECT_TEXT(fd, "all");
	EXPECT_END(fd);
	EXPECT_EQ(-1, send(fd, "x", 1, MSG_NOSIGNAL));
	EXPECT_EQ(EPIPE, errno);
	close(fd);
}

TEST_F(wire, spec_25_ports_are_taken_until_the_close_ends)
{
	long end = now_ms() + PATIENCE_MS;
	int fd = vsock_stream(0);

	PLAY();
	ASSERT_EQ(0, vsock_bind(fd, VMADDR_CID_ANY, 6000));
	ASSERT_EQ(0, vsock_connect(fd, VMADDR_CID_HOST, PORT_STAGE));
	close(fd);

	fd = vsock_stream(0);
	EXPECT_EQ(-1, vsock_bind(fd, VMADDR_CID_ANY, 6000));
	EXPECT_EQ(EADDRINUSE, errno);
	while (vsock_bind(fd, VMADDR_CID_ANY, 6000) && now_ms() < end) {
		ASSERT_EQ(EADDRINUSE, errno);
		sleep_ms(20);
	}
	EXPECT_EQ(0, vsock_connect(fd, VMADDR_CID_HOST, PORT_STAGE));
	close(fd);
}

TEST_F(wire, spec_26_messages)
{
	struct iovec iov = {};
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	char data[64] = "";
	int fd;

	PLAY();
	fd = on_stage(SOCK_SEQPACKET, 0);
	ASSERT_LE(0, fd);
	iov.iov_base = data;
	iov.iov_len = sizeof(data);
	EXPECT_EQ(11, recvmsg(fd, &msg, 0));
	EXPECT_EQ(0, memcmp(data, "one message", 11));
	EXPECT_EQ(0, msg.msg_flags & MSG_EOR);
	EXPECT_EQ(6, recvmsg(fd, &msg, 0));
	EXPECT_EQ(0, memcmp(data, "record", 6));
	EXPECT_EQ(MSG_EOR, msg.msg_flags & MSG_EOR);
	EXPECT_EQ(6, send(fd, "answer", 6, 0));
	EXPECT_EQ(4, send(fd, "last", 4, MSG_EOR));
	close(fd);
}

TEST_F(wire, spec_26_message_in_several_packets)
{
	char data[50000] = "";
	int fd;

	PLAY();
	fd = on_stage(SOCK_SEQPACKET, 0);
	ASSERT_LE(0, fd);
	EXPECT_EQ((ssize_t)sizeof(data), send(fd, data, sizeof(data), 0));
	close(fd);
}

TEST_F(wire, spec_27_event_queue_is_refilled)
{
	PLAY();
	sleep_ms(SETTLE_MS);
}

/* The CID that getsockname() and the scenario see is the new one at once. */
TEST_F(wire, spec_28_transport_reset_reads_the_cid)
{
	struct sockaddr_vm address;
	socklen_t len = sizeof(address);
	int fd, again;

	PLAY();
	RENEW_LIVE();
	fd = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, getsockname(fd, (struct sockaddr *)&address, &len));
	EXPECT_EQ(77, address.svm_cid);
	ASSERT_SEND(fd, "x");
	EXPECT_FAILED(fd, ECONNRESET);
	RENEW_LIVE();
	again = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, again);
	len = sizeof(address);
	ASSERT_EQ(0, getsockname(again, (struct sockaddr *)&address, &len));
	EXPECT_EQ(GUEST_CID, address.svm_cid);
	close(fd);
	close(again);
}

TEST_F(wire, spec_28_transport_reset_with_a_reserved_cid)
{
	int fd;

	PLAY();
	RENEW_LIVE();
	sleep_ms(500);
	fd = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, fd);
	close(fd);
}

static ssize_t call_connect_stage(struct caller *caller)
{
	return vsock_connect(caller->fd, VMADDR_CID_HOST, PORT_STAGE);
}

/* Everybody who sleeps wakes; what was queued is received before the error. */
TEST_F(wire, spec_29_transport_reset_ends_every_connection)
{
	struct caller sender = { .call = call_send, .len = 1000 };
	struct caller reader = { .call = call_recv, .len = 100, .flags = MSG_WAITALL };
	struct caller connecting = { .call = call_connect_stage };
	char data[100] = "";
	uint8_t pattern[1000];

	pattern_fill(pattern, sizeof(pattern), 0);
	sender.data = pattern;
	reader.data = data;
	PLAY();
	sender.fd = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, sender.fd);
	reader.fd = on_stage(SOCK_STREAM, 0);
	ASSERT_LE(0, reader.fd);
	connecting.fd = vsock_stream(0);
	ASSERT_EQ(0, set_connect_timeout(connecting.fd, PATIENCE_MS));
	ASSERT_TRUE(caller_start(&connecting));
	ASSERT_TRUE(caller_start(&reader));
	ASSERT_TRUE(caller_start(&sender));
	ASSERT_TRUE(caller_join(&sender));
	EXPECT_EQ(100, sender.result);
	EXPECT_EQ(-1, send(sender.fd, pattern, 1, MSG_NOSIGNAL));
	EXPECT_EQ(ECONNRESET, errno);
	ASSERT_TRUE(caller_join(&reader));
	EXPECT_EQ(6, reader.result);
	EXPECT_EQ(0, memcmp(data, "queued", 6));
	EXPECT_EQ(POLLIN | POLLERR | POLLHUP, poll_for(reader.fd, POLLIN, 0));
	EXPECT_FAILED(reader.fd, ECONNRESET);
	ASSERT_TRUE(caller_join(&connecting));
	EXPECT_EQ(-1, connecting.result);
	EXPECT_EQ(ECONNRESET, connecting.error);
	RENEW_LIVE();
	close(sender.fd);
	close(reader.fd);
	close(connecting.fd);
}

#define RESETS	8

/*
 * Sleeps in recv() until the connection is reset, and has another one at once; so often as
 * that happens. Tells how often it did.
 */
static ssize_t call_renew(struct caller *caller)
{
	/* No reset comes later, in milliseconds; the first one when all have connected. */
	long quiet = 1000 + 1000 * vsock_patience();
	ssize_t resets = 0;
	uint8_t byte;

	set_timeout(caller->fd, SO_RCVTIMEO, quiet);
	while (recv(caller->fd, &byte, 1, 0) == -1 && errno == ECONNRESET) {
		close(caller->fd);
		/* On a slow kernel the next event may end an attempt, which is as it should be. */
		for (int i = 0; i <= RESETS; i++) {
			caller->fd = vsock_connected(PORT_ECHO);
			if (caller->fd >= 0 || errno != ECONNRESET)
				break;
		}
		if (caller->fd < 0)
			return -1;
		set_timeout(caller->fd, SO_RCVTIMEO, quiet);
		resets++;
	}
	return resets;
}

/* While the others are still being ended, a connection that is new is left alone. */
TEST_F(wire, spec_29_transport_reset_leaves_later_connections)
{
	struct caller callers[32];

	for (size_t i = 0; i < ARRAY_SIZE(callers); i++) {
		callers[i] = (struct caller){ .call = call_renew };
		callers[i].fd = vsock_connected(PORT_ECHO);
		ASSERT_LE(0, callers[i].fd);
		ASSERT_TRUE(caller_start(&callers[i]));
	}
	PLAY();
	for (size_t i = 0; i < ARRAY_SIZE(callers); i++) {
		ASSERT_TRUE(caller_join(&callers[i]));
		EXPECT_LE(1, callers[i].result)
			TH_LOG("connecting again, %zu: %s", i, strerror(callers[i].error));
		EXPECT_GE(RESETS, callers[i].result);
		EXPECT_TRUE(echoes(callers[i].fd));
		close(callers[i].fd);
	}
	RENEW_LIVE();
}

/* Who sleeps in accept() sleeps on, until somebody connects by the new CID. */
TEST_F(wire, spec_30_transport_reset_keeps_listeners)
{
	struct caller caller = { .call = call_accept };
	struct sockaddr_vm address;
	socklen_t len = sizeof(address);

	caller.fd = listen_here(1);
	ASSERT_LE(0, caller.fd);
	ASSERT_TRUE(caller_start(&caller));
	PLAY();
	ASSERT_TRUE(caller_join(&caller));
	ASSERT_LE(0, caller.result);
	ASSERT_EQ(0, getsockname(caller.result, (struct sockaddr *)&address, &len));
	EXPECT_EQ(77, address.svm_cid);
	ASSERT_SEND(caller.result, "accepted");
	set_timeout(caller.result, SO_RCVTIMEO, PATIENCE_MS);
	EXPECT_FAILED(caller.result, ECONNRESET);
	RENEW_LIVE();
	close(caller.result);
	close(caller.fd);
}

/* One that is bound to the CID of the guest, by its number, is bound to the new one then. */
TEST_F(wire, spec_30_transport_reset_keeps_listeners_by_number)
{
	struct sockaddr_vm address;
	socklen_t len = sizeof(address);
	int listener = vsock_stream(0), fd;

	ASSERT_EQ(0, set_timeout(listener, SO_RCVTIMEO, PATIENCE_MS));
	ASSERT_EQ(0, vsock_bind(listener, GUEST_CID, PORT_HERE));
	ASSERT_EQ(0, listen(listener, 1));
	PLAY();
	fd = accepted(listener);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, getsockname(listener, (struct sockaddr *)&address, &len));
	EXPECT_EQ(77, address.svm_cid);
	ASSERT_SEND(fd, "accepted");
	EXPECT_FAILED(fd, ECONNRESET);
	RENEW_LIVE();
	close(fd);
	close(listener);
}

TEST_HARNESS_MAIN
