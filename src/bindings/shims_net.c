// SPDX-License-Identifier: GPL-2.0
/* Functions for what the socket layer has as inline functions or macros. */

#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/net.h>
#include <linux/netlink.h>
#include <linux/nsproxy.h>
#include <linux/pagemap.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/security.h>
#include <linux/sock_diag.h>
#include <net/net_namespace.h>
#include <net/netlink.h>
#include <net/netns/generic.h>

#include "shims_net.h"

void rvsock_spin_lock_init(spinlock_t *lock, const char *name,
			   struct lock_class_key *key)
{
	spin_lock_init(lock);
	lockdep_set_class_and_name(lock, key, name);
}

void rvsock_spin_lock_bh(spinlock_t *lock)
{
	spin_lock_bh(lock);
}

bool rvsock_spin_trylock_bh(spinlock_t *lock)
{
	return spin_trylock_bh(lock);
}

void rvsock_spin_unlock_bh(spinlock_t *lock)
{
	spin_unlock_bh(lock);
}

void rvsock_spin_assert_is_held(spinlock_t *lock)
{
	lockdep_assert_held(lock);
}

/*
 * Whether anyone but its own initialisation holds a module that is being
 * initialised.
 */
bool rvsock_module_held_in_init(struct module *module)
{
#ifdef CONFIG_MODULE_UNLOAD
	return module->state == MODULE_STATE_COMING &&
	       module_refcount(module) > 1;
#else
	return false;
#endif
}

/*
 * Counts a socket as one of its protocol's, but none of the kernel's own: such
 * a socket holds the memory of its network namespace, but not the counters,
 * which go when the namespace does.
 */
static void sock_count(struct sock *sk, int by)
{
	if (!sk->sk_kern_sock)
		sock_prot_inuse_add(sock_net(sk), sk->sk_prot, by);
}

/* Whoever finds the socket under RCU may look at it for a grace period. */
void rvsock_sock_setup(struct sock *sk, void (*timer)(struct timer_list *))
{
	timer_setup(&sk->sk_timer, timer, 0);
	sock_set_flag(sk, SOCK_RCU_FREE);
	sock_count(sk, 1);
}

void rvsock_sock_teardown(struct sock *sk)
{
	skb_queue_purge(&sk->sk_receive_queue);
	skb_queue_purge(&sk->sk_error_queue);
	sock_count(sk, -1);
}

/* Gives a socket back that creating got no further with. */
void rvsock_sock_discard(struct sock *sk)
{
	if (sk->sk_socket)
		sk->sk_socket->sk = NULL;
	sock_orphan(sk);
	sock_put(sk);
}

void rvsock_sock_inherit(struct sock *sk, const struct sock *from)
{
	sk->sk_type = from->sk_type;
	sk->sk_protocol = from->sk_protocol;
	sk->sk_priority = READ_ONCE(from->sk_priority);
	sk->sk_rcvbuf = READ_ONCE(from->sk_rcvbuf);
	sk->sk_sndbuf = READ_ONCE(from->sk_sndbuf);
	security_sk_clone(from, sk);
}

void rvsock_sock_attach(struct sock *sk, struct socket *socket)
{
	sock_graft(sk, socket);
	socket->state = SS_CONNECTED;
}

void rvsock_sock_detach(struct sock *sk, struct socket *socket)
{
	sock_orphan(sk);
	socket->sk = NULL;
	sock_put(sk);
}

struct net *rvsock_sock_net(const struct sock *sk)
{
	return sock_net(sk);
}

int rvsock_sock_is_kernel(const struct sock *sk)
{
	return sk->sk_kern_sock;
}

/* fchown() may be changing it. */
kuid_t rvsock_sock_uid(const struct sock *sk)
{
	return sk_uid(sk);
}

kuid_t rvsock_socket_uid(struct socket *socket)
{
	return SOCK_INODE(socket)->i_uid;
}

void rvsock_sock_hold(struct sock *sk)
{
	sock_hold(sk);
}

