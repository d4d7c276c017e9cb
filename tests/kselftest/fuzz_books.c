// SPDX-License-Identifier: GPL-2.0
/* Findings, counters, memory, and the kernel's log. */
#include "fuzz.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* So many findings of one kind are printed. */
#define PRINTED		8
/* Lines of the log up to this level are looked at: warnings and worse. */
#define LOG_WARNING	4

static const char *const verdict_names[VERDICTS] = {
	"runs", "live", "resets", "rings", "replay",
	"reached", "reasons", "credit", "memory", "log",
};

/* What the virtio core says of a ring that lies; a line for each violation at most. */
static const char *const ring_lines[] = { "out of range", "is not a head" };

/* What else may be said: a ring was violated, a CID that no guest can have was offered. */
static const char *const known_lines[] = {
	"broke its queues", "offers a reserved CID", "rvsock-test: ",
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_long found[VERDICTS];
static uint64_t seed;
static int log_fd = -1;
static int ring_complaints;

int patience(void)
{
	const char *said = getenv("RVSOCK_PATIENCE");
	int times = said ? atoi(said) : 1;

	return times > 0 ? times : 1;
}

void books_enter(uint64_t new_seed)
{
	seed = new_seed;
}

void finding(enum verdict verdict, const char *format, ...)
{
	va_list arguments;

	if (found[verdict]++ >= PRINTED)
		return;
	va_start(arguments, format);
	pthread_mutex_lock(&lock);
	printf("# finding, seed %#llx, %s: ", (unsigned long long)seed, verdict_names[verdict]);
	vprintf(format, arguments);
	putchar('\n');
	pthread_mutex_unlock(&lock);
	va_end(arguments);
}

long findings(enum verdict verdict)
{
	long all = 0;

	if (verdict < VERDICTS)
		return found[verdict];
	for (int i = 0; i < VERDICTS; i++)
		all += found[i];
	return all;
}

bool reasons_read(struct reasons *reasons)
{
	FILE *file = fopen("/sys/kernel/debug/rvsock/counters", "r");
	char name[64];
	long value;

	reasons->count = 0;
	if (!file)
		return false;
	while (fscanf(file, "%63s %ld", name, &value) == 2) {
		/* Two are of what never was at a device. */
		if (strncmp(name, "dropped_", 8) || !strcmp(name, "dropped_datagram") ||
		    !strcmp(name, "dropped_loopback") || reasons->count == REASONS)
			continue;
		snprintf(reasons->names[reasons->count], sizeof(reasons->names[0]), "%.31s",
			 name + 8);
		reasons->values[reasons->count++] = value;
	}
	fclose(file);
	return reasons->count > 0;
}

long reason_grown(const struct reasons *before, const struct reasons *after, const char *name)
{
	for (int i = 0; i < after->count && i < before->count; i++)
		if (!strcmp(after->names[i], name))
			return after->values[i] - before->values[i];
	return -1;
}

static long meminfo(const char *name)
{
	FILE *file = fopen("/proc/meminfo", "r");
	char line[128], word[64];
	long value, result = 0;

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "%63[^:]: %ld", word, &value) == 2 && !strcmp(word, name))
			result = value;
	if (file)
		fclose(file);
	return result;
}

long memory_in_use(void)
{
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY);

	if (fd >= 0) {
		if (write(fd, "3", 1) != 1)
			perror("# drop_caches");
		close(fd);
	}
	return meminfo("MemTotal") - meminfo("MemFree") - meminfo("Buffers") -
		meminfo("Cached") - meminfo("SReclaimable");
}

void log_open(void)
{
	log_fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
	if (log_fd >= 0)
		lseek(log_fd, 0, SEEK_END);
}

static bool has_any(const char *line, const char *const *texts, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strstr(line, texts[i]))
			return true;
	return false;
}

#define HAS_ANY(line, texts) has_any(line, texts, sizeof(texts) / sizeof((texts)[0]))

int log_check(int violations)
{
	char record[2048];
	ssize_t got;

	while ((got = read(log_fd, record, sizeof(record) - 1)) > 0 ||
	       (got < 0 && errno == EPIPE)) {
		char *text;

		if (got < 0)
			continue;
		record[got] = 0;
		text = strchr(record, ';');
		if (!text || (atoi(record) & 7) > LOG_WARNING || HAS_ANY(text, known_lines))
			continue;
		text[strcspn(text, "\n")] = 0;
		if (!HAS_ANY(text, ring_lines) || ++ring_complaints > violations)
			finding(VERDICT_LOG, "the kernel says: %s", text + 1);
	}
	return ring_complaints;
}
