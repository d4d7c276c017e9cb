// SPDX-License-Identifier: GPL-2.0
/*
 * The demonstration of "make run": each command does one experiment with the
 * host peer and prints one line of JSON. The exit status is 0 only when every
 * byte that came is the byte that had to come.
 *
 *   demo two-byte                      a request, and a reply of two bytes
 *   demo echo a|b|c                    512 KiB there and back, ten times
 *   demo waitall BYTES ROUNDS [DELAY]  how often recv wakes, MSG_WAITALL
 *   demo dialled                       the host connects to this guest
 */
#define _GNU_SOURCE
#include "vsock_util.h"

#include <errno.h>
#include <poll.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define ECHO_BYTES	KIB(512)
#define ECHO_ROUNDS	10
/* Reads of one run that are remembered; a run of 5 MiB has far fewer. */
#define MAX_READS	8192

/* End the line that was begun: what failed, and why. */
static int failed(const char *what)
{
	printf("\"ok\":false,\"failed\":\"%s\",\"error\":\"%s\"}\n", what,
	       strerrorname_np(errno) ?: "unknown");
	return 1;
}

static const char *truth(bool value)
{
	return value ? "true" : "false";
}

static void *allocate(size_t len)
{
	/* No page fault is to fall into what is measured. */
	void *data = malloc_resident(len);

	if (!data) {
		fprintf(stderr,
			"Not enough memory for %zu bytes: give the guest more.\n",
			len);
		exit(2);
	}
	return data;
}

/* The data must be new in each run, or an old reply could pass for this one. */
static void fill_at_random(uint8_t *data, size_t len)
{
	while (len) {
		ssize_t got = getrandom(data, len < 256 ? len : 256, 0);

		if (got < 0)
			continue;
		data += got;
		len -= got;
	}
}

static int two_byte(void)
{
	static const char request[] = "how are you?";
	char reply[2] = "";
	ssize_t got;
	bool ok;
	int fd;

	printf("{\"demo\":\"two-byte\",\"port\":%u,", PORT_REPLY);
	fd = vsock_connected(PORT_REPLY);
	if (fd < 0)
		return failed("connect");
	if (send_all(fd, request, sizeof(request) - 1))
		return failed("send");
	got = recv(fd, reply, sizeof(reply), 0);
	if (got < 0)
		return failed("recv");
	ok = got == 2 && !memcmp(reply, "OK", 2);
	printf("\"ok\":%s,\"sent\":%zu,\"asked\":%zu,\"got\":%zd,\"reply\":\"%.*s\"}\n",
	       truth(ok), sizeof(request) - 1, sizeof(reply), got,
	       ok ? 2 : 0, reply);
	close(fd);
	return !ok;
}

/* What each recv of a run returned. */
struct reads {
	size_t count;
	size_t size[MAX_READS];
};

static void note_read(struct reads *reads, size_t size)
{
	if (reads->count < MAX_READS)
		reads->size[reads->count] = size;
	reads->count++;
}

static int compare_sizes(const void *a, const void *b)
{
	size_t x = *(const size_t *)a, y = *(const size_t *)b;

	return (x > y) - (x < y);
}

static void print_reads(struct reads *reads)
{
	size_t kept = reads->count < MAX_READS ? reads->count : MAX_READS;

	printf("\"reads\":{\"count\":%zu,\"first\":[", reads->count);
	for (size_t i = 0; i < kept && i < 8; i++)
		printf("%s%zu", i ? "," : "", reads->size[i]);
	qsort(reads->size, kept, sizeof(reads->size[0]), compare_sizes);
	printf("],\"min\":%zu,\"median\":%zu,\"max\":%zu}",
	       kept ? reads->size[0] : 0, kept ? reads->size[kept / 2] : 0,
	       kept ? reads->size[kept - 1] : 0);
}

/*
 * The sending half. It is a thread of its own, since an echo that is full in
 * both directions would otherwise hold the program for ever: variant a leaves
 * bytes behind in each round.
 */
struct sender {
	int fd;
	const uint8_t *data;
	sem_t go, sent;
	int error;
};

static void *sender_run(void *argument)
{
	struct sender *sender = argument;

	for (int round = 0; round < ECHO_ROUNDS; round++) {
		while (sem_wait(&sender->go))
			;
		if (!sender->error &&
		    send_all(sender->fd, sender->data + round * ECHO_BYTES,
			     ECHO_BYTES))
			sender->error = errno;
		sem_post(&sender->sent);
	}
	return NULL;
}

