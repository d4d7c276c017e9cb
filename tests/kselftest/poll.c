// SPDX-License-Identifier: GPL-2.0
/*
 * Readiness: what poll, select, epoll and SIGIO say in each state of a
 * connection, and that they say it when the state changes.
 */
#include "vsock_harness.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/select.h>

#define FLOOD MIB(4)

/* Every event that a mask can hold and that these sockets may report. */
#define ALL_EVENTS (POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM | POLLPRI | \
		    POLLRDHUP)

static int mask_of(int fd)
{
	return poll_for(fd, ALL_EVENTS, 0);
}

FIXTURE(echo)
{
	int fd;
	uint8_t data[4096];
};

FIXTURE_SETUP(echo)
{
	self->fd = vsock_connected(PORT_ECHO);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(echo)
{
	close(self->fd);
}

/* Connected and idle: writable. With data: readable too, until drained. */
TEST_F(echo, idle_data_drained)
{
	EXPECT_EQ(POLLOUT | POLLWRNORM, mask_of(self->fd));
	ASSERT_EQ(0, send_all(self->fd, self->data, 100));
	ASSERT_EQ(POLLIN, poll_for(self->fd, POLLIN, PATIENCE_MS));
	EXPECT_EQ(POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM, mask_of(self->fd));
	ASSERT_TRUE(wait_queued(self->fd, 100));
	EXPECT_EQ(60, recv(self->fd, self->data, 60, 0));
	EXPECT_EQ(POLLIN, poll_for(self->fd, POLLIN, 0));
	EXPECT_EQ(40, recv(self->fd, self->data, 60, 0));
	EXPECT_EQ(POLLOUT | POLLWRNORM, mask_of(self->fd));
}

/* Not readable below SO_RCVLOWAT, readable from there on. */
TEST_F(echo, rcvlowat)
{
	ASSERT_EQ(0, set_int(self->fd, SOL_SOCKET, SO_RCVLOWAT, 100));
	ASSERT_EQ(0, send_all(self->fd, self->data, 99));
	ASSERT_TRUE(wait_queued(self->fd, 99));
	EXPECT_EQ(0, poll_for(self->fd, POLLIN, 0));
	ASSERT_EQ(0, send_all(self->fd, self->data, 1));
	EXPECT_EQ(POLLIN, poll_for(self->fd, POLLIN, PATIENCE_MS));
}

/*
 * A smaller buffer makes a smaller window, and with it what is queued may be
 * enough for SO_RCVLOWAT: a blocked poll hears of it.
 */
TEST_F(echo, smaller_window_wakes_poll)
{
	struct caller caller = { .fd = self->fd, .call = call_poll_in };
	uint8_t data[5000] = { 0 };

	ASSERT_EQ(0, set_int(self->fd, SOL_SOCKET, SO_RCVLOWAT, 8000));
	ASSERT_TRUE(caller_start(&caller));
	ASSERT_EQ(0, send_all(self->fd, data, sizeof(data)));
	ASSERT_TRUE(wait_queued(self->fd, sizeof(data)));
	ASSERT_EQ(0, set_buffer(self->fd, SO_VM_SOCKETS_BUFFER_SIZE, 6000));
	sleep_ms(SETTLE_MS);
	ASSERT_FALSE(caller_is_done(&caller));
	ASSERT_EQ(0, set_buffer(self->fd, SO_VM_SOCKETS_BUFFER_SIZE, 4096));
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ(POLLIN, caller.result);
}

/* A blocked poll is woken by data. */
TEST_F(echo, blocked_poll)
{
	struct caller caller = { .fd = self->fd, .call = call_poll_in };

	ASSERT_TRUE(caller_start(&caller));
	ASSERT_FALSE(caller_is_done(&caller));
	ASSERT_EQ(0, send_all(self->fd, self->data, 1));
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ(POLLIN, caller.result);
	EXPECT_EQ(1, caller.switches);
}

/* select() says the same. */
TEST_F(echo, select)
{
	struct timeval time = { .tv_sec = PATIENCE_MS / 1000 };
	struct timeval none = { 0 };
	fd_set readable, writable;

	FD_ZERO(&readable);
	FD_ZERO(&writable);
	FD_SET(self->fd, &readable);
	FD_SET(self->fd, &writable);
	EXPECT_EQ(1, select(self->fd + 1, &readable, &writable, NULL, &none));
	EXPECT_FALSE(FD_ISSET(self->fd, &readable));
	EXPECT_TRUE(FD_ISSET(self->fd, &writable));

	ASSERT_EQ(0, send_all(self->fd, self->data, 1));
	FD_ZERO(&readable);
	FD_SET(self->fd, &readable);
	EXPECT_EQ(1, select(self->fd + 1, &readable, NULL, NULL, &time));
	EXPECT_TRUE(FD_ISSET(self->fd, &readable));
}

/* shutdown(SHUT_RD): readable (the end), and the half is reported. */
TEST_F(echo, after_shutdown_of_reading)
{
	ASSERT_EQ(0, shutdown(self->fd, SHUT_RD));
	EXPECT_EQ(POLLIN | POLLRDNORM | POLLRDHUP | POLLOUT | POLLWRNORM,
		  mask_of(self->fd));
}

/* shutdown(SHUT_RDWR): both halves are over. */
TEST_F(echo, after_shutdown_of_both)
{
	ASSERT_EQ(0, shutdown(self->fd, SHUT_RDWR));
	EXPECT_EQ(POLLIN | POLLRDNORM | POLLRDHUP | POLLHUP,
		  mask_of(self->fd) & ~(POLLOUT | POLLWRNORM));
}

/* shutdown() wakes a blocked poll. */
TEST_F(echo, shutdown_wakes_poll)
{
	struct caller caller = { .fd = self->fd, .call = call_poll_in };

	ASSERT_TRUE(caller_start(&caller));
	ASSERT_FALSE(caller_is_done(&caller));
	ASSERT_EQ(0, shutdown(self->fd, SHUT_RD));
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ(POLLIN, caller.result);
}

/* The peer's close: readable with POLLRDHUP, before and after the last byte. */
TEST(peer_closed)
{
	uint8_t data[100];
	int fd;

	ASSERT_ASK(fd, "send-close 100 100 0");
	ASSERT_EQ(POLLRDHUP, poll_for(fd, POLLRDHUP, PATIENCE_MS) & POLLRDHUP);
	EXPECT_EQ(POLLIN | POLLRDNORM | POLLRDHUP,
		  mask_of(fd) & (POLLIN | POLLRDNORM | POLLRDHUP | POLLERR));
	EXPECT_EQ(100, recv(fd, data, sizeof(data), MSG_WAITALL));
	EXPECT_EQ(POLLIN | POLLRDNORM | POLLRDHUP,
		  mask_of(fd) & (POLLIN | POLLRDNORM | POLLRDHUP | POLLERR));
	EXPECT_EQ(0, recv(fd, data, sizeof(data), 0));
	close(fd);
}

/* The peer's close and then our own end of sending: POLLHUP. */
TEST(both_sides_are_done)
{
	char byte;
	int fd;

	ASSERT_ASK(fd, "send-close 1 1 0");
	EXPECT_EQ(1, recv(fd, &byte, 1, 0));
	EXPECT_EQ(0, recv(fd, &byte, 1, 0));
	/* The connection may be gone by now; then it has hung up as well. */
	if (shutdown(fd, SHUT_WR))
		EXPECT_EQ(ENOTCONN, errno);
	EXPECT_EQ(POLLHUP, poll_for(fd, 0, PATIENCE_MS));
	close(fd);
}

/* The peer's close wakes a blocked poll, also when SO_RCVLOWAT is not met. */
TEST(peer_closes_under_poll)
{
	struct caller caller = { .call = call_poll_in };

	ASSERT_ASK(caller.fd, "send-close 20 10 500000");
	ASSERT_EQ(0, set_int(caller.fd, SOL_SOCKET, SO_RCVLOWAT, 1000));
	ASSERT_TRUE(caller_start(&caller));
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ(POLLIN, caller.result & POLLIN);
	close(caller.fd);
}

/* No credit: not writable; when credit comes back, a blocked poll is woken. */
TEST(writable_again)
{
	uint8_t *data = calloc(1, FLOOD);
	size_t sent = 0;
	ssize_t result;
	int fd, idle = 0;

	ASSERT_ASK(fd, "sink %zu 1500", FLOOD);
	/* Until no credit comes any more. */
	while (idle < 3) {
		result = send(fd, data, FLOOD - sent, MSG_DONTWAIT);
		if (result > 0) {
			sent += result;
			idle = 0;
		} else {
			ASSERT_EQ(EAGAIN, errno);
			idle++;
			sleep_ms(30);
		}
	}
	ASSERT_GT(FLOOD, sent);
	EXPECT_EQ(0, poll_for(fd, POLLOUT, 0));
	EXPECT_EQ(POLLOUT, poll_for(fd, POLLOUT, PATIENCE_MS));
	EXPECT_LE(1, send(fd, data, 1, MSG_DONTWAIT));
	sent++;
	EXPECT_EQ(0, send_all(fd, data, FLOOD - sent));
	close(fd);
	free(data);
}

FIXTURE(epoll)
{
	int fd, epoll;
	uint8_t data[4096];
};

FIXTURE_SETUP(epoll)
{
	self->fd = vsock_connected(PORT_ECHO);
	ASSERT_LE(0, self->fd);
	self->epoll = epoll_create1(0);
	ASSERT_LE(0, self->epoll);
}

FIXTURE_TEARDOWN(epoll)
{
	close(self->epoll);
	close(self->fd);
}

static int watch(int epoll, int fd, uint32_t events)
{
	struct epoll_event event = { .events = events };

	return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

/* The next event, or 0. */
static uint32_t next_event(int epoll, int timeout_ms)
{
	struct epoll_event event = { 0 };

	return epoll_wait(epoll, &event, 1, timeout_ms) == 1 ? event.events : 0;
}

/* Level-triggered: reported until it is drained. */
TEST_F(epoll, level)
{
	ASSERT_EQ(0, watch(self->epoll, self->fd, EPOLLIN));
	EXPECT_EQ(0, next_event(self->epoll, 0));
	ASSERT_EQ(0, send_all(self->fd, self->data, 10));
	EXPECT_EQ(EPOLLIN, next_event(self->epoll, PATIENCE_MS));
	EXPECT_EQ(EPOLLIN, next_event(self->epoll, 0));
	ASSERT_EQ(0, recv_all(self->fd, self->data, 10));
	EXPECT_EQ(0, next_event(self->epoll, 0));
}

/* Edge-triggered: once for each arrival, also when it was readable before. */
TEST_F(epoll, edge)
{
	ASSERT_EQ(0, watch(self->epoll, self->fd, EPOLLIN | EPOLLET));
	EXPECT_EQ(0, next_event(self->epoll, 0));
	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(0, send_all(self->fd, self->data, 10));
		EXPECT_EQ(EPOLLIN, next_event(self->epoll, PATIENCE_MS));
		EXPECT_EQ(0, next_event(self->epoll, SETTLE_MS));
	}
}

/* Edge-triggered: reading a part is no edge, and no arrival is missed. */
TEST_F(epoll, edge_after_a_partial_read)
{
	ASSERT_EQ(0, watch(self->epoll, self->fd, EPOLLIN | EPOLLET));
	ASSERT_EQ(0, send_all(self->fd, self->data, 10));
	EXPECT_EQ(EPOLLIN, next_event(self->epoll, PATIENCE_MS));
	EXPECT_EQ(4, recv(self->fd, self->data, 4, 0));
	EXPECT_EQ(0, next_event(self->epoll, SETTLE_MS));
	ASSERT_EQ(0, send_all(self->fd, self->data, 10));
	EXPECT_EQ(EPOLLIN, next_event(self->epoll, PATIENCE_MS));
}

/* Edge-triggered with SO_RCVLOWAT: no event below the mark. */
TEST_F(epoll, edge_and_rcvlowat)
{
	ASSERT_EQ(0, set_int(self->fd, SOL_SOCKET, SO_RCVLOWAT, 100));
	ASSERT_EQ(0, watch(self->epoll, self->fd, EPOLLIN | EPOLLET));
	ASSERT_EQ(0, send_all(self->fd, self->data, 60));
	EXPECT_EQ(0, next_event(self->epoll, 2 * SETTLE_MS));
	ASSERT_EQ(0, send_all(self->fd, self->data, 60));
	EXPECT_EQ(EPOLLIN, next_event(self->epoll, PATIENCE_MS));
}

/* One-shot: nothing more until it is armed again. */
TEST_F(epoll, oneshot)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLONESHOT };

	ASSERT_EQ(0, watch(self->epoll, self->fd, EPOLLIN | EPOLLONESHOT));
	ASSERT_EQ(0, send_all(self->fd, self->data, 10));
	EXPECT_EQ(EPOLLIN, next_event(self->epoll, PATIENCE_MS));
	EXPECT_EQ(0, next_event(self->epoll, 0));
	ASSERT_EQ(0, epoll_ctl(self->epoll, EPOLL_CTL_MOD, self->fd, &event));
	EXPECT_EQ(EPOLLIN, next_event(self->epoll, 0));
}

