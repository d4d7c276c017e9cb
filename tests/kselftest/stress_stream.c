// SPDX-License-Identifier: GPL-2.0
/*
 * One end of a conversation: it sends a stream and receives another, in a style
 * of its own, and compares every byte. Where nobody gives up, exactly the bytes
 * that were sent have to arrive, and the end after them; where an end gives up,
 * the beginning of them.
 */
#define _GNU_SOURCE
#include "stress.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

/* Extra readers of STYLE_MANY. */
#define READERS		2
/* An address that no program has. */
#define BAD_ADDRESS	((void *)16)

/* Bytes that one of several readers got. */
struct piece {
	uint64_t offset, len;
};

struct end {
	const struct plan *plan;
	int role, fd, epoll;
	uint64_t in_key, out_key, in_total, out_total;
	/* The peer shuts its direction down when it has sent all. */
	bool in_ends;
	/* All that the peer sends has to arrive; else its beginning has. */
	bool in_exact;
	atomic_uint_fast64_t received, sent;
	atomic_int lowat;
	/* No more is to be received or sent. */
	atomic_bool in_over, out_over, gave_up, leaving;
	/* See struct outcome. */
	atomic_bool orderly, broken, shut;
	/* What several readers got. */
	pthread_mutex_t lock;
	struct piece *pieces;
	size_t piece_count, piece_room;
	uint64_t unplaced, unplaced_sum;
	bool discarded;
};

/* What one call came to, beside a number of bytes. */
enum { ENDED = 0, NOT_NOW = -1, BROKEN = -2, ONCE_MORE = -3 };

void plan_make(struct plan *plan, uint64_t seed, bool half_close)
{
	uint64_t state = mix(seed ^ 0x706c616e);
	uint64_t most = chance(&state, 4) ? MIB(1) :
			chance(&state, 25) ? KIB(150) : KIB(12);

	memset(plan, 0, sizeof(*plan));
	plan->seed = seed;
	for (int role = 0; role < 2; role++) {
		plan->total[role] = chance(&state, 8) ? 0 : 1 + draw(&state, most);
		plan->key[role] = mix(seed + 1 + role);
		plan->half[role] = half_close && chance(&state, 70);
	}
	for (int role = 0; role < 2; role++) {
		plan->style[role] = draw(&state, STYLES);
		/* Several readers need an end that each of them sees. */
		if (plan->style[role] == STYLE_MANY && !plan->half[1 - role])
			plan->style[role] = STYLE_TWO;
	}
	/* One end has to begin, and to say that it is done. */
	if (plan->style[0] == STYLE_ANSWER)
		plan->style[0] = STYLE_TWO;
	if (plan->style[1] == STYLE_ANSWER && !plan->half[0])
		plan->style[1] = STYLE_TWO;
	if (chance(&state, 30)) {
		plan->cut = CUT_CLOSE + draw(&state, 3);
		plan->cutter = draw(&state, 2);
	}
	plan->cut_after = draw(&state, plan->total[1 - plan->cutter] + 1);
	plan->pester = chance(&state, 30);
	plan->timeouts = chance(&state, 30);
	plan->options = chance(&state, 40);
	plan->think = chance(&state, 30);
}

static uint64_t actor_seed(const struct end *end, int actor)
{
	return mix(end->plan->seed + 16 + end->role * 16 + actor);
}

static void tell_standing(const struct end *end, int wanted)
{
	struct standing standing = {
		.received = end->received,
		.in_total = end->in_total,
		.sent = end->sent,
		.out_total = end->out_total,
		.role = end->role,
		.lowat = end->lowat,
		.wanted = wanted,
		.in_over = end->in_over,
		.out_over = end->out_over,
	};

	watch_standing(&standing);
}

static void think(const struct end *end, uint64_t *state)
{
	if (end->plan->think && chance(state, 12))
		CALL(CALL_SLEEP, -1, usleep(draw(state, 3000)));
}

