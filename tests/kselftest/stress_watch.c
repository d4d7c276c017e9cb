// SPDX-License-Identifier: GPL-2.0
/*
 * The books: which thread is in which call since when, what was counted, what
 * went wrong. They lie in memory that processes share, since scenes fork.
 *
 * The watchdog: each watched thread has to achieve something within
 * settings.stall seconds, since every call here is answered by another thread,
 * a timeout or a signal. If one does not, all that the kernel can tell of it is
 * written down, and the program fails.
 */
#define _GNU_SOURCE
#include "stress.h"
#include "stacks.h"
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SLOTS		2048
#define BUFFERS		512
#define ERRNOS		134
/* So many complaints of one kind are printed. */
#define COMPLAINTS	12
#define COMPLAINT_SIZE	400

static const char *const call_names[CALLS] = {
	"none", "socket", "bind", "listen", "connect", "accept", "send", "recv",
	"peek", "poll", "epoll", "shutdown", "setsockopt", "getsockopt", "close",
	"fork", "signal", "sleep", "wait",
};

static const char *const total_names[TOTALS] = {
	"scenes", "conversations", "cut short", "bytes sent", "bytes received",
	"connects refused", "signals sent", "processes killed", "exchanges",
	"switches", "wake-ups", "conversations whose switches are not its wake-ups",
	"wake-ups for a peer that hangs",
};

/* A watched thread. It is free when tid is 0. */
struct slot {
	atomic_int tid;
	int pid;
	const char *name;
	uint64_t scene;
	atomic_int call, fd;
	atomic_long since, moved;
	atomic_bool pester, aimed_at;
	/* For a reader it may be torn, which is good enough to be looked at. */
	struct standing standing;
};

static struct books {
	struct slot slots[SLOTS];
	atomic_ulong calls[CALLS], errors[CALLS][ERRNOS];
	atomic_ulong totals[TOTALS];
	atomic_long wrongs[VERDICTS];
	/* The first of them in words. */
	char complaints[VERDICTS][COMPLAINT_SIZE];
	atomic_int top;
} *books;

struct settings settings;
static __thread struct slot *me;
static pid_t watcher;

