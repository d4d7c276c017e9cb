// SPDX-License-Identifier: GPL-2.0
/*
 * Helpers of the socket tests; vsock_util.h says what each one does.
 */
#define _GNU_SOURCE
#include "vsock_util.h"

#include <errno.h>
#include <glob.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* A number of the environment, from 1 to @most. */
static int from_environment(const char *name, int otherwise, int most)
{
	const char *text = getenv(name);
	char *end;
	long number;

	if (!text || !*text)
		return otherwise;
	number = strtol(text, &end, 10);
	if (*end || number < 1 || number > most) {
		fprintf(stderr, "%s is \"%s\": set it to a number from 1 to %d.\n",
			name, text, most);
		exit(2);
	}
	return (int)number;
}

int vsock_family(void)
{
	return from_environment("RVSOCK_FAMILY", 18, 255);
}

unsigned int vsock_peer_cid(void)
{
	return from_environment("RVSOCK_PEER_CID", VMADDR_CID_HOST, 1 << 30);
}

unsigned int vsock_own_cid(void)
{
	unsigned int peer = vsock_peer_cid();

	return peer == VMADDR_CID_HOST ? GUEST_CID : peer;
}

struct sockaddr_vm vsock_address(unsigned int cid, unsigned int port)
{
	struct sockaddr_vm address;

	memset(&address, 0, sizeof(address));
	address.svm_family = vsock_family();
	address.svm_cid = cid;
	address.svm_port = port;
	return address;
}

int vsock_stream(int flags)
{
	return socket(vsock_family(), SOCK_STREAM | flags, 0);
}

int vsock_seqpacket(int flags)
{
	return socket(vsock_family(), SOCK_SEQPACKET | flags, 0);
}

int vsock_bind(int fd, unsigned int cid, unsigned int port)
{
	struct sockaddr_vm address = vsock_address(cid, port);

	return bind(fd, (struct sockaddr *)&address, sizeof(address));
}

int vsock_connect(int fd, unsigned int cid, unsigned int port)
{
	struct sockaddr_vm address = vsock_address(cid, port);

	return connect(fd, (struct sockaddr *)&address, sizeof(address));
}

/* Close without losing the errno that is to be reported. */
static int close_failed(int fd)
{
	int error = errno;

	close(fd);
	errno = error;
	return -1;
}

int vsock_connected(unsigned int port)
{
	int fd = vsock_stream(0);

	if (fd < 0)
		return -1;
	/* The machine may be slow; whoever asks for this wants the connection. */
	if (set_connect_timeout(fd, PATIENCE_MS) ||
	    vsock_connect(fd, vsock_peer_cid(), port))
		return close_failed(fd);
	return fd;
}

static int ask_va(int fd, const char *format, va_list arguments)
{
	char line[201];
	int len = vsnprintf(line, sizeof(line) - 1, format, arguments);

	if (len < 0 || len >= (int)sizeof(line) - 1) {
		errno = EMSGSIZE;
		return -1;
	}
	line[len++] = '\n';
	if (vsock_connect(fd, vsock_peer_cid(), PORT_SERVICE))
		return -1;
	return send_all(fd, line, len);
}

int vsock_ask_on(int fd, const char *format, ...)
{
	va_list arguments;
	int result;

	va_start(arguments, format);
	result = ask_va(fd, format, arguments);
	va_end(arguments);
	return result;
}

int vsock_ask(const char *format, ...)
{
	va_list arguments;
	int fd = vsock_stream(0);
	int result;

	if (fd < 0)
		return -1;
	va_start(arguments, format);
	result = ask_va(fd, format, arguments);
	va_end(arguments);
	return result ? close_failed(fd) : fd;
}

int vsock_listener_of(int type, unsigned int *port, int backlog)
{
	struct sockaddr_vm address;
	socklen_t len = sizeof(address);
	int fd = socket(vsock_family(), type, 0);

	if (fd < 0)
		return -1;
	if (vsock_bind(fd, VMADDR_CID_ANY, VMADDR_PORT_ANY) ||
	    listen(fd, backlog) ||
	    getsockname(fd, (struct sockaddr *)&address, &len))
		return close_failed(fd);
	*port = address.svm_port;
	return fd;
}

int vsock_listener(unsigned int *port, int backlog)
{
	return vsock_listener_of(SOCK_STREAM, port, backlog);
}

static int set_buffers(int fd, uint64_t size)
{
	if (!size)
		return 0;
	return set_buffer(fd, SO_VM_SOCKETS_BUFFER_MAX_SIZE, size) ||
	       set_buffer(fd, SO_VM_SOCKETS_BUFFER_SIZE, size) ? -1 : 0;
}

