/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The stress program: many threads, each of which goes from one scene to the
 * next. A scene is a small story with sockets of its own (a conversation, a
 * listener that is closed under its connectors, ...), whose choices all follow
 * from the scene's seed.
 *
 *   stress.c         arguments, workers, the summary
 *   stress_watch.c   who is in which call since when; the watchdog; the counts
 *   stress_data.c    the seeds, and the bytes that a stream carries
 *   stress_stream.c  both ends of a conversation
 *   stress_pair.c    scenes between two ends that this program holds, and with
 *                    another stress program
 *   stress_storm.c   scenes that make, refuse and abandon connections
 *   stress_peer.c    scenes with the host's programs (tests/peer)
 *   stress_exchange.c  very many small exchanges
 */
#ifndef STRESS_H
#define STRESS_H

#include <stdatomic.h>
#include "vsock_util.h"

/* Where another stress program listens ("serve"). */
#define PORT_STRESS	9100u

/* ---- stress_watch.c ---- */

/* What a thread can be in; the names are in stress_watch.c. */
enum call {
	CALL_NONE, CALL_SOCKET, CALL_BIND, CALL_LISTEN, CALL_CONNECT,
	CALL_ACCEPT, CALL_SEND, CALL_RECV, CALL_PEEK, CALL_POLL, CALL_EPOLL,
	CALL_SHUTDOWN, CALL_SETSOCKOPT, CALL_GETSOCKOPT, CALL_CLOSE, CALL_FORK,
	CALL_SIGNAL, CALL_SLEEP, CALL_WAIT, CALLS
};

/* Makes one system call, counted and watched. The value is its result. */
#define CALL(kind, fd, expression) ({				\
	call_begin(kind, fd);					\
	long __result = (expression);				\
	call_end(kind, __result);				\
	__result;						\
})

struct settings {
	const char *mode;
	int seconds, threads, stall;
	unsigned int cid;
	uint64_t seed;
	/* Only this scene, again and again; 0 for all. */
	uint64_t scene;
	/* So many exchanges are the end of it; 0 for no such end. */
	uint64_t exchanges;
	const char *only;
	bool serve_only;
	/* The module under test is rvsock, which keeps what C vsock does not. */
	bool strict;
};

extern struct settings settings;

void watch_init(void);
/* From here on the calling thread is watched, as part of a scene. */
void watch_enter(uint64_t scene, const char *name);
/* It goes on with another scene. */
void watch_scene(uint64_t scene, const char *name);
/* May random signals hit this thread's calls? */
void watch_pester(bool pester);
/* How far the calling thread's conversation is, for the watchdog to tell. */
struct standing {
	uint64_t received, in_total, sent, out_total;
	int role, lowat, wanted;
	bool in_over, out_over;
};

void watch_standing(const struct standing *standing);
/* Something was achieved. */
void watch_moved(void);
void watch_leave(void);
/* The threads of a process that is gone are watched no more. */
void watch_forget(pid_t pid);
/* A loop for a thread: looks after the others until @stop. */
void watch_run(atomic_bool *stop, long until_ms);

void call_begin(enum call kind, int fd);
void call_end(enum call kind, long result);

/* A thread of the scene that the caller is in. */
struct helper;
struct helper *spawn(void *(*run)(void *), void *argument);
void join(struct helper *helper);
/* fork(); the child may spawn(), too. */
pid_t spawn_process(void);

enum total {
	TOTAL_SCENES, TOTAL_CONVERSATIONS, TOTAL_CUT, TOTAL_SENT, TOTAL_RECEIVED,
	TOTAL_REFUSED, TOTAL_SIGNALS, TOTAL_KILLED, TOTAL_EXCHANGES,
	/* Of a thread's calls by the kernel, and of its socket by the module. */
	TOTAL_SWITCHES, TOTAL_WOKEN,
	/* Conversations in which these are not the same. */
	TOTAL_DIFFERENT,
	/* Wake-ups because the peer seemed to hang. */
	TOTAL_STALLED, TOTALS
};

