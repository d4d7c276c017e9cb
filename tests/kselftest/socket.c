// SPDX-License-Identifier: GPL-2.0
/*
 * A socket without a connection: creating, naming, listening, options. None
 * of this needs a device.
 */
#include "vsock_harness.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/syscall.h>
#include <sys/time.h>

/* A port that nothing else in these tests uses. */
#define PORT		5000u

static int bind_to(int fd, const struct sockaddr_vm *address, socklen_t len)
{
	return bind(fd, (const struct sockaddr *)address, len);
}

static int connect_to(int fd, const struct sockaddr_vm *address, socklen_t len)
{
	return connect(fd, (const struct sockaddr *)address, len);
}

static int name_of(int fd, struct sockaddr_vm *address)
{
	socklen_t len = sizeof(*address);

	memset(address, 0xa5, sizeof(*address));
	return getsockname(fd, (struct sockaddr *)address, &len);
}

static int get_int(int fd, int option)
{
	int value = -1;
	socklen_t len = sizeof(value);

	if (getsockopt(fd, SOL_SOCKET, option, &value, &len))
		return -1;
	return value;
}

static int drop_bind_service(void)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &header, data))
		return -1;
	data[0].effective &= ~(1u << CAP_NET_BIND_SERVICE);
	return syscall(SYS_capset, &header, data);
}

/* socket(): the stream type is there, with the flags that socket(2) has. */
TEST(create_and_close)
{
	int fd = vsock_stream(SOCK_NONBLOCK | SOCK_CLOEXEC);

	ASSERT_LE(0, fd);
	EXPECT_EQ(O_NONBLOCK, fcntl(fd, F_GETFL) & O_NONBLOCK);
	EXPECT_EQ(FD_CLOEXEC, fcntl(fd, F_GETFD));
	EXPECT_EQ(0, close(fd));
}

