# SPDX-License-Identifier: GPL-2.0
"""The frequency of this machine's time stamp counter, which is also that of a guest whose
processor QEMU emulates."""

import ctypes
import mmap
import time

# rdtsc; shl rdx, 32; or rax, rdx; ret
_CODE = bytes.fromhex("0f31 48c1e220 4809d0 c3")
# Of a measurement, in seconds. The clock is read within a microsecond of the counter, so this
# is exact to some hundredths of a per mille.
_SECONDS = 0.05
_READINGS = 100


def khz():
    """The frequency in kHz, measured against the clock."""
    with mmap.mmap(-1, len(_CODE), prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC) as page:
        page.write(_CODE)
        start = ctypes.c_char.from_buffer(page)
        read = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(start))
        first_time, first = _reading(read)
        time.sleep(_SECONDS)
        last_time, last = _reading(read)
        # The page is closed only when nothing refers to it.
        del start
    return round((last - first) * 1_000_000 / (last_time - first_time))


def _reading(read):
    """The clock (ns) and the counter, at the same time: of many readings the one that took the
    least, so that nothing else ran in the middle of it."""
    readings = []
    for _ in range(_READINGS):
        before = time.monotonic_ns()
        counter = read()
        after = time.monotonic_ns()
        readings.append((after - before, (before + after) / 2, counter))
    return min(readings)[1:]
