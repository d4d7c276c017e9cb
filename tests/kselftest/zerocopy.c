// SPDX-License-Identifier: GPL-2.0
/*
 * Sending from the caller's own memory (MSG_ZEROCOPY), and how the caller learns
 * that it is its own again.
 */
#define _GNU_SOURCE
#include "vsock_harness.h"

#include <fcntl.h>
#include <linux/errqueue.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/mman.h>

#ifndef SOL_VSOCK
#define SOL_VSOCK	287
#endif
#ifndef VSOCK_RECVERR
#define VSOCK_RECVERR	1
#endif

#define PAGE		4096

/* One entry of the error queue. */
struct completion {
	unsigned int first, last, code;
};

/* Take an entry off the error queue; false with errno set, or if it is something else. */
static bool take_completion(int fd, struct completion *completion)
{
	union {
		char space[CMSG_SPACE(sizeof(struct sock_extended_err))];
		struct cmsghdr align;
	} control;
	struct msghdr message = {
		.msg_control = &control, .msg_controllen = sizeof(control),
	};
	struct sock_extended_err *error;
	struct cmsghdr *header;
	ssize_t got;

	memset(&control, 0xee, sizeof(control));
	got = recvmsg(fd, &message, MSG_ERRQUEUE);
	if (got < 0)
		return false;
	header = CMSG_FIRSTHDR(&message);
	errno = EPROTO;
	if (got || !(message.msg_flags & MSG_ERRQUEUE) || !header ||
	    header->cmsg_level != SOL_VSOCK || header->cmsg_type != VSOCK_RECVERR ||
	    header->cmsg_len != CMSG_LEN(sizeof(*error)))
		return false;
	error = (struct sock_extended_err *)CMSG_DATA(header);
	if (error->ee_errno || error->ee_origin != SO_EE_ORIGIN_ZEROCOPY)
		return false;
	*completion = (struct completion) {
		.first = error->ee_info, .last = error->ee_data,
		.code = error->ee_code,
	};
	return true;
}

/* Wait for the next entry. */
static bool await_completion(int fd, struct completion *completion)
{
	return poll_for(fd, 0, PATIENCE_MS) & POLLERR &&
	       take_completion(fd, completion);
}

