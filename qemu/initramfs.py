# SPDX-License-Identifier: GPL-2.0
"""The guest's first file system, as a cpio archive ("newc" format).

It is written uncompressed: under emulation, unpacking costs the guest more
time than reading it costs.
"""

import functools
import pathlib
import re
import stat
import subprocess


@functools.cache
def _libraries(program):
    """The shared libraries of a program and its loader, with everything that they
    need in turn."""
    listed = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    return tuple(re.findall(r"(/\S+) \(0x", listed))


class Archive:
    """A cpio archive in memory. Paths are relative to the guest's root."""

    def __init__(self):
        self._parts = []
        self._inode = 0
        self._directories = set()
        self._programs = set()

    def _entry(self, path, mode, data=b"", device=(0, 0)):
        self._inode += 1
        name = path.encode() + b"\0"
        fields = (self._inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name), 0)
        header = b"070701" + b"".join(b"%08X" % field for field in fields)
        for part in (header + name, data):
            self._parts.append(part + b"\0" * (-len(part) % 4))

    def directory(self, path):
        """Adds a directory and those above it, each once."""
        for parent in (*reversed(pathlib.PurePosixPath(path).parents), path):
            if str(parent) != "." and str(parent) not in self._directories:
                self._directories.add(str(parent))
                self._entry(str(parent), stat.S_IFDIR | 0o755)

    def console(self):
        """Adds /dev/console, which init's first output needs."""
        self.directory("dev")
        self._entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))

    def text(self, path, content, mode=0o644):
        """Adds a file with this content."""
        self.directory(str(pathlib.PurePosixPath(path).parent))
        self._entry(path, stat.S_IFREG | mode, content.encode())

    def file(self, path, source, mode=0o755):
        """Adds a copy of a file."""
        self.directory(str(pathlib.PurePosixPath(path).parent))
        self._entry(path, stat.S_IFREG | mode, pathlib.Path(source).read_bytes())

    def program(self, source, path=None):
        """Adds a copy of a program, at its own path or another one, and of what it is
        linked with; each once."""
        for file, where in ((source, path), *((library, None) for library in _libraries(source))):
            where = where or str(file).lstrip("/")
            if where not in self._programs:
                self._programs.add(where)
                self.file(where, file)

    def write(self, path):
        """Writes the archive, with its end mark."""
        self._entry("TRAILER!!!", 0)
        pathlib.Path(path).write_bytes(b"".join(self._parts))
