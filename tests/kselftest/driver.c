// SPDX-License-Identifier: GPL-2.0
#include "driver.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

bool sysfs_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	bool written;

	if (fd < 0)
		return false;
	written = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	close(fd);
	return written;
}

bool driver_has(const char *device)
{
	char path[sizeof(DRIVER) + NAME_MAX];

	snprintf(path, sizeof(path), DRIVER "%s", device);
	return !access(path, F_OK);
}

bool driver_unbind(const char *device)
{
	return sysfs_write(DRIVER "unbind", device) && !driver_has(device);
}

bool driver_bind(const char *device)
{
	return sysfs_write(DRIVER "bind", device) && driver_has(device);
}
