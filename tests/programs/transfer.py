#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Swaps two files over Python's sockets, both ways at once.

usage: transfer.py HOW server|client CID PORT MINE THEIRS

HOW is the part of Python that carries them: "blocking" sockets and threads, sockets
with "timeouts", "asyncio"; or "activated", a server whose listening socket was left to
it as file descriptor 3. With "modules" alone it tells what it has imported.
"""

import asyncio
import os
import pathlib
import socket
import sys
import threading
import time

CHUNK = 64 * 1024
PATIENCE = 50 * int(os.environ.get("RVSOCK_PATIENCE", 1))  # seconds
# A receive that times out on purpose, in seconds.
SHORT = 0.3


def listener(port):
    """A socket that listens on all addresses."""
    sock = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    sock.bind((socket.VMADDR_CID_ANY, port))
    sock.listen(1)
    return sock


def connected(cid, port):
    """A socket that is connected, as soon as somebody listens."""
    deadline = time.monotonic() + PATIENCE
    while True:
        sock = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        try:
            sock.connect((cid, port))
        except ConnectionResetError:
            sock.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
            continue
        assert sock.getpeername() == (cid, port), sock.getpeername()
        return sock


def swap(sock, mine):
    """Sends a file's bytes in a thread, and gives what comes meanwhile."""
    def send():
        sock.sendall(mine)
        sock.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    theirs = bytearray()
    while chunk := sock.recv(CHUNK):
        theirs += chunk
    sender.join()
    return theirs


def blocking(role, cid, port, mine):
    """Sockets as they are made."""
    if role == "client":
        sock = connected(cid, port)
    else:
        sock, peer = listener(port).accept()
        assert peer[0] == cid, peer
    return swap(sock, mine)


def timeouts(role, cid, port, mine):
    """Sockets with timeouts, the first of which runs out."""
    if role == "client":
        sock = connected(cid, port)
        sock.settimeout(SHORT)
        start = time.monotonic()
        try:
            sock.recv(1)
            raise AssertionError("nothing was sent, and something came")
        except TimeoutError:
            assert time.monotonic() - start >= SHORT
        sock.settimeout(PATIENCE)
        sock.sendall(b"!")
    else:
        listening = listener(port)
        listening.settimeout(PATIENCE)
        sock, _ = listening.accept()
        sock.settimeout(PATIENCE)
        # Not before the other end has seen its timeout.
        assert sock.recv(1) == b"!"
    return swap(sock, mine)


async def _swap(reader, writer, mine):
    async def send():
        for start in range(0, len(mine), CHUNK):
            writer.write(mine[start:start + CHUNK])
            await writer.drain()
        writer.write_eof()

    _, theirs = await asyncio.gather(send(), reader.read())
    # What it still holds goes out before the loop ends, and is lost with the loop else.
    writer.close()
    await writer.wait_closed()
    return theirs


async def _client(cid, port, mine):
    while True:
        sock = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, (cid, port))
            break
        except ConnectionResetError:
            # Nobody listens yet.
            sock.close()
            await asyncio.sleep(0.1)
    return await _swap(*await asyncio.open_connection(sock=sock), mine)


async def _server(port, mine):
    theirs = asyncio.get_running_loop().create_future()

    async def serve(reader, writer):
        theirs.set_result(await _swap(reader, writer, mine))

    async with await asyncio.start_server(serve, sock=listener(port)):
        return await theirs


def by_asyncio(role, cid, port, mine):
    """Streams of asyncio."""
    task = _client(cid, port, mine) if role == "client" else _server(port, mine)
    return asyncio.run(asyncio.wait_for(task, PATIENCE))


def activated(_role, _cid, _port, mine):
    """A listening socket that somebody else made."""
    sock, _ = socket.socket(fileno=3).accept()
    return swap(sock, mine)


WAYS = {"blocking": blocking, "timeouts": timeouts, "asyncio": by_asyncio,
        "activated": activated}


def main():
    """Runs the command line."""
    if sys.argv[1:] == ["modules"]:
        for module in list(sys.modules.values()):
            if getattr(module, "__file__", None):
                print(module.__file__, getattr(module, "__cached__", None) or "-")
        return
    how, role, cid, port, mine, theirs = sys.argv[1:]
    taken = WAYS[how](role, int(cid), int(port), pathlib.Path(mine).read_bytes())
    pathlib.Path(theirs).write_bytes(taken)


if __name__ == "__main__":
    main()
