/* SPDX-License-Identifier: GPL-2.0 */
/* Where threads stand, in the kernel as well, for the log of a test that failed. */
#ifndef STACKS_H
#define STACKS_H

/* The lines of a file, each behind @title; nothing where there is none. */
void print_file(const char *title, const char *path);
/* Where a thread sleeps, and the kernel's functions that took it there. */
void print_stack(int pid, int tid);
/* That of each thread of this process, with its system call and file. */
void print_stacks(void);

#endif /* STACKS_H */