void rvsock_sock_put(struct sock *sk)
{
	sock_put(sk);
}

void rvsock_sock_slock_bh(struct sock *sk)
{
	spin_lock_bh(&sk->sk_lock.slock);
}

void rvsock_sock_sunlock_bh(struct sock *sk)
{
	spin_unlock_bh(&sk->sk_lock.slock);
}

bool rvsock_sock_owned_by_user(const struct sock *sk)
{
	return sock_owned_by_user(sk);
}

/*
 * sk_reset_timer() takes the timer's reference after the timer was armed. That
 * is too late for a timer that expires at once and whose callback does not wait
 * for a lock that the caller holds.
 */
void rvsock_sock_arm_timer(struct sock *sk, unsigned long after)
{
	sock_hold(sk);
	if (mod_timer(&sk->sk_timer, jiffies + after))
		sock_put(sk);
}

void rvsock_sock_stop_timer(struct sock *sk)
{
	sk_stop_timer(sk, &sk->sk_timer);
}

struct sock *rvsock_sock_of_timer(struct timer_list *timer)
{
	return container_of(timer, struct sock, sk_timer);
}

int rvsock_sock_error(struct sock *sk)
{
	return sock_error(sk);
}

void rvsock_sock_poll_wait(struct file *file, struct socket *socket,
			   poll_table *table)
{
	sock_poll_wait(file, socket, table);
}

/* Whether anybody polls, behind a full barrier. */
bool rvsock_sock_is_polled(struct sock *sk)
{
	bool polled;

	rcu_read_lock();
	polled = skwq_has_sleeper(rcu_dereference(sk->sk_wq));
	rcu_read_unlock();
	return polled;
}

/*
 * The end of both directions concerns everyone who polls; anything else wakes
 * one of those who asked to be woken one at a time (EPOLLEXCLUSIVE).
 */
void rvsock_sock_wake_poll(struct sock *sk, __poll_t events)
{
	struct socket_wq *wq;

	rcu_read_lock();
	wq = rcu_dereference(sk->sk_wq);
	/* It may have been closed since somebody polled. */
	if (wq)
		__wake_up(&wq->wait, TASK_INTERRUPTIBLE,
			  events & EPOLLHUP ? 0 : 1, poll_to_key(events));
	rcu_read_unlock();
}

/* Sends SIGIO to who asked for it. */
void rvsock_sock_signal(struct sock *sk, __poll_t events)
{
	if (!sock_flag(sk, SOCK_FASYNC))
		return;
	rcu_read_lock();
	if (events & EPOLLERR)
		sk_wake_async_rcu(sk, SOCK_WAKE_IO, POLL_ERR);
	if (events & EPOLLHUP)
		sk_wake_async_rcu(sk, SOCK_WAKE_IO, POLL_HUP);
	if (events & (EPOLLIN | EPOLLRDHUP))
		sk_wake_async_rcu(sk, SOCK_WAKE_WAITD, POLL_IN);
	if (events & EPOLLOUT)
		sk_wake_async_rcu(sk, SOCK_WAKE_IO, POLL_OUT);
	rcu_read_unlock();
}

void rvsock_send_sigpipe(void)
{
	send_sig(SIGPIPE, current, 0);
}

int rvsock_copy_from_sockptr(void *to, sockptr_t from, size_t len)
{
	return copy_from_sockptr(to, from, len) ? -EFAULT : 0;
}

/*
 * How often the task gave up the processor to sleep: what /proc/TID/status has as
 * voluntary_ctxt_switches. Nobody else changes it while the task runs.
 */
unsigned long rvsock_voluntary_switches(void)
{
	return current->nvcsw;
}

/* Without what only has the task go back to user space once (TIF_NOTIFY_SIGNAL). */
bool rvsock_has_signal(void)
{
	return task_sigpending(current);
}

bool rvsock_wq_has_sleeper(struct wait_queue_head *head)
{
	return wq_has_sleeper(head);
}

