// SPDX-License-Identifier: GPL-2.0
/*
 * The connections that must go on: a stream and a message socket to the host's echo, on
 * ports that the device knows, and a pair over loopback. Each sends what nobody could
 * guess and compares what comes back.
 */
#include "fuzz.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* As tests/scripted/src/fuzz/places.rs has them. */
#define PORT_LIVE		4000u
/* Of a message the echo brings back what is in one packet. */
#define LARGEST_MESSAGE		2000
#define LARGEST			20000

enum { STREAM, MESSAGES, LOOPBACK, LIVES };

static const char *const names[LIVES] = { "stream", "seqpacket", "loopback" };

static struct live {
	pthread_t thread;
	int number;
	/* Its own end, and that which brings back what it is sent; both may be one. */
	int fd, back;
	atomic_ulong exchanges, resets;
	atomic_bool paused;
} lives[LIVES];

static atomic_bool stop, pause_all, may_reset;

static void hang_up(struct live *me)
{
	if (me->back >= 0 && me->back != me->fd)
		close(me->back);
	if (me->fd >= 0)
		close(me->fd);
	me->fd = -1;
	me->back = -1;
}

/* The connection has ended with the current errno. */
static void ended(struct live *me, const char *call)
{
	if (may_reset && me->number != LOOPBACK && errno == ECONNRESET)
		me->resets++;
	else
		finding(VERDICT_LIVE, "%s: %s after %lu exchanges: %s", names[me->number], call,
			me->exchanges, strerror(errno));
	hang_up(me);
}

static bool make(struct live *me)
{
	int type = me->number == MESSAGES ? SOCK_SEQPACKET : SOCK_STREAM;
	long end = now_ms() + PATIENCE_MS * patience();

	if (me->number == LOOPBACK) {
		int fds[2];

		if (vsock_pair(VMADDR_CID_LOCAL, 0, fds)) {
			ended(me, "connecting");
			return false;
		}
		me->fd = fds[0];
		me->back = fds[1];
	} else {
		me->fd = socket(vsock_family(), type, 0);
		me->back = me->fd;
		/* The one before may wait for the answer to its close. */
		while (vsock_bind(me->fd, VMADDR_CID_ANY, PORT_LIVE + me->number)) {
			if (errno != EADDRINUSE || now_ms() > end) {
				ended(me, "bind");
				return false;
			}
			sleep_ms(20);
		}
		set_connect_timeout(me->fd, PATIENCE_MS * patience());
		if (vsock_connect(me->fd, VMADDR_CID_HOST, PORT_ECHO)) {
			ended(me, "connect");
			return false;
		}
	}
	set_timeout(me->fd, SO_RCVTIMEO, PATIENCE_MS * patience());
	set_timeout(me->fd, SO_SNDTIMEO, PATIENCE_MS * patience());
	set_timeout(me->back, SO_RCVTIMEO, PATIENCE_MS * patience());
	return true;
}

/* Receives so many bytes. An end that was not asked for has an errno, too. */
static bool receive(int fd, uint8_t *to, size_t len)
{
	while (len) {
		ssize_t got = recv(fd, to, len, 0);

		if (!got)
			errno = EPIPE;
		if (got <= 0)
			return false;
		to += got;
		len -= got;
	}
	return true;
}

static void exchange(struct live *me)
{
	uint64_t seed = ((uint64_t)me->number << 60) | (me->exchanges + 1);
	uint8_t data[LARGEST], back[LARGEST];
	size_t len;

	random_fill(data, sizeof(len), seed);
	memcpy(&len, data, sizeof(len));
	len = 1 + len % (me->number == MESSAGES ? LARGEST_MESSAGE : LARGEST);
	random_fill(data, len, seed);
	if (send_all(me->fd, data, len)) {
		ended(me, "send");
		return;
	}
	if (me->number == LOOPBACK) {
		if (!receive(me->back, back, len) || send_all(me->back, back, len)) {
			ended(me, "the other end");
			return;
		}
	}
	if (!receive(me->fd, back, len)) {
		ended(me, "recv");
		return;
	}
	if (memcmp(data, back, len)) {
		finding(VERDICT_LIVE, "%s: what came back is not what was sent, exchange %lu",
			names[me->number], me->exchanges);
		hang_up(me);
		return;
	}
	me->exchanges++;
}

static void *run(void *argument)
{
	struct live *me = argument;

	while (!stop) {
		if (pause_all && me->number != LOOPBACK) {
			hang_up(me);
			me->paused = true;
			while (pause_all && !stop)
				sleep_ms(10);
			me->paused = false;
		} else if (me->fd >= 0 || make(me)) {
			exchange(me);
		} else {
			sleep_ms(20);
		}
	}
	hang_up(me);
	return NULL;
}

void live_start(void)
{
	stop = false;
	for (int i = 0; i < LIVES; i++) {
		lives[i].number = i;
		lives[i].fd = -1;
		lives[i].back = -1;
		if (pthread_create(&lives[i].thread, NULL, run, &lives[i])) {
			perror("pthread_create");
			exit(2);
		}
	}
}

void live_stop(void)
{
	stop = true;
	for (int i = 0; i < LIVES; i++)
		pthread_join(lives[i].thread, NULL);
}

void live_expect_resets(bool expect)
{
	may_reset = expect;
}

void live_pause(void)
{
	pause_all = true;
	for (int i = 0; i < LIVES; i++)
		while (i != LOOPBACK && !lives[i].paused)
			sleep_ms(10);
}

void live_resume(void)
{
	pause_all = false;
}

void live_check(void)
{
	long end = now_ms() + PATIENCE_MS * patience();

	for (int i = 0; i < LIVES; i++) {
		unsigned long wanted = lives[i].exchanges + 2;

		while (lives[i].exchanges < wanted && now_ms() < end)
			sleep_ms(10);
		if (lives[i].exchanges < wanted)
			finding(VERDICT_LIVE, "%s stands still", names[i]);
	}
}

unsigned long live_exchanges(void)
{
	return lives[STREAM].exchanges + lives[MESSAGES].exchanges + lives[LOOPBACK].exchanges;
}

unsigned long live_resets(void)
{
	return lives[STREAM].resets + lives[MESSAGES].resets;
}

bool live_echo_works(void)
{
	uint8_t data[1000], back[sizeof(data)];
	int fd = vsock_connected(PORT_ECHO);
	bool works;

	if (fd < 0)
		return false;
	set_timeout(fd, SO_RCVTIMEO, PATIENCE_MS);
	random_fill(data, sizeof(data), 1);
	works = !send_all(fd, data, sizeof(data)) && receive(fd, back, sizeof(back)) &&
		!memcmp(data, back, sizeof(data));
	close(fd);
	return works;
}
