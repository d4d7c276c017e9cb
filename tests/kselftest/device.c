// SPDX-License-Identifier: GPL-2.0
/*
 * The device goes away and comes back, in the way that leaving.h names, with
 * sockets in every state. Nobody may sleep on, each connection's end is told once,
 * and the next connection works.
 */
#include "vsock_harness.h"
#include "driver.h"
#include "leaving.h"
#include "stacks.h"

#include <sys/epoll.h>

/* More than all buffers between here and the host's program can hold. */
#define FLOOD		MIB(4)
#define CONNECTIONS	200
#define ROUNDS		12
/*
 * Of what the guest has for a device, in bytes, so much would be a leak of each round: its
 * buffers to receive into are half a mebibyte.
 */
#define ROUND_MEMORY	((long)(KIB(64) * vsock_patience()))

/* Does a connection of its own carry data both ways? */
static bool next_connection_works(void)
{
	int fd = vsock_connected(PORT_REPLY);
	char reply[2] = "";
	bool works;

	if (fd < 0)
		return false;
	works = !send_all(fd, "hello", 5) && !recv_all(fd, reply, 2) &&
		!memcmp(reply, "OK", 2);
	close(fd);
	return works;
}

static ssize_t call_connect_nobody(struct caller *caller)
{
	return vsock_connect(caller->fd, VMADDR_CID_HOST, PORT_NOBODY);
}

/* A connection with so many bytes of the pattern in its receive queue. */
static int with_queued(size_t len)
{
	int fd = vsock_ask("send %zu %zu 0", len, len);

	if (fd >= 0 && !wait_queued(fd, len)) {
		close(fd);
		return -1;
	}
	return fd;
}

FIXTURE(device)
{
	/* The driver is there to be tested. */
	bool loaded;
};

FIXTURE_SETUP(device)
{
	if (access(DRIVER, F_OK))
		SKIP(return, "the driver is not that of rvsock");
	self->loaded = true;
	if (!device_is_there())
		ASSERT_TRUE(device_returns());
}

FIXTURE_TEARDOWN(device)
{
	/* However the test ended, who comes after needs the device. */
	if (self->loaded && !device_is_there())
		EXPECT_TRUE(device_returns());
}

/* recv() asleep, for a byte or for many: ECONNRESET once, then the end. */
TEST_F(device, readers_wake)
{
	struct caller plain = { .call = call_recv, .len = KIB(4) };
	struct caller all = {
		.call = call_recv, .len = KIB(100), .flags = MSG_WAITALL,
	};

	plain.data = malloc(plain.len);
	all.data = malloc(all.len);
	plain.fd = vsock_connected(PORT_ECHO);
	ASSERT_LE(0, plain.fd);
	ASSERT_ASK(all.fd, "send 10000 10000 0");
	ASSERT_TRUE(wait_queued(all.fd, 10000));
	ASSERT_TRUE(caller_start(&plain));
	ASSERT_TRUE(caller_start(&all));
	ASSERT_FALSE(caller_is_done(&plain));
	ASSERT_FALSE(caller_is_done(&all));
	ASSERT_TRUE(device_leaves());
	ASSERT_TRUE(caller_join(&plain));
	EXPECT_EQ(-1, plain.result);
	EXPECT_EQ(ECONNRESET, plain.error);
	EXPECT_EQ(0, recv(plain.fd, plain.data, 1, 0));
	/* What had come is returned; the error is for the next call. */
	ASSERT_TRUE(caller_join(&all));
	EXPECT_EQ(10000, all.result);
	EXPECT_EQ(10000, pattern_check(all.data, 10000, 0));
	EXPECT_EQ(-1, recv(all.fd, all.data, 1, 0));
	EXPECT_EQ(ECONNRESET, errno);
	EXPECT_EQ(0, recv(all.fd, all.data, 1, 0));
	close(plain.fd);
	close(all.fd);
	free(plain.data);
	free(all.data);
}

