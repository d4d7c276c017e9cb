// SPDX-License-Identifier: GPL-2.0
/*
 * Fuzzing: see fuzz.h. The device sends what follows from a seed; here it is asked for
 * run after run, and judged by what the module counts, and by connections that go on.
 */
#include "fuzz.h"
#include "driver.h"
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The device that the driver has. */
#define DEVICE			"virtio0"
/* How long a connection may take to end after the device has broken its rings. */
#define BROKEN_MS		700
/* Before the runs, so that what is made once is there when memory is looked at. */
#define WARM_PACKETS		2000
/* So many packets show every reason for dropping one, and what is usual. */
#define ENOUGH_PACKETS		20000
/* So many times fewer of them on a slow kernel. */
#define FEWER			4
/* KiB of memory that may have gone into caches that nobody counts. */
#define MEMORY_KIB		4096

static const char usage[] =
"usage: fuzz [OPTION...]\n"
"Without an option, the runs of the test suite.\n"
"  --seed=N      one run\n"
"  --first=N     runs with this seed and those that follow it\n"
"  --seconds=N   for so long; default with --first: 60\n"
"  --packets=N   of each run; default: 10000, and fewer on a slow kernel\n"
"  --told        the device writes all that it sends to its log\n";

/* As the device takes it from the last bits of a seed. */
enum kind { PACKETS, RESETS, RINGS };

static const char *const kind_names[] = { "packets", "resets", "rings" };

/* 100,000 packets, and rings beside them. */
static const uint64_t usual_seeds[] = {
	0, 1, 6, 7, 15, 2, 3, 23, 31, 4, 14, 5, 39, 47, 8, 9, 55, 63,
};

static const char *const tests[VERDICTS] = {
	[VERDICT_RUNS] = "every_run_ends",
	[VERDICT_LIVE] = "connections_beside_it_go_on",
	[VERDICT_RESETS] = "transport_resets_end_them_and_no_more",
	[VERDICT_RINGS] = "the_driver_can_be_bound_again",
	[VERDICT_REPLAY] = "a_seed_replays",
	[VERDICT_REACHED] = "half_reach_a_connection",
	[VERDICT_REASONS] = "every_reason_is_counted",
	[VERDICT_CREDIT] = "nobody_has_more_than_was_granted",
	[VERDICT_MEMORY] = "memory_is_given_back",
	[VERDICT_LOG] = "the_log_is_clean",
};

static struct {
	uint64_t seed, first;
	bool one, told;
	int seconds;
	unsigned int packets;
} settings;

/* What was done, without the runs that violate a ring. */
static struct {
	int runs[3];
	unsigned long packets, responses, resets;
	long ms;
	struct reasons before, after;
} done;

/* What the device says of a run. */
struct outcome {
	unsigned int packets, events, resets, responses;
	char digest[20];
};

static enum kind kind_of(uint64_t seed)
{
	switch (seed & 7) {
	case 7:
		return RINGS;
	case 6:
		return RESETS;
	default:
		return PACKETS;
	}
}

/* Asks the device; the answer is in @line. Asks again where it may have lost the connection. */
static bool ask(const char *asked, bool again, char *line, size_t size)
{
	long end = now_ms() + 3 * PATIENCE_MS * patience();

	do {
		int fd = vsock_ask("%s", asked);

		if (fd >= 0) {
			set_timeout(fd, SO_RCVTIMEO, PATIENCE_MS * patience());
			if (!vsock_read_line(fd, line, size)) {
				close(fd);
				return true;
			}
			close(fd);
		}
		sleep_ms(50);
	} while (again && now_ms() < end);
	snprintf(line, size, "%s", strerror(errno));
	return false;
}

static bool read_outcome(const char *line, struct outcome *outcome)
{
	const char *responses = strstr(line, " responses=");

	return sscanf(line, "passed packets=%u events=%u resets=%u digest=%16[0-9a-f]",
		      &outcome->packets, &outcome->events, &outcome->resets,
		      outcome->digest) == 4 &&
		responses && sscanf(responses, " responses=%u", &outcome->responses) == 1;
}

