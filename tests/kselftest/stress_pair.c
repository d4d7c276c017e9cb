// SPDX-License-Identifier: GPL-2.0
/*
 * Conversations: between two ends that this program makes in one of several
 * ways, or with whoever listens on PORT_STRESS ("the hub"), here or elsewhere.
 */
#define _GNU_SOURCE
#include "stress.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* What a conversation with the hub starts with. */
struct hello {
	uint64_t magic, seed;
};

#define HELLO_MAGIC	0x53534552545356u
/* Conversations of the hub at the same time; more wait. */
#define HUB_THREADS	8

struct side {
	const struct plan *plan;
	int role, fd;
	struct outcome outcome;
};

static void *side_run(void *argument)
{
	struct side *side = argument;

	end_run(side->plan, side->role, side->fd, &side->outcome);
	return NULL;
}

/* ---- making a pair ---- */

struct connector {
	int fd;
	unsigned int port;
	long result;
	int error;
};

/* Blocking, or without and then waited for. */
static void connect_to(struct connector *connector, unsigned int cid,
		       bool blocking)
{
	int fd = connector->fd;
	socklen_t len = sizeof(connector->error);

	if (!blocking)
		fcntl(fd, F_SETFL, O_NONBLOCK);
	connector->result = CALL(CALL_CONNECT, fd,
				 vsock_connect(fd, cid, connector->port));
	connector->error = connector->result ? errno : 0;
	if (!blocking && connector->error == EINPROGRESS) {
		struct pollfd entry = { .fd = fd, .events = POLLOUT };

		if (CALL(CALL_POLL, fd, poll(&entry, 1, -1)) != 1)
			unexpected("poll for a connect", errno);
		CALL(CALL_GETSOCKOPT, fd,
		     getsockopt(fd, SOL_SOCKET, SO_ERROR, &connector->error,
				&len));
		connector->result = connector->error ? -1 : 0;
	}
	if (!blocking)
		fcntl(fd, F_SETFL, 0);
	watch_moved();
}

static void *connector_run(void *argument)
{
	connect_to(argument, settings.cid, true);
	return NULL;
}

static int make_socket(void)
{
	int fd = CALL(CALL_SOCKET, -1, vsock_stream(0));

	if (fd < 0)
		unexpected("socket", errno);
	return fd;
}

static int make_listener(unsigned int *port, int backlog)
{
	int fd = CALL(CALL_LISTEN, -1, vsock_listener(port, backlog));

	if (fd < 0)
		unexpected("listen", errno);
	return fd;
}

/* Two connected sockets, or false. */
static bool make_pair(uint64_t *state, int fds[2])
{
	struct connector connector;
	bool same_thread = chance(state, 50);
	int listener = make_listener(&connector.port, 1 + draw(state, 4));
	struct sockaddr_vm peer, name;
	socklen_t len = sizeof(peer);
	struct helper *thread;

	fds[0] = -1;
	fds[1] = -1;
	if (listener < 0)
		return false;
	connector.fd = make_socket();
	if (connector.fd < 0) {
		close(listener);
		return false;
	}
	if (same_thread)
		connect_to(&connector, settings.cid, chance(state, 50));
	else
		thread = spawn(connector_run, &connector);
	if (!same_thread || !connector.result)
		fds[1] = CALL(CALL_ACCEPT, listener,
			      accept4(listener, (struct sockaddr *)&peer, &len, 0));
	if (!same_thread)
		join(thread);
	CALL(CALL_CLOSE, listener, close(listener));
	if (connector.result || fds[1] < 0) {
		unexpected(connector.result ? "connect" : "accept",
			   connector.result ? connector.error : errno);
		close(connector.fd);
		if (fds[1] >= 0)
			close(fds[1]);
		return false;
	}
	fds[0] = connector.fd;
	len = sizeof(name);
	if (getsockname(fds[0], (struct sockaddr *)&name, &len) ||
	    name.svm_port != peer.svm_port)
		wrong(VERDICT_DATA, "accept told of port %u, the peer has %u",
		      peer.svm_port, name.svm_port);
	watch_moved();
	return true;
}

/* Who closes with unread bytes resets the connection, and so tells their sender. */
static void check_told(const struct plan *plan, const struct outcome *cutter,
		       const struct outcome *other)
{
	if (settings.strict && plan->cut == CUT_CLOSE && !cutter->shut &&
	    other->sent > cutter->received && other->orderly && !other->broken)
		wrong(VERDICT_DATA, "%llu bytes were sent and %llu received, and the sender was told of an orderly end",
		      (unsigned long long)other->sent,
		      (unsigned long long)cutter->received);
}

static void scene_pair(uint64_t seed)
{
	uint64_t state = mix(seed);
	struct plan plan;
	struct side sides[2];
	struct helper *thread;
	int fds[2];

	plan_make(&plan, seed, true);
	if (!make_pair(&state, fds))
		return;
	for (int role = 0; role < 2; role++)
		sides[role] = (struct side){
			.plan = &plan, .role = role, .fd = fds[role],
		};
	thread = spawn(side_run, &sides[1]);
	side_run(&sides[0]);
	join(thread);
	check_told(&plan, &sides[plan.cutter].outcome,
		   &sides[1 - plan.cutter].outcome);
}