/* An errno of send or recv: does something explain it, and what follows? */
static long explain(struct end *end, const char *call, int error, bool waits)
{
	switch (error) {
	case EINTR:
		if (end->plan->pester)
			return ONCE_MORE;
		break;
	case EAGAIN:
		if (!waits || end->plan->timeouts)
			return NOT_NOW;
		break;
	case EPIPE:
	case ECONNRESET:
	case ENOTCONN:
		end->broken = true;
		if (end->plan->cut != CUT_NONE)
			return BROKEN;
		break;
	}
	/* The next call would say the same. */
	unexpected(call, error);
	return BROKEN;
}

/* Changes what a socket's calls do, under their feet. */
static void change_options(struct end *end, uint64_t *state)
{
	const struct plan *plan = end->plan;

	if (plan->options && chance(state, 6)) {
		/* C vsock refuses what is beyond its buffer, and hangs after it. */
		int lowat = chance(state, 30) ? 1 :
			    (int)draw_size(state, settings.strict ? 300000 : 2048);

		end->lowat = lowat;
		CALL(CALL_SETSOCKOPT, end->fd,
		     set_int(end->fd, SOL_SOCKET, SO_RCVLOWAT, lowat));
	}
	if (plan->options && settings.strict && chance(state, 3)) {
		/*
		 * The host's device takes credit that shrinks for a huge one:
		 * there the buffer grows, once.
		 */
		size_t size = settings.cid == VMADDR_CID_LOCAL ?
			      4096 + draw_size(state, 400000) : MIB(1);

		CALL(CALL_SETSOCKOPT, end->fd,
		     set_buffer(end->fd, SO_VM_SOCKETS_BUFFER_MAX_SIZE, MIB(1)));
		CALL(CALL_SETSOCKOPT, end->fd,
		     set_buffer(end->fd, SO_VM_SOCKETS_BUFFER_SIZE, size));
	}
	if (plan->options && chance(state, 3)) {
		uint64_t size;

		CALL(CALL_GETSOCKOPT, end->fd,
		     get_buffer(end->fd, SO_VM_SOCKETS_BUFFER_SIZE, &size));
	}
	if (plan->timeouts && chance(state, 6))
		CALL(CALL_SETSOCKOPT, end->fd,
		     set_timeout(end->fd,
				 chance(state, 50) ? SO_RCVTIMEO : SO_SNDTIMEO,
				 chance(state, 20) ? 0 : 1 + draw(state, 40)));
}

/* ---- receiving ---- */

static void note_piece(struct end *end, uint64_t offset, uint64_t len)
{
	if (end->piece_count == end->piece_room) {
		end->piece_room = end->piece_room * 2 + 64;
		end->pieces = realloc(end->pieces,
				      end->piece_room * sizeof(*end->pieces));
	}
	end->pieces[end->piece_count++] = (struct piece){ offset, len };
}

/* Checks bytes that were received, or peeked at, by the only reader. */
static void check_next(struct end *end, const uint8_t *data, size_t len,
		       const char *call)
{
	uint64_t at = end->received;
	size_t equal = data_check(end->in_key, at, data, len);
	uint64_t found;
	size_t run;

	if (equal == len)
		return;
	if (data_find(end->in_key, UINT64_MAX / 16, data + equal, len - equal,
		      &found, &run))
		wrong(VERDICT_DATA,
		      "%s of %zu bytes at %llu of %llu: at %llu stand the bytes of %llu",
		      call, len, (unsigned long long)at,
		      (unsigned long long)end->in_total,
		      (unsigned long long)(at + equal), (unsigned long long)found);
	else
		wrong(VERDICT_DATA,
		      "%s of %zu bytes at %llu of %llu: strange bytes at %llu",
		      call, len, (unsigned long long)at,
		      (unsigned long long)end->in_total,
		      (unsigned long long)(at + equal));
	end->gave_up = true;
}

/* Bytes of which only the sum is known: too few in a row, or discarded. */
static void note_unplaced(struct end *end, const uint8_t *data, size_t len)
{
	end->unplaced += len;
	if (data)
		end->unplaced_sum += data_sum(data, len);
	else
		end->discarded = true;
}