/* Let the round be sent first, as a program of one thread would, if it can be. */
static void send_round(struct sender *sender)
{
	struct timespec end;

	sem_post(&sender->go);
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_nsec += 300 * 1000 * 1000;
	if (end.tv_nsec >= 1000 * 1000 * 1000) {
		end.tv_nsec -= 1000 * 1000 * 1000;
		end.tv_sec++;
	}
	while (sem_timedwait(&sender->sent, &end) && errno == EINTR)
		;
}

/* Read one round as the variant does. */
static ssize_t read_round(int fd, char variant, uint8_t *to, size_t room,
			  struct reads *reads)
{
	size_t have = 0;

	if (room > ECHO_BYTES)
		room = ECHO_BYTES;
	do {
		ssize_t got = recv(fd, to + have, room - have,
				   variant == 'c' ? MSG_WAITALL : 0);

		if (got < 0)
			return -1;
		if (!got)
			break;
		note_read(reads, got);
		have += got;
	} while (variant == 'b' && have < room);
	return have;
}

static int echo(char variant)
{
	static struct reads reads;
	const size_t total = ECHO_BYTES * ECHO_ROUNDS;
	uint8_t *out = allocate(total), *in = allocate(total);
	size_t have = 0, by_rounds;
	struct sender sender = { .data = out };
	pthread_t thread;
	int in_step = 0;
	long began;
	bool ok;

	printf("{\"demo\":\"echo\",\"variant\":\"%c\",\"port\":%u,", variant,
	       PORT_ECHO);
	fill_at_random(out, total);
	sem_init(&sender.go, 0, 0);
	sem_init(&sender.sent, 0, 0);
	sender.fd = vsock_connected(PORT_ECHO);
	if (sender.fd < 0)
		return failed("connect");
	if (pthread_create(&thread, NULL, sender_run, &sender)) {
		errno = EAGAIN;
		return failed("pthread_create");
	}
	began = now_ms();
	for (int round = 0; round < ECHO_ROUNDS; round++) {
		ssize_t got;

		send_round(&sender);
		if (sender.error) {
			errno = sender.error;
			return failed("send");
		}
		got = read_round(sender.fd, variant, in + have, total - have,
				 &reads);
		if (got < 0)
			return failed("recv");
		/* Is this what was sent in this round, and whole? */
		if (got == (ssize_t)ECHO_BYTES &&
		    !memcmp(in + have, out + round * ECHO_BYTES, ECHO_BYTES))
			in_step++;
		have += got;
	}
	by_rounds = have;
	/* What variant a left behind must be right as well. */
	if (have < total && recv_all(sender.fd, in + have, total - have))
		return failed("recv of what was left");
	pthread_join(thread, NULL);
	if (sender.error) {
		errno = sender.error;
		return failed("send");
	}
	ok = !memcmp(in, out, total) && (variant == 'a' || in_step == ECHO_ROUNDS);
	printf("\"ok\":%s,\"rounds\":%d,\"round_bytes\":%zu,\"rounds_in_step\":%d,"
	       "\"bytes_out\":%zu,\"bytes_in\":%zu,\"bytes_in_by_rounds\":%zu,"
	       "\"crc_out\":\"%08x\",\"crc_in\":\"%08x\",\"milliseconds\":%ld,",
	       truth(ok), ECHO_ROUNDS, ECHO_BYTES, in_step, total, total,
	       by_rounds, crc32_update(0, out, total),
	       crc32_update(0, in, total), now_ms() - began);
	print_reads(&reads);
	printf("}\n");
	close(sender.fd);
	return !ok;
}

