#!/bin/busybox sh
# SPDX-License-Identifier: GPL-2.0
# Runs in the outer guest of a nested topology, for one connection from the inner
# one: reads a line with a program and its arguments, runs it for at most 30
# seconds, sends what it prints, and last a line "status N".
export PATH=/bin
read -r line
# shellcheck disable=SC2086 # the line is words
timeout -s KILL 30 $line 2>&1
echo "status $?"
