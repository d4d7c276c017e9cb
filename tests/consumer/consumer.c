// SPDX-License-Identifier: GPL-2.0
/*
 * Sockets of the family, used from inside the kernel: kernel_sendmsg(),
 * kernel_recvmsg() and their like, over loopback. Loading the module runs the
 * tests and tells their results in KTAP in the kernel's log; it stays loaded, and
 * holds nothing.
 *
 * Beside the bytes, each receive is judged by the iterator that it leaves behind:
 * it must stand at the part that was not filled, where a caller goes on. What is
 * copied to it next must land right behind the last byte received and nowhere
 * else.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bvec.h>
#include <linux/completion.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/net.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uio.h>
#include <linux/vm_sockets.h>
#include <linux/vmalloc.h>
#include <net/net_namespace.h>
#include <net/sock.h>

static ushort family = AF_VSOCK;
module_param(family, ushort, 0444);
MODULE_PARM_DESC(family, "The number of the family under test");

static char *only = "";
module_param(only, charp, 0444);
MODULE_PARM_DESC(only, "Names of tests, separated by commas; without it all of them");

#define PORT		5200
/* Where nobody listens. */
#define NO_PORT		5299
/* Beyond the buffer of a socket, 256 KiB. */
#define LARGE		SZ_512K
#define VECTORS		6
/* Between and around the vectors of a receive, in bytes. */
#define GAP		64
#define POISON		0xee
#define MARK		0xa5
#define MARK_LEN	8
/* No call is to take so long. */
#define PATIENCE	(20 * HZ)

/* A connection, made anew for each test: near has connected, far was accepted. */
struct consumer {
	struct socket *listener, *near, *far;
};

/* What a test sends, and where it receives. */
static u8 *pattern;
static u8 *area;
static int failures;