/* The peer's close is an event of its own: EPOLLRDHUP. */
TEST(epoll_peer_closed)
{
	int epoll = epoll_create1(0), fd;

	ASSERT_LE(0, epoll);
	ASSERT_ASK(fd, "hold 500");
	ASSERT_EQ(0, watch(epoll, fd, EPOLLRDHUP));
	EXPECT_EQ(EPOLLRDHUP, next_event(epoll, PATIENCE_MS) & EPOLLRDHUP);
	close(epoll);
	close(fd);
}

/* EPOLLOUT, edge-triggered: the credit that comes back is an edge. */
TEST(epoll_writable_again)
{
	uint8_t *data = calloc(1, FLOOD);
	int epoll = epoll_create1(0), fd;
	size_t sent = 0;
	uint32_t events;

	ASSERT_LE(0, epoll);
	ASSERT_ASK(fd, "sink %zu 700", FLOOD);
	ASSERT_EQ(0, watch(epoll, fd, EPOLLOUT | EPOLLET));
	while (sent < FLOOD) {
		ssize_t result = send(fd, data, FLOOD - sent, MSG_DONTWAIT);

		if (result > 0) {
			sent += result;
			continue;
		}
		ASSERT_EQ(EAGAIN, errno);
		events = next_event(epoll, PATIENCE_MS);
		ASSERT_EQ(EPOLLOUT, events);
	}
	close(epoll);
	close(fd);
	free(data);
}