int vsock_pair_of(int type, unsigned int cid, uint64_t buffer, int fds[2])
{
	unsigned int port;
	int listener = vsock_listener_of(type, &port, 1);

	if (listener < 0)
		return -1;
	fds[0] = socket(vsock_family(), type, 0);
	if (fds[0] < 0)
		return close_failed(listener);
	if (set_buffers(fds[0], buffer) || set_buffers(listener, buffer) ||
	    vsock_connect(fds[0], cid, port)) {
		close_failed(fds[0]);
		return close_failed(listener);
	}
	fds[1] = accept(listener, NULL, NULL);
	if (fds[1] < 0) {
		close_failed(fds[0]);
		return close_failed(listener);
	}
	close(listener);
	return 0;
}

int vsock_pair(unsigned int cid, uint64_t buffer, int fds[2])
{
	return vsock_pair_of(SOCK_STREAM, cid, buffer, fds);
}

int vsock_read_line(int fd, char *line, size_t size)
{
	size_t len = 0;

	while (len + 1 < size) {
		if (recv_all(fd, line + len, 1))
			return -1;
		if (line[len] == '\n') {
			line[len] = '\0';
			return 0;
		}
		len++;
	}
	errno = EMSGSIZE;
	return -1;
}

int vsock_dial(unsigned int port, const char *command)
{
	char line[64];
	int fd = vsock_ask("dial %u %s", port, command);

	if (fd < 0)
		return -1;
	if (vsock_read_line(fd, line, sizeof(line)))
		return close_failed(fd);
	if (strcmp(line, "dialling")) {
		fprintf(stderr, "# the host answered \"%s\" to dial\n", line);
		errno = EPROTO;
		return close_failed(fd);
	}
	return fd;
}

int vsock_dialled(const char *command, int *fd)
{
	unsigned int port;
	int listener = vsock_listener(&port, 1);
	int asking;

	if (listener < 0)
		return -1;
	asking = vsock_dial(port, command);
	if (asking < 0)
		return close_failed(listener);
	if (poll_for(listener, POLLIN, PATIENCE_MS) != POLLIN) {
		close(asking);
		errno = ETIMEDOUT;
		return close_failed(listener);
	}
	*fd = accept(listener, NULL, NULL);
	if (*fd < 0) {
		close_failed(asking);
		return close_failed(listener);
	}
	close(listener);
	return asking;
}

int vsock_dial_result(int asking, struct dial_result *result)
{
	memset(result, 0, sizeof(*result));
	if (vsock_read_line(asking, result->line, sizeof(result->line)))
		return -1;
	result->ok = sscanf(result->line, "result ok %llu %x %llu %x",
			    &result->bytes_in, &result->crc_in,
			    &result->bytes_out, &result->crc_out) == 4;
	return 0;
}

int send_all(int fd, const void *data, size_t len)
{
	const char *from = data;

	while (len) {
		ssize_t sent = send(fd, from, len, MSG_NOSIGNAL);

		if (sent < 0)
			return -1;
		from += sent;
		len -= sent;
	}
	return 0;
}

int recv_all(int fd, void *data, size_t len)
{
	char *to = data;

	while (len) {
		ssize_t got = recv(fd, to, len, 0);

		if (got < 0)
			return -1;
		if (!got) {
			errno = ECONNRESET;
			return -1;
		}
		to += got;
		len -= got;
	}
	return 0;
}

int socket_error(int fd)
{
	int error = -1;
	socklen_t len = sizeof(error);

	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
	return error;
}

unsigned int local_port(int fd)
{
	struct sockaddr_vm address;
	socklen_t len = sizeof(address);

	if (getsockname(fd, (struct sockaddr *)&address, &len))
		return VMADDR_PORT_ANY;
	return address.svm_port;
}

bool answers_two_bytes(int fd)
{
	char reply[2] = "";

	return !send_all(fd, "hello", 5) && !recv_all(fd, reply, 2) &&
	       !memcmp(reply, "OK", 2);
}

int set_int(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value));
}

static struct timeval to_timeval(long milliseconds)
{
	struct timeval time = {
		.tv_sec = milliseconds / 1000,
		.tv_usec = milliseconds % 1000 * 1000,
	};

	return time;
}

int set_timeout(int fd, int option, long milliseconds)
{
	struct timeval time = to_timeval(milliseconds);

	return setsockopt(fd, SOL_SOCKET, option, &time, sizeof(time));
}