void count(enum total total, uint64_t by);
uint64_t counted(enum total total);
/* The counts, as comment lines. */
void watch_print(void);

/* What must not happen, by the test that fails for it. */
enum verdict { VERDICT_DATA, VERDICT_ERRORS, VERDICT_PROGRESS, VERDICTS };

void wrong(enum verdict verdict, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* A call ended with an errno that nothing explains. */
void unexpected(const char *call, int error);
long wrongs(enum verdict verdict);
/* In words, the first thing that was wrong; empty if nothing was. */
const char *first_complaint(enum verdict verdict);

/* A buffer of BUFFER_SIZE bytes. */
#define BUFFER_SIZE	KIB(400)
uint8_t *buffer_get(void);
void buffer_put(uint8_t *buffer);

/* Of a thread, in bytes. */
#define STACK_SIZE	KIB(128)

/* ---- stress_data.c ---- */

uint64_t mix(uint64_t value);
/* The next number below @below; each @state is a sequence of its own. */
uint64_t draw(uint64_t *state, uint64_t below);
/* True in @percent of the cases. */
bool chance(uint64_t *state, unsigned int percent);
/* A size up to @most: small ones, pages and large ones alike. */
size_t draw_size(uint64_t *state, size_t most);

/* The bytes of the stream @key. */
void data_fill(uint64_t key, uint64_t offset, void *data, size_t len);
/* Index of the first byte that differs, or @len. */
size_t data_check(uint64_t key, uint64_t offset, const void *data, size_t len);
/* The same for the same bytes, in whatever order. */
uint64_t data_sum(const void *data, size_t len);
/* So many bytes in a row tell where in the stream they stand. */
#define PLACEABLE	15
/*
 * Where in the stream, below @total, the first @run of these bytes stand; false
 * if nowhere.
 */
bool data_find(uint64_t key, uint64_t total, const void *data, size_t len,
	       uint64_t *offset, size_t *run);

/* ---- stress_stream.c ---- */

enum style {
	STYLE_POLL, STYLE_EPOLL, STYLE_EDGE, STYLE_TWO, STYLE_MANY,
	/* Sends when it has received the end, as one answers a question. */
	STYLE_ANSWER, STYLES
};

enum cut { CUT_NONE, CUT_CLOSE, CUT_BOTH, CUT_READING, CUT_KILL };

/* What two ends do; both make it from the seed, and so agree. */
struct plan {
	uint64_t seed;
	/* Bytes that end 0 and end 1 send, and which stream they are. */
	uint64_t total[2], key[2];
	/* Does it shut its direction down after them? */
	bool half[2];
	enum style style[2];
	/* Which end gives up, how, and after how many received bytes. */
	enum cut cut;
	int cutter;
	uint64_t cut_after;
	bool pester, timeouts, options, think;
};

void plan_make(struct plan *plan, uint64_t seed, bool half_close);

/* What an end saw. */
struct outcome {
	uint64_t received, sent;
	/* The end of the stream came; a call said that the connection broke. */
	bool orderly, broken;
	/* It shut its direction down before it closed. */
	bool shut;
};

/* Is end @role of the conversation on @fd, which it closes. */
void end_run(const struct plan *plan, int role, int fd, struct outcome *outcome);

/* ---- the scenes ---- */

struct scene {
	const char *name;
	unsigned int weight;
	void (*run)(uint64_t seed);
};

extern const struct scene local_scenes[], remote_scenes[], peer_scenes[];
extern const struct scene exchange_scenes[];

void scene_storm(uint64_t seed);
void scene_misuse(uint64_t seed);
void scene_nobody(uint64_t seed);

/* Serves conversations that other threads or programs ask for. */
bool hub_start(void);
void hub_stop(void);

#endif /* STRESS_H */
