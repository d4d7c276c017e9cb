# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# The other guest of a topology with siblings: it runs what the first one asks for, one
# connection each.
nc -ll -p 7000 -e /host-agent.sh
