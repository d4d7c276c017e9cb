// SPDX-License-Identifier: GPL-2.0
/*
 * Data between two ends that are both here: in one thread, two threads, two
 * processes. What recv() and send() do otherwise is held by their own suites,
 * which run over loopback as well.
 */
#define _GNU_SOURCE
#include "vsock_harness.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define ECHO_BYTES	KIB(512)
#define ECHO_ROUNDS	10

FIXTURE(pair)
{
	/* The end that sends in most tests, and the other. */
	int from, to;
	uint8_t data[4096];
};

FIXTURE_VARIANT(pair)
{
	bool accepted_sends;
};

FIXTURE_VARIANT_ADD(pair, connected_sends)
{
	.accepted_sends = false,
};

FIXTURE_VARIANT_ADD(pair, accepted_sends)
{
	.accepted_sends = true,
};

FIXTURE_SETUP(pair)
{
	int fds[2];

	ASSERT_EQ(0, vsock_pair(vsock_peer_cid(), 0, fds));
	self->from = fds[variant->accepted_sends];
	self->to = fds[!variant->accepted_sends];
}

FIXTURE_TEARDOWN(pair)
{
	close(self->from);
	close(self->to);
}

/* One thread has both ends. */
TEST_F(pair, one_thread)
{
	uint8_t in[sizeof(self->data)];

	for (int round = 0; round < 20; round++) {
		random_fill(self->data, sizeof(self->data), round);
		ASSERT_EQ((ssize_t)sizeof(self->data),
			  send(self->from, self->data, sizeof(self->data), 0));
		ASSERT_EQ(0, recv_all(self->to, in, sizeof(in)));
		ASSERT_EQ(0, memcmp(in, self->data, sizeof(in)));
		/* And back. */
		ASSERT_EQ((ssize_t)sizeof(in),
			  send(self->to, in, sizeof(in), 0));
		memset(in, 0, sizeof(in));
		ASSERT_EQ(0, recv_all(self->from, in, sizeof(in)));
		ASSERT_EQ(0, memcmp(in, self->data, sizeof(in)));
	}
}

