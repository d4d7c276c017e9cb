// SPDX-License-Identifier: GPL-2.0
/*
 * What a memory cgroup pays for: its sockets, and the bytes that it has sent and
 * nobody has read.
 */
#define _GNU_SOURCE
#include "vsock_harness.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define ROOT	"/tmp/cgroup"
#define OWN	ROOT "/rvsock"

static bool put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return done;
}

/* Bytes of the kernel's memory that the cgroup pays for. */
static long charged(void)
{
	FILE *file = fopen(OWN "/memory.stat", "r");
	char name[64];
	long value, found = -1;

	while (file && fscanf(file, "%63s %ld", name, &value) == 2)
		if (!strcmp(name, "kernel"))
			found = value;
	if (file)
		fclose(file);
	return found;
}

FIXTURE(cgroup)
{
	/* Has left the cgroup when the test ends. */
	bool inside;
};

FIXTURE_SETUP(cgroup)
{
	mkdir(ROOT, 0755);
	ASSERT_EQ(0, mount("none", ROOT, "cgroup2", 0, NULL));
	ASSERT_TRUE(put(ROOT "/cgroup.subtree_control", "+memory"));
	ASSERT_EQ(0, mkdir(OWN, 0755));
	ASSERT_TRUE(put(OWN "/cgroup.procs", "0"));
	ASSERT_LE(0, charged());
}

FIXTURE_TEARDOWN(cgroup)
{
	EXPECT_TRUE(put(ROOT "/cgroup.procs", "0"));
	EXPECT_EQ(0, rmdir(OWN));
	EXPECT_EQ(0, umount(ROOT));
}

/* Sockets: none of them is smaller than a kilobyte. */
TEST_F(cgroup, pays_for_sockets)
{
	int fds[200];
	long before = charged(), after;

	for (int i = 0; i < 200; i++) {
		fds[i] = vsock_stream(0);
		ASSERT_LE(0, fds[i]);
	}
	after = charged();
	EXPECT_LE(before + 200 * 1024, after);
	for (int i = 0; i < 200; i++)
		close(fds[i]);
}

/* Bytes that nobody has read, over loopback. */
TEST_F(cgroup, pays_for_what_is_queued)
{
	uint8_t *data = calloc(1, MIB(1));
	long before, after;
	int fds[2];

	ASSERT_EQ(0, vsock_pair(vsock_own_cid(), MIB(1), fds));
	before = charged();
	ASSERT_EQ((ssize_t)MIB(1), send(fds[0], data, MIB(1), 0));
	after = charged();
	EXPECT_LE(before + (long)MIB(1) * 9 / 10, after);
	ASSERT_EQ(0, recv_all(fds[1], data, MIB(1)));
	close(fds[0]);
	close(fds[1]);
	free(data);
}

TEST_HARNESS_MAIN
