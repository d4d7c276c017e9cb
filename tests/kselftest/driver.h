/* SPDX-License-Identifier: GPL-2.0 */
/* The driver under test and its devices, by sysfs. */
#ifndef DRIVER_H
#define DRIVER_H

#include <limits.h>
#include <stdbool.h>

#define DRIVER		"/sys/bus/virtio/drivers/rvsock/"
#define DEVICES		"/sys/bus/virtio/devices/"

/* The socket device's name on its bus, whether it has a driver or not. */
bool driver_find_device(char name[NAME_MAX + 1]);
/* Writes @text to the attribute at @path, and says whether it was taken. */
bool sysfs_write(const char *path, const char *text);
/* Does the driver have @device, by its name on the bus? */
bool driver_has(const char *device);
/* Have the driver of @device and the device agreed on the feature of this number? */
bool driver_negotiated(const char *device, unsigned int feature);
/* Takes @device from the driver; gives it to it. */
bool driver_unbind(const char *device);
bool driver_bind(const char *device);

#endif /* DRIVER_H */
