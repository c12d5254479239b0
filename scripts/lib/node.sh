# shellcheck shell=bash disable=SC2154 # setup.sh and processes.sh set cache, repo, run, netns and node
# containerd, kubelet, kube-proxy and cluster DNS, on node0. Source it after control-plane.sh.

ctr_inside() { ctr --address "$run/containerd.sock" --namespace k8s.io "$@"; }

# The kubelet sets these for the whole machine; `down` restores them.
kernel_settings='^(vm.overcommit_memory|kernel.panic|kernel.panic_on_oops)$'

start_node() {
  write_configuration
  start containerd containerd --config "$run/containerd.toml"
  kubectl_inside apply --filename "$repo/scripts/lib/cluster-dns.yaml" >/dev/null
  start coredns coredns -conf "$run/Corefile"
  wait_for containerd 30 ctr_inside version
  ctr_inside images list --quiet | grep -qx localhost/pause:1 || ctr_inside images import "$cache/images/pause-1.tar" >/dev/null
  [ -f "$run/sysctl" ] || sysctl --all --pattern "$kernel_settings" >"$run/sysctl" 2>/dev/null
  make_cgroup
  start kubelet kubelet --config "$run/kubelet.yaml" --kubeconfig "$pki/kubelet.kubeconfig" --root-dir "$run/kubelet" \
    --hostname-override node0 --node-ip "$node"
  start kube-proxy kube-proxy --config "$run/kube-proxy.yaml"
  wait_for kubelet 90 node_ready
  wait_for coredns 30 health_of 8181/ready
  wait_for kube-proxy 30 health_of 10256/healthz
}

# In a separate cgroup: a kubelet ends the pods of other kubelets in its cgroups.
make_cgroup() {
  local parent
  for parent in $(cgroups); do
    # cgroup v2 delegates a controller only on request
    [ ! -f "$parent/cgroup.controllers" ] || tr ' ' '\n' <"$parent/cgroup.controllers" | while read -r controller; do
      echo "+$controller" >"$parent/cgroup.subtree_control" || true
    done
    mkdir -p "$parent/beanscale"
  done 2>/dev/null
}

# the root of the hierarchy (v2) or of each controller (v1)
cgroups() { awk '$3 ~ /^cgroup/ { print $2 }' /proc/mounts; }

node_ready() { [ "$(kubectl_inside get node node0 --output 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')" = True ]; }

health_of() { inside kubectl --kubeconfig /dev/null --server "http://127.0.0.1:${1%%/*}" get --raw "/${1#*/}"; }

# Containers are children of their shims. This works without containerd, which can have crashed.
stop_containers() {
  local shim
  find "$run/containerd-run" -name address -exec sh -c 'for f; do rm -f "$(sed s#unix://## "$f")"; done' sh {} + 2>/dev/null || true
  for shim in $(pgrep --full "^[^ ]*containerd-shim-runc-v2 .*$run/containerd.sock"); do
    in_our_network "$shim" || continue
    pkill -KILL --parent "$shim" || true
    kill -KILL "$shim" 2>/dev/null || true
  done
}

# Remove what the node created outside its folder: mounts, cgroups, CNI results, log links, kernel settings
clear_node() {
  local deadline=$((SECONDS + 10))
  awk -v folder="$run/" 'index($2, folder) == 1 { print $2 }' /proc/mounts | sort --reverse | xargs --no-run-if-empty umount --lazy
  until remove_cgroups || [ $SECONDS -ge $deadline ]; do sleep 0.1; done # each can be removed after its last process has ended
  grep --fixed-strings --files-with-matches --no-messages "$run/" /var/lib/cni/results/* | xargs --no-run-if-empty rm -f || true
  [ ! -d /var/log/containers ] || find /var/log/containers -lname "$run/*" -delete
  [ ! -f "$run/sysctl" ] || sysctl --quiet --load="$run/sysctl" || true
}

remove_cgroups() {
  local parent
  for parent in $(cgroups); do
    [ ! -d "$parent/beanscale" ] || find "$parent/beanscale" -depth -type d -exec rmdir {} + 2>/dev/null || return
  done
}

write_configuration() {
  mkdir -p "$run/cni"
  echo "nameserver 10.96.0.10" >"$run/resolv.conf"
  cat >"$run/cni/10-bridge.conflist" <<END
{"cniVersion": "1.0.0", "name": "beanscale", "plugins": [{
  "type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
  "ipam": {"type": "host-local", "dataDir": "$run/cni/addresses",
           "ranges": [[{"subnet": "10.244.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
END
  # restrict_oom_score_adj, disable_apparmor: for machines that are containers
  cat >"$run/containerd.toml" <<END
version = 2
root = "$run/containerd"
state = "$run/containerd-run"
[grpc]
  address = "$run/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  disable_apparmor = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$run/cni"
END
  # KubeletInUserNamespace: tolerates kernel settings that it can't change; enforceNodeAllocatable: other programs use the machine too
  # imageGC…: a deleted image couldn't be pulled again
  cat >"$run/kubelet.yaml" <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $pki/kubelet.crt
tlsPrivateKeyFile: $pki/kubelet.key
containerRuntimeEndpoint: unix://$run/containerd.sock
podLogsDir: $run/log/pods
volumePluginDir: $run/volume-plugins
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
resolvConf: $run/resolv.conf
cgroupDriver: cgroupfs
cgroupRoot: /beanscale
failCgroupV1: false
failSwapOn: false
featureGates: {KubeletInUserNamespace: true}
enforceNodeAllocatable: []
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 50Mi, nodefs.available: 1%, imagefs.available: 1%}
END
  cat >"$run/kube-proxy.yaml" <<END
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: $pki/kube-proxy.kubeconfig}
clusterCIDR: 10.244.0.0/16
hostnameOverride: node0
mode: iptables
conntrack: {maxPerCore: 0, min: 0}
END
  cat >"$run/Corefile" <<END
.:53 {
  bind $node
  errors
  ready 127.0.0.1:8181
  kubernetes cluster.local in-addr.arpa {
    kubeconfig $run/admin.kubeconfig beanscale
  }
}
END
}
