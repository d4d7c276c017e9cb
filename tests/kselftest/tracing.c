// SPDX-License-Identifier: GPL-2.0
/* See tracing.h. */
#define _GNU_SOURCE
#include "tracing.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TRACING "/sys/kernel/tracing/instances"
/* As many processors as a guest may have. */
#define CPUS	8

static bool put(const struct tracing *tracing, const char *name, const char *text)
{
	char path[256];
	bool done;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", tracing->path, name);
	fd = open(path, O_WRONLY);
	if (fd < 0)
		return false;
	done = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	close(fd);
	return done;
}

bool tracing_open(struct tracing *tracing)
{
	snprintf(tracing->path, sizeof(tracing->path), TRACING "/rvsock_%d", getpid());
	return !mkdir(tracing->path, 0700) && tracing_stop(tracing);
}

void tracing_close(struct tracing *tracing)
{
	rmdir(tracing->path);
}

bool tracing_event(const struct tracing *tracing, const char *event,
		   const char *filter, ...)
{
	char text[256], name[128];
	va_list arguments;

	va_start(arguments, filter);
	vsnprintf(text, sizeof(text), filter, arguments);
	va_end(arguments);
	snprintf(name, sizeof(name), "events/%s/filter", event);
	if (!put(tracing, name, text))
		return false;
	snprintf(name, sizeof(name), "events/%s/enable", event);
	return put(tracing, name, "1");
}

bool tracing_stacks(const struct tracing *tracing)
{
	return put(tracing, "options/stacktrace", "1");
}

bool tracing_start(const struct tracing *tracing)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/trace", tracing->path);
	/* What was written down before is forgotten. */
	fd = open(path, O_WRONLY | O_TRUNC);
	if (fd < 0)
		return false;
	close(fd);
	return put(tracing, "tracing_on", "1");
}

bool tracing_stop(const struct tracing *tracing)
{
	return put(tracing, "tracing_on", "0");
}

/* The processor that a line of the trace is from; lines of stacks do not say it. */
static int cpu_of(const char *line)
{
	const char *place = strstr(line, " [");
	int cpu = place ? atoi(place + 2) : 0;

	return cpu >= 0 && cpu < CPUS ? cpu : 0;
}

int tracing_each(const struct tracing *tracing, const char *name,
		 void (*see)(const char *line, void *argument), void *argument)
{
	/* What a processor's last event was, and who caused it: others come in between. */
	static char told[CPUS][4096];
	char path[256], wanted[64], line[1024];
	int found = 0, cpu = 0;
	FILE *file;

	snprintf(path, sizeof(path), "%s/trace", tracing->path);
	snprintf(wanted, sizeof(wanted), ": %s: ", name);
	file = fopen(path, "r");
	if (!file)
		return -1;
	memset(told, 0, sizeof(told));
	while (fgets(line, sizeof(line), file)) {
		char *event;

		line[strcspn(line, "\n")] = '\0';
		if (!strncmp(line, " => ", 4)) {
			size_t len = strlen(told[cpu]);

			if (len)
				snprintf(told[cpu] + len, sizeof(told[cpu]) - len, " < %s",
					 line + 4);
			continue;
		}
		cpu = cpu_of(line);
		if (strstr(line, "<stack trace>"))
			continue;
		if (*told[cpu] && see)
			see(told[cpu], argument);
		event = strstr(line, wanted);
		snprintf(told[cpu], sizeof(told[cpu]), "%s", event ? event + 2 : "");
		found += !!event;
	}
	for (cpu = 0; cpu < CPUS; cpu++) {
		if (*told[cpu] && see)
			see(told[cpu], argument);
	}
	fclose(file);
	return found;
}