/* Many sockets can be open at once, and closing them leaves nothing. */
TEST(create_many)
{
	int fds[200];

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = vsock_stream(0);
		ASSERT_LE(0, fds[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		EXPECT_EQ(0, close(fds[i]));
}

/* Types that the family does not have are refused by name. */
TEST(other_types_are_refused)
{
	static const int types[] = { SOCK_RAW, SOCK_RDM };

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		int fd = socket(vsock_family(), types[i], 0);

		EXPECT_EQ(-1, fd) {
			TH_LOG("type %d", types[i]);
			close(fd);
			continue;
		}
		EXPECT_EQ(ESOCKTNOSUPPORT, errno);
	}
}

/* Messages over a device that has only streams, or that is not there. */
TEST(messages_without_a_device_for_them)
{
	int fd = vsock_seqpacket(0), stream = vsock_stream(0);
	bool has_device = !vsock_bind(stream, GUEST_CID, VMADDR_PORT_ANY);

	ASSERT_LE(0, fd);
	EXPECT_EQ(-1, vsock_connect(fd, VMADDR_CID_HOST, PORT_SERVICE));
	EXPECT_EQ(has_device ? ESOCKTNOSUPPORT : ENODEV, errno);
	close(fd);
	close(stream);
}

/* The protocol is 0 or the family's own number. */
TEST(protocol_argument)
{
	int fd = socket(vsock_family(), SOCK_STREAM, vsock_family());

	EXPECT_LE(0, fd);
	close(fd);
	EXPECT_EQ(-1, socket(vsock_family(), SOCK_STREAM, 6));
	EXPECT_EQ(EPROTONOSUPPORT, errno);
}

/* There are no pairs, as in vsock. */
TEST(socketpair_is_refused)
{
	int fds[2];

	EXPECT_EQ(-1, socketpair(vsock_family(), SOCK_STREAM, 0, fds));
	EXPECT_EQ(EOPNOTSUPP, errno);
}

FIXTURE(unconnected)
{
	int fd;
};

FIXTURE_SETUP(unconnected)
{
	self->fd = vsock_stream(0);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(unconnected)
{
	close(self->fd);
}

/* SO_DOMAIN, SO_TYPE, SO_PROTOCOL and SO_ERROR say what the socket is. */
TEST_F(unconnected, generic_options)
{
	EXPECT_EQ(vsock_family(), get_int(self->fd, SO_DOMAIN));
	EXPECT_EQ(SOCK_STREAM, get_int(self->fd, SO_TYPE));
	EXPECT_EQ(0, get_int(self->fd, SO_PROTOCOL));
	EXPECT_EQ(0, get_int(self->fd, SO_ERROR));
	EXPECT_EQ(0, get_int(self->fd, SO_ACCEPTCONN));
}

/* getsockname() before bind: both parts are wildcards; there is no peer. */
TEST_F(unconnected, names_before_bind)
{
	struct sockaddr_vm address;
	socklen_t len = sizeof(address);

	ASSERT_EQ(0, name_of(self->fd, &address));
	EXPECT_EQ(vsock_family(), address.svm_family);
	EXPECT_EQ(VMADDR_CID_ANY, address.svm_cid);
	EXPECT_EQ(VMADDR_PORT_ANY, address.svm_port);
	EXPECT_EQ(-1, getpeername(self->fd, (struct sockaddr *)&address, &len));
	EXPECT_EQ(ENOTCONN, errno);
}

/* bind() to a port; no field of the name holds what it was not given. */
TEST_F(unconnected, bind_to_a_port)
{
	struct sockaddr_vm address, expected = vsock_address(VMADDR_CID_ANY, PORT);

	ASSERT_EQ(0, vsock_bind(self->fd, VMADDR_CID_ANY, PORT));
	ASSERT_EQ(0, name_of(self->fd, &address));
	EXPECT_EQ(0, memcmp(&expected, &address, sizeof(address)));
}

/* A wildcard port becomes one above the reserved ones, another each time. */
TEST_F(unconnected, bind_to_any_port)
{
	struct sockaddr_vm one, two;
	int other = vsock_stream(0);

	ASSERT_LE(0, other);
	ASSERT_EQ(0, vsock_bind(self->fd, VMADDR_CID_ANY, VMADDR_PORT_ANY));
	ASSERT_EQ(0, vsock_bind(other, VMADDR_CID_ANY, VMADDR_PORT_ANY));
	ASSERT_EQ(0, name_of(self->fd, &one));
	ASSERT_EQ(0, name_of(other, &two));
	EXPECT_LT(1023, one.svm_port);
	EXPECT_LT(1023, two.svm_port);
	EXPECT_NE(VMADDR_PORT_ANY, one.svm_port);
	EXPECT_NE(VMADDR_PORT_ANY, two.svm_port);
	EXPECT_NE(one.svm_port, two.svm_port);
	close(other);
}

/* A socket is bound once. */
TEST_F(unconnected, bind_twice)
{
	ASSERT_EQ(0, vsock_bind(self->fd, VMADDR_CID_ANY, PORT));
	EXPECT_EQ(-1, vsock_bind(self->fd, VMADDR_CID_ANY, PORT + 1));
	EXPECT_EQ(EINVAL, errno);
}

/* A port has one owner, until that one closes. */
TEST_F(unconnected, bind_to_a_port_in_use)
{
	int other = vsock_stream(0);

	ASSERT_LE(0, other);
	ASSERT_EQ(0, vsock_bind(other, VMADDR_CID_ANY, PORT));
	EXPECT_EQ(-1, vsock_bind(self->fd, VMADDR_CID_ANY, PORT));
	EXPECT_EQ(EADDRINUSE, errno);
	close(other);
	EXPECT_EQ(0, vsock_bind(self->fd, VMADDR_CID_ANY, PORT));
}

/* A refused bind leaves the socket as it was. */
TEST_F(unconnected, bind_again_after_refusal)
{
	struct sockaddr_vm address;

	EXPECT_EQ(-1, vsock_bind(self->fd, CID_NOBODY, PORT));
	ASSERT_EQ(0, name_of(self->fd, &address));
	EXPECT_EQ(VMADDR_PORT_ANY, address.svm_port);
	EXPECT_EQ(0, vsock_bind(self->fd, VMADDR_CID_ANY, PORT));
}

/* Ports below 1024 need CAP_NET_BIND_SERVICE. */
TEST_F(unconnected, reserved_port_without_capability)
{
	ASSERT_EQ(0, drop_bind_service());
	EXPECT_EQ(-1, vsock_bind(self->fd, VMADDR_CID_ANY, 1023));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(0, vsock_bind(self->fd, VMADDR_CID_ANY, 1024));
}

TEST_F(unconnected, reserved_port_with_capability)
{
	EXPECT_EQ(0, vsock_bind(self->fd, VMADDR_CID_ANY, 1023));
}

/* The CID must be one of this machine. */
TEST_F(unconnected, bind_to_a_foreign_cid)
{
	EXPECT_EQ(-1, vsock_bind(self->fd, CID_NOBODY, PORT));
	EXPECT_EQ(EADDRNOTAVAIL, errno);
}

/* bind() and connect() want an address of the socket's own family. */
TEST_F(unconnected, address_of_another_family)
{
	struct sockaddr_vm address = vsock_address(VMADDR_CID_ANY, PORT);

	address.svm_family = AF_INET;
	EXPECT_EQ(-1, bind_to(self->fd, &address, sizeof(address)));
	EXPECT_EQ(EAFNOSUPPORT, errno);
	address.svm_cid = VMADDR_CID_HOST;
	EXPECT_EQ(-1, connect_to(self->fd, &address, sizeof(address)));
	EXPECT_EQ(EAFNOSUPPORT, errno);
}

/* An address that is cut short is not guessed at. */
TEST_F(unconnected, short_address)
{
	struct sockaddr_vm address = vsock_address(VMADDR_CID_ANY, PORT);

	EXPECT_EQ(-1, bind_to(self->fd, &address, sizeof(address) - 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, bind_to(self->fd, &address, 2));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, connect_to(self->fd, &address, sizeof(address) - 1));
	EXPECT_EQ(EINVAL, errno);
}

/* Reserved fields must be zero, and flags must be known. */
TEST_F(unconnected, reserved_fields_of_an_address)
{
	struct sockaddr_vm address;

	address = vsock_address(VMADDR_CID_ANY, PORT);
	address.svm_reserved1 = 1;
	EXPECT_EQ(-1, bind_to(self->fd, &address, sizeof(address)));
	EXPECT_EQ(EINVAL, errno);

	address = vsock_address(VMADDR_CID_ANY, PORT);
	address.svm_zero[sizeof(address.svm_zero) - 1] = 1;
	EXPECT_EQ(-1, bind_to(self->fd, &address, sizeof(address)));
	EXPECT_EQ(EINVAL, errno);

	address = vsock_address(VMADDR_CID_ANY, PORT);
	address.svm_flags = 0x80;
	EXPECT_EQ(-1, bind_to(self->fd, &address, sizeof(address)));
	EXPECT_EQ(EINVAL, errno);

	address = vsock_address(VMADDR_CID_HOST, PORT);
	address.svm_reserved1 = 1;
	EXPECT_EQ(-1, connect_to(self->fd, &address, sizeof(address)));
	EXPECT_EQ(EINVAL, errno);
}

/* An address that cannot be read is EFAULT, not a crash. */
TEST_F(unconnected, unreadable_address)
{
	EXPECT_EQ(-1, bind_to(self->fd, (void *)8, sizeof(struct sockaddr_vm)));
	EXPECT_EQ(EFAULT, errno);
}

/* Without a connection there is nothing to receive, send, or shut down. */
TEST_F(unconnected, not_connected)
{
	char byte = 0;

	EXPECT_EQ(-1, recv(self->fd, &byte, 1, 0));
	EXPECT_EQ(ENOTCONN, errno);
	EXPECT_EQ(-1, recv(self->fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK));
	EXPECT_EQ(ENOTCONN, errno);
	EXPECT_EQ(-1, send(self->fd, &byte, 1, MSG_NOSIGNAL));
	EXPECT_EQ(ENOTCONN, errno);
	EXPECT_EQ(-1, shutdown(self->fd, SHUT_RDWR));
	EXPECT_EQ(ENOTCONN, errno);
}

/* shutdown() takes three values. */
TEST_F(unconnected, shutdown_argument)
{
	EXPECT_EQ(-1, shutdown(self->fd, 3));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, shutdown(self->fd, -1));
	EXPECT_EQ(EINVAL, errno);
}

/* poll() on a socket that never connected: it can be written to, as in vsock. */
TEST_F(unconnected, poll_mask)
{
	EXPECT_EQ(POLLOUT | POLLWRNORM,
		  poll_for(self->fd,
			   POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM |
			   POLLPRI | POLLRDHUP, 0));
}

/* Only a bound socket listens, and only a listening one accepts. */
TEST_F(unconnected, listen_needs_a_name)
{
	EXPECT_EQ(-1, listen(self->fd, 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, accept(self->fd, NULL, NULL));
	EXPECT_EQ(EINVAL, errno);
}

/* The credit that a socket gives: default and bounds, as in vsock. */
TEST_F(unconnected, buffer_defaults)
{
	uint64_t value = 0;

	ASSERT_EQ(0, get_buffer(self->fd, SO_VM_SOCKETS_BUFFER_SIZE, &value));
	EXPECT_EQ(262144u, value);
	ASSERT_EQ(0, get_buffer(self->fd, SO_VM_SOCKETS_BUFFER_MIN_SIZE, &value));
	EXPECT_EQ(128u, value);
	ASSERT_EQ(0, get_buffer(self->fd, SO_VM_SOCKETS_BUFFER_MAX_SIZE, &value));
	EXPECT_EQ(262144u, value);
}

/* A size beyond a bound becomes the bound; a moved bound moves the size. */
TEST_F(unconnected, buffer_size_stays_within_bounds)
{
	uint64_t value = 0;

	ASSERT_EQ(0, set_buffer(self->fd, SO_VM_SOCKETS_BUFFER_SIZE, 1));
	ASSERT_EQ(0, get_buffer(self->fd, SO_VM_SOCKETS_BUFFER_SIZE, &value));
	EXPECT_EQ(128u, value);
	ASSERT_EQ(0, set_buffer(self->fd, SO_VM_SOCKETS_BUFFER_SIZE, MIB(1)));
	ASSERT_EQ(0, get_buffer(self->fd, SO_VM_SOCKETS_BUFFER_SIZE, &value));
	EXPECT_EQ(262144u, value);

	ASSERT_EQ(0, set_buffer(self->fd, SO_VM_SOCKETS_BUFFER_MAX_SIZE, MIB(1)));
	ASSERT_EQ(0, set_buffer(self->fd, SO_VM_SOCKETS_BUFFER_SIZE, MIB(1)));
	ASSERT_EQ(0, get_buffer(self->fd, SO_VM_SOCKETS_BUFFER_SIZE, &value));
	EXPECT_EQ(MIB(1), value);
	ASSERT_EQ(0, set_buffer(self->fd, SO_VM_SOCKETS_BUFFER_MAX_SIZE, KIB(64)));
	ASSERT_EQ(0, get_buffer(self->fd, SO_VM_SOCKETS_BUFFER_SIZE, &value));
	EXPECT_EQ(KIB(64), value);

	ASSERT_EQ(0, set_buffer(self->fd, SO_VM_SOCKETS_BUFFER_SIZE, KIB(4)));
	ASSERT_EQ(0, set_buffer(self->fd, SO_VM_SOCKETS_BUFFER_MIN_SIZE, KIB(16)));
	ASSERT_EQ(0, get_buffer(self->fd, SO_VM_SOCKETS_BUFFER_SIZE, &value));
	EXPECT_EQ(KIB(16), value);
}

/* Options of the family are checked for length, name and address. */
TEST_F(unconnected, option_arguments)
{
	uint64_t value = KIB(64);
	socklen_t len = sizeof(value);
	int level = vsock_family();

	EXPECT_EQ(-1, setsockopt(self->fd, level, SO_VM_SOCKETS_BUFFER_SIZE,
				 &value, sizeof(value) - 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, setsockopt(self->fd, level, SO_VM_SOCKETS_BUFFER_SIZE,
				 (void *)8, sizeof(value)));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, setsockopt(self->fd, level, 1234, &value, sizeof(value)));
	EXPECT_EQ(ENOPROTOOPT, errno);
	EXPECT_EQ(-1, getsockopt(self->fd, level, 1234, &value, &len));
	EXPECT_EQ(ENOPROTOOPT, errno);
	len = sizeof(value) - 1;
	EXPECT_EQ(-1, getsockopt(self->fd, level, SO_VM_SOCKETS_BUFFER_SIZE,
				 &value, &len));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, setsockopt(self->fd, 6, SO_VM_SOCKETS_BUFFER_SIZE,
				 &value, sizeof(value)));
	EXPECT_EQ(ENOPROTOOPT, errno);
}

/* Options that vsock names and never had are not there either. */
TEST_F(unconnected, options_that_vsock_lacks)
{
	static const int options[] = {
		SO_VM_SOCKETS_PEER_HOST_VM_ID, SO_VM_SOCKETS_TRUSTED,
		SO_VM_SOCKETS_NONBLOCK_TXRX,
	};
	uint64_t value = 0;

	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		EXPECT_EQ(-1, get_buffer(self->fd, options[i], &value));
		EXPECT_EQ(ENOPROTOOPT, errno);
		EXPECT_EQ(-1, set_buffer(self->fd, options[i], value));
		EXPECT_EQ(ENOPROTOOPT, errno);
	}
}