static int waitall(size_t bytes, unsigned int rounds, unsigned int delay_us)
{
	const size_t chunk = KIB(4);
	uint8_t *data = allocate(bytes);
	size_t wrong = 0, short_reads = 0;
	long *switches = allocate(rounds * sizeof(*switches));
	long total = 0;
	bool ok;
	int fd;

	printf("{\"demo\":\"waitall\",\"bytes\":%zu,\"rounds\":%u,"
	       "\"packet_bytes\":%zu,\"packets_per_recv\":%zu,\"delay_us\":%u,",
	       bytes, rounds, chunk, (bytes + chunk - 1) / chunk, delay_us);
	fd = vsock_ask("send %zu %zu %u", bytes * rounds, chunk, delay_us);
	if (fd < 0)
		return failed("connect");
	for (unsigned int round = 0; round < rounds; round++) {
		long before = voluntary_switches();
		ssize_t got = recv(fd, data, bytes, MSG_WAITALL);

		switches[round] = voluntary_switches() - before;
		total += switches[round];
		if (got < 0)
			return failed("recv");
		if (got != (ssize_t)bytes) {
			short_reads++;
			break;
		}
		if (pattern_check(data, bytes, (uint64_t)bytes * round) != bytes)
			wrong++;
	}
	ok = !wrong && !short_reads;
	printf("\"ok\":%s,\"short_reads\":%zu,\"wrong_rounds\":%zu,"
	       "\"switches\":[", truth(ok), short_reads, wrong);
	for (unsigned int round = 0; round < rounds; round++)
		printf("%s%ld", round ? "," : "", switches[round]);
	printf("],\"switches_per_recv\":%.2f}\n", (double)total / rounds);
	close(fd);
	return !ok;
}

static int dialled(void)
{
	const size_t bytes = KIB(512);
	uint8_t *out = allocate(bytes), *in = allocate(bytes);
	struct sockaddr_vm peer;
	socklen_t len = sizeof(peer);
	struct dial_result host;
	struct caller sender = {
		.call = call_send, .data = out, .len = bytes,
	};
	unsigned int port, crc_out, crc_in;
	int listener, asking, fd;
	bool ok;

	printf("{\"demo\":\"dialled\",");
	fill_at_random(out, bytes);
	listener = vsock_listener(&port, 4);
	if (listener < 0)
		return failed("listen");
	asking = vsock_dial(port, "echo");
	if (asking < 0)
		return failed("asking the host to connect");
	if (poll_for(listener, POLLIN, PATIENCE_MS) != POLLIN) {
		errno = ETIMEDOUT;
		return failed("waiting for the host's connection");
	}
	fd = accept(listener, (struct sockaddr *)&peer, &len);
	if (fd < 0)
		return failed("accept");
	sender.fd = fd;
	if (!caller_start(&sender))
		return failed("send");
	if (recv_all(fd, in, bytes))
		return failed("recv");
	if (!caller_join(&sender) || sender.result != (ssize_t)bytes) {
		errno = sender.error;
		return failed("send");
	}
	crc_out = crc32_update(0, out, bytes);
	crc_in = crc32_update(0, in, bytes);
	/* The echo ends with the connection, and then the host reports. */
	close(fd);
	if (vsock_dial_result(asking, &host))
		return failed("reading the host's result");
	ok = !memcmp(in, out, bytes) && host.ok && host.bytes_in == bytes &&
	     host.bytes_out == bytes && host.crc_in == crc_out &&
	     host.crc_out == crc_in && peer.svm_cid == VMADDR_CID_HOST;
	printf("\"ok\":%s,\"port\":%u,\"peer_cid\":%u,\"bytes_out\":%zu,"
	       "\"bytes_in\":%zu,\"crc_out\":\"%08x\",\"crc_in\":\"%08x\","
	       "\"host\":\"%s\"}\n",
	       truth(ok), port, peer.svm_cid, bytes, bytes, crc_out, crc_in,
	       host.line);
	close(asking);
	close(listener);
	return !ok;
}

static int usage(void)
{
	fprintf(stderr,
		"Usage: demo two-byte | demo echo a|b|c | demo waitall BYTES ROUNDS [DELAY_US] | demo dialled\n");
	return 2;
}

int main(int argc, char **argv)
{
	const char *command = argc > 1 ? argv[1] : "";

	if (!strcmp(command, "two-byte") && argc == 2)
		return two_byte();
	if (!strcmp(command, "echo") && argc == 3 && strlen(argv[2]) == 1 &&
	    strchr("abc", argv[2][0]))
		return echo(argv[2][0]);
	if (!strcmp(command, "waitall") && (argc == 4 || argc == 5)) {
		long bytes = atol(argv[2]), rounds = atol(argv[3]);
		long delay = argc == 5 ? atol(argv[4]) : 5000;

		if (bytes > 0 && rounds > 0 && delay >= 0 &&
		    bytes <= (long)MIB(64) && rounds <= 1000 && delay <= 1000000)
			return waitall(bytes, rounds, delay);
	}
	if (!strcmp(command, "dialled") && argc == 2)
		return dialled();
	return usage();
}