void rvsock_init_wait_entry(struct wait_queue_entry *entry,
			    wait_queue_func_t function)
{
	entry->flags = 0;
	entry->private = current;
	entry->func = function;
	INIT_LIST_HEAD(&entry->entry);
}

/*
 * add_wait_queue() puts an entry at the head, unless it is exclusive.
 *
 * Its barrier pairs with the one in wq_has_sleeper(): either that sees the
 * entry, or the caller, who looks next at what it is to wait for, sees what was
 * changed before. Unlocking alone does not order a store before a later load.
 */
void rvsock_add_wait_queue_tail(struct wait_queue_head *head,
				struct wait_queue_entry *entry)
{
	unsigned long flags;

	spin_lock_irqsave(&head->lock, flags);
	__add_wait_queue_entry_tail(head, entry);
	spin_unlock_irqrestore(&head->lock, flags);
	/* Pairs with wq_has_sleeper(), see above. */
	smp_mb();
}

unsigned long rvsock_wait_queue_lock(struct wait_queue_head *head)
{
	unsigned long flags;

	spin_lock_irqsave(&head->lock, flags);
	return flags;
}

void rvsock_wait_queue_unlock(struct wait_queue_head *head,
			      unsigned long flags)
{
	spin_unlock_irqrestore(&head->lock, flags);
}

int rvsock_rhashtable_init(struct rhashtable *table,
			   const struct rhashtable_params *parameters)
{
	return rhashtable_init(table, parameters);
}

int rvsock_rhashtable_insert(struct rhashtable *table, struct rhash_head *head)
{
	return rhashtable_lookup_insert_fast(table, head, table->p);
}

void rvsock_rhashtable_remove(struct rhashtable *table,
			      struct rhash_head *head)
{
	rhashtable_remove_fast(table, head, table->p);
}

void *rvsock_rhashtable_lookup(struct rhashtable *table, const void *key)
{
	return rhashtable_lookup(table, key, table->p);
}

void rvsock_rhashtable_walk_start(struct rhashtable_iter *iter)
{
	rhashtable_walk_start(iter);
}

/* The next element, or NULL at the end. A resize starts the walk over. */
void *rvsock_rhashtable_walk_next(struct rhashtable_iter *iter)
{
	void *object;

	do {
		object = rhashtable_walk_next(iter);
	} while (object == ERR_PTR(-EAGAIN));
	return IS_ERR(object) ? NULL : object;
}

void *rvsock_net_generic(const struct net *net, unsigned int id)
{
	return net_generic(net, id);
}

/* The namespace that the calling task makes its sockets in. */
struct net *rvsock_current_net(void)
{
	return current->nsproxy->net_ns;
}

/* The namespace of whoever asked for a dump. */
struct net *rvsock_diag_net(const struct netlink_callback *callback)
{
	return sock_net(NETLINK_CB(callback->skb).sk);
}

size_t rvsock_diag_payload(const struct nlmsghdr *message)
{
	return nlmsg_len(message);
}

const void *rvsock_diag_data(const struct netlink_callback *callback)
{
	return nlmsg_data(callback->nlh);
}

int rvsock_diag_start(struct sk_buff *skb, const struct nlmsghdr *message,
		      int (*start)(struct netlink_callback *callback),
		      int (*dump)(struct sk_buff *skb,
				  struct netlink_callback *callback),
		      int (*done)(struct netlink_callback *callback))
{
	struct netlink_dump_control control = {
		.start = start,
		.dump = dump,
		.done = done,
	};

	return netlink_dump_start(sock_net(NETLINK_CB(skb).sk)->diag_nlsk, skb,
				  message, &control);
}

/* Adds a message of a dump, or says that there is no room for it. */
bool rvsock_diag_put(struct sk_buff *skb, struct netlink_callback *callback,
		     const void *payload, size_t len)
{
	struct nlmsghdr *message;

	message = nlmsg_put(skb, NETLINK_CB(callback->skb).portid,
			    callback->nlh->nlmsg_seq, SOCK_DIAG_BY_FAMILY,
			    len, NLM_F_MULTI);
	if (!message)
		return false;
	memcpy(nlmsg_data(message), payload, len);
	return true;
}