/* The level of the options is AF_VSOCK as well as the family's own number. */
TEST_F(unconnected, option_level_of_vsock)
{
	uint64_t value = KIB(64);
	socklen_t len = sizeof(value);

	ASSERT_EQ(0, setsockopt(self->fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE,
				&value, sizeof(value)));
	value = 0;
	ASSERT_EQ(0, getsockopt(self->fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE,
				&value, &len));
	EXPECT_EQ(KIB(64), value);
}

FIXTURE(connect_timeout)
{
	int fd;
};

FIXTURE_VARIANT(connect_timeout)
{
	int option;
};

FIXTURE_VARIANT_ADD(connect_timeout, old_form)
{
	.option = SO_VM_SOCKETS_CONNECT_TIMEOUT_OLD,
};

FIXTURE_VARIANT_ADD(connect_timeout, new_form)
{
	.option = SO_VM_SOCKETS_CONNECT_TIMEOUT_NEW,
};

FIXTURE_SETUP(connect_timeout)
{
	self->fd = vsock_stream(0);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(connect_timeout)
{
	close(self->fd);
}

/* A length of time in either form, which are the same on 64 bits. */
union timeout {
	struct timeval old;
	struct {
		long long tv_sec, tv_usec;
	} new;
};

/* Set @timeout in the form of @option; returns its length. */
static socklen_t timeout_of(int option, union timeout *timeout, int seconds,
			    int microseconds)
{
	memset(timeout, 0, sizeof(*timeout));
	if (option == SO_VM_SOCKETS_CONNECT_TIMEOUT_OLD) {
		timeout->old.tv_sec = seconds;
		timeout->old.tv_usec = microseconds;
		return sizeof(timeout->old);
	}
	timeout->new.tv_sec = seconds;
	timeout->new.tv_usec = microseconds;
	return sizeof(timeout->new);
}

/* Set the connect timeout, in the form of @option. */
static int put_timeout(int fd, int option, int seconds, int microseconds)
{
	union timeout timeout;
	socklen_t len = timeout_of(option, &timeout, seconds, microseconds);

	return setsockopt(fd, vsock_family(), option, &timeout, len);
}

/* Is this what the connect timeout reads? */
static bool timeout_is(int fd, int option, int seconds, int microseconds)
{
	union timeout timeout, expected;
	socklen_t len = sizeof(timeout);
	socklen_t full = timeout_of(option, &expected, seconds, microseconds);

	memset(&timeout, 0xee, sizeof(timeout));
	return !getsockopt(fd, vsock_family(), option, &timeout, &len) && len == full &&
	       !memcmp(&timeout, &expected, full);
}

/* In both forms: default 2 s, 0 means default. */
TEST_F(connect_timeout, set_and_get)
{
	EXPECT_TRUE(timeout_is(self->fd, variant->option, 2, 0));
	ASSERT_EQ(0, put_timeout(self->fd, variant->option, 7, 500000));
	EXPECT_TRUE(timeout_is(self->fd, variant->option, 7, 500000));
	ASSERT_EQ(0, put_timeout(self->fd, variant->option, 0, 0));
	EXPECT_TRUE(timeout_is(self->fd, variant->option, 2, 0));
}

/* A time below zero or with a million microseconds is ERANGE, as in vsock. */
TEST_F(connect_timeout, out_of_range)
{
	union timeout beyond;
	socklen_t len = timeout_of(variant->option, &beyond, 0, 1000000);

	EXPECT_EQ(-1, put_timeout(self->fd, variant->option, -1, 0));
	EXPECT_EQ(ERANGE, errno);
	EXPECT_EQ(-1, put_timeout(self->fd, variant->option, 0, 1000000));
	EXPECT_EQ(ERANGE, errno);
	EXPECT_EQ(-1, setsockopt(self->fd, vsock_family(), variant->option,
				 &beyond, len - 1));
	EXPECT_EQ(EINVAL, errno);
}

/* SO_RCVLOWAT: at least 1, and also beyond the buffer. */
TEST_F(unconnected, rcvlowat)
{
	EXPECT_EQ(1, get_int(self->fd, SO_RCVLOWAT));
	EXPECT_EQ(0, set_int(self->fd, SOL_SOCKET, SO_RCVLOWAT, 1000));
	EXPECT_EQ(1000, get_int(self->fd, SO_RCVLOWAT));
	EXPECT_EQ(0, set_int(self->fd, SOL_SOCKET, SO_RCVLOWAT, 0));
	EXPECT_EQ(1, get_int(self->fd, SO_RCVLOWAT));
	EXPECT_EQ(0, set_int(self->fd, SOL_SOCKET, SO_RCVLOWAT, MIB(1)));
	EXPECT_EQ((int)MIB(1), get_int(self->fd, SO_RCVLOWAT));
}

/* SO_RCVTIMEO and SO_SNDTIMEO are kept, and out of range is EDOM. */
TEST_F(unconnected, timeouts)
{
	static const int options[] = { SO_RCVTIMEO, SO_SNDTIMEO };

	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		struct timeval time = { .tv_sec = 3, .tv_usec = 1000000 };
		socklen_t len = sizeof(time);

		EXPECT_EQ(-1, setsockopt(self->fd, SOL_SOCKET, options[i],
					 &time, sizeof(time)));
		EXPECT_EQ(EDOM, errno);
		EXPECT_EQ(0, set_timeout(self->fd, options[i], 3500));
		ASSERT_EQ(0, getsockopt(self->fd, SOL_SOCKET, options[i],
					&time, &len));
		EXPECT_EQ(3, time.tv_sec);
		EXPECT_EQ(500000, time.tv_usec);
	}
}

