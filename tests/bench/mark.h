/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Marks for what counts the instructions of this machine (tests/bench/instructions):
 * instructions that do nothing, and that no compiler makes.
 */
#ifndef MARK_H
#define MARK_H

/* From here on it is counted. */
static inline void mark_begin(void)
{
	asm volatile("xchgw %%bx, %%bx" ::: "memory");
}

/* Up to here. */
static inline void mark_end(void)
{
	asm volatile("xchgw %%cx, %%cx" ::: "memory");
}

/* What was counted since the last one of these is a section. */
static inline void mark_section(void)
{
	asm volatile("xchgw %%dx, %%dx" ::: "memory");
}

#endif /* MARK_H */