/*
 * Checks bytes that one of several readers received; @last is where its
 * previous ones ended. A call that slept may have let others take bytes in
 * between.
 */
static void check_some(struct end *end, const uint8_t *data, size_t len,
		       bool peeked, uint64_t *last)
{
	if (peeked)
		return;
	pthread_mutex_lock(&end->lock);
	while (len) {
		uint64_t offset;
		size_t run = 1;

		if (data && data_find(end->in_key, end->in_total, data, len,
				      &offset, &run)) {
			if (offset < *last)
				wrong(VERDICT_DATA, "a reader got the bytes of %llu after those of %llu",
				      (unsigned long long)offset,
				      (unsigned long long)*last);
			*last = offset + run;
			note_piece(end, offset, run);
		} else {
			if (!data)
				run = len;
			note_unplaced(end, data, run);
		}
		if (data)
			data += run;
		len -= run;
	}
	pthread_mutex_unlock(&end->lock);
}

/* One call of the recv family with random arguments. */
static long receive_once(struct end *end, uint64_t *state, uint8_t *buffer,
			 bool waits, bool alone, uint64_t *last)
{
	uint64_t left = end->in_total - end->received;
	size_t most = !alone || left > BUFFER_SIZE ? BUFFER_SIZE : left;
	size_t len = draw_size(state, most ? most : 16);
	int flags = waits ? 0 : MSG_DONTWAIT;
	struct iovec parts[3];
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = 3 };
	uint8_t *to = buffer;
	int queued = 0;
	long got;

	if (!alone && len < 64)
		len = 64;
	if (chance(state, 30)) {
		flags |= MSG_WAITALL;
		if (!settings.strict && len > 2048)
			len = 2048;
	}
	change_options(end, state);
	switch (draw(state, 16)) {
	case 0:
	case 1:
		got = CALL(CALL_PEEK, end->fd,
			   recv(end->fd, buffer, len, flags | MSG_PEEK));
		if (got < 0)
			return explain(end, "recv(MSG_PEEK)", errno, waits);
		if (!got)
			return ENDED;
		if (alone)
			check_next(end, buffer, got, "a peek");
		else
			check_some(end, buffer, got, true, last);
		return ONCE_MORE;
	case 2:
		/* The bytes are discarded. C vsock has them written. */
		to = NULL;
		got = CALL(CALL_RECV, end->fd,
			   recv(end->fd, buffer, len, flags | MSG_TRUNC));
		break;
	case 3:
		if (CALL(CALL_RECV, end->fd, recv(end->fd, buffer, 0, flags)) > 0)
			wrong(VERDICT_DATA, "recv of no bytes gave some");
		return ONCE_MORE;
	case 4:
	case 5:
		parts[0] = (struct iovec){ buffer, len / 3 };
		parts[1] = (struct iovec){ buffer + len / 3, 0 };
		parts[2] = (struct iovec){ buffer + len / 3, len - len / 3 };
		got = CALL(CALL_RECV, end->fd, recvmsg(end->fd, &message, flags));
		break;
	case 6:
		if (!settings.strict || !alone || len < 2)
			return ONCE_MORE;
		parts[0] = (struct iovec){ buffer, len / 2 };
		parts[1] = (struct iovec){ BAD_ADDRESS, len - len / 2 };
		message.msg_iovlen = 2;
		got = CALL(CALL_RECV, end->fd, recvmsg(end->fd, &message, flags));
		if (got > (long)(len / 2)) {
			wrong(VERDICT_DATA, "recvmsg wrote to a bad address");
			return BROKEN;
		}
		break;
	case 8:
		/* What is said to be there, is. */
		if (!settings.strict || !alone || ioctl(end->fd, FIONREAD, &queued) ||
		    !queued)
			return ONCE_MORE;
		to = buffer;
		if (len > (size_t)queued)
			len = queued;
		got = CALL(CALL_RECV, end->fd,
			   recv(end->fd, buffer, len, MSG_DONTWAIT));
		if ((got < 0 && errno == EAGAIN) || (got >= 0 && got < (long)len))
			wrong(VERDICT_DATA, "recv of %zu bytes gave %ld of the %d that are there",
			      len, got, queued);
		break;
	case 7:
		if (waits) {
			got = CALL(CALL_RECV, end->fd, read(end->fd, buffer, len));
			break;
		}
		/* fall through */
	default:
		got = CALL(CALL_RECV, end->fd, recv(end->fd, buffer, len, flags));
	}
	if (got < 0)
		return explain(end, "recv", errno, waits);
	if (!got)
		return ENDED;
	if (got > (long)len) {
		wrong(VERDICT_DATA, "recv gave more than was asked for");
		return BROKEN;
	}
	if (!alone)
		check_some(end, to, got, false, last);
	else if (to)
		check_next(end, to, got, "recv");
	end->received += got;
	count(TOTAL_RECEIVED, got);
	watch_moved();
	if (end->received > end->in_total) {
		wrong(VERDICT_DATA, "%llu bytes came, %llu were sent",
		      (unsigned long long)end->received,
		      (unsigned long long)end->in_total);
		return BROKEN;
	}
	return got;
}

