# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# What all set-up scripts share: where things are kept, how progress and
# failures are told. Sourced, not run.
# shellcheck disable=SC2034 # used by the scripts that source this file

# A script ends with the one that started it, so that nothing runs on, or holds
# a lock, when somebody was killed. bubblewrap sees to that by itself.
if [ "${RVSOCK_TIED:-}" != $$ ] && [ "${0##*/}" != in-root ]; then
	RVSOCK_TIED=$$ exec setpriv --pdeathsig TERM "$BASH" "$0" "$@"
fi

# die SENTENCE: the one sentence a failing script ends with.
die() {
	printf 'error: %s\n' "$*" >&2
	exit 1
}

# The clone, and the cache that all clones of this user share.
clone=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
home=~
cache=${RVSOCK_CACHE:-${XDG_CACHE_HOME:-$home/.cache}/rvsock}
case $cache in
/*) ;;
*) die "RVSOCK_CACHE=$cache is not an absolute path; give one that begins with /" ;;
esac
logs=$cache/log

# The kernel's architecture and compiler, as the distribution builds it.
kernel_make=(ARCH=x86_64 CC=x86_64-linux-gnu-gcc-14 LOCALVERSION=)
# The same for the debugging kernel: KASAN with Rust needs clang.
debug_make=(ARCH=x86_64 LLVM=1)

# key FILE...: what a cache entry is named after, so that a change of the list
# or script that makes an entry makes a new one.
key() {
	(cd "$clone" && sha256sum -- "$@") | sha256sum | cut -c1-12
}

# The entries of the cache. An entry exists under its name only when it is whole.
root_entry=$cache/root-$(key scripts/build-root scripts/packages scripts/guest-packages \
	scripts/picture-packages)
kernel_key=$(key scripts/kernel-select scripts/kernel-unpack scripts/kernel-tree scripts/packages)
kernel_entry=$cache/kernel-$kernel_key
# The debugging kernel is built from the source in the kernel's entry, whichever
# release that is.
debug_entry=$cache/debug-$(key kernel/debug.config scripts/kernel-debug scripts/kernel-debug-configure \
	scripts/kernel-debug-build scripts/packages)-$(cat "$kernel_entry/release" 2>/dev/null || echo none)
# Other flavours of the stock kernel, each of the same release; and the next series.
flavours=(cloud rt 7.3)
flavour_key=$(key scripts/kernel-flavour scripts/kernel-flavour-unpack scripts/kernel-tree)
# flavour_entry FLAVOUR
flavour_entry() {
	if is_series "$1"; then
		echo "$cache/flavour-$1-$kernel_key"
	else
		echo "$cache/flavour-$1-$flavour_key-$kernel_key"
	fi
}
is_series() {
	[[ $1 == [0-9]* ]]
}
device_entry=$cache/device-$(key scripts/device scripts/packages)
qemu_entry=$cache/qemu-$(key scripts/qemu scripts/qemu-unpack scripts/packages)
# What the names of entries begin with; nothing else in the cache is removed.
kinds=(root kernel debug flavour device qemu target)

# An ordinary user has the rights of root, and of the packages' users, only in a
# user namespace of his own, where he is root himself: so his home may be closed
# to others, and what is made belongs to him.
as_root=()
if [ "$(id -u)" != 0 ]; then
	as_root=(unshare --user --map-root-user --map-auto)
fi

# remove PATH...: also what a package's user owns, if an interrupted run left it.
remove() {
	rm -rf --one-file-system -- "$@" 2>/dev/null ||
		"${as_root[@]}" rm -rf --one-file-system -- "$@"
}

# What the last lines of a log say about why a step failed, as a sentence that
# says what to do; nothing when it is not one of the usual reasons.
usual_reason() {
	if grep -qE 'No space left on device|Disk quota exceeded' <<<"$1"; then
		echo "there is no room left in $cache; free some GB, or set RVSOCK_CACHE to a directory that has them, and run the same again"
	elif grep -qE 'Could(n.t| not) (resolve|connect)|Temporary failure resolving|Connection (refused|timed out|failed)|[Uu]nable to connect|Network is unreachable|Failed to connect|Could not handshake' <<<"$1"; then
		echo "no answer from ${RVSOCK_MIRROR:-the network}; check the network and the proxy (http_proxy, https_proxy), or name another package mirror with RVSOCK_MIRROR=URL, and run the same again"
	elif grep -qE 'Cannot allocate memory|[Oo]ut of memory|signal: 9|Killed' <<<"$1"; then
		echo "memory ran out; end other programs or give this machine more than 2 GiB, and run the same again"
	fi
}

# building LOG COMMAND...: runs a command that writes into build/, one at a time;
# what it says goes to the terminal and the log. When one was killed, what it was
# writing looks newer than its source, so all that was built goes.
building() {
	local log=$1 tee status=0 built=$clone/build
	shift
	mkdir -p "$built"
	exec 7>"$built/lock"
	flock 7
	if [ -e "$built/unfinished" ]; then
		find "$built" -path "$built/runs" -prune -o -type f ! -name '*.log' ! -name lock \
			-exec rm -f {} +
	fi
	touch "$built/unfinished"
	# No pipeline: its parts would outlive the script when that is killed.
	exec 5> >(exec tee -a "$log" >&2)
	tee=$!
	setpriv --pdeathsig TERM "$@" >&5 2>&1 5>&- || status=$?
	exec 5>&-
	wait "$tee"
	rm "$built/unfinished"
	exec 7>&-
	return "$status"
}

# step LOG SENTENCE COMMAND...: runs a long command with its output in LOG and
# tells that it goes on, how long it took, or why it failed. A subshell, so that
# its trap is its own. With uninterrupted=yes the command is left to its end.
step() (
	log=$1 sentence=$2 start=$SECONDS told=$SECONDS
	shift 2
	mkdir -p "$(dirname "$log")"
	printf '%s ...\n' "$sentence"
	before=$(stat -c %s "$log" 2>/dev/null || echo 0)
	if [ "${uninterrupted:-}" = yes ]; then
		"$@" </dev/null >>"$log" 2>&1 &
		pid=$!
	else
		setpriv --pdeathsig KILL "$@" </dev/null >>"$log" 2>&1 &
		pid=$!
		# The command dies with its step, also on an interrupt.
		trap 'kill -KILL "$pid" && wait "$pid" || :' EXIT 2>/dev/null
	fi
	while kill -0 "$pid" 2>/dev/null; do
		sleep 0.2
		# The script itself was killed: the step goes with it.
		kill -0 $$ 2>/dev/null || exit 1
		if [ $((SECONDS - told)) -ge 15 ]; then
			told=$SECONDS
			printf '    still at it: %s, %d s\n' "$sentence" $((SECONDS - start))
		fi
	done
	status=0
	wait "$pid" || status=$?
	trap - EXIT
	if [ "$status" != 0 ]; then
		output=$(tail -c +$((before + 1)) "$log")
		tail -n 5 <<<"$output" | sed 's/^/    | /' >&2
		reason=$(usual_reason "$output")
		die "\"$sentence\" failed after $((SECONDS - start)) s${reason:+: $reason}; the whole log is $log"
	fi
	printf '    done: %s, %d s\n' "$sentence" $((SECONDS - start))
)

# finish PARTIAL ENTRY: gives a whole entry its name, once it is on the disk: the
# name must not outlive a loss of power that the content does not.
finish() {
	if [ -e "$2" ]; then
		remove "$1"
	else
		sync -f "$1"
		mv -T "$1" "$2"
	fi
}
