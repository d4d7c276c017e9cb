// SPDX-License-Identifier: GPL-2.0
#include "leaving.h"

#include "driver.h"
#include "vsock_util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Of a slot of PCI Express: its capability, and therein the slot's control. */
#define PCI_CAPABILITIES	0x34
#define PCI_EXPRESS		0x10
#define SLOT_CONTROL		0x18
#define INTERRUPT		0x0020
#define INDICATOR_OFF		0x0300
/* The same in the second byte. */
#define INDICATOR_OFF_HIGH	0x03
#define POWER_OFF		0x0400

static bool leaves_by(const char *way)
{
	const char *said = getenv("RVSOCK_DEVICE_LEAVES");

	return !strcmp(said ? said : "unbind", way);
}

bool device_is_unplugged(void)
{
	return !leaves_by("unbind");
}

bool device_leaves_slowly(void)
{
	return leaves_by("pull") || (device_is_unplugged() && vsock_patience() > 1);
}

bool device_is_there(void)
{
	char name[NAME_MAX + 1];
	int fd;
	bool there;

	if (!driver_find_device(name) || !driver_has(name))
		return false;
	/* The guest has its CID as long as the device is in use. */
	fd = vsock_stream(0);
	there = fd >= 0 && !vsock_bind(fd, GUEST_CID, VMADDR_PORT_ANY);
	close(fd);
	return there;
}

/* One line to the host, not within another. */
static bool ask_host(const char *request)
{
	char line[64];
	int len = snprintf(line, sizeof(line), "\n##rvsock %s\n", request);

	fflush(stdout);
	return write(STDOUT_FILENO, line, len) == len;
}

/*
 * The directory of the device on the bus that it is plugged into, by its own path: that of
 * its virtio device is below.
 */
static bool find_plugged(char path[PATH_MAX])
{
	char link[sizeof(DEVICES) + NAME_MAX + 1] = DEVICES;

	return driver_find_device(link + sizeof(DEVICES) - 1) && realpath(link, path) &&
	       (*strrchr(path, '/') = '\0', true);
}

static uint8_t config_byte(int config, off_t at)
{
	uint8_t byte = 0;

	return pread(config, &byte, 1, at) == 1 ? byte : 0;
}

/* Waits until a condition holds. */
#define WITHIN_PATIENCE(_condition) ({						\
	long __end = now_ms() + PATIENCE_MS * vsock_patience();			\
										\
	while (!(_condition) && now_ms() < __end)				\
		sleep_ms(10);							\
	(_condition);								\
})

/* Opens the configuration of the slot that has the device at @path; stores where its control is. */
static int open_slot(const char *path, off_t *control)
{
	char slot[PATH_MAX + 16];
	uint8_t at;
	int config;

	snprintf(slot, sizeof(slot), "%s/../config", path);
	config = open(slot, O_RDWR);
	if (config < 0)
		return -1;
	at = config_byte(config, PCI_CAPABILITIES);
	while (at && config_byte(config, at) != PCI_EXPRESS)
		at = config_byte(config, at + 1);
	*control = at + SLOT_CONTROL;
	if (at)
		return config;
	close(config);
	return -1;
}

/*
 * Turns the power of the slot off that has the device at @path, upon which the card is gone,
 * and on again, behind the back of the kernel that has it in use. Then only is that told that
 * the slot is empty: it would take one without power for one that it has emptied itself.
 */
static bool pull(const char *path)
{
	uint16_t control, off;
	off_t at;
	int config = open_slot(path, &at);
	bool pulled;

	if (config < 0)
		return false;
	pulled = pread(config, &control, 2, at) == 2;
	off = (control & ~INTERRUPT) | INDICATOR_OFF | POWER_OFF;
	pulled = pulled && pwrite(config, &off, 2, at) == 2 &&
		 pwrite(config, &control, 2, at) == 2;
	/* The kernel has seen it when it has turned the slot's light off, and takes another. */
	pulled = pulled && WITHIN_PATIENCE((config_byte(config, at + 1) &
					    INDICATOR_OFF_HIGH) == INDICATOR_OFF_HIGH);
	close(config);
	return pulled;
}

bool device_leaves(void)
{
	char path[PATH_MAX], name[NAME_MAX + 1];

	if (!device_is_unplugged())
		return driver_find_device(name) && driver_unbind(name);
	if (!find_plugged(path))
		return false;
	if (leaves_by("pull") ? !pull(path) : !ask_host("unplug"))
		return false;
	/* Its driver has let go of it by then. */
	return WITHIN_PATIENCE(access(path, F_OK));
}

bool device_returns(void)
{
	char name[NAME_MAX + 1];

	if (!device_is_unplugged())
		return driver_find_device(name) && driver_bind(name);
	return ask_host("plug") && WITHIN_PATIENCE(device_is_there());
}
