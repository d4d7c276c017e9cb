// SPDX-License-Identifier: GPL-2.0
/*
 * Who is sent to: listeners, and who accepts there and does something with what was
 * accepted; connectors. What becomes of their connections is of no matter, as long as
 * every call comes back, and nobody is sent more than was granted. The ports and what is
 * done at each stand in tests/scripted/src/fuzz/places.rs as well.
 */
#include "fuzz.h"
#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define PORT_STREAM_SOCKETS	5100u
#define PORT_MESSAGE_SOCKETS	5110u
#define PORT_CONNECTORS		5200u
#define PORT_CONNECTED		7100u
#define CONNECTORS		8

/* Connections that wait to be accepted, where they are accepted at all. */
#define BACKLOG			64
/* So many are kept by who does not read. */
#define KEPT			24
/* No call of a victim takes longer than this. */
#define TURN_MS			60
/* Who hears nothing for so many turns closes. */
#define IDLE_TURNS		4
#define STACK_SIZE		KIB(128)

enum conduct { READS, TALKS, SLEEPS, DEAF, CLOSES, FULL, CONDUCTS };

/* How many do the same at the same place. */
static const int crowd[CONDUCTS] = { 6, 6, 1, 1, 1, 0 };

struct victim {
	int type;
	enum conduct conduct;
	/* Its listener; the number of a connector. */
	int fd;
	uint64_t random;
	pthread_t thread;
};

static struct victim victims[2 * 15 + CONNECTORS];
static int listeners[2 * CONDUCTS];
static int started;
static atomic_bool stop;

static unsigned int draw(struct victim *me, unsigned int below)
{
	me->random = me->random * 6364136223846793005u + 1442695040888963407u;
	return (me->random >> 33) % below;
}

static size_t buffer_of(int type, enum conduct conduct)
{
	if (conduct != SLEEPS && conduct != DEAF)
		return KIB(64);
	return type == SOCK_STREAM ? 1024 : 256;
}

/* Read in one way or another until the connection ends or nothing comes. */
static void read_all(struct victim *me, int fd)
{
	static const int flags[] = { 0, 0, MSG_WAITALL, MSG_PEEK, MSG_TRUNC, MSG_DONTWAIT };
	char data[8192];
	int idle = 0;

	while (!stop && idle < IDLE_TURNS) {
		int how = flags[draw(me, 6)];
		ssize_t got = recv(fd, data, 1 + draw(me, sizeof(data)), how);

		if (!got && me->type == SOCK_STREAM)
			return;
		if (got < 0 && errno != EAGAIN)
			return;
		if (got <= 0) {
			idle++;
			if (how & MSG_DONTWAIT)
				poll_for(fd, POLLIN, TURN_MS);
		}
	}
}

/* Say something, if the peer takes it. */
static void talk(int fd, size_t len)
{
	char data[1000];

	memset(data, 'x', sizeof(data));
	if (send(fd, data, len, MSG_NOSIGNAL) > 0)
		shutdown(fd, SHUT_WR);
}

static void let_go(struct victim *me, int fd)
{
	int queued = 0, most = buffer_of(me->type, me->conduct);

	if (me->conduct == SLEEPS && !ioctl(fd, SIOCINQ, &queued) && queued > most)
		finding(VERDICT_CREDIT, "%d bytes are queued where %d were granted", queued, most);
	close(fd);
}

static void *accept_all(void *argument)
{
	struct victim *me = argument;
	int kept[KEPT], next = 0;

	memset(kept, -1, sizeof(kept));
	while (!stop) {
		int fd = accept(me->fd, NULL, NULL);

		if (fd < 0)
			continue;
		set_timeout(fd, SO_RCVTIMEO, TURN_MS);
		set_timeout(fd, SO_SNDTIMEO, TURN_MS);
		switch (me->conduct) {
		case TALKS:
			talk(fd, 1000);
			/* fall through */
		case READS:
			read_all(me, fd);
			/* fall through */
		default:
			close(fd);
			break;
		case DEAF:
			shutdown(fd, SHUT_RD);
			/* fall through */
		case SLEEPS:
			if (kept[next] >= 0)
				let_go(me, kept[next]);
			kept[next] = fd;
			next = (next + 1) % KEPT;
			break;
		}
	}
	for (int i = 0; i < KEPT; i++)
		if (kept[i] >= 0)
			let_go(me, kept[i]);
	return NULL;
}

static void *connect_again(void *argument)
{
	struct victim *me = argument;

	while (!stop) {
		int fd = socket(vsock_family(), me->type, 0);

		if (fd < 0)
			break;
		set_timeout(fd, SO_RCVTIMEO, TURN_MS / 2);
		set_timeout(fd, SO_SNDTIMEO, TURN_MS);
		set_connect_timeout(fd, 2 * TURN_MS);
		if (vsock_bind(fd, VMADDR_CID_ANY, PORT_CONNECTORS + me->fd)) {
			/* The one before waits for the answer to its close. */
			sleep_ms(TURN_MS / 4);
		} else if (!vsock_connect(fd, VMADDR_CID_HOST, PORT_CONNECTED + me->fd)) {
			char data[500];

			talk(fd, 1 + draw(me, sizeof(data)));
			for (int i = 0; i < 4; i++)
				if (!recv(fd, data, sizeof(data), 0))
					break;
		} else if (errno != ETIMEDOUT) {
			/* Refused, or there is no device. */
			sleep_ms(5);
		}
		close(fd);
	}
	return NULL;
}

static void start(void *(*run)(void *), int type, enum conduct conduct, int fd)
{
	struct victim *victim = &victims[started];
	pthread_attr_t attributes;

	*victim = (struct victim){
		.type = type, .conduct = conduct, .fd = fd, .random = started * 77 + 1,
	};
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	if (pthread_create(&victim->thread, &attributes, run, victim)) {
		perror("pthread_create");
		exit(2);
	}
	pthread_attr_destroy(&attributes);
	started++;
}

static int listen_at(int type, enum conduct conduct)
{
	unsigned int port = type == SOCK_STREAM ? PORT_STREAM_SOCKETS : PORT_MESSAGE_SOCKETS;
	int fd = socket(vsock_family(), type, 0);

	if (fd < 0 ||
	    set_buffer(fd, SO_VM_SOCKETS_BUFFER_SIZE, buffer_of(type, conduct)) ||
	    set_timeout(fd, SO_RCVTIMEO, TURN_MS) ||
	    vsock_bind(fd, VMADDR_CID_ANY, port + conduct) ||
	    listen(fd, conduct == FULL ? 2 : BACKLOG)) {
		perror("a listener");
		exit(2);
	}
	return fd;
}

void victims_start(void)
{
	static const int types[] = { SOCK_STREAM, SOCK_SEQPACKET };

	stop = false;
	started = 0;
	for (int i = 0; i < 2; i++)
		for (int conduct = 0; conduct < CONDUCTS; conduct++) {
			int fd = listen_at(types[i], conduct);

			listeners[i * CONDUCTS + conduct] = fd;
			for (int j = 0; j < crowd[conduct]; j++)
				start(accept_all, types[i], conduct, fd);
		}
	for (int i = 0; i < CONNECTORS; i++)
		start(connect_again, types[i % 2], CONDUCTS, i);
}

void victims_stop(void)
{
	stop = true;
	for (int i = 0; i < started; i++)
		pthread_join(victims[i].thread, NULL);
	for (int i = 0; i < 2 * CONDUCTS; i++)
		close(listeners[i]);
}