/*
 * send() asleep for credit: the count of what it sent, and no SIGPIPE; then the
 * error, once; then EPIPE.
 */
TEST_F(device, senders_wake)
{
	struct caller caller = { .call = call_send, .len = FLOOD };

	ignore_with_handler(SIGPIPE, 0);
	caller.data = calloc(1, FLOOD);
	/* Longer than the suite: its end is not to come when no device is there. */
	ASSERT_ASK(caller.fd, "hold 60000");
	ASSERT_TRUE(caller_start(&caller));
	sleep_ms(SETTLE_MS);
	ASSERT_FALSE(caller_is_done(&caller));
	ASSERT_TRUE(device_leaves());
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_LE(1, caller.result);
	EXPECT_GT((ssize_t)FLOOD, caller.result);
	EXPECT_EQ(0, handled_signals());
	EXPECT_EQ(-1, send(caller.fd, caller.data, 1, 0));
	EXPECT_EQ(ECONNRESET, errno);
	EXPECT_EQ(0, handled_signals());
	EXPECT_EQ(-1, send(caller.fd, caller.data, 1, 0));
	EXPECT_EQ(EPIPE, errno);
	EXPECT_EQ(1, handled_signals());
	close(caller.fd);
	free(caller.data);
}

/* poll() asleep, also for more than will ever come. */
TEST_F(device, pollers_wake)
{
	struct caller plain = { .call = call_poll_in };
	struct caller marked = { .call = call_poll_in };

	plain.fd = vsock_connected(PORT_ECHO);
	ASSERT_LE(0, plain.fd);
	marked.fd = with_queued(1000);
	ASSERT_LE(0, marked.fd);
	ASSERT_EQ(0, set_int(marked.fd, SOL_SOCKET, SO_RCVLOWAT, KIB(8)));
	ASSERT_TRUE(caller_start(&plain));
	ASSERT_TRUE(caller_start(&marked));
	ASSERT_FALSE(caller_is_done(&plain));
	ASSERT_FALSE(caller_is_done(&marked));
	ASSERT_TRUE(device_leaves());
	ASSERT_TRUE(caller_join(&plain));
	EXPECT_EQ(POLLIN | POLLERR | POLLHUP, plain.result);
	ASSERT_TRUE(caller_join(&marked));
	EXPECT_EQ(POLLIN | POLLERR | POLLHUP, marked.result);
	close(plain.fd);
	close(marked.fd);
}

/* A connect under way fails at once, whether it is waited for or not. */
TEST_F(device, pending_connects_fail)
{
	struct caller caller = { .call = call_connect_nobody };
	int fd = vsock_stream(SOCK_NONBLOCK);
	int mask;

	caller.fd = vsock_stream(0);
	ASSERT_LE(0, caller.fd);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, set_connect_timeout(caller.fd, PATIENCE_MS));
	ASSERT_EQ(0, set_connect_timeout(fd, PATIENCE_MS));
	ASSERT_TRUE(caller_start(&caller));
	ASSERT_EQ(-1, vsock_connect(fd, VMADDR_CID_HOST, PORT_NOBODY));
	ASSERT_EQ(EINPROGRESS, errno);
	ASSERT_EQ(0, poll_for(fd, POLLOUT, 50));
	ASSERT_FALSE(caller_is_done(&caller));
	ASSERT_TRUE(device_leaves());
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ(-1, caller.result);
	EXPECT_EQ(ECONNRESET, caller.error);
	mask = poll_for(fd, POLLOUT, 2000);
	EXPECT_EQ(POLLOUT | POLLERR, mask & (POLLOUT | POLLERR));
	EXPECT_EQ(ECONNRESET, socket_error(fd));
	EXPECT_EQ(0, socket_error(fd));
	/* Both can try again: without the device in vain, with it not. */
	EXPECT_EQ(-1, vsock_connect(fd, VMADDR_CID_HOST, PORT_ECHO));
	EXPECT_EQ(ENODEV, errno);
	EXPECT_EQ(-1, vsock_connect(caller.fd, VMADDR_CID_HOST, PORT_ECHO));
	EXPECT_EQ(ENODEV, errno);
	ASSERT_TRUE(device_returns());
	EXPECT_EQ(0, vsock_connect(caller.fd, VMADDR_CID_HOST, PORT_ECHO));
	close(caller.fd);
	close(fd);
}