/* Memory of whole pages, each of its own. */
static uint8_t *pages(size_t len)
{
	uint8_t *data = mmap(NULL, len, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return data == MAP_FAILED ? NULL : data;
}

FIXTURE(sink)
{
	int fd;
	uint8_t *data;
};

FIXTURE_VARIANT(sink)
{
	size_t len;
	/* Into the first page. */
	size_t offset;
};

FIXTURE_VARIANT_ADD(sink, a_byte) { .len = 1, };
FIXTURE_VARIANT_ADD(sink, a_page) { .len = PAGE, };
FIXTURE_VARIANT_ADD(sink, across_pages) { .len = 3 * PAGE + 200, .offset = 100, };
FIXTURE_VARIANT_ADD(sink, many_pages) { .len = 48 * PAGE, };

FIXTURE_SETUP(sink)
{
	self->data = pages(64 * PAGE);
	ASSERT_NE(NULL, self->data);
	self->data += variant->offset;
	random_fill(self->data, variant->len, variant->len);
	ASSERT_ASK(self->fd, "sink %zu 0", variant->len);
	ASSERT_EQ(0, set_int(self->fd, SOL_SOCKET, SO_ZEROCOPY, 1));
}

FIXTURE_TEARDOWN(sink)
{
	close(self->fd);
	munmap(self->data - variant->offset, 64 * PAGE);
}

/* The bytes arrive, and the caller is told that its memory was used as it was. */
TEST_F(sink, completes)
{
	struct completion completion;

	ASSERT_EQ((ssize_t)variant->len,
		  send(self->fd, self->data, variant->len, MSG_ZEROCOPY));
	EXPECT_TRUE(sink_has(self->fd, variant->len, self->data));
	ASSERT_TRUE(await_completion(self->fd, &completion));
	EXPECT_EQ(0, completion.first);
	EXPECT_EQ(0, completion.last);
	EXPECT_EQ(0, completion.code);
	/* Once. */
	EXPECT_EQ(0, poll_for(self->fd, 0, 0));
	EXPECT_FALSE(take_completion(self->fd, &completion));
	EXPECT_EQ(EAGAIN, errno);
}

/* Without the option the flag has no effect. */
TEST_F(sink, needs_the_option)
{
	struct completion completion;

	ASSERT_EQ(0, set_int(self->fd, SOL_SOCKET, SO_ZEROCOPY, 0));
	ASSERT_EQ((ssize_t)variant->len,
		  send(self->fd, self->data, variant->len, MSG_ZEROCOPY));
	EXPECT_TRUE(sink_has(self->fd, variant->len, self->data));
	EXPECT_EQ(0, poll_for(self->fd, 0, SETTLE_MS));
	EXPECT_FALSE(take_completion(self->fd, &completion));
	EXPECT_EQ(EAGAIN, errno);
}

/* SO_ZEROCOPY is 0 or 1. */
TEST(option)
{
	int fds[2], value = -1;
	socklen_t len = sizeof(value);

	ASSERT_EQ(0, vsock_pair(vsock_own_cid(), 0, fds));
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, getsockopt(fds[i], SOL_SOCKET, SO_ZEROCOPY, &value, &len));
		EXPECT_EQ(0, value);
		EXPECT_EQ(0, set_int(fds[i], SOL_SOCKET, SO_ZEROCOPY, 1));
		ASSERT_EQ(0, getsockopt(fds[i], SOL_SOCKET, SO_ZEROCOPY, &value, &len));
		EXPECT_EQ(1, value);
		EXPECT_EQ(-1, set_int(fds[i], SOL_SOCKET, SO_ZEROCOPY, 2));
		EXPECT_EQ(EINVAL, errno);
		EXPECT_EQ(-1, set_int(fds[i], SOL_SOCKET, SO_ZEROCOPY, -1));
		EXPECT_EQ(EINVAL, errno);
		EXPECT_EQ(-1, setsockopt(fds[i], SOL_SOCKET, SO_ZEROCOPY, &value, 1));
		EXPECT_EQ(EINVAL, errno);
		EXPECT_EQ(-1, setsockopt(fds[i], SOL_SOCKET, SO_ZEROCOPY, (void *)8,
					 sizeof(value)));
		EXPECT_EQ(EFAULT, errno);
		EXPECT_EQ(0, set_int(fds[i], SOL_SOCKET, SO_ZEROCOPY, 0));
		close(fds[i]);
	}
}

/* Calls are numbered, and what is finished in a row is told of at once. */
TEST(numbers)
{
	uint8_t *data = pages(3 * PAGE);
	struct completion completion;
	int fd, left = 3;

	random_fill(data, 3 * PAGE, 5);
	ASSERT_ASK(fd, "sink %d 0", 3 * PAGE);
	ASSERT_EQ(0, set_int(fd, SOL_SOCKET, SO_ZEROCOPY, 1));
	for (int i = 0; i < 3; i++)
		ASSERT_EQ(PAGE, send(fd, data + i * PAGE, PAGE, MSG_ZEROCOPY));
	EXPECT_TRUE(sink_has(fd, 3 * PAGE, data));
	/*
	 * Each is completed once. Those of neighbours are made one, unless the later one is
	 * the first to come: two processors may give packets back that a device is done with.
	 */
	for (unsigned int seen = 0; left > 0;) {
		ASSERT_TRUE(await_completion(fd, &completion));
		ASSERT_GE(2, completion.last);
		ASSERT_LE(completion.first, completion.last);
		EXPECT_EQ(0, completion.code);
		for (unsigned int i = completion.first; i <= completion.last; i++) {
			EXPECT_EQ(0, seen & 1 << i);
			seen |= 1 << i;
			left--;
		}
	}
	ASSERT_EQ(1, send(fd, data, 1, MSG_ZEROCOPY));
	ASSERT_TRUE(await_completion(fd, &completion));
	EXPECT_EQ(3, completion.first);
	EXPECT_EQ(3, completion.last);
	close(fd);
	munmap(data, 3 * PAGE);
}

