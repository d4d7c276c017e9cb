// SPDX-License-Identifier: GPL-2.0
/* Functions for datagrams: whole messages in socket buffers of their own. */

#include <linux/mmzone.h>
#include <linux/skbuff.h>
#include <net/sock.h>

#include "shims_datagram.h"

/* Payload up to so many bytes is in the linear part, more is all in pages. */
#define LINEAR_MAX 2048

/* A buffer of @len bytes, which hold nothing that may be seen yet. */
struct sk_buff *rvsock_datagram_alloc(size_t len, gfp_t flags)
{
	size_t in_pages = len > LINEAR_MAX ? len : 0;
	struct sk_buff *skb;
	int error;

	skb = alloc_skb_with_frags(len - in_pages, in_pages,
				   PAGE_ALLOC_COSTLY_ORDER, &error, flags);
	if (!skb)
		return NULL;
	skb_put(skb, len - in_pages);
	skb->len += in_pages;
	skb->data_len = in_pages;
	return skb;
}

int rvsock_datagram_fill(struct sk_buff *skb, struct iov_iter *source,
			 size_t len)
{
	return skb_copy_datagram_from_iter(skb, 0, source, len);
}

int rvsock_datagram_copy_to(const struct sk_buff *skb, struct iov_iter *dest,
			    size_t len)
{
	return skb_copy_datagram_iter(skb, 0, dest, len);
}

size_t rvsock_datagram_memory(const struct sk_buff *skb)
{
	return skb->truesize;
}

/* What @sk is to tell its reader with @skb: when it came, what was dropped. */
void rvsock_datagram_arrived(struct sk_buff *skb, struct sock *sk)
{
	if (sock_flag(sk, SOCK_RCVTSTAMP) ||
	    sock_flag(sk, SOCK_TIMESTAMPING_RX_SOFTWARE))
		__net_timestamp(skb);
	sock_skb_set_dropcount(sk, skb);
}

void rvsock_datagram_put_control(struct sk_buff *skb, struct msghdr *message,
				 struct sock *sk)
{
	sock_recv_cmsgs(message, sk, skb);
}

void rvsock_sock_count_drop(struct sock *sk)
{
	sk_drops_inc(sk);
}
