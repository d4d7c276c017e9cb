// SPDX-License-Identifier: GPL-2.0
/*
 * Every allocation below the module's own functions fails once, one after the
 * other, and so does every copy from and to a program. A call that meets a failure
 * says so and leaves its socket as it was: the same call works the next time, no
 * byte is lost and nobody is left asleep. Needs the debugging kernel, whose fault
 * injection is told to look for the module in the stack.
 *
 * RVSOCK_PEER_CID says where the echo is: the host, or this guest.
 */
#include "vsock_harness.h"

#include <fcntl.h>
#include <linux/sockios.h>

#define DEBUGFS		"/sys/kernel/debug/"
/* No call makes more allocations than this. */
#define MANY		200
#define PORT		5600u
#define LARGE		KIB(150)
#define STORM_THREADS	6
#define STORM_MS	20000

static const char *const injections[] = {
	"failslab", "fail_page_alloc", "fail_usercopy",
};

static bool write_to(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	bool good;

	if (fd < 0)
		return false;
	good = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	close(fd);
	return good;
}

static bool set(const char *injection, const char *name, const char *value)
{
	char path[128];

	snprintf(path, sizeof(path), DEBUGFS "%s/%s", injection, name);
	return write_to(path, value);
}

/* Where the module's code is. */
static bool module_range(unsigned long *start, unsigned long *end)
{
	unsigned long size;
	bool found = false;
	char line[256];
	FILE *file = fopen("/proc/modules", "r");

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "rvsock %lu %*s %*s %*s %lx", &size, start) == 2) {
			*end = *start + size;
			found = true;
		}
	if (file)
		fclose(file);
	return found;
}

/* Only what has the module in its stack is to fail; nothing fails yet. */
static bool aim(void)
{
	char low[32], high[32];
	unsigned long start, end;

	if (!module_range(&start, &end))
		return false;
	snprintf(low, sizeof(low), "0x%lx", start);
	snprintf(high, sizeof(high), "0x%lx", end);
	for (size_t i = 0; i < ARRAY_SIZE(injections); i++) {
		const char *name = injections[i];

		if (!set(name, "probability", "0") || !set(name, "verbose", "0") ||
		    !set(name, "task-filter", "N") || !set(name, "times", "-1") ||
		    !set(name, "require-start", low) ||
		    !set(name, "require-end", high) ||
		    !set(name, "stacktrace-depth", "32"))
			return false;
	}
	return set("failslab", "ignore-gfp-wait", "N") &&
	       set("failslab", "cache-filter", "N") &&
	       set("fail_page_alloc", "ignore-gfp-wait", "N") &&
	       set("fail_page_alloc", "ignore-gfp-highmem", "N") &&
	       set("fail_page_alloc", "min-order", "0");
}

/* This thread's countdown to the failure. */
static int countdown;

static void arm(int number)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", number);
	if (pwrite(countdown, text, strlen(text), 0) < 0)
		abort();
}

/* Whether the failure came. */
static bool disarm(void)
{
	char text[16] = "";

	if (pread(countdown, text, sizeof(text) - 1, 0) <= 0)
		abort();
	arm(0);
	return !atoi(text);
}

/* What a call may say that did not get its memory, or its bytes. */
static bool says_so(int error)
{
	return error == ENOMEM || error == ENOBUFS || error == EFAULT;
}

/*
 * Makes a call with its first, its second, ... allocation failing, up to the one
 * that it does not have. @_failed is how often there was one.
 */
#define EACH_FAILURE(_number, _failed)					\
	for (int _number = 1, _hit = 1; _hit && _number <= MANY;	\
	     (_failed) += _hit, _number++)

#define FAILING(_number, _call) ({					\
	typeof(_call) __result;						\
	int __error;							\
									\
	arm(_number);							\
	__result = (_call);						\
	__error = errno;						\
	_hit = disarm();						\
	errno = __error;						\
	__result;							\
})

FIXTURE(no_memory)
{
	unsigned int port;
	int listener;
};

FIXTURE_SETUP(no_memory)
{
	if (access(DEBUGFS "failslab", F_OK))
		SKIP(return, "no fault injection: not the debugging kernel");
	ASSERT_TRUE(aim())
		TH_LOG("fault injection cannot be set up");
	countdown = open("/proc/thread-self/fail-nth", O_RDWR);
	ASSERT_LE(0, countdown);
	self->listener = vsock_listener(&self->port, 64);
	ASSERT_LE(0, self->listener);
}