/* No program has the socket any more. */
bool rvsock_sock_is_dead(const struct sock *sk)
{
	return sock_flag(sk, SOCK_DEAD);
}

u64 rvsock_sock_ino(const struct sock *sk)
{
	return sock_i_ino(sk);
}

/* What a buffer keeps in its control block. */
struct rvsock_skb_cb {
	unsigned int header_len;
	/* The fragments are memory that somebody else can write to. */
	bool lent;
	u8 tag;
};

static struct rvsock_skb_cb *skb_cb(const struct sk_buff *skb)
{
	BUILD_BUG_ON(sizeof(struct rvsock_skb_cb) > sizeof(skb->cb));
	return (struct rvsock_skb_cb *)skb->cb;
}

struct sk_buff *rvsock_alloc_skb(unsigned int size, unsigned int headroom,
				 gfp_t flags)
{
	struct sk_buff *skb = alloc_skb(size, flags);

	if (skb)
		skb_reserve(skb, headroom);
	return skb;
}

void rvsock_skb_add_fragment(struct sk_buff *skb, struct page *page,
			     int offset, int len, unsigned int truesize)
{
	skb_fill_page_desc(skb, skb_shinfo(skb)->nr_frags, page, offset, len);
	skb->len += len;
	skb->data_len += len;
	skb->truesize += truesize;
}

unsigned int rvsock_skb_header_len(const struct sk_buff *skb)
{
	return skb_cb(skb)->header_len;
}

u8 rvsock_skb_tag(const struct sk_buff *skb)
{
	return skb_cb(skb)->tag;
}

void rvsock_skb_set_tag(struct sk_buff *skb, u8 tag)
{
	skb_cb(skb)->tag = tag;
}

/* What fits behind the bytes that a fragment has. */
static size_t frag_room(const skb_frag_t *frag)
{
	return page_size(skb_frag_page(frag)) - skb_frag_off(frag) -
	       skb_frag_size(frag);
}

unsigned int rvsock_skb_room(const struct sk_buff *skb)
{
	const struct skb_shared_info *shared = skb_shinfo(skb);
	unsigned int room = 0;

	if (!shared->nr_frags)
		return rvsock_skb_tailroom(skb);
	if (skb_cb(skb)->lent)
		return 0;
	for (unsigned int i = 0; i < shared->nr_frags; i++)
		room += frag_room(&shared->frags[i]);
	return room;
}

/* Only a buffer that is nobody else's, and not borrowed, may be added to. */
unsigned int rvsock_skb_tailroom(const struct sk_buff *skb)
{
	if (skb_shinfo(skb)->nr_frags || skb_cloned(skb) || skb_shared(skb) ||
	    skb_zcopy((struct sk_buff *)skb) || skb_pfmemalloc(skb))
		return 0;
	return skb_tailroom(skb);
}

/* Stops at memory that would have to be brought in first. */
size_t rvsock_copy_present_from_iter(void *to, size_t len, struct iov_iter *from)
{
	size_t copied;

	pagefault_disable();
	copied = _copy_from_iter(to, len, from);
	pagefault_enable();
	return copied;
}

size_t rvsock_skb_fill_from(struct sk_buff *skb, struct iov_iter *source,
			    size_t len)
{
	struct skb_shared_info *shared = skb_shinfo(skb);
	size_t filled = 0;

	if (!shared->nr_frags) {
		len = copy_from_iter(skb_tail_pointer(skb), len, source);
		skb_put(skb, len);
		return len;
	}
	for (unsigned int i = 0; i < shared->nr_frags && filled < len; i++) {
		skb_frag_t *frag = &shared->frags[i];
		size_t wanted = min(len - filled, frag_room(frag));
		size_t copied = copy_page_from_iter(skb_frag_page(frag),
						    skb_frag_off(frag) +
						    skb_frag_size(frag),
						    wanted, source);

		skb_frag_size_add(frag, copied);
		filled += copied;
		if (copied < wanted)
			break;
	}
	skb->len += filled;
	skb->data_len += filled;
	return filled;
}

