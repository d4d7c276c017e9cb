#!/bin/busybox sh
# SPDX-License-Identifier: GPL-2.0
# Runs in the outer guest of a nested topology, for one connection from the inner
# one: reads a line with a number of seconds, a program and its arguments, runs it
# for so long at most, and sends what it prints.
export PATH=/bin
read -r line
# shellcheck disable=SC2086 # the line is words
timeout -s KILL $line 2>&1
