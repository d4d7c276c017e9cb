/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tests of the fixture "wire", each of which plays the scenario with its own name on the
 * scripted device (tests/scripted): the test says what the guest's programs see, the
 * scenario what the device sees, and both must hold.
 */
#ifndef WIRE_H
#define WIRE_H

#include "scripted.h"

/* Where scenarios let the guest connect to. */
#define PORT_STAGE	7000u
/* Where they connect to, and a port that nobody listens on. */
#define PORT_HERE	5000u

/* What the device says to a line, in @line. */
static inline int ask_device(const char *asked, const char *name, char *line, size_t size)
{
	int fd = vsock_stream(0), result;

	if (fd < 0)
		return -1;
	/* The device may be busy with what it has just sent. */
	result = set_connect_timeout(fd, PATIENCE_MS) ||
		 vsock_ask_on(fd, "%s%s", asked, name) ||
		 vsock_read_line(fd, line, size) ? -1 : 0;
	close(fd);
	return result;
}

/* A socket that is connected to the scenario, with a buffer of @buffer bytes, or 0. */
static inline int on_stage(int type, uint64_t buffer)
{
	int fd = socket(vsock_family(), type, 0);

	if (fd < 0)
		return -1;
	if ((buffer && set_buffer(fd, SO_VM_SOCKETS_BUFFER_SIZE, buffer)) ||
	    set_connect_timeout(fd, PATIENCE_MS) ||
	    set_timeout(fd, SO_RCVTIMEO, PATIENCE_MS) ||
	    vsock_connect(fd, VMADDR_CID_HOST, PORT_STAGE)) {
		int error = errno;

		close(fd);
		errno = error;
		return -1;
	}
	return fd;
}

/* What recv() gives behind all data: a ring that lies may have repeated some. */
static inline ssize_t drain(int fd)
{
	char data[1000];
	ssize_t got;

	do {
		got = recv(fd, data, sizeof(data), 0);
	} while (got > 0);
	return got;
}

/* So many sends of a byte fill the transmit queue, and more. */
#define FILLING		1000

/* Sends the pattern in bytes, @most of them, until no more fits; tells how many did. */
static inline size_t fill_transmission(int fd, size_t most)
{
	size_t sent = 0;
	uint8_t byte;

	while (sent < most) {
		byte = pattern_byte(sent);
		if (send(fd, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL) != 1)
			break;
		sent++;
	}
	return sent;
}

/* A listener for the scenario. */
static inline int listen_here(int backlog)
{
	int fd = vsock_stream(0);

	if (fd < 0)
		return -1;
	if (set_timeout(fd, SO_RCVTIMEO, PATIENCE_MS) ||
	    vsock_bind(fd, VMADDR_CID_ANY, PORT_HERE) || listen(fd, backlog)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* The next connection of a listener. */
static inline int accepted(int listener)
{
	int fd = accept(listener, NULL, NULL);

	if (fd >= 0)
		set_timeout(fd, SO_RCVTIMEO, PATIENCE_MS);
	return fd;
}

FIXTURE(wire)
{
	/* A connection to the echo, which goes on beside the scenario. */
	int live;
};

FIXTURE_SETUP(wire)
{
	self->live = vsock_connected(PORT_ECHO);
	if (self->live < 0 && driver_unbind(DEVICE) && driver_bind(DEVICE)) {
		/* Who came before has left the device as it was not. */
		self->live = vsock_connected(PORT_ECHO);
	}
	ASSERT_LE(0, self->live)
		TH_LOG("connecting to the echo: %s", strerror(errno));
	ASSERT_TRUE(echoes(self->live));
}

FIXTURE_TEARDOWN(wire)
{
	char line[512] = "";

	EXPECT_EQ(0, ask_device("result", "", line, sizeof(line)))
		TH_LOG("asking for the result: %s", strerror(errno));
	EXPECT_STREQ("passed", line);
	EXPECT_TRUE(echoes(self->live));
	close(self->live);
}

/* Begins the scenario that has the name of the test. */
#define PLAY() do {							\
	char __line[512] = "";						\
									\
	ASSERT_EQ(0, ask_device("play ", _metadata->name, __line,	\
				sizeof(__line)));			\
	ASSERT_STREQ("playing", __line);				\
} while (0)

/*
 * The connection to the echo has ended with the device's transport: it is made anew, at
 * once, also while the others are still being ended.
 */
#define RENEW_LIVE() do {						\
	EXPECT_EQ(-1, drain(self->live));				\
	EXPECT_EQ(ECONNRESET, errno);					\
	close(self->live);						\
	self->live = vsock_connected(PORT_ECHO);			\
	ASSERT_LE(0, self->live);					\
} while (0)

/* Receives exactly this text. */
#define EXPECT_TEXT(_fd, _text) do {					\
	char __data[sizeof(_text)] = "";				\
									\
	EXPECT_EQ((ssize_t)sizeof(_text) - 1,				\
		  recv(_fd, __data, sizeof(_text) - 1, MSG_WAITALL));	\
	EXPECT_STREQ(_text, __data);					\
} while (0)

#define ASSERT_SEND(_fd, _text)						\
	ASSERT_EQ((ssize_t)sizeof(_text) - 1,				\
		  send(_fd, _text, sizeof(_text) - 1, MSG_NOSIGNAL))

/* The end of the stream, with no error before it. */
#define EXPECT_END(_fd) do {						\
	char __byte;							\
									\
	EXPECT_EQ(0, recv(_fd, &__byte, 1, 0));				\
} while (0)

/* An error of recv(), once, and then the end. */
#define EXPECT_FAILED(_fd, _error) do {					\
	char __byte;							\
									\
	EXPECT_EQ(-1, recv(_fd, &__byte, 1, 0));			\
	EXPECT_EQ(_error, errno);					\
	EXPECT_EQ(0, recv(_fd, &__byte, 1, 0));				\
} while (0)

#endif /* WIRE_H */