/* Pages that are asked for at once. */
#define LENT_PAGES	8

/* Memory of the slab allocator has no references, and was given none. */
static void put_lent_pages(struct page **pages, unsigned int count)
{
	while (count--)
		if (!PageSlab(pages[count]))
			put_page(pages[count]);
}

/* How many of the first pages are one piece: one reference holds all of a folio. */
static unsigned int contiguous_pages(struct page **pages, unsigned int count)
{
	unsigned int used = 1;

	while (used < count && page_folio(pages[used]) == page_folio(pages[0]) &&
	       pages[used] == pages[used - 1] + 1)
		used++;
	return used;
}

/*
 * Adds memory of @source's own to @skb, up to @len bytes, within as many fragments
 * as it may have in all. Returns how many, or EOPNOTSUPP for memory that cannot be
 * lent, or EFAULT.
 */
static ssize_t lend_some(struct sk_buff *skb, struct iov_iter *source, size_t len,
			 unsigned int max_frags)
{
	struct page *pages[LENT_PAGES];
	unsigned int count, first = 0;
	size_t offset, kept = 0;
	ssize_t got;

	got = iov_iter_get_pages2(source, pages, len, LENT_PAGES, &offset);
	if (got <= 0)
		return -EFAULT;
	count = DIV_ROUND_UP(offset + got, PAGE_SIZE);
	while (first < count && skb_shinfo(skb)->nr_frags < max_frags &&
	       !PageSlab(pages[first]) && !PageHighMem(pages[first])) {
		unsigned int used = contiguous_pages(pages + first, count - first);
		size_t piece = min_t(size_t, got - kept, used * PAGE_SIZE - offset);

		put_lent_pages(pages + first + 1, used - 1);
		skb_fill_page_desc_noacc(skb, skb_shinfo(skb)->nr_frags,
					 pages[first], offset, piece);
		skb->truesize += used * PAGE_SIZE;
		kept += piece;
		offset = 0;
		first += used;
	}
	put_lent_pages(pages + first, count - first);
	iov_iter_revert(source, got - kept);
	skb->len += kept;
	skb->data_len += kept;
	return kept ?: -EOPNOTSUPP;
}

/*
 * Makes memory of @source's own the payload of @skb, which has none: up to @len
 * bytes in up to @max_frags pieces, which are at least one and not more than
 * MAX_SKB_FRAGS. Returns how many, or EOPNOTSUPP if the first cannot be lent, or
 * EFAULT.
 */
ssize_t rvsock_skb_lend(struct sk_buff *skb, struct iov_iter *source, size_t len,
			unsigned int max_frags)
{
	size_t lent = 0;
	ssize_t some;

	if (!user_backed_iter(source) && !iov_iter_is_bvec(source))
		return -EOPNOTSUPP;
	do {
		some = lend_some(skb, source, len - lent, max_frags);
		if (some < 0)
			break;
		lent += some;
	} while (lent < len && iov_iter_count(source) &&
		 skb_shinfo(skb)->nr_frags < max_frags);
	skb_cb(skb)->lent = lent;
	return lent ?: some;
}

/* As skb_copy_datagram_iter(), but what was copied before a fault stays so. */
size_t rvsock_skb_copy_to(const struct sk_buff *skb, unsigned int offset,
			  struct iov_iter *dest, size_t len)
{
	const struct skb_shared_info *shared = skb_shinfo(skb);
	unsigned int linear = skb_headlen(skb);
	size_t done = 0;