/* Each of many connections is told: all of them, and once. */
TEST_F(device, two_hundred_connections)
{
	int fds[CONNECTIONS], epoll = epoll_create1(0), count;
	struct epoll_event events[CONNECTIONS + 1];
	int unheard = 0, not_reset = 0, reset_twice = 0, not_ended = 0;

	ASSERT_LE(0, epoll);
	for (int i = 0; i < CONNECTIONS; i++) {
		struct epoll_event event = { .events = EPOLLRDHUP };

		fds[i] = vsock_connected(PORT_ECHO);
		ASSERT_LE(0, fds[i])
			TH_LOG("connection %d: %s", i, strerror(errno));
		ASSERT_EQ(0, epoll_ctl(epoll, EPOLL_CTL_ADD, fds[i], &event));
	}
	EXPECT_EQ(0, epoll_wait(epoll, events, CONNECTIONS + 1, 0));
	ASSERT_TRUE(device_leaves());

	count = epoll_wait(epoll, events, CONNECTIONS + 1, PATIENCE_MS);
	EXPECT_EQ(CONNECTIONS, count);
	for (int i = 0; i < count; i++)
		if ((events[i].events & (EPOLLHUP | EPOLLERR)) !=
		    (EPOLLHUP | EPOLLERR))
			unheard++;
	EXPECT_EQ(0, unheard);

	/* Half of them are read from first, and half written to. */
	for (int i = 0; i < CONNECTIONS; i++) {
		bool reads = i % 2;
		char byte = 0;
		ssize_t result;

		result = reads ? recv(fds[i], &byte, 1, MSG_DONTWAIT) :
				 send(fds[i], &byte, 1, MSG_NOSIGNAL);
		if (result != -1 || errno != ECONNRESET)
			not_reset++;
		for (int again = 0; again < 2; again++) {
			result = recv(fds[i], &byte, 1, MSG_DONTWAIT);
			if (result == -1 && errno == ECONNRESET)
				reset_twice++;
			else if (result != 0)
				not_ended++;
			result = send(fds[i], &byte, 1, MSG_NOSIGNAL);
			if (result == -1 && errno == ECONNRESET)
				reset_twice++;
			else if (result != -1 || errno != EPIPE)
				not_ended++;
		}
		if (poll_for(fds[i], 0, 0) != POLLHUP)
			not_ended++;
		close(fds[i]);
	}
	EXPECT_EQ(0, not_reset);
	EXPECT_EQ(0, reset_twice);
	EXPECT_EQ(0, not_ended);
	close(epoll);
	ASSERT_TRUE(device_returns());
	EXPECT_TRUE(next_connection_works());
}

/* What had come before stays readable, and comes before the error. */
TEST_F(device, queued_data_are_left)
{
	uint8_t data[2000];
	int fd = with_queued(1000);

	ASSERT_LE(0, fd);
	ASSERT_TRUE(device_leaves());
	EXPECT_EQ(1000, recv(fd, data, sizeof(data), MSG_PEEK));
	EXPECT_EQ(400, recv(fd, data, 400, 0));
	EXPECT_EQ(600, recv(fd, data + 400, 1600, MSG_WAITALL));
	EXPECT_EQ(1000, pattern_check(data, 1000, 0));
	EXPECT_EQ(-1, recv(fd, data, 1, 0));
	EXPECT_EQ(ECONNRESET, errno);
	EXPECT_EQ(0, recv(fd, data, 1, 0));
	EXPECT_EQ(0, socket_error(fd));
	close(fd);
}