int set_connect_timeout(int fd, long milliseconds)
{
	struct timeval time = to_timeval(milliseconds);

	return setsockopt(fd, vsock_family(), SO_VM_SOCKETS_CONNECT_TIMEOUT,
			  &time, sizeof(time));
}

int set_buffer(int fd, int option, uint64_t value)
{
	return setsockopt(fd, vsock_family(), option, &value, sizeof(value));
}

int get_buffer(int fd, int option, uint64_t *value)
{
	socklen_t len = sizeof(*value);

	return getsockopt(fd, vsock_family(), option, value, &len);
}

uint8_t pattern_byte(uint64_t offset)
{
	return (uint8_t)((offset >> 8) ^ offset ^ (offset >> 16));
}

void pattern_fill(void *data, size_t len, uint64_t offset)
{
	uint8_t *to = data;

	for (size_t i = 0; i < len; i++)
		to[i] = pattern_byte(offset + i);
}

size_t pattern_check(const void *data, size_t len, uint64_t offset)
{
	const uint8_t *from = data;
	size_t i;

	for (i = 0; i < len; i++)
		if (from[i] != pattern_byte(offset + i))
			break;
	return i;
}

uint32_t crc32_update(uint32_t crc, const void *data, size_t len)
{
	static uint32_t table[256];
	const uint8_t *from = data;

	if (!table[1]) {
		for (uint32_t i = 255; i > 0; i--) {
			uint32_t value = i;

			for (int bit = 0; bit < 8; bit++)
				value = (value >> 1) ^
					((value & 1) ? 0xedb88320u : 0);
			table[i] = value;
		}
	}
	crc = ~crc;
	while (len--)
		crc = (crc >> 8) ^ table[(crc ^ *from++) & 0xff];
	return ~crc;
}

void random_fill(void *data, size_t len, uint64_t seed)
{
	uint8_t *to = data;
	uint64_t state = seed * 0x9e3779b97f4a7c15u + 0x2545f4914f6cdd1du;

	for (size_t i = 0; i < len; i++) {
		/* The generator's low bits are weak: use the high ones. */
		state = state * 6364136223846793005u + 1442695040888963407u;
		to[i] = (uint8_t)(state >> 56);
	}
}

