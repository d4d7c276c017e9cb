// SPDX-License-Identifier: GPL-2.0
/*
 * The other calls that move bytes of a stream: vectors, many messages at once,
 * splice and sendfile.
 */
#define _GNU_SOURCE
#include "vsock_harness.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

#define MESSAGES	4

FIXTURE(pair)
{
	int fds[2], pipes[2];
	uint8_t *data, *in;
};

FIXTURE_SETUP(pair)
{
	ASSERT_EQ(0, vsock_pair(vsock_own_cid(), 0, self->fds));
	ASSERT_EQ(0, pipe(self->pipes));
	self->data = malloc(MIB(1));
	self->in = malloc(MIB(1));
	random_fill(self->data, MIB(1), 1);
}

FIXTURE_TEARDOWN(pair)
{
	for (int i = 0; i < 2; i++) {
		close(self->fds[i]);
		close(self->pipes[i]);
	}
	free(self->data);
	free(self->in);
}

/* Four messages of 100 bytes each, to or from @data. */
static void describe(struct mmsghdr messages[MESSAGES], struct iovec parts[MESSAGES],
		     uint8_t *data)
{
	memset(messages, 0, MESSAGES * sizeof(*messages));
	for (int i = 0; i < MESSAGES; i++) {
		parts[i] = (struct iovec) { data + i * 100, 100 };
		messages[i].msg_hdr.msg_iov = &parts[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
}

TEST_F(pair, writev_and_readv)
{
	struct iovec parts[3] = {
		{ self->data, 10 }, { self->data + 10, 0 }, { self->data + 10, 5000 },
	};
	struct iovec in[2] = { { self->in, 4000 }, { self->in + 4000, 2000 } };

	ASSERT_EQ(5010, writev(self->fds[0], parts, 3));
	ASSERT_EQ(5010, readv(self->fds[1], in, 2));
	EXPECT_EQ(0, memcmp(self->in, self->data, 5010));
}

TEST_F(pair, sendmmsg)
{
	struct mmsghdr messages[MESSAGES];
	struct iovec parts[MESSAGES];

	describe(messages, parts, self->data);
	ASSERT_EQ(MESSAGES, sendmmsg(self->fds[0], messages, MESSAGES, 0));
	for (int i = 0; i < MESSAGES; i++)
		EXPECT_EQ(100, messages[i].msg_len);
	ASSERT_EQ(0, recv_all(self->fds[1], self->in, 100 * MESSAGES));
	EXPECT_EQ(0, memcmp(self->in, self->data, 100 * MESSAGES));
}

/* sendmmsg() sends each message, until one is cut short: here is room for two and a half. */
TEST_F(pair, sendmmsg_until_one_is_short)
{
	struct mmsghdr messages[MESSAGES];
	struct iovec parts[MESSAGES];

	describe(messages, parts, self->data);
	ASSERT_EQ((ssize_t)DEFAULT_BUFFER - 250,
		  send(self->fds[0], self->data, DEFAULT_BUFFER - 250, 0));
	EXPECT_EQ(3, sendmmsg(self->fds[0], messages, MESSAGES, MSG_DONTWAIT));
	EXPECT_EQ(100, messages[0].msg_len);
	EXPECT_EQ(50, messages[2].msg_len);
	EXPECT_EQ(-1, sendmmsg(self->fds[0], messages, MESSAGES, MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
}

static ssize_t call_recvmmsg(struct caller *caller)
{
	struct mmsghdr messages[MESSAGES];
	struct iovec parts[MESSAGES];

	describe(messages, parts, caller->data);
	return recvmmsg(caller->fd, messages, MESSAGES, caller->flags, NULL);
}

/* With MSG_WAITFORONE recvmmsg() waits for the first message only. */
TEST_F(pair, recvmmsg_waits_for_one)
{
	struct caller caller = {
		.fd = self->fds[1], .call = call_recvmmsg, .data = self->in,
		.flags = MSG_WAITFORONE,
	};

	ASSERT_TRUE(caller_start(&caller));
	EXPECT_FALSE(caller_is_done(&caller));
	ASSERT_EQ(250, send(self->fds[0], self->data, 250, 0));
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ(3, caller.result);
	EXPECT_EQ(0, memcmp(self->in, self->data, 250));
}

/* Without, it waits for each; with MSG_WAITALL, for all of each. */
TEST_F(pair, recvmmsg_waits_for_all)
{
	struct caller caller = {
		.fd = self->fds[1], .call = call_recvmmsg, .data = self->in,
		.flags = MSG_WAITALL,
	};

	ASSERT_EQ(250, send(self->fds[0], self->data, 250, 0));
	ASSERT_TRUE(caller_start(&caller));
	EXPECT_FALSE(caller_is_done(&caller));
	ASSERT_EQ(150, send(self->fds[0], self->data + 250, 150, 0));
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ(MESSAGES, caller.result);
	EXPECT_EQ(0, memcmp(self->in, self->data, 400));
}

static ssize_t call_splice(struct caller *caller)
{
	return splice(caller->fd, NULL, *(int *)caller->data, NULL, caller->len,
		      caller->flags);
}

/* From the socket to a pipe: what is there, and it waits for a byte. */
TEST_F(pair, splice_from)
{
	struct caller caller = {
		.fd = self->fds[1], .call = call_splice, .data = &self->pipes[1],
		.len = KIB(32),
	};

	ASSERT_EQ(5000, send(self->fds[0], self->data, 5000, 0));
	ASSERT_EQ(1000, splice(self->fds[1], NULL, self->pipes[1], NULL, 1000, 0));
	ASSERT_EQ(4000, splice(self->fds[1], NULL, self->pipes[1], NULL, KIB(32), 0));
	ASSERT_EQ(5000, read(self->pipes[0], self->in, KIB(32)));
	EXPECT_EQ(0, memcmp(self->in, self->data, 5000));
	ASSERT_TRUE(caller_start(&caller));
	EXPECT_FALSE(caller_is_done(&caller));
	ASSERT_EQ(10, send(self->fds[0], self->data, 10, 0));
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ(10, caller.result);
	ASSERT_EQ(10, read(self->pipes[0], self->in, 10));
	/* Without waiting, and at the end. */
	ASSERT_EQ(0, fcntl(self->fds[1], F_SETFL, O_NONBLOCK));
	EXPECT_EQ(-1, splice(self->fds[1], NULL, self->pipes[1], NULL, 10, 0));
	EXPECT_EQ(EAGAIN, errno);
	ASSERT_EQ(0, shutdown(self->fds[0], SHUT_WR));
	EXPECT_EQ(0, splice(self->fds[1], NULL, self->pipes[1], NULL, 10, 0));
}

/* From a pipe to the socket. */
TEST_F(pair, splice_to)
{
	ASSERT_EQ(10000, write(self->pipes[1], self->data, 10000));
	ASSERT_EQ(10000, splice(self->pipes[0], NULL, self->fds[0], NULL, KIB(64),
				SPLICE_F_MORE));
	ASSERT_EQ(0, recv_all(self->fds[1], self->in, 10000));
	EXPECT_EQ(0, memcmp(self->in, self->data, 10000));
}

/* Pages of the caller's own, through a pipe. */
TEST_F(pair, vmsplice)
{
	uint8_t *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct iovec part = { page, 8192 };

	random_fill(page, 8192, 3);
	ASSERT_EQ(8192, vmsplice(self->pipes[1], &part, 1, 0));
	ASSERT_EQ(8192, splice(self->pipes[0], NULL, self->fds[0], NULL, 8192, 0));
	ASSERT_EQ(0, recv_all(self->fds[1], self->in, 8192));
	EXPECT_EQ(0, memcmp(self->in, page, 8192));
	munmap(page, 8192);
}

/* A file, in a call that waits for credit. */
TEST_F(pair, sendfile)
{
	int file = memfd_create("file", 0);
	struct caller caller = {
		.fd = self->fds[1], .call = call_recv, .data = self->in,
		.len = MIB(1) - 1000, .flags = MSG_WAITALL,
	};
	off_t offset = 1000;

	ASSERT_LE(0, file);
	ASSERT_EQ((ssize_t)MIB(1), write(file, self->data, MIB(1)));
	ASSERT_TRUE(caller_start(&caller));
	while (offset < (off_t)MIB(1))
		ASSERT_LT(0, sendfile(self->fds[0], file, &offset, MIB(1) - offset));
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ((ssize_t)MIB(1) - 1000, caller.result);
	EXPECT_EQ(0, memcmp(self->in, self->data + 1000, MIB(1) - 1000));
	close(file);
}

/* The pages of a file are handed on, not copied: what is written to it shows. */
TEST_F(pair, sendfile_lends_pages)
{
	int file = memfd_create("file", 0);
	off_t offset = 0;

	ASSERT_EQ(8192, pwrite(file, self->data, 8192, 0));
	ASSERT_EQ(8192, sendfile(self->fds[0], file, &offset, 8192));
	ASSERT_EQ(8192, pwrite(file, self->data + 8192, 8192, 0));
	ASSERT_EQ(0, recv_all(self->fds[1], self->in, 8192));
	EXPECT_EQ(0, memcmp(self->in, self->data + 8192, 8192));
	close(file);
}

/* To the peer: a file of several windows there. */
TEST(sendfile_to_the_peer)
{
	int fd, file = memfd_create("file", 0);
	uint8_t *data = malloc(MIB(1));
	char line[64], expected[64];
	off_t offset = 0;

	random_fill(data, MIB(1), 4);
	ASSERT_EQ((ssize_t)MIB(1), write(file, data, MIB(1)));
	ASSERT_ASK(fd, "sink %zu 0", MIB(1));
	while (offset < (off_t)MIB(1))
		ASSERT_LT(0, sendfile(fd, file, &offset, MIB(1) - offset));
	snprintf(expected, sizeof(expected), "%zu %08x", MIB(1),
		 crc32_update(0, data, MIB(1)));
	ASSERT_EQ(0, vsock_read_line(fd, line, sizeof(line)));
	EXPECT_STREQ(expected, line);
	free(data);
	close(file);
	close(fd);
}

TEST_HARNESS_MAIN