/* Both give whether the check is good. */
#define EXPECT(condition)	expect(condition, #condition, __LINE__)
#define EXPECT_EQ(actual, wanted) \
	expect_eq(actual, wanted, #actual, __LINE__)

static bool expect(bool good, const char *what, int line)
{
	if (!good) {
		pr_info("# consumer.c:%d: Expected %s\n", line, what);
		failures++;
	}
	return good;
}

static bool expect_eq(long actual, long wanted, const char *what, int line)
{
	if (actual != wanted) {
		pr_info("# consumer.c:%d: Expected %s to be %ld, and it is %ld\n",
			line, what, wanted, actual);
		failures++;
	}
	return actual == wanted;
}

static struct sockaddr_vm address(unsigned int cid, unsigned int port)
{
	return (struct sockaddr_vm) {
		.svm_family = family, .svm_cid = cid, .svm_port = port,
	};
}

static struct sockaddr_unsized *unsized(struct sockaddr_vm *addr)
{
	return (struct sockaddr_unsized *)addr;
}

static int connect_to(struct socket *sock, unsigned int port, int flags)
{
	struct sockaddr_vm addr = address(VMADDR_CID_LOCAL, port);

	return kernel_connect(sock, unsized(&addr), sizeof(addr), flags);
}

static struct socket *new_socket(int type)
{
	struct socket *sock;
	int error = sock_create_kern(&init_net, family, type, 0, &sock);

	if (!EXPECT_EQ(error, 0))
		return NULL;
	sock->sk->sk_rcvtimeo = PATIENCE;
	sock->sk->sk_sndtimeo = PATIENCE;
	return sock;
}

static void let_go(struct socket **sock)
{
	if (*sock)
		sock_release(*sock);
	*sock = NULL;
}

static bool set_up(struct consumer *consumer, int type)
{
	struct sockaddr_vm addr = address(VMADDR_CID_ANY, PORT);

	memset(consumer, 0, sizeof(*consumer));
	consumer->listener = new_socket(type);
	consumer->near = new_socket(type);
	if (!consumer->listener || !consumer->near)
		return false;
	return EXPECT_EQ(kernel_bind(consumer->listener, unsized(&addr), sizeof(addr)), 0) &&
	       EXPECT_EQ(kernel_listen(consumer->listener, 4), 0) &&
	       EXPECT_EQ(connect_to(consumer->near, PORT, 0), 0) &&
	       EXPECT_EQ(kernel_accept(consumer->listener, &consumer->far, 0), 0);
}

static void tear_down(struct consumer *consumer)
{
	let_go(&consumer->near);
	let_go(&consumer->far);
	let_go(&consumer->listener);
}

/* Send @len bytes of the pattern from @at on, from one vector. */
static int put(struct socket *sock, size_t at, size_t len, int flags)
{
	struct msghdr msg = { .msg_flags = MSG_NOSIGNAL | flags };
	struct kvec vec = { .iov_base = pattern + at, .iov_len = len };

	return kernel_sendmsg(sock, &msg, &vec, 1, len);
}

/* A receive: what it was given, and what it left. */
struct receive {
	struct msghdr msg;
	struct kvec vec[VECTORS];
	size_t num;
	/* Bytes that it may take. */
	size_t size;
	int got;
};

/* Receive at most @size bytes into @num vectors of these lengths. */
static void get_in(struct receive *receive, struct socket *sock, int flags, size_t size,
		   const size_t *len, size_t num)
{
	size_t at = GAP;

	memset(receive, 0, sizeof(*receive));
	memset(area, POISON, LARGE + (VECTORS + 1) * GAP);
	for (size_t i = 0; i < num; i++) {
		receive->vec[i] = (struct kvec) { .iov_base = area + at, .iov_len = len[i] };
		at += len[i] + GAP;
	}
	receive->num = num;
	receive->size = size;
	receive->got = kernel_recvmsg(sock, &receive->msg, receive->vec, num, size, flags);
}

static void get(struct receive *receive, struct socket *sock, size_t len, int flags)
{
	get_in(receive, sock, flags, len, &len, 1);
}

/* What is to stand at @at in the vectors of a receive that took @got bytes. */
static u8 wanted_at(size_t at, size_t from, size_t got, size_t marked)
{
	if (at < got)
		return pattern[from + at];
	return at < got + marked ? MARK : POISON;
}

/*
 * @got bytes were received, those of the pattern from @from on, and the iterator
 * stands behind them; nothing else was written to.
 */
static void check(struct receive *receive, int got, size_t from)
{
	size_t taken = max(got, 0), at = 0;
	size_t marked = min(receive->size - taken, MARK_LEN);
	const u8 *next = area;
	u8 mark[MARK_LEN];

	if (!EXPECT_EQ(receive->got, got))
		return;
	EXPECT_EQ(msg_data_left(&receive->msg), receive->size - taken);
	memset(mark, MARK, sizeof(mark));
	EXPECT_EQ(copy_to_iter(mark, marked, &receive->msg.msg_iter), marked);
	for (size_t i = 0; i < receive->num; i++) {
		const u8 *base = receive->vec[i].iov_base;

		if (!EXPECT(!memchr_inv(next, POISON, base - next)))
			return;
		next = base + receive->vec[i].iov_len;
		for (; base < next; base++, at++)
			if (!EXPECT_EQ(*base, wanted_at(at, from, taken, marked))) {
				pr_info("# at byte %zu\n", at);
				return;
			}
	}
	EXPECT(!memchr_inv(next, POISON, GAP));
}

/* Sends in a thread of its own. */
struct sender {
	struct socket *sock;
	size_t total, chunk;
	unsigned int pause_ms;
	/* Whether it ends its direction afterwards. */
	bool end;
	struct completion done;
	int sent;
};

static int send_in_thread(void *argument)
{
	struct sender *sender = argument;
	size_t sent = 0;
	int error = 0;

	while (sent < sender->total && !error) {
		size_t len = min(sender->chunk, sender->total - sent);
		int now = put(sender->sock, sent, len, 0);

		if (now > 0)
			sent += now;
		else
			error = now ?: -EIO;
		if (sender->pause_ms)
			schedule_timeout_uninterruptible(msecs_to_jiffies(sender->pause_ms));
	}
	if (sender->end && !error)
		error = kernel_sock_shutdown(sender->sock, SHUT_WR);
	sender->sent = error ?: sent;
	kthread_complete_and_exit(&sender->done, 0);
}

static bool start(struct sender *sender)
{
	struct task_struct *task;

	init_completion(&sender->done);
	task = kthread_run(send_in_thread, sender, "consumer");
	return EXPECT(!IS_ERR(task));
}

/* It ends by itself: no call waits for longer than PATIENCE. */
static void finish(struct sender *sender)
{
	wait_for_completion(&sender->done);
	EXPECT_EQ(sender->sent, sender->total);
}

/* A test; the name is that in the results, too. */
#define TEST_F(fixture, name) \
	static void fixture##_##name(struct consumer *consumer)

TEST_F(consumer, has_names)
{
	struct sockaddr_vm near, far;

	EXPECT_EQ(kernel_getsockname(consumer->near, (struct sockaddr *)&near), sizeof(near));
	EXPECT_EQ(kernel_getpeername(consumer->far, (struct sockaddr *)&far), sizeof(far));
	EXPECT_EQ(near.svm_family, family);
	EXPECT_EQ(near.svm_cid, VMADDR_CID_LOCAL);
	EXPECT_EQ(near.svm_port, far.svm_port);
	EXPECT_EQ(kernel_getpeername(consumer->near, (struct sockaddr *)&near), sizeof(near));
	EXPECT_EQ(near.svm_port, PORT);
}

TEST_F(consumer, recv_leaves_the_rest)
{
	struct receive receive;

	EXPECT_EQ(put(consumer->near, 0, 1000, 0), 1000);
	get(&receive, consumer->far, 4096, 0);
	check(&receive, 1000, 0);
}

TEST_F(consumer, recv_of_exactly_what_is_there)
{
	struct receive receive;

	EXPECT_EQ(put(consumer->near, 0, 1000, 0), 1000);
	get(&receive, consumer->far, 400, 0);
	check(&receive, 400, 0);
	get(&receive, consumer->far, 600, 0);
	check(&receive, 600, 400);
}

TEST_F(consumer, recv_into_short_vectors)
{
	static const size_t len[] = { 1, 0, 3, 4096, 7, 60000 };
	struct receive receive;

	EXPECT_EQ(put(consumer->near, 0, 5000, 0), 5000);
	get_in(&receive, consumer->far, MSG_WAITALL, 5000, len, ARRAY_SIZE(len));
	check(&receive, 5000, 0);
	/* The end lies within a short one. */
	EXPECT_EQ(put(consumer->near, 0, 4102, 0), 4102);
	get_in(&receive, consumer->far, 0, 64107, len, ARRAY_SIZE(len));
	check(&receive, 4102, 0);
}

TEST_F(consumer, recv_of_less_than_its_vectors)
{
	static const size_t len[] = { 100, 4096 };
	struct receive receive;

	EXPECT_EQ(put(consumer->near, 0, 1000, 0), 1000);
	get_in(&receive, consumer->far, 0, 400, len, ARRAY_SIZE(len));
	check(&receive, 400, 0);
	get_in(&receive, consumer->far, 0, 4196, len, ARRAY_SIZE(len));
	check(&receive, 600, 400);
}

TEST_F(consumer, recv_of_nothing)
{
	struct receive receive;

	EXPECT_EQ(put(consumer->near, 0, 10, 0), 10);
	get(&receive, consumer->far, 0, 0);
	check(&receive, 0, 0);
	get(&receive, consumer->far, 100, 0);
	check(&receive, 10, 0);
}

TEST_F(consumer, wait_all_beyond_the_buffer)
{
	struct sender sender = { .sock = consumer->near, .total = LARGE, .chunk = 10000 };
	struct receive receive;

	if (!start(&sender))
		return;
	get(&receive, consumer->far, LARGE, MSG_WAITALL);
	finish(&sender);
	check(&receive, LARGE, 0);
}

TEST_F(consumer, wait_all_into_vectors)
{
	static const size_t len[] = { 1, 50001, 0, 7, 29991 };
	struct sender sender = {
		.sock = consumer->near, .total = 80000, .chunk = 4096, .pause_ms = 5,
	};
	struct receive receive;

	if (!start(&sender))
		return;
	get_in(&receive, consumer->far, MSG_WAITALL, 80000, len, ARRAY_SIZE(len));
	finish(&sender);
	check(&receive, 80000, 0);
}

TEST_F(consumer, wait_all_that_ends_early)
{
	static const size_t len[] = { 3, 9990, 40000 };
	struct sender sender = {
		.sock = consumer->near, .total = 10000, .chunk = 3000, .pause_ms = 10, .end = true,
	};
	struct receive receive;

	if (!start(&sender))
		return;
	get_in(&receive, consumer->far, MSG_WAITALL, 49993, len, ARRAY_SIZE(len));
	finish(&sender);
	check(&receive, 10000, 0);
	get(&receive, consumer->far, 100, MSG_WAITALL);
	check(&receive, 0, 0);
}

TEST_F(consumer, wait_all_until_a_timeout)
{
	struct receive receive;

	consumer->far->sk->sk_rcvtimeo = HZ / 5;
	EXPECT_EQ(put(consumer->near, 0, 300, 0), 300);
	get(&receive, consumer->far, 1000, MSG_WAITALL);
	check(&receive, 300, 0);
	get(&receive, consumer->far, 1000, MSG_WAITALL);
	check(&receive, -EAGAIN, 0);
}

TEST_F(consumer, peek_leaves_all)
{
	static const size_t len[] = { 10, 500, 5000 };
	struct receive receive;

	EXPECT_EQ(put(consumer->near, 0, 1000, 0), 1000);
	get(&receive, consumer->far, 400, MSG_PEEK);
	check(&receive, 400, 0);
	get_in(&receive, consumer->far, MSG_PEEK, 5510, len, ARRAY_SIZE(len));
	check(&receive, 1000, 0);
	get(&receive, consumer->far, 1000, MSG_PEEK | MSG_WAITALL);
	check(&receive, 1000, 0);
	get(&receive, consumer->far, 4096, 0);
	check(&receive, 1000, 0);
}

TEST_F(consumer, dont_wait)
{
	struct receive receive;

	get(&receive, consumer->far, 4096, MSG_DONTWAIT);
	check(&receive, -EAGAIN, 0);
	get(&receive, consumer->far, 4096, MSG_DONTWAIT | MSG_WAITALL);
	check(&receive, -EAGAIN, 0);
	EXPECT_EQ(put(consumer->near, 0, 100, 0), 100);
	get(&receive, consumer->far, 4096, MSG_DONTWAIT | MSG_WAITALL);
	check(&receive, 100, 0);
}

TEST_F(consumer, discard)
{
	struct receive receive;

	EXPECT_EQ(put(consumer->near, 0, 1000, 0), 1000);
	get(&receive, consumer->far, 300, MSG_TRUNC);
	EXPECT_EQ(receive.got, 300);
	EXPECT(!memchr_inv(area, POISON, 4096));
	get(&receive, consumer->far, 4096, 0);
	check(&receive, 700, 300);
}

/* As a file system or a block device receives: into pages. */
TEST_F(consumer, recv_into_pages)
{
	struct page *pages[2] = { alloc_page(GFP_KERNEL), alloc_page(GFP_KERNEL) };
	struct msghdr msg = { };
	struct bio_vec vec[2];

	if (!EXPECT(pages[0] && pages[1]))
		goto out;
	memset(page_address(pages[0]), POISON, PAGE_SIZE);
	memset(page_address(pages[1]), POISON, PAGE_SIZE);
	bvec_set_page(&vec[0], pages[0], 1000, 96);
	bvec_set_page(&vec[1], pages[1], 4000, 0);
	EXPECT_EQ(put(consumer->near, 0, 3000, 0), 3000);
	iov_iter_bvec(&msg.msg_iter, ITER_DEST, vec, 2, 5000);
	EXPECT_EQ(sock_recvmsg(consumer->far, &msg, 0), 3000);
	EXPECT_EQ(msg_data_left(&msg), 2000);
	EXPECT(!memchr_inv(page_address(pages[0]), POISON, 96));
	EXPECT(!memcmp(page_address(pages[0]) + 96, pattern, 1000));
	EXPECT(!memchr_inv(page_address(pages[0]) + 1096, POISON, 3000));
	EXPECT(!memcmp(page_address(pages[1]), pattern + 1000, 2000));
	EXPECT(!memchr_inv(page_address(pages[1]) + 2000, POISON, 2096));
out:
	for (size_t i = 0; i < ARRAY_SIZE(pages); i++)
		if (pages[i])
			__free_page(pages[i]);
}

TEST_F(consumer, send_from_vectors)
{
	struct kvec vec[] = {
		{ .iov_base = pattern, .iov_len = 1 },
		{ .iov_base = pattern + 1, .iov_len = 0 },
		{ .iov_base = pattern + 1, .iov_len = 4999 },
		{ .iov_base = pattern + 5000, .iov_len = 7 },
		{ .iov_base = pattern + 5007, .iov_len = 70000 },
	};
	struct msghdr msg = { .msg_flags = MSG_NOSIGNAL };
	struct receive receive;

	EXPECT_EQ(kernel_sendmsg(consumer->near, &msg, vec, ARRAY_SIZE(vec), 75007), 75007);
	EXPECT_EQ(msg_data_left(&msg), 0);
	get(&receive, consumer->far, 75007, MSG_WAITALL);
	check(&receive, 75007, 0);
}

TEST_F(consumer, send_stops_when_it_would_wait)
{
	struct msghdr msg = { .msg_flags = MSG_NOSIGNAL | MSG_DONTWAIT };
	struct kvec vec = { .iov_base = pattern, .iov_len = LARGE };
	struct receive receive;
	int sent;

	sent = kernel_sendmsg(consumer->near, &msg, &vec, 1, LARGE);
	if (!EXPECT(sent > 0 && sent < LARGE))
		return;
	EXPECT_EQ(msg_data_left(&msg), LARGE - sent);
	EXPECT_EQ(put(consumer->near, 0, 1, MSG_DONTWAIT), -EAGAIN);
	get(&receive, consumer->far, LARGE, 0);
	check(&receive, sent, 0);
}

TEST_F(consumer, send_waits_for_room)
{
	struct sender sender = { .sock = consumer->near, .total = LARGE, .chunk = LARGE };
	struct receive receive;

	if (!start(&sender))
		return;
	for (size_t at = 0; at < LARGE; at += receive.got) {
		get(&receive, consumer->far, 30000, 0);
		check(&receive, clamp(receive.got, 1, 30000), at);
		if (receive.got <= 0)
			break;
	}
	finish(&sender);
}

/* The pages of the caller, or copies of them, as the transport can. */
TEST_F(consumer, send_splices_pages)
{
	struct page *page = alloc_page(GFP_KERNEL);
	struct msghdr msg = { .msg_flags = MSG_NOSIGNAL | MSG_SPLICE_PAGES };
	struct receive receive;
	struct bio_vec vec;

	if (!EXPECT(page))
		return;
	memcpy(page_address(page), pattern, PAGE_SIZE);
	bvec_set_page(&vec, page, 4000, 96);
	iov_iter_bvec(&msg.msg_iter, ITER_SOURCE, &vec, 1, 4000);
	EXPECT_EQ(sock_sendmsg(consumer->near, &msg), 4000);
	EXPECT_EQ(msg_data_left(&msg), 0);
	get(&receive, consumer->far, 5000, 0);
	check(&receive, 4000, 96);
	__free_page(page);
}

TEST_F(consumer, shutdown_of_sending)
{
	struct receive receive;

	EXPECT_EQ(put(consumer->near, 0, 100, 0), 100);
	EXPECT_EQ(kernel_sock_shutdown(consumer->near, SHUT_WR), 0);
	EXPECT_EQ(put(consumer->near, 0, 1, 0), -EPIPE);
	get(&receive, consumer->far, 200, MSG_WAITALL);
	check(&receive, 100, 0);
	get(&receive, consumer->far, 200, 0);
	check(&receive, 0, 0);
	/* The other direction lives. */
	EXPECT_EQ(put(consumer->far, 0, 50, 0), 50);
	get(&receive, consumer->near, 50, 0);
	check(&receive, 50, 0);
}

TEST_F(consumer, shutdown_of_both)
{
	struct receive receive;

	EXPECT_EQ(kernel_sock_shutdown(consumer->near, SHUT_RDWR), 0);
	get(&receive, consumer->far, 200, 0);
	check(&receive, 0, 0);
	EXPECT_EQ(put(consumer->far, 0, 1, 0), -EPIPE);
}

TEST_F(consumer, release_of_the_peer)
{
	struct receive receive;

	EXPECT_EQ(put(consumer->near, 0, 100, 0), 100);
	let_go(&consumer->near);
	get(&receive, consumer->far, 200, MSG_WAITALL);
	check(&receive, 100, 0);
	get(&receive, consumer->far, 200, 0);
	check(&receive, 0, 0);
}

TEST_F(consumer, release_with_unread_bytes)
{
	struct receive receive;

	EXPECT_EQ(put(consumer->far, 0, 100, 0), 100);
	let_go(&consumer->near);
	get(&receive, consumer->far, 200, 0);
	check(&receive, -ECONNRESET, 0);
	get(&receive, consumer->far, 200, 0);
	check(&receive, 0, 0);
}

TEST_F(consumer, accept_without_waiting)
{
	struct socket *sock = NULL;

	EXPECT_EQ(kernel_accept(consumer->listener, &sock, O_NONBLOCK), -EAGAIN);
	EXPECT(!sock);
}

TEST_F(consumer, connect_to_nobody)
{
	struct socket *sock = new_socket(SOCK_STREAM);

	if (!sock)
		return;
	EXPECT_EQ(connect_to(sock, NO_PORT, 0), -ECONNRESET);
	sock_release(sock);
}

/*
 * Each socket does; the script that loads this module sees that they let go. One that
 * was closed before may let go at the moment in which the new one takes hold, so it is
 * looked at again; if none took hold, the count would never be larger.
 */
TEST_F(consumer, sockets_hold_the_module)
{
	struct module *owner = READ_ONCE(consumer->near->ops)->owner;
	bool held = false;

	for (int attempt = 0; attempt < 10 && !held; attempt++) {
		int before = module_refcount(owner);
		struct socket *sock = new_socket(SOCK_STREAM);

		if (!sock)
			return;
		EXPECT(before >= 3);
		held = module_refcount(owner) > before;
		sock_release(sock);
	}
	EXPECT(held);
}

TEST_F(consumer, message_by_message)
{
	static const size_t len[] = { 3, 600, 0, 5000 };
	struct receive receive;

	EXPECT_EQ(put(consumer->near, 0, 1000, 0), 1000);
	EXPECT_EQ(put(consumer->near, 1000, 1, 0), 1);
	EXPECT_EQ(put(consumer->near, 1001, 300, MSG_EOR), 300);
	get_in(&receive, consumer->far, 0, 5603, len, ARRAY_SIZE(len));
	check(&receive, 1000, 0);
	EXPECT_EQ(receive.msg.msg_flags & (MSG_TRUNC | MSG_EOR), 0);
	get_in(&receive, consumer->far, MSG_WAITALL, 5603, len, ARRAY_SIZE(len));
	check(&receive, 1, 1000);
	get(&receive, consumer->far, 4096, 0);
	check(&receive, 300, 1001);
	EXPECT_EQ(receive.msg.msg_flags & (MSG_TRUNC | MSG_EOR), MSG_EOR);
	get(&receive, consumer->far, 4096, MSG_DONTWAIT);
	check(&receive, -EAGAIN, 0);
}

TEST_F(consumer, message_that_does_not_fit)
{
	struct receive receive;

	for (int i = 0; i < 3; i++)
		EXPECT_EQ(put(consumer->near, 0, 1000, 0), 1000);
	get(&receive, consumer->far, 300, MSG_PEEK);
	check(&receive, 300, 0);
	EXPECT_EQ(receive.msg.msg_flags & MSG_TRUNC, MSG_TRUNC);
	get(&receive, consumer->far, 300, 0);
	check(&receive, 300, 0);
	EXPECT_EQ(receive.msg.msg_flags & MSG_TRUNC, MSG_TRUNC);
	/* The length that it has, of which so much is there. */
	get(&receive, consumer->far, 300, MSG_TRUNC);
	EXPECT_EQ(receive.got, 1000);
	EXPECT_EQ(msg_data_left(&receive.msg), 0);
	get(&receive, consumer->far, 1000, MSG_DONTWAIT);
	check(&receive, 1000, 0);
}

#define CASE_OF(type, name) { "consumer." #name, type, consumer_##name }
#define CASE(name) CASE_OF(SOCK_STREAM, name)

static const struct {
	const char *name;
	int type;
	void (*run)(struct consumer *consumer);
} tests[] = {
	CASE(has_names),
	CASE(recv_leaves_the_rest),
	CASE(recv_of_exactly_what_is_there),
	CASE(recv_into_short_vectors),
	CASE(recv_of_less_than_its_vectors),
	CASE(recv_of_nothing),
	CASE(wait_all_beyond_the_buffer),
	CASE(wait_all_into_vectors),
	CASE(wait_all_that_ends_early),
	CASE(wait_all_until_a_timeout),
	CASE(peek_leaves_all),
	CASE(dont_wait),
	CASE(discard),
	CASE(recv_into_pages),
	CASE(send_from_vectors),
	CASE(send_stops_when_it_would_wait),
	CASE(send_waits_for_room),
	CASE(send_splices_pages),
	CASE(shutdown_of_sending),
	CASE(shutdown_of_both),
	CASE(release_of_the_peer),
	CASE(release_with_unread_bytes),
	CASE(accept_without_waiting),
	CASE(connect_to_nobody),
	CASE(sockets_hold_the_module),
	CASE_OF(SOCK_SEQPACKET, message_by_message),
	CASE_OF(SOCK_SEQPACKET, message_that_does_not_fit),
};

/* Whether a test is to run. */
static bool wanted(const char *name)
{
	size_t len = strlen(name);

	if (!*only)
		return true;
	for (const char *at = strstr(only, name); at; at = strstr(at + 1, name))
		if ((at == only || at[-1] == ',') && (!at[len] || at[len] == ','))
			return true;
	return false;
}

static int __init consumer_init(void)
{
	struct consumer consumer;
	size_t number = 0, planned = 0;

	pattern = vmalloc(LARGE);
	area = vmalloc(LARGE + (VECTORS + 1) * GAP);
	if (!pattern || !area) {
		vfree(pattern);
		vfree(area);
		return -ENOMEM;
	}
	/* Its period is no power of two. */
	for (size_t i = 0; i < LARGE; i++)
		pattern[i] = i % 251 + i / 65536;

	for (size_t i = 0; i < ARRAY_SIZE(tests); i++)
		planned += wanted(tests[i].name);
	pr_info("TAP version 13\n");
	pr_info("1..%zu\n", planned);
	for (size_t i = 0; i < ARRAY_SIZE(tests); i++) {
		if (!wanted(tests[i].name))
			continue;
		failures = 0;
		if (set_up(&consumer, tests[i].type))
			tests[i].run(&consumer);
		tear_down(&consumer);
		pr_info("%s %zu %s\n", failures ? "not ok" : "ok", ++number, tests[i].name);
	}
	vfree(pattern);
	vfree(area);
	return 0;
}

static void __exit consumer_exit(void)
{
}

module_init(consumer_init);
module_exit(consumer_exit);
MODULE_AUTHOR("The rvsock developers");
MODULE_DESCRIPTION("Uses sockets of the family from inside the kernel, and tells how it went");
MODULE_LICENSE("GPL");
