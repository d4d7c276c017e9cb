// SPDX-License-Identifier: GPL-2.0
/*
 * Scenes with the host's programs (tests/peer): what they send is known, what
 * they were sent they count, and they can be asked to connect to a port here.
 * The device behind them knows no half-close, so no scene depends on it.
 */
#define _GNU_SOURCE
#include "stress.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* An echo: what is sent comes back, and only this end gives up. */
static void plan_echo(struct plan *plan, uint64_t seed)
{
	plan_make(plan, seed, false);
	plan->total[1] = plan->total[0];
	plan->key[1] = plan->key[0];
	plan->cutter = 0;
	if (plan->cut_after > plan->total[1])
		plan->cut_after = plan->total[1];
	/* Who stops reading would wait for an end that does not come. */
	if (plan->cut == CUT_READING)
		plan->cut = CUT_CLOSE;
}

static int connect_peer(unsigned int port)
{
	int fd = CALL(CALL_CONNECT, -1, vsock_connected(port));

	if (fd < 0)
		unexpected("connect to the host", errno);
	watch_moved();
	return fd;
}

static void scene_echo(uint64_t seed)
{
	struct plan plan;
	int fd = connect_peer(PORT_ECHO);

	if (fd < 0)
		return;
	plan_echo(&plan, seed);
	end_run(&plan, 0, fd, NULL);
}

static void scene_dialled(uint64_t seed)
{
	struct plan plan;
	int fd, asking = CALL(CALL_ACCEPT, -1, vsock_dialled("echo", &fd));

	watch_moved();
	if (asking < 0) {
		unexpected("being dialled", errno);
		return;
	}
	plan_echo(&plan, seed);
	end_run(&plan, 0, fd, NULL);
	CALL(CALL_CLOSE, asking, close(asking));
}

static void scene_two_bytes(uint64_t seed)
{
	uint64_t state = mix(seed);
	int rounds = 1 + draw(&state, 5);

	while (rounds--) {
		char reply[2] = "";
		int fd = connect_peer(PORT_REPLY);
		long got;

		if (fd < 0)
			return;
		if (CALL(CALL_SEND, fd, send_all(fd, "hello", 5)))
			unexpected("asking for two bytes", errno);
		got = CALL(CALL_RECV, fd, recv(fd, reply, 2, 0));
		if (got < 0)
			unexpected("the two bytes", errno);
		else if (got != 2 || memcmp(reply, "OK", 2))
			wrong(VERDICT_DATA, "%ld bytes, \"%.2s\", in place of OK",
			      got, reply);
		CALL(CALL_CLOSE, fd, close(fd));
		watch_moved();
	}
}

/* Calls of many kinds read what the host sends; some leave early. */
static void scene_pattern(uint64_t seed)
{
	uint64_t state = mix(seed), have = 0;
	uint64_t total = draw_size(&state, KIB(300));
	uint64_t leave = chance(&state, 30) ? draw(&state, total) : total;
	uint8_t *buffer = buffer_get();
	int fd = CALL(CALL_CONNECT, -1,
		      vsock_ask("%s %llu %zu %llu",
				chance(&state, 50) ? "send" : "send-close",
				(unsigned long long)total,
				draw_size(&state, KIB(70)) + 40,
				(unsigned long long)(chance(&state, 30) ?
						     draw(&state, 300) : 0)));

	watch_moved();
	if (fd < 0) {
		unexpected("asking for the pattern", errno);
		buffer_put(buffer);
		return;
	}
	watch_pester(chance(&state, 30));
	while (have < leave) {
		static const int flags[] = {
			0, 0, MSG_WAITALL, MSG_WAITALL, MSG_PEEK, MSG_DONTWAIT,
			MSG_TRUNC, MSG_TRUNC | MSG_WAITALL,
			MSG_PEEK | MSG_WAITALL, MSG_PEEK | MSG_DONTWAIT,
		};
		int how = flags[draw(&state, sizeof(flags) / sizeof(flags[0]))];
		size_t len = draw_size(&state, total - have);
		long got = CALL(how & MSG_PEEK ? CALL_PEEK : CALL_RECV, fd,
				recv(fd, buffer, len, how));

		if (got < 0 && (errno == EINTR ||
				(errno == EAGAIN && how & MSG_DONTWAIT)))
			continue;
		if (got < 0) {
			unexpected("recv of the pattern", errno);
			break;
		}
		if (!got) {
			wrong(VERDICT_DATA, "the pattern ended after %llu of %llu bytes",
			      (unsigned long long)have, (unsigned long long)total);
			break;
		}
		if (!(how & MSG_TRUNC) &&
		    pattern_check(buffer, got, have) != (size_t)got) {
			wrong(VERDICT_DATA, "strange bytes in the pattern after %llu of %llu",
			      (unsigned long long)have, (unsigned long long)total);
			break;
		}
		watch_moved();
		if (how & MSG_PEEK)
			continue;
		have += got;
		count(TOTAL_RECEIVED, got);
	}
	watch_pester(false);
	CALL(CALL_CLOSE, fd, close(fd));
	buffer_put(buffer);
}