/* SO_ERROR takes the error: no call is told of it a second time. */
TEST_F(device, so_error_takes_it)
{
	uint8_t data[2000];
	int fd = with_queued(1000);

	ASSERT_LE(0, fd);
	ASSERT_TRUE(device_leaves());
	EXPECT_EQ(POLLERR, poll_for(fd, 0, 0) & POLLERR);
	EXPECT_EQ(ECONNRESET, socket_error(fd));
	EXPECT_EQ(0, socket_error(fd));
	EXPECT_EQ(POLLHUP, poll_for(fd, 0, 0));
	EXPECT_EQ(1000, recv(fd, data, sizeof(data), 0));
	EXPECT_EQ(0, recv(fd, data, sizeof(data), 0));
	EXPECT_EQ(-1, send(fd, data, 1, MSG_NOSIGNAL));
	EXPECT_EQ(EPIPE, errno);
	EXPECT_EQ(0, socket_error(fd));
	close(fd);
}

/* Who sleeps in accept() on @port sleeps on until the host connects, and has its bytes. */
static void accepts_at_last(struct __test_metadata *_metadata, struct caller *acceptor,
			    unsigned int port)
{
	struct dial_result host;
	uint8_t data[100];
	int asking;

	ASSERT_FALSE(caller_is_done(acceptor));
	asking = vsock_dial(port, "send-close 100 100 0");
	ASSERT_LE(0, asking);
	ASSERT_TRUE(caller_join(acceptor));
	ASSERT_LE(0, acceptor->result);
	EXPECT_EQ(100, recv(acceptor->result, data, 100, MSG_WAITALL));
	EXPECT_EQ(100, pattern_check(data, 100, 0));
	close(acceptor->result);
	EXPECT_EQ(0, vsock_dial_result(asking, &host));
	EXPECT_TRUE(host.ok);
	close(asking);
}

/* A listener has no connection to lose: an accept sleeps on until one comes. */
TEST_F(device, listener_survives)
{
	struct caller caller = { .call = call_accept };
	unsigned int port;

	caller.fd = vsock_listener(&port, 4);
	ASSERT_LE(0, caller.fd);
	ASSERT_TRUE(caller_start(&caller));
	ASSERT_TRUE(device_leaves());
	sleep_ms(SETTLE_MS);
	ASSERT_FALSE(caller_is_done(&caller));
	EXPECT_EQ(0, poll_for(caller.fd, POLLIN, 0));
	ASSERT_TRUE(device_returns());
	accepts_at_last(_metadata, &caller, port);
	close(caller.fd);
}

/* A connection that waits to be accepted is reset like the others. */
TEST_F(device, unaccepted_connection)
{
	unsigned int port;
	char byte;
	int fd, asking, listener = vsock_listener(&port, 4);

	ASSERT_LE(0, listener);
	asking = vsock_dial(port, "hold 60000");
	ASSERT_LE(0, asking);
	ASSERT_EQ(POLLIN, poll_for(listener, POLLIN, PATIENCE_MS));
	ASSERT_TRUE(device_leaves());
	fd = accept(listener, NULL, NULL);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-1, recv(fd, &byte, 1, MSG_DONTWAIT));
	EXPECT_EQ(ECONNRESET, errno);
	EXPECT_EQ(0, recv(fd, &byte, 1, MSG_DONTWAIT));
	close(fd);
	close(asking);
	close(listener);
}

/* Without the device: no connection, but all that needs none. */
TEST_F(device, without_it)
{
	int fd = vsock_stream(0), later = vsock_stream(SOCK_NONBLOCK);

	ASSERT_LE(0, fd);
	ASSERT_LE(0, later);
	ASSERT_TRUE(device_leaves());
	EXPECT_EQ(-1, vsock_connect(fd, VMADDR_CID_HOST, PORT_REPLY));
	EXPECT_EQ(ENODEV, errno);
	EXPECT_EQ(0, socket_error(fd));
	EXPECT_EQ(-1, vsock_connect(later, VMADDR_CID_HOST, PORT_REPLY));
	EXPECT_EQ(ENODEV, errno);
	EXPECT_EQ(0, vsock_bind(later, VMADDR_CID_ANY, VMADDR_PORT_ANY));
	EXPECT_EQ(0, listen(later, 1));
	ASSERT_TRUE(device_returns());
	EXPECT_EQ(0, vsock_connect(fd, VMADDR_CID_HOST, PORT_REPLY));
	close(fd);
	close(later);
	EXPECT_TRUE(next_connection_works());
}