FIXTURE_TEARDOWN(no_memory)
{
	close(self->listener);
	close(countdown);
}

TEST_F(no_memory, socket)
{
	int failed = 0, fd;

	EACH_FAILURE(number, failed) {
		fd = FAILING(number, vsock_stream(0));
		if (fd < 0) {
			EXPECT_TRUE(_hit);
			EXPECT_TRUE(says_so(errno));
			fd = vsock_stream(0);
		}
		ASSERT_LE(0, fd);
		close(fd);
	}
	EXPECT_LT(0, failed);
}

TEST_F(no_memory, bind)
{
	int failed = 0, fd, result;

	EACH_FAILURE(number, failed) {
		fd = vsock_stream(0);
		result = FAILING(number, vsock_bind(fd, VMADDR_CID_ANY, PORT));
		if (result) {
			EXPECT_TRUE(_hit);
			EXPECT_TRUE(says_so(errno));
			result = vsock_bind(fd, VMADDR_CID_ANY, PORT);
		}
		EXPECT_EQ(0, result)
			TH_LOG("bind %d: %s", number, strerror(errno));
		close(fd);
	}
}

TEST_F(no_memory, listen)
{
	int failed = 0, fd, result;

	EACH_FAILURE(number, failed) {
		fd = vsock_stream(0);
		ASSERT_EQ(0, vsock_bind(fd, VMADDR_CID_ANY, PORT));
		result = FAILING(number, listen(fd, 4));
		if (result) {
			EXPECT_TRUE(_hit);
			EXPECT_TRUE(says_so(errno));
			result = listen(fd, 4);
		}
		EXPECT_EQ(0, result);
		close(fd);
	}
}

/* To this guest: the allocations of both ends are the caller's. */
TEST_F(no_memory, connect_here)
{
	int failed = 0, fd, accepted, result;

	EACH_FAILURE(number, failed) {
		fd = vsock_stream(0);
		result = FAILING(number, vsock_connect(fd, VMADDR_CID_LOCAL,
						       self->port));
		if (result) {
			EXPECT_TRUE(_hit);
			/* What the listener lacks is a refusal. */
			EXPECT_TRUE(says_so(errno) || errno == ECONNREFUSED ||
				    errno == ECONNRESET)
				TH_LOG("connect %d: %s", number, strerror(errno));
			result = vsock_connect(fd, VMADDR_CID_LOCAL, self->port);
		}
		ASSERT_EQ(0, result)
			TH_LOG("connect %d, again: %s", number, strerror(errno));
		accepted = accept(self->listener, NULL, NULL);
		ASSERT_LE(0, accepted);
		EXPECT_EQ(3, send(fd, "abc", 3, 0));
		close(fd);
		close(accepted);
	}
	EXPECT_LT(0, failed);
}

/* To the peer, wherever it is. */
TEST_F(no_memory, connect_to_peer)
{
	int failed = 0, fd, result;

	EACH_FAILURE(number, failed) {
		fd = vsock_stream(0);
		set_connect_timeout(fd, 5000);
		result = FAILING(number, vsock_connect(fd, vsock_peer_cid(),
						       PORT_REPLY));
		if (result) {
			EXPECT_TRUE(_hit);
			result = vsock_connect(fd, vsock_peer_cid(), PORT_REPLY);
		}
		ASSERT_EQ(0, result)
			TH_LOG("connect %d, again: %s", number, strerror(errno));
		EXPECT_TRUE(answers_two_bytes(fd));
		close(fd);
	}
}

TEST_F(no_memory, accept)
{
	int failed = 0, fd, accepted;

	EACH_FAILURE(number, failed) {
		fd = vsock_stream(0);
		ASSERT_EQ(0, vsock_connect(fd, VMADDR_CID_LOCAL, self->port));
		accepted = FAILING(number, accept(self->listener, NULL, NULL));
		if (accepted < 0) {
			EXPECT_TRUE(_hit);
			EXPECT_TRUE(says_so(errno));
			accepted = accept(self->listener, NULL, NULL);
		}
		ASSERT_LE(0, accepted);
		close(accepted);
		close(fd);
	}
}

