/* SPDX-License-Identifier: GPL-2.0 */
/* Functions for datagrams: whole messages in socket buffers of their own. */
#ifndef RVSOCK_SHIMS_DATAGRAM_H
#define RVSOCK_SHIMS_DATAGRAM_H

#include <linux/skbuff.h>
#include <linux/socket.h>
#include <linux/uio.h>
#include <net/sock.h>

struct sk_buff *rvsock_datagram_alloc(size_t len, gfp_t flags);
int rvsock_datagram_fill(struct sk_buff *skb, struct iov_iter *source,
			 size_t len);
int rvsock_datagram_copy_to(const struct sk_buff *skb, struct iov_iter *dest,
			    size_t len);
size_t rvsock_datagram_memory(const struct sk_buff *skb);
void rvsock_datagram_arrived(struct sk_buff *skb, struct sock *sk);
void rvsock_datagram_put_control(struct sk_buff *skb, struct msghdr *message,
				 struct sock *sk);
void rvsock_sock_count_drop(struct sock *sk);

#endif /* RVSOCK_SHIMS_DATAGRAM_H */
