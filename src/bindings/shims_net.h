/* SPDX-License-Identifier: GPL-2.0 */
/* Functions for what the socket layer has as inline functions or macros. */
#ifndef RVSOCK_SHIMS_NET_H
#define RVSOCK_SHIMS_NET_H

#endif /* RVSOCK_SHIMS_NET_H */
