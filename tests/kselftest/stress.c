// SPDX-License-Identifier: GPL-2.0
/*
 * Stress: see stress.h. Its choices follow from a seed, which it prints; what
 * happens between the threads does not, of course.
 */
#define _GNU_SOURCE
#include "stress.h"
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

/* Closing takes 8 s where a peer does not answer it. */
#define CLOSING_MS	12000

static const char usage[] =
"usage: stress MODE [OPTION...]\n"
"MODE\n"
"  local   between sockets of this program, over loopback\n"
"  peer    with the host's programs (tests/peer)\n"
"  remote  with \"stress serve\" at --cid\n"
"  serve   the other end of \"stress remote\"\n"
"  exchange  small exchanges, between sockets of this program or, with --cid, with\n"
"          the host's echo\n"
"OPTION\n"
"  --seconds=N  how long; default 20\n"
"  --exchanges=N  until so many exchanges are made, --seconds at the most\n"
"  --threads=N  scenes at the same time; default 8\n"
"  --seed=N     the choices of an earlier run\n"
"  --stall=N    seconds without progress that count as a hang; default 30,\n"
"               or more where RVSOCK_PATIENCE says so\n"
"  --cid=N      the other end; default 1 for local, 2 for remote\n"
"  --only=NAME  only scenes of this name\n"
"  --scene=N    one scene (with --only=NAME), again and again\n";

static const struct scene *scenes;
static atomic_bool stop, watch_stop;
static long end_ms;

static void parse(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seconds", required_argument, NULL, 's' },
		{ "threads", required_argument, NULL, 't' },
		{ "seed", required_argument, NULL, 'r' },
		{ "stall", required_argument, NULL, 'w' },
		{ "cid", required_argument, NULL, 'c' },
		{ "only", required_argument, NULL, 'o' },
		{ "exchanges", required_argument, NULL, 'x' },
		{ "scene", required_argument, NULL, 'n' },
		{ 0 }
	};
	int option;

	settings = (struct settings){
		.seconds = 20, .threads = 8, .stall = 30 * vsock_patience(),
	};
	if (getrandom(&settings.seed, sizeof(settings.seed), 0) < 0)
		settings.seed = now_ms();
	settings.seed >>= 32;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		uint64_t number = optarg ? strtoull(optarg, NULL, 0) : 0;

		switch (option) {
		case 's':
			settings.seconds = number;
			break;
		case 't':
			settings.threads = number;
			break;
		case 'r':
			settings.seed = number;
			break;
		case 'w':
			settings.stall = number;
			break;
		case 'c':
			settings.cid = number;
			break;
		case 'o':
			settings.only = optarg;
			break;
		case 'x':
			settings.exchanges = number;
			break;
		case 'n':
			settings.scene = number;
			break;
		default:
			fputs(usage, stderr);
			exit(2);
		}
	}
	/* On a slow kernel fewer do, and take longer. */
	if (settings.exchanges) {
		settings.exchanges /= vsock_patience();
		settings.seconds *= vsock_patience();
	}
	if (optind + 1 != argc) {
		fputs(usage, stderr);
		exit(2);
	}
	settings.mode = argv[optind];
	if (!strcmp(settings.mode, "local")) {
		scenes = local_scenes;
		if (!settings.cid)
			settings.cid = VMADDR_CID_LOCAL;
	} else if (!strcmp(settings.mode, "peer")) {
		scenes = peer_scenes;
		settings.cid = vsock_peer_cid();
	} else if (!strcmp(settings.mode, "remote")) {
		scenes = remote_scenes;
		if (!settings.cid)
			settings.cid = VMADDR_CID_HOST;
	} else if (!strcmp(settings.mode, "exchange")) {
		scenes = exchange_scenes;
		if (!settings.cid)
			settings.cid = VMADDR_CID_LOCAL;
	} else if (!strcmp(settings.mode, "serve")) {
		settings.serve_only = true;
	} else {
		fprintf(stderr, "there is no mode \"%s\"\n%s", settings.mode, usage);
		exit(2);
	}
}

static const struct scene *choose(uint64_t *state)
{
	unsigned int all = 0, at;
	const struct scene *scene;

	for (scene = scenes; scene->name; scene++)
		if (!settings.only || !strcmp(settings.only, scene->name))
			all += scene->weight;
	if (!all) {
		fprintf(stderr, "no scene is called \"%s\" in mode %s\n",
			settings.only, settings.mode);
		exit(2);
	}
	at = draw(state, all);
	for (scene = scenes; scene->name; scene++) {
		if (settings.only && strcmp(settings.only, scene->name))
			continue;
		if (at < scene->weight)
			return scene;
		at -= scene->weight;
	}
	return NULL;
}

/* Is all done that was to be done? */
static bool enough(void)
{
	return settings.exchanges && counted(TOTAL_EXCHANGES) >= settings.exchanges;
}

static void *work(void *argument)
{
	uint64_t state = mix(settings.seed + (uintptr_t)argument);

	while (!stop && now_ms() < end_ms && !enough()) {
		const struct scene *scene = choose(&state);
		uint64_t seed = mix(state) >> 16;

		if (settings.scene)
			seed = settings.scene;
		watch_enter(seed, scene->name);
		scene->run(seed);
		watch_leave();
		count(TOTAL_SCENES, 1);
	}
	return NULL;
}

