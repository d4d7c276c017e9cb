// SPDX-License-Identifier: GPL-2.0
/*
 * Streams through io_uring: connections, bytes, several results of one request,
 * and sending from the caller's own memory.
 */
#define _GNU_SOURCE
#include "vsock_harness.h"

#include <liburing.h>
#include <poll.h>

#define ENTRIES		16
#define BUFFERS		8
#define BUFFER_SIZE	1024
#define GROUP		1

FIXTURE(ring)
{
	struct io_uring ring;
	struct io_uring_buf_ring *buffers;
	uint8_t (*space)[BUFFER_SIZE];
	int fds[2];
	uint8_t *data, *in;
};

FIXTURE_SETUP(ring)
{
	int error;

	ASSERT_EQ(0, io_uring_queue_init(ENTRIES, &self->ring, 0));
	self->buffers = io_uring_setup_buf_ring(&self->ring, BUFFERS, GROUP, 0, &error);
	ASSERT_NE(NULL, self->buffers);
	self->space = malloc(BUFFERS * BUFFER_SIZE);
	for (int i = 0; i < BUFFERS; i++)
		io_uring_buf_ring_add(self->buffers, self->space[i], BUFFER_SIZE, i,
				      io_uring_buf_ring_mask(BUFFERS), i);
	io_uring_buf_ring_advance(self->buffers, BUFFERS);
	ASSERT_EQ(0, vsock_pair(vsock_own_cid(), 0, self->fds));
	self->data = aligned_alloc(4096, MIB(1));
	self->in = aligned_alloc(4096, MIB(1));
	random_fill(self->data, MIB(1), 1);
}

FIXTURE_TEARDOWN(ring)
{
	close(self->fds[0]);
	close(self->fds[1]);
	io_uring_free_buf_ring(&self->ring, self->buffers, BUFFERS, GROUP);
	io_uring_queue_exit(&self->ring);
	free(self->space);
	free(self->data);
	free(self->in);
}

/* What came of a request. */
struct result {
	int res;
	unsigned int flags;
};

/* The next result, taken off the ring; -ETIME in its place after @wait_ms. */
static struct result result_within(struct io_uring *ring, long wait_ms)
{
	struct __kernel_timespec wait = {
		.tv_sec = wait_ms / 1000, .tv_nsec = wait_ms % 1000 * 1000000,
	};
	struct io_uring_cqe *entry;
	struct result result = {};
	int error;

	io_uring_submit(ring);
	error = io_uring_wait_cqe_timeout(ring, &entry, &wait);
	if (error) {
		result.res = error;
		return result;
	}
	result = (struct result) { entry->res, entry->flags };
	io_uring_cqe_seen(ring, entry);
	return result;
}

static struct result result_of(struct io_uring *ring)
{
	return result_within(ring, PATIENCE_MS);
}

TEST_F(ring, send_and_recv)
{
	io_uring_prep_send(io_uring_get_sqe(&self->ring), self->fds[0], self->data, 5000, 0);
	ASSERT_EQ(5000, result_of(&self->ring).res);
	io_uring_prep_recv(io_uring_get_sqe(&self->ring), self->fds[1], self->in, KIB(64), 0);
	ASSERT_EQ(5000, result_of(&self->ring).res);
	EXPECT_EQ(0, memcmp(self->in, self->data, 5000));
}

/* A request waits for its bytes, all of them with MSG_WAITALL. */
TEST_F(ring, recv_waits)
{
	io_uring_prep_recv(io_uring_get_sqe(&self->ring), self->fds[1], self->in, KIB(64), 0);
	EXPECT_EQ(-ETIME, result_within(&self->ring, SETTLE_MS).res);
	ASSERT_EQ(100, send(self->fds[0], self->data, 100, 0));
	ASSERT_EQ(100, result_of(&self->ring).res);
	io_uring_prep_recv(io_uring_get_sqe(&self->ring), self->fds[1], self->in, 3000,
			   MSG_WAITALL);
	ASSERT_EQ(1000, send(self->fds[0], self->data, 1000, 0));
	EXPECT_EQ(-ETIME, result_within(&self->ring, SETTLE_MS).res);
	ASSERT_EQ(2000, send(self->fds[0], self->data + 1000, 2000, 0));
	ASSERT_EQ(3000, result_of(&self->ring).res);
	EXPECT_EQ(0, memcmp(self->in, self->data, 3000));
}