static ssize_t call_epoll_wait(struct caller *caller)
{
	struct epoll_event event;

	return epoll_wait(caller->fd, &event, 1, PATIENCE_MS);
}

/* EPOLLEXCLUSIVE: an arrival wakes one of those who wait, the end all. */
TEST_F(echo, exclusive)
{
	struct caller callers[3];
	int woken = 0;

	for (size_t i = 0; i < ARRAY_SIZE(callers); i++) {
		int epoll = epoll_create1(0);

		callers[i] = (struct caller) {
			.call = call_epoll_wait, .fd = epoll,
		};
		ASSERT_EQ(0, watch(epoll, self->fd, EPOLLIN | EPOLLET |
				   EPOLLEXCLUSIVE));
		ASSERT_TRUE(caller_start(&callers[i]));
		ASSERT_FALSE(caller_is_done(&callers[i]));
	}
	ASSERT_EQ(0, send_all(self->fd, self->data, 1));
	ASSERT_TRUE(wait_queued(self->fd, 1));
	sleep_ms(2 * SETTLE_MS);
	for (size_t i = 0; i < ARRAY_SIZE(callers); i++)
		woken += caller_is_done(&callers[i]);
	EXPECT_EQ(1, woken);
	ASSERT_EQ(0, shutdown(self->fd, SHUT_RDWR));
	for (size_t i = 0; i < ARRAY_SIZE(callers); i++) {
		ASSERT_TRUE(caller_join(&callers[i]));
		EXPECT_EQ(1, callers[i].result);
		close(callers[i].fd);
	}
}

/* SIGIO for the owner of the descriptor when data arrive. */
TEST_F(echo, sigio)
{
	long end = now_ms() + PATIENCE_MS;
	int before;

	ignore_with_handler(SIGIO, SA_RESTART);
	ASSERT_EQ(0, fcntl(self->fd, F_SETOWN, getpid()));
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_ASYNC));
	before = handled_signals();
	ASSERT_EQ(0, send_all(self->fd, self->data, 10));
	while (handled_signals() == before && now_ms() < end)
		sleep_ms(10);
	EXPECT_LT(before, handled_signals());
	EXPECT_EQ(POLLIN, poll_for(self->fd, POLLIN, PATIENCE_MS));
}

TEST_HARNESS_MAIN