/*
 * Leaves the calling process, a child, no socket but @fd. Those of other scenes would
 * stay open as long as it lives, and two children would each wait for a close that the
 * other one holds up.
 */
static void keep_only(int fd)
{
	if (fd > STDERR_FILENO + 1)
		close_range(STDERR_FILENO + 1, fd - 1, 0);
	close_range(fd + 1, ~0U, 0);
}

/* One end is another process, which may be killed. */
static void scene_fork(uint64_t seed)
{
	uint64_t state = mix(seed);
	struct plan plan;
	int fds[2], status;
	struct side here;
	struct helper *thread;
	bool kills;
	pid_t child;

	plan_make(&plan, seed, true);
	kills = chance(&state, 50);
	if (kills) {
		plan.cut = CUT_KILL;
		plan.cutter = 1;
	}
	if (!make_pair(&state, fds))
		return;
	child = spawn_process();
	if (!child) {
		keep_only(fds[1]);
		watch_enter(seed, "fork");
		end_run(&plan, 1, fds[1], NULL);
		watch_leave();
		_exit(0);
	}
	close(fds[1]);
	if (child < 0) {
		close(fds[0]);
		return;
	}
	here = (struct side){ .plan = &plan, .role = 0, .fd = fds[0] };
	thread = spawn(side_run, &here);
	if (kills) {
		CALL(CALL_SLEEP, -1, usleep(draw(&state, 60000)));
		CALL(CALL_SIGNAL, -1, kill(child, SIGKILL));
		count(TOTAL_KILLED, 1);
	}
	CALL(CALL_WAIT, -1, waitpid(child, &status, 0));
	watch_forget(child);
	watch_moved();
	join(thread);
	if (!kills && status)
		wrong(VERDICT_ERRORS, "a child ended with status %#x", status);
}

/* ---- the hub ---- */

static atomic_bool hub_stops;
static int hub_fd = -1;
static struct helper *hub_threads[HUB_THREADS];

static void *hub_run(void *argument)
{
	(void)argument;
	while (!hub_stops) {
		struct pollfd entry = { .fd = hub_fd, .events = POLLIN };
		struct hello hello;
		struct plan plan;
		int fd;

		/* It may be long until somebody comes, and that is all right. */
		watch_moved();
		if (CALL(CALL_POLL, hub_fd, poll(&entry, 1, 200)) <= 0)
			continue;
		fd = CALL(CALL_ACCEPT, hub_fd,
			  accept4(hub_fd, NULL, NULL, 0));
		if (fd < 0)
			continue;
		if (CALL(CALL_RECV, fd, recv_all(fd, &hello, sizeof(hello))) ||
		    hello.magic != HELLO_MAGIC) {
			wrong(VERDICT_DATA, "a conversation began with %s",
			      errno ? strerror(errno) : "something else");
			close(fd);
			continue;
		}
		plan_make(&plan, hello.seed, true);
		watch_scene(hello.seed, "hub");
		end_run(&plan, 1, fd, NULL);
		watch_scene(0, "hub, idle");
	}
	return NULL;
}

bool hub_start(void)
{
	int fd = vsock_stream(SOCK_NONBLOCK);

	if (fd < 0 || vsock_bind(fd, VMADDR_CID_ANY, PORT_STRESS) ||
	    listen(fd, 256)) {
		perror("listening for other stress programs");
		return false;
	}
	hub_fd = fd;
	for (int i = 0; i < HUB_THREADS; i++)
		hub_threads[i] = spawn(hub_run, NULL);
	return true;
}

void hub_stop(void)
{
	hub_stops = true;
	for (int i = 0; i < HUB_THREADS; i++)
		join(hub_threads[i]);
	close(hub_fd);
}

static void scene_hub(uint64_t seed)
{
	struct connector connector = { .port = PORT_STRESS };
	struct hello hello = { HELLO_MAGIC, seed };
	uint64_t state = mix(seed);
	struct plan plan;

	plan_make(&plan, seed, true);
	connector.fd = make_socket();
	if (connector.fd < 0)
		return;
	connect_to(&connector, settings.cid, chance(&state, 50));
	if (connector.result) {
		unexpected("connect to the hub", connector.error);
		close(connector.fd);
		return;
	}
	if (CALL(CALL_SEND, connector.fd,
		 send_all(connector.fd, &hello, sizeof(hello)))) {
		unexpected("greeting the hub", errno);
		close(connector.fd);
		return;
	}
	end_run(&plan, 0, connector.fd, NULL);
}

const struct scene local_scenes[] = {
	{ "pair", 50, scene_pair },
	{ "hub", 12, scene_hub },
	{ "fork", 8, scene_fork },
	{ "storm", 15, scene_storm },
	{ "misuse", 10, scene_misuse },
	{ "nobody", 5, scene_nobody },
	{ 0 }
};

const struct scene remote_scenes[] = {
	{ "hub", 90, scene_hub },
	{ "nobody", 10, scene_nobody },
	{ 0 }
};