/* Sockets that are closed while they have no device, or lose it, all go. */
TEST_F_TIMEOUT(device, closed_around_it, 60)
{
	int before = live_sockets();
	int fds[20];

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = with_queued(1000);
		ASSERT_LE(0, fds[i]);
	}
	/* Some wait for the host's last word, some lose the device first. */
	for (size_t i = 0; i < ARRAY_SIZE(fds) / 2; i++)
		close(fds[i]);
	ASSERT_TRUE(device_leaves());
	for (size_t i = ARRAY_SIZE(fds) / 2; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
	/* Nobody is left to wait for, so they do not take 8 s. */
	sleep_ms(1000);
	EXPECT_GE(before, live_sockets());
}

/* Do bytes pass between these two ends, both ways? */
static bool passes(int fds[2])
{
	char byte = 0;

	for (int i = 0; i < 2; i++)
		if (send_all(fds[i], "x", 1) ||
		    poll_for(fds[!i], POLLIN, 2000) != POLLIN ||
		    recv(fds[!i], &byte, 1, MSG_DONTWAIT) != 1)
			return false;
	return true;
}

/* Loopback needs no device: what stands lives on, and more can be made. */
TEST_F(device, loopback_lives_on)
{
	struct caller reader = { .call = call_recv, .len = 10 };
	struct caller sender = { .call = call_send, .len = MIB(1) };
	int local[2], own[2], more[2], fd;
	uint8_t *data = malloc(MIB(1)), in[10];

	ASSERT_EQ(0, vsock_pair(VMADDR_CID_LOCAL, 0, local));
	ASSERT_EQ(0, vsock_pair(GUEST_CID, 0, own));
	pattern_fill(data, MIB(1), 0);
	reader.fd = local[0];
	reader.data = in;
	sender.fd = own[0];
	sender.data = data;
	ASSERT_TRUE(caller_start(&reader));
	ASSERT_TRUE(caller_start(&sender));
	ASSERT_FALSE(caller_is_done(&sender));
	ASSERT_TRUE(device_leaves());
	/* The sleepers sleep on, and go on. */
	sleep_ms(SETTLE_MS);
	EXPECT_FALSE(caller_is_done(&reader));
	EXPECT_FALSE(caller_is_done(&sender));
	ASSERT_EQ(0, send_all(local[1], "0123456789", 10));
	ASSERT_TRUE(caller_join(&reader));
	EXPECT_EQ(10, reader.result);
	for (size_t at = 0; at < MIB(1); at += 1024) {
		uint8_t part[1024];

		ASSERT_EQ(0, recv_all(own[1], part, sizeof(part)));
		ASSERT_EQ(sizeof(part), pattern_check(part, sizeof(part), at));
	}
	ASSERT_TRUE(caller_join(&sender));
	EXPECT_EQ((ssize_t)MIB(1), sender.result);
	EXPECT_TRUE(passes(local));
	EXPECT_TRUE(passes(own));
	/* New ones by CID 1; the own CID is gone with the device. */
	ASSERT_EQ(0, vsock_pair(VMADDR_CID_LOCAL, 0, more));
	EXPECT_TRUE(passes(more));
	fd = vsock_stream(0);
	EXPECT_EQ(-1, vsock_connect(fd, GUEST_CID, PORT_NOBODY));
	EXPECT_EQ(ENODEV, errno);
	ASSERT_TRUE(device_returns());
	EXPECT_TRUE(passes(local));
	EXPECT_TRUE(passes(own));
	EXPECT_TRUE(passes(more));
	EXPECT_TRUE(next_connection_works());
	EXPECT_EQ(-1, vsock_connect(fd, GUEST_CID, PORT_NOBODY));
	EXPECT_EQ(ECONNRESET, errno);
	for (int i = 0; i < 2; i++) {
		close(local[i]);
		close(own[i]);
		close(more[i]);
	}
	close(fd);
	free(data);
}