/*
 * Waits until the device is out of use, or until it should have been; binds it again. Not
 * each violation can be seen by the guest: the kernel says if it has seen one.
 */
static void violated(int canary, int complaints)
{
	bool ended = poll_for(canary, 0, BROKEN_MS * patience()) & POLLHUP;

	close(canary);
	if (log_check(done.runs[RINGS] + 1) > complaints && !ended)
		finding(VERDICT_RINGS, "the device is out of use, and its connections are not");
	if (!driver_unbind(DEVICE) || !driver_bind(DEVICE))
		finding(VERDICT_RINGS, "the driver does not bind again: %s", strerror(errno));
	else if (!live_echo_works())
		finding(VERDICT_RINGS, "no echo after binding again: %s", strerror(errno));
}

/* One run; @outcome is what the device says of it. */
static void run(uint64_t seed, unsigned int packets, bool told, struct outcome *outcome)
{
	enum kind kind = kind_of(seed);
	char asked[100], line[400] = "";
	unsigned long exchanges = live_exchanges(), resets = live_resets();
	int canary = -1, complaints = log_check(done.runs[RINGS]);
	long began = now_ms(), took;
	bool ended;

	books_enter(seed);
	printf("# run: seed %#llx, %s\n", (unsigned long long)seed, kind_names[kind]);
	fflush(stdout);
	memset(outcome, 0, sizeof(*outcome));
	snprintf(asked, sizeof(asked), "fuzz %llu %u%s", (unsigned long long)seed, packets,
		 told ? " told" : "");
	if (kind == RINGS) {
		live_pause();
		canary = vsock_connected(PORT_ECHO);
	}
	live_expect_resets(kind == RESETS);
	if (!ask(asked, false, line, sizeof(line)) || strcmp(line, "fuzzing")) {
		finding(VERDICT_RUNS, "the device does not begin: %s", line);
		live_resume();
		return;
	}
	if (kind == RINGS)
		violated(canary, complaints);
	ended = ask("result", true, line, sizeof(line)) && read_outcome(line, outcome);
	if (!ended)
		finding(VERDICT_RUNS, "the device says: %s", line);
	took = now_ms() - began;
	if (kind == RINGS)
		live_resume();
	live_check();
	live_expect_resets(false);
	resets = live_resets() - resets;
	/* Two connections, and one reset more, that gives the guest its CID again. */
	if (ended ? resets > 2ul * (outcome->resets + 1) || (outcome->resets && !resets) :
		    kind == RESETS && !resets)
		finding(VERDICT_RESETS, "%lu connections were reset by %u transport resets",
			resets, outcome->resets);
	log_check(done.runs[RINGS] + (kind == RINGS));
	done.runs[kind]++;
	if (kind != RINGS) {
		done.packets += outcome->packets;
		done.responses += outcome->responses;
		done.resets += outcome->resets;
		done.ms += took;
	}
	printf("# %s, %lu exchanges beside it, %lu packets in a second\n", line,
	       live_exchanges() - exchanges, outcome->packets * 1000ul / (took + 1));
}

/* Packets that never got as far as a connection, by the module's counters. */
static long dropped_early(void)
{
	static const char *const early[] = {
		"short_header", "short_payload", "overlong", "reserved_cid", "address",
		"operation", "type", "payload", "no_socket", "backlog",
		/* These did, but some to one that had ended. */
		"state",
	};
	long all = 0;

	for (size_t i = 0; i < sizeof(early) / sizeof(early[0]); i++)
		all += reason_grown(&done.before, &done.after, early[i]);
	return all;
}