/* A call that has to wait for credit is copied, and its caller told so. */
TEST(copied_beyond_the_window)
{
	size_t len = DEFAULT_BUFFER + 64 * PAGE;
	uint8_t *data = pages(len);
	struct completion completion;
	int fd;

	random_fill(data, len, 6);
	ASSERT_ASK(fd, "sink %zu 0", len);
	ASSERT_EQ(0, set_int(fd, SOL_SOCKET, SO_ZEROCOPY, 1));
	ASSERT_EQ((ssize_t)len, send(fd, data, len, MSG_ZEROCOPY));
	ASSERT_TRUE(await_completion(fd, &completion));
	EXPECT_EQ(0, completion.first);
	EXPECT_EQ(0, completion.last);
	EXPECT_EQ(SO_EE_CODE_ZEROCOPY_COPIED, completion.code);
	EXPECT_TRUE(sink_has(fd, len, data));
	close(fd);
	munmap(data, len);
}

/* Memory that is not there: ENOMEM, as with vsock; nothing is sent, and no number used up. */
TEST(memory_that_is_not_there)
{
	uint8_t *data = pages(3 * PAGE);
	struct completion completion;
	int fd;

	random_fill(data, PAGE, 7);
	ASSERT_EQ(0, munmap(data + PAGE, PAGE));
	ASSERT_ASK(fd, "sink %d 0", PAGE);
	ASSERT_EQ(0, set_int(fd, SOL_SOCKET, SO_ZEROCOPY, 1));
	EXPECT_EQ(-1, send(fd, data, 3 * PAGE, MSG_ZEROCOPY));
	EXPECT_EQ(ENOMEM, errno);
	EXPECT_EQ(0, poll_for(fd, 0, SETTLE_MS));
	ASSERT_EQ(PAGE, send(fd, data, PAGE, MSG_ZEROCOPY));
	EXPECT_TRUE(sink_has(fd, PAGE, data));
	ASSERT_TRUE(await_completion(fd, &completion));
	EXPECT_EQ(0, completion.first);
	EXPECT_EQ(0, completion.last);
	close(fd);
	munmap(data, PAGE);
	munmap(data + 2 * PAGE, PAGE);
}

/* Several pieces of memory in one call are lent, whatever their sizes. */
TEST(parts)
{
	uint8_t *data = pages(8 * PAGE), copy[2 * PAGE + 100];
	struct iovec parts[] = {
		{ data, PAGE },
		{ data + 2 * PAGE + 1, 100 },
		{ data + 4 * PAGE, PAGE },
	};
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = 3 };
	struct completion completion;
	int fd;

	random_fill(data, 8 * PAGE, 8);
	memcpy(copy, parts[0].iov_base, PAGE);
	memcpy(copy + PAGE, parts[1].iov_base, 100);
	memcpy(copy + PAGE + 100, parts[2].iov_base, PAGE);
	ASSERT_ASK(fd, "sink %zu 0", sizeof(copy));
	ASSERT_EQ(0, set_int(fd, SOL_SOCKET, SO_ZEROCOPY, 1));
	ASSERT_EQ((ssize_t)sizeof(copy), sendmsg(fd, &message, MSG_ZEROCOPY));
	EXPECT_TRUE(sink_has(fd, sizeof(copy), copy));
	ASSERT_TRUE(await_completion(fd, &completion));
	EXPECT_EQ(0, completion.last);
	EXPECT_EQ(0, completion.code);
	close(fd);
	munmap(data, 8 * PAGE);
}

/*
 * Without memory for the completion, which what a caller has of control data
 * counts against, the call is ENOMEM.
 */
TEST(no_room_for_the_completion)
{
	struct msghdr message = {};
	FILE *file = fopen("/proc/sys/net/core/optmem_max", "r");
	size_t most = 0;
	struct iovec part;
	char byte = 1;
	int fd;

	ASSERT_NE(NULL, file);
	ASSERT_EQ(1, fscanf(file, "%zu", &most));
	fclose(file);
	ASSERT_ASK(fd, "sink 1 0");
	ASSERT_EQ(0, set_int(fd, SOL_SOCKET, SO_ZEROCOPY, 1));
	part = (struct iovec) { &byte, 1 };
	message.msg_iov = &part;
	message.msg_iovlen = 1;
	/* For 32-bit programs it is made longer by a few bytes. */
	message.msg_controllen = most - 64;
	message.msg_control = calloc(1, most);
	*(struct cmsghdr *)message.msg_control = (struct cmsghdr) {
		.cmsg_len = most - 64, .cmsg_level = SOL_SOCKET,
	};
	EXPECT_EQ(-1, sendmsg(fd, &message, MSG_ZEROCOPY));
	EXPECT_EQ(ENOMEM, errno);
	/* The control data as such do not matter. */
	EXPECT_EQ(1, sendmsg(fd, &message, 0));
	EXPECT_TRUE(sink_has(fd, 1, &byte));
	free(message.msg_control);
	close(fd);
}

