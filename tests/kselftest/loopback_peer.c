// SPDX-License-Identifier: GPL-2.0
/*
 * The host's programs (tests/peer) over loopback: runs a suite with the same
 * services behind it, on the same ports, in a process of its own on this side.
 *
 *   loopback_peer CID PROGRAM ARGUMENT...
 *
 * It has two services more, which take that half of a connection may be closed:
 * "send-after-end TOTAL CHUNK DELAY_US" reads to the end and then sends, and
 * "sink-after-shutdown" ends its own direction first and then reads. And "buffer
 * SIZE COMMAND" is the command with a buffer of that size on this side.
 *
 * And it has a service for SOCK_SEQPACKET, which the first message commands:
 * "echo"; "send COUNT LEN" (each with MSG_EOR that has an odd number); "fill LEN"
 * sends until no more is taken; "abandon LEN" gives one message up and closes;
 * "two LEN" sends one of 1,000 bytes and one of that length;
 * "count" reads to the end and answers with how much came; "dial PORT" connects and
 * echoes there.
 *
 * The suite reaches the services at CID, which RVSOCK_PEER_CID tells it: 1, or
 * the guest's own where it has a device. The exit status is the suite's.
 * RVSOCK_PEER_STATS names a file that gets a line for each connection.
 */
#define _GNU_SOURCE
#include "vsock_util.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* The echo's buffer; a suite's largest chunk is within it, too. */
#define BUFFER		MIB(1)
/* How long `reset` waits for something that it can leave unread. */
#define UNREAD_MS	1000

/* One connection, and what went over it. */
struct served {
	int fd;
	unsigned int port;
	bool dialled, buffer_is_set;
	uint8_t *buffer;
	uint64_t bytes_in, bytes_out;
	uint32_t crc_in, crc_out;
	/* Why the service did not end as it should have, or NULL. */
	const char *failed;
};

static void serve_command(struct served *served, const char *line);

static bool put(struct served *served, const void *data, size_t len)
{
	if (send_all(served->fd, data, len)) {
		served->failed = strerrordesc_np(errno);
		return false;
	}
	served->bytes_out += len;
	served->crc_out = crc32_update(served->crc_out, data, len);
	return true;
}

/* Bytes that came, at most @room; 0 at the end and after a failure. */
static size_t get(struct served *served, size_t room)
{
	ssize_t got = recv(served->fd, served->buffer, room, 0);

	if (got < 0) {
		served->failed = strerrordesc_np(errno);
		return 0;
	}
	served->bytes_in += got;
	served->crc_in = crc32_update(served->crc_in, served->buffer, got);
	return got;
}

static void await_close(struct served *served)
{
	while (get(served, BUFFER))
		;
}

static void echo(struct served *served)
{
	size_t got;

	do
		got = get(served, BUFFER);
	while (got && put(served, served->buffer, got));
}

static void two_bytes(struct served *served)
{
	if (get(served, 64))
		put(served, "OK", 2);
}

static void buffer(struct served *served, uint64_t size)
{
	set_buffer(served->fd, SO_VM_SOCKETS_BUFFER_MAX_SIZE, size);
	set_buffer(served->fd, SO_VM_SOCKETS_BUFFER_SIZE, size);
	served->buffer_is_set = true;
}

static void send_pattern(struct served *served, uint64_t total, size_t chunk,
			 unsigned int delay_us)
{
	/* As with the host's programs, only the reader's buffer is a bound. */
	if (!served->buffer_is_set)
		buffer(served, BUFFER);
	for (uint64_t at = 0; at < total; at += chunk) {
		size_t len = total - at < chunk ? total - at : chunk;

		if (at && delay_us)
			usleep(delay_us);
		pattern_fill(served->buffer, len, at);
		if (!put(served, served->buffer, len))
			return;
	}
}

static void sink(struct served *served, uint64_t total, long delay_ms)
{
	uint64_t have = 0;
	char line[64];
	size_t got;

	sleep_ms(delay_ms);
	while (have < total) {
		uint64_t left = total - have;

		got = get(served, left < BUFFER ? left : BUFFER);
		if (!got) {
			served->failed = served->failed ?: "closed too early";
			return;
		}
		have += got;
	}
	snprintf(line, sizeof(line), "%llu %08x\n", (unsigned long long)have,
		 served->crc_in);
	if (put(served, line, strlen(line)))
		await_close(served);
}

/* Tell the end, and read on until the other end tells its own. */
static void sink_after_shutdown(struct served *served)
{
	if (shutdown(served->fd, SHUT_WR))
		served->failed = strerrordesc_np(errno);
	else
		await_close(served);
}

/* Leave something unread, so that the close is a reset. */
static void leave_unread(struct served *served, long delay_ms)
{
	sleep_ms(delay_ms);
	if (!(poll_for(served->fd, POLLIN, UNREAD_MS) & POLLIN))
		served->failed = "nothing came that could be left unread";
}

