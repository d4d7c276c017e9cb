// SPDX-License-Identifier: GPL-2.0
/*
 * Data between two ends that are both here: in one thread, two threads, two
 * processes. What recv() and send() do otherwise is held by their own suites,
 * which run over loopback as well.
 */
#define _GNU_SOURCE
#include "vsock_harness.h"

#include <fcntl.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
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

/* Events of the kernel that this thread causes: a tracepoint, as SYSTEM/NAME. */
static int open_event(const char *name)
{
	struct perf_event_attr event = { .type = PERF_TYPE_TRACEPOINT, .size = sizeof(event) };
	unsigned long long number = 0;
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "/sys/kernel/tracing/events/%s/id", name);
	file = fopen(path, "r");
	if (!file)
		return -1;
	if (fscanf(file, "%llu", &number) == 1)
		event.config = number;
	fclose(file);
	return syscall(SYS_perf_event_open, &event, 0, -1, -1, 0);
}

static long events_of(int fd)
{
	uint64_t count;

	return read(fd, &count, sizeof(count)) == sizeof(count) ? (long)count : -1;
}

FIXTURE(gathered)
{
	int fds[2], slabs, buffers;
};

FIXTURE_VARIANT(gathered)
{
	int type;
};

FIXTURE_VARIANT_ADD(gathered, stream)
{
	.type = SOCK_STREAM,
};

FIXTURE_VARIANT_ADD(gathered, messages)
{
	.type = SOCK_SEQPACKET,
};

FIXTURE_SETUP(gathered)
{
	ASSERT_EQ(0, vsock_pair_of(variant->type, VMADDR_CID_LOCAL, 0, self->fds));
	self->slabs = open_event("kmem/kmem_cache_alloc");
	self->buffers = open_event("kmem/kmalloc");
	ASSERT_LE(0, self->slabs);
	ASSERT_LE(0, self->buffers);
}

FIXTURE_TEARDOWN(gathered)
{
	close(self->fds[0]);
	close(self->fds[1]);
	close(self->slabs);
	close(self->buffers);
}

