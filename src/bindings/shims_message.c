// SPDX-License-Identifier: GPL-2.0
/* Functions for what is inline or a macro: options, control messages, zero copy. */

#include <linux/compat.h>
#include <linux/ktime.h>
#include <linux/net.h>
#include <linux/skbuff.h>
#include <net/sock.h>

#include "shims_message.h"

/* Whether an old "struct timeval" of the caller's has members of 32 bits. */
bool rvsock_in_compat_time(void)
{
	return in_compat_syscall() && !COMPAT_USE_64BIT_TIME;
}

/* Makes "setsockopt" see SOL_SOCKET, and io_uring offer to lend pages. */
void rvsock_socket_set_flags(struct socket *socket, bool custom_options,
			     bool zerocopy)
{
	if (custom_options)
		set_bit(SOCK_CUSTOM_SOCKOPT, &socket->flags);
	if (zerocopy)
		set_bit(SOCK_SUPPORT_ZC, &socket->flags);
}

void rvsock_sock_set_zerocopy(struct sock *sk, bool on)
{
	sock_valbool_flag(sk, SOCK_ZEROCOPY, on);
}

bool rvsock_sock_error_queued(const struct sock *sk)
{
	return !skb_queue_empty_lockless(&sk->sk_error_queue);
}

bool rvsock_zerocopy_wanted(const struct sock *sk, const struct msghdr *msg)
{
	return msg->msg_flags & MSG_ZEROCOPY &&
	       (msg->msg_ubuf || sock_flag(sk, SOCK_ZEROCOPY));
}

/*
 * A reference to what tells the sender of @msg that its pages are its own again,
 * or NULL. It is @counted if it was made for this call.
 */
struct ubuf_info *rvsock_zerocopy_get(struct sock *sk, const struct msghdr *msg,
				      size_t len, bool *counted, int *error)
{
	struct ubuf_info *ubuf;

	*counted = false;
	*error = 0;
	if (!(msg->msg_flags & MSG_ZEROCOPY))
		return NULL;
	if (msg->msg_ubuf) {
		net_zcopy_get(msg->msg_ubuf);
		return msg->msg_ubuf;
	}
	if (!sock_flag(sk, SOCK_ZEROCOPY))
		return NULL;
	ubuf = msg_zerocopy_realloc(sk, len, NULL, false);
	*counted = ubuf;
	*error = ubuf ? 0 : -ENOMEM;
	return ubuf;
}

void rvsock_zerocopy_attach(struct ubuf_info *ubuf, struct sk_buff *skb)
{
	skb_zcopy_set(skb, ubuf, NULL);
}

/* Whether a completion waits until the buffer is freed. */
bool rvsock_zerocopy_is_attached(struct sk_buff *skb)
{
	return skb_zcopy(skb);
}

/* The completion says that bytes were copied. */
void rvsock_zerocopy_copied(struct ubuf_info *ubuf)
{
	net_zcopy_get(ubuf);
	ubuf->ops->complete(NULL, ubuf, false);
}

/* Gives the reference up. With @abort the call has no number, and nothing is told. */
void rvsock_zerocopy_put(struct ubuf_info *ubuf, bool abort)
{
	if (abort)
		net_zcopy_put_abort(ubuf, true);
	else
		net_zcopy_put(ubuf);
}

/* Now, if anybody wants to know when bytes arrive at @sk; else 0. */
ktime_t rvsock_sock_arrival(const struct sock *sk)
{
	return READ_ONCE(sk->sk_flags) & SK_FLAGS_TIMESTAMP ? ktime_get_real() : 0;
}

bool rvsock_sock_wants_arrival(const struct sock *sk)
{
	return READ_ONCE(sk->sk_flags) & SK_FLAGS_TIMESTAMP ||
	       READ_ONCE(sk->sk_tsflags) & SOF_TIMESTAMPING_SOFTWARE;
}

/*
 * The kernel writes timestamps, in the forms that were asked for, of a buffer.
 * Without memory for one there are none.
 */
void rvsock_msg_put_arrival(struct msghdr *msg, struct sock *sk, ktime_t arrival)
{
	struct sk_buff *skb = alloc_skb(0, GFP_KERNEL);

	if (!skb)
		return;
	skb->tstamp = arrival;
	sock_recv_timestamp(msg, sk, skb);
	consume_skb(skb);
}

bool rvsock_msg_wants_inq(const struct msghdr *msg)
{
	return msg->msg_get_inq;
}

/* How much is left to be read, and with @control in a control message, too. */
void rvsock_msg_put_inq(struct msghdr *msg, int inq, bool control)
{
	msg->msg_inq = inq;
	if (control)
		put_cmsg(msg, SOL_SOCKET, SCM_INQ, sizeof(inq), &inq);
}
