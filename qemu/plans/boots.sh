# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# "make boots": loads the module, exchanges two bytes, unloads it.
load rvsock
run two-byte 20 /tests/demo two-byte
settle
unload rvsock
tell completed
