# SPDX-License-Identifier: GPL-2.0
"""Programs that nobody here wrote, for guests to use the family with: those of the
distribution, with everything that they load, and one on a published crate."""

import pathlib
import subprocess

CLONE = pathlib.Path(__file__).resolve().parent.parent
TESTS = CLONE / "tests/programs"

PROGRAMS = (
    "/usr/bin/ncat", "/usr/bin/python3", "/usr/bin/socat", "/usr/bin/ss",
    "/usr/bin/ssh", "/usr/bin/ssh-keygen", "/usr/sbin/sshd",
    "/usr/lib/openssh/sshd-auth", "/usr/lib/openssh/sshd-session",
    "/usr/bin/systemd-socket-activate", "/usr/lib/systemd/systemd-ssh-proxy",
)
# Whom they look up; the SSH server's unprivileged part is a user of its own.
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nsshd:x:100:65534::/run/sshd:/bin/false\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}


def add(archive):
    """Adds them to a guest's archive, and what tests them to /tests."""
    for program in PROGRAMS:
        archive.program(program)
    _add_python(archive)
    archive.program(CLONE / "build/tokio-vsock/swap-with-tokio", "tests/swap-with-tokio")
    for name in ("programs.sh", "ss.sh", "transfer.py"):
        archive.file(f"tests/{name}", TESTS / name)
    archive.file("etc/ssh/sshd_config", TESTS / "sshd_config", 0o644)
    for path, content in FILES.items():
        archive.text(path, content)
    for directory in ("root", "run/sshd"):
        archive.directory(directory)


def _add_python(archive):
    """Adds the modules that transfer.py imports. Compiled ones stand where their
    source would: the time of a source, by which Python believes them, is not kept."""
    listed = subprocess.run(["/usr/bin/python3", "-I", TESTS / "transfer.py", "modules"],
                            check=True, capture_output=True, text=True).stdout
    for line in listed.splitlines():
        source, _, compiled = line.rpartition(" ")
        if source.endswith(".so"):
            archive.program(source)
        elif pathlib.Path(compiled).exists():
            archive.file(source.lstrip("/") + "c", compiled)
        elif source != str(TESTS / "transfer.py"):
            archive.file(source.lstrip("/"), source)
