// SPDX-License-Identifier: GPL-2.0
/*
 * Connections that are asked for, refused, given up and never accepted, and
 * calls on sockets in any state. What such a call answers depends on who was
 * first; that it answers, and leaves nothing behind, does not.
 */
#define _GNU_SOURCE
#include "stress.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define CONNECTORS	5
#define MISUSERS	3
#define MISUSED		3

struct storm {
	uint64_t seed;
	unsigned int port;
	atomic_int number;
};

static void check_refusal(int error)
{
	switch (error) {
	case ECONNREFUSED:
	case ECONNRESET:
	case ETIMEDOUT:
		count(TOTAL_REFUSED, 1);
		return;
	case EINTR:
	case EINPROGRESS:
	case EADDRINUSE:
		return;
	default:
		unexpected("connect in a storm", error);
	}
}

/* Connects, and waits for what becomes of it. */
static void *storm_connect(void *argument)
{
	struct storm *storm = argument;
	uint64_t state = mix(storm->seed + 1 + storm->number++);
	uint8_t *buffer = buffer_get();
	int rounds = 1 + draw(&state, 4);

	watch_pester(chance(&state, 30));
	while (rounds--) {
		bool blocking = chance(&state, 60);
		int fd = CALL(CALL_SOCKET, -1,
			      vsock_stream(blocking ? 0 : SOCK_NONBLOCK));
		struct pollfd entry = { .fd = fd, .events = POLLOUT };
		long result;

		if (fd < 0) {
			unexpected("socket", errno);
			break;
		}
		if (chance(&state, 30))
			set_connect_timeout(fd, 1 + draw(&state, 100));
		result = CALL(CALL_CONNECT, fd,
			      vsock_connect(fd, settings.cid, storm->port));
		if (result)
			check_refusal(errno);
		if (!blocking && chance(&state, 70))
			CALL(CALL_POLL, fd, poll(&entry, 1, draw(&state, 100)));
		/* Again on the same socket, whatever became of it. */
		if (chance(&state, 10))
			CALL(CALL_CONNECT, fd,
			     vsock_connect(fd, settings.cid, storm->port));
		if (!result && chance(&state, 50))
			CALL(CALL_SEND, fd,
			     send(fd, buffer, draw_size(&state, 2000),
				  MSG_NOSIGNAL));
		/* It was accepted and closed, or its listener was: both end this. */
		if (!result && chance(&state, 70))
			while (CALL(CALL_RECV, fd,
				    recv(fd, buffer, 5000, 0)) < 0 &&
			       errno == EINTR)
				;
		watch_moved();
		CALL(CALL_CLOSE, fd, close(fd));
	}
	watch_pester(false);
	buffer_put(buffer);
	return NULL;
}

static void *storm_accept(void *argument)
{
	int listener = *(int *)argument;
	int fd;

	/* Ends when the listener is shut down, which a C listener does not tell. */
	while ((fd = CALL(CALL_ACCEPT, listener,
			  accept4(listener, NULL, NULL, 0))) >= 0) {
		watch_moved();
		CALL(CALL_CLOSE, fd, close(fd));
	}
	watch_moved();
	return NULL;
}

void scene_storm(uint64_t seed)
{
	struct storm storm = { .seed = seed };
	uint64_t state = mix(seed);
	struct helper *threads[CONNECTORS], *accepter = NULL;
	int connectors = 1 + draw(&state, CONNECTORS);
	int listener = CALL(CALL_LISTEN, -1,
			    vsock_listener(&storm.port, 1 + draw(&state, 6)));
	int rounds = draw(&state, 12);
	bool two = chance(&state, 30);

	if (listener < 0) {
		unexpected("listen", errno);
		return;
	}
	set_timeout(listener, SO_RCVTIMEO, settings.strict && two ? 0 : 40);
	for (int i = 0; i < connectors; i++)
		threads[i] = spawn(storm_connect, &storm);
	if (two)
		accepter = spawn(storm_accept, &listener);
	while (rounds--) {
		struct pollfd entry = { .fd = listener, .events = POLLIN };
		int fd;

		switch (draw(&state, 6)) {
		case 0:
			CALL(CALL_POLL, listener,
			     poll(&entry, 1, draw(&state, 30)));
			break;
		case 1:
			CALL(CALL_LISTEN, listener,
			     listen(listener, draw(&state, 8)));
			break;
		case 2:
			CALL(CALL_SLEEP, -1, usleep(draw(&state, 2000)));
			break;
		default:
			if (two)
				break;
			fd = CALL(CALL_ACCEPT, listener,
				  accept4(listener, NULL, NULL, SOCK_NONBLOCK));
			if (fd < 0)
				break;
			if (chance(&state, 30))
				CALL(CALL_SEND, fd,
				     send(fd, &seed, 8, MSG_NOSIGNAL));
			if (chance(&state, 30))
				CALL(CALL_SHUTDOWN, fd, shutdown(fd, SHUT_RDWR));
			CALL(CALL_CLOSE, fd, close(fd));
		}
		watch_moved();
	}
	if (two || chance(&state, 40))
		CALL(CALL_SHUTDOWN, listener, shutdown(listener, SHUT_RDWR));
	if (two)
		join(accepter);
	CALL(CALL_CLOSE, listener, close(listener));
	for (int i = 0; i < connectors; i++)
		join(threads[i]);
}

/* ---- any call, on any socket, by several threads ---- */

struct misuse {
	uint64_t seed;
	atomic_int number;
	int fds[MISUSED];
	unsigned int port;
};

