# SPDX-License-Identifier: GPL-2.0
"""The demonstration's report: what the guest's programs said, beside what the
host's programs counted. Each part prints itself and notes what is wrong."""

import json

ECHO_PORT = 9998
VARIANTS = {
    "a": "one recv per round",
    "b": "recv in a loop",
    "c": "one recv, MSG_WAITALL",
}


def table(rows, right=()):
    """Prints rows in columns that line up; the columns in `right` to the right."""
    widths = [max(len(str(row[column])) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (str(cell).rjust(width) if column in right else str(cell).ljust(width)
                 for column, (cell, width) in enumerate(zip(row, widths)))
        print("    " + "  ".join(cells).rstrip())


class Report:
    """Holds what was found wrong in `problems`."""

    def __init__(self, results, connections):
        self._results = results
        self._connections = connections
        self.problems = []

    def _said(self, name):
        """The line of JSON of a part's program, or None, with the reason noted."""
        program = self._results.programs.get(name)
        if program is None:
            self.problems.append(f"{name}: did not run")
            return None
        said = None
        for line in program.lines:
            try:
                said = json.loads(line)
            except ValueError:
                continue
        if program.timed_out:
            self.problems.append(f"{name}: did not end within its time; the stacks of its "
                                 "threads are in console.log")
        elif not isinstance(said, dict):
            words = "; ".join(program.lines[-2:]) or "nothing"
            self.problems.append(f"{name}: ended with status {program.status} and said {words}")
        elif program.status != 0 or not said.get("ok"):
            reason = "the bytes are not those that had to come"
            if "failed" in said:
                reason = f"{said['failed']}: {said.get('error', '')}"
            self.problems.append(f"{name}: {reason}")
        return said if isinstance(said, dict) else None

    def two_byte(self):
        """Part (a)."""
        print("\n(a) A reply of two bytes from port 9999 of the host")
        said = self._said("two-byte")
        if said and "got" in said:
            print(f"    sent {said['sent']} bytes, asked recv for {said['asked']}, "
                  f"got {said['got']}: \"{said['reply']}\"")
            if (said["asked"], said["got"], said["reply"]) != (2, 2, "OK"):
                self.problems.append("two-byte: the reply is not \"OK\"")
        else:
            print("    failed")

    def echo(self):
        """Part (b)."""
        print("\n(b) Echo of 512 KiB, 10 times, port 9998 of the host")
        counted = [c for c in self._connections if c["port"] == ECHO_PORT]
        rows = [("client", "seen by", "bytes to host", "CRC-32", "bytes to guest", "CRC-32",
                 "equal rounds")]
        sizes = [("client", "recv calls", "least", "median", "most", "first sizes")]
        for index, (variant, name) in enumerate(VARIANTS.items()):
            said = self._said(f"echo-{variant}")
            if not said or "bytes_in" not in said:
                rows.append((name, "guest", "failed", "", "", "", ""))
                continue
            rows.append((name, "guest", said["bytes_out"], said["crc_out"], said["bytes_in"],
                         said["crc_in"], f"{said['rounds_in_step']} of {said['rounds']}"))
            reads = said["reads"]
            sizes.append((name, reads["count"], reads["min"], reads["median"], reads["max"],
                          " ".join(str(size) for size in reads["first"])))
            if index < len(counted):
                seen = counted[index]
                rows.append(("", "host", seen["bytes_in"], seen["crc_in"], seen["bytes_out"],
                             seen["crc_out"], ""))
                self._compare(f"echo-{variant}", said, seen)
            else:
                self.problems.append(f"echo-{variant}: the host counted no such connection")
            if variant != "a" and said["rounds_in_step"] != said["rounds"]:
                self.problems.append(f"echo-{variant}: a round was not equal to what was sent")
        table(rows, right=(2, 4, 6))
        if len(sizes) > 1:
            print("    One recv per round need not give a whole round: a stream has no boundaries.")
            print()
            table(sizes, right=(1, 2, 3, 4))

    def _compare(self, name, said, seen):
        """Notes a difference between what the guest and the host counted."""
        guest = (said["bytes_out"], said["crc_out"], said["bytes_in"], said["crc_in"])
        if guest != (seen["bytes_in"], seen["crc_in"], seen["bytes_out"], seen["crc_out"]):
            self.problems.append(f"{name}: the host counted other bytes than the guest")

    def waitall(self):
        """Part (c)."""
        print("\n(c) Wake-ups of a sleeping reader per recv(MSG_WAITALL), packets of 4 KiB that "
              "come one by one\n    (voluntary context switches, as the kernel counts them)")
        rows = [("recv asks for", "packets", "C vsock", "rvsock", "rvsock's recvs")]
        for size in (16384, 204800):
            theirs, ours = self._said(f"c-waitall-{size}"), self._said(f"waitall-{size}")
            some = ours or theirs or {}
            rows.append((f"{size // 1024} KiB", some.get("packets_per_recv", "-"),
                         _per_recv(theirs), _per_recv(ours),
                         " ".join(str(n) for n in (ours or {}).get("switches", []))))
        table(rows, right=(0, 1, 2, 3))

    def dialled(self):
        """Part (d)."""
        print("\n(d) The host connects to a listener in the guest; echo of what the host sends")
        said = self._said("dialled")
        if not said or "bytes_in" not in said:
            print("    failed")
            return
        rows = [("seen by", "bytes to host", "CRC-32", "bytes to guest", "CRC-32"),
                ("guest", said["bytes_out"], said["crc_out"], said["bytes_in"], said["crc_in"])]
        seen = [c for c in self._connections if c["direction"] == "out"]
        if seen:
            rows.append(("host", seen[-1]["bytes_in"], seen[-1]["crc_in"],
                         seen[-1]["bytes_out"], seen[-1]["crc_out"]))
            self._compare("dialled", said, seen[-1])
        else:
            self.problems.append("dialled: the host counted no such connection")
        table(rows, right=(1, 3))

    def kernel(self, faults, timed_out):
        """Part (e)."""
        print("\n(e) The kernel")
        loads, unloads = dict(self._results.loads), dict(self._results.unloads)
        left = self._results.sockets[-1] if self._results.sockets else None
        rows = [
            ("rvsock.ko loaded", _verdict(loads.get("rvsock") == 0)),
            ("faults in its log", len(faults)),
            ("sockets left", "not counted" if left is None else left),
            ("rvsock.ko unloaded", _verdict(unloads.get("rvsock") == 0)),
        ]
        table(rows)
        if loads.get("rvsock") != 0:
            self.problems.append("rvsock.ko did not load; console.log says why")
        for fault in faults:
            self.problems.append(f"kernel log: {fault}")
        if left != 0:
            self.problems.append("sockets of the family are left over")
        if unloads.get("rvsock") != 0:
            self.problems.append("rvsock.ko did not unload")
        if timed_out:
            self.problems.append("the guest did not power off in time; console.log has its tasks")
        elif not self._results.completed:
            self.problems.append("the guest ended before its plan did")


def _verdict(good):
    return "yes" if good else "no"


def _per_recv(said):
    value = (said or {}).get("switches_per_recv")
    return "-" if value is None else f"{value:.1f}"