/* A line of JSON for each connection, as the host's programs write it. */
static void note(const struct served *served)
{
	const char *path = getenv("RVSOCK_PEER_STATS");
	FILE *file = path ? fopen(path, "a") : NULL;

	if (!file)
		return;
	fprintf(file,
		"{\"port\":%u,\"direction\":\"%s\",\"bytes_in\":%llu,\"crc_in\":\"%08x\",\"bytes_out\":%llu,\"crc_out\":\"%08x\"}\n",
		served->port, served->dialled ? "out" : "in",
		(unsigned long long)served->bytes_in, served->crc_in,
		(unsigned long long)served->bytes_out, served->crc_out);
	fclose(file);
}

static void end(struct served *served)
{
	close(served->fd);
	free(served->buffer);
	note(served);
}

/* Connect to a port of the suite, and be a service there. */
static void dial(struct served *asking, const char *command)
{
	struct served served = { .fd = vsock_stream(0), .dialled = true };
	char line[256];
	unsigned int port;
	int used = 0;

	if (sscanf(command, "%u %n", &port, &used) < 1 || !put(asking, "dialling\n", 9))
		return;
	served.port = used ? port : 0;
	served.buffer = malloc(BUFFER);
	if (!used || !served.buffer)
		served.failed = "no such command, or no memory";
	else if (vsock_connect(served.fd, vsock_peer_cid(), port))
		served.failed = strerrordesc_np(errno);
	else
		serve_command(&served, command + used);
	end(&served);
	if (served.failed)
		snprintf(line, sizeof(line), "result failed %s\n", served.failed);
	else
		snprintf(line, sizeof(line), "result ok %llu %08x %llu %08x\n",
			 (unsigned long long)served.bytes_in, served.crc_in,
			 (unsigned long long)served.bytes_out, served.crc_out);
	put(asking, line, strlen(line));
}

/* One message; 0 at the end, for an empty one, and after a failure. */
static ssize_t get_message(struct served *served, int *flags)
{
	struct iovec iov = { .iov_base = served->buffer, .iov_len = BUFFER };
	struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t got = recvmsg(served->fd, &header, 0);

	*flags = header.msg_flags & MSG_EOR;
	return got;
}

static void echo_messages(struct served *served)
{
	ssize_t got;
	int flags;

	while ((got = get_message(served, &flags)) > 0)
		if (send(served->fd, served->buffer, got, flags) != got)
			return;
}

/* Send until nothing more is taken for a while. */
static void fill(struct served *served, size_t len)
{
	for (int idle = 0; idle < 50;) {
		if (send(served->fd, served->buffer, len, MSG_DONTWAIT) == (ssize_t)len) {
			idle = 0;
		} else {
			idle++;
			usleep(10000);
		}
	}
}

static void dial_for_messages(struct served *asking, unsigned int port)
{
	struct served served = {
		.fd = vsock_seqpacket(0), .buffer = asking->buffer,
	};
	const char *result = "ok";

	if (vsock_connect(served.fd, vsock_peer_cid(), port))
		result = strerrordesc_np(errno);
	else
		echo_messages(&served);
	close(served.fd);
	send(asking->fd, result, strlen(result), 0);
}

static void serve_messages(struct served *served)
{
	unsigned long count, len;
	unsigned int port;
	char line[64];
	int flags;
	ssize_t got = recv(served->fd, line, sizeof(line) - 1, 0);

	line[got > 0 ? got : 0] = '\0';
	pattern_fill(served->buffer, BUFFER, 0);
	if (!strcmp(line, "echo")) {
		echo_messages(served);
	} else if (sscanf(line, "send %lu %lu", &count, &len) == 2 && len <= BUFFER) {
		for (unsigned long i = 0; i < count; i++)
			if (send(served->fd, served->buffer, len,
				 i % 2 ? MSG_EOR : 0) != (ssize_t)len)
				break;
		recv(served->fd, line, 1, 0);
	} else if (sscanf(line, "fill %lu", &len) == 1 && len <= BUFFER) {
		fill(served, len);
		recv(served->fd, line, 1, 0);
	} else if (sscanf(line, "abandon %lu", &len) == 1 && len <= BUFFER) {
		set_timeout(served->fd, SO_SNDTIMEO, 300);
		send(served->fd, served->buffer, 1000, 0);
		send(served->fd, served->buffer, len, 0);
	} else if (sscanf(line, "two %lu", &len) == 1 && len <= BUFFER) {
		send(served->fd, served->buffer, 1000, 0);
		send(served->fd, served->buffer, len, 0);
		recv(served->fd, line, 1, 0);
	} else if (!strcmp(line, "count")) {
		for (count = len = 0; (got = get_message(served, &flags)) > 0; count++)
			len += got;
		snprintf(line, sizeof(line), "%lu %lu", count, len);
		send(served->fd, line, strlen(line), 0);
		recv(served->fd, line, 1, 0);
	} else if (sscanf(line, "dial %u", &port) == 1) {
		dial_for_messages(served, port);
	} else {
		fprintf(stderr, "# loopback_peer: there is no command \"%s\"\n", line);
	}
}

