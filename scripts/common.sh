# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# What all set-up scripts share: where things are kept, how progress and
# failures are told. Sourced, not run.
# shellcheck disable=SC2034 # used by the scripts that source this file

# The clone, and the cache that all clones of this user share.
clone=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
home=~
cache=${RVSOCK_CACHE:-${XDG_CACHE_HOME:-$home/.cache}/rvsock}
logs=$cache/log

# The kernel's architecture and compiler, as the distribution builds it.
kernel_make=(ARCH=x86_64 CC=x86_64-linux-gnu-gcc-14 LOCALVERSION=)

# die SENTENCE: the one sentence a failing script ends with.
die() {
	printf 'error: %s\n' "$*" >&2
	exit 1
}

# key FILE...: what a cache entry is named after, so that a change of the list
# or script that makes an entry makes a new one.
key() {
	(cd "$clone" && sha256sum -- "$@") | sha256sum | cut -c1-12
}

# The entries of the cache. An entry exists under its name only when it is whole.
root_entry=$cache/root-$(key scripts/build-root scripts/packages)
kernel_entry=$cache/kernel-$(key scripts/kernel-select scripts/kernel-unpack scripts/kernel-tree scripts/packages)
device_entry=$cache/device-$(key scripts/device scripts/packages)

# step LOG SENTENCE COMMAND...: runs a long command with its output in LOG and
# tells that it goes on, how long it took, or where to read why it failed. A
# subshell, so that its trap is its own.
step() (
	log=$1 sentence=$2 start=$SECONDS told=$SECONDS
	shift 2
	mkdir -p "$(dirname "$log")"
	printf '%s ...\n' "$sentence"
	"$@" </dev/null >>"$log" 2>&1 &
	pid=$!
	# The command dies with its step, also on an interrupt.
	trap 'kill "$pid" 2>/dev/null || :' EXIT
	while kill -0 "$pid" 2>/dev/null; do
		sleep 0.2
		if [ $((SECONDS - told)) -ge 15 ]; then
			told=$SECONDS
			printf '    still at it: %s, %d s\n' "$sentence" $((SECONDS - start))
		fi
	done
	if ! wait "$pid"; then
		tail -n 5 "$log" | sed 's/^/    | /' >&2
		die "\"$sentence\" failed after $((SECONDS - start)) s; the whole log is $log"
	fi
	printf '    done: %s, %d s\n' "$sentence" $((SECONDS - start))
)

# finish PARTIAL ENTRY: gives a whole entry its name. If another maker was
# faster, its entry stays.
finish() {
	if [ -e "$2" ]; then
		rm -rf "$1"
	else
		mv -T "$1" "$2"
	fi
}
