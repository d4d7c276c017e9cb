// SPDX-License-Identifier: GPL-2.0
/*
 * A device that reaches only what the guest's platform lets it see, as where the guest's
 * memory is encrypted (VIRTIO_F_ACCESS_PLATFORM): the kernel copies what they exchange
 * through memory of its own, of which nothing is left when the device is given up.
 *
 * Source: virtio specification, 6 (reserved feature bits).
 */
#include "driver.h"
#include "vsock_harness.h"

#include <stdio.h>

#define ACCESS_PLATFORM	33
/* In slots of 2 KiB, of which each buffer takes at least two. */
#define USED		"/sys/kernel/debug/swiotlb/io_tlb_used"
/* A device has at least so many buffers to receive into. */
#define BUFFERS		64

static long slots_used(void)
{
	return number_of(USED);
}

FIXTURE(bounced)
{
	char device[NAME_MAX + 1];
};

FIXTURE_SETUP(bounced)
{
	ASSERT_TRUE(driver_find_device(self->device));
	ASSERT_TRUE(driver_has(self->device));
}

FIXTURE_TEARDOWN(bounced)
{
}

TEST_F(bounced, feature_is_negotiated)
{
	EXPECT_TRUE(driver_negotiated(self->device, ACCESS_PLATFORM));
}

TEST_F(bounced, device_is_given_copies)
{
	EXPECT_LE(2 * BUFFERS, slots_used());
}

/* Again and again: what is left of each time would add up. */
TEST_F(bounced, nothing_is_left_when_it_is_given_up)
{
	long before, bound = slots_used();

	ASSERT_TRUE(driver_unbind(self->device));
	before = slots_used();
	EXPECT_LE(2 * BUFFERS, bound - before);
	for (int i = 0; i < 5; i++) {
		ASSERT_TRUE(driver_bind(self->device));
		EXPECT_LE(2 * BUFFERS, slots_used() - before);
		ASSERT_TRUE(driver_unbind(self->device));
		EXPECT_EQ(before, slots_used());
	}
	ASSERT_TRUE(driver_bind(self->device));
}

TEST_HARNESS_MAIN