FIXTURE(listening)
{
	unsigned int port;
	int fd;
};

FIXTURE_SETUP(listening)
{
	self->fd = vsock_listener(&self->port, 4);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(listening)
{
	close(self->fd);
}

/* A listener says so, and has a name and no peer. */
TEST_F(listening, state)
{
	struct sockaddr_vm address;
	socklen_t len = sizeof(address);

	EXPECT_EQ(1, get_int(self->fd, SO_ACCEPTCONN));
	ASSERT_EQ(0, name_of(self->fd, &address));
	EXPECT_EQ(self->port, address.svm_port);
	EXPECT_EQ(-1, getpeername(self->fd, (struct sockaddr *)&address, &len));
	EXPECT_EQ(ENOTCONN, errno);
}

/* Nothing flows through a listener itself. */
TEST_F(listening, not_connected)
{
	char byte = 0;

	EXPECT_EQ(-1, recv(self->fd, &byte, 1, 0));
	EXPECT_EQ(ENOTCONN, errno);
	EXPECT_EQ(-1, send(self->fd, &byte, 1, MSG_NOSIGNAL));
	EXPECT_EQ(ENOTCONN, errno);
}

/* listen() again changes the backlog; connect() and bind() are too late. */
TEST_F(listening, what_else_it_can_do)
{
	EXPECT_EQ(0, listen(self->fd, 9));
	EXPECT_EQ(-1, vsock_connect(self->fd, VMADDR_CID_HOST, PORT));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, vsock_bind(self->fd, VMADDR_CID_ANY, PORT));
	EXPECT_EQ(EINVAL, errno);
}