/* Suspend the system as far as its devices, for a second, and resume it. */
static bool suspend_devices(void)
{
	bool good;

	good = sysfs_write("/sys/power/pm_test", "devices") &&
	       sysfs_write("/sys/module/suspend/parameters/pm_test_delay", "1") &&
	       sysfs_write("/sys/power/state", "freeze");
	return sysfs_write("/sys/power/pm_test", "none") && good;
}

/* A suspend takes the device away, and resuming gives it back. */
TEST_F_TIMEOUT(device, suspend_and_resume, 60)
{
	struct caller reader = { .call = call_recv, .len = KIB(4) };
	struct caller acceptor = { .call = call_accept };
	uint8_t data[1000];
	unsigned int port;
	int fd;

	if (access("/sys/power/pm_test", F_OK))
		SKIP(return, "the kernel cannot suspend for a test");
	reader.data = malloc(reader.len);
	reader.fd = vsock_connected(PORT_ECHO);
	ASSERT_LE(0, reader.fd);
	fd = with_queued(1000);
	ASSERT_LE(0, fd);
	acceptor.fd = vsock_listener(&port, 4);
	ASSERT_LE(0, acceptor.fd);
	ASSERT_TRUE(caller_start(&reader));
	ASSERT_TRUE(caller_start(&acceptor));
	for (int round = 0; round < 2; round++) {
		ASSERT_TRUE(suspend_devices())
			TH_LOG("round %d: %s", round, strerror(errno));
	}
	ASSERT_TRUE(device_is_there());
	ASSERT_TRUE(caller_join(&reader));
	EXPECT_EQ(-1, reader.result);
	EXPECT_EQ(ECONNRESET, reader.error);
	/* What had come before stays readable. */
	EXPECT_EQ(1000, recv(fd, data, sizeof(data), MSG_WAITALL));
	EXPECT_EQ(1000, pattern_check(data, 1000, 0));
	EXPECT_EQ(-1, recv(fd, data, 1, 0));
	EXPECT_EQ(ECONNRESET, errno);
	/* The listener has outlived it. */
	accepts_at_last(_metadata, &acceptor, port);
	EXPECT_TRUE(next_connection_works());
	close(acceptor.fd);
	close(fd);
	close(reader.fd);
	free(reader.data);
}

static bool stop;

/*
 * Held for reading while something is under way, for writing while the device
 * goes, unless that is unplugged. The host's device ends a thread of its own, and
 * carries nothing any more, when its queues are stopped at the moment in which they
 * are kicked. So connections stand, sleepers sleep and bytes are queued, but nothing
 * moves. Behind one that is plugged there is another process, so there all goes on.
 */
static pthread_rwlock_t moving =
	PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;

/* Makes connections and uses them, whatever comes of it, until told to stop. */
static void *make_traffic(void *argument)
{
	unsigned long *exchanges = argument;
	static uint8_t data[KIB(16)];

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		uint8_t in[KIB(16)];
		bool going_on;
		int fd = vsock_stream(0);

		if (fd < 0)
			break;
		pthread_rwlock_rdlock(&moving);
		/* One that loses its answer with the device may give up soon. */
		set_connect_timeout(fd, 500);
		going_on = !vsock_connect(fd, VMADDR_CID_HOST, PORT_ECHO);
		while (going_on && !__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
			going_on = !send_all(fd, data, sizeof(data)) &&
				   !recv_all(fd, in, sizeof(in));
			*exchanges += going_on;
			/* The device may go here, under the connection. */
			pthread_rwlock_unlock(&moving);
			sleep_ms(1);
			pthread_rwlock_rdlock(&moving);
		}
		close(fd);
		pthread_rwlock_unlock(&moving);
		/* ENODEV comes at once: do not keep a processor busy. */
		sleep_ms(5);
	}
	return NULL;
}

