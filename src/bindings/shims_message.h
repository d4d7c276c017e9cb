/* SPDX-License-Identifier: GPL-2.0 */
/* Functions for what is inline or a macro: options, control messages, zero copy. */
#ifndef RVSOCK_SHIMS_MESSAGE_H
#define RVSOCK_SHIMS_MESSAGE_H

#include <linux/ktime.h>
#include <linux/socket.h>
#include <linux/types.h>

struct sk_buff;
struct sock;
struct socket;
struct ubuf_info;

/* Options */
bool rvsock_in_compat_time(void);
void rvsock_socket_set_flags(struct socket *socket, bool custom_options,
			     bool zerocopy);

/* Sockets: zero copy, error queue */
void rvsock_sock_set_zerocopy(struct sock *sk, bool on);
bool rvsock_sock_error_queued(const struct sock *sk);
bool rvsock_zerocopy_wanted(const struct sock *sk, const struct msghdr *msg);
struct ubuf_info *rvsock_zerocopy_get(struct sock *sk, const struct msghdr *msg,
				      size_t len, bool *counted, int *error);
void rvsock_zerocopy_attach(struct ubuf_info *ubuf, struct sk_buff *skb);
bool rvsock_zerocopy_is_attached(struct sk_buff *skb);
void rvsock_zerocopy_copied(struct ubuf_info *ubuf);
void rvsock_zerocopy_put(struct ubuf_info *ubuf, bool abort);

/* Sockets: control messages */
ktime_t rvsock_sock_arrival(const struct sock *sk);
bool rvsock_sock_wants_arrival(const struct sock *sk);
void rvsock_msg_put_arrival(struct msghdr *msg, struct sock *sk,
			    ktime_t arrival);
bool rvsock_msg_wants_inq(const struct msghdr *msg);
void rvsock_msg_put_inq(struct msghdr *msg, int inq, bool control);

#endif /* RVSOCK_SHIMS_MESSAGE_H */
