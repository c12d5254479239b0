# shellcheck shell=bash disable=SC2154 # setup.sh sets cache and repo
# The cluster's network namespace and processes. Source it after setup.sh.
#
# Everything runs in one network namespace without external access: no address of the machine's network is used, and iptables
# rules are deleted with it. Only the network is separate: `ip netns exec` would also hide the cgroups from the kubelet.

run=$cache/run
netns=/run/netns/beanscale
node=172.30.0.2

# A machine can run one: the names of its network and cgroup are fixed. Its processes show the owner: their arguments name files in the
# owner's run folder. So no state remains when they have ended.
owner() {
  local pid
  for pid in $(ip netns pids beanscale); do tr '\0' '\n' <"/proc/$pid/cmdline" || true; done 2>/dev/null |
    sed -n 's#^\(-[^=]*=\)\{0,1\}\(/.*/beanscale/run\)/.*#\2#p' | sort --unique | head -n 1
}

only_ours() {
  local owner home
  owner=$(owner)
  [ -n "$owner" ] && [ "$owner" != "$run" ] || return 0
  home=${owner%/beanscale/run}
  die "another cluster is running on this machine, the limit is one: its folder is $owner, this one would use $run.
To use it:  XDG_CACHE_HOME=$home scripts/${0##*/} …
To stop it:  XDG_CACHE_HOME=$home scripts/cluster down"
}

inside() { nsenter --net=$netns "$@"; }

# The node's address needs an interface: one end of a veth pair, whose other end is unused.
network_up() {
  [ ! -e $netns ] || [ -z "$(ip -n beanscale route show default 2>/dev/null)" ] || return 0
  ip netns delete beanscale 2>/dev/null || true
  ip netns add beanscale
  ip -n beanscale link set lo up
  ip -n beanscale link add node0 type veth peer name nowhere
  ip -n beanscale address add $node/24 dev node0
  ip -n beanscale link set node0 up
  ip -n beanscale link set nowhere up
  ip -n beanscale route add default via 172.30.0.1 # last: network_up checks for it
}

# start NAME COMMAND...: run it in the cluster's network, in the background, if it isn't running
start() {
  local name=$1
  shift
  alive "$name" || start_here "$name" nsenter --net=$netns "$@"
}

# start_here NAME COMMAND...: in the current network, without the terminal's signals and without open files, which would hold locks
start_here() {
  local name=$1
  shift
  mkdir -p "$run/pid" "$run/log"
  (
    for fd in /proc/self/fd/*; do [ "${fd##*/}" -le 2 ] || eval "exec ${fd##*/}>&-"; done
    exec setsid "$@"
  ) >"$run/log/$name.log" 2>&1 </dev/null &
  echo $! >"$run/pid/$name"
  disown
}

# After a reboot or crash, a process id can belong to another process: the cluster's processes are in its network.
alive() {
  local pid
  pid=$(cat "$run/pid/$1" 2>/dev/null) && in_our_network "$pid"
}

in_our_network() { [ "/proc/$1/ns/net" -ef $netns ]; }

# stop NAME: kill it, because `down` deletes its state
stop() {
  if alive "$1"; then
    kill -KILL "$(cat "$run/pid/$1")"
    while alive "$1"; do sleep 0.05; done
  fi
  rm -f "$run/pid/$1"
}

# wait_for NAME SECONDS COMMAND...: wait until the command succeeds; otherwise show the log of process NAME
wait_for() {
  local name=$1 deadline=$((SECONDS + $2))
  shift 2
  until "$@" >/dev/null 2>&1; do
    if [ $SECONDS -ge $deadline ] || ! kill -0 "$(cat "$run/pid/$name")" 2>/dev/null; then
      tail -n 15 "$run/log/$name.log" >&2
      die "$name is not ready; its log: $run/log/$name.log; \`scripts/cluster down\` removes everything"
    fi
    sleep 0.2
  done
}
