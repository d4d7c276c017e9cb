// SPDX-License-Identifier: GPL-2.0
/*
 * The character device that tells the CID of this machine: /dev/vsock of the
 * family 40, /dev/rvsock of the family with a number of its own.
 */
#include "vsock_harness.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>

static const char *device_path(void)
{
	return vsock_family() == AF_VSOCK ? "/dev/vsock" : "/dev/rvsock";
}

/* The CID that it has to tell: that of the device, or without one loopback's. */
static unsigned int expected_cid(void)
{
	int fd = vsock_stream(0);
	bool has_device = !vsock_bind(fd, GUEST_CID, VMADDR_PORT_ANY);

	close(fd);
	return has_device ? GUEST_CID : VMADDR_CID_LOCAL;
}

FIXTURE(cid_device)
{
	int fd;
};

FIXTURE_SETUP(cid_device)
{
	self->fd = open(device_path(), O_RDONLY);
	ASSERT_LE(0, self->fd)
		TH_LOG("%s: %s", device_path(), strerror(errno));
}

FIXTURE_TEARDOWN(cid_device)
{
	close(self->fd);
}

TEST_F(cid_device, cid)
{
	unsigned int cid[2] = { 0x5a5a5a5a, 0x5a5a5a5a };

	ASSERT_EQ(0, ioctl(self->fd, IOCTL_VM_SOCKETS_GET_LOCAL_CID, cid));
	EXPECT_EQ(expected_cid(), cid[0]);
	EXPECT_EQ(0x5a5a5a5a, cid[1]);
}

/* A 32-bit program asks with the same command; its pointers have 32 bits. */
TEST_F(cid_device, cid_for_32_bit_programs)
{
	unsigned int *cid = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	long result = 54; /* ioctl, as 32-bit programs number it */

	ASSERT_NE(MAP_FAILED, cid);
	asm volatile("int $0x80"
		     : "+a"(result)
		     : "b"(self->fd), "c"(IOCTL_VM_SOCKETS_GET_LOCAL_CID), "d"(cid)
		     : "memory", "r8", "r9", "r10", "r11");
	EXPECT_EQ(0, result);
	EXPECT_EQ(expected_cid(), *cid);
	munmap(cid, 4096);
}

TEST_F(cid_device, what_it_does_not_know)
{
	unsigned int cid;

	EXPECT_EQ(-1, ioctl(self->fd, IOCTL_VM_SOCKETS_GET_LOCAL_CID + 1, &cid));
	EXPECT_EQ(ENOTTY, errno);
	EXPECT_EQ(-1, read(self->fd, &cid, sizeof(cid)));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, lseek(self->fd, 0, SEEK_SET));
	EXPECT_EQ(ESPIPE, errno);
}

TEST_F(cid_device, no_memory_to_write_to)
{
	EXPECT_EQ(-1, ioctl(self->fd, IOCTL_VM_SOCKETS_GET_LOCAL_CID, NULL));
	EXPECT_EQ(EFAULT, errno);
}

/* The kernel leaves it to udev to let others in, as it does with C's. */
TEST_F(cid_device, mode)
{
	struct stat stat;

	ASSERT_EQ(0, fstat(self->fd, &stat));
	EXPECT_TRUE(S_ISCHR(stat.st_mode));
	EXPECT_EQ(0600, stat.st_mode & 07777);
}

TEST_HARNESS_MAIN
