// SPDX-License-Identifier: GPL-2.0
/*
 * Small exchanges, very many of them: one end sends a few bytes, the other takes
 * exactly these, by a call with flags, a target and a time limit of its choice and
 * under signals, and answers in the same way. Each exchange stands still for good
 * if a single wake-up is lost, which the watchdog finds.
 *
 * At the end of a conversation the switches that the kernel counted of each thread
 * are compared with the wake-ups that its socket counted.
 */
#define _GNU_SOURCE
#include "stress.h"
#include <errno.h>
#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

/* Exchanges of a conversation. */
#define EXCHANGES	500
/* The host's echo has no more room than this while nobody reads. */
#define MOST_ECHOED	KIB(64)

enum method {
	METHOD_PLAIN, METHOD_WAITALL, METHOD_LOWAT, METHOD_PEEK, METHOD_DISCARD,
	METHOD_POLL, METHODS
};

/* One end: what it knows and does. */
struct side {
	uint64_t seed, state;
	int role, fd;
	/* The peer sends back what it gets. */
	bool echoed;
	/* How far both streams are. */
	uint64_t in, out;
	uint8_t *buffer;
	int lowat;
	bool timeout;
	/* The times it slept where the module does not count. */
	long elsewhere;
	bool failed;
};

/* How many bytes the end @role sends in an exchange. */
static size_t size_of(const struct side *side, unsigned int exchange, int role)
{
	uint64_t state = mix(side->seed ^ ((uint64_t)exchange << 1 | role) << 20);
	size_t size;

	if (chance(&state, 90))
		return 1 + draw(&state, 100);
	if (chance(&state, 90))
		return 1 + draw(&state, 5000);
	size = 1 + draw(&state, BUFFER_SIZE);
	return side->echoed && size > MOST_ECHOED ? MOST_ECHOED : size;
}

static uint64_t key_of(const struct side *side, int role)
{
	return mix(side->seed + 1 + (side->echoed ? 0 : role));
}

static void tell(const struct side *side)
{
	struct standing standing = {
		.received = side->in, .in_total = side->in + 1,
		.sent = side->out, .out_total = side->out + 1,
		.role = side->role, .lowat = side->lowat,
	};

	watch_standing(&standing);
	watch_moved();
}

static void set_lowat(struct side *side, int lowat)
{
	if (side->lowat == lowat)
		return;
	side->lowat = lowat;
	CALL(CALL_SETSOCKOPT, side->fd,
	     set_int(side->fd, SOL_SOCKET, SO_RCVLOWAT, lowat));
}

/* A time limit for the calls to come, or none. */
static void choose_timeout(struct side *side)
{
	bool timeout = chance(&side->state, 20);

	if (timeout || timeout != side->timeout)
		CALL(CALL_SETSOCKOPT, side->fd,
		     set_timeout(side->fd, SO_RCVTIMEO,
				 timeout ? 1 + (long)draw(&side->state, 20) : 0));
	side->timeout = timeout;
}

/* Wait until there is something to read, or not that long. */
static void wait_readable(struct side *side)
{
	struct pollfd entry = { .fd = side->fd, .events = POLLIN };
	int limit = chance(&side->state, 20) ? (int)draw(&side->state, 20) : -1;
	long before = voluntary_switches();

	CALL(CALL_POLL, side->fd, poll(&entry, 1, limit));
	side->elsewhere += voluntary_switches() - before;
}

/* One call for up to @len bytes. Discarded ones leave the buffer as it is. */
static ssize_t receive(struct side *side, enum method method, uint8_t *to, size_t len)
{
	int flags = 0;
	ssize_t got;

	switch (method) {
	case METHOD_PEEK:
		got = CALL(CALL_PEEK, side->fd,
			   recv(side->fd, to, 1 + draw(&side->state, len),
				MSG_PEEK | MSG_WAITALL));
		if (got < 0)
			return got;
		if (data_check(key_of(side, 1 - side->role), side->in, to, got) !=
		    (size_t)got)
			wrong(VERDICT_DATA, "other bytes than those that were sent are peeked at");
		/* Less than that would not be there. */
		len = got ? (size_t)got : len;
		break;
	case METHOD_WAITALL:
		flags = MSG_WAITALL;
		break;
	case METHOD_DISCARD:
		flags = MSG_TRUNC | (chance(&side->state, 50) ? MSG_WAITALL : 0);
		to = NULL;
		break;
	case METHOD_POLL:
		flags = MSG_DONTWAIT;
		break;
	default:
		break;
	}
	return CALL(CALL_RECV, side->fd, recv(side->fd, to, len, flags));
}

