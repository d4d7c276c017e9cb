// SPDX-License-Identifier: GPL-2.0
/*
 * Datagrams that wait: how much memory they may take, what becomes of those for
 * which there is no room, and who is woken by one that comes.
 */
#define _GNU_SOURCE
#include "dgram.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/mman.h>

/* "Datagrams": the programs that everything started from. */
#define READERS		5
#define SENDERS		10
#define EACH		10
#define SIZE		1024

/* What a datagram of a byte takes at the least, in bytes: a buffer and its head. */
#define LEAST_MEMORY	512

/* Two bound sockets. */
FIXTURE(pair)
{
	int from, to;
	unsigned int to_port;
	uint8_t data[4096], in[4096];
	struct sockaddr_vm sender;
};

FIXTURE_SETUP(pair)
{
	self->from = dgram_bound();
	self->to = dgram_bound();
	ASSERT_LE(0, self->from);
	ASSERT_LE(0, self->to);
	self->to_port = local_port(self->to);
	pattern_fill(self->data, sizeof(self->data), 7);
}

FIXTURE_TEARDOWN(pair)
{
	close(self->from);
	close(self->to);
}

/* Take what is queued; returns how many datagrams that were, or -1 if one has not @len bytes. */
static int drain(int fd, ssize_t len)
{
	uint8_t *in = malloc(LARGEST);
	ssize_t got;
	int count = 0;

	while ((got = recv(fd, in, LARGEST, MSG_DONTWAIT)) >= 0) {
		if (got != len) {
			count = -1;
			break;
		}
		count++;
	}
	free(in);
	return count;
}

/* --- Many at a time */

struct team {
	int fd;
	unsigned int port;
	int left;
	/* Datagrams of each sender that came, and what was wrong. */
	unsigned int ports[SENDERS];
	int came[SENDERS][EACH];
	int wrong, failed;
};

/* The byte at @offset of a sender's datagram. */
static uint8_t byte_of(int sender, int number, size_t offset)
{
	return (uint8_t)(sender * 31 + number * 7 + offset);
}