/* Everything came, and nothing follows. */
static bool has_all(const struct end *end)
{
	return !end->in_ends && end->received == end->in_total &&
	       !end->leaving;
}

/* What a complaint about a conversation has to say. */
static const char *describe(const struct end *end, char *text, size_t size)
{
	static const char *const styles[STYLES] = {
		"poll", "epoll", "edge", "two threads", "many readers", "answer",
	};
	static const char *const cuts[] = {
		"nobody gives up", "close", "shutdown of both", "shutdown of reading",
		"kill",
	};
	const struct plan *plan = end->plan;

	snprintf(text, size, "end %d; %s%s, %s%s; %s by %d after %llu%s%s",
		 end->role, styles[plan->style[0]], plan->half[0] ? "+half" : "",
		 styles[plan->style[1]], plan->half[1] ? "+half" : "",
		 cuts[plan->cut], plan->cutter,
		 (unsigned long long)plan->cut_after,
		 plan->options ? "; options" : "",
		 plan->pester ? "; signals" : "");
	return text;
}

/* Nothing more comes, for this reason: is that right? */
static void receiving_over(struct end *end, long reason)
{
	char text[200];

	if (atomic_exchange(&end->in_over, true))
		return;
	watch_moved();
	if (reason == ENDED && !has_all(end))
		end->orderly = true;
	if (reason == ENDED && end->in_exact && !end->gave_up &&
	    end->received != end->in_total)
		wrong(VERDICT_DATA, "the end came after %llu of %llu bytes; %s",
		      (unsigned long long)end->received,
		      (unsigned long long)end->in_total,
		      describe(end, text, sizeof(text)));
	if (reason == BROKEN && end->in_exact && !end->gave_up &&
	    end->received != end->in_total)
		wrong(VERDICT_DATA, "the stream broke after %llu of %llu bytes; %s",
		      (unsigned long long)end->received,
		      (unsigned long long)end->in_total,
		      describe(end, text, sizeof(text)));
}

/* Is it time for this end to give up? */
static void consider_cut(struct end *end)
{
	const struct plan *plan = end->plan;

	if (plan->cut == CUT_NONE || plan->cut == CUT_KILL ||
	    plan->cutter != end->role || end->received < plan->cut_after ||
	    atomic_exchange(&end->leaving, true))
		return;
	count(TOTAL_CUT, 1);
	if (plan->cut == CUT_CLOSE) {
		end->gave_up = true;
		return;
	}
	if (CALL(CALL_SHUTDOWN, end->fd,
		 shutdown(end->fd, plan->cut == CUT_BOTH ? SHUT_RDWR : SHUT_RD)))
		explain(end, "shutdown", errno, false);
}