	if (offset < linear)
		return copy_to_iter(skb->data + offset,
				    min_t(size_t, len, linear - offset), dest);
	offset -= linear;
	for (unsigned int i = 0; i < shared->nr_frags && done < len; i++) {
		const skb_frag_t *frag = &shared->frags[i];
		unsigned int size = skb_frag_size(frag);
		size_t wanted, copied;

		if (offset >= size) {
			offset -= size;
			continue;
		}
		wanted = min_t(size_t, len - done, size - offset);
		copied = copy_page_to_iter(skb_frag_page(frag),
					   skb_frag_off(frag) + offset, wanted, dest);
		done += copied;
		if (copied < wanted)
			break;
		offset = 0;
	}
	return done;
}

void rvsock_skb_append_skb(struct sk_buff *skb, const struct sk_buff *other,
			   unsigned int offset, unsigned int len)
{
	skb_copy_bits(other, offset, skb_put(skb, len), len);
}

void rvsock_skb_append(struct sk_buff *skb, const void *bytes,
		       unsigned int len)
{
	skb_put_data(skb, bytes, len);
}

/*
 * Counts @skb as @sk's until it is freed: @destructor does what it does, and
 * sock_wfree() at its end.
 */
void rvsock_skb_charge(struct sk_buff *skb, struct sock *sk,
		       void (*destructor)(struct sk_buff *skb))
{
	skb_set_owner_w(skb, sk);
	skb->destructor = destructor;
}

size_t rvsock_sock_charged(const struct sock *sk)
{
	return sk_wmem_alloc_get(sk);
}

/* How long to wait in close(2) for what was sent, in jiffies. */
long rvsock_sock_linger(const struct sock *sk)
{
	if (!sock_flag(sk, SOCK_LINGER) || current->flags & PF_EXITING)
		return 0;
	return READ_ONCE(sk->sk_lingertime);
}

bool rvsock_sock_hold_unless_zero(struct sock *sk)
{
	return refcount_inc_not_zero(&sk->sk_refcnt);
}

/* The fragment that is all of @skb becomes @len bytes of itself from @offset. */
void rvsock_skb_narrow(struct sk_buff *skb, unsigned int offset,
		       unsigned int len)
{
	skb_frag_t *frag = &skb_shinfo(skb)->frags[0];

	skb_frag_off_add(frag, offset);
	skb_frag_size_set(frag, len);
	skb->data_len = len;
	skb->len = len;
}

bool rvsock_skb_push_header(struct sk_buff *skb, const void *header,
			    size_t len)
{
	if (len > skb_headroom(skb))
		return false;
	memcpy(skb_push(skb, len), header, len);
	skb_cb(skb)->header_len += len;
	return true;
}

/* The header, and the linear payload or the fragments. */
unsigned int rvsock_skb_segments(const struct sk_buff *skb)
{
	return 1 + max_t(unsigned int, 1, skb_shinfo(skb)->nr_frags);
}

/* Segment 0 is the header. An empty one is NULL. */
void *rvsock_skb_segment(const struct sk_buff *skb, unsigned int index,
			 unsigned int *len)
{
	unsigned int header_len = skb_cb(skb)->header_len;
	void *data;

	if (index == 0) {
		*len = header_len;
		data = skb->data;
	} else if (skb_shinfo(skb)->nr_frags) {
		const skb_frag_t *frag = &skb_shinfo(skb)->frags[index - 1];

		*len = skb_frag_size(frag);
		data = skb_frag_address(frag);
	} else {
		*len = skb_headlen(skb) - header_len;
		data = skb->data + header_len;
	}
	return *len ? data : NULL;
}

ktime_t rvsock_skb_arrival(const struct sk_buff *skb)
{
	return skb->tstamp;
}

void rvsock_skb_set_arrival(struct sk_buff *skb, ktime_t arrival)
{
	skb->tstamp = arrival;
}

struct sk_buff **rvsock_skb_next(struct sk_buff *skb)
{
	return &skb->next;
}

/*
 * By such names programs see in the kernel's symbols which transports there are; the
 * kernel's own vsock_test does.
 */
static const char loopback_transport[] __used = "loopback";
