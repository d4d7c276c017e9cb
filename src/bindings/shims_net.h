/* SPDX-License-Identifier: GPL-2.0 */
/* Functions for what the socket layer has as inline functions or macros. */
#ifndef RVSOCK_SHIMS_NET_H
#define RVSOCK_SHIMS_NET_H

#include <linux/netlink.h>
#include <linux/poll.h>
#include <linux/rhashtable.h>
#include <linux/skbuff.h>
#include <linux/sockptr.h>
#include <linux/spinlock.h>
#include <linux/timer.h>
#include <linux/uidgid.h>
#include <linux/uio.h>
#include <linux/wait.h>
#include <net/sock.h>

struct module;

/* Spinlocks */
void rvsock_spin_lock_init(spinlock_t *lock, const char *name,
			   struct lock_class_key *key);
void rvsock_spin_lock_bh(spinlock_t *lock);
bool rvsock_spin_trylock_bh(spinlock_t *lock);
void rvsock_spin_unlock_bh(spinlock_t *lock);
void rvsock_spin_assert_is_held(spinlock_t *lock);

/* Sockets: making them, taking them down */
bool rvsock_module_held_in_init(struct module *module);
void rvsock_sock_setup(struct sock *sk, void (*timer)(struct timer_list *));
void rvsock_sock_teardown(struct sock *sk);
void rvsock_sock_discard(struct sock *sk);
void rvsock_sock_inherit(struct sock *sk, const struct sock *from);
void rvsock_sock_attach(struct sock *sk, struct socket *socket);
void rvsock_sock_detach(struct sock *sk, struct socket *socket);
struct net *rvsock_sock_net(const struct sock *sk);
int rvsock_sock_is_kernel(const struct sock *sk);
kuid_t rvsock_sock_uid(const struct sock *sk);
kuid_t rvsock_socket_uid(struct socket *socket);

/* Sockets: reference count, locks, timer */
void rvsock_sock_hold(struct sock *sk);
void rvsock_sock_put(struct sock *sk);
void rvsock_sock_slock_bh(struct sock *sk);
void rvsock_sock_sunlock_bh(struct sock *sk);
bool rvsock_sock_owned_by_user(const struct sock *sk);
void rvsock_sock_arm_timer(struct sock *sk, unsigned long after);
void rvsock_sock_stop_timer(struct sock *sk);
struct sock *rvsock_sock_of_timer(struct timer_list *timer);

/* Sockets: the rest */
int rvsock_sock_error(struct sock *sk);
void rvsock_sock_poll_wait(struct file *file, struct socket *socket,
			   poll_table *table);
bool rvsock_sock_is_polled(struct sock *sk);
void rvsock_sock_wake_poll(struct sock *sk, __poll_t events);
void rvsock_sock_signal(struct sock *sk, __poll_t events);
void rvsock_send_sigpipe(void);
int rvsock_copy_from_sockptr(void *to, sockptr_t from, size_t len);

/* Wait queues */
unsigned long rvsock_voluntary_switches(void);
bool rvsock_has_signal(void);
bool rvsock_wq_has_sleeper(struct wait_queue_head *head);
void rvsock_init_wait_entry(struct wait_queue_entry *entry,
			    wait_queue_func_t function);
void rvsock_add_wait_queue_tail(struct wait_queue_head *head,
				struct wait_queue_entry *entry);
unsigned long rvsock_wait_queue_lock(struct wait_queue_head *head);
void rvsock_wait_queue_unlock(struct wait_queue_head *head,
			      unsigned long flags);

/* Hash tables */
int rvsock_rhashtable_init(struct rhashtable *table,
			   const struct rhashtable_params *parameters);
int rvsock_rhashtable_insert(struct rhashtable *table,
			     struct rhash_head *head);
void rvsock_rhashtable_remove(struct rhashtable *table,
			      struct rhash_head *head);
void *rvsock_rhashtable_lookup(struct rhashtable *table, const void *key);
void rvsock_rhashtable_walk_start(struct rhashtable_iter *iter);
void *rvsock_rhashtable_walk_next(struct rhashtable_iter *iter);

/* Network namespaces */
void *rvsock_net_generic(const struct net *net, unsigned int id);
struct net *rvsock_current_net(void);

/* Diagnostics */
struct net *rvsock_diag_net(const struct netlink_callback *callback);
size_t rvsock_diag_payload(const struct nlmsghdr *message);
const void *rvsock_diag_data(const struct netlink_callback *callback);
int rvsock_diag_start(struct sk_buff *skb, const struct nlmsghdr *message,
		      int (*start)(struct netlink_callback *callback),
		      int (*dump)(struct sk_buff *skb,
				  struct netlink_callback *callback),
		      int (*done)(struct netlink_callback *callback));
bool rvsock_diag_put(struct sk_buff *skb, struct netlink_callback *callback,
		     const void *payload, size_t len);
bool rvsock_sock_is_dead(const struct sock *sk);
u64 rvsock_sock_ino(const struct sock *sk);

/* Socket buffers, pages */
struct sk_buff *rvsock_alloc_skb(unsigned int size, unsigned int headroom,
				 gfp_t flags);
void rvsock_skb_add_fragment(struct sk_buff *skb, struct page *page,
			     int offset, int len, unsigned int truesize);
unsigned int rvsock_skb_header_len(const struct sk_buff *skb);
u8 rvsock_skb_tag(const struct sk_buff *skb);
void rvsock_skb_set_tag(struct sk_buff *skb, u8 tag);
unsigned int rvsock_skb_room(const struct sk_buff *skb);
unsigned int rvsock_skb_tailroom(const struct sk_buff *skb);
size_t rvsock_copy_present_from_iter(void *to, size_t len, struct iov_iter *from);
size_t rvsock_skb_fill_from(struct sk_buff *skb, struct iov_iter *source,
			    size_t len);
ssize_t rvsock_skb_lend(struct sk_buff *skb, struct iov_iter *source,
			size_t len, unsigned int max_frags);
size_t rvsock_skb_copy_to(const struct sk_buff *skb, unsigned int offset,
			  struct iov_iter *dest, size_t len);
void rvsock_skb_append_skb(struct sk_buff *skb, const struct sk_buff *other,
			   unsigned int offset, unsigned int len);
void rvsock_skb_append(struct sk_buff *skb, const void *bytes,
		       unsigned int len);
void rvsock_skb_charge(struct sk_buff *skb, struct sock *sk,
		       void (*destructor)(struct sk_buff *skb));
size_t rvsock_sock_charged(const struct sock *sk);
long rvsock_sock_linger(const struct sock *sk);
bool rvsock_sock_hold_unless_zero(struct sock *sk);
void rvsock_skb_narrow(struct sk_buff *skb, unsigned int offset,
		       unsigned int len);
bool rvsock_skb_push_header(struct sk_buff *skb, const void *header,
			    size_t len);
unsigned int rvsock_skb_segments(const struct sk_buff *skb);
void *rvsock_skb_segment(const struct sk_buff *skb, unsigned int index,
			 unsigned int *len);
ktime_t rvsock_skb_arrival(const struct sk_buff *skb);
void rvsock_skb_set_arrival(struct sk_buff *skb, ktime_t arrival);
struct sk_buff **rvsock_skb_next(struct sk_buff *skb);

#endif /* RVSOCK_SHIMS_NET_H */