static void *receive_all(struct end *end, int actor)
{
	uint64_t state = actor_seed(end, actor), last = 0;
	bool alone = end->plan->style[end->role] != STYLE_MANY;
	uint8_t *buffer = buffer_get();

	watch_pester(end->plan->pester);
	for (;;) {
		long got;

		consider_cut(end);
		if (end->gave_up || has_all(end))
			break;
		think(end, &state);
		tell_standing(end, 0);
		got = receive_once(end, &state, buffer, !chance(&state, 10),
				   alone, &last);
		if (got == NOT_NOW && chance(&state, 50))
			CALL(CALL_SLEEP, -1, usleep(500));
		if (got == ENDED || got == BROKEN) {
			if (alone)
				receiving_over(end, got);
			break;
		}
	}
	watch_pester(false);
	buffer_put(buffer);
	return NULL;
}

/* ---- sending ---- */

static long send_once(struct end *end, uint64_t *state, uint8_t *buffer,
		      bool waits)
{
	uint64_t left = end->out_total - end->sent;
	size_t len = draw_size(state, left < BUFFER_SIZE ? left : BUFFER_SIZE);
	int flags = MSG_NOSIGNAL | (waits ? 0 : MSG_DONTWAIT);
	struct iovec parts[2];
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };
	long put;

	if (chance(state, 10))
		flags |= MSG_MORE;
	change_options(end, state);
	data_fill(end->out_key, end->sent, buffer, len);
	switch (draw(state, 10)) {
	case 0:
	case 1:
		parts[0] = (struct iovec){ buffer, len / 3 };
		parts[1] = (struct iovec){ buffer + len / 3, len - len / 3 };
		put = CALL(CALL_SEND, end->fd, sendmsg(end->fd, &message, flags));
		break;
	case 2:
		if (!settings.strict || len < 2)
			return ONCE_MORE;
		parts[0] = (struct iovec){ buffer, len / 2 };
		parts[1] = (struct iovec){ BAD_ADDRESS, len - len / 2 };
		put = CALL(CALL_SEND, end->fd, sendmsg(end->fd, &message, flags));
		if (put < 0 && errno == EFAULT)
			return ONCE_MORE;
		if (put > (long)(len / 2)) {
			wrong(VERDICT_DATA, "sendmsg read from a bad address");
			return BROKEN;
		}
		break;
	case 3:
		if (waits) {
			/* SIGPIPE is ignored in the whole program. */
			put = CALL(CALL_SEND, end->fd, write(end->fd, buffer, len));
			break;
		}
		/* fall through */
	default:
		put = CALL(CALL_SEND, end->fd, send(end->fd, buffer, len, flags));
	}
	if (put < 0)
		return explain(end, "send", errno, waits);
	if (put > (long)len) {
		wrong(VERDICT_DATA, "send took more than it was given");
		return BROKEN;
	}
	end->sent += put;
	count(TOTAL_SENT, put);
	watch_moved();
	return put ? put : ONCE_MORE;
}

/* After the last byte, or when no more can be sent. */
static void sending_over(struct end *end)
{
	const struct plan *plan = end->plan;

	if (atomic_exchange(&end->out_over, true))
		return;
	watch_moved();
	if (!plan->half[end->role] || end->sent != end->out_total)
		return;
	end->shut = true;
	if (CALL(CALL_SHUTDOWN, end->fd, shutdown(end->fd, SHUT_WR)))
		explain(end, "shutdown", errno, false);
}

static void *send_all_of_it(void *argument)
{
	struct end *end = argument;
	uint64_t state = actor_seed(end, 15);
	uint8_t *buffer = buffer_get();

	watch_pester(end->plan->pester);
	while (end->sent < end->out_total && !end->gave_up) {
		long put;

		think(end, &state);
		tell_standing(end, 0);
		put = send_once(end, &state, buffer, !chance(&state, 10));
		if (put == BROKEN)
			break;
		if (put == NOT_NOW && chance(&state, 50))
			CALL(CALL_SLEEP, -1, usleep(500));
	}
	sending_over(end);
	watch_pester(false);
	buffer_put(buffer);
	return NULL;
}

/* ---- one thread that waits for events ---- */