/* Behind bytes that were not read yet, few more take no memory of their own. */
TEST_F(gathered, short_sends_take_no_memory)
{
	enum { LEN = 8, COUNT = 200 };
	uint8_t data[LEN], in[LEN];
	long before = 0, after;

	for (int i = -2; i < COUNT; i++) {
		if (!i)
			before = events_of(self->slabs) + events_of(self->buffers);
		pattern_fill(data, LEN, (i + 2) * LEN);
		ASSERT_EQ(LEN, send(self->fds[0], data, LEN, MSG_DONTWAIT));
	}
	after = events_of(self->slabs) + events_of(self->buffers);
	TH_LOG("%ld allocations for %d sends", after - before, COUNT);
	/* An interrupt may have some of its own. */
	EXPECT_GE(COUNT / 10, after - before);
	for (int i = -2; i < COUNT; i++) {
		ASSERT_EQ(LEN, recv(self->fds[1], in, LEN, MSG_DONTWAIT));
		EXPECT_EQ(LEN, pattern_check(in, LEN, (i + 2) * LEN));
	}
	EXPECT_EQ(-1, recv(self->fds[1], in, LEN, MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
}

/* Has something that was not read yet. */
static void leave_unread(struct __test_metadata *_metadata, const int fds[2])
{
	ASSERT_EQ(1, send(fds[0], "x", 1, MSG_DONTWAIT));
	ASSERT_EQ(1, send(fds[0], "y", 1, MSG_DONTWAIT));
}

static void read_unread(struct __test_metadata *_metadata, const int fds[2])
{
	char c;

	ASSERT_EQ(1, recv(fds[1], &c, 1, MSG_DONTWAIT));
	ASSERT_EQ('x', c);
	ASSERT_EQ(1, recv(fds[1], &c, 1, MSG_DONTWAIT));
	ASSERT_EQ('y', c);
}

/* Such a packet, too, tells its receiver of all that its sender has read. */
TEST_F(gathered, tells_what_was_read)
{
	enum { LEN = 1024 };
	uint8_t data[LEN];

	pattern_fill(data, LEN, 0);
	leave_unread(_metadata, self->fds);
	for (size_t sent = 0; sent < DEFAULT_BUFFER; sent += LEN)
		ASSERT_EQ(LEN, send(self->fds[1], data, LEN, MSG_DONTWAIT));
	/* So little is not worth a packet of its own. */
	ASSERT_EQ(LEN, recv(self->fds[0], data, LEN, MSG_DONTWAIT));
	EXPECT_EQ(0, poll_for(self->fds[1], POLLOUT, SETTLE_MS));
	ASSERT_EQ(1, send(self->fds[0], "z", 1, MSG_DONTWAIT));
	EXPECT_EQ(POLLOUT, poll_for(self->fds[1], POLLOUT, 0));
	EXPECT_EQ(LEN, send(self->fds[1], data, LEN, MSG_DONTWAIT));
}

/* What would have to be brought in first is sent all the same. */
TEST_F(gathered, memory_that_was_not_touched)
{
	enum { LEN = 100 };
	int file = memfd_create("untouched", 0);
	uint8_t data[LEN], in[LEN];
	uint8_t *mapped;

	ASSERT_LE(0, file);
	pattern_fill(data, LEN, 0);
	ASSERT_EQ(LEN, write(file, data, LEN));
	mapped = mmap(NULL, LEN, PROT_READ, MAP_SHARED, file, 0);
	ASSERT_NE(MAP_FAILED, mapped);
	leave_unread(_metadata, self->fds);
	ASSERT_EQ(LEN, send(self->fds[0], mapped, LEN, MSG_DONTWAIT));
	/* And now that it is there. */
	ASSERT_EQ(LEN, send(self->fds[0], mapped, LEN, MSG_DONTWAIT));
	read_unread(_metadata, self->fds);
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(LEN, recv(self->fds[1], in, LEN, MSG_DONTWAIT));
		EXPECT_EQ(LEN, pattern_check(in, LEN, 0));
	}
	munmap(mapped, LEN);
	close(file);
}

/* Of a stream what can be read is sent; of a message nothing. */
TEST_F(gathered, memory_that_ends)
{
	const long page = sysconf(_SC_PAGESIZE);
	uint8_t *memory = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint8_t in[200];

	ASSERT_NE(MAP_FAILED, memory);
	ASSERT_EQ(0, munmap(memory + page, page));
	pattern_fill(memory + page - 100, 100, 0);
	leave_unread(_metadata, self->fds);
	if (variant->type == SOCK_STREAM) {
		ASSERT_EQ(100, send(self->fds[0], memory + page - 100, 200, MSG_DONTWAIT));
	} else {
		ASSERT_EQ(-1, send(self->fds[0], memory + page - 100, 200, MSG_DONTWAIT));
		EXPECT_EQ(EFAULT, errno);
		ASSERT_EQ(100, send(self->fds[0], memory + page - 100, 100, MSG_DONTWAIT));
	}
	ASSERT_EQ(-1, send(self->fds[0], memory + page, 100, MSG_DONTWAIT));
	EXPECT_EQ(EFAULT, errno);
	read_unread(_metadata, self->fds);
	ASSERT_EQ(100, recv(self->fds[1], in, sizeof(in), MSG_DONTWAIT));
	EXPECT_EQ(100, pattern_check(in, 100, 0));
	EXPECT_EQ(-1, recv(self->fds[1], in, sizeof(in), MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
	munmap(memory, page);
}

/* Each message has an end of its own, and some are records. */
TEST(gathered_records)
{
	struct iovec part = { .iov_len = 8 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
	char data[8] = "records", in[8];
	int fds[2];

	ASSERT_EQ(0, vsock_pair_of(SOCK_SEQPACKET, VMADDR_CID_LOCAL, 0, fds));
	leave_unread(_metadata, fds);
	for (int i = 0; i < 4; i++)
		ASSERT_EQ(8, send(fds[0], data, 8, MSG_DONTWAIT | (i % 2 ? MSG_EOR : 0)));
	read_unread(_metadata, fds);
	part.iov_base = in;
	for (int i = 0; i < 4; i++) {
		ASSERT_EQ(8, recvmsg(fds[1], &message, MSG_DONTWAIT));
		EXPECT_EQ(0, memcmp(data, in, 8));
		EXPECT_EQ(i % 2 ? MSG_EOR : 0, message.msg_flags & MSG_EOR);
	}
	close(fds[0]);
	close(fds[1]);
}

/* Another thread looks again and again at what is there: few bytes take no more for that. */
static void *keep_peeking(void *argument)
{
	const int *fd = argument;
	char c;

	while (recv(*fd, &c, 1, MSG_PEEK) == 1)
		;
	return NULL;
}

TEST_F_TIMEOUT(gathered, beside_one_who_peeks, 60)
{
	/* A byte of a stream takes 1.5 at the most, and a message of a byte 8 more. */
	enum { COUNT = 40000, BOUND = 10 * COUNT };
	struct memory before, after;
	pthread_t peeker;
	char c;

	leave_unread(_metadata, self->fds);
	before = measure_memory();
	ASSERT_EQ(0, pthread_create(&peeker, NULL, keep_peeking, &self->fds[1]));
	for (int i = 0; i < COUNT; i++)
		ASSERT_EQ(1, send(self->fds[0], "z", 1, 0));
	after = measure_memory_within(before, BOUND + MEMORY_FIXED);
	TH_LOG("%ld bytes of slabs for %d", after.slab - before.slab, COUNT);
	EXPECT_GE(BOUND + MEMORY_FIXED, after.slab - before.slab);
	read_unread(_metadata, self->fds);
	for (int i = 0; i < COUNT; i++) {
		ASSERT_EQ(1, recv(self->fds[1], &c, 1, 0));
		ASSERT_EQ('z', c);
	}
	ASSERT_EQ(0, shutdown(self->fds[0], SHUT_RDWR));
	ASSERT_EQ(0, pthread_join(peeker, NULL));
}

TEST_HARNESS_MAIN
