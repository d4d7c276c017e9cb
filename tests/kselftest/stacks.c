// SPDX-License-Identifier: GPL-2.0
/* Where threads stand: stacks.h. */
#include "stacks.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void print_file(const char *title, const char *path)
{
	char line[256];
	FILE *file = fopen(path, "r");

	if (!file)
		return;
	while (fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = '\0';
		printf("# %s %s\n", title, line);
	}
	fclose(file);
}

static void print_one(const char *title, int pid, int tid, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/%s", pid, tid, name);
	print_file(title, path);
}

void print_stack(int pid, int tid)
{
	print_one("  wchan", pid, tid, "wchan");
	print_one("  stack", pid, tid, "stack");
}

void print_stacks(void)
{
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *entry;

	if (!tasks)
		return;
	while ((entry = readdir(tasks))) {
		int tid = atoi(entry->d_name);

		if (!tid)
			continue;
		printf("# thread %d\n", tid);
		/* The number of the call, and its arguments: the file first. */
		print_one("  syscall", getpid(), tid, "syscall");
		print_stack(getpid(), tid);
	}
	closedir(tasks);
	fflush(stdout);
}