static int wait_for_events(struct end *end, uint64_t *state)
{
	enum style style = end->plan->style[end->role];
	int wanted = (end->in_over ? 0 : POLLIN | POLLRDHUP) |
		     (end->out_over ? 0 : POLLOUT);
	/* C vsock does not tell a poller that the peer has stopped reading. */
	int forever = settings.strict ? -1 : 500;
	int timeout = chance(state, 10) ? (int)draw(state, 20) : forever;
	struct pollfd entry = { .fd = end->fd, .events = wanted };
	struct epoll_event event = { .events = wanted };
	int found;

	tell_standing(end, wanted);
	if (style == STYLE_POLL) {
		found = CALL(CALL_POLL, end->fd, poll(&entry, 1, timeout));
		event.events = entry.revents;
	} else {
		/* The bits of epoll are those of poll. */
		if (style == STYLE_EPOLL)
			CALL(CALL_EPOLL, end->fd,
			     epoll_ctl(end->epoll, EPOLL_CTL_MOD, end->fd, &event));
		found = CALL(CALL_EPOLL, end->fd,
			     epoll_wait(end->epoll, &event, 1, timeout));
	}
	if (found < 0) {
		if (errno != EINTR || !end->plan->pester)
			unexpected("poll", errno);
		return 0;
	}
	if (!found && timeout < 0)
		wrong(VERDICT_ERRORS, "poll without a time limit gave nothing");
	return found ? (int)event.events : settings.strict ? 0 : wanted;
}

/* Does poll still tell of what comes? Below SO_RCVLOWAT it need not. */
static void keep_reportable(struct end *end)
{
	if (end->in_total - end->received >= (uint64_t)end->lowat)
		return;
	end->lowat = 1;
	CALL(CALL_SETSOCKOPT, end->fd,
	     set_int(end->fd, SOL_SOCKET, SO_RCVLOWAT, 1));
}

static void by_events(struct end *end)
{
	bool edge = end->plan->style[end->role] == STYLE_EDGE;
	uint64_t state = actor_seed(end, 0), last = 0;
	uint8_t *buffer = buffer_get();
	struct epoll_event event = {
		.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
	};

	end->epoll = epoll_create1(0);
	if (end->epoll < 0)
		unexpected("epoll_create1", errno);
	CALL(CALL_EPOLL, end->fd,
	     epoll_ctl(end->epoll, EPOLL_CTL_ADD, end->fd, &event));
	watch_pester(end->plan->pester);
	for (;;) {
		int events, promised;
		long done = ONCE_MORE;

		consider_cut(end);
		if (end->gave_up)
			break;
		if (!end->in_over && has_all(end))
			receiving_over(end, ENDED);
		if (!end->out_over && end->sent == end->out_total)
			sending_over(end);
		if (end->in_over && end->out_over)
			break;
		think(end, &state);
		keep_reportable(end);
		events = wait_for_events(end, &state);
		/*
		 * Nobody else reads or writes here. A window that changes may
		 * take back what poll said.
		 */
		promised = settings.strict && !end->plan->options ? events : 0;
		if (!end->in_over && (events & ~POLLOUT)) {
			do {
				done = receive_once(end, &state, buffer, false,
						    true, &last);
				if (done == NOT_NOW && promised & POLLIN)
					wrong(VERDICT_ERRORS, "poll said POLLIN, and recv EAGAIN");
				promised &= ~POLLIN;
				consider_cut(end);
			} while (!has_all(end) && !end->gave_up &&
				 (done == ONCE_MORE || (edge && done > 0)));
			if (done == ENDED || done == BROKEN)
				receiving_over(end, done);
		}
		if (!end->out_over && (events & ~(POLLIN | POLLRDHUP))) {
			do {
				if (end->sent == end->out_total)
					break;
				done = send_once(end, &state, buffer, false);
				if (done == NOT_NOW && promised & POLLOUT)
					wrong(VERDICT_ERRORS, "poll said POLLOUT, and send EAGAIN");
				promised &= ~POLLOUT;
			} while (done == ONCE_MORE || (edge && done > 0));
			if (done == BROKEN)
				sending_over(end);
		}
	}
	watch_pester(false);
	close(end->epoll);
	buffer_put(buffer);
}

/* ---- the whole of it ---- */

static void *read_too(void *argument)
{
	return receive_all(argument, 1);
}