/* Edge-triggered epoll hears of each completion. */
TEST(epoll)
{
	struct epoll_event event = { .events = EPOLLET };
	struct completion completion;
	uint8_t *data = pages(PAGE);
	int fd, epoll = epoll_create1(0);

	ASSERT_ASK(fd, "sink %d 0", 4 * PAGE);
	ASSERT_EQ(0, set_int(fd, SOL_SOCKET, SO_ZEROCOPY, 1));
	ASSERT_EQ(0, epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
	for (unsigned int i = 0; i < 3; i++) {
		ASSERT_EQ(PAGE, send(fd, data, PAGE, MSG_ZEROCOPY));
		ASSERT_EQ(1, epoll_wait(epoll, &event, 1, PATIENCE_MS));
		EXPECT_EQ(EPOLLERR, event.events);
		ASSERT_TRUE(take_completion(fd, &completion));
		EXPECT_EQ(i, completion.last);
		EXPECT_EQ(0, epoll_wait(epoll, &event, 1, 0));
	}
	close(epoll);
	close(fd);
	munmap(data, PAGE);
}

/* What is lent is not one's own before the other end has read it. */
TEST(not_before_it_is_read)
{
	uint8_t *data = pages(4 * PAGE), *in = malloc(4 * PAGE);
	struct completion completion;
	int fds[2];

	random_fill(data, 4 * PAGE, 9);
	ASSERT_EQ(0, vsock_pair(vsock_own_cid(), 0, fds));
	ASSERT_EQ(0, set_int(fds[0], SOL_SOCKET, SO_ZEROCOPY, 1));
	ASSERT_EQ(4 * PAGE, send(fds[0], data, 4 * PAGE, MSG_ZEROCOPY));
	EXPECT_EQ(0, poll_for(fds[0], 0, SETTLE_MS));
	ASSERT_EQ(0, recv_all(fds[1], in, 4 * PAGE - 1));
	EXPECT_EQ(0, poll_for(fds[0], 0, SETTLE_MS));
	ASSERT_EQ(0, recv_all(fds[1], in + 4 * PAGE - 1, 1));
	EXPECT_EQ(0, memcmp(in, data, 4 * PAGE));
	EXPECT_TRUE(await_completion(fds[0], &completion));
	EXPECT_EQ(0, completion.code);
	close(fds[0]);
	close(fds[1]);
	free(in);
	munmap(data, 4 * PAGE);
}

/* What follows is not added to memory that is the caller's. */
TEST(what_follows_is_kept_apart)
{
	uint8_t *data = pages(PAGE), in[PAGE], small[100];
	struct completion completion;
	int fds[2];

	random_fill(data, PAGE, 10);
	memset(small, 0x55, sizeof(small));
	ASSERT_EQ(0, vsock_pair(vsock_own_cid(), 0, fds));
	ASSERT_EQ(0, set_int(fds[0], SOL_SOCKET, SO_ZEROCOPY, 1));
	ASSERT_EQ(2000, send(fds[0], data, 2000, MSG_ZEROCOPY));
	ASSERT_EQ(100, send(fds[0], small, 100, 0));
	ASSERT_EQ(0, recv_all(fds[1], in, 2100));
	EXPECT_EQ(0, memcmp(in, data, 2000));
	EXPECT_EQ(0, memcmp(in + 2000, small, 100));
	random_fill(in, PAGE, 10);
	EXPECT_EQ(0, memcmp(in, data, PAGE));
	EXPECT_TRUE(await_completion(fds[0], &completion));
	close(fds[0]);
	close(fds[1]);
	munmap(data, PAGE);
}

/* Splicing what is lent copies it: what the sender writes later does not show. */
TEST(splice_takes_a_copy)
{
	uint8_t *data = pages(PAGE), before[PAGE], in[PAGE];
	int fds[2], pipes[2];

	random_fill(data, PAGE, 11);
	memcpy(before, data, PAGE);
	ASSERT_EQ(0, pipe(pipes));
	ASSERT_EQ(0, vsock_pair(vsock_own_cid(), 0, fds));
	ASSERT_EQ(0, set_int(fds[0], SOL_SOCKET, SO_ZEROCOPY, 1));
	ASSERT_EQ(PAGE, send(fds[0], data, PAGE, MSG_ZEROCOPY));
	ASSERT_EQ(PAGE, splice(fds[1], NULL, pipes[1], NULL, PAGE, 0));
	memset(data, 0, PAGE);
	ASSERT_EQ(PAGE, read(pipes[0], in, PAGE));
	EXPECT_EQ(0, memcmp(in, before, PAGE));
	for (int i = 0; i < 2; i++) {
		close(fds[i]);
		close(pipes[i]);
	}
	munmap(data, PAGE);
}

/* A connection of the type that keeps the boundaries of messages. */
static bool message_pair(int fds[2])
{
	struct sockaddr_vm address = vsock_address(VMADDR_CID_ANY, VMADDR_PORT_ANY);
	socklen_t len = sizeof(address);
	int listener = socket(vsock_family(), SOCK_SEQPACKET, 0);
	bool made = listener >= 0 &&
		    !bind(listener, (struct sockaddr *)&address, sizeof(address)) &&
		    !listen(listener, 1) &&
		    !getsockname(listener, (struct sockaddr *)&address, &len);

	fds[0] = socket(vsock_family(), SOCK_SEQPACKET, 0);
	made = made && fds[0] >= 0 &&
	       !vsock_connect(fds[0], vsock_own_cid(), address.svm_port);
	fds[1] = made ? accept(listener, NULL, NULL) : -1;
	close(listener);
	return made && fds[1] >= 0;
}

/* A message is lent as a whole, or, where its memory is not there, not sent. */
TEST(message)
{
	uint8_t *data = pages(8 * PAGE), *in = malloc(8 * PAGE);
	struct completion completion;
	int fds[2];

	random_fill(data, 8 * PAGE, 12);
	ASSERT_TRUE(message_pair(fds));
	ASSERT_EQ(0, set_int(fds[0], SOL_SOCKET, SO_ZEROCOPY, 1));
	ASSERT_EQ(7 * PAGE, send(fds[0], data + 100, 7 * PAGE, MSG_ZEROCOPY));
	EXPECT_EQ(0, poll_for(fds[0], 0, SETTLE_MS));
	ASSERT_EQ(7 * PAGE, recv(fds[1], in, 8 * PAGE, 0));
	EXPECT_EQ(0, memcmp(in, data + 100, 7 * PAGE));
	ASSERT_TRUE(await_completion(fds[0], &completion));
	EXPECT_EQ(0, completion.last);
	EXPECT_EQ(0, completion.code);
	ASSERT_EQ(0, munmap(data + PAGE, PAGE));
	EXPECT_EQ(-1, send(fds[0], data, 3 * PAGE, MSG_ZEROCOPY));
	EXPECT_EQ(ENOMEM, errno);
	EXPECT_EQ(-1, recv(fds[1], in, 1, MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
	/* One without bytes has nothing to lend. */
	EXPECT_EQ(0, send(fds[0], data, 0, MSG_ZEROCOPY));
	EXPECT_EQ(0, recv(fds[1], in, 1, 0));
	EXPECT_EQ(0, poll_for(fds[0], 0, SETTLE_MS));
	close(fds[0]);
	close(fds[1]);
	munmap(data, PAGE);
	munmap(data + 2 * PAGE, 6 * PAGE);
	free(in);
}

/* Ends that close with lent memory and completions that nobody takes. */
TEST(closed_with_completions)
{
	uint8_t *data = pages(4 * PAGE), in[2 * PAGE];
	int fds[2], before = sockets_at_rest();

	for (int i = 0; i < 20; i++) {
		ASSERT_EQ(0, vsock_pair(vsock_own_cid(), 0, fds));
		ASSERT_EQ(0, set_int(fds[0], SOL_SOCKET, SO_ZEROCOPY, 1));
		ASSERT_EQ(4 * PAGE, send(fds[0], data, 4 * PAGE, MSG_ZEROCOPY));
		if (i & 1)
			ASSERT_EQ(0, recv_all(fds[1], in, sizeof(in)));
		close(fds[i >> 1 & 1]);
		close(fds[!(i >> 1 & 1)]);
	}
	munmap(data, 4 * PAGE);
	EXPECT_GE(before, sockets_become(before));
}

TEST_HARNESS_MAIN