long now_ms(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

void sleep_ms(long milliseconds)
{
	struct timespec time = {
		.tv_sec = milliseconds / 1000,
		.tv_nsec = milliseconds % 1000 * 1000000,
	};

	while (nanosleep(&time, &time) && errno == EINTR)
		;
}

long voluntary_switches(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_nvcsw;
}

long voluntary_ctxt_switches(int tid)
{
	char path[64], line[128];
	long switches = -1;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/status", tid);
	file = fopen(path, "r");
	while (file && fgets(line, sizeof(line), file))
		sscanf(line, "voluntary_ctxt_switches: %ld", &switches);
	if (file)
		fclose(file);
	return switches;
}

void *malloc_resident(size_t len)
{
	void *data = malloc(len);

	if (data)
		explicit_bzero(data, len);
	return data;
}

int vsock_wakeups(int fd, struct rvsock_wakeups *wakeups)
{
	socklen_t len = sizeof(*wakeups);

	memset(wakeups, 0, sizeof(*wakeups));
	return getsockopt(fd, vsock_family(), RVSOCK_SO_WAKEUPS, wakeups, &len);
}

unsigned int wakeups_sum(const __u32 counts[RVSOCK_WAKE_REASONS])
{
	unsigned int sum = 0;

	for (int reason = 0; reason < RVSOCK_WAKE_REASONS; reason++)
		sum += counts[reason];
	return sum;
}

int poll_for(int fd, int events, int timeout_ms)
{
	struct pollfd entry = { .fd = fd, .events = events };
	int result = poll(&entry, 1, timeout_ms);

	return result > 0 ? entry.revents : result;
}

bool wait_queued(int fd, size_t len)
{
	long end = now_ms() + PATIENCE_MS * vsock_patience();
	char *scratch = malloc(len);
	bool there = false;

	while (!there && now_ms() < end) {
		ssize_t got = recv(fd, scratch, len, MSG_PEEK | MSG_DONTWAIT);

		there = got == (ssize_t)len;
		if (!there)
			sleep_ms(5);
	}
	free(scratch);
	return there;
}

int faulting_page(uint8_t **map)
{
	long page = sysconf(_SC_PAGESIZE);
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);

	*map = mmap(NULL, page, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	range.range.start = (unsigned long)*map;
	range.range.len = page;
	if (fd < 0 || *map == MAP_FAILED || ioctl(fd, UFFDIO_API, &api) ||
	    ioctl(fd, UFFDIO_REGISTER, &range)) {
		close(fd);
		return -1;
	}
	return fd;
}

int provide_page(int fault, uint8_t *map, const uint8_t *from)
{
	struct uffdio_copy copy = {
		.dst = (unsigned long)map, .src = (unsigned long)from,
		.len = sysconf(_SC_PAGESIZE),
	};

	return ioctl(fault, UFFDIO_COPY, &copy);
}

ssize_t call_recv(struct caller *caller)
{
	return recv(caller->fd, caller->data, caller->len, caller->flags);
}

ssize_t call_recv_untouched(struct caller *caller)
{
	return call_recv(caller);
}

ssize_t call_send(struct caller *caller)
{
	return send(caller->fd, caller->data, caller->len, caller->flags);
}

ssize_t call_accept(struct caller *caller)
{
	return accept4(caller->fd, NULL, NULL, caller->flags);
}

ssize_t call_poll_in(struct caller *caller)
{
	return poll_for(caller->fd, POLLIN, -1);
}

static void *caller_run(void *argument)
{
	struct caller *caller = argument;
	long before;

	/* Page faults of the buffer are not to count as sleep. */
	if (caller->data && caller->call == call_recv)
		memset(caller->data, 0, caller->len);
	caller->began = now_ms();
	before = voluntary_switches();
	__atomic_store_n(&caller->tid, (int)syscall(SYS_gettid),
			 __ATOMIC_RELEASE);
	caller->result = caller->call(caller);
	caller->error = caller->result < 0 ? errno : 0;
	caller->switches = voluntary_switches() - before;
	caller->took = now_ms() - caller->began;
	__atomic_store_n(&caller->done, true, __ATOMIC_RELEASE);
	return NULL;
}

/* Does the thread sleep so that a signal or an event can wake it? */
static bool thread_sleeps(int tid)
{
	char path[64], text[256], *state;
	FILE *file;
	size_t len;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	file = fopen(path, "r");
	if (!file)
		return false;
	len = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[len] = '\0';
	/* The state follows the name, which is in parentheses. */
	state = strrchr(text, ')');
	return state && state[1] == ' ' && state[2] == 'S';
}

bool caller_start(struct caller *caller)
{
	long end = now_ms() + PATIENCE_MS;
	int asleep = 0;

	caller->tid = 0;
	caller->done = false;
	if (pthread_create(&caller->thread, NULL, caller_run, caller))
		return false;
	/* Seen asleep three times in a row, it is not just starting up. */
	while (asleep < 3 && now_ms() < end) {
		int tid = __atomic_load_n(&caller->tid, __ATOMIC_ACQUIRE);

		if (caller_is_done(caller))
			return true;
		asleep = tid && thread_sleeps(tid) ? asleep + 1 : 0;
		sleep_ms(10);
	}
	return asleep >= 3;
}

bool caller_is_done(struct caller *caller)
{
	return __atomic_load_n(&caller->done, __ATOMIC_ACQUIRE);
}

bool caller_join(struct caller *caller)
{
	struct timespec end;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += PATIENCE_MS / 1000;
	return !pthread_timedjoin_np(caller->thread, NULL, &end);
}

bool caller_is_interrupted(struct caller *caller)
{
	return caller_start(caller) && !caller_is_done(caller) &&
	       !pthread_kill(caller->thread, SIGUSR1) && caller_join(caller) &&
	       caller->result == -1 && caller->error == EINTR;
}

static int handled;

static void count_signal(int signal)
{
	(void)signal;
	__atomic_add_fetch(&handled, 1, __ATOMIC_RELAXED);
}

void ignore_with_handler(int signal, int flags)
{
	struct sigaction action;

	memset(&action, 0, sizeof(action));
	action.sa_handler = count_signal;
	action.sa_flags = flags;
	sigaction(signal, &action, NULL);
}

int handled_signals(void)
{
	return __atomic_load_n(&handled, __ATOMIC_RELAXED);
}

long number_in(const char *path, const char *name)
{
	FILE *file = fopen(path, "r");
	char line[256], found[64];
	long value, result = -1;

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "%63s %ld", found, &value) == 2 && !strcmp(found, name))
			result = value;
	if (file)
		fclose(file);
	return result;
}