/* Each byte that send() counted arrives, none that it did not, in their order. */
TEST_F_TIMEOUT(no_memory, send, 60)
{
	static const size_t lengths[] = { 100, LARGE };
	uint8_t *out = malloc(LARGE), *in = malloc(LARGE);
	int failed = 0, fds[2];

	pattern_fill(out, LARGE, 0);
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		size_t len = lengths[i];

		EACH_FAILURE(number, failed) {
			ssize_t sent;

			ASSERT_EQ(0, vsock_pair(VMADDR_CID_LOCAL, 0, fds));
			sent = FAILING(number, send(fds[0], out, len,
						    MSG_DONTWAIT));
			if (sent < 0) {
				EXPECT_TRUE(_hit);
				EXPECT_TRUE(says_so(errno))
					TH_LOG("send %d: %s", number,
					       strerror(errno));
				sent = 0;
			}
			ASSERT_EQ(0, send_all(fds[0], out + sent, len - sent));
			ASSERT_EQ(0, recv_all(fds[1], in, len));
			EXPECT_EQ(len, pattern_check(in, len, 0));
			EXPECT_EQ(-1, recv(fds[1], in, 1, MSG_DONTWAIT));
			EXPECT_EQ(EAGAIN, errno);
			close(fds[0]);
			close(fds[1]);
		}
	}
	EXPECT_LT(0, failed);
	free(out);
	free(in);
}

/* A call that fails midway has taken what it counted, and nothing else. */
TEST_F_TIMEOUT(no_memory, recv, 60)
{
	uint8_t *out = malloc(LARGE), *in = malloc(LARGE);
	int failed = 0, fds[2];

	pattern_fill(out, LARGE, 0);
	ASSERT_EQ(0, vsock_pair(VMADDR_CID_LOCAL, 0, fds));
	EACH_FAILURE(number, failed) {
		ssize_t got;

		/* Together more than any window: credit must not be lost. */
		ASSERT_EQ(0, send_all(fds[0], out, LARGE));
		got = FAILING(number, recv(fds[1], in, LARGE, MSG_WAITALL));
		if (got < 0) {
			EXPECT_TRUE(_hit);
			EXPECT_TRUE(says_so(errno))
				TH_LOG("recv %d: %s", number, strerror(errno));
			got = 0;
		}
		ASSERT_EQ(0, recv_all(fds[1], in + got, LARGE - got));
		EXPECT_EQ(LARGE, pattern_check(in, LARGE, 0));
	}
	EXPECT_LT(0, failed);
	close(fds[0]);
	close(fds[1]);
	free(out);
	free(in);
}

/* The echo of the peer, with the guest's own calls failing. */
TEST_F_TIMEOUT(no_memory, echo, 120)
{
	uint8_t *out = malloc(LARGE), *in = malloc(LARGE);
	int failed = 0, fd = vsock_connected(PORT_ECHO);

	ASSERT_LE(0, fd);
	pattern_fill(out, LARGE, 0);
	EACH_FAILURE(number, failed) {
		ssize_t sent = FAILING(number, send(fd, out, KIB(16), 0));
		bool hit = _hit;
		ssize_t got;

		if (sent < 0)
			EXPECT_TRUE(says_so(errno));
		if (sent < 0)
			sent = 0;
		ASSERT_EQ(0, send_all(fd, out + sent, KIB(16) - sent));
		got = FAILING(number, recv(fd, in, KIB(16), MSG_WAITALL));
		if (got < 0)
			EXPECT_TRUE(says_so(errno));
		if (got < 0)
			got = 0;
		ASSERT_EQ(0, recv_all(fd, in + got, KIB(16) - got));
		EXPECT_EQ(KIB(16), pattern_check(in, KIB(16), 0));
		_hit |= hit;
	}
	EXPECT_LT(0, failed);
	close(fd);
	free(out);
	free(in);
}

/* The peer hears of the end, however its telling failed at first. */
TEST_F_TIMEOUT(no_memory, shutdown_and_close, 60)
{
	int failed = 0, fds[2], result;
	char byte;

	for (int closing = 0; closing < 2; closing++)
		EACH_FAILURE(number, failed) {
			ASSERT_EQ(0, vsock_pair(VMADDR_CID_LOCAL, 0, fds));
			result = closing ? FAILING(number, close(fds[0])) :
				 FAILING(number, shutdown(fds[0], SHUT_WR));
			EXPECT_EQ(0, result);
			ASSERT_NE(0, poll_for(fds[1], POLLIN, 10000))
				TH_LOG("%s %d", closing ? "close" : "shutdown", number);
			EXPECT_EQ(0, recv(fds[1], &byte, 1, MSG_DONTWAIT));
			if (!closing)
				close(fds[0]);
			close(fds[1]);
		}
}