void watch_init(void)
{
	books = mmap(NULL, sizeof(*books), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (books == MAP_FAILED) {
		perror("mmap");
		exit(2);
	}
	watcher = getpid();
	/* Memory, too, is kept, and not given back to the kernel. */
	mallopt(M_ARENA_MAX, 1);
	mallopt(M_MMAP_THRESHOLD, MIB(16));
	mallopt(M_TRIM_THRESHOLD, MIB(512));
	mallopt(M_TOP_PAD, MIB(8));
}

void watch_enter(uint64_t scene, const char *name)
{
	int tid = syscall(SYS_gettid);

	for (int i = 0; i < SLOTS; i++) {
		struct slot *slot = &books->slots[i];
		int free = 0, top = atomic_load(&books->top);

		if (atomic_load(&slot->tid) ||
		    !atomic_compare_exchange_strong(&slot->tid, &free, -1))
			continue;
		while (top <= i &&
		       !atomic_compare_exchange_weak(&books->top, &top, i + 1))
			;
		slot->pid = getpid();
		slot->name = name;
		slot->scene = scene;
		slot->call = CALL_NONE;
		slot->fd = -1;
		slot->since = now_ms();
		slot->moved = slot->since;
		slot->pester = false;
		memset(&slot->standing, 0, sizeof(slot->standing));
		atomic_store(&slot->tid, tid);
		me = slot;
		return;
	}
	fprintf(stderr, "more than %d threads; give fewer --threads\n", SLOTS);
	_exit(2);
}

void watch_scene(uint64_t scene, const char *name)
{
	if (!me)
		return;
	me->name = name;
	me->scene = scene;
	me->moved = now_ms();
	memset(&me->standing, 0, sizeof(me->standing));
}

void watch_pester(bool pester)
{
	if (!me)
		return;
	me->pester = pester;
	/*
	 * A signal that was sent meanwhile arrives here, and not in a call that
	 * does not expect one.
	 */
	while (!pester && me->aimed_at)
		sched_yield();
	sched_yield();
}

void watch_standing(const struct standing *standing)
{
	if (me)
		me->standing = *standing;
}

void watch_moved(void)
{
	if (me)
		me->moved = now_ms();
}

void watch_leave(void)
{
	if (me)
		atomic_store(&me->tid, 0);
	me = NULL;
}

void watch_forget(pid_t pid)
{
	for (int i = 0; i < books->top; i++)
		if (books->slots[i].tid && books->slots[i].pid == pid)
			atomic_store(&books->slots[i].tid, 0);
}

void call_begin(enum call kind, int fd)
{
	if (!me)
		return;
	me->fd = fd;
	me->since = now_ms();
	me->call = kind;
}

void call_end(enum call kind, long result)
{
	int error = errno;

	if (me)
		me->call = CALL_NONE;
	books->calls[kind]++;
	if (result < 0)
		books->errors[kind][error < ERRNOS ? error : 0]++;
	errno = error;
}

/*
 * Threads are kept for the next scene: making and ending one flushes the other
 * processors' address translations, which takes an emulated machine longer than
 * most scenes.
 */
struct helper {
	struct helper *next;
	sem_t go, done;
	void *(*run)(void *argument);
	void *argument;
	const char *name;
	uint64_t scene;
};

static struct helper *idle_helpers;
static pthread_mutex_t idle_lock = PTHREAD_MUTEX_INITIALIZER;

static void wait_for(sem_t *semaphore)
{
	while (sem_wait(semaphore))
		;
}

static void *help(void *argument)
{
	struct helper *helper = argument;

	for (;;) {
		wait_for(&helper->go);
		watch_enter(helper->scene, helper->name);
		helper->run(helper->argument);
		watch_leave();
		sem_post(&helper->done);
	}
	return NULL;
}

static struct helper *new_helper(void)
{
	struct helper *helper = calloc(1, sizeof(*helper));
	pthread_attr_t attributes;
	pthread_t thread;
	int error;

	sem_init(&helper->go, 0, 0);
	sem_init(&helper->done, 0, 0);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	error = pthread_create(&thread, &attributes, help, helper);
	pthread_attr_destroy(&attributes);
	if (error) {
		fprintf(stderr, "no more threads (%s); give fewer --threads\n",
			strerror(error));
		_exit(2);
	}
	return helper;
}

struct helper *spawn(void *(*run)(void *), void *argument)
{
	struct helper *helper;

	pthread_mutex_lock(&idle_lock);
	helper = idle_helpers;
	if (helper)
		idle_helpers = helper->next;
	pthread_mutex_unlock(&idle_lock);
	if (!helper)
		helper = new_helper();
	helper->run = run;
	helper->argument = argument;
	helper->name = me ? me->name : "main";
	helper->scene = me ? me->scene : 0;
	sem_post(&helper->go);
	return helper;
}

void join(struct helper *helper)
{
	CALL(CALL_WAIT, -1, (wait_for(&helper->done), 0));
	watch_moved();
	pthread_mutex_lock(&idle_lock);
	helper->next = idle_helpers;
	idle_helpers = helper;
	pthread_mutex_unlock(&idle_lock);
}

pid_t spawn_process(void)
{
	pid_t child;

	/* The lock is free in the child, which has no other thread. */
	pthread_mutex_lock(&idle_lock);
	child = CALL(CALL_FORK, -1, fork());
	if (!child)
		idle_helpers = NULL;
	pthread_mutex_unlock(&idle_lock);
	return child;
}

void count(enum total total, uint64_t by)
{
	books->totals[total] += by;
}

uint64_t counted(enum total total)
{
	return books->totals[total];
}

void wrong(enum verdict verdict, const char *format, ...)
{
	long before = books->wrongs[verdict]++;
	char text[COMPLAINT_SIZE];
	va_list arguments;

	if (before >= COMPLAINTS)
		return;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	if (!before)
		memcpy(books->complaints[verdict], text, sizeof(text));
	if (me)
		printf("# %s; scene %s, --scene=%#llx\n", text, me->name,
		       (unsigned long long)me->scene);
	else
		printf("# %s\n", text);
	fflush(stdout);
}

void unexpected(const char *call, int error)
{
	wrong(VERDICT_ERRORS, "%s: %s", call, strerror(error));
}

long wrongs(enum verdict verdict)
{
	return books->wrongs[verdict];
}

const char *first_complaint(enum verdict verdict)
{
	return books->complaints[verdict];
}

/* Buffers are kept, so that a scene does not begin with page faults. */
static struct {
	uint8_t *_Atomic kept[BUFFERS];
} buffers;

uint8_t *buffer_get(void)
{
	uint8_t *buffer;

	for (int i = 0; i < BUFFERS; i++) {
		if (!buffers.kept[i])
			continue;
		buffer = atomic_exchange(&buffers.kept[i], NULL);
		if (buffer)
			return buffer;
	}
	buffer = malloc_resident(BUFFER_SIZE);
	if (!buffer) {
		fprintf(stderr, "no memory; give fewer --threads\n");
		_exit(2);
	}
	return buffer;
}

void buffer_put(uint8_t *buffer)
{
	for (int i = 0; i < BUFFERS; i++) {
		uint8_t *none = NULL;

		if (!buffers.kept[i] &&
		    atomic_compare_exchange_strong(&buffers.kept[i], &none, buffer))
			return;
	}
	free(buffer);
}

/* ---- the watchdog ---- */

static void print_slot(const struct slot *slot)
{
	const struct standing *at = &slot->standing;
	long now = now_ms();

	printf("# thread %d of process %d: in %s(fd %d) for %ld ms, nothing achieved for %ld ms; scene %s, --scene=%#llx\n",
	       slot->tid, slot->pid, call_names[slot->call], slot->fd,
	       now - slot->since, now - slot->moved, slot->name,
	       (unsigned long long)slot->scene);
	if (at->in_total || at->out_total)
		printf("#   end %d: received %llu of %llu%s, sent %llu of %llu%s, SO_RCVLOWAT %d, waits for events %#x\n",
		       at->role, (unsigned long long)at->received,
		       (unsigned long long)at->in_total,
		       at->in_over ? " and the end" : "",
		       (unsigned long long)at->sent,
		       (unsigned long long)at->out_total,
		       at->out_over ? " and the end" : "", at->lowat, at->wanted);
	print_stack(slot->pid, slot->tid);
}

static void sysrq(char key)
{
	int fd = open("/proc/sysrq-trigger", O_WRONLY);

	if (fd < 0)
		return;
	if (write(fd, &key, 1) < 0)
		perror("# sysrq-trigger");
	close(fd);
}

/* Everything that tells why @stuck does not go on; the others for context. */
static void dump(const struct slot *stuck)
{
	printf("# the watchdog: a thread has achieved nothing for %d s\n",
	       settings.stall);
	print_slot(stuck);
	for (int i = 0; i < books->top; i++) {
		const struct slot *slot = &books->slots[i];

		/* First those of the same scene, who should have moved it. */
		if (slot != stuck && slot->tid > 0 && slot->scene == stuck->scene)
			print_slot(slot);
	}
	for (int i = 0; i < books->top; i++) {
		const struct slot *slot = &books->slots[i];

		if (slot->tid > 0 && slot->scene != stuck->scene)
			print_slot(slot);
	}
	print_file("counter", "/sys/kernel/debug/rvsock/counters");
	print_file("protocol", "/proc/net/protocols");
	fflush(stdout);
	sysrq('w');
	sysrq('t');
	watch_print();
}

/* Has a thread stood still for too long? Waiting for others is no crime. */
static const struct slot *find_stuck(long now)
{
	for (int i = 0; i < books->top; i++) {
		const struct slot *slot = &books->slots[i];

		if (slot->tid > 0 && slot->call != CALL_WAIT &&
		    now - slot->moved > settings.stall * 1000L)
			return slot;
	}
	return NULL;
}

static void end_children(void)
{
	for (int i = 0; i < books->top; i++)
		if (books->slots[i].tid > 0 && books->slots[i].pid != watcher)
			kill(books->slots[i].pid, SIGKILL);
}

/* One signal to a thread that may be hit; restarting calls or not. */
static void pester_one(uint64_t *state)
{
	int top = books->top;
	struct slot *slot = top ? &books->slots[draw(state, top)] : NULL;

	if (!slot)
		return;
	slot->aimed_at = true;
	if (slot->tid > 0 && slot->pester) {
		syscall(SYS_tgkill, slot->pid, slot->tid,
			chance(state, 50) ? SIGUSR1 : SIGUSR2);
		count(TOTAL_SIGNALS, 1);
	}
	slot->aimed_at = false;
}

void watch_run(atomic_bool *stop, long until_ms)
{
	uint64_t state = mix(settings.seed ^ 0x7369676e616c73);
	long next = now_ms();

	while (!*stop && now_ms() < until_ms) {
		const struct slot *stuck;
		long now;

		sleep_ms(settings.serve_only ? 250 : 1 + draw(&state, 8));
		for (int i = 0; i < 4; i++)
			pester_one(&state);
		now = now_ms();
		if (now < next)
			continue;
		next = now + 250;
		stuck = find_stuck(now);
		if (!stuck)
			continue;
		wrong(VERDICT_PROGRESS, "thread %d stands still in %s",
		      stuck->tid, call_names[stuck->call]);
		dump(stuck);
		end_children();
		/* Nothing of this can be ended in an orderly way. */
		printf("1..1\nnot ok 1 progress\n");
		fflush(stdout);
		_exit(1);
	}
}

void watch_print(void)
{
	for (int kind = CALL_SOCKET; kind < CALLS; kind++) {
		if (!books->calls[kind])
			continue;
		printf("# %-10s %9lu", call_names[kind], books->calls[kind]);
		for (int error = 0; error < ERRNOS; error++)
			if (books->errors[kind][error])
				printf("  %s %lu", error ? strerrorname_np(error) : "other",
				       books->errors[kind][error]);
		printf("\n");
	}
	for (int total = 0; total < TOTALS; total++)
		if (books->totals[total])
			printf("# %s: %lu\n", total_names[total],
			       books->totals[total]);
	fflush(stdout);
}
