# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# "make shell": the module is loaded, and the shell is the person's.
insmod /modules/rvsock.ko && lsmod
cat <<'END'

This guest has rvsock.ko loaded. /tests holds the test programs, /modules the C
vsock modules. The host's echo is port 9998 of CID 2, for example:
    /tests/demo two-byte
"exit" powers off; Ctrl-A X ends QEMU at once.
END
setsid cttyhack sh
