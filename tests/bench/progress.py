# SPDX-License-Identifier: GPL-2.0
"""How far something is that takes long."""

import sys

WIDTH = 30


class Bar:
    """A bar of what is done of all, on a terminal; else a line whenever the text is another."""

    def __init__(self, all_of_it):
        self._all = all_of_it
        self._last = None

    def show(self, done, text, more=""):
        """So much is done. `more` is for terminals only."""
        if sys.stdout.isatty():
            full = WIDTH * done // self._all
            bar = f"[{'#' * full}{'.' * (WIDTH - full)}]"
            print(f"\r  {bar} {text}{more:<20}", end="", flush=True)
        elif text != self._last:
            print(f"  {text} ...", flush=True)
        self._last = text

    def end(self):
        """Takes the bar off the terminal."""
        if sys.stdout.isatty():
            print("\r\x1b[K", end="", flush=True)