static void judge_counters(void)
{
	/* A request that was answered has reached a listener. */
	long reached = done.packets - done.responses - dropped_early();

	for (int i = 0; i < done.after.count; i++) {
		long grown = done.after.values[i] - done.before.values[i];

		printf("# dropped, %s: %ld\n", done.after.names[i], grown);
		if (grown <= 0 && done.packets >= ENOUGH_PACKETS)
			finding(VERDICT_REASONS, "%s was never counted", done.after.names[i]);
	}
	printf("# %lu packets, %ld to a connection, %lu connections opened, %lu transport resets\n",
	       done.packets, reached, done.responses, done.resets);
	printf("# %d runs with packets, %d with resets, %d with rings; %ld packets in a second\n",
	       done.runs[PACKETS], done.runs[RESETS], done.runs[RINGS],
	       (long)(done.packets * 1000 / (done.ms + 1)));
	if (2 * reached < (long)done.packets && done.packets >= ENOUGH_PACKETS)
		finding(VERDICT_REACHED, "only %ld of %lu packets", reached, done.packets);
}

/* All sockets are closed; memory is as it is then. */
static long settled_memory(void)
{
	live_stop();
	victims_stop();
	if (sockets_become(0) > 0)
		finding(VERDICT_MEMORY, "%d sockets are left", live_sockets());
	sleep_ms(200);
	return memory_in_use();
}

/* The same seed twice; what is made once is made by that. */
static void warm_up(void)
{
	struct outcome first, second;

	victims_start();
	live_start();
	run(0, WARM_PACKETS, false, &first);
	run(0, WARM_PACKETS, false, &second);
	if (strcmp(first.digest, second.digest))
		finding(VERDICT_REPLAY, "%s was sent, and then %s", first.digest, second.digest);
}

static void parse(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seed", required_argument, NULL, 's' },
		{ "first", required_argument, NULL, 'f' },
		{ "seconds", required_argument, NULL, 't' },
		{ "packets", required_argument, NULL, 'p' },
		{ "told", no_argument, NULL, 'l' },
		{ 0 }
	};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		uint64_t number = optarg ? strtoull(optarg, NULL, 0) : 0;

		switch (option) {
		case 's':
			settings.seed = number;
			settings.one = true;
			break;
		case 'f':
			settings.first = number;
			if (!settings.seconds)
				settings.seconds = 60;
			break;
		case 't':
			settings.seconds = number;
			break;
		case 'p':
			settings.packets = number;
			break;
		case 'l':
			settings.told = true;
			break;
		default:
			fputs(usage, stderr);
			exit(2);
		}
	}
	if (optind != argc) {
		fputs(usage, stderr);
		exit(2);
	}
}

static void run_all(void)
{
	struct outcome outcome;

	if (settings.one) {
		run(settings.seed, settings.packets, settings.told, &outcome);
	} else if (settings.seconds) {
		long end = now_ms() + settings.seconds * 1000L;

		for (uint64_t seed = settings.first; now_ms() < end && !findings(VERDICTS); seed++)
			run(seed, settings.packets, settings.told, &outcome);
	} else {
		for (size_t i = 0; i < sizeof(usual_seeds) / sizeof(usual_seeds[0]); i++)
			run(usual_seeds[i], settings.packets, settings.told, &outcome);
	}
}

int main(int argc, char **argv)
{
	long before, after;

	setvbuf(stdout, NULL, _IOLBF, 0);
	parse(argc, argv);
	if (!settings.packets)
		settings.packets = 10000 / (patience() > 1 ? FEWER : 1);
	signal(SIGPIPE, SIG_IGN);
	log_open();
	warm_up();
	memset(&done, 0, sizeof(done));
	before = settled_memory();

	victims_start();
	live_start();
	if (!reasons_read(&done.before)) {
		fprintf(stderr, "the module has no counters\n");
		return 2;
	}
	run_all();
	reasons_read(&done.after);
	after = settled_memory();
	judge_counters();
	printf("# memory in use: %ld KiB before, %ld KiB after\n", before, after);
	/* The debugging kernel keeps what was freed, and looks for leaks itself. */
	if (patience() == 1 && after - before > MEMORY_KIB)
		finding(VERDICT_MEMORY, "%ld KiB are in use, and were %ld", after, before);

	printf("TAP version 13\n1..%d\n", VERDICTS);
	for (int i = 0; i < VERDICTS; i++)
		printf("%sok %d %s\n", findings(i) ? "not " : "", i + 1, tests[i]);
	return findings(VERDICTS) ? 1 : 0;
}
