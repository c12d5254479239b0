# shellcheck shell=bash disable=SC2154 # setup.sh and processes.sh set cache, repo, run and node; scripts/cluster sets sync
# etcd, kube-apiserver, kube-controller-manager, kube-scheduler. Source it after processes.sh.

pki=$run/pki

start_control_plane() {
  start etcd etcd --data-dir "$run/etcd" --unsafe-no-fsync --listen-peer-urls http://127.0.0.1:2380 \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379
  start_apiserver
  wait_for kube-apiserver 90 kubectl_inside get --raw /readyz
  start_controller_manager # only now: kube-apiserver rejects controllers until it has created its first roles
  start kube-scheduler kube-scheduler --leader-elect=false --kubeconfig="$pki/kube-scheduler.kubeconfig" \
    --authentication-kubeconfig="$pki/kube-scheduler.kubeconfig" --authorization-kubeconfig="$pki/kube-scheduler.kubeconfig"
}

make_pki() {
  need_uv
  (cd "$repo" && uv run --quiet --frozen python scripts/lib/pki.py "$pki" "$node")
  echo "$K8S_VERSION" >"$run/version"
  install -m 600 "$pki/admin.kubeconfig" "$run/admin.kubeconfig"
}

kubectl_inside() { inside kubectl --kubeconfig "$run/admin.kubeconfig" "$@"; }

start_apiserver() {
  local flags=(
    --etcd-servers=http://127.0.0.1:2379 --secure-port=6443 --advertise-address="$node"
    --service-cluster-ip-range=10.96.0.0/16 --allow-privileged "--authorization-mode=Node,RBAC"
    --client-ca-file="$pki/ca.crt" --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key"

    --kubelet-certificate-authority="$pki/ca.crt" --kubelet-preferred-address-types=InternalIP
    --kubelet-client-certificate="$pki/kubelet-client.crt" --kubelet-client-key="$pki/kubelet-client.key"

    --service-account-issuer=https://kubernetes.default.svc
    --service-account-key-file="$pki/service-account.pub" --service-account-signing-key-file="$pki/service-account.key"

    # aggregation, for beanscale
    --enable-aggregator-routing
    --requestheader-client-ca-file="$pki/front-proxy-ca.crt" --requestheader-allowed-names=front-proxy-client
    --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group
    --requestheader-extra-headers-prefix=X-Remote-Extra-
    --proxy-client-cert-file="$pki/front-proxy-client.crt" --proxy-client-key-file="$pki/front-proxy-client.key"
  )
  start kube-apiserver kube-apiserver "${flags[@]}"
}

# sync_period: of the running HPA controller; empty if none runs
sync_period() {
  ! alive kube-controller-manager || tr '\0' '\n' <"/proc/$(cat "$run/pid/kube-controller-manager")/cmdline" | sed -n 's/^--horizontal-pod-autoscaler-sync-period=//p'
}

start_controller_manager() {
  local kubeconfig=$pki/kube-controller-manager.kubeconfig
  local flags=(
    --kubeconfig="$kubeconfig" --authentication-kubeconfig="$kubeconfig" --authorization-kubeconfig="$kubeconfig"
    --leader-elect=false --use-service-account-credentials
    --service-account-private-key-file="$pki/service-account.key" --root-ca-file="$pki/ca.crt"
    --cluster-signing-cert-file="$pki/ca.crt" --cluster-signing-key-file="$pki/ca.key"
    --allocate-node-cidrs --cluster-cidr=10.244.0.0/16 --service-cluster-ip-range=10.96.0.0/16
    --horizontal-pod-autoscaler-sync-period="$sync"
  )
  start kube-controller-manager kube-controller-manager "${flags[@]}"
}