/* The same with the connection to the peer, where packets have to be made. */
TEST_F_TIMEOUT(no_memory, shutdown_to_peer, 60)
{
	int failed = 0, fd;
	char byte;

	EACH_FAILURE(number, failed) {
		ASSERT_LE(0, fd = vsock_connected(PORT_ECHO));
		EXPECT_EQ(0, FAILING(number, shutdown(fd, SHUT_RDWR)));
		EXPECT_EQ(0, recv(fd, &byte, 1, 0));
		close(fd);
	}
}

TEST_F(no_memory, options)
{
	uint64_t value = KIB(64);
	int failed = 0, fd, result;

	EACH_FAILURE(number, failed) {
		fd = vsock_stream(0);
		result = FAILING(number, set_buffer(fd, SO_VM_SOCKETS_BUFFER_SIZE,
						    KIB(64)));
		if (result) {
			EXPECT_TRUE(says_so(errno));
			EXPECT_EQ(0, set_buffer(fd, SO_VM_SOCKETS_BUFFER_SIZE,
						KIB(64)));
		}
		EXPECT_EQ(0, get_buffer(fd, SO_VM_SOCKETS_BUFFER_SIZE, &value));
		EXPECT_EQ(KIB(64), value);
		close(fd);
	}
}

static bool stop;

/* Uses sockets in all ways, whatever comes of it. */
static void *be_a_nuisance(void *argument)
{
	unsigned long *done = argument;
	static uint8_t data[KIB(40)];
	uint8_t in[KIB(40)];

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		int fds[2] = { -1, -1 }, fd;
		unsigned int port;
		int listener = vsock_listener(&port, 4);

		/* Both ends here. */
		fd = vsock_stream(SOCK_NONBLOCK);
		vsock_connect(fd, VMADDR_CID_LOCAL, port);
		fds[0] = fd;
		if (poll_for(listener, POLLIN, 20) > 0)
			fds[1] = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
		*done += fds[1] >= 0;
		send(fds[0], data, sizeof(data), MSG_NOSIGNAL);
		recv(fds[1], in, sizeof(in), 0);
		send(fds[1], data, 100, MSG_NOSIGNAL);
		shutdown(fds[1], SHUT_WR);
		recv(fds[0], in, 50, 0);
		close(fds[0]);
		close(fds[1]);
		close(listener);

		/* The echo; options fail as well, and without timeouts this could be for ever. */
		fd = vsock_stream(0);
		set_connect_timeout(fd, 300);
		if (!set_timeout(fd, SO_RCVTIMEO, 300) &&
		    !set_timeout(fd, SO_SNDTIMEO, 300) &&
		    !vsock_connect(fd, vsock_peer_cid(), PORT_ECHO)) {
			++*done;
			send(fd, data, sizeof(data), MSG_NOSIGNAL);
			recv(fd, in, sizeof(in), MSG_WAITALL);
		}
		close(fd);
	}
	return NULL;
}

/* One in thirty fails, also of what packets and timers ask for, under traffic. */
TEST_F_TIMEOUT(no_memory, storm, 120)
{
	/* That of the fixture, and where the peer is in this guest its own as well. */
	int listeners = 1 + (vsock_peer_cid() == VMADDR_CID_LOCAL ? PEER_LISTENERS : 0);
	unsigned long done[STORM_THREADS] = { 0 };
	pthread_t threads[STORM_THREADS];
	bool answered = false;
	int fd;

	for (size_t i = 0; i < STORM_THREADS; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, be_a_nuisance,
					    &done[i]));
	for (size_t i = 0; i < ARRAY_SIZE(injections); i++)
		EXPECT_TRUE(set(injections[i], "probability", "3"));
	sleep_ms(STORM_MS);
	for (size_t i = 0; i < ARRAY_SIZE(injections); i++)
		EXPECT_TRUE(set(injections[i], "probability", "0"));
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (size_t i = 0; i < STORM_THREADS; i++) {
		pthread_join(threads[i], NULL);
		EXPECT_LT(0, done[i]);
	}
	/* And then all is well. */
	for (int tries = 0; tries < 3 && !answered; tries++) {
		fd = vsock_connected(PORT_REPLY);
		answered = fd >= 0 && answers_two_bytes(fd);
		close(fd);
	}
	EXPECT_TRUE(answered);
	EXPECT_EQ(listeners, sockets_become(listeners));
}

TEST_HARNESS_MAIN