static void *watch(void *argument)
{
	(void)argument;
	watch_run(&watch_stop, end_ms + 3600 * 1000L);
	return NULL;
}

/* Sockets of the family that are left; -1 if nobody counts them. */
static long sockets_left(void)
{
	const char *row = vsock_family() == AF_VSOCK ? "AF_VSOCK" : "RVSOCK";
	char line[256], name[64];
	long sockets, result = -1;
	FILE *file = fopen("/proc/net/protocols", "r");

	if (!file)
		return -1;
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "%63s %*d %ld", name, &sockets) == 2 &&
		    !strcmp(name, row))
			result = sockets;
	fclose(file);
	return result;
}

static long settle(void)
{
	long until = now_ms() + CLOSING_MS, left;

	while ((left = sockets_left()) > 0 && now_ms() < until)
		sleep_ms(50);
	return left;
}

static double seconds_of(struct timeval time)
{
	return time.tv_sec + time.tv_usec / 1e6;
}

static void print_usage(long began)
{
	struct rusage own, children;
	double took = (now_ms() - began) / 1000.0;
	long processors = sysconf(_SC_NPROCESSORS_ONLN);

	getrusage(RUSAGE_SELF, &own);
	getrusage(RUSAGE_CHILDREN, &children);
	printf("# figures: mode %s, %ld processors, %.1f s, %.1f processor seconds, %.1f of them in this program and %.1f in the kernel for it, seed %#llx\n",
	       settings.mode, processors, took, took * processors,
	       seconds_of(own.ru_utime) + seconds_of(children.ru_utime),
	       seconds_of(own.ru_stime) + seconds_of(children.ru_stime),
	       (unsigned long long)settings.seed);
}

static int report(const char *name, int number, bool good)
{
	printf("%sok %d %s\n", good ? "" : "not ", number, name);
	return good ? 0 : 1;
}

/*
 * One that is wrong in words once more, just before its line: who counts the tests
 * shows that.
 */
static int report_verdict(const char *name, int number, enum verdict verdict)
{
	bool good = !wrongs(verdict);

	if (!good)
		printf("# %s\n", first_complaint(verdict));
	return report(name, number, good);
}

/*
 * Has all pages there, those of stacks to come as well. Who finds one missing may
 * sleep until another thread has mapped its own memory, and no socket counts that.
 */
static void keep_pages(void)
{
	pthread_attr_t attributes;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	pthread_setattr_default_np(&attributes);
	pthread_attr_destroy(&attributes);
	if (mlockall(MCL_CURRENT | MCL_FUTURE)) {
		perror("mlockall");
		exit(2);
	}
}

static void nothing(int signal)
{
	(void)signal;
}

static void handle_signals(void)
{
	struct sigaction action = { .sa_handler = nothing };

	sigaction(SIGUSR1, &action, NULL);
	action.sa_flags = SA_RESTART;
	sigaction(SIGUSR2, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
}

int main(int argc, char **argv)
{
	pthread_t watchdog, *workers;
	long began = now_ms(), left = 0;
	int failed = 0;
	bool hub;

	setvbuf(stdout, NULL, _IOLBF, 0);
	parse(argc, argv);
	settings.strict = !access("/sys/kernel/debug/rvsock/counters", R_OK);
	printf("TAP version 13\n# stress %s --seed=%#llx --seconds=%d --threads=%d\n",
	       settings.mode, (unsigned long long)settings.seed,
	       settings.seconds, settings.threads);
	handle_signals();
	watch_init();
	if (settings.strict && scenes == exchange_scenes)
		keep_pages();
	end_ms = now_ms() + settings.seconds * 1000L;
	pthread_create(&watchdog, NULL, watch, NULL);

	hub = settings.serve_only || scenes == local_scenes;
	if (hub && !hub_start())
		return 1;
	if (settings.serve_only) {
		sleep_ms(settings.seconds * 1000L);
	} else {
		workers = calloc(settings.threads, sizeof(*workers));
		for (long i = 0; i < settings.threads; i++)
			pthread_create(&workers[i], NULL, work, (void *)i);
		for (long i = 0; i < settings.threads; i++)
			pthread_join(workers[i], NULL);
		free(workers);
	}
	if (hub)
		hub_stop();
	watch_stop = true;
	pthread_join(watchdog, NULL);

	left = settle();
	watch_print();
	print_usage(began);
	printf("1..4\n");
	failed += report_verdict("data", 1, VERDICT_DATA);
	failed += report_verdict("errors", 2, VERDICT_ERRORS);
	if (settings.exchanges && !enough())
		wrong(VERDICT_PROGRESS, "%llu exchanges were to be made in %d s",
		      (unsigned long long)settings.exchanges, settings.seconds);
	if (!settings.serve_only && !counted(TOTAL_SCENES))
		wrong(VERDICT_PROGRESS, "nothing was done");
	failed += report_verdict("progress", 3, VERDICT_PROGRESS);
	if (left > 0)
		printf("# %ld sockets are left\n", left);
	failed += report("no_socket_left", 4, left <= 0);
	return failed ? 1 : 0;
}
