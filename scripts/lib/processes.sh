# shellcheck shell=bash disable=SC2154 # setup.sh sets cache and repo
# The cluster's own network and the processes in it: sourced, after setup.sh.
#
# Everything lives in one network namespace without a way out, so no address of the machine's surroundings is used, nothing leaves,
# and iptables rules vanish with it. Only the network is apart: `ip netns exec` would also hide the cgroups from the kubelet.

run=$cache/run
netns=/run/netns/beanscale
node=172.30.0.2

# There can be one on a machine: its network's name and addresses and its node's cgroup are always the same. Whose it is, its processes
# tell: each was given files in its owner's run folder. So nothing is left to mend when they are gone.
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
  die "another cluster runs on this machine, which can hold one: it lives in $owner, and this one would live in $run.
To use it:  XDG_CACHE_HOME=$home scripts/${0##*/} …
To end it:  XDG_CACHE_HOME=$home scripts/cluster down"
}

inside() { nsenter --net=$netns "$@"; }

# The node's address needs an interface: one end of a veth pair; the other end leads nowhere.
network_up() {
  [ ! -e $netns ] || [ -z "$(ip -n beanscale route show default 2>/dev/null)" ] || return 0
  ip netns delete beanscale 2>/dev/null || true
  ip netns add beanscale
  ip -n beanscale link set lo up
  ip -n beanscale link add node0 type veth peer name nowhere
  ip -n beanscale address add $node/24 dev node0
  ip -n beanscale link set node0 up
  ip -n beanscale link set nowhere up
  ip -n beanscale route add default via 172.30.0.1 # last: network_up knows a finished network by it
}

# start NAME COMMAND...: in the cluster's network, in the background, unless it runs already
start() {
  local name=$1
  shift
  alive "$name" || start_here "$name" nsenter --net=$netns "$@"
}

# In the network we are in; it gets none of our terminal's signals, and no open file of ours or of our caller's: it would hold their locks
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

# A process id can be somebody else's by now, after a reboot or a crash: ours are in our network.
alive() {
  local pid
  pid=$(cat "$run/pid/$1" 2>/dev/null) && in_our_network "$pid"
}

in_our_network() { [ "/proc/$1/ns/net" -ef $netns ]; }

# stop NAME: without ado, because `down` throws the state away
stop() {
  if alive "$1"; then
    kill -KILL "$(cat "$run/pid/$1")"
    while alive "$1"; do sleep 0.05; done
  fi
  rm -f "$run/pid/$1"
}

# wait_for NAME SECONDS COMMAND...: until the command succeeds; it is about the process NAME, whose log is shown when it doesn't
wait_for() {
  local name=$1 deadline=$((SECONDS + $2))
  shift 2
  until "$@" >/dev/null 2>&1; do
    if [ $SECONDS -ge $deadline ] || ! kill -0 "$(cat "$run/pid/$name")" 2>/dev/null; then
      tail -n 15 "$run/log/$name.log" >&2
      die "$name is not ready; its log: $run/log/$name.log; \`scripts/cluster down\` clears everything away"
    fi
    sleep 0.2
  done
}
