// SPDX-License-Identifier: GPL-2.0
#include "driver.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The number of socket devices, as sysfs writes it. */
#define DEVICE_ID	"0x0013"

bool driver_find_device(char name[NAME_MAX + 1])
{
	DIR *directory = opendir(DEVICES);
	struct dirent *entry;
	bool found = false;

	while (directory && !found && (entry = readdir(directory))) {
		char path[sizeof(DEVICES) + NAME_MAX + 16], id[16] = "";
		FILE *file;

		snprintf(path, sizeof(path), DEVICES "%s/device", entry->d_name);
		file = fopen(path, "r");
		if (!file)
			continue;
		if (fscanf(file, "%15s", id) == 1 && !strcmp(id, DEVICE_ID)) {
			snprintf(name, NAME_MAX + 1, "%s", entry->d_name);
			found = true;
		}
		fclose(file);
	}
	if (directory)
		closedir(directory);
	return found;
}

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

bool driver_negotiated(const char *device, unsigned int feature)
{
	char path[sizeof(DEVICES) + NAME_MAX + 16], features[65] = "";
	FILE *file;
	bool read;

	snprintf(path, sizeof(path), DEVICES "%s/features", device);
	file = fopen(path, "r");
	if (!file)
		return false;
	read = fscanf(file, "%64s", features) == 1;
	fclose(file);
	return read && feature < strlen(features) && features[feature] == '1';
}

bool driver_unbind(const char *device)
{
	return sysfs_write(DRIVER "unbind", device) && !driver_has(device);
}

bool driver_bind(const char *device)
{
	return sysfs_write(DRIVER "bind", device) && driver_has(device);
}