/* Nothing of what one end sends comes back to itself. */
TEST_F(pair, no_echo_of_its_own)
{
	ASSERT_EQ(100, send(self->from, self->data, 100, 0));
	ASSERT_TRUE(wait_queued(self->to, 100));
	EXPECT_EQ(-1, recv(self->from, self->data, 1, MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
}

/* Send without waiting until no more is taken; returns how much was. */
static size_t fill(int fd, size_t piece)
{
	uint8_t *data = malloc(piece);
	size_t sent = 0;
	ssize_t result;

	for (int idle = 0; idle < 3;) {
		pattern_fill(data, piece, sent);
		result = send(fd, data, piece, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (result > 0) {
			sent += result;
			idle = 0;
			continue;
		}
		if (errno != EAGAIN)
			break;
		/* What was sent may still be on its way. */
		idle++;
		sleep_ms(20);
	}
	free(data);
	return sent;
}

/* The window: as much as the reader's buffer is taken, and not a byte more. */
TEST_F(pair, window)
{
	uint8_t *in = malloc(DEFAULT_BUFFER);

	EXPECT_EQ(DEFAULT_BUFFER, fill(self->from, 10000));
	EXPECT_EQ(0, poll_for(self->from, POLLOUT, 0));
	ASSERT_TRUE(wait_queued(self->to, DEFAULT_BUFFER));
	/* The other direction has a window of its own. */
	EXPECT_EQ(DEFAULT_BUFFER, fill(self->to, KIB(64)));
	EXPECT_EQ(0, recv_all(self->to, in, DEFAULT_BUFFER));
	EXPECT_EQ(DEFAULT_BUFFER, pattern_check(in, DEFAULT_BUFFER, 0));
	EXPECT_EQ(POLLOUT, poll_for(self->from, POLLOUT, PATIENCE_MS));
	EXPECT_EQ(DEFAULT_BUFFER, fill(self->from, 10000));
	EXPECT_EQ(0, recv_all(self->from, in, DEFAULT_BUFFER));
	EXPECT_EQ(DEFAULT_BUFFER, pattern_check(in, DEFAULT_BUFFER, 0));
	free(in);
}

/*
 * With credit for one byte a stream is writable: that byte may be the last one that the
 * reader waits for.
 */
TEST_F(pair, last_byte_is_writable)
{
	uint8_t *data = calloc(1, DEFAULT_BUFFER);

	ASSERT_EQ(0, set_int(self->to, SOL_SOCKET, SO_RCVLOWAT, DEFAULT_BUFFER));
	ASSERT_EQ((ssize_t)DEFAULT_BUFFER - 1,
		  send(self->from, data, DEFAULT_BUFFER - 1, MSG_DONTWAIT));
	EXPECT_EQ(0, poll_for(self->to, POLLIN, SETTLE_MS));
	EXPECT_EQ(POLLOUT, poll_for(self->from, POLLOUT, 0));
	EXPECT_EQ(1, send(self->from, data, KIB(64), MSG_DONTWAIT));
	EXPECT_EQ(POLLIN, poll_for(self->to, POLLIN, PATIENCE_MS));
	EXPECT_EQ(0, poll_for(self->from, POLLOUT, 0));
	free(data);
}

/* A sender that waits for credit goes on when the other end reads. */
TEST_F(pair, blocked_sender_goes_on)
{
	struct caller caller = {
		.fd = self->from, .call = call_send, .len = MIB(1),
	};
	uint8_t *in = malloc(MIB(1));

	caller.data = malloc(MIB(1));
	pattern_fill(caller.data, MIB(1), 0);
	ASSERT_TRUE(caller_start(&caller));
	ASSERT_FALSE(caller_is_done(&caller));
	ASSERT_EQ(0, recv_all(self->to, in, KIB(100)));
	sleep_ms(SETTLE_MS);
	ASSERT_FALSE(caller_is_done(&caller));
	ASSERT_EQ(0, recv_all(self->to, in + KIB(100), MIB(1) - KIB(100)));
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ((ssize_t)MIB(1), caller.result);
	EXPECT_EQ(MIB(1), pattern_check(in, MIB(1), 0));
	free(caller.data);
	free(in);
}

/* Both ends are full and both senders wait: reading frees the one and the other. */
TEST_F(pair, both_senders_blocked)
{
	struct caller callers[2];
	uint8_t *in = malloc(MIB(1));
	int ends[2] = { self->from, self->to };

	for (int i = 0; i < 2; i++) {
		callers[i] = (struct caller) {
			.fd = ends[i], .call = call_send,
			.data = malloc(MIB(1)), .len = MIB(1),
		};
		pattern_fill(callers[i].data, MIB(1), i);
		ASSERT_TRUE(caller_start(&callers[i]));
		ASSERT_FALSE(caller_is_done(&callers[i]));
	}
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, recv_all(ends[!i], in, MIB(1)));
		EXPECT_EQ(MIB(1), pattern_check(in, MIB(1), i));
		ASSERT_TRUE(caller_join(&callers[i]));
		EXPECT_EQ((ssize_t)MIB(1), callers[i].result);
		free(callers[i].data);
	}
	free(in);
}

/* A buffer that ends too soon for send(): what was there has been sent. */
TEST_F(pair, unreadable_end_of_a_buffer)
{
	long page = sysconf(_SC_PAGESIZE);
	uint8_t *map = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ssize_t sent;

	ASSERT_NE(MAP_FAILED, (void *)map);
	pattern_fill(map + page - 300, 300, 0);
	ASSERT_EQ(0, mprotect(map + page, page, PROT_NONE));
	sent = send(self->from, map + page - 300, 1000, 0);
	if (sent < 0) {
		EXPECT_EQ(EFAULT, errno);
		sent = 0;
	}
	EXPECT_GE(300, sent);
	ASSERT_EQ(3, send(self->from, "end", 3, 0));
	ASSERT_EQ(0, recv_all(self->to, self->data, sent + 3));
	EXPECT_EQ(sent, (ssize_t)pattern_check(self->data, sent, 0));
	EXPECT_EQ(0, memcmp(self->data + sent, "end", 3));
	munmap(map, 2 * page);
}

/*
 * A reader that waits for a page of its buffer owns its socket all the while.
 * The other end sends on, and closes; the reader finds it all afterwards.
 */
TEST_F(pair, reader_owns_its_socket)
{
	struct caller caller = {
		.fd = self->to, .call = call_recv_untouched, .len = 100,
	};
	uint8_t *page, source[4096] = { 0 };
	int fault = faulting_page(&page);

	ASSERT_LE(0, fault);
	pattern_fill(self->data, 3000, 0);
	ASSERT_EQ(100, send(self->from, self->data, 100, 0));
	ASSERT_TRUE(wait_queued(self->to, 100));
	caller.data = page;
	ASSERT_TRUE(caller_start(&caller));
	ASSERT_FALSE(caller_is_done(&caller));
	ASSERT_EQ(2900, send(self->from, self->data + 100, 2900, 0));
	ASSERT_EQ(0, shutdown(self->from, SHUT_WR));
	ASSERT_EQ(0, close(self->from));
	self->from = -1;
	ASSERT_FALSE(caller_is_done(&caller));
	ASSERT_EQ(0, provide_page(fault, page, source));
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ(100, caller.result);
	EXPECT_EQ(100, pattern_check(page, 100, 0));
	EXPECT_EQ(2900, recv(self->to, self->data, 3000, MSG_WAITALL));
	EXPECT_EQ(2900, pattern_check(self->data, 2900, 100));
	EXPECT_EQ(0, recv(self->to, self->data, 1, 0));
	close(fault);
	munmap(page, sizeof(source));
}

static ssize_t call_send_without_touching(struct caller *caller)
{
	return send(caller->fd, caller->data, caller->len, caller->flags);
}

/* A sender that waits for a page likewise: the other end goes on meanwhile. */
TEST_F(pair, sender_owns_its_socket)
{
	struct caller caller = {
		.fd = self->from, .call = call_send_without_touching,
		.len = 4096,
	};
	uint8_t *page, source[4096];
	int fault = faulting_page(&page);

	ASSERT_LE(0, fault);
	pattern_fill(source, sizeof(source), 0);
	caller.data = page;
	ASSERT_TRUE(caller_start(&caller));
	ASSERT_FALSE(caller_is_done(&caller));
	/* Data for the owned socket, and another send on the other one. */
	for (int i = 0; i < 50; i++)
		ASSERT_EQ(20, send(self->to, self->data, 20, 0));
	EXPECT_EQ(-1, recv(self->to, self->data, 1, MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
	ASSERT_EQ(0, provide_page(fault, page, source));
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ(4096, caller.result);
	ASSERT_EQ(0, recv_all(self->to, self->data, 4096));
	EXPECT_EQ(4096, pattern_check(self->data, 4096, 0));
	EXPECT_EQ(1000, recv(self->from, self->data, 4096, MSG_WAITALL |
			     MSG_DONTWAIT));
	close(fault);
	munmap(page, sizeof(source));
}

/* What is sent when the other end has closed is lost: the sender is told, and it is counted. */
TEST_F(pair, sent_after_the_close)
{
	struct caller caller = {
		.fd = self->from, .call = call_send_without_touching,
		.len = 4096, .flags = MSG_NOSIGNAL,
	};
	long counted = module_counter("dropped_loopback");
	uint8_t *page, source[4096] = { 0 };
	int fault = faulting_page(&page);

	ASSERT_LE(0, fault);
	caller.data = page;
	ASSERT_TRUE(caller_start(&caller));
	ASSERT_FALSE(caller_is_done(&caller));
	ASSERT_EQ(0, close(self->to));
	self->to = -1;
	ASSERT_EQ(0, provide_page(fault, page, source));
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ(-1, caller.result);
	EXPECT_EQ(ECONNRESET, caller.error);
	if (counted >= 0)
		EXPECT_EQ(counted + 1, module_counter("dropped_loopback"));
	close(fault);
	munmap(page, sizeof(source));
}

/* Both at once: each waits for a page while the other end sends to it. */
TEST_F(pair, both_own_their_sockets)
{
	uint8_t *pages[2], source[4096];
	struct caller callers[2];
	int ends[2] = { self->from, self->to }, faults[2];

	pattern_fill(source, sizeof(source), 0);
	for (int i = 0; i < 2; i++) {
		faults[i] = faulting_page(&pages[i]);
		ASSERT_LE(0, faults[i]);
		callers[i] = (struct caller) {
			.fd = ends[i], .call = call_send_without_touching,
			.data = pages[i], .len = 4096,
		};
		ASSERT_TRUE(caller_start(&callers[i]));
		ASSERT_FALSE(caller_is_done(&callers[i]));
	}
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(0, provide_page(faults[i], pages[i], source));
	for (int i = 0; i < 2; i++) {
		ASSERT_TRUE(caller_join(&callers[i]));
		EXPECT_EQ(4096, callers[i].result);
		ASSERT_EQ(0, recv_all(ends[!i], self->data, 4096));
		EXPECT_EQ(4096, pattern_check(self->data, 4096, 0));
		close(faults[i]);
		munmap(pages[i], sizeof(source));
	}
}

FIXTURE(buffers)
{
	int fds[2];
};

FIXTURE_VARIANT(buffers)
{
	size_t connected, accepted;
};

FIXTURE_VARIANT_ADD(buffers, small_and_large)
{
	.connected = KIB(4), .accepted = MIB(1),
};

FIXTURE_VARIANT_ADD(buffers, large_and_small)
{
	.connected = MIB(1), .accepted = KIB(4),
};

FIXTURE_VARIANT_ADD(buffers, both_large)
{
	.connected = MIB(1), .accepted = MIB(1),
};

FIXTURE_VARIANT_ADD(buffers, both_tiny)
{
	.connected = 128, .accepted = 128,
};

FIXTURE_SETUP(buffers)
{
	ASSERT_EQ(0, vsock_pair(vsock_peer_cid(), MIB(1), self->fds));
	ASSERT_EQ(0, set_buffer(self->fds[0], SO_VM_SOCKETS_BUFFER_SIZE,
				variant->connected));
	ASSERT_EQ(0, set_buffer(self->fds[1], SO_VM_SOCKETS_BUFFER_SIZE,
				variant->accepted));
}

FIXTURE_TEARDOWN(buffers)
{
	close(self->fds[0]);
	close(self->fds[1]);
}

/* Ends with different buffers: the smaller one bounds what is under way. */
TEST_F(buffers, bound_what_is_under_way)
{
	size_t least = variant->connected < variant->accepted ?
		       variant->connected : variant->accepted;
	uint8_t *in = malloc(MIB(1));

	for (int i = 0; i < 2; i++) {
		size_t sent = fill(self->fds[i], 1000);

		EXPECT_EQ(least, sent);
		EXPECT_EQ(0, recv_all(self->fds[!i], in, sent));
		EXPECT_EQ(sent, pattern_check(in, sent, 0));
	}
	free(in);
}

/* A stream of many windows passes whole, in both directions. */
TEST_F(buffers, carry_a_stream)
{
	size_t total = variant->connected < KIB(1) ? KIB(16) : MIB(1);
	uint8_t *in = malloc(total);

	for (int i = 0; i < 2; i++) {
		struct caller caller = {
			.fd = self->fds[i], .call = call_send,
			.data = malloc(total), .len = total,
		};

		pattern_fill(caller.data, total, 0);
		ASSERT_TRUE(caller_start(&caller));
		ASSERT_EQ((ssize_t)total, recv(self->fds[!i], in, total,
					       MSG_WAITALL));
		ASSERT_TRUE(caller_join(&caller));
		EXPECT_EQ((ssize_t)total, caller.result);
		EXPECT_EQ(total, pattern_check(in, total, 0));
		free(caller.data);
	}
	free(in);
}

FIXTURE(echo)
{
	int fds[2];
};

FIXTURE_VARIANT(echo)
{
	bool forked;
};

FIXTURE_VARIANT_ADD(echo, thread)
{
	.forked = false,
};

FIXTURE_VARIANT_ADD(echo, process)
{
	.forked = true,
};

FIXTURE_SETUP(echo)
{
	ASSERT_EQ(0, vsock_pair(vsock_peer_cid(), 0, self->fds));
}

FIXTURE_TEARDOWN(echo)
{
}

/* Returns what each recv gives it, until the end. */
static void *serve_echo(void *argument)
{
	int fd = *(int *)argument;
	uint8_t *data = malloc(MIB(1));
	ssize_t got;

	while ((got = recv(fd, data, MIB(1), 0)) > 0)
		if (send_all(fd, data, got))
			break;
	close(fd);
	free(data);
	return got ? argument : NULL;
}

/* 512 KiB there and back, ten times, each byte compared. */
TEST_F_TIMEOUT(echo, compare, 60)
{
	uint8_t *in = malloc(ECHO_BYTES);
	pthread_t server = 0;
	pid_t child = 0;

	if (variant->forked) {
		child = fork();
		ASSERT_LE(0, child);
		if (!child) {
			close(self->fds[0]);
			_exit(serve_echo(&self->fds[1]) ? 1 : 0);
		}
		close(self->fds[1]);
	} else {
		ASSERT_EQ(0, pthread_create(&server, NULL, serve_echo,
					    &self->fds[1]));
	}
	for (int round = 0; round < ECHO_ROUNDS; round++) {
		struct caller caller = {
			.fd = self->fds[0], .call = call_send,
			.data = malloc(ECHO_BYTES), .len = ECHO_BYTES,
		};

		random_fill(caller.data, ECHO_BYTES, round);
		ASSERT_TRUE(caller_start(&caller));
		ASSERT_EQ((ssize_t)ECHO_BYTES,
			  recv(self->fds[0], in, ECHO_BYTES, MSG_WAITALL));
		ASSERT_TRUE(caller_join(&caller));
		ASSERT_EQ((ssize_t)ECHO_BYTES, caller.result);
		ASSERT_EQ(0, memcmp(in, caller.data, ECHO_BYTES));
		free(caller.data);
	}
	/* Nothing is left over, and the echo ends with the stream. */
	ASSERT_EQ(0, shutdown(self->fds[0], SHUT_WR));
	EXPECT_EQ(0, recv(self->fds[0], in, 1, 0));
	close(self->fds[0]);
	if (child) {
		int status = -1;

		EXPECT_EQ(child, waitpid(child, &status, 0));
		EXPECT_EQ(0, status);
	} else {
		void *result = NULL;

		pthread_join(server, &result);
		EXPECT_EQ(NULL, result);
	}
	free(in);
}

TEST_HARNESS_MAIN