static void *read_some(void *argument)
{
	struct team *team = argument;
	uint8_t in[SIZE + 1];

	while (__atomic_sub_fetch(&team->left, 1, __ATOMIC_ACQ_REL) >= 0) {
		struct sockaddr_vm from;
		socklen_t size = sizeof(from);
		ssize_t got = recvfrom(team->fd, in, sizeof(in), 0,
				       (struct sockaddr *)&from, &size);
		bool right = got == SIZE && in[0] < SENDERS && in[1] < EACH &&
			     from.svm_port == team->ports[in[0]] &&
			     from.svm_cid == vsock_own_cid();

		for (size_t i = 2; right && i < SIZE; i++)
			right = in[i] == byte_of(in[0], in[1], i);
		if (right)
			__atomic_add_fetch(&team->came[in[0]][in[1]], 1,
					   __ATOMIC_RELAXED);
		else
			__atomic_add_fetch(&team->wrong, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

struct sender {
	struct team *team;
	int number, fd;
	pthread_t thread;
};

static void *send_ten(void *argument)
{
	struct sender *sender = argument;
	uint8_t out[SIZE];

	for (int number = 0; number < EACH; number++) {
		out[0] = sender->number;
		out[1] = number;
		for (size_t i = 2; i < SIZE; i++)
			out[i] = byte_of(sender->number, number, i);
		if (dgram_send(sender->fd, sender->team->port, out, SIZE) != SIZE)
			__atomic_add_fetch(&sender->team->failed, 1,
					   __ATOMIC_RELAXED);
	}
	return NULL;
}

FIXTURE(team)
{
	struct team team;
	struct sender senders[SENDERS];
	pthread_t readers[READERS];
};

FIXTURE_VARIANT(team)
{
	bool readers_first;
};

FIXTURE_VARIANT_ADD(team, readers_first)
{
	.readers_first = true,
};

FIXTURE_VARIANT_ADD(team, senders_first)
{
	.readers_first = false,
};

FIXTURE_SETUP(team)
{
	memset(self, 0, sizeof(*self));
	self->team.fd = dgram_bound();
	ASSERT_LE(0, self->team.fd);
	self->team.port = local_port(self->team.fd);
	self->team.left = SENDERS * EACH;
	for (int i = 0; i < SENDERS; i++) {
		struct sender *sender = &self->senders[i];

		*sender = (struct sender) {
			.team = &self->team, .number = i, .fd = dgram_bound(),
		};
		ASSERT_LE(0, sender->fd);
		self->team.ports[i] = local_port(sender->fd);
	}
}

FIXTURE_TEARDOWN(team)
{
	close(self->team.fd);
	for (int i = 0; i < SENDERS; i++)
		close(self->senders[i].fd);
}

/*
 * Five readers of one socket, ten senders of ten datagrams: all arrive, whole and
 * once, each with its sender's address.
 */
TEST_F(team, five_readers_ten_senders)
{
	bool readers = variant->readers_first;

	for (int turn = 0; turn < 2; turn++, readers = !readers) {
		if (readers) {
			for (int i = 0; i < READERS; i++)
				ASSERT_EQ(0, pthread_create(&self->readers[i], NULL,
							    read_some, &self->team));
			sleep_ms(SETTLE_MS);
			continue;
		}
		for (int i = 0; i < SENDERS; i++)
			ASSERT_EQ(0, pthread_create(&self->senders[i].thread, NULL,
						    send_ten, &self->senders[i]));
		for (int i = 0; i < SENDERS; i++)
			pthread_join(self->senders[i].thread, NULL);
	}
	for (int i = 0; i < READERS; i++)
		pthread_join(self->readers[i], NULL);
	EXPECT_EQ(0, self->team.failed);
	EXPECT_EQ(0, self->team.wrong);
	for (int i = 0; i < SENDERS; i++)
		for (int number = 0; number < EACH; number++)
			EXPECT_EQ(1, self->team.came[i][number]);
	EXPECT_EQ(0, dgram_drops(self->team.fd));
}

/* --- Who is woken */

/* One datagram wakes one reader, once; readers are served in the order in which they came. */
TEST_F(pair, wakes_one_reader)
{
	struct caller callers[READERS];
	uint8_t in[READERS];

	for (int i = 0; i < READERS; i++) {
		callers[i] = (struct caller) {
			.fd = self->to, .call = call_recv, .data = &in[i], .len = 1,
		};
		ASSERT_TRUE(caller_start(&callers[i]));
		ASSERT_FALSE(caller_is_done(&callers[i]));
	}
	for (int i = 0; i < READERS; i++) {
		uint8_t number = i;

		ASSERT_EQ(1, dgram_send(self->from, self->to_port, &number, 1));
		ASSERT_TRUE(caller_join(&callers[i]));
		EXPECT_EQ(1, callers[i].result);
		EXPECT_EQ(i, in[i]);
		EXPECT_EQ(1, callers[i].switches);
		sleep_ms(20);
		for (int other = i + 1; other < READERS; other++)
			EXPECT_FALSE(caller_is_done(&callers[other]));
	}
}

/* A reader that leaves by a signal leaves nothing behind it asleep. */
TEST_F(pair, interrupted_reader_passes_on)
{
	struct caller first = {
		.fd = self->to, .call = call_recv, .data = self->in, .len = 1,
	};
	struct caller second = {
		.fd = self->to, .call = call_recv, .data = self->in + 1, .len = 1,
	};

	ignore_with_handler(SIGUSR1, 0);
	for (int round = 0; round < 20; round++) {
		ASSERT_TRUE(caller_start(&first));
		ASSERT_TRUE(caller_start(&second));
		pthread_kill(first.thread, SIGUSR1);
		ASSERT_EQ(1, dgram_send(self->from, self->to_port, "x", 1));
		ASSERT_TRUE(caller_join(&first));
		if (first.result == 1)
			ASSERT_EQ(1, dgram_send(self->from, self->to_port, "x", 1));
		ASSERT_TRUE(caller_join(&second));
		EXPECT_EQ(1, second.result);
	}
}

static ssize_t call_epoll_wait(struct caller *caller)
{
	struct epoll_event event;

	return epoll_wait(caller->fd, &event, 1, PATIENCE_MS);
}

static int watch(int epoll, int fd, unsigned int events)
{
	struct epoll_event event = { .events = events };

	return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

/* Each arrival is an edge, and with EPOLLEXCLUSIVE wakes one. */
TEST_F(pair, edges)
{
	struct caller callers[3];
	int epoll = epoll_create1(0), woken = 0;
	struct epoll_event event;

	ASSERT_EQ(0, watch(epoll, self->to, EPOLLIN | EPOLLET));
	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(1, dgram_send(self->from, self->to_port, "x", 1));
		EXPECT_EQ(1, epoll_wait(epoll, &event, 1, PATIENCE_MS));
		EXPECT_EQ(0, epoll_wait(epoll, &event, 1, 20));
	}
	close(epoll);
	EXPECT_EQ(3, drain(self->to, 1));
	for (size_t i = 0; i < ARRAY_SIZE(callers); i++) {
		callers[i] = (struct caller) {
			.call = call_epoll_wait, .fd = epoll_create1(0),
		};
		ASSERT_EQ(0, watch(callers[i].fd, self->to,
				   EPOLLIN | EPOLLET | EPOLLEXCLUSIVE));
		ASSERT_TRUE(caller_start(&callers[i]));
		ASSERT_FALSE(caller_is_done(&callers[i]));
	}
	ASSERT_EQ(1, dgram_send(self->from, self->to_port, "x", 1));
	sleep_ms(2 * SETTLE_MS);
	for (size_t i = 0; i < ARRAY_SIZE(callers); i++)
		woken += caller_is_done(&callers[i]);
	EXPECT_EQ(1, woken);
	shutdown(self->to, SHUT_RDWR);
	for (size_t i = 0; i < ARRAY_SIZE(callers); i++) {
		ASSERT_TRUE(caller_join(&callers[i]));
		close(callers[i].fd);
	}
}

/* --- What there is no room for */

/* Kernel memory in slabs and in pages of its own, in bytes. */
static long kernel_memory(void)
{
	return number_in("/proc/meminfo", "SUnreclaim:") * 1024;
}

/*
 * A flood of datagrams of a byte to a socket that nobody reads: no sender waits or
 * fails, memory stays within bounds, what is dropped is counted, and the socket
 * works on.
 */
TEST_F(pair, flood)
{
	const int flood = 20000 / vsock_patience();
	long counted = module_counter("dropped_datagram");
	long memory = kernel_memory(), began = now_ms();
	int queued;

	for (int i = 0; i < flood; i++)
		ASSERT_EQ(1, dgram_send(self->from, self->to_port, "x", 1));
	EXPECT_GT(PATIENCE_MS * vsock_patience(), now_ms() - began);
	memory = kernel_memory() - memory;
	queued = drain(self->to, 1);
	TH_LOG("%d of %d queued; kernel memory grew by %ld bytes", queued, flood,
	       memory);
	/* As many as fit twice the buffer, with all overhead. */
	EXPECT_LE(100, queued);
	EXPECT_GE((int)(2 * DEFAULT_BUFFER / LEAST_MEMORY), queued);
	/* The debugging kernel puts zones around each object, and keeps what was freed. */
	EXPECT_GE((long)(4 * DEFAULT_BUFFER) * vsock_patience(), memory);
	EXPECT_EQ(flood - queued, dgram_drops(self->to));
	EXPECT_EQ(0, dgram_drops(self->from));
	if (counted >= 0)
		EXPECT_EQ(flood - queued,
			  module_counter("dropped_datagram") - counted);
	for (int i = 0; i < 10; i++) {
		ASSERT_EQ(1000, dgram_send(self->from, self->to_port, self->data,
					   1000));
		ASSERT_EQ(1000, dgram_receive(self->to, self->in, 4096, 0,
					      &self->sender));
		EXPECT_EQ(1000, pattern_check(self->in, 1000, 7));
	}
	/* The oldest are those that stayed: nothing more was dropped. */
	EXPECT_EQ(flood - queued, dgram_drops(self->to));
}

/* What is dropped is the datagram that comes, not one that is queued. */
TEST_F(pair, the_newest_is_dropped)
{
	uint32_t number;
	int queued = 0;

	for (number = 0; number < 3000; number++)
		ASSERT_EQ(4, dgram_send(self->from, self->to_port, &number, 4));
	while (recv(self->to, &number, 4, MSG_DONTWAIT) == 4)
		ASSERT_EQ(queued++, (int)number);
	EXPECT_EQ(3000 - queued, dgram_drops(self->to));
}

/* The buffer's size is the bound, and one datagram always has room. */
TEST_F(pair, bound_is_the_buffer)
{
	uint8_t *data = malloc(LARGEST);
	int small, large;

	random_fill(data, LARGEST, 1);
	ASSERT_EQ(0, set_buffer(self->to, SO_VM_SOCKETS_BUFFER_SIZE, 128));
	for (int i = 0; i < 3; i++)
		ASSERT_EQ((ssize_t)LARGEST, dgram_send(self->from, self->to_port,
						       data, LARGEST));
	EXPECT_EQ(1, drain(self->to, LARGEST));
	EXPECT_EQ(2, dgram_drops(self->to));
	ASSERT_EQ(0, set_buffer(self->to, SO_VM_SOCKETS_BUFFER_SIZE, KIB(64)));
	for (int i = 0; i < 3000; i++)
		ASSERT_EQ(1, dgram_send(self->from, self->to_port, "x", 1));
	small = drain(self->to, 1);
	ASSERT_EQ(0, set_buffer(self->to, SO_VM_SOCKETS_BUFFER_SIZE, KIB(256)));
	for (int i = 0; i < 3000; i++)
		ASSERT_EQ(1, dgram_send(self->from, self->to_port, "x", 1));
	large = drain(self->to, 1);
	EXPECT_LT(3 * small, large);
	EXPECT_GT(5 * small, large);
	free(data);
}

/* With the next datagram that comes, the reader may be told how many were dropped. */
TEST_F(pair, drops_are_told)
{
	union {
		char bytes[256];
		struct cmsghdr align;
	} control;
	struct iovec part = { .iov_base = self->in, .iov_len = 10 };
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *first;
	uint32_t dropped;

	ASSERT_EQ(0, set_int(self->to, SOL_SOCKET, SO_RXQ_OVFL, 1));
	for (int i = 0; i < 3000; i++)
		ASSERT_EQ(1, dgram_send(self->from, self->to_port, "x", 1));
	ASSERT_LT(0, drain(self->to, 1));
	ASSERT_EQ(1, dgram_send(self->from, self->to_port, "x", 1));
	ASSERT_EQ(1, recvmsg(self->to, &message, 0));
	first = CMSG_FIRSTHDR(&message);
	ASSERT_NE(NULL, first);
	EXPECT_EQ(SO_RXQ_OVFL, first->cmsg_type);
	memcpy(&dropped, CMSG_DATA(first), sizeof(dropped));
	EXPECT_EQ(dgram_drops(self->to), (long)dropped);
}

/*
 * A reader that waits for a page of its buffer keeps nobody from the next datagram;
 * one that peeks owns its socket all the while: what comes meanwhile is bounded as
 * well, and there afterwards.
 */
TEST_F(pair, reader_in_a_page_fault)
{
	uint8_t *page, source[4096] = { 0 };
	struct caller caller = {
		.fd = self->to, .call = call_recv_untouched, .len = 100,
	};
	int fault, queued;

	for (int peeks = 0; peeks < 2; peeks++) {
		fault = faulting_page(&page);
		ASSERT_LE(0, fault);
		caller.data = page;
		caller.flags = peeks ? MSG_PEEK : 0;
		ASSERT_EQ(1, dgram_send(self->from, self->to_port, "y", 1));
		ASSERT_TRUE(caller_start(&caller));
		ASSERT_FALSE(caller_is_done(&caller));
		if (!peeks) {
			ASSERT_EQ(1, dgram_send(self->from, self->to_port, "x", 1));
			EXPECT_EQ(1, recv(self->to, self->in, 10, MSG_DONTWAIT));
		}
		for (int i = 0; i < 3000; i++)
			ASSERT_EQ(1, dgram_send(self->from, self->to_port, "x", 1));
		/* Polling waits for nobody. */
		EXPECT_EQ(POLLIN, poll_for(self->to, POLLIN, 0));
		ASSERT_EQ(0, provide_page(fault, page, source));
		ASSERT_TRUE(caller_join(&caller));
		EXPECT_EQ(1, caller.result);
		EXPECT_EQ('y', page[0]);
		queued = drain(self->to, 1);
		EXPECT_LE(100, queued);
		EXPECT_GE((int)(2 * DEFAULT_BUFFER / LEAST_MEMORY), queued);
		close(fault);
		munmap(page, sizeof(source));
	}
}

/* What is queued goes with its socket. */
TEST(nothing_is_left)
{
	int before = sockets_at_rest();

	for (int i = 0; i < 50; i++) {
		int from = dgram_bound(), to = dgram_bound();

		ASSERT_EQ(0, vsock_connect(to, vsock_own_cid(), local_port(from)));
		for (int number = 0; number < 20; number++)
			ASSERT_EQ(10, dgram_send(from, local_port(to),
						 "0123456789", 10));
		close(i % 2 ? from : to);
		close(i % 2 ? to : from);
	}
	if (before >= 0)
		EXPECT_EQ(before, sockets_become(before));
}

/* --- Senders against whoever changes the receiver */

struct storm {
	unsigned int ports[2];
	bool over;
	long sent, refused, other;
};

static void *storm_send(void *argument)
{
	struct storm *storm = argument;
	int fd = dgram_bound();

	for (unsigned int i = 0; !__atomic_load_n(&storm->over, __ATOMIC_RELAXED); i++) {
		if (dgram_send(fd, storm->ports[i % 2], &i, sizeof(i)) > 0)
			__atomic_add_fetch(&storm->sent, 1, __ATOMIC_RELAXED);
		else if (errno == ECONNREFUSED || errno == EPIPE)
			__atomic_add_fetch(&storm->refused, 1, __ATOMIC_RELAXED);
		else
			__atomic_add_fetch(&storm->other, 1, __ATOMIC_RELAXED);
	}
	close(fd);
	return NULL;
}

/* Receivers come and go, connect, shut down and read under their senders. */
TEST(senders_against_close)
{
	struct storm storm = { .ports = { 5310, 5311 } };
	int before = sockets_at_rest();
	pthread_t threads[3];
	long end;
	char byte[4];

	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, storm_send, &storm));
	end = now_ms() + 1500;
	for (int round = 0; now_ms() < end; round++) {
		int fd = dgram_socket(0);

		ASSERT_EQ(0, vsock_bind(fd, VMADDR_CID_ANY, storm.ports[round % 2]));
		if (round % 3 == 0)
			poll_for(fd, POLLIN, 10);
		while (round % 2 && recv(fd, byte, 4, MSG_DONTWAIT) == 4)
			if (now_ms() > end)
				break;
		if (round % 4 == 1)
			EXPECT_EQ(0, vsock_connect(fd, vsock_own_cid(), 5312));
		if (round % 5 == 1)
			shutdown(fd, SHUT_RD);
		close(fd);
	}
	__atomic_store_n(&storm.over, true, __ATOMIC_RELAXED);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	TH_LOG("%ld sent, %ld refused", storm.sent, storm.refused);
	EXPECT_LT(0, storm.sent);
	EXPECT_LT(0, storm.refused);
	EXPECT_EQ(0, storm.other);
	if (before >= 0)
		EXPECT_EQ(before, sockets_become(before));
}

TEST_HARNESS_MAIN