/* Takes exactly @len bytes. */
static void take(struct side *side, size_t len)
{
	enum method method = draw(&side->state, METHODS);
	size_t done = 0;

	choose_timeout(side);
	/* Poll says nothing below the mark, so for that there is none. */
	set_lowat(side, method == METHOD_LOWAT ? 1 + (int)draw(&side->state, len) : 1);
	while (done < len && !side->failed) {
		uint8_t *to = side->buffer + done;
		ssize_t got = receive(side, method, to, len - done);

		if (got > 0) {
			if (method != METHOD_DISCARD &&
			    data_check(key_of(side, 1 - side->role), side->in, to,
				       got) != (size_t)got) {
				wrong(VERDICT_DATA, "other bytes than those that were sent arrive");
				side->failed = true;
			}
			done += got;
			side->in += got;
			tell(side);
		} else if (!got) {
			wrong(VERDICT_DATA, "the end comes after %zu of %zu bytes",
			      done, len);
			side->failed = true;
		} else if (errno == EAGAIN && method == METHOD_POLL) {
			wait_readable(side);
		} else if (errno != EINTR && (errno != EAGAIN || !side->timeout)) {
			unexpected("recv", errno);
			side->failed = true;
		}
	}
}

static void give(struct side *side, size_t len)
{
	size_t done = 0;

	data_fill(key_of(side, side->role), side->out, side->buffer, len);
	while (done < len && !side->failed) {
		ssize_t sent = CALL(CALL_SEND, side->fd,
				    send(side->fd, side->buffer + done,
					 len - done, MSG_NOSIGNAL));

		if (sent >= 0) {
			done += sent;
			side->out += sent;
			tell(side);
		} else if (errno != EINTR) {
			unexpected("send", errno);
			side->failed = true;
		}
	}
}

/* Pages that this thread wanted and that were not mapped: those it may sleep for, too. */
static long page_faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_minflt + usage.ru_majflt;
}

/* What the kernel counted of this thread, beside what the socket counted. */
static void compare(const struct side *side, long switches, long faults)
{
	struct rvsock_wakeups wakeups;
	long counted;

	if (!settings.strict || vsock_wakeups(side->fd, &wakeups))
		return;
	counted = wakeups_sum(wakeups.receive) + wakeups_sum(wakeups.send);
	count(TOTAL_SWITCHES, switches - side->elsewhere);
	count(TOTAL_WOKEN, counted);
	if (switches - side->elsewhere != counted) {
		count(TOTAL_DIFFERENT, 1);
		wrong(VERDICT_ERRORS, "the socket counted %u wake-ups of recv and %u of send, the kernel %ld; page faults: %ld",
		      wakeups_sum(wakeups.receive), wakeups_sum(wakeups.send),
		      switches - side->elsewhere, faults);
	}
	count(TOTAL_STALLED, wakeups.receive[RVSOCK_WAKE_STALLED]);
	if (!side->echoed && wakeups.receive[RVSOCK_WAKE_STALLED])
		wrong(VERDICT_PROGRESS, "a reader woke because the peer seemed to hang");
}

static void run_side(struct side *side)
{
	bool pester = chance(&side->state, 50);
	long switches, faults;

	side->buffer = buffer_get();
	watch_pester(pester);
	faults = page_faults();
	switches = voluntary_switches();
	for (unsigned int i = 0; i < EXCHANGES && !side->failed; i++) {
		if (side->role)
			take(side, size_of(side, i, 0));
		else
			give(side, size_of(side, i, 0));
		if (side->role) {
			give(side, size_of(side, i, 1));
			continue;
		}
		take(side, size_of(side, i, side->echoed ? 0 : 1));
		count(TOTAL_EXCHANGES, 1);
	}
	switches = voluntary_switches() - switches;
	compare(side, switches, page_faults() - faults);
	watch_pester(false);
	if (side->failed)
		shutdown(side->fd, SHUT_RDWR);
	buffer_put(side->buffer);
}

static void *run_other_side(void *argument)
{
	run_side(argument);
	return NULL;
}

void scene_exchange(uint64_t seed)
{
	bool local = settings.cid == VMADDR_CID_LOCAL;
	struct side sides[2];
	int fds[2] = { -1, -1 };

	if (!local)
		fds[0] = vsock_connected(PORT_ECHO);
	if (local ? vsock_pair(settings.cid, 0, fds) : fds[0] < 0) {
		unexpected("connect", errno);
		return;
	}
	for (int role = 0; role < 2; role++)
		sides[role] = (struct side) {
			.seed = seed, .state = mix(seed + 16 + role), .role = role,
			.fd = fds[role], .echoed = !local, .lowat = 1,
		};
	if (local) {
		struct helper *other = spawn(run_other_side, &sides[1]);

		run_side(&sides[0]);
		join(other);
		close(fds[1]);
	} else {
		run_side(&sides[0]);
	}
	close(fds[0]);
	count(TOTAL_CONVERSATIONS, 1);
}

const struct scene exchange_scenes[] = {
	{ "exchange", 1, scene_exchange },
	{ 0 }
};