/* The host counts what it gets, after a while. */
static void scene_sink(uint64_t seed)
{
	uint64_t state = mix(seed);
	size_t total = draw_size(&state, BUFFER_SIZE), sent = 0;
	uint8_t *buffer = buffer_get();
	int fd = CALL(CALL_CONNECT, -1,
		      vsock_ask("sink %zu %d", total,
				chance(&state, 30) ? (int)draw(&state, 50) : 0));
	char line[64], expected[64];

	watch_moved();
	if (fd < 0) {
		unexpected("asking for the sink", errno);
		buffer_put(buffer);
		return;
	}
	data_fill(mix(seed), 0, buffer, total);
	watch_pester(chance(&state, 30));
	while (sent < total) {
		bool waits = chance(&state, 80);
		struct pollfd entry = { .fd = fd, .events = POLLOUT };
		long put = CALL(CALL_SEND, fd,
				send(fd, buffer + sent,
				     draw_size(&state, total - sent),
				     MSG_NOSIGNAL | (waits ? 0 : MSG_DONTWAIT)));

		if (put < 0 && errno == EAGAIN && !waits)
			CALL(CALL_POLL, fd, poll(&entry, 1, -1));
		else if (put < 0 && errno != EINTR)
			break;
		if (put > 0) {
			sent += put;
			count(TOTAL_SENT, put);
			watch_moved();
		}
	}
	watch_pester(false);
	snprintf(expected, sizeof(expected), "%zu %08x", total,
		 crc32_update(0, buffer, total));
	if (sent < total)
		unexpected("send to the sink", errno);
	else if (CALL(CALL_RECV, fd, vsock_read_line(fd, line, sizeof(line))))
		unexpected("recv of the sink's count", errno);
	else if (strcmp(line, expected))
		wrong(VERDICT_DATA, "the host counted \"%s\", sent were \"%s\"",
		      line, expected);
	CALL(CALL_CLOSE, fd, close(fd));
	buffer_put(buffer);
}

/* A host that resets, or takes nothing. */
static void scene_rude(uint64_t seed)
{
	uint64_t state = mix(seed);
	bool resets = chance(&state, 60);
	uint8_t *buffer = buffer_get();
	int fd = CALL(CALL_CONNECT, -1,
		      vsock_ask("%s %d", resets ? "reset" : "hold",
				(int)draw(&state, 100)));

	watch_moved();
	if (fd < 0) {
		unexpected("asking for a reset", errno);
		buffer_put(buffer);
		return;
	}
	set_timeout(fd, SO_SNDTIMEO, 1 + draw(&state, 60));
	set_timeout(fd, SO_RCVTIMEO, 2000);
	for (int i = draw(&state, 10); i >= 0; i--)
		if (CALL(CALL_SEND, fd,
			 send(fd, buffer, draw_size(&state, KIB(100)),
			      MSG_NOSIGNAL)) < 0 &&
		    errno != EAGAIN && errno != EPIPE && errno != ECONNRESET)
			unexpected("send to a rude host", errno);
	if (CALL(CALL_RECV, fd, recv(fd, buffer, 100, 0)) > 0)
		wrong(VERDICT_DATA, "bytes from a host that sends none");
	watch_moved();
	CALL(CALL_CLOSE, fd, close(fd));
	buffer_put(buffer);
}

/* A listener that is dialled more often than it accepts, and closed. */
static void scene_children(uint64_t seed)
{
	uint64_t state = mix(seed);
	unsigned int port;
	int asking[5];
	int listener = CALL(CALL_LISTEN, -1,
			    vsock_listener(&port, 1 + draw(&state, 3)));
	struct pollfd entry = { .fd = listener, .events = POLLIN };

	if (listener < 0) {
		unexpected("listen", errno);
		return;
	}
	for (int i = 0; i < 5; i++) {
		asking[i] = CALL(CALL_CONNECT, -1, vsock_dial(port, "echo"));
		watch_moved();
	}
	if (chance(&state, 50))
		CALL(CALL_POLL, listener, poll(&entry, 1, 100));
	for (int i = draw(&state, 3); i > 0; i--) {
		int fd = CALL(CALL_ACCEPT, listener,
			      accept4(listener, NULL, NULL, SOCK_NONBLOCK));

		/* The listener blocks, and may have nobody left. */
		if (fd >= 0)
			CALL(CALL_CLOSE, fd, close(fd));
		if (poll_for(listener, POLLIN, 0) != POLLIN)
			break;
	}
	if (chance(&state, 40))
		CALL(CALL_SHUTDOWN, listener, shutdown(listener, SHUT_RDWR));
	CALL(CALL_CLOSE, listener, close(listener));
	for (int i = 0; i < 5; i++)
		if (asking[i] >= 0)
			CALL(CALL_CLOSE, asking[i], close(asking[i]));
	watch_moved();
}

const struct scene peer_scenes[] = {
	{ "echo", 40, scene_echo },
	{ "dialled", 8, scene_dialled },
	{ "two_bytes", 10, scene_two_bytes },
	{ "pattern", 15, scene_pattern },
	{ "sink", 10, scene_sink },
	{ "rude", 6, scene_rude },
	{ "children", 4, scene_children },
	{ "nobody", 3, scene_nobody },
	{ "misuse", 4, scene_misuse },
	{ 0 }
};
