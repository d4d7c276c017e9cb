/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How the socket device leaves its driver, and comes back. RVSOCK_DEVICE_LEAVES in the
 * environment names the way:
 *   unbind  the driver is unbound from it and bound again, by sysfs; without the variable
 *           as well
 *   unplug  the host unplugs it: the guest's kernel is asked for it, and gives it up; the
 *           host plugs another one
 *   pull    it is out of its slot (of PCI Express) before anything in the guest knows; the
 *           host plugs another one
 * The host is asked by a line among the results (qemu/hotplug.py).
 */
#ifndef LEAVING_H
#define LEAVING_H

#include <stdbool.h>

/* Is it the device itself that goes, and not only the driver that gives it up? */
bool device_is_unplugged(void);
/* Does that take a second or more each time? */
bool device_leaves_slowly(void);
/* Is the device the driver's, and in use? */
bool device_is_there(void);
/* When these return true the driver has given it up to the end, or taken it into use. */
bool device_leaves(void);
bool device_returns(void);

#endif /* LEAVING_H */