/* As above for connections that the host makes, one at a time. */
static void *make_dialled_traffic(void *argument)
{
	unsigned long *exchanges = argument;
	unsigned int port;
	int listener = vsock_listener(&port, 4);

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		uint8_t data[10000];
		int fd, asking;

		sleep_ms(5);
		pthread_rwlock_rdlock(&moving);
		asking = vsock_dial(port, "send-close 10000 1000 0");
		if (asking < 0) {
			pthread_rwlock_unlock(&moving);
			continue;
		}
		if (poll_for(listener, POLLIN, 300) == POLLIN) {
			fd = accept(listener, NULL, NULL);
			if (fd >= 0 && !recv_all(fd, data, sizeof(data)))
				++*exchanges;
			close(fd);
		}
		close(asking);
		pthread_rwlock_unlock(&moving);
	}
	close(listener);
	return NULL;
}

/* The device goes and comes back so often, amid traffic that goes on after it. */
static void rounds(struct __test_metadata *_metadata, int count)
{
	unsigned long exchanges[7] = { 0 };
	pthread_t threads[7];
	struct timespec end;

	__atomic_store_n(&stop, false, __ATOMIC_RELAXED);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL,
					    i ? make_traffic :
						make_dialled_traffic,
					    &exchanges[i]));
	for (int round = 0; round < count; round++) {
		sleep_ms(150 + 17 * round);
		if (!device_is_unplugged()) {
			pthread_rwlock_wrlock(&moving);
			/*
			 * What the last words of closed connections set in motion: the
			 * device of these tests can lose its worker when its queues are
			 * stopped while it is told of a packet.
			 */
			sleep_ms(100 * vsock_patience());
		}
		ASSERT_TRUE(device_leaves())
			TH_LOG("round %d: %s", round, strerror(errno));
		sleep_ms(round % 3 * 20);
		ASSERT_TRUE(device_returns())
			TH_LOG("round %d: %s", round, strerror(errno));
		if (!device_is_unplugged())
			pthread_rwlock_unlock(&moving);
	}
	sleep_ms(300 * vsock_patience());
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += PATIENCE_MS / 1000;
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
		ASSERT_EQ(0, pthread_timedjoin_np(threads[i], NULL, &end)) {
			TH_LOG("thread %zu sleeps on", i);
			print_stacks();
		}
		EXPECT_LT(0, exchanges[i]);
	}
}

/* The module's references; what it holds beside its own memory holds one. */
static long references(void)
{
	return number_of("/sys/module/rvsock/refcnt");
}

/* It goes and comes back again and again, amid traffic; nothing is left. */
TEST_F_TIMEOUT(device, rounds_amid_traffic, 90)
{
	int count = device_leaves_slowly() ? ROUNDS / 3 : ROUNDS;
	struct memory before, after;
	long held;

	/* What is only made once, and what other tests have closed, does not count. */
	rounds(_metadata, 1);
	ASSERT_EQ(0, sockets_become(0));
	held = references();
	before = measure_memory();
	rounds(_metadata, count);
	EXPECT_TRUE(next_connection_works());
	EXPECT_EQ(0, sockets_become(0));
	EXPECT_EQ(held, references());
	after = measure_memory_within(before, ROUND_MEMORY * count);
	TH_LOG("%d rounds: %ld bytes of slabs, %ld of pages", count, after.slab - before.slab,
	       after.used - before.used);
	EXPECT_GE(ROUND_MEMORY * count, after.slab - before.slab);
	EXPECT_GE(ROUND_MEMORY * count, after.used - before.used);
}

TEST_HARNESS_MAIN