static void misuse_once(const struct misuse *misuse, uint64_t *state, int fd)
{
	struct sockaddr_vm address;
	socklen_t len = sizeof(address);
	struct pollfd entry = { .fd = fd, .events = POLLIN | POLLOUT };
	char data[3000];
	uint64_t size;
	int number;

	switch (draw(state, 17)) {
	case 0:
		CALL(CALL_BIND, fd, vsock_bind(fd, VMADDR_CID_ANY,
					       chance(state, 50) ? VMADDR_PORT_ANY :
					       20000 + draw(state, 8)));
		break;
	case 1:
		CALL(CALL_LISTEN, fd, listen(fd, draw(state, 4)));
		break;
	case 2:
		CALL(CALL_CONNECT, fd, vsock_connect(fd, settings.cid, misuse->port));
		break;
	case 3:
		/* To itself, or to another that is misused. */
		len = sizeof(address);
		if (!getsockname(misuse->fds[draw(state, MISUSED)],
				 (struct sockaddr *)&address, &len))
			CALL(CALL_CONNECT, fd,
			     vsock_connect(fd, settings.cid, address.svm_port));
		break;
	case 4:
		number = CALL(CALL_ACCEPT, fd, accept4(fd, NULL, NULL, 0));
		if (number >= 0)
			CALL(CALL_CLOSE, number, close(number));
		break;
	case 5:
	case 6:
		CALL(CALL_SEND, fd, send(fd, data, sizeof(data), MSG_NOSIGNAL));
		break;
	case 7:
	case 8:
		CALL(CALL_RECV, fd, recv(fd, data, sizeof(data),
					 chance(state, 30) ? MSG_WAITALL : 0));
		break;
	case 9:
		CALL(CALL_SHUTDOWN, fd, shutdown(fd, draw(state, 3)));
		break;
	case 10:
		CALL(CALL_GETSOCKOPT, fd,
		     getpeername(fd, (struct sockaddr *)&address, &len));
		break;
	case 11:
		CALL(CALL_POLL, fd, poll(&entry, 1, draw(state, 5)));
		break;
	case 12:
		CALL(CALL_SETSOCKOPT, fd,
		     set_int(fd, SOL_SOCKET, SO_RCVLOWAT, draw(state, 5000)));
		break;
	case 13:
		CALL(CALL_SETSOCKOPT, fd,
		     set_buffer(fd, SO_VM_SOCKETS_BUFFER_SIZE,
				draw(state, 300000)));
		break;
	case 14:
		CALL(CALL_GETSOCKOPT, fd,
		     get_buffer(fd, SO_VM_SOCKETS_BUFFER_SIZE, &size));
		break;
	case 15:
		/* SIOCOUTQ */
		ioctl(fd, 0x5411, &number);
		break;
	case 16:
		CALL(CALL_RECV, fd, recv(fd, data, 1, MSG_PEEK));
		break;
	}
	watch_moved();
}

static void *misuse_run(void *argument)
{
	struct misuse *misuse = argument;
	uint64_t state = mix(misuse->seed + 1 + misuse->number++);
	int rounds = 10 + draw(&state, 40);

	watch_pester(chance(&state, 30));
	while (rounds--)
		misuse_once(misuse, &state, misuse->fds[draw(&state, MISUSED)]);
	watch_pester(false);
	return NULL;
}

void scene_misuse(uint64_t seed)
{
	struct misuse misuse = { .seed = seed };
	uint64_t state = mix(seed);
	struct helper *threads[MISUSERS];
	int listener = vsock_listener(&misuse.port, 2);

	if (listener < 0) {
		unexpected("listen", errno);
		return;
	}
	for (int i = 0; i < MISUSED; i++) {
		int fd = CALL(CALL_SOCKET, -1, vsock_stream(0));

		misuse.fds[i] = fd;
		if (chance(&state, 50))
			fcntl(fd, F_SETFL, O_NONBLOCK);
		/* Otherwise a time limit bounds each call. */
		set_timeout(fd, SO_RCVTIMEO, 1 + draw(&state, 20));
		set_timeout(fd, SO_SNDTIMEO, 1 + draw(&state, 20));
		set_connect_timeout(fd, 1 + draw(&state, 20));
	}
	for (int i = 0; i < MISUSERS; i++)
		threads[i] = spawn(misuse_run, &misuse);
	for (int i = 0; i < MISUSERS; i++)
		join(threads[i]);
	for (int i = 0; i < MISUSED; i++)
		CALL(CALL_CLOSE, misuse.fds[i], close(misuse.fds[i]));
	close(listener);
}

/* Connects to a port where nobody listens: refused, timed out, interrupted. */
void scene_nobody(uint64_t seed)
{
	uint64_t state = mix(seed);
	int rounds = 1 + draw(&state, 5);

	watch_pester(chance(&state, 50));
	while (rounds--) {
		bool blocking = chance(&state, 60);
		int fd = CALL(CALL_SOCKET, -1,
			      vsock_stream(blocking ? 0 : SOCK_NONBLOCK));
		struct pollfd entry = { .fd = fd, .events = POLLIN | POLLOUT };

		if (fd < 0) {
			unexpected("socket", errno);
			break;
		}
		set_connect_timeout(fd, 1 + draw(&state, 200));
		if (!CALL(CALL_CONNECT, fd,
			  vsock_connect(fd, settings.cid, PORT_NOBODY)))
			wrong(VERDICT_ERRORS, "connected to nobody");
		else
			check_refusal(errno);
		/* Closed at once, or when it has failed. */
		if (!blocking && chance(&state, 60))
			CALL(CALL_POLL, fd, poll(&entry, 1, -1));
		watch_moved();
		CALL(CALL_CLOSE, fd, close(fd));
	}
	watch_pester(false);
}