/* The sum of the numbers behind the word @name on all lines of a file. */
static long sum_in(const char *path, const char *name)
{
	FILE *file = fopen(path, "r");
	char line[256], found[64];
	long value, sum = 0;

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "%63s %ld", found, &value) == 2 && !strcmp(found, name))
			sum += value;
	if (file)
		fclose(file);
	return sum;
}

bool sink_has(int fd, size_t len, const void *data)
{
	char line[64], expected[64];

	snprintf(expected, sizeof(expected), "%zu %08x", len,
		 crc32_update(0, data, len));
	return !vsock_read_line(fd, line, sizeof(line)) && !strcmp(line, expected);
}

long module_counter(const char *name)
{
	return number_in("/sys/kernel/debug/rvsock/counters", name);
}

long device_counter(const char *name)
{
	return number_in("/sys/kernel/debug/rvsock/device", name);
}

long number_of(const char *path)
{
	FILE *file = fopen(path, "r");
	long value = -1;

	if (file) {
		if (fscanf(file, "%ld", &value) != 1)
			value = -1;
		fclose(file);
	}
	return value;
}

long slab_overhead(void)
{
	long size = number_of("/sys/kernel/slab/kmalloc-2k/object_size");
	long taken = number_of("/sys/kernel/slab/kmalloc-2k/slab_size");

	return size > 0 && taken > size ? taken / size : 1;
}

static void write_to(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");

	if (file) {
		fputs(text, file);
		fclose(file);
	}
}

struct memory measure_memory(void)
{
	struct memory memory;
	long free, buffers;
	glob_t slabs;

	write_to("/proc/sys/vm/drop_caches", "3\n");
	if (!glob("/sys/kernel/slab/*/shrink", 0, NULL, &slabs))
		for (size_t i = 0; i < slabs.gl_pathc; i++)
			write_to(slabs.gl_pathv[i], "1\n");
	globfree(&slabs);
	sleep_ms(300);
	memory.slab = number_in("/proc/meminfo", "Slab:") * 1024;
	/* Each processor has free pages of its own, and counts of its own. */
	write_to("/proc/sys/vm/stat_refresh", "1\n");
	free = number_in("/proc/vmstat", "nr_free_pages") + sum_in("/proc/zoneinfo", "count:");
	/* What the device has to receive into comes and goes by what arrived last. */
	buffers = device_counter("receive_buffers_bytes");
	memory.used = -free * sysconf(_SC_PAGESIZE) - (buffers > 0 ? buffers : 0);
	return memory;
}

struct memory measure_memory_within(struct memory before, long bound)
{
	long end = now_ms() + PATIENCE_MS;
	struct memory least = measure_memory();

	while ((least.slab - before.slab > bound || least.used - before.used > bound) &&
	       now_ms() < end) {
		struct memory memory = measure_memory();

		if (memory.slab < least.slab)
			least.slab = memory.slab;
		if (memory.used < least.used)
			least.used = memory.used;
	}
	return least;
}

int vsock_unsent(int fd)
{
	int count = -1;

	return ioctl(fd, SIOCOUTQ, &count) ? -1 : count;
}

int vsock_stop_device(long pause)
{
	char line[64] = "";
	int asking = vsock_ask("pause %ld", pause);

	if (asking < 0 || vsock_read_line(asking, line, sizeof(line)) ||
	    strcmp(line, "pausing"))
		fprintf(stderr, "# the host answered \"%s\" to pause\n", line);
	return asking;
}

/* More than a grace period and its callbacks take. */
#define REST_MS	500

int live_sockets(void)
{
	const char *row = vsock_family() == AF_VSOCK ? "AF_VSOCK" : "RVSOCK";
	FILE *file = fopen("/proc/net/protocols", "r");
	char line[256], name[32];
	int size, count, found = -1;

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "%31s %d %d", name, &size, &count) == 3 &&
		    !strcmp(name, row))
			found = count;
	if (file)
		fclose(file);
	return found;
}

int sockets_at_rest(void)
{
	int count = live_sockets();
	long since = now_ms();

	while (now_ms() < since + REST_MS * vsock_patience()) {
		int before = count;

		sleep_ms(20);
		count = live_sockets();
		if (count != before)
			since = now_ms();
	}
	return count;
}

int sockets_become(int wanted)
{
	long end = now_ms() + 12000;

	while (live_sockets() > wanted && now_ms() < end)
		sleep_ms(50);
	return live_sockets();
}

int vsock_patience(void)
{
	const char *said = getenv("RVSOCK_PATIENCE");

	return said && atoi(said) > 1 ? atoi(said) : 1;
}