static void serve_command(struct served *served, const char *line)
{
	unsigned long long total;
	unsigned int delay;
	size_t chunk;
	int used = 0;

	if (sscanf(line, "buffer %llu %n", &total, &used) == 1 && used) {
		buffer(served, total);
		line += used;
	}
	if (!strcmp(line, "echo"))
		return echo(served);
	if (sscanf(line, "send-close %llu %zu %u", &total, &chunk, &delay) == 3 &&
	    chunk && chunk <= BUFFER)
		return send_pattern(served, total, chunk, delay);
	if (sscanf(line, "send %llu %zu %u", &total, &chunk, &delay) == 3 &&
	    chunk && chunk <= BUFFER) {
		send_pattern(served, total, chunk, delay);
		return await_close(served);
	}
	if (sscanf(line, "sink %llu %u", &total, &delay) == 2)
		return sink(served, total, delay);
	if (sscanf(line, "send-after-end %llu %zu %u", &total, &chunk, &delay) == 3 &&
	    chunk && chunk <= BUFFER) {
		await_close(served);
		return send_pattern(served, total, chunk, delay);
	}
	if (!strcmp(line, "sink-after-shutdown"))
		return sink_after_shutdown(served);
	if (sscanf(line, "hold %u", &delay) == 1)
		return sleep_ms(delay);
	if (sscanf(line, "reset %u", &delay) == 1)
		return leave_unread(served, delay);
	if (!strncmp(line, "dial ", 5))
		return dial(served, line + 5);
	served->failed = "there is no such command";
	fprintf(stderr, "# loopback_peer: there is no command \"%s\"\n", line);
}

static void *serve(void *argument)
{
	struct served *served = argument;
	char line[201];

	if (served->port == PORT_REPLY)
		two_bytes(served);
	else if (served->port == PORT_ECHO)
		echo(served);
	else if (served->port == PORT_MESSAGES)
		serve_messages(served);
	else if (!vsock_read_line(served->fd, line, sizeof(line)))
		serve_command(served, line);
	end(served);
	free(served);
	return NULL;
}

static bool serve_in_thread(int fd, unsigned int port)
{
	struct served *served = calloc(1, sizeof(*served));
	pthread_t thread;

	if (!served)
		return false;
	served->fd = fd;
	served->port = port;
	served->buffer = malloc(BUFFER);
	if (!served->buffer || pthread_create(&thread, NULL, serve, served)) {
		free(served->buffer);
		free(served);
		return false;
	}
	pthread_detach(thread);
	return true;
}

static const unsigned int ports[] = {
	PORT_REPLY, PORT_ECHO, PORT_SERVICE, PORT_MESSAGES,
};

#define PORTS (sizeof(ports) / sizeof(ports[0]))
_Static_assert(PORTS == PEER_LISTENERS, "the suites count the peer's listeners");

static void serve_for_ever(struct pollfd listeners[PORTS])
{
	while (poll(listeners, PORTS, -1) >= 0 || errno == EINTR) {
		for (size_t i = 0; i < PORTS; i++) {
			int fd;

			if (!(listeners[i].revents & POLLIN))
				continue;
			fd = accept(listeners[i].fd, NULL, NULL);
			if (fd >= 0 && !serve_in_thread(fd, ports[i])) {
				fprintf(stderr, "# loopback_peer: a connection was lost: %s\n",
					strerror(errno));
				close(fd);
			}
		}
	}
	perror("# loopback_peer: poll");
	exit(2);
}

static int listen_on(unsigned int port)
{
	int type = port == PORT_MESSAGES ? SOCK_SEQPACKET : SOCK_STREAM;
	int fd = socket(vsock_family(), type | SOCK_CLOEXEC, 0);

	if (fd < 0 || vsock_bind(fd, VMADDR_CID_ANY, port) || listen(fd, 128)) {
		fprintf(stderr, "loopback_peer: cannot listen on port %u: %s; unload what has it.\n",
			port, strerror(errno));
		exit(2);
	}
	return fd;
}

int main(int argc, char **argv)
{
	struct pollfd listeners[PORTS];
	pid_t services;

	if (argc < 3 || setenv("RVSOCK_PEER_CID", argv[1], 1)) {
		fprintf(stderr, "Usage: loopback_peer CID PROGRAM ARGUMENT...\n");
		return 2;
	}
	/* The ports are there before the suite is. */
	for (size_t i = 0; i < PORTS; i++)
		listeners[i] = (struct pollfd) {
			.fd = listen_on(ports[i]), .events = POLLIN,
		};
	services = fork();
	if (services < 0) {
		perror("loopback_peer: fork");
		return 2;
	}
	if (services) {
		int status;
		pid_t suite = fork();

		if (!suite) {
			execv(argv[2], argv + 2);
			fprintf(stderr, "loopback_peer: cannot run %s: %s\n",
				argv[2], strerror(errno));
			_exit(2);
		}
		for (size_t i = 0; i < PORTS; i++)
			close(listeners[i].fd);
		if (suite < 0 || waitpid(suite, &status, 0) != suite)
			status = -1;
		kill(services, SIGKILL);
		waitpid(services, NULL, 0);
		return WIFEXITED(status) ? WEXITSTATUS(status) : 2;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_IGN);
	serve_for_ever(listeners);
}