/* Nobody waits: accept would block, and poll reports nothing at all. */
TEST_F(listening, nobody_there)
{
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_NONBLOCK));
	EXPECT_EQ(-1, accept(self->fd, NULL, NULL));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(0, poll_for(self->fd, POLLIN | POLLOUT | POLLRDHUP, 0));
}

/* SO_RCVTIMEO limits accept. */
TEST_F(listening, accept_with_a_timeout)
{
	long began = now_ms();

	ASSERT_EQ(0, set_timeout(self->fd, SO_RCVTIMEO, 300));
	EXPECT_EQ(-1, accept(self->fd, NULL, NULL));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_LE(290, now_ms() - began);
}

/* A signal ends a blocked accept with EINTR; with SA_RESTART it goes on. */
TEST_F(listening, accept_and_a_signal)
{
	struct caller caller = { .fd = self->fd, .call = call_accept };

	ignore_with_handler(SIGUSR1, SA_RESTART);
	ASSERT_TRUE(caller_start(&caller));
	ASSERT_FALSE(caller_is_done(&caller));
	pthread_kill(caller.thread, SIGUSR1);
	sleep_ms(SETTLE_MS);
	EXPECT_FALSE(caller_is_done(&caller));
	EXPECT_EQ(1, handled_signals());

	ignore_with_handler(SIGUSR1, 0);
	pthread_kill(caller.thread, SIGUSR1);
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ(-1, caller.result);
	EXPECT_EQ(EINTR, caller.error);
}

/* shutdown() of the listener ends a blocked accept with EINVAL, as TCP's. */
TEST_F(listening, shutdown_ends_accept)
{
	struct caller caller = { .fd = self->fd, .call = call_accept };

	ASSERT_TRUE(caller_start(&caller));
	ASSERT_FALSE(caller_is_done(&caller));
	EXPECT_EQ(0, shutdown(self->fd, SHUT_RDWR));
	ASSERT_TRUE(caller_join(&caller));
	EXPECT_EQ(-1, caller.result);
	EXPECT_EQ(EINVAL, caller.error);
}

/* The port of a closed listener can be had again at once. */
TEST_F(listening, port_is_free_after_close)
{
	int fd = vsock_stream(0);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, close(self->fd));
	self->fd = fd;
	EXPECT_EQ(0, vsock_bind(fd, VMADDR_CID_ANY, self->port));
	EXPECT_EQ(0, listen(fd, 1));
}

TEST_HARNESS_MAIN