/* A result tells whether there is more. */
TEST_F(ring, recv_tells_of_more)
{
	struct result result;

	ASSERT_EQ(100, send(self->fds[0], self->data, 100, 0));
	io_uring_prep_recv(io_uring_get_sqe(&self->ring), self->fds[1], self->in, 60, 0);
	result = result_of(&self->ring);
	EXPECT_EQ(60, result.res);
	EXPECT_EQ(IORING_CQE_F_SOCK_NONEMPTY, result.flags & IORING_CQE_F_SOCK_NONEMPTY);
	io_uring_prep_recv(io_uring_get_sqe(&self->ring), self->fds[1], self->in, 60, 0);
	result = result_of(&self->ring);
	EXPECT_EQ(40, result.res);
	EXPECT_EQ(0, result.flags & IORING_CQE_F_SOCK_NONEMPTY);
}

/* One request gives a result for each arrival, and ends with the stream. */
TEST_F(ring, recv_multishot)
{
	struct io_uring_sqe *request = io_uring_get_sqe(&self->ring);
	struct result result;
	size_t at = 0;

	io_uring_prep_recv_multishot(request, self->fds[1], NULL, 0, 0);
	request->flags |= IOSQE_BUFFER_SELECT;
	request->buf_group = GROUP;
	for (int round = 0; round < 3; round++) {
		ASSERT_EQ(100, send(self->fds[0], self->data + at, 100, 0));
		result = result_of(&self->ring);
		ASSERT_EQ(100, result.res);
		ASSERT_TRUE(result.flags & IORING_CQE_F_BUFFER);
		EXPECT_TRUE(result.flags & IORING_CQE_F_MORE);
		EXPECT_EQ(0, memcmp(self->space[result.flags >> IORING_CQE_BUFFER_SHIFT],
				    self->data + at, 100));
		at += 100;
	}
	/* What needs several buffers comes in as many results. */
	ASSERT_EQ(2 * BUFFER_SIZE + 10,
		  send(self->fds[0], self->data, 2 * BUFFER_SIZE + 10, 0));
	EXPECT_EQ(BUFFER_SIZE, result_of(&self->ring).res);
	EXPECT_EQ(BUFFER_SIZE, result_of(&self->ring).res);
	EXPECT_EQ(10, result_of(&self->ring).res);
	ASSERT_EQ(0, shutdown(self->fds[0], SHUT_WR));
	result = result_of(&self->ring);
	EXPECT_EQ(0, result.res);
	EXPECT_FALSE(result.flags & IORING_CQE_F_MORE);
}

/* More than the window, while the other end reads. */
TEST_F(ring, send_waits)
{
	struct caller caller = {
		.fd = self->fds[1], .call = call_recv, .data = self->in,
		.len = MIB(1), .flags = MSG_WAITALL,
	};

	io_uring_prep_send(io_uring_get_sqe(&self->ring), self->fds[0], self->data, MIB(1),
			   MSG_WAITALL);
	EXPECT_EQ(-ETIME, result_within(&self->ring, SETTLE_MS).res);
	ASSERT_TRUE(caller_start(&caller));
	ASSERT_EQ((int)MIB(1), result_of(&self->ring).res);
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ((ssize_t)MIB(1), caller.result);
	EXPECT_EQ(0, memcmp(self->in, self->data, MIB(1)));
}

TEST_F(ring, poll)
{
	struct result result;

	io_uring_prep_poll_multishot(io_uring_get_sqe(&self->ring), self->fds[1],
				     POLLIN | POLLRDHUP);
	EXPECT_EQ(-ETIME, result_within(&self->ring, SETTLE_MS).res);
	for (int round = 0; round < 2; round++) {
		ASSERT_EQ(1, send(self->fds[0], "x", 1, 0));
		result = result_of(&self->ring);
		EXPECT_EQ(POLLIN, result.res);
		EXPECT_TRUE(result.flags & IORING_CQE_F_MORE);
		ASSERT_EQ(1, recv(self->fds[1], self->in, 1, 0));
	}
	ASSERT_EQ(0, shutdown(self->fds[0], SHUT_WR));
	EXPECT_EQ(POLLIN | POLLRDHUP, result_of(&self->ring).res);
}