static void *read_as_well(void *argument)
{
	return receive_all(argument, 2);
}

static int by_offset(const void *left, const void *right)
{
	const struct piece *a = left, *b = right;

	return a->offset < b->offset ? -1 : a->offset > b->offset;
}

/* The sum of the bytes of the stream from @at up to @until. */
static uint64_t expected_sum(const struct end *end, uint64_t at, uint64_t until)
{
	uint8_t data[256];
	uint64_t sum = 0;

	while (at < until) {
		size_t part = until - at < sizeof(data) ? until - at : sizeof(data);

		data_fill(end->in_key, at, data, part);
		sum += data_sum(data, part);
		at += part;
	}
	return sum;
}

/*
 * What several readers got has to be the stream, each byte once; what could not
 * be placed has to fill the gaps, and the end if all came.
 */
static void check_pieces(struct end *end)
{
	uint64_t gaps = 0, sum = 0, at = 0;

	qsort(end->pieces, end->piece_count, sizeof(*end->pieces), by_offset);
	for (size_t i = 0; i < end->piece_count; i++) {
		const struct piece *piece = &end->pieces[i];

		if (piece->offset < at) {
			wrong(VERDICT_DATA, "two readers got the bytes of %llu",
			      (unsigned long long)piece->offset);
			return;
		}
		gaps += piece->offset - at;
		sum += expected_sum(end, at, piece->offset);
		at = piece->offset + piece->len;
	}
	if (end->received == end->in_total) {
		gaps += end->in_total - at;
		sum += expected_sum(end, at, end->in_total);
		if (gaps != end->unplaced ||
		    (!end->discarded && sum != end->unplaced_sum))
			wrong(VERDICT_DATA, "%llu bytes of several readers, %llu bytes in the gaps of the others: they differ",
			      (unsigned long long)end->unplaced,
			      (unsigned long long)gaps);
	} else if (gaps > end->unplaced) {
		wrong(VERDICT_DATA, "%llu bytes between those of several readers are missing",
		      (unsigned long long)(gaps - end->unplaced));
	}
}

void end_run(const struct plan *plan, int role, int fd, struct outcome *outcome)
{
	bool cuts = plan->cut != CUT_NONE;
	struct end end = {
		.plan = plan,
		.role = role,
		.fd = fd,
		.in_key = plan->key[1 - role],
		.out_key = plan->key[role],
		.in_total = plan->total[1 - role],
		.out_total = plan->total[role],
		.in_ends = plan->half[1 - role],
		/* Who stops reading goes on sending. */
		.in_exact = !cuts || (settings.strict &&
				      plan->cut == CUT_READING &&
				      plan->cutter != role),
		.lowat = 1,
		.lock = PTHREAD_MUTEX_INITIALIZER,
	};
	struct linger linger = { .l_onoff = 1, .l_linger = 2 };
	struct helper *sender, *readers[READERS];

	count(TOTAL_CONVERSATIONS, 1);
	switch (plan->style[role]) {
	case STYLE_TWO:
		sender = spawn(send_all_of_it, &end);
		receive_all(&end, 0);
		join(sender);
		break;
	case STYLE_ANSWER:
		receive_all(&end, 0);
		send_all_of_it(&end);
		break;
	case STYLE_MANY:
		sender = spawn(send_all_of_it, &end);
		readers[0] = spawn(read_too, &end);
		readers[1] = spawn(read_as_well, &end);
		receive_all(&end, 0);
		for (int i = 0; i < READERS; i++)
			join(readers[i]);
		if (!end.gave_up) {
			receiving_over(&end, ENDED);
			check_pieces(&end);
		}
		join(sender);
		free(end.pieces);
		break;
	default:
		by_events(&end);
	}
	/* With nothing left to be sent this changes nothing. */
	if (settings.strict && plan->options)
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	CALL(CALL_CLOSE, fd, close(fd));
	if (outcome)
		*outcome = (struct outcome){
			.received = end.received,
			.sent = end.sent,
			.orderly = end.orderly,
			.broken = end.broken,
			.shut = end.shut,
		};
}
