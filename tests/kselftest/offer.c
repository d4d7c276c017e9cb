// SPDX-License-Identifier: GPL-2.0
/*
 * What devices offer: features, CIDs, sizes of queues, and what the driver makes of it.
 * The numbers are those of the rules of the virtio specification, 5.10, as in spec.c.
 */
#include "scripted.h"

/*
 * The devices behind the first one, each with other features, another CID or queues of
 * another size; the driver is given one of them, and then the first one again.
 */
FIXTURE(offer)
{
	bool bound;
};

FIXTURE_VARIANT(offer)
{
	const char *device;
	/* Whether the driver takes it, and what a socket of each type gets then. */
	bool taken;
	int stream, seqpacket;
	/* The features that are agreed on, of the device's own three, and of those of its rings. */
	const char *features;
	const char *rings;
};

FIXTURE_VARIANT_ADD(offer, spec_03_everything)
{
	.device = "virtio0", .taken = true, .features = "111",
};

FIXTURE_VARIANT_ADD(offer, spec_04_nothing)
{
	.device = "virtio1", .taken = true, .features = "000", .seqpacket = ESOCKTNOSUPPORT,
};

FIXTURE_VARIANT_ADD(offer, spec_02_only_stream)
{
	.device = "virtio2", .taken = true, .features = "100", .seqpacket = ESOCKTNOSUPPORT,
};

FIXTURE_VARIANT_ADD(offer, spec_05_only_seqpacket)
{
	.device = "virtio3", .taken = true, .features = "010",
};

FIXTURE_VARIANT_ADD(offer, spec_02_stream_and_seqpacket)
{
	.device = "virtio4", .taken = true, .features = "110",
};

FIXTURE_VARIANT_ADD(offer, spec_06_no_type_at_all)
{
	.device = "virtio5",
};

FIXTURE_VARIANT_ADD(offer, spec_02_stream_by_name)
{
	.device = "virtio6", .taken = true, .features = "101", .seqpacket = ESOCKTNOSUPPORT,
};

FIXTURE_VARIANT_ADD(offer, spec_06_seqpacket_and_no_stream)
{
	.device = "virtio7", .taken = true, .features = "011", .stream = ESOCKTNOSUPPORT,
};

FIXTURE_VARIANT_ADD(offer, spec_07_cid_of_its_own)
{
	.device = "virtio8", .taken = true, .features = "111",
};

FIXTURE_VARIANT_ADD(offer, spec_07_upper_half_is_reserved)
{
	.device = "virtio9",
};

FIXTURE_VARIANT_ADD(offer, spec_08_cid_0)
{
	.device = "virtio10",
};

FIXTURE_VARIANT_ADD(offer, spec_08_cid_1)
{
	.device = "virtio11",
};

FIXTURE_VARIANT_ADD(offer, spec_08_cid_2)
{
	.device = "virtio12",
};

FIXTURE_VARIANT_ADD(offer, spec_08_largest_cid)
{
	.device = "virtio13",
};

FIXTURE_VARIANT_ADD(offer, spec_08_largest_cid_of_64_bits)
{
	.device = "virtio14",
};

FIXTURE_VARIANT_ADD(offer, queues_of_1)
{
	.device = "virtio15", .taken = true, .features = "111",
};

FIXTURE_VARIANT_ADD(offer, queues_of_2)
{
	.device = "virtio16", .taken = true, .features = "111",
};

FIXTURE_VARIANT_ADD(offer, queues_of_1024)
{
	.device = "virtio17", .taken = true, .features = "111",
};

/* In one descriptor after the other, and with an interrupt for each packet. */
FIXTURE_VARIANT_ADD(offer, rings_without_features)
{
	.device = "virtio18", .taken = true, .features = "111", .rings = "00",
};

FIXTURE_VARIANT_ADD(offer, rings_without_indirect_descriptors)
{
	.device = "virtio19", .taken = true, .features = "111", .rings = "01",
};

FIXTURE_VARIANT_ADD(offer, rings_without_event_index)
{
	.device = "virtio20", .taken = true, .features = "111", .rings = "10",
};

/* A packet has to be within the ring. */
FIXTURE_VARIANT_ADD(offer, queues_of_4_without_indirect_descriptors)
{
	.device = "virtio21", .taken = true, .features = "111", .rings = "00",
};

FIXTURE_SETUP(offer)
{
	ASSERT_TRUE(driver_unbind(DEVICE));
	self->bound = driver_bind(variant->device);
}

FIXTURE_TEARDOWN(offer)
{
	if (self->bound)
		EXPECT_TRUE(driver_unbind(variant->device));
	EXPECT_TRUE(driver_bind(DEVICE));
}

/* What connecting to the echo with a socket of @type gives: 0 if data come back. */
static int try_echo(int type)
{
	int fd = socket(vsock_family(), type, 0), result = 0;

	if (fd < 0)
		return errno;
	if (vsock_connect(fd, VMADDR_CID_HOST, PORT_ECHO))
		result = errno;
	for (int i = 0; i < 20 && !result; i++)
		result = echoes(fd) ? 0 : EIO;
	close(fd);
	return result;
}

TEST_F(offer, is_judged)
{
	char path[64], features[80] = "";
	FILE *file;

	ASSERT_EQ(variant->taken, self->bound);
	if (!variant->taken) {
		EXPECT_EQ(ENODEV, try_echo(SOCK_STREAM));
		return;
	}
	EXPECT_EQ(variant->stream, try_echo(SOCK_STREAM));
	EXPECT_EQ(variant->seqpacket, try_echo(SOCK_SEQPACKET));
	snprintf(path, sizeof(path), DEVICES "%s/features", variant->device);
	file = fopen(path, "r");
	ASSERT_NE(NULL, file);
	ASSERT_EQ(1, fscanf(file, "%79s", features));
	fclose(file);
	EXPECT_EQ(0, strncmp(variant->features, features, 3))
		TH_LOG("agreed on %.3s", features);
	/* Indirect descriptors and the event index. */
	EXPECT_EQ(0, strncmp(variant->rings ?: "11", features + 28, 2))
		TH_LOG("agreed on %.2s for the rings", features + 28);
}

TEST_HARNESS_MAIN