/* accept: once, and again and again; connect to it. */
TEST_F(ring, connect_and_accept)
{
	unsigned int port;
	int listener = vsock_listener(&port, 8), client, accepted[3];
	struct sockaddr_vm address = vsock_address(vsock_own_cid(), port);
	struct result results[2];

	ASSERT_LE(0, listener);
	client = vsock_stream(0);
	io_uring_prep_accept(io_uring_get_sqe(&self->ring), listener, NULL, NULL, 0);
	EXPECT_EQ(-ETIME, result_within(&self->ring, SETTLE_MS).res);
	io_uring_prep_connect(io_uring_get_sqe(&self->ring), client,
			      (struct sockaddr *)&address, sizeof(address));
	io_uring_submit(&self->ring);
	for (int i = 0; i < 2; i++) {
		results[i] = result_of(&self->ring);
		ASSERT_LE(0, results[i].res);
	}
	/* One is the descriptor, the other that of connect. */
	EXPECT_EQ(0, results[0].res * results[1].res);
	close(results[0].res + results[1].res);
	close(client);

	io_uring_prep_multishot_accept(io_uring_get_sqe(&self->ring), listener, NULL, NULL, 0);
	io_uring_submit(&self->ring);
	for (int i = 0; i < 3; i++) {
		struct result result;

		client = vsock_stream(0);
		ASSERT_EQ(0, vsock_connect(client, vsock_own_cid(), port));
		result = result_of(&self->ring);
		accepted[i] = result.res;
		ASSERT_LE(0, accepted[i]);
		EXPECT_TRUE(result.flags & IORING_CQE_F_MORE);
		ASSERT_EQ(1, send(client, "y", 1, 0));
		EXPECT_EQ(0, recv_all(accepted[i], self->in, 1));
		close(client);
		close(accepted[i]);
	}
	close(listener);
}

/* SEND_ZC: a result when it is sent, and another when the memory is free. */
TEST_F(ring, send_zc)
{
	struct result result;

	io_uring_prep_send_zc(io_uring_get_sqe(&self->ring), self->fds[0], self->data, 20000,
			      0, IORING_SEND_ZC_REPORT_USAGE);
	result = result_of(&self->ring);
	ASSERT_EQ(20000, result.res);
	ASSERT_TRUE(result.flags & IORING_CQE_F_MORE);
	EXPECT_EQ(-ETIME, result_within(&self->ring, SETTLE_MS).res);
	ASSERT_EQ(0, recv_all(self->fds[1], self->in, 20000));
	EXPECT_EQ(0, memcmp(self->in, self->data, 20000));
	result = result_of(&self->ring);
	EXPECT_EQ(0, result.res);
	EXPECT_EQ(IORING_CQE_F_NOTIF, result.flags);
}

/* The same from memory that was registered before. */
TEST_F(ring, send_zc_fixed)
{
	struct iovec part = { self->data, MIB(1) };
	struct result result;

	ASSERT_EQ(0, io_uring_register_buffers(&self->ring, &part, 1));
	io_uring_prep_send_zc_fixed(io_uring_get_sqe(&self->ring), self->fds[0],
				    self->data + 100, 20000, 0, IORING_SEND_ZC_REPORT_USAGE, 0);
	result = result_of(&self->ring);
	ASSERT_EQ(20000, result.res);
	ASSERT_TRUE(result.flags & IORING_CQE_F_MORE);
	ASSERT_EQ(0, recv_all(self->fds[1], self->in, 20000));
	EXPECT_EQ(0, memcmp(self->in, self->data + 100, 20000));
	result = result_of(&self->ring);
	EXPECT_EQ(0, result.res);
	EXPECT_EQ(IORING_CQE_F_NOTIF, result.flags);
}

/* What does not fit the window is copied, and that is said. */
TEST_F(ring, send_zc_that_is_copied)
{
	struct result result;

	io_uring_prep_send_zc(io_uring_get_sqe(&self->ring), self->fds[0], self->data,
			      2 * DEFAULT_BUFFER, 0, IORING_SEND_ZC_REPORT_USAGE);
	result = result_of(&self->ring);
	EXPECT_EQ((int)DEFAULT_BUFFER, result.res);
	result = result_of(&self->ring);
	EXPECT_EQ(IORING_NOTIF_USAGE_ZC_COPIED, (unsigned int)result.res);
}

/* To the peer, in parts. */
TEST_F(ring, sendmsg_zc_to_the_peer)
{
	struct iovec parts[2] = { { self->data, 5000 }, { self->data + 10000, 7000 } };
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };
	char line[64], expected[64];
	struct result result;
	uint32_t crc;
	int fd;

	ASSERT_ASK(fd, "sink 12000 0");
	io_uring_prep_sendmsg_zc(io_uring_get_sqe(&self->ring), fd, &message, 0);
	result = result_of(&self->ring);
	ASSERT_EQ(12000, result.res);
	ASSERT_TRUE(result.flags & IORING_CQE_F_MORE);
	result = result_of(&self->ring);
	EXPECT_EQ(IORING_CQE_F_NOTIF, result.flags);
	crc = crc32_update(crc32_update(0, self->data, 5000), self->data + 10000, 7000);
	snprintf(expected, sizeof(expected), "12000 %08x", crc);
	ASSERT_EQ(0, vsock_read_line(fd, line, sizeof(line)));
	EXPECT_STREQ(expected, line);
	close(fd);
}

TEST_HARNESS_MAIN
