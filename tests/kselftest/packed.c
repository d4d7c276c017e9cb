// SPDX-License-Identifier: GPL-2.0
/*
 * A device whose rings are packed: what the kernel has agreed on with it. That all goes on
 * as over the others is for the suites that run beside this one.
 *
 * Source: virtio specification, 2.8 and 6 (reserved feature bits).
 */
#include "driver.h"
#include "vsock_harness.h"

#define RING_PACKED	34

FIXTURE(packed)
{
	char device[NAME_MAX + 1];
};

FIXTURE_SETUP(packed)
{
	ASSERT_TRUE(driver_find_device(self->device));
	ASSERT_TRUE(driver_has(self->device));
}

FIXTURE_TEARDOWN(packed)
{
}

TEST_F(packed, feature_is_negotiated)
{
	EXPECT_TRUE(driver_negotiated(self->device, RING_PACKED));
}

/* The rings begin anew, with the device's and the driver's ends in the first slot. */
TEST_F(packed, again_and_again)
{
	for (int i = 0; i < 5; i++) {
		ASSERT_TRUE(driver_unbind(self->device));
		ASSERT_TRUE(driver_bind(self->device));
		EXPECT_TRUE(driver_negotiated(self->device, RING_PACKED));
	}
}

TEST_HARNESS_MAIN
