/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What bindgen reads: the headers whose declarations the module uses, its own
 * shims, and constants in a form that bindgen can evaluate.
 */
#ifndef RVSOCK_BINDINGS_HELPER_H
#define RVSOCK_BINDINGS_HELPER_H

#include <linux/fs.h>
#include <linux/gfp.h>
#include <linux/jiffies.h>
#include <linux/net.h>
#include <linux/poll.h>
#include <linux/rcupdate.h>
#include <linux/rhashtable.h>
#include <linux/sched/signal.h>
#include <linux/security.h>
#include <linux/skbuff.h>
#include <linux/sock_diag.h>
#include <linux/socket.h>
#include <linux/sysctl.h>
#include <linux/timer.h>
#include <linux/uio.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <net/net_namespace.h>
#include <net/sock.h>
#include <uapi/asm/ioctls.h>
#include <uapi/linux/virtio_ring.h>

#include "shims_datagram.h"
#include "shims_message.h"
#include "shims_net.h"
#include "shims_trace.h"
#include "shims_virtio.h"

/*
 * bindgen does not evaluate macros with casts in them. Kbuild takes the prefix
 * off the generated names.
 */
static const __poll_t RVSOCK_CONST_EPOLLIN = EPOLLIN;
static const __poll_t RVSOCK_CONST_EPOLLOUT = EPOLLOUT;
static const __poll_t RVSOCK_CONST_EPOLLERR = EPOLLERR;
static const __poll_t RVSOCK_CONST_EPOLLHUP = EPOLLHUP;
static const __poll_t RVSOCK_CONST_EPOLLRDNORM = EPOLLRDNORM;
static const __poll_t RVSOCK_CONST_EPOLLWRNORM = EPOLLWRNORM;
static const __poll_t RVSOCK_CONST_EPOLLWRBAND = EPOLLWRBAND;
static const __poll_t RVSOCK_CONST_EPOLLRDHUP = EPOLLRDHUP;

static const gfp_t RVSOCK_CONST___GFP_COMP = __GFP_COMP;
static const gfp_t RVSOCK_CONST___GFP_DIRECT_RECLAIM = __GFP_DIRECT_RECLAIM;

static const size_t RVSOCK_CONST_SOCK_SKB_CB_OFFSET = SOCK_SKB_CB_OFFSET;

static const long RVSOCK_CONST_MAX_SCHEDULE_TIMEOUT = MAX_SCHEDULE_TIMEOUT;

#endif /* RVSOCK_BINDINGS_HELPER_H */
