/* SPDX-License-Identifier: GPL-2.0 */
/* The driver under test and its devices, by sysfs. */
#ifndef DRIVER_H
#define DRIVER_H

#include <stdbool.h>

#define DRIVER		"/sys/bus/virtio/drivers/rvsock/"
#define DEVICES		"/sys/bus/virtio/devices/"

/* Writes @text to the attribute at @path, and says whether it was taken. */
bool sysfs_write(const char *path, const char *text);
/* Does the driver have @device, by its name on the bus? */
bool driver_has(const char *device);
/* Takes @device from the driver; gives it to it. */
bool driver_unbind(const char *device);
bool driver_bind(const char *device);

#endif /* DRIVER_H */
