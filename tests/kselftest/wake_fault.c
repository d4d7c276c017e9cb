// SPDX-License-Identifier: GPL-2.0
/*
 * A reader that stops in a page fault in the middle of its copy, with its socket
 * owned, for as long as userfaultfd(2) says: what comes meanwhile is not lost, and
 * nobody else who only looks at the socket has to wait for it.
 */
#include "vsock_harness.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define FIRST	KIB(8)
#define TOTAL	(FIRST + DEFAULT_BUFFER)

FIXTURE(fault)
{
	struct caller reader;
	uint8_t *map, *data;
	size_t page;
	int uffd, fd;
};

FIXTURE_SETUP(fault)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = { .mode = UFFDIO_REGISTER_MODE_MISSING };

	self->page = sysconf(_SC_PAGESIZE);
	self->data = malloc(TOTAL);
	self->uffd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	ASSERT_LE(0, self->uffd);
	ASSERT_EQ(0, ioctl(self->uffd, UFFDIO_API, &api));
	self->map = mmap(NULL, FIRST, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)self->map);
	/* The first page is there: the copy stops at the second. */
	self->map[0] = 1;
	range.range.start = (uintptr_t)self->map + self->page;
	range.range.len = FIRST - self->page;
	ASSERT_EQ(0, ioctl(self->uffd, UFFDIO_REGISTER, &range));

	ASSERT_ASK(self->fd, "send %zu 8192 0", TOTAL);
	ASSERT_TRUE(wait_queued(self->fd, FIRST));
	self->reader = (struct caller) {
		.fd = self->fd, .call = call_recv,
	};
}

FIXTURE_TEARDOWN(fault)
{
	close(self->fd);
	close(self->uffd);
	munmap(self->map, FIRST);
	free(self->data);
}

static ssize_t call_recv_whole(struct caller *caller)
{
	return recv(caller->fd, caller->data, caller->len, MSG_WAITALL);
}

/* The reader has stopped, and owns its socket. */
static bool stops(int uffd)
{
	struct uffd_msg message;

	return poll_for(uffd, POLLIN, PATIENCE_MS) == POLLIN &&
	       read(uffd, &message, sizeof(message)) == sizeof(message) &&
	       message.event == UFFD_EVENT_PAGEFAULT;
}

/* It may go on. */
static bool let_go(int uffd, uint8_t *page, size_t len)
{
	struct uffdio_zeropage zero = {
		.range = { .start = (uintptr_t)page, .len = len },
	};

	return !ioctl(uffd, UFFDIO_ZEROPAGE, &zero);
}

TEST_F(fault, nothing_is_lost_and_poll_goes_on)
{
	long stalled = module_counter("stalled"), began;
	struct caller poller = {
		.fd = self->fd, .call = call_poll_in,
	};

	self->reader.call = call_recv_whole;
	self->reader.data = self->map;
	self->reader.len = FIRST;
	ASSERT_TRUE(caller_start(&self->reader));
	ASSERT_TRUE(stops(self->uffd));

	/* Everyone else may look, at once, while the peer fills the window. */
	for (int look = 0; look < 50; look++) {
		began = now_ms();
		EXPECT_LE(0, poll_for(self->fd, POLLIN | POLLOUT, 0));
		EXPECT_GT(1000, now_ms() - began);
		sleep_ms(10);
	}
	began = now_ms();
	ASSERT_TRUE(caller_start(&poller));
	ASSERT_TRUE(caller_join(&poller));
	EXPECT_GT(1000, now_ms() - began);
	EXPECT_EQ(POLLIN, poller.result);
	ASSERT_FALSE(caller_is_done(&self->reader));

	ASSERT_TRUE(let_go(self->uffd, self->map + self->page,
			   FIRST - self->page));
	ASSERT_TRUE(caller_join(&self->reader));
	EXPECT_EQ((ssize_t)FIRST, self->reader.result);
	EXPECT_EQ(FIRST, pattern_check(self->map, FIRST, 0));
	ASSERT_EQ((ssize_t)(TOTAL - FIRST),
		  recv(self->fd, self->data, TOTAL - FIRST, MSG_WAITALL));
	EXPECT_EQ(TOTAL - FIRST,
		  pattern_check(self->data, TOTAL - FIRST, FIRST));
	EXPECT_EQ(stalled, module_counter("stalled"));
}

TEST_HARNESS_MAIN
