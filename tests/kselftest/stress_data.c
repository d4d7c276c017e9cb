// SPDX-License-Identifier: GPL-2.0
/*
 * Where the choices come from, and the bytes of a stream.
 *
 * A stream is a sequence of words of 8 bytes. Word i of stream k is the image of
 * k + i under a function that can be turned round, so a reader can tell from any
 * 15 bytes in a row where in the stream they stand, and lost, repeated, moved
 * and strange bytes all show.
 */
#include "stress.h"
#include <string.h>

#define MULTIPLY_1 0xbf58476d1ce4e5b9u
#define MULTIPLY_2 0x94d049bb133111ebu
/* Their inverses modulo 2^64. */
#define DIVIDE_1 0x96de1b173f119089u
#define DIVIDE_2 0x319642b2d24d8ec3u

uint64_t mix(uint64_t value)
{
	value = (value ^ (value >> 30)) * MULTIPLY_1;
	value = (value ^ (value >> 27)) * MULTIPLY_2;
	return value ^ (value >> 31);
}

static uint64_t unmix(uint64_t value)
{
	value = (value ^ (value >> 31) ^ (value >> 62)) * DIVIDE_2;
	value = (value ^ (value >> 27) ^ (value >> 54)) * DIVIDE_1;
	return value ^ (value >> 30) ^ (value >> 60);
}

uint64_t draw(uint64_t *state, uint64_t below)
{
	*state += 0x9e3779b97f4a7c15u;
	return below ? mix(*state) % below : 0;
}

bool chance(uint64_t *state, unsigned int percent)
{
	return draw(state, 100) < percent;
}

size_t draw_size(uint64_t *state, size_t most)
{
	static const size_t edges[] = {
		1, 2, 8, 64, 1023, 1024, 1025, 3732, 4096, 4097, 16384,
		65535, 65536, 65537, 131072, 262144,
	};
	size_t size;

	switch (draw(state, 4)) {
	case 0:
		size = 1 + draw(state, 64);
		break;
	case 1:
		size = edges[draw(state, sizeof(edges) / sizeof(edges[0]))];
		break;
	case 2:
		size = 1 + draw(state, 8192);
		break;
	default:
		size = 1 + draw(state, most);
	}
	return size < most ? size : most;
}

void data_fill(uint64_t key, uint64_t offset, void *data, size_t len)
{
	uint8_t *to = data;

	while (len) {
		uint64_t word = mix(key + offset / 8);
		size_t skip = offset % 8;
		size_t part = 8 - skip < len ? 8 - skip : len;

		memcpy(to, (uint8_t *)&word + skip, part);
		to += part;
		offset += part;
		len -= part;
	}
}

size_t data_check(uint64_t key, uint64_t offset, const void *data, size_t len)
{
	const uint8_t *from = data;
	size_t done = 0;

	while (done < len) {
		uint64_t word = mix(key + (offset + done) / 8);
		size_t skip = (offset + done) % 8;
		size_t part = 8 - skip < len - done ? 8 - skip : len - done;

		if (memcmp(from + done, (uint8_t *)&word + skip, part)) {
			while (from[done] == ((uint8_t *)&word)[skip]) {
				done++;
				skip++;
			}
			return done;
		}
		done += part;
	}
	return len;
}

uint64_t data_sum(const void *data, size_t len)
{
	const uint8_t *from = data;
	uint64_t sum = 0;

	while (len--)
		sum += mix(*from++);
	return sum;
}

bool data_find(uint64_t key, uint64_t total, const void *data, size_t len,
	       uint64_t *offset, size_t *run)
{
	const uint8_t *from = data;

	if (len < PLACEABLE)
		return false;
	for (size_t skip = 0; skip < 8; skip++) {
		uint64_t word, index;
		size_t equal;

		memcpy(&word, from + skip, 8);
		index = unmix(word) - key;
		if (index >= total / 8 + 1 || index * 8 < skip)
			continue;
		*offset = index * 8 - skip;
		if (*offset >= total)
			continue;
		if (len > total - *offset)
			len = total - *offset;
		equal = data_check(key, *offset, data, len);
		if (equal < PLACEABLE)
			continue;
		*run = equal;
		return true;
	}
	return false;
}
